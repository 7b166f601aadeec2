"""Embeds clips and texts of any kind: `encode_audio`, `encode_text`."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from .clips_clap_student import clip_windows, open_audio, source_windows
from .errors import InputError
from .feature_extraction_clap_student import ClapStudentFeatureExtractor
from .processing_clap_student import ClapStudentProcessor, longest_text, tokenize
from .windows_clap_student import Part, Windows, as_seconds


def average_windows(embeds: Tensor, num_windows: Tensor) -> Tensor:
    """(windows, ..., dim) -> (clips, ..., dim): the mean of each clip's consecutive windows, L2-normalised.

    A clip of one window passes unchanged, so it does not change with the lengths of its neighbours.
    """
    clips = embeds.split(num_windows.tolist())
    return torch.stack([clip[0] if len(clip) == 1 else F.normalize(clip.mean(dim=0), dim=-1) for clip in clips])


def embed_windows(model, clips: Iterable[Iterable[np.ndarray]], batch_size: int) -> Tensor:
    """Embeds clips given as windows, as `iter_embeddings` does: (clips, dim) float32; (0, 0) without clips."""
    embeds = list(iter_embeddings(model, clips, batch_size))
    return torch.stack(embeds) if embeds else torch.empty(0, 0)


@torch.no_grad()
def iter_embeddings(model, clips: Iterable[Iterable[np.ndarray]], batch_size: int) -> Iterator[Tensor]:
    """Embeds clips given as windows. Yields each clip, in order, as soon as its last window is embedded.

    The tower always sees the same number of windows, `rows_at_once(batch_size)`; the last batch is filled up with
    repeats. With another number of rows, the matrix library may add in another order. The last bits of an embedding
    would then depend on its neighbours.

    Args:
        model: in eval mode.
        clips: each clip's windows as the model's feature extractor makes them: an array (windows, ...), or an iterator
            that reads a long clip step by step. At most `batch_size` windows are in memory.
        batch_size: windows per batch.

    Yields:
        (dim,) float32 unit vectors on the CPU.
    """
    waiting: list[tuple[_Clip, np.ndarray]] = []
    pending: deque[_Clip] = deque()
    for windows in clips:
        clip = _Clip()
        pending.append(clip)
        for window in windows:
            clip.missing += 1
            waiting.append((clip, window))
            if len(waiting) == batch_size:
                _embed_batch(model, waiting, batch_size)
                waiting = []
                yield from _finished(pending)
        clip.read = True
        yield from _finished(pending)
    if waiting:
        _embed_batch(model, waiting, batch_size)
    yield from _finished(pending)


def rows_at_once(batch_size: int) -> int:
    """The next multiple of 4, from 5 on. Matrix libraries treat what remains after groups of four rows differently, so
    a row's last bits would depend on its place."""
    return batch_size if batch_size < 4 else -(-batch_size // 4) * 4


@dataclass
class _Clip:
    """A clip in progress: whether all windows were read, how many are not embedded yet, the embeddings so far."""

    read: bool = False
    missing: int = 0
    embeds: list[Tensor] = field(default_factory=list)


def _embed_batch(model, waiting: list[tuple[_Clip, np.ndarray]], batch_size: int) -> None:
    windows = [window for _, window in waiting]
    filled = windows + [windows[0]] * (rows_at_once(batch_size) - len(windows))
    # A GPU copies from page-locked memory several times as fast.
    shape, on_gpu = (len(filled), *windows[0].shape), model.device.type == "cuda"
    values = torch.empty(shape, pin_memory=on_gpu, dtype=torch.float32)
    np.stack(filled, out=values.numpy())
    outputs = model.get_audio_features(values.to(model.device, non_blocking=True))
    for (clip, _), embed in zip(waiting, _finite(outputs.pooler_output.float().cpu(), "clip"), strict=False):
        clip.embeds.append(embed)
        clip.missing -= 1


def _finite(embeds: Tensor, what: str) -> Tensor:
    if not embeds.isfinite().all():
        raise InputError(
            f"the model's embedding of a {what} is not finite: its weights are damaged, or its training has diverged; "
            "lower --learning_rate"
        )
    return embeds


def _finished(pending: "deque[_Clip]") -> Iterator[Tensor]:
    while pending and pending[0].read and pending[0].missing == 0:
        embeds = torch.stack(pending.popleft().embeds)
        yield average_windows(embeds, torch.tensor([len(embeds)]))[0]


@torch.no_grad()
def embed_distinct_texts(
    model, tokenizer, texts: list[str], batch_size: int = 64, description: str | None = None
) -> Tensor:
    """Embeds each distinct text once. The same text gives the same vector, to the bit, whatever texts are beside it.

    Another number of threads may change the last bits.

    The tower always sees the same number of texts, filled up with repeats. Each is padded to a length that depends on
    the text alone. With another shape, the matrix library may add in another order.

    Args:
        model: in eval mode.
        tokenizer: the model's own.
        texts: longer ones than the model reads are cut, with a warning.
        batch_size: texts per batch.
        description: for the progress bar; no bar without it.

    Returns:
        (texts, dim) float32 unit vectors on the CPU; (0, 0) without texts.
    """

    def embed(batch: list[str], length: int) -> Tensor:
        return model.get_text_features(**tokenize(tokenizer, batch, length).to(model.device)).pooler_output

    return embed_in_groups(texts, partial(_by_length, tokenizer), embed, batch_size, description)


_Key = TypeVar("_Key", bound=Hashable)


def embed_in_groups(
    texts: list[str],
    group: Callable[[list[str]], Mapping[_Key, list[str]]],
    embed: Callable[[list[str], _Key], Tensor],
    batch_size: int,
    description: str | None = None,
) -> Tensor:
    """Embeds each distinct text once, in batches of one size. The texts of a batch belong to one group.

    Args:
        texts, batch_size, description: as in `embed_distinct_texts`.
        group: sorts texts by the shape in which a tower sees them: key -> texts.
        embed: takes the texts of a group and its key, and returns (texts, dim) unit vectors.

    Returns:
        as `embed_distinct_texts`.
    """
    if not texts:
        return torch.empty(0, 0)
    distinct = list(dict.fromkeys(texts))
    vectors: dict[str, Tensor] = {}
    with tqdm(total=len(distinct), desc=description, unit="text", disable=description is None) as bar:
        for start in range(0, len(distinct), _TOKENIZED):
            for key, alike in group(distinct[start : start + _TOKENIZED]).items():
                for first in range(0, len(alike), batch_size):
                    batch = alike[first : first + batch_size]
                    filled = batch + [batch[0]] * (rows_at_once(batch_size) - len(batch))
                    embeds = _finite(embed(filled, key).float().cpu(), "text")
                    vectors.update(zip(batch, embeds, strict=False))
                    bar.update(len(batch))
    return torch.stack([vectors[text] for text in texts])


_TOKENIZED = 8192  # texts whose lengths are looked up at a time
_LENGTH_STEP = 16


def _by_length(tokenizer, texts: list[str]) -> dict[int, list[str]]:
    """Sorts texts by the length that they are padded to: the next multiple of a few tokens."""
    longest, groups = longest_text(tokenizer), {}
    for text, ids in zip(texts, tokenizer(texts, truncation=True, max_length=longest)["input_ids"], strict=True):
        length = min(longest, -(-len(ids) // _LENGTH_STEP) * _LENGTH_STEP)
        groups.setdefault(length, []).append(text)
    return groups


class EncodingMixin:
    """`encode_audio` and `encode_text` for a model with `get_audio_features` and `get_text_features`."""

    processor: Any  # defined by the model

    @classmethod
    def read_processor(cls, name: str, **kwargs) -> ClapStudentProcessor:
        """Loads the processor part by part. Auto classes would ask whether to trust code that is already installed."""
        return ClapStudentProcessor(
            ClapStudentFeatureExtractor.from_pretrained(name, **kwargs),
            PreTrainedTokenizerFast.from_pretrained(name, **kwargs),
        )

    def encode_audio(
        self,
        paths_or_arrays,
        sampling_rate: int | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> Tensor:
        """Embeds clips. The same clip always gives the same vector, to the bit, for the same `batch_size` and number
        of threads.

        Clips are resampled and their channels averaged. The same samples give the same vector as a file and as an
        array. Long clips are cut into windows, whose embeddings are averaged; short ones are repeated. Files of up to
        24 hours are read window by window.

        Args:
            paths_or_arrays: a clip or a list of clips: paths; arrays or tensors, floating-point in [-1, 1], or
                integers, which are divided by their full scale; or dicts as `datasets` gives them, `{"array",
                "sampling_rate"}` or `{"bytes", "path"}`. The shape of an array tells its channels: (samples,) is mono,
                (samples, channels) is soundfile's layout, (1, samples) and (2, samples) have the channels first. An
                array with more and longer rows could be several clips, and is refused: give a list, or transpose it.
            sampling_rate: rate of the arrays, Hz. A dict's own rate takes precedence.
            batch_size: windows per batch.
            show_progress_bar: by default for more than one batch.

        Returns:
            (clips, projection dim) float32 unit vectors on the CPU.

        Raises:
            InputError: an array that is empty, holds NaN, has no known rate or is not shaped like a clip; a file that
                can't be read.
        """
        clips = paths_or_arrays if isinstance(paths_or_arrays, (list, tuple)) else [paths_or_arrays]
        bar = tqdm(clips, desc="audio", unit="clip", disable=not _wants_bar(show_progress_bar, clips, batch_size))
        extractor: ClapStudentFeatureExtractor = self.processor.feature_extractor
        with _EvalMode(self):
            return embed_windows(self, (clip_windows(clip, sampling_rate, extractor) for clip in bar), batch_size)

    def encode_text(
        self, texts: str | list[str], batch_size: int = 64, show_progress_bar: bool | None = None
    ) -> Tensor:
        """Embeds texts. The same text always gives the same vector, to the bit, for the same `batch_size` and number
        of threads.

        Args:
            texts: one text or a list. Texts of more than 100 tokens are cut, with a warning.
            batch_size: texts per batch.
            show_progress_bar: by default for more than one batch.

        Returns:
            (texts, projection dim) float32 unit vectors on the CPU.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        description = "texts" if _wants_bar(show_progress_bar, texts, batch_size) else None
        with _EvalMode(self):
            return embed_distinct_texts(self, self.processor.tokenizer, texts, batch_size, description)

    def encode_parts(
        self, audio, sampling_rate: int | None, batch_size: int, show_progress_bar: bool | None, windows: Windows
    ) -> tuple[Tensor, list[list[tuple[float, float]]]]:
        """(parts of all clips, dim), and for each clip where its parts begin and end, s."""
        clips, places = audio if isinstance(audio, (list, tuple)) else [audio], []
        bar = tqdm(clips, desc="audio", unit="clip", disable=not _wants_bar(show_progress_bar, clips, batch_size))
        extractor: ClapStudentFeatureExtractor = self.processor.feature_extractor

        def parts() -> Iterator[Iterator[np.ndarray]]:
            for clip in bar:
                places.append([])
                with open_audio(clip, sampling_rate, extractor.sampling_rate) as source:
                    for start, stop in windows.bounds(source.frames, source.rate):
                        places[-1].append((as_seconds(start, source.rate), as_seconds(stop, source.rate)))
                        yield source_windows(clip, Part(source, start, stop), extractor)

        with _EvalMode(self):
            return embed_windows(self, parts(), batch_size), places


def _wants_bar(choice: bool | None, items: list, batch_size: int) -> bool:
    return len(items) > batch_size if choice is None else choice


class _EvalMode:
    """Puts a model into eval mode for a while. Dropout would change the embedding each time."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.was_training = self.model.training
        self.model.eval()

    def __exit__(self, *_):
        self.model.train(self.was_training)
