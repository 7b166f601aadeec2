"""Batches for training: one crop per clip, its tokens, and keys that show which pairs belong together."""

from collections.abc import Iterable

import numpy as np
import torch

from ..errors import InputError
from ..processing_clap_student import tokenize
from ..resampling_clap_student import resample
from ..utils.threads import ThreadedMap
from .decoding import ClipReader
from .leakage import LeakageFilter
from .replay import MOST_DRAWS
from .skipping import SkippedClips
from .spectrograms import SpectrogramCache
from .tables import refusal
from .texts import caption_fault, caption_key, exact_key


class ClapCollator:
    """Rows with `audio audio_id caption` -> a batch of equal crops.

    If a clip can't be read, it is listed in `skipped` and another pair of the batch takes its place. So the batch
    keeps its size on every process. The loss sees the repeat as a positive, not as a negative.

    Args:
        teacher_processor: for a teacher with other inputs, such as another CLAP. It gets the same crops, resampled,
            and the same captions.
        leakage: clips that must not be trained on. Tables were filtered before; streams are filtered here.
        random_gain_db: the largest change of a crop's level; the number `draw` chooses the change.
        spectrograms: if given, the model gets crops of spectrograms instead of waveforms.
    """

    def __init__(
        self,
        processor,
        skipped: SkippedClips,
        teacher_processor=None,
        leakage: LeakageFilter | None = None,
        random_gain_db: float = 0.0,
        spectrograms: SpectrogramCache | None = None,
    ):
        if spectrograms is not None and teacher_processor is not None:
            raise InputError("--spectrogram_cache keeps no waveforms, and a teacher that hears differently needs them")
        self.tokenizer = processor.tokenizer
        self.sampling_rate = processor.feature_extractor.sampling_rate
        self.window_samples = processor.feature_extractor.window_samples
        self.reader = ClipReader(self.sampling_rate, skipped, processor.feature_extractor.fill_window)
        self.leakage = leakage or LeakageFilter()
        self._map = ThreadedMap()
        self.random_gain_db = random_gain_db
        self.spectrograms = spectrograms
        self.teacher_processor = teacher_processor
        if teacher_processor is not None:
            self.teacher_input = teacher_processor.feature_extractor.model_input_names[0]

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor | list[str]]:
        """A row's number `draw` chooses its crop. Without it the crop is random.

        Returns `input_values` (B, samples), or with spectrograms `input_features` (B, frames, mel bins); `input_ids`
        and `attention_mask` (B, tokens), the int64 keys `audio_key` and `caption_key` (B,), equal for the same clip
        and for the same caption, and lists: `audio_id` and `caption`.
        With a teacher's processor also `teacher_audio`, for its `get_audio_features`, and `teacher_windows` (B,).
        A batch without one readable clip is an InputError.
        """
        usable = np.flatnonzero(self._map(self._is_usable, rows)).tolist()
        draws = [rows[i]["draw"] if "draw" in rows[i] else torch.randint(MOST_DRAWS, ()).item() for i in usable]
        crops = self.reader.read_crops([rows[i] for i in usable], self.window_samples, draws, self.spectrograms)
        crops = zip(usable, crops, draws, strict=True)
        crops = {i: self._with_gain(crop, draw) for i, crop, draw in crops if crop is not None}
        good = list(crops)
        if not good:
            reasons = self.reader.skipped.read()
            raise InputError(f"no clip of a whole batch could be read; for instance {rows[0]['audio_id']}: "
                             f"{reasons.get(rows[0]['audio_id'])}")  # fmt: skip
        places = [i if i in crops else good[i % len(good)] for i in range(len(rows))]
        captions = [rows[i]["caption"] for i in places]
        tokens = tokenize(self.tokenizer, captions)
        crops = np.stack([crops[i] for i in places])
        batch = {
            "input_values" if self.spectrograms is None else "input_features": torch.from_numpy(crops),
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "audio_key": _as_tensor([exact_key(rows[i]["audio_id"]) for i in places]),
            "caption_key": _as_tensor(map(caption_key, captions)),
            "audio_id": [rows[i]["audio_id"] for i in places],
            "caption": captions,
        }
        return batch if self.teacher_processor is None else batch | self._for_teacher(crops)

    def _with_gain(self, crop: np.ndarray, draw: int) -> np.ndarray:
        if self.random_gain_db == 0:
            return crop
        decibels = np.random.default_rng(draw).uniform(-self.random_gain_db, self.random_gain_db)
        if self.spectrograms is not None:
            silence = self.spectrograms.silence  # no gain makes silence louder
            return np.where(crop > silence, np.maximum(crop + np.float32(decibels), silence), crop)
        return crop * np.float32(10 ** (decibels / 20))

    def _is_usable(self, row: dict) -> bool:
        reason = refusal(row["audio"]) or caption_fault(row["caption"]) or self.leakage.reason(row)
        if reason is not None:
            self.reader.skipped.add(row["audio_id"], reason)
        return reason is None

    def _for_teacher(self, crops: np.ndarray) -> dict:
        extractor = self.teacher_processor.feature_extractor
        windows = [extractor.windows(resample(crop, self.sampling_rate, extractor.sampling_rate)) for crop in crops]
        return {
            "teacher_audio": {self.teacher_input: torch.from_numpy(np.concatenate(windows))},
            "teacher_windows": torch.tensor([len(clip) for clip in windows]),
        }


def _as_tensor(keys: Iterable[str]) -> torch.Tensor:
    """(B,) int64 of 64 bits in hexadecimal."""
    return torch.tensor([int(key, 16) - 2**63 for key in keys])
