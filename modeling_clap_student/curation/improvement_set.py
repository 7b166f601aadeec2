"""The Improvement-Set: curated pairs as a dataset that `load_dataset` opens from disk and from the Hub."""

import hashlib
import json
from pathlib import Path

from datasets import Dataset, Features, Value
from huggingface_hub import DatasetCard, DatasetCardData

from ..data.sources import UNDECODED, load_table
from ..errors import InputError


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
    }
)

_CARD = """# Improvement-Set ({strategy})

{num_pairs} pairs of a clip and a caption, chosen by a teacher without labels. `similarity` is the teacher's cosine
between the clip and the caption; `label` and `label_similarity` name the nearest class prompt.

The split `replay` holds captioned clips to rehearse while training on `train`.

```python
from datasets import Audio, load_dataset

pairs = load_dataset("PATH_OR_ID", split="train").cast_column("audio", Audio(decode=False))
```

```
accelerate launch run_student.py --strategy {strategy} --teacher TEACHER --improvement_set PATH_OR_ID
```

## How it was made

```json
{provenance}
```
"""


def save_improvement_set(folder: Path, pairs: Dataset, replay: Dataset | None, provenance: dict) -> None:
    """Writes parquet files, a card and `provenance.json`.

    Args:
        folder: an existing, fresh folder.
        pairs: of `FEATURES`.
        replay: rows of the same features, or None.
        provenance: everything needed to make it again; goes into the card.
    """
    (folder / "data").mkdir()
    splits = {"train": pairs} if replay is None else {"train": pairs, "replay": replay}
    for split, table in splits.items():
        # Without a batch size, datasets opens every audio file to ask its size.
        table.cast(FEATURES).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", batch_size=10_000)
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted((folder / "data").iterdir()):
        digest.update(file.read_bytes())
    _card(provenance, list(splits), digest.hexdigest()).save(folder / "README.md")


def read_provenance(folder: Path | str) -> dict | None:
    """How the Improvement-Set in a folder was made; None where there is none."""
    file = Path(folder) / "provenance.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _card(provenance: dict, splits: list[str], digest: str) -> DatasetCard:
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
        improvement_set={key: provenance[key] for key in ("strategy", "teacher", "num_pairs", "seed", "version")},
    )
    body = _CARD.format(
        strategy=provenance["strategy"],
        num_pairs=provenance["num_pairs"],
        provenance=json.dumps(provenance, indent=2),
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def load_improvement_set(path: Path | str) -> tuple[Dataset, Dataset | None, dict]:
    """Opens an Improvement-Set.

    Args:
        path: a folder that `curate.py` made, or a Hub id.

    Returns:
        the pairs, the replay set or None, and the provenance, empty where there is none at hand.

    Raises:
        InputError: something else, or an empty set.
    """
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


__all__ = ["FEATURES", "STRATEGIES", "load_improvement_set", "read_provenance", "save_improvement_set"]
