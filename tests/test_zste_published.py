"""Tests that others wrote: their formulas against loops in float64, chance by simulation, events made into sounds."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tone

from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.errors import ClipError, InputError
from modeling_clap_student.evaluation.zste.compositions import (
    Composer,
    Composition,
    Sound,
    compose,
    map_events,
    read_mapping,
    read_times,
)
from modeling_clap_student.evaluation.zste.published import Choice, Pairs, Search


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of rows of float32, in float64, element by element."""
    return float(np.float32(sum(float(x) * float(y) for x, y in zip(a, b, strict=True))))


def some(seed: int, audio: int, texts: int, dim: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return unit(rng, audio, dim), rng.random(audio) < 0.9, unit(rng, texts, dim)


def test_compa_is_what_its_formulas_say():
    """Guards against rows for columns, and items whose recording could not be heard."""
    audio, heard, texts = some(0, 60, 50)
    rng = np.random.default_rng(1)
    part = Pairs(rng.integers(0, 50, (300, 2)), rng.integers(0, 60, (300, 2)))
    part.recordings[:, 1] = (part.recordings[:, 0] + 1) % 60
    part.texts[:, 1] = (part.texts[:, 0] + 1) % 50
    found = part.answers(audio, heard, texts)
    expected: dict[str, list] = {"items": [], "text": [], "audio": [], "group": []}
    for item in range(300):
        (t0, t1), (a0, a1) = part.texts[item], part.recordings[item]
        if heard[a0] and heard[a1]:
            s = {(t, a): cosine(texts[t], audio[a]) for t in (t0, t1) for a in (a0, a1)}
            f = s[t0, a0] > s[t1, a0] and s[t1, a1] > s[t0, a1]
            g = s[t0, a0] > s[t0, a1] and s[t1, a1] > s[t1, a0]
            for name, value in (("items", item), ("text", f), ("audio", g), ("group", f and g)):
                expected[name].append(value)
    assert 0 < len(expected["items"]) < 300
    for metric in ("text", "audio", "group"):
        assert found[metric].values.dtype == bool and found[metric].values.tolist() == expected[metric]
        assert found[metric].items.tolist() == expected["items"]


def test_ties_are_wrong():
    """Guards against points for a model that hears no difference."""
    same, texts = np.tile(unit(np.random.default_rng(0), 1, 8), (4, 1)), unit(np.random.default_rng(1), 4, 8)
    heard, two = np.ones(4, bool), np.array([[0, 1], [2, 3]])
    found = Pairs(two, two).answers(same, heard, texts)
    assert not any(found[metric].values.any() for metric in found)
    deaf = Pairs(two, two).answers(texts, heard, same)
    assert not any(deaf[metric].values.any() for metric in deaf)
    assert not Choice(np.arange(2), two).answers(same, heard, texts)["accuracy"].values.any()
    found = Search(np.arange(2), np.arange(4), [np.array([0]), np.array([1])]).answers(same, heard, texts)
    assert found["R@1"].values.tolist() == [False, False] and found["R@5"].values.all()
    np.testing.assert_allclose(found["mAP@10"].values, 1 / 4)


def test_search_is_what_its_formulas_say():
    """Guards against ranks among recordings of other parts, or own ones that push each other back."""
    audio, heard, texts = some(2, 80, 40)
    rng = np.random.default_rng(3)
    among = np.sort(rng.permutation(80)[:50])
    own = [np.sort(rng.permutation(among)[: rng.integers(1, 5)]) for _ in range(40)]
    found = Search(np.arange(40), among, own).answers(audio, heard, texts)
    items, hits, precisions = [], {1: [], 5: [], 10: []}, []
    for item in range(40):
        right = [row for row in own[item] if heard[row]]
        if right:
            scores = {row: cosine(texts[item], audio[row]) for row in among if heard[row]}
            order = sorted(scores, key=lambda row: -scores[row])
            places = sorted(1 + order.index(row) for row in right)
            items.append(item)
            for k, values in hits.items():
                values.append(places[0] <= k)
            precisions.append(sum((n + 1) / rank for n, rank in enumerate(places) if rank <= 10) / len(right))
    assert found["R@1"].items.tolist() == items and 0 < sum(hits[1]) < len(items)
    for k, values in hits.items():
        assert found[f"R@{k}"].values.dtype == bool and found[f"R@{k}"].values.tolist() == values
    np.testing.assert_allclose(found["mAP@10"].values, precisions, rtol=1e-12)


def test_a_choice_is_what_its_formula_says():
    """Guards against the reversed recording taken for the first, and a control with the own caption."""
    audio, heard, texts = some(4, 120, 60)
    recordings = np.arange(120).reshape(60, 2)
    found = Choice(np.arange(60), recordings).answers(audio, heard, texts)
    items = [n for n in range(60) if heard[2 * n] and heard[2 * n + 1]]
    right = [cosine(texts[n], audio[2 * n]) > cosine(texts[n], audio[2 * n + 1]) for n in items]
    assert found["accuracy"].items.tolist() == items and found["accuracy"].values.tolist() == right
    biased = unit(np.random.default_rng(5), 60, 6)
    louder = np.stack([biased, -biased], axis=1).reshape(120, 6)
    cone = np.tile(biased[:1], (60, 1)) + 0.01 * biased  # all captions are alike, and all like the first recordings
    near = np.repeat(cone, 2, axis=0) * np.tile([1, -1], 60)[:, None].astype(np.float32)
    found = Choice(np.arange(60), recordings).answers(near.astype(np.float32), np.ones(120, bool), cone)
    assert found["accuracy"].values.all() and found["control/other_captions"].values.all()
    found = Choice(np.arange(60), recordings).answers(louder, np.ones(120, bool), biased)
    assert found["accuracy"].values.all() and 0.2 < found["control/other_captions"].values.mean() < 0.8


def test_chance_is_what_random_embeddings_come_to():
    """Guards against chance levels of other questions: 25, 25 and 16.67 %; half; a draw without replacement."""
    rng = np.random.default_rng(6)
    n = 20_000
    audio, texts, heard = unit(rng, 2 * n, 16), unit(rng, 2 * n, 16), np.ones(2 * n, bool)
    two = np.arange(2 * n).reshape(n, 2)
    pairs = Pairs(two, two).answers(audio, heard, texts)
    assert [round(pairs[metric].chance, 4) for metric in ("text", "audio", "group")] == [0.25, 0.25, 0.1667]
    choice = Choice(np.arange(n), two).answers(audio, heard, texts)
    for metric, found in (pairs | choice).items():
        assert abs(found.values.mean() - found.chance) < 4 * np.sqrt(found.chance / n), metric
    own = [np.sort(rng.permutation(30)[: rng.integers(1, 6)]) for _ in range(n)]
    found = Search(np.arange(n), np.arange(30), own).answers(audio[:30], heard[:30], texts)
    drawn = [np.sort(rng.permutation(30)[: len(right)]) + 1 for right in own]  # ranks, in random order
    for k in (1, 5, 10):
        assert found[f"R@{k}"].chance == pytest.approx(np.mean([ranks[0] <= k for ranks in drawn]), abs=0.015)
    mean = np.mean([sum((i + 1) / r for i, r in enumerate(ranks) if r <= 10) / len(ranks) for ranks in drawn])
    assert found["mAP@10"].chance == pytest.approx(mean, abs=0.01)


def test_chance_of_the_mean_precision_is_exact():
    """Guards against an approximation: all orders of six recordings, two of them right."""
    own = [[order.index(0) + 1, order.index(1) + 1] for order in permutations(range(6))]
    expected = np.mean([sum((i + 1) / rank for i, rank in enumerate(sorted(ranks))) / 2 for ranks in own])
    rng = np.random.default_rng(0)
    search = Search(np.array([0]), np.arange(6), [np.array([0, 1])])
    found = search.answers(unit(rng, 6, 4), np.ones(6, bool), unit(rng, 1, 4))
    assert found["mAP@10"].chance == pytest.approx(expected, rel=1e-12)
    assert found["R@1"].chance == pytest.approx(1 / 3) and found["R@10"].chance == 1


@pytest.mark.parametrize(
    ("event", "label"),
    [
        ("Dog", "dog"),
        ("Baby cry, infant cry", "crying baby"),  # one of several names, in another order
        ("Vehicle horn, car horn, honking, toot", "car horn"),
        ("Cough", "coughing"),
        ("Medium engine (mid frequency)", "engine"),  # a class within an event
        ("Knock", "door wood knock"),  # an event within a class
        ("Car passing by", None),  # one word of both is not enough
        ("Door", None),  # two classes fit
        ("Fire engine, fire truck (siren)", None),
        ("Music", None),
        ("!?", None),
    ],
)
def test_an_event_means_a_class_of_its_words(event, label):
    """Guards against a car horn where a car passes by."""
    names = ["dog", "crying baby", "car horn", "coughing", "engine", "siren", "door wood knock", "door wood creaks"]
    assert map_events([event], names) == ({event: label} if label else {})


@pytest.mark.parametrize(
    ("events", "times"),
    [
        ({"Dog": [[0.5, 2]], "Cat": [[3.0, 10.0]]}, {"Dog": [(0.5, 2.0)], "Cat": [(3.0, 10.0)]}),
        ({"Dog": [1.0, 2.0], "Cat": [5]}, {"Dog": [(1.0, 2.0), (2.0, 4.0)], "Cat": [(5.0, 7.0)]}),  # onsets alone
        ({"Dog": [[2, 1]]}, None),
        ({"Dog": [[1, 1.01]]}, None),
        ({"Dog": [[-1, 1]]}, None),
        ({"Dog": [[0, 1e9]]}, None),
        ({"Dog": [[0, float("nan")]]}, None),
        ({"Dog": [10**400]}, None),
        ({"Dog": [["0", "1"]]}, None),
        ({"Dog": [[True, 2]]}, None),
        ({"Dog": [[1]]}, None),
        ({"Dog": []}, None),
        ({"Dog": 1.0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_times_that_are_none(events, times):
    """Guards against recordings of hours, and a traceback on the way to them."""
    assert read_times(events) == times


def composition(*sounds: tuple[str, float, float]) -> Composition:
    return Composition("one", "", tuple(Sound(f"set/{label}/0.wav", label, on, end) for label, on, end in sounds), 7)


def test_what_can_be_told_from_its_reversal():
    """Guards against questions that have no answer."""
    assert composition(("dog", 0, 1), ("hen", 2, 3)).is_ordered
    assert not composition(("dog", 0, 1), ("hen", 2, 3), ("dog", 4, 5)).is_ordered
    assert not composition(("dog", 0, 1)).is_ordered
    assert not composition(("dog", 0, 9), ("hen", 3, 4)).is_ordered  # the hen is heard within the dog either way


@pytest.fixture
def clips(tmp_path):
    for number, name in enumerate(("dog", "hen", "rain")):
        for take in range(3):
            write_tone(tmp_path / "set" / name / f"{take}.wav", 200 * (3 * number + take + 1), seconds=1 + take)
    return read_benchmark(str(tmp_path / "set")).clips


def test_recordings_hold_the_same_sounds_in_either_order(clips, tmp_path):
    """Guards against sounds at other times, at other levels, or silence that tells which recording is which."""
    rate = 16_000
    made = composition(("dog", 1.0, 3.0), ("hen", 3.5, 4.5), ("rain", 5.0, 9.0))
    forward, reverse = Composer(clips, rate, SkippedClips(tmp_path / "skipped.csv")).render(made)
    assert forward.shape == reverse.shape == (10 * rate,) and forward.dtype == np.float32

    def part(waveform: np.ndarray, onset: float, end: float) -> np.ndarray:
        return waveform[round(onset * rate) : round(end * rate)]

    for places in ((1.0, 3.0, 7.0, 9.0), (3.5, 4.5, 5.5, 6.5), (5.0, 9.0, 1.0, 5.0)):
        sound = part(forward, *places[:2])
        np.testing.assert_array_equal(sound, part(reverse, *places[2:]))
        level = 20 * np.log10(np.sqrt(np.mean(np.square(sound[400:-400], dtype=np.float64))))
        assert level == pytest.approx(-26, abs=0.3)
    for waveform in (forward, reverse):
        assert not part(waveform, 0, 1).any() and not part(waveform, 9, 10).any()
        assert np.abs(waveform).max() <= 0.99


def test_recordings_are_the_same_each_time(clips, tmp_path):
    """Guards against a test that is another one tomorrow; and longer captions, sounds at once, clips that are bad."""
    by_class = {name: sorted(i for i in clips["audio_id"] if f"/{name}/" in i) for name in ("dog", "hen", "rain")}
    times = {"Dog": [(0.0, 1.0), (0.5, 12.0)], "Hen": [(13.0, 14.0)]}
    labels = {"Dog": "dog", "Hen": "hen"}
    one, again = (compose("ordering/syn_1", "", times, labels, by_class) for _ in range(2))
    assert one == again and {sound.clip for sound in one.sounds if sound.label == "dog"} <= set(by_class["dog"])
    others = [compose(f"ordering/syn_{n}", "", times, labels, by_class) for n in range(30)]
    assert len({other.sounds for other in others}) > 3
    skipped = SkippedClips(tmp_path / "skipped.csv")
    first = Composer(clips, 8000, skipped).render(one)
    second = Composer(clips, 8000, skipped).render(again)
    assert all((a == b).all() for a, b in zip(first, second, strict=True)) and len(first[0]) == 14 * 8000
    Path(clips[0]["audio"]["path"]).write_text("no audio")
    bad = Composition("bad", "", (Sound(clips[0]["audio_id"], "dog", 0, 1),), 0)
    with pytest.raises(ClipError):
        Composer(clips, 8000, skipped).render(bad)
    assert clips[0]["audio_id"] in skipped.read()


def test_a_mapping_says_which_class(tmp_path):
    """Guards against a class that no clip has."""
    path = tmp_path / "mapping.csv"
    path.write_text("event,label\nOink,pig\nBark,dog_bark\nMusic,\n")
    assert read_mapping(path, ["pig", "dog bark"]) == {"Oink": "pig", "Bark": "dog bark"}
    with pytest.raises(InputError, match="'pig' is no class of the clips"):
        read_mapping(path, ["dog bark"])
