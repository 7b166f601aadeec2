"""`report.html`: one page on which a person judges an Improvement-Set, by eye and by ear.

It holds counts, charts and a few dozen pairs to listen to, and needs no network. Whatever the set's size, the page
stays below `MAX_PAGE_BYTES`. In memory are the set's columns without the audio, in arrow, and one clip at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...data.quality import FAULTS
from ...redaction_clap_student import public
from ...utils.outputs import whole_file
from ..arguments import CORRECTIONS
from ..window_maps import NUM_MAPS, WindowMap
from .heat_maps import MAX_MAP_BYTES, draw_maps
from .pictures import MAX_CLIP_BYTES, MAX_SECONDS, similarity_charts
from .shown_pairs import as_floats, asked_pairs, nearest_rows, shorten, show_pairs


NUM_RANDOM, NUM_NEAREST, NUM_HUBS, MAX_LABELS = 30, 30, 8, 300
MAX_PAGE_BYTES = (NUM_RANDOM + NUM_NEAREST + NUM_HUBS) * MAX_CLIP_BYTES + NUM_MAPS * MAX_MAP_BYTES + 1_000_000
_BINS = 4000
_COLUMNS = ["caption", "similarity", "audio_id", "caption_id", "label", "label_similarity"]
# Facts of the provenance that the page shows, and its words for them.
_FACTS = {
    "teacher": "Teacher",
    "teacher_revision": "Its revision",
    "prompt": "Prompt of the labels",
    "captions": "Captions from",
    "audio": "Pool",
    "window_seconds": "Its recordings are cut into windows of this many seconds",
    "hop_seconds": "Seconds from one window's start to the next one's",
    "exclude": "Left out of the pool",
    "caption_threshold": "Captions: at least this near to a label",
    "pair_threshold": "Pairs: at least this similar",
    "wanted_precision": "Share of true pairs that was wanted",
    "confidence": "How surely, as listeners judged",
    "verdicts": "Their verdicts",
    "dropped_as_rejected": "Left out: a listener said they don't fit",
    "estimated_precision": "Share of true pairs, by the teacher's own probabilities",
    "max_captions_per_clip": "Captions a clip, at most",
    "max_clips_per_caption": "Clips a caption, at most",
    "mutual_nearest": "Only mutual nearest",
    "csls_neighbours": "Threshold after correcting for hubs; neighbours",
    "contrast_labels": "Clips ranked by the label's probability among all labels",
    "highest_similarity": "Highest similarity",
    "num_skipped": "Clips that could not be read, or were not good enough",
    "evaluation_copies": "Clips left out: they sound like an evaluation clip",
    "below_quality": "Clips left out for their quality",
    "near_duplicates": "The same recordings under other bytes",
    "semantic_duplicates": "Clips that the teacher hardly tells apart",
    "seed": "Seed",
    "version": "Version of modeling_clap_student",
}


@dataclass(frozen=True)
class ReportData:
    """The data of a report.

    Attributes:
        pairs: at least one row of the Improvement-Set's features, `audio` undecoded.
        provenance: the set's: `strategy`, and anything else known about teacher, thresholds, corpora and counts.
        selected: for each label, (captions,) float32, the similarities of its selected captions to its prompt; None if
            none were selected, or if that is not known.
        histogram: ascending bin edges (bins + 1,) and int64 counts (bins,) of the similarities of all compared clips
            and captions; None if only those of the pairs are known.
        sampled_clips: how many clips the histogram was counted from, if not from all.
        num_pool_clips: clips that were compared; None without a pool.
        num_captions: captions that were read, each counted once.
        pair_precision: the share of true pairs, if it is known.
        audio_of: rows of `pairs` -> their undecoded audio, one by one; None if `pairs` holds it.
        window_maps: where the labels are in some recordings, for a pool that was cut into windows.
        faults: fault of the pool's clips -> some clips that have it; their number is in the provenance.
    """

    pairs: Dataset
    provenance: dict
    selected: dict[str, np.ndarray] | None = None
    histogram: tuple[np.ndarray, np.ndarray] | None = None
    sampled_clips: int | None = None
    num_pool_clips: int | None = None
    num_captions: int | None = None
    pair_precision: float | None = None
    audio_of: Callable[[Sequence[int]], Iterable[dict | None]] | None = None
    faults: dict[str, list[str]] | None = None
    window_maps: Sequence[WindowMap] = ()


def write_report(path: Path, data: ReportData) -> None:
    """Writes the page, completely or not at all."""
    page = render_report(data)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render_report(data: ReportData) -> str:
    """The page. The same data gives the same page. A clip that can't be read is marked as such."""
    table = data.pairs.select_columns(_COLUMNS).with_format("arrow")[:]
    made_by = data.provenance
    column, threshold = _decision(made_by)
    clips = hub_clips(table, NUM_HUBS)
    asked = asked_pairs(table, made_by, NUM_RANDOM)
    nearest = nearest_rows(as_floats(table[column]), threshold, NUM_NEAREST)
    audio_of = data.audio_of or (lambda rows: (data.pairs[row]["audio"] for row in rows))
    pairs = show_pairs(table, [*asked.rows, *nearest, *(clip["row"] for clip in clips)], audio_of)
    labels = label_rows(table, data.selected, made_by.get("labels") or [])
    nearest_title = "least similar pairs"
    if threshold is not None:
        whose = " of captions to labels" if column == "label_similarity" else ""
        nearest_title = f"pairs nearest to the threshold of {threshold:.3f}{whose}"
    return page_template("page.html.jinja").render(
        made=made_by,
        counts=count_cells(data, table),
        charts=charts(data, as_floats(table["similarity"])),
        labels=labels[:MAX_LABELS],
        num_labels=len(labels),
        most_pairs=max((label["pairs"] for label in labels), default=0),
        hub_clips=[clip | {"pair": pairs[clip["row"]]} for clip in clips],
        hub_captions=hub_captions(table, NUM_HUBS),
        lists=[
            ("random", "random pairs", [pairs[row] for row in asked.rows]),
            ("nearest", nearest_title, [pairs[row] for row in nearest]),
        ],
        asked=asked,
        maps=draw_maps(data.window_maps),
        faults=fault_rows(data),
        facts=facts(made_by),
        max_seconds=MAX_SECONDS,
        max_megabytes=-(-MAX_PAGE_BYTES // 1_000_000),
    )


def page_template(name: str):
    """A template of this folder."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"short": shorten, "cosine": lambda value: "–" if value != value else f"{value:.3f}"}
    return page.get_template(name)


def _decision(made_by: dict) -> tuple[str, float | None]:
    """The column that a threshold decided, and the threshold if it is a cosine like the column."""
    if made_by["strategy"] == "ds":
        return "label_similarity", made_by.get("caption_threshold")
    return "similarity", None if any(made_by.get(name) for name in CORRECTIONS) else made_by.get("pair_threshold")


def count_cells(data: ReportData, table: pa.Table) -> list[dict]:
    """The paper's Table 1 for this set: `name`, `value` and `note` of each column."""
    made_by, pairs, pool = data.provenance, len(table), data.num_pool_clips
    clips, paired = (pc.count_distinct(table[key]).as_py() for key in ("audio_id", "caption_id"))
    selected = made_by.get("num_captions", data.num_captions or paired)
    of_captions = f"of {data.num_captions:,}; " if data.num_captions else ""
    cells = [
        ("Strategy", made_by["strategy"].upper(), ""),
        ("Captions selected", f"{selected:,}", f"{of_captions}{paired:,} of them in pairs"),
        ("Clips", f"{clips:,}", "" if pool is None else f"of {pool:,} in the pool"),
        ("Pairs", f"{pairs:,}", "" if pool is None else f"of {selected * pool:,} compared"),
        ("Pairs per clip", f"{pairs / clips:.2f}", "on average"),
        ("Replay pairs", f"{made_by.get('num_replay', 0):,}", "to rehearse"),
        ("True pairs", "–", "not known: judge by ear, below")
        if data.pair_precision is None
        else ("True pairs", f"{data.pair_precision:.1%}", "the clip holds what the caption says"),
    ]
    return [dict(zip(("name", "value", "note"), cell, strict=True)) for cell in cells]


def charts(data: ReportData, similarities: np.ndarray) -> list[dict]:
    """`title`, `note` and `svg` of each chart."""
    made_by, cosines = data.provenance, similarities[np.isfinite(similarities)].clip(-1, 1)
    threshold = None if made_by["strategy"] == "ds" else _decision(made_by)[1]
    if data.histogram is None:
        edges, compared = np.linspace(-1, 1, _BINS + 1), None
        titles = ("Similarities of the kept pairs", "Kept pairs at each threshold")
        note = f"{len(cosines):,} cosines. What was compared and not kept is not known here."
    else:
        edges, counts = data.histogram
        compared = counts * (1 if data.sampled_clips is None else data.num_pool_clips / data.sampled_clips)
        captions = "all" if made_by["strategy"] == "du" else "the selected"
        titles = (f"Similarities of all clips with {captions} captions", "Pairs at each threshold")
        note = f"{compared.sum():,.0f} cosines; in colour, those of the pairs that were kept."
        if data.sampled_clips is not None:
            note += f" Estimated from {data.sampled_clips:,} of {data.num_pool_clips:,} clips, except for these."
    scale = "The axis is logarithmic. The higher the threshold, the fewer the pairs, and the more similar."
    drawings = similarity_charts(edges, np.histogram(cosines, edges)[0], compared, threshold, titles)
    columns = zip(titles, (note, scale), drawings, strict=True)
    return [{"title": title, "note": text, "svg": svg} for title, text, svg in columns]


def facts(made_by: dict) -> list[tuple[str, str]]:
    """How the set was made, in words."""

    def in_words(value) -> str:
        if isinstance(value, float):
            return f"{value:.4f}"
        if isinstance(value, dict):
            return ", ".join(f"{count} {name}" for name, count in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    values = {key: public(made_by[key]) for key in _FACTS if made_by.get(key) not in (None, [])}
    return [(_FACTS[key], shorten(in_words(value))) for key, value in values.items()]


def fault_rows(data: ReportData) -> list[dict]:
    """`name`, `meaning`, number of `clips` and some `examples` for each fault of the pool's recordings."""
    counts = data.provenance.get("quality") or {}
    return [
        {"name": name, "meaning": FAULTS[name], "clips": counts[name], "examples": (data.faults or {}).get(name, [])}
        for name in FAULTS
        if counts.get(name)
    ]


def label_rows(table: pa.Table, selected: dict[str, np.ndarray] | None, class_names: list[str]) -> list[dict]:
    """Each label's captions, clips and pairs, most pairs first. Labels that got nothing are included.

    Without `selected` (see `ReportData`), the captions in the pairs count.

    Returns:
        dicts of `label`, `captions` selected, the `lowest` and `highest` of their similarities to the prompt (NaN
        without captions), captions `matched`, `clips`, `pairs`.
    """
    aggregations = [
        ([], "count_all"),
        *((column, "count_distinct") for column in ("caption_id", "audio_id")),
        *(("label_similarity", end) for end in ("min", "max")),
    ]
    groups = table.group_by("label").aggregate(aggregations).to_pylist()
    groups = {group["label"]: group for group in groups if group["label"] is not None}
    rows = []
    for label in dict.fromkeys([*class_names, *(selected or {}), *sorted(groups)]):
        group = groups.get(label, {})
        num_paired = group.get("caption_id_count_distinct", 0)
        ends = (group.get("label_similarity_min"), group.get("label_similarity_max"))
        near = np.array([end for end in ends if end is not None], np.float32)
        if selected is not None:
            near = selected.get(label, near[:0])
        rows.append(
            {
                "label": label,
                "captions": num_paired if selected is None else len(near),
                "lowest": float(near.min()) if len(near) else np.nan,
                "highest": float(near.max()) if len(near) else np.nan,
                "matched": num_paired,
                "clips": group.get("audio_id_count_distinct", 0),
                "pairs": group.get("count_all", 0),
            }
        )
    return sorted(rows, key=lambda row: -row["pairs"]) if groups else []


def hub_clips(table: pa.Table, count: int) -> list[dict]:
    """The clips with most captions: `audio_id`, `count`, one `row`, `mean` similarity, number of `labels`."""
    return _most_frequent(table, "audio_id", count)


def hub_captions(table: pa.Table, count: int) -> list[dict]:
    """The captions with most clips: `caption`, `label` or None, `count`, `mean` similarity."""
    hubs = _most_frequent(table, "caption_id", count)
    return [hub | {name: table[name][hub["row"]].as_py() for name in ("caption", "label")} for hub in hubs]


def _most_frequent(table: pa.Table, key: str, count: int) -> list[dict]:
    groups = table.select([key]).group_by(key).aggregate([([], "count_all")])
    hubs = groups.sort_by([("count_all", "descending"), (key, "ascending")]).slice(0, count).to_pylist()
    rows = []
    for hub in hubs:
        pairs = table.select(["similarity", "label"]).filter(pc.equal(table[key], hub[key]))
        mean = pc.mean(pairs["similarity"]).as_py()  # null ones do not count
        rows.append(
            {
                key: hub[key],
                "count": hub["count_all"],
                "row": pc.index(table[key], hub[key]).as_py(),
                "mean": np.nan if mean is None else mean,
                "labels": pc.count_distinct(pairs["label"]).as_py(),
            }
        )
    return rows
