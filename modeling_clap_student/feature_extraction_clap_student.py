"""Feature extractor of the CLAP student: cuts any waveform into fixed windows, always the same ones."""

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor


class ClapStudentFeatureExtractor(SequenceFeatureExtractor):
    """Cuts mono waveforms into windows of `window_seconds`. Nothing is random, and no clip depends on another.

    A shorter clip is repeated to the window's length as CLAP does (`short_clips="repeat"`), or padded with zeros
    (`"zero"`). A longer clip becomes several windows side by side; the last one ends where the clip ends. The model
    averages their embeddings.

    Args:
        sampling_rate: the rate of every waveform given, Hz.
        window_seconds: length of a window, seconds.
        short_clips: `"repeat"` or `"zero"`.
    """

    model_input_names = ["input_values", "num_windows"]

    def __init__(
        self,
        feature_size=1,
        sampling_rate=44100,
        padding_value=0.0,
        window_seconds=5.0,
        short_clips="repeat",
        **kwargs,
    ):
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        if short_clips not in ("repeat", "zero"):
            raise ValueError(f"short_clips must be 'repeat' or 'zero', not {short_clips!r}")
        self.window_seconds = window_seconds
        self.short_clips = short_clips

    @property
    def window_samples(self) -> int:
        """Samples in one window."""
        return round(self.window_seconds * self.sampling_rate)

    def windows(self, waveform: np.ndarray) -> np.ndarray:
        """(samples,) -> (windows, window_samples), float32."""
        size = self.window_samples
        if len(waveform) < size:
            if self.short_clips == "repeat":
                waveform = np.tile(waveform, -(-size // len(waveform)))[:size]
            else:
                waveform = np.pad(waveform, (0, size - len(waveform)))
        last_start = len(waveform) - size
        starts = [*range(0, last_start, size), last_start]
        return np.stack([waveform[start : start + size] for start in starts])

    @staticmethod
    def fill_window(waveform: np.ndarray, size: int, place: int) -> np.ndarray:
        """Places a short clip at a random position in a training window; the rest is zeros."""
        return np.pad(waveform, (place, size - len(waveform) - place))

    def __call__(self, raw_speech, sampling_rate=None, return_tensors=None, **kwargs) -> BatchFeature:
        """Prepares one or several clips.

        Args:
            raw_speech: a mono waveform (samples,) in [-1, 1], or a list of them.
            sampling_rate: the rate of `raw_speech`, Hz. It is always required, so that a wrong rate can't go
            unnoticed.
            return_tensors: `"pt"` or `"np"`.

        Returns:
            `input_values` (total windows, samples) float32 and `num_windows` (clips,) int64.

        Raises:
            ValueError: another sampling rate, an empty clip, more than one channel, NaN or infinite samples.
        """
        if sampling_rate is None:
            raise ValueError(f"give the sampling rate of the audio: sampling_rate={self.sampling_rate}")
        if sampling_rate != self.sampling_rate:
            raise ValueError(
                f"the audio has {sampling_rate} Hz and this model needs {self.sampling_rate} Hz: resample it first"
            )
        clips = raw_speech if isinstance(raw_speech, (list, tuple)) else [raw_speech]
        if clips and np.ndim(clips[0]) == 0:
            clips = [clips]
        windows = [self.windows(self._checked(clip)) for clip in clips]
        return BatchFeature(
            {
                "input_values": np.concatenate(windows),
                "num_windows": np.array([len(w) for w in windows], dtype=np.int64),
            },
            tensor_type=return_tensors,
        )

    @staticmethod
    def _checked(clip) -> np.ndarray:
        if np.issubdtype(np.asarray(clip).dtype, np.integer):
            raise ValueError("expected floating-point samples in [-1, 1], got integers: divide by their full scale")
        clip = np.asarray(clip, dtype=np.float32)
        if clip.ndim != 1:
            raise ValueError(
                f"expected a mono waveform (samples,), got shape {clip.shape}: average the channels first"
            )
        if clip.size == 0:
            raise ValueError("the clip holds no samples")
        if not np.isfinite(clip).all():
            raise ValueError("the clip holds NaN or infinite samples")
        return clip


ClapStudentFeatureExtractor.register_for_auto_class()

__all__ = ["ClapStudentFeatureExtractor"]
