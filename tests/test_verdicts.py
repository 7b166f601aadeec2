"""Verdicts and what they promise: laws against scipy's, promises against simulated truth, files and wrong files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from modeling_clap_student import InputError
from modeling_clap_student.curation.arguments import CurateArguments
from modeling_clap_student.curation.promise import (
    ENOUGH,
    Sample,
    chance_of,
    decide,
    drawn,
    fitted_precisions,
    weighted_precision,
)
from modeling_clap_student.curation.review import likely_cut
from modeling_clap_student.curation.sampling import cut_levels, draw_pairs
from modeling_clap_student.curation.verdicts import (
    CANT_TELL,
    DOES_NOT,
    FITS,
    Verdicts,
    as_label_studio,
    identify,
    read_verdicts,
    with_earlier,
    write_verdicts,
)


PAIRS = 1000


def set_of(pairs: int = PAIRS, labels: int = 4) -> pa.Table:
    """Pairs whose similarity falls with their number."""
    numbers = range(pairs)
    return pa.table(
        {
            "audio_id": [f"clip {n}" for n in numbers],
            "caption": [f'a "caption", {n}\nof two lines' for n in numbers],
            "label": [f"label {n % labels}" for n in numbers],
            "similarity": np.linspace(0.9, 0.5, pairs, dtype=np.float32),
        }
    )


def judged(draw, truth, set_id: str = "ab") -> Verdicts:
    """What one who knows says of a draw: `truth` (pairs,) bool."""
    said = [FITS if truth[row] else DOES_NOT for row in draw.rows]
    pairs = tuple(replace(pair, verdict=word) for pair, word in zip(draw.pairs, said, strict=True))
    return Verdicts(set_id, draw.cuts, pairs, len(pairs))


def falling(rng, high: float = 0.98, low: float = 0.4, pairs: int = PAIRS) -> np.ndarray:
    return rng.random(pairs) < np.linspace(high, low, pairs)


@pytest.mark.parametrize(("told", "pairs"), [(30, 90), (30, 30), (100, 1_000_000), (17, None)])
def test_chances_are_those_of_scipy(told, pairs):
    """Guards against a tail that is off by one, or a share that the pairs can have and still be too low."""
    for precision in (0.5, 0.8, 0.93):
        for fits in range(told + 1):
            if pairs is None:
                expected = stats.binom.sf(fits - 1, told, precision)
            else:
                just_below = max(n for n in range(pairs) if n / pairs < precision - 1e-12) if pairs < 1000 else None
                just_below = math.ceil(precision * pairs) - 1 if just_below is None else just_below
                expected = stats.hypergeom.sf(fits - 1, pairs, just_below, told)
            assert chance_of(fits, told, precision, pairs) == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(("fits", "told"), [(0, 5), (27, 30), (30, 30), (81, 100)])
def test_bounds_are_those_of_clopper_and_pearson(fits, told):
    """Guards against a bound on the wrong side."""
    expected = 0.0 if fits == 0 else stats.beta.ppf(0.05, fits, told - fits + 1)
    assert Sample(fits, told).lower_bound(0.95) == pytest.approx(expected, abs=1e-5)
    all_judged = Sample(fits, told, pairs=told)
    assert all_judged.lower_bound(0.95) == pytest.approx(fits / told, abs=1e-5)


@pytest.mark.parametrize("kind", ["falling", "flat", "steep"])
def test_what_is_promised_holds(kind):
    """Guards against the best of many cuts by chance: the flat set lies just below what is wanted at every cut, and
    every promise on it is broken."""
    table, broken, kept = set_of(), 0, []
    similarities = table["similarity"].to_numpy()
    repetitions = 400
    for repetition in range(repetitions):
        rng = np.random.default_rng(10**6 + repetition)  # not the lots' own
        truth = {
            "falling": falling(rng),
            "flat": rng.permutation(np.arange(PAIRS) < 0.79 * PAIRS),
            "steep": np.arange(PAIRS) < 300,
        }[kind]
        promise = decide(judged(draw_pairs(table, 100, f"{repetition:x}"), truth), 0.8)
        is_kept = similarities >= promise.lowest
        kept.append(is_kept.sum())
        broken += bool(is_kept.any() and truth[is_kept].mean() < 0.8)
    assert broken / repetitions <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
    assert kind == "flat" or np.mean(kept) > 100  # and something is promised


def test_draws_are_uniform_and_weights_unbiased():
    """Guards against a draw that prefers some of a cut's pairs, and shares that the preferred ones distort."""
    table, truth = set_of(200), falling(np.random.default_rng(0), pairs=200)
    counts, shares, repetitions = np.zeros(200), [], 600
    for repetition in range(repetitions):
        draw = draw_pairs(table, 60, f"{repetition:x}")
        loosest = draw.cuts[-1]
        in_order = [row for row in draw.rows if table["similarity"][int(row)].as_py() >= loosest.cosine]
        counts[in_order[: loosest.sample]] += 1
        weights = np.array([pair.weight for pair in draw.pairs])
        shares.append(weights @ truth[draw.rows] / weights.sum())
        assert len(draw.rows) <= 60 and np.diff([pair.lot for pair in draw.pairs]).min() > 0
    expected = counts.mean()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi_square, 199) > 1e-3
    assert np.mean(shares) == pytest.approx(truth.mean(), abs=4 * np.std(shares) / math.sqrt(repetitions))
    strict, loose = counts[:100].sum(), counts[100:].sum()
    assert strict == pytest.approx(loose, rel=0.1)


def test_a_part_of_a_review_tells_of_the_whole_set():
    """Guards against the first verdicts, which are of a uniform draw, weighted as if the similar were among them."""
    table, truth = set_of(200), falling(np.random.default_rng(0), pairs=200)
    shares, raw, repetitions = [], [], 600
    for repetition in range(repetitions):
        draw = draw_pairs(table, 60, f"{repetition:x}")
        said = [FITS if fits else DOES_NOT for fits in truth[draw.rows[:20]]] + [""] * (len(draw.rows) - 20)
        pairs = tuple(replace(pair, verdict=word) for pair, word in zip(draw.pairs, said, strict=True))
        counted = Verdicts("ab", draw.cuts, pairs, len(pairs)).in_order
        assert len(counted) == 20
        for found, told in ((shares, counted), (raw, pairs[:20])):
            weights = np.array([pair.weight for pair in told])
            found.append(weights @ truth[draw.rows[:20]] / weights.sum())
    tolerance = 4 * np.std(shares) / math.sqrt(repetitions)
    assert np.mean(shares) == pytest.approx(truth.mean(), abs=tolerance)
    assert np.mean(raw) != pytest.approx(truth.mean(), abs=tolerance)  # it can tell
    assert Verdicts("ab", draw.cuts, (), 0).in_order == ()


def test_a_longer_review_holds_the_shorter_one():
    """Guards against verdicts that a second review does not ask for any more, and forgets."""
    table, truth = set_of(), falling(np.random.default_rng(1))
    first = judged(draw_pairs(table, 60, "ab"), truth)
    assert draw_pairs(table, 60, "ab").pairs == draw_pairs(table, 60, "ab").pairs
    likely = likely_cut(first, decide(first, 0.8))
    second = draw_pairs(table, 200, "ab", first, likely)
    levels = [cut.cosine for cut in second.cuts]
    assert {cut.cosine for cut in first.cuts} < set(levels)
    likely = levels.index(likely)
    again = with_earlier(second.pairs, first)
    assert {pair.key for pair in first.pairs} <= {pair.key for pair in second.pairs} and len(second.pairs) <= 200
    assert sum(bool(pair.verdict) for pair in again) == len(first.pairs)
    near = [cut.sample for cut in second.cuts[max(0, likely - 1) : likely + 2]]
    far = [cut.sample for cut in (*second.cuts[: max(0, likely - 1)], *second.cuts[likely + 2 :])]
    assert min(near) >= 1.5 * max(far)
    reached = np.cumsum(truth) / np.arange(1, PAIRS + 1) >= 0.8
    assert abs(math.log2(second.cuts[likely].pairs / (np.flatnonzero(reached).max() + 1))) <= 1.5


def test_cuts_lie_between_pairs():
    """Guards against a pair on a cut, which a later rounding would throw to either side; and ties cut apart."""
    levels = cut_levels(np.float32([0.9, 0.8, 0.8, 0.8, 0.7] * 10), 100)
    assert levels == sorted(levels, reverse=True) and len(levels) == 2
    assert 0.7 < levels[0] < 0.8 and levels[1] < 0.7
    assert len(cut_levels(np.float32([0.5]), 100)) == 1


def test_verdicts_count_up_to_the_first_pair_that_was_passed_over():
    """Guards against a listener who judges what is easy: what was chosen is no uniform draw."""
    verdicts = judged(draw_pairs(set_of(), 100, "ab"), np.ones(PAIRS, bool))
    loosest = verdicts.cuts[-1]
    assert drawn(verdicts, loosest) == Sample(loosest.sample, loosest.sample, PAIRS)
    of_loosest = [pair for pair in verdicts.pairs if pair.similarity >= loosest.cosine][: loosest.sample]
    skipped = [replace(p, verdict="") if p == of_loosest[10] else p for p in verdicts.pairs]
    assert drawn(replace(verdicts, pairs=tuple(skipped)), loosest).told == 10


def test_what_nobody_can_tell_is_left_out():
    """Guards against "can't tell" that counts for or against a pair, or that ends what counts."""
    verdicts = judged(draw_pairs(set_of(), 100, "ab"), np.ones(PAIRS, bool))
    unsure = {verdicts.pairs[5].key, verdicts.pairs[7].key}
    pairs = tuple(replace(p, verdict=CANT_TELL) if p.key in unsure else p for p in verdicts.pairs)
    loosest = verdicts.cuts[-1]
    assert drawn(replace(verdicts, pairs=pairs), loosest) == Sample(loosest.sample - 2, loosest.sample - 2, None)
    nothing = tuple(replace(p, verdict=CANT_TELL) for p in verdicts.pairs)
    with pytest.raises(InputError, match="the listeners could judge no pair"):
        decide(replace(verdicts, pairs=nothing), 0.8)


def test_a_label_with_enough_verdicts_has_its_own_cut():
    """Guards against a bad label that rides on good ones."""
    truth = np.array([n % 2 == 0 for n in range(PAIRS)])
    table = set_of(labels=2)
    many = judged(draw_pairs(table, 500, "ab"), truth)
    promise = decide(many, 0.8)
    assert all(drawn(many, many.cuts[-1], [label]).told >= ENOUGH for label in ("label 0", "label 1"))
    assert {group.labels for group in promise.groups} == {("label 0",), ("label 1",)}
    assert promise.cosine("label 0") < 0.51 and promise.cosine("label 1") == math.inf
    assert promise.level == pytest.approx(0.975)
    few = decide(judged(draw_pairs(table, 60, "ab"), truth), 0.3)
    assert [group.labels for group in few.groups] == [None] and few.cosine("label 1") == few.lowest


def test_how_many_verdicts_lack():
    """Guards against an advice that does not help: as many more as it says make the promise, most of the time."""
    table, helped, asked = set_of(), 0, 0
    for repetition in range(40):
        truth = falling(np.random.default_rng(10**6 + repetition), high=0.95, low=0.8)
        set_id = f"{repetition:x}"
        promise = decide(judged(draw_pairs(table, 40, set_id), truth), 0.85)
        if promise.groups[0].missing is not None:
            asked += 1
            more = draw_pairs(table, 40 + promise.groups[0].missing, set_id)
            helped += decide(judged(more, truth), 0.85).lowest < math.inf
    assert asked >= 10 and helped / asked > 0.4
    hopeless = decide(judged(draw_pairs(table, 40, "a"), np.zeros(PAIRS, bool)), 0.8)
    assert hopeless.lowest == math.inf and hopeless.groups[0].missing is None


def test_fitted_precisions_never_rise_and_are_near_the_truth():
    """Guards against a curve upside down."""
    truth = falling(np.random.default_rng(3))
    verdicts = judged(draw_pairs(set_of(), 500, "ab"), truth)
    fitted = fitted_precisions(verdicts)
    true = [truth[: cut.pairs].mean() for cut in verdicts.cuts]
    assert (np.diff(fitted) <= 1e-9).all() and np.abs(fitted - true).max() < 0.08


def test_weighted_precision_of_equal_weights_is_wilsons():
    from modeling_clap_student.evaluation.statistics import wilson_interval

    pairs = judged(draw_pairs(set_of(), 100, "ab"), falling(np.random.default_rng(3))).pairs
    share = weighted_precision([replace(pair, weight=2.0) for pair in pairs])
    fits = sum(pair.verdict == FITS for pair in pairs)
    assert (share["low"], share["high"]) == pytest.approx(wilson_interval(fits, len(pairs)), abs=1e-3)
    assert weighted_precision([replace(pair, verdict="") for pair in pairs]) is None


@pytest.fixture
def verdicts() -> Verdicts:
    mixed = judged(draw_pairs(set_of(), 60, "ab"), falling(np.random.default_rng(0)))
    return replace(
        mixed,
        pairs=(*mixed.pairs[:-2], replace(mixed.pairs[-2], verdict=CANT_TELL), replace(mixed.pairs[-1], verdict="")),
    )


def test_files_give_back_what_was_said(verdicts, tmp_path):
    """Guards against captions with quotes and lines, and numbers, that change on their way."""
    write_verdicts(tmp_path / "v.csv", verdicts)
    assert replace(read_verdicts([tmp_path / "v.csv"]), place="") == replace(verdicts, place="")
    tasks = as_label_studio(verdicts, [f"/clips/{n}.wav" for n in range(len(verdicts.pairs))])
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    assert read_verdicts([tmp_path / "tasks.json"]).pairs == verdicts.pairs
    flat = [task["data"] | {"verdict": [""] and (task["data"]["verdict"])} for task in tasks]  # JSON-MIN
    (tmp_path / "min.json").write_text(json.dumps(flat))
    assert read_verdicts([tmp_path / "min.json"]).pairs == verdicts.pairs
    assert read_verdicts([tmp_path / "v.csv", tmp_path / "tasks.json"]).pairs == verdicts.pairs


def test_label_studio_knows_skipped_tasks(verdicts, tmp_path):
    """Guards against a task that its annotator skipped, taken for judged."""
    tasks = as_label_studio(verdicts, ["a.wav"] * len(verdicts.pairs))
    tasks[0]["annotations"][0]["was_cancelled"] = True
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    assert read_verdicts([tmp_path / "tasks.json"]).pairs[0].verdict == ""


def change(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def contradicting(text: str) -> str:
    lines = text.splitlines(keepends=True)
    pair = "".join(lines[1:3])
    return text + (
        pair.replace(f",{FITS},", f",{DOES_NOT},")
        if f",{FITS}," in pair
        else pair.replace(f",{DOES_NOT},", f",{FITS},")
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda text: change(text, (f",{FITS},", ",perhaps,")),
            ["pair ", "'perhaps' is no verdict", "fits, does not, can't tell"],
        ),
        (contradicting, ["is judged", "'fits'", "'does not'", "keep one"]),
        (
            lambda text: (
                text.replace(f",{FITS},", ",,").replace(f",{DOES_NOT},", ",,").replace(f",{CANT_TELL},", ",,")
            ),
            ["no verdict"],
        ),
        (lambda text: text.splitlines()[0], ["no verdict"]),
        (lambda text: "", ["no verdict"]),
        (lambda text: change(text, ("\r\nab,", "\r\ncd,")), ["several sets"]),
        (lambda text: change(text, (":1000:", ":999:")), ["several reviews"]),
        (lambda text: change(text, ("similarity", "cosine")), ["lacks similarity"]),
        (lambda text: text.replace(":1000:", "::"), ["malformed"]),
        (
            lambda text: change(
                text,
                (
                    ",0.",
                    ",nan",
                ),
            ),
            ["must be numbers"],
        ),
        (lambda text: "\x00\x01", ["no verdict"]),
    ],
)
def test_wrong_files(verdicts, tmp_path, spoil, words):
    """Guards against a file that is half understood."""
    path = tmp_path / "v.csv"
    write_verdicts(path, verdicts)
    path.write_text(spoil(path.read_bytes().decode()), newline="")
    with pytest.raises(InputError) as error:
        read_verdicts([path])
    assert all(word in str(error.value) for word in [str(path), *words]), error.value
    assert "\n" not in str(error.value).replace("\\n", "")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.csv", None, "is missing"),
        ("v.txt", "", "takes .csv, or .json"),
        ("v.json", "{", "no readable"),
        ("v.json", "[3]", "no readable"),
        ("v.json", '[{"data": {}}]', "it lacks set"),
    ],
)
def test_files_of_another_kind(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_verdicts([tmp_path / name])


def test_verdicts_of_another_set_and_parts_of_a_file(verdicts, tmp_path):
    """Guards against verdicts on another teacher's pairs; a cut is no other set, and neither is another folder."""
    made = {"strategy": "ads", "teacher_fingerprint": "1", "labels": ["a"], "pair_threshold": 0.5, "audio": ["x"]}
    own = replace(verdicts, set_id=identify(made))
    own.check(made | {"pair_threshold": 0.7, "audio": ["y"]})
    for other in ({"teacher_fingerprint": "2"}, {"labels": ["b"]}, {"max_clips_per_caption": 3}, {"strategy": "du"}):
        with pytest.raises(InputError, match="verdicts of another set"):
            own.check(made | other)
    part = replace(verdicts, pairs=verdicts.pairs[:50])
    with pytest.raises(InputError, match=rf"lacks {verdicts.drawn - 50} of the review's {verdicts.drawn} pairs"):
        part.check_whole()


def arguments(**changes) -> CurateArguments:
    sources = {"teacher": "t", "captions": ["c"], "audio": ["a"], "labels": "l", "output_dir": "o"}
    return CurateArguments(**{"strategy": "ads", **sources, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": 1.5}, "--precision must lie in"),
        ({"precision": 0.0}, "--precision must lie in"),
        ({"confidence": 1.0}, "--confidence must lie in"),
        ({"confidence": 0.2}, "--confidence must lie in"),
        ({"strategy": "ds"}, "--strategy ds"),
        ({"csls_neighbours": 3}, "--csls_neighbours"),
        ({"precision": 0.999}, "no threshold holds --precision 0.999"),
        ({"pair_threshold": "0.5", "confidence": 0.9}, "--confidence is for verdicts"),
        ({"pair_threshold": "auto", "drop_rejected": True}, "--drop_rejected is for verdicts"),
        ({"pair_threshold": "gone.csv"}, "gone.csv is missing"),
        ({"pair_threshold": "high"}, "a cosine or auto, got 'high'; verdicts: "),
    ],
)
def test_wrong_flags(verdicts, tmp_path, monkeypatch, changes, words):
    """Guards against hours of embedding before a file or a number is refused."""
    monkeypatch.chdir(tmp_path)
    write_verdicts(Path("v.csv"), verdicts)
    with pytest.raises(ValueError, match=words):
        arguments(**({"pair_threshold": "v.csv"} | changes))


def test_sets_without_verdicts_tell_nothing_of_them(verdicts, tmp_path):
    """Guards against provenance, and so sets, that change for those who judge nothing."""
    assert not {"confidence", "drop_rejected"} & arguments().to_repeat().keys()
    write_verdicts(tmp_path / "v.csv", verdicts)
    args = arguments(pair_threshold=str(tmp_path / "v.csv"), confidence=0.9, precision=0.6)
    assert args.to_repeat()["confidence"] == 0.9 and args.threshold("pair", 0.7).value == args.promise().lowest
