"""The Improvement-Set: saves, opens and streams pairs and their card; computes how many pairs are true."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, Features, IterableDataset, Value
from datasets.distributed import split_dataset_by_node
from huggingface_hub import DatasetCard, DatasetCardData, hf_hub_download
from pyarrow.parquet import ParquetFile, ParquetWriter

from ..audio_clap_student import AudioFile
from ..data.decoding import encoded_audio
from ..data.sources import ExclusionLog, Source, hub_name, split_revision
from ..data.streams import read_stream
from ..data.tables import UNDECODED, load_table
from ..data.windows import WINDOW_COLUMNS
from ..errors import ClipError, InputError, reading
from ..redaction_clap_student import public, without_secrets
from ..soundscapes.corpus import holds_event
from ..utils.arguments import ARGUMENTS
from ..utils.console import progress_bar


STREAMED = "stream="  # prefix of a path or Hub id that is read as a stream
FEATURES = Features(
    {
        "audio": UNDECODED,
        "caption": Value("string"),
        "similarity": Value("float32"),
        "audio_id": Value("string"),
        "caption_id": Value("string"),
        "label": Value("string"),
        "label_similarity": Value("float32"),
        "source": Value("string"),
        "origin_id": Value("string"),
    }
)


def features_of(columns: Collection[str]) -> Features:
    """The columns of a set, including those of windows if some of its clips are windows."""
    return Features(FEATURES | WINDOW_COLUMNS) if WINDOW_COLUMNS.keys() <= set(columns) else FEATURES


# With audio: a file is about a gigabyte of 10-s clips; one row group of it is in memory at a time.
ROWS_A_FILE, ROWS_A_GROUP = 2000, 64

_CARD = """# Improvement-Set ({strategy})

{num_pairs} pairs of a clip and a caption, chosen by a teacher without labels. `similarity` is the teacher's cosine
between the clip and the caption; `label` and `label_similarity` name the nearest class prompt.
{windows}
The split `replay` holds captioned clips to rehearse while training on `train`.
{cautions}
```python
from datasets import Audio, load_dataset

pairs = load_dataset("{name}", split="train").cast_column("audio", Audio(decode=False))
```

```
accelerate launch run_student.py --strategy {strategy} --teacher {teacher} --improvement_set {name}
```

## How it was made

<details>
<summary>provenance.json</summary>

```json
{provenance}
```

</details>
"""

_CARD_OF_WINDOWS = """
A clip is a window of a longer recording: `start` and `end` say which, in seconds. A path that ends in `#t=2.5,7.5` is
that part of a file.
"""


def save_improvement_set(
    folder: Path, pairs: Dataset | None, replay: Dataset | None, provenance: dict, name: str, with_audio: bool = False
) -> None:
    """Writes parquet files, a card and `provenance.json`.

    Args:
        folder: an existing, fresh folder.
        pairs, replay: rows of `FEATURES`; no pairs if `save_streamed_pairs` has already written them there.
        provenance: everything needed to make the set again; it goes into the card.
        name: the set's present or future place, for the card: a path or a Hub id.
        with_audio: put the audio itself into the files, as the Hub needs it, instead of its paths.
    """
    (folder / "data").mkdir(exist_ok=pairs is None)
    splits = {"train": pairs} if replay is None else {"train": pairs, "replay": replay}
    # All splits have the same columns. For a stream, the pairs are already in their files.
    features = features_of(WINDOW_COLUMNS if provenance.get("window_seconds") else FEATURES)
    for split, table in splits.items():
        if table is None:
            continue
        count = -(-len(table) // ROWS_A_FILE) if with_audio else 1
        for number in progress_bar(range(count), desc=f"writing {split}", unit="file", disable=count < 2):
            part, file = table.shard(count, number, contiguous=True), f"{split}-{number:05d}-of-{count:05d}.parquet"
            _write_parquet(part, folder / "data" / file, features, with_audio)
    text = without_secrets(json.dumps(provenance, indent=2))
    (folder / "provenance.json").write_text(text + "\n", encoding="utf-8")
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted((folder / "data").iterdir()):
        digest.update(file.read_bytes())
    _card(provenance, list(splits), digest.hexdigest(), name).save(folder / "README.md")


def _write_parquet(table: Dataset, path: Path, features: Features, with_audio: bool) -> None:
    columns = table.select_columns([name for name in features if name in table.column_names]).with_format("arrow")
    schema = features.arrow_schema  # so that readers know the features
    with ParquetWriter(path, schema) as writer:
        for batch in columns.iter(ROWS_A_GROUP if with_audio else 10_000):
            for name in features.keys() - set(batch.column_names):
                batch = batch.append_column(name, pa.nulls(len(batch)))
            batch = batch.select(list(features))
            writer.write_table(put_audio(batch, batch["audio"].to_pylist()) if with_audio else batch.cast(schema))


def put_audio(batch: pa.Table, audio: list[dict]) -> pa.Table:
    """A batch of a set's columns with the encoded bytes of these clips."""
    schema = features_of(batch.column_names).arrow_schema
    clips = pa.array(map(_encoded, audio), schema.field("audio").type)
    return batch.set_column(0, "audio", clips).cast(schema)


def _encoded(clip: dict) -> dict:
    """A clip with its bytes. They must be audio: a set is published, and a path may lead to another file by now."""
    try:
        encoded = encoded_audio(clip)
        with AudioFile(encoded["bytes"]):
            return encoded
    except ClipError as error:
        raise InputError(f"{clip['path']} can't be put into the set: {error}") from error


def is_improvement_set(folder: Path) -> bool:
    """Whether a folder holds an Improvement-Set from `save_improvement_set`, and nothing else."""
    optional = {ARGUMENTS, "report.html", "skipped.csv", "quality.csv", "duplicates.csv"}
    return {entry.name for entry in folder.iterdir()} - optional == {"README.md", "data", "provenance.json"}


def read_provenance(path: Path | str) -> dict | None:
    """How the Improvement-Set in a folder or on the Hub was made; None if it does not say."""
    path = str(path).removeprefix(STREAMED)
    file = Path(path) / "provenance.json"
    if not Path(path).exists():
        name, revision = split_revision(path)
        if hub_name(path) is None:
            return None
        try:
            file = Path(hf_hub_download(name, "provenance.json", repo_type="dataset", revision=revision))
        except (OSError, ValueError):  # no such file, no such repository, no network, or no Hub id
            return None
    if not file.is_file():
        return None
    with reading(file, "provenance of an Improvement-Set"):
        provenance = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(provenance, dict):
        raise InputError(f"{file} holds no mapping: an Improvement-Set's provenance is one")
    return provenance


def _card(provenance: dict, splits: list[str], digest: str, name: str) -> DatasetCard:
    data = DatasetCardData(
        task_categories=["zero-shot-classification"],
        tags=["audio", "clap", "improvement-set"],
        configs=[
            {
                "config_name": "default",
                # load_dataset's cache identifies a local folder by its name and this block only. Without a trace of
                # the content in it, a set that was made again, or another set of that name, would load as the old one.
                "description": f"content {digest}",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits],
            }
        ],
        improvement_set={
            key: public(provenance[key]) for key in ("strategy", "teacher", "num_pairs", "seed", "version")
        },
    )
    name, provenance = public(name), public(provenance)
    body = _CARD.format(
        name=name,
        windows=_CARD_OF_WINDOWS if provenance.get("window_seconds") else "",
        strategy=provenance["strategy"],
        teacher=provenance["teacher"],
        num_pairs=provenance["num_pairs"],
        cautions="".join(f"\nCaution: {sign}.\n" for sign in provenance.get("cautions", ())),
        provenance=json.dumps(provenance, indent=2),
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def load_improvement_set(
    path: Path | str,
) -> tuple[Dataset | IterableDataset, Dataset | IterableDataset | None, dict]:
    """Opens a folder that `curate.py` made, or a Hub id. After `stream=` it is read as a stream.

    Returns:
        the pairs, the replay set or None, and the provenance, empty if there is none here.
    """
    name = str(path).removeprefix(STREAMED)
    if not Path(name).exists() and hub_name(name) is None:
        raise InputError(f"no such Improvement-Set: {name}: give a folder that curate.py made, or a Hub id")
    if str(path).startswith(STREAMED):
        provenance = read_provenance(name) or {}
        # A set of clips on this machine holds their paths. Training publishes nothing, so they may lie anywhere.
        anywhere = ExclusionLog(allow_outside_paths=True)
        splits = ("train", "replay") if provenance.get("num_replay") else ("train",)
        sources = [Source(str(path), "stream", name, (split,), exclusions=anywhere) for split in splits]
        streams = [read_stream(source, captioned=True) for source in sources]
        return streams[0], (streams[1] if len(streams) > 1 else None), provenance
    if Path(name).exists() and not Path(name, "data").is_dir():
        raise InputError(f"{path} is no Improvement-Set: make one with curate.py")
    splits = load_table(path)
    missing = {"audio", "caption", "audio_id"} - set(splits["train"].column_names) if "train" in splits else {"train"}
    if missing:
        raise InputError(f"{path} is no Improvement-Set: it lacks {', '.join(sorted(missing))}")
    if len(splits["train"]) == 0:
        raise InputError(f"{path} holds no pairs")
    return splits["train"], splits.get("replay"), read_provenance(path) or {}


def save_streamed_pairs(folder: Path, pairs: Dataset, clips: Dataset, stream: IterableDataset) -> None:
    """Writes the split `train` with its audio inside, in the order of `pairs`. Each process writes the clips of its
    share.

    One row group of audio is in memory at a time. All processes must call it, and all must see the folder. `pairs` are
    rows of `FEATURES`, where `audio` is null. `clips` is the result of `StoredEmbedder.stream` for the stream.
    """
    state = PartialState()
    data = folder / "data"
    if state.is_main_process:
        data.mkdir()
    state.wait_for_everyone()
    own_clips = clips.select(np.flatnonzero(np.array(clips["share"][:]) == state.process_index))
    share = split_dataset_by_node(stream, rank=state.process_index, world_size=state.num_processes)
    rows_with_audio = _matched_audio(share, pairs["audio_id"], set(own_clips["audio_id"]), state.is_main_process)
    features = features_of(pairs.column_names)
    columns = pairs.select_columns(list(features)).with_format("arrow")
    count = 0
    while group := list(islice(rows_with_audio, ROWS_A_GROUP)):
        path = data / f"part-{state.process_index:05d}-{count // ROWS_A_FILE:05d}.parquet"
        end = count + ROWS_A_FILE
        with ParquetWriter(path, features.arrow_schema) as writer:
            while group:
                writer.write_table(put_audio(columns[[row for row, _ in group]], [audio for _, audio in group]))
                count += len(group)
                group = list(islice(rows_with_audio, min(ROWS_A_GROUP, end - count)))
    if (total := sum(gather_object([count]))) != len(pairs):
        raise InputError(f"{len(pairs) - total} pairs lost their clip: the pool has changed since it was embedded")
    if state.is_main_process:
        parts = sorted(data.glob("part-*.parquet"))
        for number, part in enumerate(parts):
            part.rename(data / f"train-{number:05d}-of-{len(parts):05d}.parquet")
    state.wait_for_everyone()


def _matched_audio(
    stream: IterableDataset, ids: Sequence[str], own_ids: set[str], shows_bar: bool
) -> Iterator[tuple[int, dict]]:
    """(row of the pairs, audio), until all `own_ids` were found."""
    rows_of = defaultdict(list)
    for row, audio_id in enumerate(ids):
        if audio_id in own_ids:
            rows_of[audio_id].append(row)
    for clip in progress_bar(stream, desc="fetching the matched clips", unit="clip", disable=not shows_bar):
        if not rows_of:
            break
        for row in rows_of.pop(clip["audio_id"], ()):
            yield row, clip["audio"]


def read_streamed_audio(folder: Path, pairs: Dataset, rows: Sequence[int]) -> Iterator[dict]:
    """The audio of some rows of `pairs`, undecoded, from the files that `save_streamed_pairs` wrote.

    One row group is in memory at a time. The files of several processes are not in the order of `pairs`, so a row is
    found by its clip and caption.
    """
    columns = ["audio_id", "caption_id"]
    keys = [tuple(row.values()) for row in pairs.select_columns(columns).select(rows)]
    clips = pa.array(sorted({audio_id for audio_id, _ in keys}))
    places = {}
    for path in sorted((folder / "data").glob("train-*.parquet")):
        with ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=columns)
                for n in np.flatnonzero(pc.is_in(table["audio_id"], clips)):
                    places[table["audio_id"][n].as_py(), table["caption_id"][n].as_py()] = path, group, int(n)
    for key in keys:
        path, group, n = places[key]
        with ParquetFile(path) as file:
            yield file.read_row_group(group, columns=["audio"])["audio"][n].as_py()


def pair_precision(pairs: Dataset) -> float | None:
    """The share of pairs whose clip truly holds the caption's sound; None if no pair can be judged."""
    verdicts = Counter()
    for batch in pairs.select_columns(["audio", "caption"]).with_format("arrow").iter(10_000):
        # Only the paths: pairs may hold their audio.
        paths = pc.struct_field(batch["audio"], "path").to_pylist()
        verdicts.update(map(holds_event, (path or "" for path in paths), batch["caption"].to_pylist()))
    num_judged = verdicts[True] + verdicts[False]
    return verdicts[True] / num_judged if num_judged else None
