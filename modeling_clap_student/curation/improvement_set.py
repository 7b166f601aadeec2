"""The Improvement-Set: curated pairs as a dataset that `load_dataset` opens from disk and from the Hub."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value
from huggingface_hub import DatasetCard, DatasetCardData, hf_hub_download
from pyarrow.parquet import ParquetWriter
from tqdm.auto import tqdm

from ..audio_file_clap_student import AudioFile
from ..data.decoding import audio_bytes
from ..data.excluded import Excluded
from ..data.sources import Source, hub_name, split_revision
from ..data.streams import read_captioned_stream
from ..data.tables import UNDECODED, load_table
from ..errors import ClipError, InputError, reading
from ..redaction_clap_student import public, without_secrets
from ..run_config import ARGUMENTS


STREAMED = "stream="  # before a path or Hub id: to be read as it comes
STRATEGIES = ("du", "ds", "ads")
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

# With audio: about a gigabyte of 10-s clips a file, of which a row group is in memory at once.
ROWS_A_FILE, ROWS_A_GROUP = 2000, 64

_CARD = """# Improvement-Set ({strategy})

{num_pairs} pairs of a clip and a caption, chosen by a teacher without labels. `similarity` is the teacher's cosine
between the clip and the caption; `label` and `label_similarity` name the nearest class prompt.

The split `replay` holds captioned clips to rehearse while training on `train`.

```python
from datasets import Audio, load_dataset

pairs = load_dataset("{name}", split="train").cast_column("audio", Audio(decode=False))
```

```
accelerate launch run_student.py --strategy {strategy} --teacher {teacher} --improvement_set {name}
```

## How it was made

```json
{provenance}
```
"""


def save_improvement_set(
    folder: Path, pairs: Dataset | None, replay: Dataset | None, provenance: dict, name: str, with_audio: bool = False
) -> None:
    """Writes parquet files, a card and `provenance.json`.

    Args:
        folder: an existing, fresh folder.
        pairs: of `FEATURES`; None where `save_streamed_pairs` has written them there.
        replay: rows of the same features, or None.
        provenance: everything needed to make it again; goes into the card.
        name: where it is or will be, for the card: a path or a Hub id.
        with_audio: put the audio itself into the files, as the Hub needs it, instead of the paths.

    Raises:
        InputError: with audio, and a file is gone.
    """
    (folder / "data").mkdir(exist_ok=pairs is None)
    splits = {"train": pairs} if replay is None else {"train": pairs, "replay": replay}
    for split, table in splits.items():
        if table is None:
            continue
        count = -(-len(table) // ROWS_A_FILE) if with_audio else 1
        for number in tqdm(range(count), desc=f"writing {split}", unit="file", disable=count < 2):
            part = table.shard(count, number, contiguous=True)
            _write_parquet(part, folder / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet", with_audio)
    shown = without_secrets(json.dumps(provenance, indent=2))
    (folder / "provenance.json").write_text(shown + "\n", encoding="utf-8")
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted((folder / "data").iterdir()):
        digest.update(file.read_bytes())
    _card(provenance, list(splits), digest.hexdigest(), name).save(folder / "README.md")


def _write_parquet(table: Dataset, path: Path, with_audio: bool) -> None:
    schema = FEATURES.arrow_schema
    # Features are told to readers by the schema.
    with ParquetWriter(path, schema) as writer:
        for batch in (
            table.select_columns(list(FEATURES)).with_format("arrow").iter(ROWS_A_GROUP if with_audio else 10_000)
        ):
            writer.write_table(put_audio(batch, batch["audio"].to_pylist()) if with_audio else batch.cast(schema))


def put_audio(batch: pa.Table, audio: list[dict]) -> pa.Table:
    """A batch of `FEATURES`' columns with the encoded bytes of these clips in it."""
    schema = FEATURES.arrow_schema
    clips = [{"bytes": _encoded(clip), "path": Path(clip["path"] or "").name} for clip in audio]
    return batch.set_column(0, "audio", pa.array(clips, schema.field("audio").type)).cast(schema)


def _encoded(clip: dict) -> bytes:
    """The bytes of a clip, which must be audio: a set is published, and a path may lead to another file by now."""
    encoded = audio_bytes(clip)
    try:
        with AudioFile(encoded):
            return encoded
    except ClipError as error:
        raise InputError(f"{clip['path']} can't be put into the set: {error}") from error


def is_improvement_set(folder: Path) -> bool:
    """Whether a folder holds an Improvement-Set that `save_improvement_set` made, and no more."""
    beside = {ARGUMENTS, "report.html", "skipped.csv"}
    return {entry.name for entry in folder.iterdir()} - beside == {"README.md", "data", "provenance.json"}


def read_provenance(path: Path | str) -> dict | None:
    """How the Improvement-Set in a folder or on the Hub was made; None where that is not told."""
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
        made = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(made, dict):
        raise InputError(f"{file} holds no mapping: an Improvement-Set's provenance is one")
    return made


def _card(provenance: dict, splits: list[str], digest: str, name: str) -> DatasetCard:
    data = DatasetCardData(
        task_categories=["zero-shot-classification"],
        tags=["audio", "clap", "improvement-set"],
        configs=[
            {
                "config_name": "default",
                # load_dataset's cache knows a local folder by its name and this block alone: without a trace of the
                # content in it, a set made anew, or another of the same name, would come back as the old one.
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
        strategy=provenance["strategy"],
        teacher=provenance["teacher"],
        num_pairs=provenance["num_pairs"],
        provenance=json.dumps(provenance, indent=2),
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def load_improvement_set(
    path: Path | str,
) -> tuple[Dataset | IterableDataset, Dataset | IterableDataset | None, dict]:
    """Opens an Improvement-Set.

    Args:
        path: a folder that `curate.py` made, or a Hub id; after `stream=` it is read as it comes.

    Returns:
        the pairs, the replay set or None, and the provenance, empty where there is none at hand.

    Raises:
        InputError: something else, or an empty set.
    """
    name = str(path).removeprefix(STREAMED)
    if not Path(name).exists() and hub_name(name) is None:
        raise InputError(f"no such Improvement-Set: {name}: give a folder that curate.py made, or a Hub id")
    if str(path).startswith(STREAMED):
        place = str(path).removeprefix(STREAMED)
        provenance = read_provenance(place) or {}
        splits = ("train", "replay") if provenance.get("num_replay") else ("train",)
        # Of the clips of a pool that is on this machine the set holds the paths; what is trained on is not published.
        anywhere = Excluded(allow_outside_paths=True)
        sources = [Source(str(path), "stream", place, (split,), excluded=anywhere) for split in splits]
        streams = [read_captioned_stream(source) for source in sources]
        return streams[0], (streams[1] if len(streams) > 1 else None), provenance
    local = Path(path)
    if local.exists() and not (local / "data").is_dir():
        raise InputError(f"{path} is no Improvement-Set: make one with curate.py")
    splits = load_table(path)
    missing = {"audio", "caption", "audio_id"} - set(splits["train"].column_names) if "train" in splits else {"train"}
    if missing:
        raise InputError(f"{path} is no Improvement-Set: it lacks {', '.join(sorted(missing))}")
    if len(splits["train"]) == 0:
        raise InputError(f"{path} holds no pairs")
    return splits["train"], splits.get("replay"), read_provenance(path) or {}


__all__ = [
    "FEATURES",
    "ROWS_A_FILE",
    "ROWS_A_GROUP",
    "STRATEGIES",
    "is_improvement_set",
    "load_improvement_set",
    "put_audio",
    "read_provenance",
    "save_improvement_set",
]
