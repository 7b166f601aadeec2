"""Chooses the pairs of a set for a listener, so that few verdicts show where to cut it.

Every pair gets a lot, a random number. Cuts lie where all, a half, a quarter, an eighth and a sixteenth of the pairs
are kept; a long review has cuts between these too. For each cut, the pairs at or above it with the lowest lots are
judged. So each cut has a uniform draw of its own pairs and shares much of it with the next cut. The more similar a
pair is, the likelier it is asked about. If earlier verdicts show which cut is likely, that cut and its neighbours get
twice as many. A few pairs of each label are always asked about. A pair is weighted by its chance to be drawn, so
weighted shares are unbiased.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arguments import CORRECTIONS
from .verdicts import Cut, Judged, Verdicts


HALVINGS = 4  # from the loosest cut to the strictest
LONG = 200  # from this many verdicts on, there is a cut between each two
LEAST_PAIRS = 16  # at or above the strictest cut
OF_EACH_LABEL = 3


@dataclass(frozen=True)
class Draw:
    """The pairs of a set to judge.

    Attributes:
        rows: (drawn,) of the set, in the order of their lots.
        pairs: the same, as rows of a file of verdicts.
        cuts: from the strictest to the loosest.
    """

    rows: np.ndarray
    pairs: tuple[Judged, ...]
    cuts: tuple[Cut, ...]


def can_be_reviewed(provenance: dict) -> bool:
    """Whether a set with this provenance has pairs with cosines that verdicts can cut."""
    return provenance.get("strategy") in ("du", "ads") and not any(provenance.get(name) for name in CORRECTIONS)


def draw_pairs(table, number: int, set_id: str, earlier: Verdicts | None = None, likely: float | None = None) -> Draw:
    """Draws at most about `number` pairs. The same number gives the same pairs; a larger number adds more.

    Args:
        table: columns `audio_id caption label similarity` of all pairs of the set, arrow.
        number: pairs to judge.
        set_id: from `verdicts.identify`; it decides the lots.
        earlier: verdicts on this set, whose pairs are kept.
        likely: the likely cut, if it is known.
    """
    similarities = table["similarity"].to_numpy().astype(np.float32)
    lots = np.random.default_rng(int(set_id, 16)).random(len(similarities))
    levels = cut_levels(similarities, number)
    members = [np.flatnonzero(similarities >= level) for level in levels]
    # A cut's draw is the beginning of these rows.
    queues = [rows[np.argsort(lots[rows])][:number] for rows in members]
    samples = {cut.cosine: cut.sample for cut in earlier.cuts} if earlier else {}
    floors = [samples.get(level, 0) for level in levels]
    near = levels.index(likely) if likely in levels else -2
    stress = [2 if abs(place - near) <= 1 else 1 for place in range(len(levels))]
    names, labels = label_numbers(table)
    extra = _first_of_each(labels, lots) if OF_EACH_LABEL * len(names) <= number / 2 else np.array([], int)

    def sizes(scale: int) -> list[int]:
        wanted = np.maximum(floors, scale * np.array(stress))
        return np.minimum(wanted, [len(queue) for queue in queues]).tolist()

    def rows_of(chosen: Sequence[int]) -> np.ndarray:
        return np.unique(np.concatenate([extra, *(queue[:size] for queue, size in zip(queues, chosen, strict=True))]))

    # The largest scale that gives at most `number` rows.
    chosen = sizes(max(1, bisect_right(range(1, number + 1), number, key=lambda scale: len(rows_of(sizes(scale))))))
    rows = rows_of(chosen)
    rows = rows[np.argsort(lots[rows])]
    cuts = tuple(Cut(*facts) for facts in zip(levels, map(len, members), chosen, strict=True))
    weights = 1 / _chances(similarities[rows], labels[rows], labels, cuts, len(extra) > 0)
    columns = [table[name].take(rows).to_pylist() for name in ("audio_id", "caption")]
    columns += [[names[label] for label in labels[rows]], similarities[rows].tolist()]
    columns += [lots[rows].round(9).tolist(), weights.round(3).tolist()]
    return Draw(rows, tuple(Judged(*fields) for fields in zip(*columns, strict=True)), cuts)


def label_numbers(table) -> tuple[list[str], np.ndarray]:
    """The labels of pairs, "" for none, and (pairs,) int, each pair's label among them."""
    column = table["label"].combine_chunks().fill_null("").dictionary_encode()
    return column.dictionary.to_pylist(), column.indices.to_numpy()


def cut_levels(similarities: np.ndarray, number: int) -> list[float]:
    """Cosines that keep a sixteenth, … a half, all of the pairs in a review of this size. Each lies between two
    pairs."""
    values = np.unique(similarities)
    ordered = np.sort(similarities)[::-1]
    steps = np.arange(HALVINGS, -0.1, -0.5 if number >= LONG else -1)
    counts = [round(len(ordered) * 2**-step) for step in steps.tolist()]
    lowest = {float(ordered[count - 1]) for count in counts if count >= min(LEAST_PAIRS, len(ordered))}
    levels = []
    for value in sorted(lowest, reverse=True):
        place = int(np.searchsorted(values, np.float32(value)))
        below = values[place - 1] if place else values[place] - 2e-5
        levels.append(round((float(values[place]) + float(below)) / 2, 8))
    return levels


def _first_of_each(labels: np.ndarray, lots: np.ndarray) -> np.ndarray:
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([of[np.argsort(lots[of])][:OF_EACH_LABEL] for of in rows])


def _chances(similarities, labels, all_labels, cuts: Sequence[Cut], of_each: bool) -> np.ndarray:
    """(drawn,) each pair's chance to be drawn: the highest of the draws that it takes part in."""
    chances = np.zeros(len(similarities))
    for cut in cuts:
        chances = np.where(similarities >= cut.cosine, np.maximum(chances, cut.sample / cut.pairs), chances)
    if of_each:
        chances = np.maximum(chances, OF_EACH_LABEL / np.bincount(all_labels)[labels])
    return np.minimum(chances, 1)
