"""Fingerprints of recordings: two bits for each 20 ms and band, and keys to look them up.

A clip at 16 kHz becomes the power in 33 bands between 200 and 7000 Hz, every 10 ms, in windows of 80 ms. Levels are
relative to the clip's mean power, and everything 42 dB below it counts as silence. So neither gain nor faint noise
matters, and silence matches nothing.

**Cells** are compared. There is one every 20 ms and band. It says whether the level there rises, falls or does
neither, relative to the next band. Encoding, rate and noise leave most cells unchanged. Two clips are one sound if
their cells agree.

**Keys** find candidates. A key is a constellation of four peaks of the levels: their bands and their distances in
time. Where a clip has few peaks, keys of three or two peaks are added. The 96 keys of lowest value in each 2.5 s are
kept; they are the same in each copy.

Sources: Haitsma and Kalker 2002, A Highly Robust Audio Fingerprinting System, for the cells; Wang 2003, An Industrial
Strength Audio Search Algorithm, for constellations; Broder 1997, On the Resemblance and Containment of Documents, for
keeping the lowest keys.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch


RATE, HOP, WINDOW = 16_000, 160, 1280  # Hz, samples
NUM_BANDS = 33
MARGIN = 960  # zeros before and after a clip, so that windows cover its ends fully
_STEP = 2  # frames from a cell to the next
CELL_SECONDS = _STEP * HOP / RATE
_FREQUENCIES = (200.0, 7000.0)
_FLOOR_DB, _SILENCE = -42.0, 1e-9  # relative to the clip's mean power; below it the clip is silent
_DEAD_DB, _DEAD_SHARE = 1.0, 0.3  # the smallest change that counts; the share of smallest changes that don't
_NEIGHBOURS, _PEAK_DB = (5, 3), 8.0  # frames and bands around a peak; its least height above silence
_FAN, _SPAN, _GRAIN = 6, 250, 4  # partners of a peak; a key's longest span and its unit, frames
_SEGMENT, _KEYS = 250, 96  # frames of a segment; keys kept for each segment

# Two fingerprints can be compared only if these are equal.
SETTINGS = {
    "version": 1, "rate": RATE, "hop": HOP, "window": WINDOW, "bands": NUM_BANDS, "frequencies": list(_FREQUENCIES),
    "floor": _FLOOR_DB, "silence": _SILENCE, "dead": [_DEAD_DB, _DEAD_SHARE], "peaks": [*_NEIGHBOURS, _PEAK_DB],
    "cells": _STEP, "keys": [_FAN, _SPAN, _GRAIN, _SEGMENT, _KEYS],
}  # fmt: skip

SAME_SOUND = 0.3  # the least agreement of copies of one sound; different recordings stay below 0.2
LEAST_CELLS = 100  # fewer compared cells prove nothing


@dataclass(frozen=True)
class Fingerprint:
    """One clip's fingerprint; the arrays of a silent clip are empty.

    Attributes:
        cells: (times, 2) uint32: bits of the bands that rise, and of those that fall.
        keys: (keys,) uint32.
        times: (keys,) uint32, the row of cells where each key begins.
    """

    cells: np.ndarray
    keys: np.ndarray
    times: np.ndarray


def _first_bins() -> np.ndarray:
    """(bands + 1,) where each band begins. A band's width grows with 300 Hz plus its frequency."""
    warped = np.log1p(np.fft.rfftfreq(WINDOW, 1 / RATE) / 300)
    return np.searchsorted(warped, np.linspace(*np.log1p(np.array(_FREQUENCIES) / 300), NUM_BANDS + 1))


_FIRST_BINS = _first_bins()
_HANN = torch.hann_window(WINDOW, dtype=torch.float32, device="cpu")
_SCALE = float(2 / (WINDOW * (_HANN**2).sum()))  # from squared bins to mean power
# The peaks after the first one that complete its key: three of them, two, or one.
_OTHERS = [np.array(list(combinations(range(1, _FAN + 1), count))) for count in (3, 2, 1)]


def band_powers(samples: np.ndarray) -> np.ndarray:
    """(frames, bands) float32: mean power in each band, for as many whole windows as the samples at `RATE` hold."""
    if len(samples) < WINDOW:
        return np.empty((0, NUM_BANDS), np.float32)
    spectrum = torch.stft(torch.from_numpy(samples), WINDOW, HOP, window=_HANN, center=False, return_complex=True)
    real, imaginary = torch.view_as_real(spectrum[: _FIRST_BINS[-1]]).unbind(-1)
    powers = (real**2 + imaginary**2).numpy()  # (bins, frames)
    return np.ascontiguousarray(np.add.reduceat(powers, _FIRST_BINS[:-1], axis=0).T) * np.float32(_SCALE)


def make_fingerprint(powers: np.ndarray) -> Fingerprint:
    """The fingerprint of a clip's (frames, bands) powers."""
    mean = powers.sum(axis=1).mean() if len(powers) else 0.0
    if len(powers) <= 2 * _STEP or mean < _SILENCE:
        return Fingerprint(np.empty((0, 2), np.uint32), np.empty(0, np.uint32), np.empty(0, np.uint32))
    levels = 10 * np.log10(np.maximum(powers / mean, np.float32(10 ** (_FLOOR_DB / 10))))
    return Fingerprint(_cells(levels[::_STEP]), *_keys(*_peaks(levels)))


def _cells(levels: np.ndarray) -> np.ndarray:
    """(times - 2, 2) uint32 from (times, bands) levels in dB."""
    rises = levels[2:] - levels[:-2]
    changes = np.diff(rises, axis=1)
    sizes = np.abs(changes)
    heard = sizes[sizes > _DEAD_DB]
    dead, rank = _DEAD_DB, int(_DEAD_SHARE * len(heard))
    if len(heard):
        dead = np.partition(heard, rank)[rank]
    bits = [np.packbits(mask, axis=1, bitorder="little").view("<u4") for mask in (changes > dead, changes < -dead)]
    return np.concatenate(bits, axis=1)


def _peaks(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames, ascending, and bands of the local maxima of the levels."""
    highest = torch.from_numpy(levels)[None]
    for axis, count in enumerate(_NEIGHBOURS):
        size = [1, 1]
        size[axis] = 2 * count + 1
        highest = torch.nn.functional.max_pool2d(highest, size, 1, [side // 2 for side in size])
    highest = highest[0].numpy()
    return np.nonzero((levels == highest) & (levels > _FLOOR_DB + _PEAK_DB))


def _keys(frames: np.ndarray, bands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys that the peaks make, and their times."""
    parts = []
    for rank, others in enumerate(_OTHERS):
        first, which = np.nonzero(np.arange(len(frames))[:, None] + others[:, -1] < len(frames))
        stars = first[:, None] + others[which]  # (constellations, peaks after the first)
        near = frames[stars[:, -1]] - frames[first] < _SPAN
        first, stars = first[near], stars[near]
        value = bands[first].astype(np.uint64) + np.uint64(64 * rank)
        for star in stars.T:
            place = 64 * bands[star] + (frames[star] - frames[first]) // _GRAIN
            value = value * np.uint64(64 * 64) + place.astype(np.uint64)
        parts.append((np.full(len(first), rank), frames[first], _scatter(value)))
    ranks, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    segments = times // _SEGMENT
    order = np.lexsort((values, ranks, segments))
    segments = segments[order]
    place = np.arange(len(order)) - np.searchsorted(segments, segments)
    chosen = order[place < _KEYS]
    return values[chosen], (times[chosen] // _STEP).astype(np.uint32)


def _scatter(values: np.ndarray) -> np.ndarray:
    """Turns uint64 numbers into uint32 numbers that look random (Steele et al. 2014, splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((values ^ (values >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


def agreement(cells: np.ndarray, others: np.ndarray, offset: int) -> float:
    """The similarity of two clips, where row t of one is row t + offset of the other; 1 for equal cells.

    It is the number of agreeing cells minus that of contradicting cells, over the geometric mean of both clips' cells
    there. Different recordings give about 0. It is also 0 where they overlap in less than half of either clip's cells,
    or in next to nothing.
    """
    start, stop = max(0, -offset), min(len(cells), len(others) - offset)
    if stop <= start:
        return 0.0
    a, b = cells[start:stop], others[start + offset : stop + offset]
    heard, heard_of_other = _count(a), _count(b)
    if min(heard, heard_of_other) < max(LEAST_CELLS, min(_count(cells), _count(others)) / 2):
        return 0.0
    return (_count(a & b) - _count(a & b[:, ::-1])) / (heard * heard_of_other) ** 0.5


def best_agreement(cells: np.ndarray, others: np.ndarray, offset: int) -> float:
    """The highest agreement at an offset that may be wrong by one."""
    return max(agreement(cells, others, offset + step) for step in (-1, 0, 1))


def _count(cells: np.ndarray) -> int:
    return int(np.bitwise_count(cells).sum())
