"""Whole tables and streams of clips, and lists of captions, to embeddings, each process its share."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, DatasetInfo, Features, IterableDataset, Value
from datasets.distributed import split_dataset_by_node
from tqdm.auto import tqdm

from .data.decoding import ClipReader, ClipWindows
from .data.excluded import Excluded
from .data.leakage import LEAKAGE_REASONS, KeptOut
from .data.skipping import SkippedClips
from .data.tables import POOL_COLUMNS, UNDECODED
from .encoding_clap_student import embed_distinct_texts, embed_windows
from .errors import InputError


def embed_clips(
    model, processor, clips: Dataset, skipped: SkippedClips, batch_size: int = 32, description: str = "embedding clips"
) -> tuple[np.ndarray, np.ndarray]:
    """Embeds a table of clips, each process its share; the same clip gives the same vector, to the bit.

    Long clips are read window by window: memory depends on `batch_size`, not on the clips.

    Args:
        model: a `ClapStudentModel`, or another CLAP that `load_checkpoint` returned.
        processor: the model's own.
        clips: table with `audio` and `audio_id`.
        skipped: where clips that can't be read are listed.
        batch_size: windows at a time.
        description: for the progress bar.

    Returns:
        (kept, dim) float32 unit vectors, and (kept,) int64 rows of `clips` they belong to, ascending.

    Raises:
        InputError: not one clip can be read, or more of them can't than `skipped` allows.
    """
    state = PartialState()
    bounds = np.linspace(0, len(clips), state.num_processes + 1).astype(int)
    share = range(bounds[state.process_index], bounds[state.process_index + 1])
    model.eval()
    rows: list[int] = []
    whole: list[bool] = []
    with tqdm(total=len(share), desc=description, unit="clip", disable=not state.is_main_process) as bar:
        windows = _windows(processor.feature_extractor, clips, share, skipped, batch_size, rows, whole, bar)
        embeds = embed_windows(model, windows, batch_size).numpy()[whole]
    # A share without one readable clip is no error as long as another process has some.
    shares = [(vectors, numbers) for vectors, numbers in gather_object([(embeds, rows)]) if numbers]
    skipped.check()
    if not shares:
        reasons = skipped.read()
        example = f"; for instance {next(iter(reasons.items()))}" if reasons else ""
        raise InputError(f"none of the {len(clips)} clips could be read{example}")
    return np.concatenate([s[0] for s in shares]), np.concatenate([np.array(s[1], dtype=np.int64) for s in shares])


def _windows(extractor, clips, share, skipped, batch_size, rows, whole, bar) -> Iterator[ClipWindows]:
    """The windows of each clip that can be begun; `rows` gets the rows of those read whole, `whole` which were."""
    reader = ClipReader(extractor.sampling_rate, skipped)
    for start in range(share.start, share.stop, batch_size):
        some = range(start, min(start + batch_size, share.stop))
        for row, clip in zip(some, reader.read_windows([clips[i] for i in some], extractor), strict=True):
            if clip is not None:
                yield clip
                # Whether it was whole is known when it was read to its end, which is now.
                whole.append(not clip.damaged)
                rows += [row] * whole[-1]
            bar.update()


def embed_stream(
    model,
    processor,
    stream: IterableDataset,
    skipped: SkippedClips,
    batch_size: int = 32,
    kept_out: KeptOut | None = None,
    excluded: Excluded | None = None,
    description: str = "embedding the stream",
) -> tuple[np.ndarray, Dataset]:
    """Embeds a stream of clips, each process its share; a clip gets the vector that it has in a table, to the bit.

    Of the audio only a batch is held at a time.

    Args:
        model: as for `embed_clips`.
        processor: the model's own.
        stream: rows of `POOL_COLUMNS`. Where its shards do not divide evenly among the processes, each reads all of
            it, and decodes its own clips.
        skipped: where clips that can't be read are listed.
        batch_size: clips to read and windows to embed at a time.
        kept_out: clips that are left out.
        excluded: gets the number of clips that were left out, and why.
        description: for the progress bar.

    Returns:
        (kept, dim) float32 unit vectors, and a table of the clips they belong to, each once: `POOL_COLUMNS`, where
        `audio` is null, and `share`, the process that read it.

    Raises:
        InputError: the stream is empty, or not one clip can be read.
    """
    state = PartialState()
    share = split_dataset_by_node(stream, rank=state.process_index, world_size=state.num_processes)
    model.eval()
    kept = _Kept(state.process_index)
    with tqdm(desc=description, unit="clip", disable=not state.is_main_process) as bar:
        windows = _stream_windows(
            processor.feature_extractor, share, skipped, batch_size, kept_out or KeptOut(), kept, bar
        )
        embeds = embed_windows(model, windows, batch_size).numpy()[kept.whole]
    shares = gather_object([(embeds, kept.table(), kept.seen, kept.left_out)])
    skipped.check()
    total = sum(s[2] for s in shares)
    left_out = {reason: [clip for s in shares for clip in s[3].get(reason, ())] for reason in LEAKAGE_REASONS}
    shares = [s for s in shares if len(s[0])]
    if not shares:
        reasons = skipped.read()
        example = f"; for instance {next(iter(reasons.items()))}" if reasons else ""
        raise InputError(f"none of the stream's {total} clips could be read{example}")
    vectors, table = np.concatenate([s[0] for s in shares]), pa.concat_tables([s[1] for s in shares])
    ids = table["audio_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.sort(np.unique(ids, return_index=True)[1])
    repeated = np.setdiff1d(np.arange(len(ids)), first)
    if excluded is not None:
        for reason, clips in left_out.items():
            excluded.add("the stream", reason, len(clips), total, clips[0] if clips else "")
        again = table["audio_id"][int(repeated[0])].as_py() if len(repeated) else ""
        excluded.add("the stream", "the same clip again", len(repeated), total, again)
    features = Features(
        {**{name: Value("string") for name in POOL_COLUMNS}, "audio": UNDECODED, "share": Value("int32")}
    )
    clips = Dataset(table.take(first).combine_chunks(), info=DatasetInfo(features=features))
    return (vectors if len(repeated) == 0 else vectors[first]), clips


class _Kept:
    """The clips that a process has read, as columns: few of them are Python objects at any time.

    Attributes:
        seen: rows of the stream, readable or not.
        left_out: reason -> ids of the clips that must not be used.
        whole: of each clip that was begun, whether it could be read to its end; the others are not kept.
    """

    def __init__(self, share: int):
        self.seen, self.whole = 0, []
        self.left_out: dict[str, list[str]] = defaultdict(list)
        self._share, self._rows, self._tables = share, [], []

    def add(self, row: dict, whole: bool) -> None:
        self.whole.append(whole)
        if not whole:
            return
        self._rows.append({name: row[name] for name in POOL_COLUMNS if name != "audio"})
        if len(self._rows) == 10_000:
            self._flush()

    def _flush(self) -> None:
        audio = pa.nulls(len(self._rows), UNDECODED.pa_type)
        texts = [pa.array([row[name] for row in self._rows], pa.string()) for name in POOL_COLUMNS[1:]]
        share = pa.array([self._share] * len(self._rows), pa.int32())
        self._tables.append(pa.table([audio, *texts, share], names=[*POOL_COLUMNS, "share"]))
        self._rows = []

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._tables)


def _stream_windows(
    extractor, share: Iterable[dict], skipped, batch_size, kept_out: KeptOut, kept: _Kept, bar
) -> Iterator[ClipWindows]:
    """The windows of each readable clip; it is noted in `kept`."""
    reader = ClipReader(extractor.sampling_rate, skipped)
    rows = iter(share)
    while some := list(islice(rows, batch_size)):
        reasons = [kept_out.reason(row) for row in some]
        wanted = [row for row, reason in zip(some, reasons, strict=True) if reason is None]
        kept.seen += len(some)
        for row, reason in zip(some, reasons, strict=True):
            if reason is not None:
                kept.left_out[reason].append(row["audio_id"])
        for row, clip in zip(wanted, reader.read_windows(wanted, extractor), strict=True):
            if clip is not None:
                yield clip
                # Whether it was whole is known when it was read to its end, which is now.
                kept.add(row, whole=not clip.damaged)
        bar.update(len(some))


def embed_texts(model, processor, texts: list[str], description: str | None = None) -> np.ndarray:
    """Embeds texts, each distinct one once: (texts, dim) float32 unit vectors."""
    return embed_distinct_texts(model.eval(), processor.tokenizer, texts, description=description).numpy()


__all__ = ["embed_clips", "embed_stream", "embed_texts"]
