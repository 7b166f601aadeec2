"""Whole tables of clips and texts to embeddings, the same vector for the same file whatever stands beside it."""

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from tqdm.auto import tqdm

from .data.decoding import ClipReader, SkippedClips
from .errors import InputError
from .modeling_clap_student import average_windows


def embed_clips(
    model, processor, clips: Dataset, skipped: SkippedClips, batch_size: int = 32, description: str = "embedding clips"
) -> tuple[np.ndarray, np.ndarray]:
    """Embeds a table of clips, each process its share.

    The tower always sees `batch_size` windows at once, the last batch filled up with repeats: with another number of
    rows the matrix library may add in another order, and the last bits of an embedding would depend on its neighbours.

    Args:
        model: a `ClapStudentModel`.
        processor: its `ClapStudentProcessor`.
        clips: table with `audio` and `audio_id`.
        skipped: where clips that can't be read are listed.
        batch_size: windows at a time.
        description: for the progress bar.

    Returns:
        (kept, dim) float32 unit vectors, and (kept,) int64 rows of `clips` they belong to, ascending.

    Raises:
        InputError: not one clip can be read.
    """
    state = PartialState()
    bounds = np.linspace(0, len(clips), state.num_processes + 1).astype(int)
    first, last = bounds[state.process_index], bounds[state.process_index + 1]
    model.eval()
    rows, counts, embeds = [], [], []
    batch = _FixedBatch(model, batch_size)
    bar = tqdm(total=last - first, desc=description, unit="clip", disable=not state.is_main_process)
    for row, windows in _windows(processor, clips, range(first, last), skipped, batch_size, bar):
        rows.append(row)
        counts.append(len(windows))
        embeds += batch.add(windows)
    embeds += batch.flush()
    bar.close()
    # A share without one readable clip is no error as long as another process has some.
    share = average_windows(torch.cat(embeds), torch.tensor(counts)).numpy() if rows else None
    shares = gather_object([(share, np.array(rows, dtype=np.int64))])
    shares = [(vectors, numbers) for vectors, numbers in shares if vectors is not None]
    if not shares:
        reasons = skipped.read()
        example = f"; for instance {next(iter(reasons.items()))}" if reasons else ""
        raise InputError(f"none of the {len(clips)} clips could be read{example}")
    return np.concatenate([s[0] for s in shares]), np.concatenate([s[1] for s in shares])


def _windows(processor, clips, numbers, skipped, batch_size, bar) -> Iterator[tuple[int, np.ndarray]]:
    extractor = processor.feature_extractor
    reader = ClipReader(extractor.sampling_rate, skipped)
    for start in range(numbers.start, numbers.stop, batch_size):
        some = range(start, min(start + batch_size, numbers.stop))
        for row, waveform in zip(some, reader.read([clips[i] for i in some]), strict=True):
            if waveform is not None:
                yield row, extractor.windows(waveform)
            bar.update()


class _FixedBatch:
    """Collects windows and embeds them `size` at a time."""

    def __init__(self, model, size: int):
        self.model = model
        self.size = size
        self.waiting: list[np.ndarray] = []

    def add(self, windows: np.ndarray) -> list[torch.Tensor]:
        self.waiting += list(windows)
        done = []
        while len(self.waiting) >= self.size:
            done.append(self._embed(self.waiting[: self.size]))
            self.waiting = self.waiting[self.size :]
        return done

    def flush(self) -> list[torch.Tensor]:
        if not self.waiting:
            return []
        count, fill = len(self.waiting), self.size - len(self.waiting)
        return [self._embed(self.waiting + [self.waiting[0]] * fill)[:count]]

    @torch.no_grad()
    def _embed(self, windows: list[np.ndarray]) -> torch.Tensor:
        values = torch.from_numpy(np.stack(windows)).to(self.model.device)
        return self.model.get_audio_features(input_values=values).pooler_output.float().cpu()


@torch.no_grad()
def embed_texts(
    model,
    processor,
    texts: list[str],
    batch_size: int = 256,
    max_text_length: int = 100,
    description: str | None = None,
) -> np.ndarray:
    """Embeds texts, each distinct one once.

    Returns:
        (texts, dim) float32 unit vectors.
    """
    model.eval()
    distinct = list(dict.fromkeys(texts))
    parts = []
    starts = range(0, len(distinct), batch_size)
    for start in tqdm(starts, desc=description, unit="batch", disable=description is None):
        tokens = processor.tokenizer(
            distinct[start : start + batch_size],
            padding=True,
            truncation=True,
            max_length=max_text_length,
            return_tensors="pt",
        ).to(model.device)
        parts.append(model.get_text_features(**tokens).pooler_output.float().cpu())
    position = {text: i for i, text in enumerate(distinct)}
    return torch.cat(parts).numpy()[[position[text] for text in texts]]


__all__ = ["embed_clips", "embed_texts"]
