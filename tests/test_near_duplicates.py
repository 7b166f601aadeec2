"""Copies of a recording under other bytes are found, and different recordings are not: made here, and real ones."""

import csv
import io

import numpy as np
import pytest
import soundfile

from modeling_clap_student.audio_clap_student import Samples
from modeling_clap_student.data.fingerprints import (
    HOP,
    MARGIN,
    RATE,
    SAME_SOUND,
    agreement,
    band_powers,
    make_fingerprint,
)
from modeling_clap_student.data.listening import Listener, listen
from modeling_clap_student.data.near_duplicates import SamePair, groups_of, pairs_between, pairs_within
from modeling_clap_student.resampling_clap_student import Resampled, resample
from modeling_clap_student.soundscapes.corpus import SAMPLING_RATE, pool_clips, render


class Table:
    """Fingerprints in memory, as the search takes them."""

    def __init__(self, fingerprints):
        self.fingerprints = fingerprints

    def __len__(self):
        return len(self.fingerprints)

    def postings(self, start, stop):
        rows = range(start, min(stop, len(self)))
        marks = [self.fingerprints[row] for row in rows]
        keys, times = (np.concatenate([getattr(mark, name) for mark in marks]) for name in ("keys", "times"))
        return keys, np.repeat(rows, [len(mark.keys) for mark in marks]), times

    def num_keys(self, row):
        return len(self.fingerprints[row].keys)

    def cells(self, row):
        return self.fingerprints[row].cells


def fingerprint(samples, rate):
    return listen(Samples(samples, rate)).fingerprint


def encoded(samples, rate, kind, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")


def noisy(samples, decibels=30):
    noise = np.random.default_rng(len(samples)).normal(size=len(samples)).astype(np.float32)
    return samples + noise * np.sqrt(np.mean(samples**2)) * np.float32(10 ** (-decibels / 20))


COPIES = {
    "ogg": lambda x, rate: encoded(x, rate, "OGG", "VORBIS"),
    "mp3": lambda x, rate: encoded(x, rate, "MP3", "MPEG_LAYER_III"),
    "flac": lambda x, rate: encoded(x, rate, "FLAC", "PCM_16"),
    "16 kHz": lambda x, rate: (resample(x, rate, 16000), 16000),
    "22.05 kHz": lambda x, rate: (resample(x, rate, 22050), 22050),
    "6 dB quieter": lambda x, rate: (x / 2, rate),
    "0.2 s cut off": lambda x, rate: (x[round(0.2 * rate) :], rate),
    "cut between two cells": lambda x, rate: (x[round(0.195 * rate) :], rate),
    "noise at 30 dB": lambda x, rate: (noisy(x), rate),
}


def shares_found(clips):
    """Kind of copy -> the share of clips whose copy is found among the copies of all, and how many false pairs."""
    originals = Table([fingerprint(*clip) for clip in clips])
    shares, false_pairs = {}, set()
    for kind, copy in COPIES.items():
        pairs = pairs_between(Table([fingerprint(*copy(*clip)) for clip in clips]), originals)
        shares[kind] = len({pair.row for pair in pairs if pair.row == pair.other}) / len(clips)
        false_pairs |= {(pair.row, pair.other) for pair in pairs if pair.row != pair.other}
    return shares, false_pairs


@pytest.mark.slow
def test_copies_of_built_in_clips():
    """Guards against a fingerprint that a codec, a rate, a level or a cut changes; and against generators that sound
    alike to it: no two clips of the built-in corpus are one recording."""
    clips = [(render(path), SAMPLING_RATE) for path, _ in pool_clips()[:40]]
    shares, false_pairs = shares_found(clips)
    assert min(shares.values()) >= 0.99, shares
    assert not false_pairs


def read_esc(folder, step=1):
    rows = list(csv.DictReader((folder / "meta" / "esc50.csv").open()))[::step]
    return rows, [soundfile.read(folder / "audio" / row["filename"], dtype="float32") for row in rows]


@pytest.mark.slow
def test_copies_of_real_recordings(real_data):
    """Guards against what only real sounds have: clicks in digital silence, loops, hums."""
    _, clips = read_esc(real_data / "esc10")
    shares, _ = shares_found(clips[::8])
    assert sum(shares.values()) / len(shares) >= 0.99 and min(shares.values()) >= 0.97, shares


def test_real_recordings_in_two_corpora(real_data):
    """Guards against missing the case that matters: ESC-10 at 44.1 kHz, and the same clips in ESC-50 at 16 kHz. And
    against false alarms: pairs of clips whose recordings have other names are at most one of 10 000."""
    rows, clips = read_esc(real_data / "esc50_16k", step=2)
    rows10, clips10 = read_esc(real_data / "esc10", step=2)
    table, names = Table([fingerprint(*clip) for clip in clips]), [row["filename"] for row in rows]
    pairs = pairs_between(Table([fingerprint(*clip) for clip in clips10]), table)
    found = {(rows10[pair.row]["filename"], names[pair.other]) for pair in pairs}
    shared = {(row["filename"],) * 2 for row in rows10} & {(name,) * 2 for name in names}
    assert len(shared) > 50 and shared <= found
    different = [pair for pair in pairs_within(table) if rows[pair.row]["src_file"] != rows[pair.other]["src_file"]]
    assert len(different) <= 1e-4 * len(clips) * (len(clips) - 1) / 2


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 44056])
@pytest.mark.parametrize("seconds", [0.01, 3.0, 10.03])
def test_listening_in_windows_hears_the_whole(rate, seconds):
    """Guards against seams between blocks, and an order of reading that leaves something out."""
    samples = np.random.default_rng(1).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    margin = np.zeros(MARGIN, np.float32)
    whole = make_fingerprint(band_powers(np.concatenate([margin, resample(samples, rate, RATE), margin])))
    listener = Listener(Samples(samples, rate))
    for _ in Resampled(listener, 32000).windows(48000):
        pass
    heard = listener.sound().fingerprint
    assert np.array_equal(heard.cells, whole.cells) and np.array_equal(heard.keys, whole.keys)
    assert np.array_equal(heard.times, whole.times)
    assert Listener(Samples(samples, rate)).sound() is None


def test_band_powers_are_powers():
    """Guards against a scale that depends on the window: a full-scale sine has half a unit of power, in its band."""
    time = np.arange(RATE) / RATE
    powers = band_powers(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    assert powers.shape == ((RATE - 1280) // HOP + 1, 33)
    assert powers.sum(axis=1) == pytest.approx(0.5, rel=1e-3)
    assert (powers.max(axis=1) > 0.45).all()


def test_agreement_is_that_of_brute_force():
    """Guards against an offset of the wrong sign, and bits that are counted twice."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 0, 1], (60, 32)), rng.choice([-1, 0, 1], (50, 32))

    def cells(sign):
        bits = [(sign == value).astype(np.uint64) @ 2 ** np.arange(32, dtype=np.uint64) for value in (1, -1)]
        return np.stack(bits, axis=1).astype(np.uint32)

    a, b = signs
    for offset in (-15, 0, 7):
        same = [(a[t] * b[t + offset]).sum() for t in range(60) if 0 <= t + offset < 50]
        heard = [[abs(a[t]).sum(), abs(b[t + offset]).sum()] for t in range(60) if 0 <= t + offset < 50]
        expected = sum(same) / np.sqrt(np.prod(np.sum(heard, axis=0)))
        assert agreement(cells(a), cells(b), offset) == pytest.approx(expected)
    assert agreement(cells(a), cells(a), 0) == pytest.approx(1)
    assert agreement(cells(a), cells(a), 31) == agreement(cells(a), cells(a), 100) == 0  # less than half of either


def test_silence_is_like_nothing():
    """Guards against all silent clips being copies of one another: zeros, an offset, the last bit, one click."""
    rng = np.random.default_rng(0)
    click = np.zeros(RATE, np.float32)
    click[5000] = 0.5
    dither = [rng.integers(-1, 2, RATE).astype(np.float32) / 2**15 for _ in range(2)]
    quiet = [np.zeros(RATE, np.float32), np.full(RATE, 0.3, np.float32), *dither, click, np.roll(click, 3000)]
    quiet += quiet[:2]
    assert pairs_within(Table([fingerprint(samples, RATE) for samples in quiet])) == []
    assert len(fingerprint(np.zeros(1, np.float32), 44100).cells) == 0


def some_marks(copies):
    """Fingerprints of noise; some occur several times."""
    rng = np.random.default_rng(0)
    marks = []
    for count in copies:
        marks += [fingerprint(rng.normal(0, 0.1, 2 * RATE).astype(np.float32), RATE)] * count
    return marks


@pytest.mark.parametrize("in_memory", [2**22, 100])
def test_all_copies_are_in_one_group(monkeypatch, in_memory):
    """Guards against a group of hundreds that falls apart because only neighbours are paired, and against parts on
    disk that lose what lies in two of them."""
    monkeypatch.setattr("modeling_clap_student.data.near_duplicates._MOST_IN_MEMORY", in_memory)
    pairs = pairs_within(Table(some_marks([1, 300, 1, 2, 1])))
    assert groups_of(pairs) == [list(range(1, 301)), [302, 303]]
    assert all(pair.score == pytest.approx(1) and pair.row < pair.other for pair in pairs)
    assert len(pairs) < 5 * 300


def test_loops_are_found(monkeypatch):
    """Guards against a clip that repeats itself and hides its copies behind its own keys; and against memory that
    grows with how often clips share keys."""
    monkeypatch.setattr("modeling_clap_student.data.near_duplicates._MOST_IN_MEMORY", 100)
    rng = np.random.default_rng(0)
    loops = [np.tile(rng.normal(0, 0.1, RATE // 4).astype(np.float32), 20) for _ in range(2)]
    table = Table([fingerprint(samples, RATE) for samples in (loops[0], loops[1], loops[0][1600:])])
    assert [(pair.row, pair.other) for pair in pairs_within(table)] == [(0, 2)]
    assert {(pair.row, pair.other) for pair in pairs_between(table, table)} == {(0, 0), (1, 1), (2, 2), (0, 2), (2, 0)}


def test_a_part_of_a_longer_clip_is_found():
    """Guards against an evaluation clip that is cut out of a recording in the pool."""
    rng = np.random.default_rng(3)
    long = rng.normal(0, 0.1, 30 * RATE).astype(np.float32) * np.linspace(0.2, 1, 30 * RATE, dtype=np.float32)
    part = long[round(13.37 * RATE) : round(18.37 * RATE)]
    (pair,) = pairs_between(Table([fingerprint(long, RATE)]), Table([fingerprint(part, RATE)]))
    assert pair.score > 2 * SAME_SOUND


def test_groups():
    """Guards against two groups where a chain makes one."""
    pairs = [SamePair(5, 9, 1.0), SamePair(1, 2, 1.0), SamePair(9, 2, 1.0), SamePair(3, 4, 1.0)]
    assert groups_of(pairs) == [[1, 2, 5, 9], [3, 4]] and groups_of([]) == []
