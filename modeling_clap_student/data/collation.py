"""Batches for training: one crop a clip, its tokens, and keys that tell which pairs belong together."""

import numpy as np
import torch

from ..errors import InputError
from .captions import caption_key, exact_key
from .decoding import ClipReader, SkippedClips


def random_crop(waveform: np.ndarray, size: int, generator: torch.Generator | None = None) -> np.ndarray:
    """(samples,) -> (size,): a random window of a longer clip, a shorter clip at a random place in zeros."""
    free = abs(len(waveform) - size)
    start = int(torch.randint(free + 1, (), generator=generator))
    if len(waveform) >= size:
        return waveform[start : start + size]
    return np.pad(waveform, (start, free - start))


def _as_int64(digest: str) -> int:
    return int(digest, 16) - 2**63  # keys travel in an int64 tensor


class ClapCollator:
    """Rows with `audio audio_id caption` -> a batch of equal crops.

    A clip that can't be read is listed in `skipped`, and its place is taken by another pair of the batch: the batch
    keeps its size on every process, and the loss sees the repeat as a positive, not as a negative.

    Args:
        processor: a `ClapStudentProcessor`.
        skipped: where bad clips are listed.
        max_text_length: longer captions are cut, tokens.
    """

    def __init__(self, processor, skipped: SkippedClips, max_text_length: int = 100):
        self.tokenizer = processor.tokenizer
        self.window_samples = processor.feature_extractor.window_samples
        self.reader = ClipReader(processor.feature_extractor.sampling_rate, skipped)
        self.max_text_length = max_text_length

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Returns `input_values` (B, samples), `input_ids` and `attention_mask` (B, tokens), and the int64 keys
        `audio_key` and `caption_key` (B,), equal for the same clip and for the same caption.

        Raises:
            InputError: not one clip of the batch can be read.
        """
        waveforms = self.reader.read(rows)
        good = [i for i, waveform in enumerate(waveforms) if waveform is not None]
        if not good:
            reasons = self.reader.skipped.read()
            raise InputError(f"no clip of a whole batch could be read; for instance {rows[0]['audio_id']}: "
                             f"{reasons.get(rows[0]['audio_id'])}")  # fmt: skip
        chosen = [i if waveforms[i] is not None else good[i % len(good)] for i in range(len(rows))]
        captions = [rows[i]["caption"] for i in chosen]
        tokens = self.tokenizer(
            captions, padding=True, truncation=True, max_length=self.max_text_length, return_tensors="pt"
        )
        crops = np.stack([random_crop(waveforms[i], self.window_samples) for i in chosen])
        return {
            "input_values": torch.from_numpy(crops),
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "audio_key": torch.tensor([_as_int64(exact_key(rows[i]["audio_id"])) for i in chosen]),
            "caption_key": torch.tensor([_as_int64(caption_key(caption)) for caption in captions]),
        }


__all__ = ["ClapCollator", "random_crop"]
