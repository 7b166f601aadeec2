"""A review: pairs of an Improvement-Set for a person to judge, on one page that works from disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..errors import InputError
from .promise import Promise, fitted_precisions
from .report.page import page_template
from .report.pictures import read_excerpt
from .sampling import LONG, can_be_reviewed, cut_levels, draw_pairs
from .verdicts import (
    COLUMNS,
    LABEL_STUDIO_CONFIG,
    NAME,
    WORDS,
    Verdicts,
    as_label_studio,
    as_rows,
    identify,
    with_earlier,
    write_verdicts,
)


PAGE, TASKS, CONFIG = "review.html", "label_studio.json", "label_studio.xml"
FILES = {PAGE, TASKS, CONFIG, NAME}


def write_review(
    folder: Path, pairs: Dataset, provenance: dict, number: int, earlier: Verdicts | None, promise: Promise | None
) -> Verdicts:
    """Writes `review.html`, the same pairs for Label Studio, and `verdicts.csv` with the earlier verdicts.

    Args:
        folder: an existing one.
        pairs: the set's.
        provenance: the set's.
        number: how many pairs to judge in all.
        earlier: verdicts on them.
        promise: the result of these verdicts; more pairs near its cut are asked about.

    Returns:
        the pairs of the review, with the earlier verdicts.

    Raises:
        InputError: a set without a teacher's cosines, or earlier verdicts on another set.
    """
    rows, asked = draw_review(pairs, provenance, number, earlier, promise)
    clips = [pairs[row]["audio"] for row in rows]
    tasks = as_label_studio(asked, [clip["path"] or "" for clip in clips])
    (folder / PAGE).write_text(render_review(asked, clips), encoding="utf-8")
    (folder / TASKS).write_text(json.dumps(tasks, indent=2) + "\n", encoding="utf-8")
    (folder / CONFIG).write_text(LABEL_STUDIO_CONFIG, encoding="utf-8")
    write_verdicts(folder / NAME, asked)
    return asked


def beside_set(name: str, suffix: str) -> Path:
    """The folder that is made beside the set. A revision on the Hub is not part of its name."""
    name = name.rstrip("/")
    return Path(f"{name if Path(name).is_dir() else name.split('@')[0]}_{suffix}")


def draw_review(
    pairs: Dataset, provenance: dict, number: int, earlier: Verdicts | None = None, promise: Promise | None = None
) -> tuple[list[int], Verdicts]:
    """The rows of the pairs to ask about, and these pairs with their earlier verdicts. Raises as `write_review`."""
    if not can_be_reviewed(provenance):
        raise InputError("a review needs a set of du or ads with its provenance, matched by cosines alone")
    table = pairs.select_columns(["audio_id", "caption", "label", "similarity"]).with_format("arrow")[:]
    set_id, likely = identify(provenance), None
    if earlier is not None:
        earlier.check(provenance)
        levels = cut_levels(table["similarity"].to_numpy(), LONG)
        if {cut.cosine for cut in earlier.cuts} - set(levels) or earlier.cuts[-1].pairs != len(table):
            raise InputError(f"{earlier.place} holds verdicts of another set, of other pairs: review that one")
        likely = likely_cut(earlier, promise)
    draw = draw_pairs(table, number, set_id, earlier, likely)
    return draw.rows.tolist(), Verdicts(set_id, draw.cuts, with_earlier(draw.pairs, earlier), len(draw.pairs))


def likely_cut(verdicts: Verdicts, promise: Promise) -> float:
    """The cut that would be right if the precisions were as they seem: the loosest with the wanted precision."""
    reached = np.flatnonzero(fitted_precisions(verdicts) >= promise.precision)
    return verdicts.cuts[int(reached[-1]) if len(reached) else 0].cosine


def render_review(asked: Verdicts, clips: Sequence[dict]) -> str:
    """The page. Each clip is in it once; one that can't be read is marked."""
    numbers: dict[str, int] = {}
    of = [numbers.setdefault(pair.audio_id, len(numbers)) for pair in asked.pairs]
    firsts = [clips[of.index(number)] for number in range(len(numbers))]
    return page_template("review.html.jinja").render(
        rows=as_rows(asked),
        clips=[_heard(clip) for clip in firsts],
        clip_of=of,
        columns=list(COLUMNS),
        words=[(word, word[0].upper()) for word in WORDS],
    )


def _heard(clip: dict) -> dict:
    try:
        excerpt = read_excerpt(clip)
    except Exception as error:  # any fault of one clip: still play the others
        return {"problem": str(error)[:200]}
    return {
        "audio": excerpt.audio,
        "picture": excerpt.spectrogram,
        "seconds": excerpt.seconds,
        "length": excerpt.clip_seconds,
    }
