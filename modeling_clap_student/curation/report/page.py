"""`report.html`: one page by which a person judges an Improvement-Set, by eye and by ear.

It holds counts, charts and a few dozen pairs to listen to, and needs no network. Whatever the set's size, the page
stays below `MAX_PAGE_BYTES`; in memory are the set's columns without the audio, and one clip at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...redaction_clap_student import public
from ...soundscapes.corpus import holds_event
from ...utils.outputs import whole_file
from .charts import Spread, histogram_chart, kept_chart
from .clips import MAX_CLIP_BYTES, MAX_SECONDS, Excerpt, read_excerpt
from .tables import hub_captions, hub_clips, label_rows, nearest_rows, numbers, random_rows


NUM_RANDOM, NUM_NEAREST, NUM_HUBS, MAX_LABELS = 30, 30, 8, 300
MAX_PAGE_BYTES = (NUM_RANDOM + NUM_NEAREST + NUM_HUBS) * MAX_CLIP_BYTES + 1_000_000
_MAX_TEXT = 240  # characters of a caption, a name, a path
_BINS = 4000
_COLUMNS = ["caption", "similarity", "audio_id", "caption_id", "label", "label_similarity"]


@dataclass(frozen=True)
class ReportData:
    """What a report is made of.

    Attributes:
        pairs: at least one row of the Improvement-Set's features, `audio` undecoded.
        provenance: of the set: `strategy`, and what else is known of teacher, thresholds, corpora and counts.
        selected: for each label the (captions,) float32 similarities to its prompt of the captions that were selected
            for it; None where none were selected, or that is not known.
        histogram: ascending bin edges (bins + 1,) and int64 counts (bins,) of the similarities of all clips and
            captions that were compared; None where only those of the pairs are known.
        sampled_clips: how many of the clips the histogram was counted from, where not from all.
        num_pool_clips: clips that were compared; None where there was no pool.
        num_captions: captions that were read, each counted once.
        pair_precision: the share of true pairs, where it is known.
        audio_of: rows of `pairs` -> their undecoded audio, one by one; None where `pairs` holds it.
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


@dataclass(frozen=True)
class ShownPair:
    """A pair as it stands on the page.

    Attributes:
        texts: `caption`, `audio_id`, `label`, of bounded length; empty for null.
        similarity, label_similarity: NaN for null.
        strength: where the similarity lies between the lowest and the highest of the set, 0 to 1.
        true: whether the clip holds what the caption says, where that is known.
        excerpt: what is heard and seen of the clip; None where it can't be read.
        problem: why it can't.
    """

    texts: dict[str, str]
    similarity: float
    label_similarity: float
    strength: float
    true: bool | None
    excerpt: Excerpt | None
    problem: str = ""


def write_report(path: Path, data: ReportData) -> None:
    """Writes the page, whole or not at all."""
    page = render_report(data)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render_report(data: ReportData) -> str:
    """The page; the same data gives the same page. A clip that can't be read is shown as such."""
    table = data.pairs.select_columns(_COLUMNS).with_format("arrow")[:]
    made = data.provenance
    decided_by, threshold = _decision(made)
    clips = hub_clips(table, NUM_HUBS)
    random = random_rows(len(table), NUM_RANDOM, made.get("seed") or 0)
    nearest = nearest_rows(numbers(table[decided_by]), threshold, NUM_NEAREST)
    shown = _show(data, table, [*random, *nearest, *(clip["row"] for clip in clips)])
    labels = label_rows(table, data.selected, made.get("labels") or [])
    return _template().render(
        made=made,
        counts=count_cells(data, table),
        charts=charts(data, numbers(table["similarity"])),
        labels=labels[:MAX_LABELS],
        num_labels=len(labels),
        most_pairs=max((label["pairs"] for label in labels), default=0),
        hub_clips=[clip | {"pair": shown[clip["row"]]} for clip in clips],
        hub_captions=hub_captions(table, NUM_HUBS),
        lists=[
            ("random", "random pairs", [shown[row] for row in random]),
            ("nearest", _nearest_title(decided_by, threshold), [shown[row] for row in nearest]),
        ],
        facts=facts(made),
        max_seconds=MAX_SECONDS,
        max_megabytes=-(-MAX_PAGE_BYTES // 1_000_000),
    )


def _template():
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"short": _shorten, "cosine": lambda value: "–" if value != value else f"{value:.3f}"}
    return page.get_template("page.html.jinja")


def _shorten(text: str | None) -> str:
    text = str(text or "")
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _decision(made: dict) -> tuple[str, float | None]:
    """The column that a threshold decided, and the threshold, where it is a cosine like the column."""
    if made["strategy"] == "ds":
        return "label_similarity", made.get("caption_threshold")
    return "similarity", None if made.get("csls_neighbours") else made.get("pair_threshold")


def _nearest_title(decided_by: str, threshold: float | None) -> str:
    if threshold is None:
        return "least similar pairs"
    whose = " of captions to labels" if decided_by == "label_similarity" else ""
    return f"pairs nearest to the threshold of {threshold:.3f}{whose}"


def count_cells(data: ReportData, table: pa.Table) -> list[dict]:
    """The paper's Table 1 for this set: `name`, `value` and `note` of each column."""
    made, pairs = data.provenance, len(table)
    clips, matched = (pc.count_distinct(table[key]).as_py() for key in ("audio_id", "caption_id"))
    selected = made.get("num_captions", data.num_captions or matched)
    compared = None if data.num_pool_clips is None else selected * data.num_pool_clips
    known = data.pair_precision is not None
    return [
        {"name": "Strategy", "value": made["strategy"].upper(), "note": ""},
        {
            "name": "Captions selected",
            "value": f"{selected:,}",
            "note": (f"of {data.num_captions:,}; " if data.num_captions else "") + f"{matched:,} of them in pairs",
        },
        {
            "name": "Clips",
            "value": f"{clips:,}",
            "note": "" if data.num_pool_clips is None else f"of {data.num_pool_clips:,} in the pool",
        },
        {"name": "Pairs", "value": f"{pairs:,}", "note": "" if compared is None else f"of {compared:,} compared"},
        {"name": "Pairs a clip", "value": f"{pairs / clips:.2f}", "note": "on average"},
        {"name": "Replay pairs", "value": f"{made.get('num_replay', 0):,}", "note": "to rehearse"},
        {
            "name": "True pairs",
            "value": f"{data.pair_precision:.1%}" if known else "–",
            "note": "the clip holds what the caption says" if known else "not known: judge by ear, below",
        },
    ]


def charts(data: ReportData, similarities: np.ndarray) -> list[dict]:
    """`title`, `note` and `svg` of each chart."""
    made, known = data.provenance, similarities[np.isfinite(similarities)].clip(-1, 1)
    threshold = None if made["strategy"] == "ds" else _decision(made)[1]
    if data.histogram is None:
        edges, compared = np.linspace(-1, 1, _BINS + 1), None
        titles = ("Similarities of the kept pairs", "Kept pairs at each threshold")
        note = f"{len(known):,} cosines. What was compared and not kept is not known here."
    else:
        edges, counts = data.histogram
        compared = counts * _share_counted(data)
        which = "all" if made["strategy"] == "du" else "the selected"
        titles = (f"Similarities of all clips with {which} captions", "Pairs at each threshold")
        note = f"{compared.sum():,.0f} cosines; in colour, those of the pairs that were kept."
        if data.sampled_clips is not None:
            note += f" Estimated from {data.sampled_clips:,} of {data.num_pool_clips:,} clips, but for the kept."
    scale = "The axis is logarithmic. The higher the threshold, the fewer the pairs, and the more similar."
    spread = Spread(edges, np.histogram(known, edges)[0], compared, threshold)
    return [
        {"title": titles[0], "note": note, "svg": histogram_chart(spread, titles[0])},
        {"title": titles[1], "note": scale, "svg": kept_chart(spread, titles[1])},
    ]


def _share_counted(data: ReportData) -> float:
    """By how much the histogram's counts are to be multiplied."""
    return 1 if data.sampled_clips is None else data.num_pool_clips / data.sampled_clips


def facts(made: dict) -> list[tuple[str, str]]:
    """How the set was made, in words."""
    names = {
        "teacher": "Teacher",
        "teacher_revision": "Its revision",
        "prompt": "Prompt of the labels",
        "captions": "Captions from",
        "audio": "Pool",
        "exclude": "Left out of the pool",
        "caption_threshold": "Captions: at least this near to a label",
        "pair_threshold": "Pairs: at least this similar",
        "wanted_precision": "Share of true pairs that was wanted",
        "estimated_precision": "Share of true pairs, by the teacher's own probabilities",
        "max_captions_per_clip": "Captions a clip, at most",
        "max_clips_per_caption": "Clips a caption, at most",
        "mutual_nearest": "Only mutual nearest",
        "csls_neighbours": "Threshold after correcting for hubs; neighbours",
        "highest_similarity": "Highest similarity",
        "num_skipped": "Clips that could not be read",
        "seed": "Seed",
        "version": "Version of modeling_clap_student",
    }
    given = {key: public(made[key]) for key in names if made.get(key) not in (None, [])}
    return [(name, _shorten(_in_words(given[key]))) for key, name in names.items() if key in given]


def _in_words(value) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _show(data: ReportData, table: pa.Table, rows: list[int]) -> dict[int, ShownPair]:
    """The pairs of these rows, each clip read once."""
    rows = list(dict.fromkeys(rows))
    audio_of = data.audio_of or (lambda rows: (data.pairs[row]["audio"] for row in rows))
    similarities = numbers(table["similarity"])
    low, high = np.nanmin(similarities, initial=1), np.nanmax(similarities, initial=-1)
    shown = {}
    for row, audio in zip(rows, audio_of(rows), strict=True):
        fields = table.slice(row, 1).to_pylist()[0]
        similarity, label_similarity = float(similarities[row]), fields["label_similarity"]
        shown[row] = ShownPair(
            {key: _shorten(fields[key]) for key in ("caption", "audio_id", "label")},
            similarity,
            np.nan if label_similarity is None else label_similarity,
            float(np.nan_to_num((similarity - low) / max(high - low, 1e-6))),
            *_heard(audio, fields["caption"]),
        )
    return shown


def _heard(audio: dict | None, caption: str) -> tuple[bool | None, Excerpt | None, str]:
    """(is it true, excerpt, problem) of a pair."""
    try:
        excerpt = read_excerpt(audio)
        return holds_event(audio.get("path") or "", caption), excerpt, ""
    except Exception as error:  # whatever is wrong with one clip, the other pairs are to be seen
        return None, None, _shorten(f"{error}")
