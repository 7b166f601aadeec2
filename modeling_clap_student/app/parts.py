"""How a model hears the parts of a recording: each as a clip of its own, or all of them at once.

CNN14 would take seconds to hear a 5-s clip ten times. But below its pooling it has a vector for every quarter of a
second. So a slow model hears the recording once, and its own pooling makes a part of the frames that lie there. The
vector of the whole recording is the same either way.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..clips_clap_student import source_windows
from ..encoding_clap_student import average_windows
from ..windows_clap_student import Part, Windows
from .models import Model


Bounds = Sequence[tuple[int, int]]  # where parts begin and end, in the recording's samples


def parts_of(seconds: float, models: Sequence[Model]) -> Windows:
    """How a recording is taken apart to see when a sound is there: finely, unless a model would take long for it."""
    is_fine = all(model.is_quick or model.has_frames for model in models)
    if seconds <= 12:
        return Windows(1.0, 0.5) if is_fine else Windows(2.5)
    return Windows(2.5, 1.25) if seconds <= 60 and is_fine else Windows(models[0].window_seconds)


def listener(model: Model, path: str | Path, source, windows: Windows) -> "ByWindows | ByFrames":
    """How a model hears the parts of an open recording. `path` is for messages."""
    has_many = windows.seconds < model.window_seconds
    kind = ByFrames if has_many and model.has_frames and not model.is_quick else ByWindows
    return kind(model, path, source)


class ByWindows:
    """Hears each part as a clip of its own, as `classify(…, windows=…)` does."""

    def __init__(self, model: Model, path: str | Path, source):
        self.model, self.path, self.source = model, path, source
        self.at_once = 8 if model.is_quick else 2  # parts between two answers

    def whole(self) -> Tensor:
        """(dim,) of the recording, a short one."""
        windows = -(-self.source.frames // round(self.model.window_seconds * self.source.rate))
        clip = source_windows(str(self.path), self.source, self.model.processor.feature_extractor)
        (vector,) = self.model.clips([clip], windows)
        return vector

    def parts(self, bounds: Bounds) -> Tensor:
        """(parts, dim)."""
        extractor = self.model.processor.feature_extractor
        clips = (source_windows(str(self.path), Part(self.source, *bound), extractor) for bound in bounds)
        return torch.stack(list(self.model.clips(clips, len(bounds))))


class ByFrames:
    """Hears the recording once, as far as it is asked for, and pools a part's frames."""

    at_once = 8

    def __init__(self, model: Model, path: str | Path, source):
        self.model, self.rate = model, source.rate
        self.seconds = source.frames / source.rate
        self._unheard = model.frames(source_windows(str(path), source, model.processor.feature_extractor))
        self._vectors: list[Tensor] = []  # of the windows heard so far
        self._frames = torch.empty(0)
        self._middles = np.empty(0)  # s, of the frames

    def whole(self) -> Tensor:
        """(dim,) of the recording, a short one."""
        while self._hear_window():
            pass
        return average_windows(torch.stack(self._vectors), torch.tensor([len(self._vectors)]))[0]

    def parts(self, bounds: Bounds) -> Tensor:
        """(parts, dim). All parts have the same number of frames, so that they are pooled together."""
        starts, stops = np.array(bounds).T / self.rate
        size = self.model.frame_seconds
        while not len(self._middles) or self._middles[-1] < stops[-1] + size:
            if not self._hear_window():
                break
        count = int(np.clip(round((stops[0] - starts[0]) / size), 1, len(self._middles)))
        first = np.searchsorted(self._middles, starts).clip(max=len(self._middles) - count)
        return self.model.pool(self._frames[first[:, None] + np.arange(count)])

    def _hear_window(self) -> bool:
        """Adds a window's frames: those of the recording, not of what fills the window, and none twice."""
        if (heard := next(self._unheard, None)) is None:
            return False
        frames, vector = heard
        # Windows lie side by side; the last one ends where the recording ends.
        last = max(0.0, self.seconds - self.model.window_seconds)
        start = min(len(self._vectors) * self.model.window_seconds, last)
        middles = start + (np.arange(len(frames)) + 0.5) * self.model.frame_seconds
        new = middles < self.seconds
        if len(self._middles):
            new &= middles > self._middles[-1]
            self._frames = torch.cat([self._frames, frames[new]])
        else:
            new[0] = True  # of a recording that is shorter than half a frame
            self._frames = frames[new]
        self._middles = np.concatenate([self._middles, middles[new]])
        self._vectors.append(vector)
        return True
