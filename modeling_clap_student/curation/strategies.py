"""The three ways to curate: domain-unspecific, domain-specific, augmented domain-specific.

Each is a pure function of embeddings and tables; it returns the pairs and what decided them. Source: Wang et al. 2023,
arXiv 2305.01864, section 2.2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetInfo

from ..data.tables import POOL_COLUMNS
from .arguments import Threshold
from .improvement_set import FEATURES
from .matching import match, match_by_label
from .selection import SelectedCaptions


_ROWS_AT_ONCE = 2**17

# Thresholds of the paper, on the cosines of its own teacher: (caption to label prompt, clip to caption).
PAPER_THRESHOLDS = {"esc50": (0.7, 0.7), "tut17": (0.675, 0.65), "urbansound8k": (0.6, 0.7)}
DEFAULT_THRESHOLDS = (0.7, 0.7)  # for other label sets
PAPER_DU_THRESHOLD = 0.75


@dataclass(frozen=True)
class Curated:
    """Pairs, and how they came about.

    Attributes:
        pairs: table of the Improvement-Set's columns.
        threshold: the cosine that decided.
        highest: the highest cosine seen.
    """

    pairs: Dataset
    threshold: float
    highest: float


def match_pool(
    pool: Dataset,
    pool_embeds: np.ndarray,
    captions: Dataset,
    caption_embeds: np.ndarray,
    threshold: Threshold,
    selected: SelectedCaptions | None = None,
    class_names: list[str] | None = None,
    scratch: Path | None = None,
    balance_labels: bool = False,
    **options,
) -> Curated:
    """DU, or ADS where captions were selected: the pool's clips with the captions that are similar enough.

    Args:
        pool: table with `audio audio_id source`, and `origin_id` where it is known.
        pool_embeds: (len(pool), dim) unit vectors.
        captions: table with `caption caption_id`, each caption once.
        caption_embeds: (len(captions), dim) unit vectors.
        threshold: on cos(clip, caption).
        selected: the captions of the domain; all of them without it.
        class_names: of the domain, with `selected`.
        scratch: file for the pairs where they are many; it must stay as long as they are used.
        balance_labels: with `selected`: choose among each label's captions apart, see `match_by_label`.
        options: of `match`.
    """
    chosen = np.arange(len(captions)) if selected is None else selected.indices
    if balance_labels:
        found = match_by_label(pool_embeds, caption_embeds[chosen], selected.labels, threshold, **options)
    else:
        found = match(pool_embeds, caption_embeds[chosen], threshold, **options)
    facts = {"similarity": found.similarities}
    if selected is not None:
        names = pa.array(class_names, pa.string())
        facts["label"] = pa.DictionaryArray.from_arrays(selected.labels[found.captions].astype(np.int32), names)
        facts["label_similarity"] = selected.similarities[found.captions]
    return Curated(
        _table(pool, found.clips, captions, chosen[found.captions], facts, scratch), found.threshold, found.highest
    )


def select_training_pairs(
    corpus: Dataset, captions: Dataset, selected: SelectedCaptions, class_names: list[str]
) -> Dataset:
    """DS: the training pairs whose caption fits the domain. They keep their own audio; `similarity` is null."""
    of_caption = {captions[int(i)]["caption_id"]: n for n, i in enumerate(selected.indices)}
    keys = corpus["caption_id"][:]
    rows = np.array([row for row, key in enumerate(keys) if key in of_caption], dtype=np.int64)
    numbers = np.array([of_caption[keys[row]] for row in rows], dtype=np.int64)
    labels = pa.array([class_names[selected.labels[number]] for number in numbers], pa.string())
    facts = {"label": labels, "label_similarity": selected.similarities[numbers]}
    return _table(corpus, rows, corpus, rows, facts)


def training_pairs(corpus: Dataset) -> Dataset:
    """All training pairs, in the Improvement-Set's columns."""
    rows = np.arange(len(corpus))
    return _table(corpus, rows, corpus, rows, {})


def _table(
    clips: Dataset,
    clip_rows: np.ndarray,
    texts: Dataset,
    text_rows: np.ndarray,
    facts: dict,
    scratch: Path | None = None,
) -> Dataset:
    """Pairs of clips and texts, gathered part by part; in a file where there are many, and memory holds one part."""
    clips, texts = (table.with_format("arrow") for table in (clips, texts))
    schema = FEATURES.arrow_schema

    def part(start: int) -> pa.Table:
        some = slice(start, start + _ROWS_AT_ONCE)
        clip, text = clips[clip_rows[some]], texts[text_rows[some]]
        columns = {name: clip[name] for name in POOL_COLUMNS if name in clip.column_names}
        columns |= {name: text[name] for name in ("caption", "caption_id")}
        columns |= {name: pa.array(values[some]) for name, values in facts.items()}
        missing = {name: pa.nulls(len(clip)) for name in FEATURES if name not in columns}
        return pa.table({name: (columns | missing)[name] for name in FEATURES}).cast(schema)

    starts = range(0, max(1, len(clip_rows)), _ROWS_AT_ONCE)
    if scratch is None or len(starts) == 1:
        return Dataset(pa.concat_tables(map(part, starts)), info=DatasetInfo(features=FEATURES))
    with pa.OSFile(str(scratch), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for start in starts:
            writer.write_table(part(start))
    return Dataset.from_file(str(scratch))
