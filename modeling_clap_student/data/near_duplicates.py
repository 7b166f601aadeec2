"""Finds equal sounds with different bytes. Keys of fingerprints find candidates in linear time; their cells decide.

Candidates share two keys, and at least a 64th of all, at one distance in time. Sorting finds them. Among equal keys,
only a few neighbours are paired. So a key that thousands of clips hold costs no more per clip than a rare one. No copy
is lost by this, because copies share many keys. What does not fit into memory is sorted in parts, on disk.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from .fingerprints import CELL_SECONDS, SAME_SOUND, best_agreement


_POSTING = np.dtype([("key", "<u4"), ("row", "<u4"), ("time", "<u4")])
_HIT = np.dtype([("row", "<u4"), ("other", "<u4"), ("offset", "<i4")])
_PAIRED = 4  # neighbours with an equal key
_MOST_IN_MEMORY = 2**22  # postings, or hits
_CLIPS_AT_ONCE = 4096
_LEAST_KEYS, _LEAST_SHARE = 2, 1 / 64  # keys that candidates share; as a share of the smaller clip's keys
_MOST_OFFSETS = 3  # offsets that are tried


@dataclass(frozen=True)
class SamePair:
    """Two rows that hold one sound."""

    row: int
    other: int
    score: float  # the agreement of their cells, 0.3 to 1
    shift: float = 0.0  # how much later the sound begins in `other`, s


def pairs_within(clips) -> list[SamePair]:
    """Pairs of one table's clips that are one sound. Many copies give not every pair, but a chain through all.

    Args:
        clips: has a length, `postings(start, stop)` (keys, rows and times of some clips), `num_keys(row)` and
            `cells(row)`.
    """
    starts = range(0, len(clips), _CLIPS_AT_ONCE)
    parts = -(-sum(len(clips.postings(start, start + _CLIPS_AT_ONCE)[0]) for start in starts) // _MOST_IN_MEMORY)
    postings = (_postings(clips, start, start + _CLIPS_AT_ONCE) for start in starts)
    with tempfile.TemporaryDirectory(prefix="near_duplicates_") as folder:
        hits = map(_neighbours, _in_parts(postings, "key", parts, Path(folder, "keys")))
        tables = _in_parts(hits, "row", parts, Path(folder, "hits"))
        return [pair for table in tables for pair in _decide(table, clips, clips)]


class SoundIndex:
    """The keys of some clips in memory, to find other clips that are one sound with one of them.

    Args:
        others: as the clips of `pairs_within`.
    """

    def __init__(self, others):
        self._others = others
        self._postings = _by_key(_postings(others, 0, len(others)))

    def pairs(self, clips) -> list[SamePair]:
        """Pairs of a given clip and an indexed clip that are one sound."""
        starts = range(0, len(clips), _CLIPS_AT_ONCE)
        parts = (self._compare(clips, start, min(start + _CLIPS_AT_ONCE, len(clips))) for start in starts)
        return [pair for part in parts for pair in part]

    def _compare(self, clips, start: int, stop: int) -> Iterator[SamePair]:
        postings, keys = _postings(clips, start, stop), self._postings["key"]
        first, last = (np.searchsorted(keys, postings["key"], side) for side in ("left", "right"))
        if (last - first).sum() <= _MOST_IN_MEMORY or stop - start == 1:
            yield from _decide(_hits(postings, self._postings, first, last - first), clips, self._others)
        else:
            for part in ((start, (start + stop) // 2), ((start + stop) // 2, stop)):
                yield from self._compare(clips, *part)


def pairs_between(clips, others) -> list[SamePair]:
    """Pairs of a clip and a clip of another table that are one sound. The other table's keys are in memory."""
    return SoundIndex(others).pairs(clips)


def groups_of(pairs: Iterable[SamePair]) -> list[list[int]]:
    """The rows that pairs join, directly or through others. Each list is ascending; lists are sorted by first row."""
    leader: dict[int, int] = {}

    def find(row: int) -> int:
        while leader.setdefault(row, row) != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for pair in pairs:
        first, second = sorted((find(pair.row), find(pair.other)))
        leader[second] = first
    groups = defaultdict(list)
    for row in sorted(leader):
        groups[find(row)].append(row)
    return list(groups.values())


def _postings(clips, start: int, stop: int) -> np.ndarray:
    keys, rows, times = clips.postings(start, stop)
    table = np.empty(len(keys), _POSTING)
    table["key"], table["row"], table["time"] = keys, rows, times
    return table


def _in_parts(tables: Iterable[np.ndarray], column: str, parts: int, folder: Path) -> Iterator[np.ndarray]:
    """Splits the rows of some tables into parts. Rows that are equal in a column are in the same part."""
    if parts <= 1:
        tables = list(tables)
        yield from [np.concatenate(tables)] if tables else []
        return
    folder.mkdir()
    files = [open(folder / str(part), "wb") for part in range(parts)]  # noqa: SIM115
    for table in tables:
        # Neighbouring numbers go to different parts, so all parts have about the same size.
        place = (table[column].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) % np.uint64(parts)
        for part, file in enumerate(files):
            file.write(table[place == part].tobytes())
    for file in files:
        file.close()
    for part in range(parts):
        yield np.fromfile(folder / str(part), dtype=np.dtype(_POSTING if column == "key" else _HIT))
        (folder / str(part)).unlink()


def _by_key(postings: np.ndarray) -> np.ndarray:
    """Sorted by key. Equal keys keep their order, which is that of the rows."""
    return postings[np.argsort(postings["key"], kind="stable")]


def _neighbours(postings: np.ndarray) -> np.ndarray:
    """Pairs each posting with the next few of the same key. A clip that repeats itself counts once."""
    postings = _by_key(postings)
    again = (postings["key"][1:] == postings["key"][:-1]) & (postings["row"][1:] == postings["row"][:-1])
    postings = postings[np.append(True, ~again)[: len(postings)]]
    end = np.searchsorted(postings["key"], postings["key"], side="right")
    first = np.arange(1, len(postings) + 1)
    return _hits(postings, postings, first, np.minimum(end - first, _PAIRED))


def _hits(postings: np.ndarray, index: np.ndarray, first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pairs each posting with `counts` postings of the index, from `first` on."""
    which = np.repeat(np.arange(len(postings)), counts)
    place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
    hits = np.empty(len(which), _HIT)
    hits["row"], hits["other"] = postings["row"][which], index["row"][place]
    hits["offset"] = index["time"][place].astype(np.int64) - postings["time"][which]
    return hits


def _decide(hits: np.ndarray, clips, others) -> Iterator[SamePair]:
    """The pairs with enough hits at one offset whose cells agree there."""
    for row, other, votes, offsets in _candidates(hits):
        if votes < _LEAST_SHARE * min(clips.num_keys(row), others.num_keys(other)):
            continue
        cells, cells_of_other = clips.cells(row), others.cells(other)
        score, offset = max((best_agreement(cells, cells_of_other, offset), offset) for offset in offsets)
        if score >= SAME_SOUND:
            yield SamePair(row, other, score, offset * CELL_SECONDS)


def _candidates(hits: np.ndarray) -> Iterator[tuple[int, int, int, list[int]]]:
    """(row, other, hits, offsets) of pairs with enough hits near one offset; the best offsets first."""
    pairs = hits["row"].astype(np.uint64) << np.uint64(32) | hits["other"]
    order = np.lexsort((hits["offset"], pairs))
    pairs, offsets = pairs[order], hits["offset"][order]
    first = np.flatnonzero(np.append(True, (pairs[1:] != pairs[:-1]) | (offsets[1:] != offsets[:-1]))[: len(pairs)])
    votes = np.diff(np.append(first, len(pairs)))
    pairs, offsets = pairs[first], offsets[first]
    # The next offset of a pair is the next row, if it exists.
    beside = (pairs[1:] == pairs[:-1]) & (offsets[1:] == offsets[:-1] + 1)
    votes[:-1] += np.where(beside, votes[1:], 0)
    good = np.flatnonzero(votes >= _LEAST_KEYS)
    order = good[np.lexsort((-votes[good], pairs[good]))]
    pairs, offsets, votes = pairs[order], offsets[order].tolist(), votes[order].tolist()
    starts = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]).tolist()
    for start, stop in pairwise([*starts, len(pairs)]):
        chosen: list[int] = []
        for offset in offsets[start : min(stop, start + 3 * _MOST_OFFSETS)]:
            if all(abs(offset - other) > 2 for other in chosen):
                chosen.append(offset)
        row, other = divmod(int(pairs[start]), 2**32)
        yield row, other, votes[start], chosen[:_MOST_OFFSETS]
