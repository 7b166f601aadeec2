"""Embeds tables and lists, clip by clip. The same clip gives the same vector, to the bit.

On CPUs, another number of threads may change the last bits.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..data.decoding import ClipReader, ClipWindows
from ..data.filters import column_of
from ..data.listening import Sound
from ..data.skipping import SkippedClips
from ..encoding_clap_student import embed_distinct_texts, iter_embeddings
from ..errors import ClipError, InputError
from ..processing_clap_student import MAX_TEXT_LENGTH, longest_text
from ..utils.console import progress_bar
from .foreign import ForeignModel


def iter_clips(
    model,
    processor,
    rows: Iterable[dict],
    skipped: SkippedClips,
    batch_size: int,
    on_heard: Callable[[dict, Sound], None] | None = None,
) -> Iterator[tuple[dict, np.ndarray | None, str]]:
    """Embeds rows as they come. One batch of windows is in memory at a time, for one long clip as for many clips.

    On a GPU, the next clips are read while it embeds the last batch.

    Args:
        model: a `ClapStudentModel`, or another model that `load_checkpoint` returned, in eval mode; or several models
            as `SideBySide`.
        rows: with `audio` and `audio_id`.
        batch_size: clips to read and windows to embed at a time.
        on_heard: called with each row whose `listens` is true, and the sound of its clip, before the row is yielded.

    Yields:
        (row, (dim,) float32 unit vector, ""), or (row, None, reason) for a clip that can't be read to its end. The
            unreadable ones come at any place among the others.
    """
    begun: deque[tuple[dict, ClipWindows]] = deque()
    unreadable: deque[tuple[dict, None, str]] = deque()
    reader, rows = ClipReader(processor.feature_extractor.sampling_rate, skipped), iter(rows)

    def read() -> list[tuple[dict, ClipWindows | ClipError]]:
        batch = list(islice(rows, batch_size))
        return list(zip(batch, reader.read_windows(batch, processor.feature_extractor, on_heard), strict=True))

    def windows() -> Iterator[ClipWindows]:
        for batch in _batches(read, ahead=model.device.type != "cpu"):
            for row, clip in batch:
                if isinstance(clip, ClipError):
                    unreadable.append((row, None, str(clip)))
                else:
                    begun.append((row, clip))
                    yield clip

    for vector in iter_embeddings(model, windows(), batch_size):
        while unreadable:
            yield unreadable.popleft()
        row, clip = begun.popleft()
        yield (row, vector.numpy(), "") if clip.error is None else (row, None, str(clip.error))
    yield from unreadable


def _batches(read: Callable[[], list], ahead: bool) -> Iterator[list]:
    """Yields what `read` returns until it is empty. With `ahead`, a thread reads while the last batch is processed."""
    if not ahead:
        yield from iter(read, [])
        return
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(read)
        while batch := coming.result():
            coming = thread.submit(read)
            yield batch


class SideBySide:
    """Takes the place of one model, to embed with several at once: each clip is read once for all of them.

    An embedding is (models, dim). Each row is, to the bit, what its model gives alone. The models are in eval mode, on
    one device, with equal feature extractors and embeddings of one length.
    """

    def __init__(self, models: Sequence):
        self.models = list(models)
        self.device = self.models[0].device

    def eval(self) -> "SideBySide":
        for model in self.models:
            model.eval()
        return self

    def get_audio_features(self, values: torch.Tensor) -> BaseModelOutputWithPooling:
        embeds = [model.get_audio_features(values).pooler_output.float() for model in self.models]
        return BaseModelOutputWithPooling(pooler_output=torch.stack(embeds, dim=1))


def side_by_side(checkpoints: Mapping[str, tuple]) -> list[tuple[list[str], SideBySide, object]]:
    """Groups checkpoints, name -> (model, processor), whose feature extractors are equal: names, models, processor."""
    groups: dict[tuple, list[str]] = {}
    for name, (model, processor) in checkpoints.items():
        extractor = processor.feature_extractor
        hearing = (type(extractor), extractor.to_json_string(), model.config.projection_dim)
        groups.setdefault(hearing, []).append(name)
    return [
        (names, SideBySide([checkpoints[name][0] for name in names]), checkpoints[names[0]][1])
        for names in groups.values()
    ]


def embed_clips(
    model,
    processor,
    clips: Dataset,
    skipped: SkippedClips,
    batch_size: int = 32,
    description: str | None = "embedding clips",
) -> tuple[np.ndarray, np.ndarray]:
    """Embeds a table with `audio` and `audio_id` as `iter_clips` does. Each process embeds its share.

    Returns:
        (readable, dim) float32 unit vectors, or (readable, models, dim) for models side by side; and (readable,)
            int64, the rows of `clips` they belong to, ascending.

    Raises:
        InputError: no clip can be read, or more are unreadable than `skipped` allows.
    """
    state = PartialState()
    bounds = np.linspace(0, len(clips), state.num_processes + 1).astype(int)
    share = range(bounds[state.process_index], bounds[state.process_index + 1])
    rows = ({**clips[number], "row": number} for number in share)
    pairs = []
    hidden = description is None or not state.is_main_process
    with progress_bar(total=len(share), desc=description, unit="clip", disable=hidden) as bar:
        for row, vector, _ in iter_clips(model.eval(), processor, rows, skipped, batch_size):
            bar.update()
            if vector is not None:
                pairs.append((row["row"], vector))
    pairs = [pair for share in gather_object([pairs]) for pair in share]
    skipped.check()
    if not pairs:
        raise nothing_readable(len(clips), skipped)
    numbers, vectors = zip(*pairs, strict=True)
    return np.stack(vectors), np.array(numbers, dtype=np.int64)


def embed_clips_of_pairs(
    model,
    processor,
    pairs: Dataset,
    skipped: SkippedClips,
    batch_size: int = 32,
    description: str = "embedding clips",
) -> tuple[np.ndarray, np.ndarray]:
    """Embeds the clips of a captioned table, each clip once, however many rows it has. Raises as `embed_clips`.

    Returns:
        (clips, dim) float32 unit vectors of the readable clips, or (clips, models, dim) for models side by side; and
            (rows,) int64, each row's clip among them, -1 if it can't be read.
    """
    clips = column_of(pairs, "audio_id").dictionary_encode().indices.to_numpy()
    first = np.unique(clips, return_index=True)[1]
    distinct = pairs.select(first).select_columns(["audio", "audio_id"])
    embeds, rows = embed_clips(model, processor, distinct, skipped, batch_size, description)
    numbers = np.full(len(first), -1)
    numbers[rows] = np.arange(len(rows))
    return embeds, numbers[clips]


def nothing_readable(count: int, skipped: SkippedClips, kind: str = "clips") -> InputError:
    """The error for a set whose clips are all unreadable."""
    reasons = skipped.read()
    example = f"; for instance {next(iter(reasons.items()))}" if reasons else ""
    return InputError(f"none of the {count} {kind} could be read{example}")


def embed_texts(model, processor, texts: list[str], description: str | None = None) -> np.ndarray:
    """Embeds texts, each distinct one once: (texts, dim) float32 unit vectors."""
    return text_vectors(model.eval(), processor.tokenizer, texts, description=description).numpy()


def text_vectors(
    model, tokenizer, texts: list[str], batch_size: int = 64, description: str | None = None
) -> torch.Tensor:
    """`embed_distinct_texts` for any model that `load_checkpoint` returned. A foreign model uses its own method."""
    if isinstance(model, ForeignModel):
        return model.embed_texts(texts, description)
    return embed_distinct_texts(model, tokenizer, texts, batch_size, description)


def first_too_long(model, processor, texts: Iterable[str]) -> tuple[str, int, int] | None:
    """The first text that is too long for a model, its number of tokens, and the model's limit; None if all fit."""
    sizes = getattr(model.config, "text_config", None)
    positions = min(longest_text(processor.tokenizer), getattr(sizes, "max_position_embeddings", MAX_TEXT_LENGTH))
    counts = ((text, len(processor.tokenizer(text)["input_ids"])) for text in texts)
    return next(((text, count, positions) for text, count in counts if count > positions), None)
