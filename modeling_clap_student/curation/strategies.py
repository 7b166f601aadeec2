"""The three ways to curate: domain-unspecific (DU), domain-specific (DS), augmented domain-specific (ADS).

Source: Wang et al. 2023, arXiv 2305.01864, section 2.2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, DatasetInfo, concatenate_datasets

from ..data.decoding import readable_rows
from ..data.filters import with_audio
from ..data.skipping import SkippedClips
from ..data.sources import ExclusionLog, report_exclusions
from ..data.tables import POOL_COLUMNS
from ..data.texts import caption_key
from ..data.windows import WINDOW_COLUMNS
from ..errors import InputError
from ..processing_clap_student import label_text
from ..utils.processes import from_main_process
from .arguments import Threshold
from .embedder import StoredEmbedder
from .embedding_store import StoredVectors
from .improvement_set import features_of
from .inputs import CurationInputs
from .matching import match, match_by_label


PROMPT = "this is a sound of "
PAPER_DU_THRESHOLD = 0.75
_ROWS_AT_ONCE = 2**17


def paper_thresholds(layout: str | None) -> tuple[float, float]:
    """The paper's thresholds, on its own teacher's cosines: for caption and label prompt, and for clip and caption."""
    thresholds = {"esc50": (0.7, 0.7), "tut17": (0.675, 0.65), "urbansound8k": (0.6, 0.7)}
    return thresholds.get(layout, (0.7, 0.7))


def label_prompts(class_names: list[str], prompt: str = PROMPT) -> list[str]:
    return [prompt + label_text(name) for name in class_names]


def with_prompts(captions: Dataset, class_names: list[str]) -> Dataset:
    """A table of `caption` and `caption_id`, followed by the classes' prompts that it lacks."""
    prompts = {caption_key(prompt): prompt for prompt in label_prompts(class_names)}
    for key in captions["caption_id"]:
        prompts.pop(key, None)
    columns = {"caption": list(prompts.values()), "caption_id": list(prompts)}
    return concatenate_datasets([captions, Dataset.from_dict(columns, captions.features)])


@dataclass(frozen=True)
class SelectedCaptions:
    """Captions that fit a domain."""

    indices: np.ndarray  # (selected,) which of the captions, ascending
    labels: np.ndarray  # (selected,) index of the nearest class
    similarities: np.ndarray  # (selected,) float32 cosine to that class's prompt
    threshold: float  # the cosine that decided
    highest: float  # the highest cosine of any caption
    label_embeds: np.ndarray  # (classes, dim) unit vectors of the classes' prompts


def select_captions(caption_embeds: np.ndarray, label_embeds: np.ndarray, threshold: Threshold) -> SelectedCaptions:
    """Keeps the captions whose cosine to the nearest class prompt reaches the threshold. Both are unit vectors."""
    similarities = caption_embeds.astype(np.float32) @ label_embeds.astype(np.float32).T
    labels = similarities.argmax(axis=1)
    nearest = similarities.max(axis=1)
    floor = threshold.resolve(nearest)
    indices = np.flatnonzero(nearest >= floor)
    chosen = labels[indices], nearest[indices]
    return SelectedCaptions(indices, *chosen, float(floor), float(nearest.max()), label_embeds)


def nearest_captions(caption_embeds: np.ndarray, label_embeds: np.ndarray, count: int) -> SelectedCaptions:
    """The `count` captions nearest to each class prompt. A caption that is near two belongs to the nearer."""
    similarities = caption_embeds.astype(np.float32) @ label_embeds.astype(np.float32).T
    nearest = np.argsort(-similarities, axis=0, kind="stable")[:count]
    chosen = np.full_like(similarities, -np.inf)
    np.put_along_axis(chosen, nearest, np.take_along_axis(similarities, nearest, axis=0), axis=0)
    indices = np.unique(nearest)
    labels, values = chosen[indices].argmax(axis=1), chosen[indices].max(axis=1)
    return SelectedCaptions(indices, labels, values, float(values.min()), float(similarities.max()), label_embeds)


def label_offsets(clip_embeds, label_embeds: np.ndarray, scale: float, block_size: int = 4096) -> np.ndarray:
    """How near each clip is to all labels together: log-sum-exp of its scaled cosines, over the scale.

    Subtract it from a clip's cosine to a label, and multiply by the scale. The result is the log of the teacher's
    zero-shot probability of the label. So a clip that is near to every label is near to none.

    Args:
        clip_embeds: (clips, dim) unit vectors.
        label_embeds: (classes, dim) unit vectors of the classes' prompts.
        scale: the factor of the teacher's cosines.

    Returns:
        (clips,) float32.
    """
    labels = torch.tensor(label_embeds, dtype=torch.float32).T
    blocks = (slice(start, start + block_size) for start in range(0, len(clip_embeds), block_size))
    cosines = (torch.tensor(clip_embeds[rows], dtype=torch.float32) @ labels for rows in blocks)
    return torch.cat([torch.logsumexp(scale * block, dim=1) / scale for block in cosines]).numpy()


@dataclass(frozen=True)
class Curated:
    """Pairs, in the Improvement-Set's columns; the deciding cosine; and the highest cosine found."""

    pairs: Dataset
    threshold: float
    highest: float


def none_reached(kind: str, result: Curated | SelectedCaptions) -> InputError:
    """The error for an empty set, with a threshold that would not give an empty one."""
    return InputError(
        f"no {kind} reached {result.threshold:.3f}: the highest similarity seen is {result.highest:.3f}. "
        f"Try --{kind}_threshold {result.highest - 0.05:.2f}, or --num_{kind}s to keep the best ones, whatever their "
        "cosine"
    )


def match_pool(
    pool: Dataset,
    pool_embeds: np.ndarray | StoredVectors,
    captions: Dataset,
    caption_embeds: np.ndarray,
    threshold: Threshold,
    selected: SelectedCaptions | None = None,
    class_names: list[str] | None = None,
    scratch: Path | None = None,
    balance_labels: bool = False,
    **options,
) -> Curated:
    """DU, or ADS if captions were selected: the pool's clips with the captions that are similar enough.

    Args:
        pool: table with `audio audio_id source`, and `origin_id` if it is known.
        captions: table with `caption caption_id`, each caption once.
        pool_embeds, caption_embeds: (rows, dim) unit vectors of the two tables.
        threshold: on cos(clip, caption).
        selected: the captions of the domain; without it, all captions.
        class_names: of the domain, with `selected`.
        scratch: file for the pairs if there are many. It must exist as long as they are used.
        balance_labels: with `selected`: choose separately among each label's captions, see `match_by_label`.
        options: of `match`.
    """
    rows = np.arange(len(captions)) if selected is None else selected.indices
    if balance_labels:
        matches = match_by_label(pool_embeds, caption_embeds[rows], selected.labels, threshold, **options)
    else:
        matches = match(pool_embeds, caption_embeds[rows], threshold, **options)
    facts = {"similarity": matches.similarities}
    if selected is not None:
        names = pa.array(class_names, pa.string())
        facts["label"] = pa.DictionaryArray.from_arrays(selected.labels[matches.captions].astype(np.int32), names)
        facts["label_similarity"] = selected.similarities[matches.captions]
    pairs = _table(pool, matches.clips, captions, rows[matches.captions], facts, scratch)
    return Curated(pairs, matches.threshold, matches.highest)


def select_training_pairs(
    corpus: Dataset, captions: Dataset, selected: SelectedCaptions, class_names: list[str]
) -> Dataset:
    """DS: the training pairs whose caption fits the domain. They keep their own audio; `similarity` is null."""
    number_of = {captions[int(row)]["caption_id"]: number for number, row in enumerate(selected.indices)}
    keys = corpus["caption_id"][:]
    rows = np.array([row for row, key in enumerate(keys) if key in number_of], dtype=np.int64)
    numbers = np.array([number_of[keys[row]] for row in rows], dtype=np.int64)
    labels = pa.array([class_names[selected.labels[number]] for number in numbers], pa.string())
    return _table(corpus, rows, corpus, rows, {"label": labels, "label_similarity": selected.similarities[numbers]})


def similar_training_pairs(
    inputs: CurationInputs, selected: SelectedCaptions, embedder: StoredEmbedder, caption_embeds: StoredVectors
) -> Dataset:
    """Selected training pairs with the teacher's cosine between clip and caption. Unreadable clips are left out."""
    pairs = select_training_pairs(inputs.corpus, inputs.captions, selected, inputs.class_names)
    clip_embeds, rows = embedder.table(pairs, "embedding the chosen clips")
    pairs = pairs.select(rows)
    row_of = {key: row for row, key in enumerate(inputs.captions["caption_id"])}
    texts = np.array([row_of[key] for key in pairs["caption_id"]])
    blocks = (slice(start, start + 4096) for start in range(0, len(pairs), 4096))
    cosines = np.concatenate([(clip_embeds[rows] * caption_embeds[texts[rows]]).sum(axis=1) for rows in blocks])
    columns = pairs.column_names
    return pairs.remove_columns("similarity").add_column("similarity", cosines).select_columns(columns)


def training_pairs(corpus: Dataset) -> Dataset:
    """All training pairs, in the Improvement-Set's columns."""
    rows = np.arange(len(corpus))
    return _table(corpus, rows, corpus, rows, {})


def replay_set(
    inputs: CurationInputs, selected: SelectedCaptions | None, skipped: SkippedClips | None
) -> Dataset | None:
    """The student's replay set: for DU the teacher's corpus, for ADS its part in the domain. None without audio.

    With `skipped`, only the part that decodes: a set may be published, and must hold audio and nothing else.
    """
    exclusions = ExclusionLog()
    corpus = with_audio(inputs.corpus, "the replay set", exclusions)
    report_exclusions(exclusions)
    if len(corpus) == 0:
        return None
    if selected is None:
        replay = training_pairs(corpus)
    else:
        replay = select_training_pairs(corpus, inputs.captions, selected, inputs.class_names)
    if skipped is not None and len(replay):
        replay = replay.select(from_main_process(lambda: readable_rows(replay, skipped)))
    return replay if len(replay) else None


def _table(
    clips: Dataset,
    clip_rows: np.ndarray,
    texts: Dataset,
    text_rows: np.ndarray,
    facts: dict,
    scratch: Path | None = None,
) -> Dataset:
    """Pairs of clips and texts, collected part by part. Many pairs go into a file, with one part in memory."""
    clips, texts = (table.with_format("arrow") for table in (clips, texts))
    features = features_of(clips.column_names)
    schema = features.arrow_schema

    def part(start: int) -> pa.Table:
        rows = slice(start, start + _ROWS_AT_ONCE)
        clip, text = clips[clip_rows[rows]], texts[text_rows[rows]]
        columns = {name: clip[name] for name in (*POOL_COLUMNS, *WINDOW_COLUMNS) if name in clip.column_names}
        columns |= {name: text[name] for name in ("caption", "caption_id")}
        columns |= {name: pa.array(values[rows]) for name, values in facts.items()}
        missing = {name: pa.nulls(len(clip)) for name in features if name not in columns}
        return pa.table({name: (columns | missing)[name] for name in features}).cast(schema)

    starts = range(0, max(1, len(clip_rows)), _ROWS_AT_ONCE)
    if scratch is None or len(starts) == 1:
        return Dataset(pa.concat_tables(map(part, starts)), info=DatasetInfo(features=features))
    with pa.OSFile(str(scratch), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for start in starts:
            writer.write_table(part(start))
    return Dataset.from_file(str(scratch))
