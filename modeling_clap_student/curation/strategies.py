"""The three ways to curate: domain-unspecific, domain-specific, augmented domain-specific.

Each is a pure function of embeddings and tables; it returns the pairs and what decided them. Source: Wang et al. 2023,
arXiv 2305.01864, section 2.2.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from datasets import Dataset

from .improvement_set import FEATURES, STRATEGIES
from .matching import match
from .selection import SelectedCaptions
from .threshold import Threshold


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
    **options,
) -> Curated:
    """DU, or ADS where captions were selected: the pool's clips with the captions that are similar enough.

    Args:
        pool: table with `audio audio_id source`.
        pool_embeds: (len(pool), dim) unit vectors.
        captions: table with `caption caption_id`, each caption once.
        caption_embeds: (len(captions), dim) unit vectors.
        threshold: on cos(clip, caption).
        selected: the captions of the domain; all of them without it.
        class_names: of the domain, with `selected`.
        options: of `match`.
    """
    chosen = np.arange(len(captions)) if selected is None else selected.indices
    found = match(pool_embeds, caption_embeds[chosen], threshold, **options)
    labels = label_similarities = pa.nulls(len(found.clips))
    if selected is not None:
        labels = pa.array(class_names, pa.string()).take(pa.array(selected.labels[found.captions]))
        label_similarities = selected.similarities[found.captions]
    clips, texts = _Rows(pool, found.clips), _Rows(captions, chosen[found.captions])
    pairs = _table(pool.select(found.clips), clips, texts, found.similarities, labels, label_similarities)
    return Curated(pairs, found.threshold, found.highest)


def select_training_pairs(
    corpus: Dataset, captions: Dataset, selected: SelectedCaptions, class_names: list[str]
) -> Dataset:
    """DS: the training pairs whose caption fits the domain. They keep their own audio; `similarity` is null."""
    of_caption = {captions[int(i)]["caption_id"]: n for n, i in enumerate(selected.indices)}
    rows = [row for row, key in enumerate(corpus["caption_id"]) if key in of_caption]
    pairs = corpus.select(rows)
    numbers = [of_caption[key] for key in pairs["caption_id"]]
    labels = [class_names[selected.labels[n]] for n in numbers]
    return _table(pairs, pairs, pairs, [None] * len(rows), labels, [float(selected.similarities[n]) for n in numbers])


def training_pairs(corpus: Dataset) -> Dataset:
    """All training pairs, in the Improvement-Set's columns."""
    empty = [None] * len(corpus)
    return _table(corpus, corpus, corpus, empty, empty, empty)


class _Rows:
    """Columns of some rows of a table, as Arrow gathers them: millions of texts never become Python's."""

    def __init__(self, table: Dataset, rows: np.ndarray):
        self.table, self.rows = table.with_format("arrow"), rows

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        # In parts, since a part holds up to two gigabytes of text.
        column, parts = self.table[name][:], range(0, len(self.rows), 2**20)
        taken = [column.take(pa.array(self.rows[start : start + 2**20])) for start in parts]
        chunks = [chunk for part in taken for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
        return pa.chunked_array(chunks, type=column.type)


def _table(audio: Dataset, clips, texts, similarities, labels, label_similarities) -> Dataset:
    columns = {
        "caption": texts["caption"],
        "similarity": similarities,
        "audio_id": clips["audio_id"],
        "caption_id": texts["caption_id"],
        "label": labels,
        "label_similarity": label_similarities,
        "source": clips["source"],
    }
    table = audio.select_columns(["audio"]).flatten_indices()
    for name, values in columns.items():
        values = values if isinstance(values, np.ndarray | pa.Array | pa.ChunkedArray) else list(values)
        table = table.add_column(name, values, feature=FEATURES[name])
    return table


__all__ = [
    "DEFAULT_THRESHOLDS",
    "PAPER_DU_THRESHOLD",
    "PAPER_THRESHOLDS",
    "STRATEGIES",
    "Curated",
    "match_pool",
    "select_training_pairs",
    "training_pairs",
]
