"""Opens a clip of any kind: a file, its bytes, an array, a tensor, or a dict as `datasets` gives it."""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from .audio_clap_student import AudioFile, Samples, mono
from .errors import ClipError, InputError
from .feature_extraction_clap_student import ClapStudentFeatureExtractor
from .resampling_clap_student import Resampled
from .windows_clap_student import Part, part_of, split_part


def clip_windows(clip, sampling_rate: int | None, extractor: ClapStudentFeatureExtractor) -> Iterator[np.ndarray]:
    """The windows of a clip, (samples,) float32 each, channels averaged, resampled.

    They are read one by one: five hours of a file take no more memory than five seconds.

    Args:
        clip, sampling_rate: as in `encode_audio`.
        extractor: makes the windows.

    Raises:
        ImportError: soundfile is missing.
        InputError: a missing or damaged file, an array that is no clip, or an array whose rate is not known.
    """
    with open_audio(clip, sampling_rate, extractor.sampling_rate) as source:
        yield from source_windows(clip, source, extractor)


def source_windows(clip, source, extractor: ClapStudentFeatureExtractor) -> Iterator[np.ndarray]:
    """The windows of a clip that is already open, or of a part of it. An InputError names the clip."""
    with _naming(clip):
        for window in Resampled(source, extractor.sampling_rate).windows(extractor.window_samples):
            yield from extractor.windows(window)


@contextmanager
def open_audio(
    clip, sampling_rate: int | None = None, usual_rate: int = 44100
) -> Generator[AudioFile | Samples | Part, None, None]:
    """Opens a clip of any kind, as in `encode_audio`. The source has `rate`, `frames` and `read(start, stop)`.

    Raises:
        InputError: as `clip_windows`, also later when the source is read. The message proposes `usual_rate`.
    """
    with _naming(clip), _opened(clip, sampling_rate, usual_rate) as source:
        yield source


@contextmanager
def _naming(clip) -> Generator[None, None, None]:
    try:
        yield
    except ClipError as error:
        is_file = isinstance(clip, (str, os.PathLike))
        raise InputError(f"can't read {os.fspath(clip)}: {error}" if is_file else f"a clip {error}") from error


def _opened(clip, sampling_rate: int | None, usual_rate: int) -> AudioFile | Samples | Part:
    if isinstance(clip, Mapping):
        if "array" in clip:
            return _opened(clip["array"], clip.get("sampling_rate"), usual_rate)
        path, span = split_part(clip.get("path") or "")
        clip = path or None if clip.get("bytes") is None else clip["bytes"]
        if clip is not None and span is not None:  # a clip of a windowed dataset
            return part_of(AudioFile(clip), span)
        if clip is None:
            raise InputError(
                "a clip that is a dict has an array and its sampling_rate, or bytes or the path of a file"
            )
    if isinstance(clip, (str, os.PathLike, bytes)):
        return AudioFile(clip)
    if isinstance(clip, Tensor):
        clip = clip.detach().cpu()
        clip = (clip.float() if clip.is_floating_point() else clip).numpy()
    samples = mono(clip)
    if sampling_rate is None:
        raise InputError(f"give the sampling rate of the audio: sampling_rate={usual_rate}")
    return Samples(samples, sampling_rate)
