"""The estimated precision against the truth where it is known, and `--pair_threshold auto` on the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, SMALL

from modeling_clap_student import InputError
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.curation import advisor
from modeling_clap_student.curation.advisor import PrecisionEstimate, estimate_precision, rising_means


SCALE, CLASSES, DIM = 20.0, 12, 64


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def world(seed, clips=1500, scale=SCALE):
    """Captions of twelve classes, five of them selected; clips whose caption is drawn as a calibrated teacher says.

    Returns:
        clips, captions, chosen, labels, and (clips, selected) which pairs are true.
    """
    rng = np.random.default_rng(seed)
    centers = unit(rng.normal(size=(CLASSES, DIM)))
    of_caption = np.arange(CLASSES * 6) % CLASSES
    captions = unit(centers[of_caption] + 0.03 * rng.normal(size=(len(of_caption), DIM)))
    audio = unit(
        centers[rng.integers(CLASSES, size=clips)] * rng.uniform(0, 1, (clips, 1))
        + 0.1 * rng.normal(size=(clips, DIM))
    )
    odds = np.exp(scale * (audio @ captions.T).astype(float))
    heard = (odds.cumsum(1) / odds.sum(1, keepdims=True) > rng.uniform(size=(clips, 1))).argmax(1)
    chosen = np.flatnonzero(of_caption < 5)
    return audio, captions, chosen, of_caption[chosen], of_caption[heard][:, None] == of_caption[chosen]


def true_precisions(estimate, audio, texts, truth):
    """At thresholds that at least 200 pairs reach: the estimate and the truth."""
    similarities = audio @ texts.T
    rows = []
    for threshold, precision in zip(estimate.thresholds[::50], estimate.precisions[::50], strict=True):
        above = similarities >= threshold
        if above.sum() >= 200:
            rows.append((precision, truth[above].mean()))
    assert len(rows) > 10
    return np.array(rows).T


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_near_the_truth_at_every_threshold(seed):
    """Guards against any error in the formula: a calibrated teacher's precision is known within 6 points."""
    audio, captions, chosen, labels, truth = world(seed)
    estimate = estimate_precision(audio, captions, chosen, labels, SCALE)
    estimated, true = true_precisions(estimate, audio, captions[chosen], truth)
    assert true.max() > 0.8 and true.min() < 0.2
    assert np.abs(estimated - true).max() < 0.06


def test_a_teacher_that_is_too_sure_is_believed():
    """Guards against a docstring that promises more: the assumption is the scale's, and this is how it fails."""
    audio, captions, chosen, labels, truth = world(0, scale=SCALE / 5)
    estimate = estimate_precision(audio, captions, chosen, labels, SCALE)
    estimated, true = true_precisions(estimate, audio, captions[chosen], truth)
    assert (estimated - true).max() > 0.1 and (estimated - true).min() > -0.06


def test_precision_never_falls_and_the_loosest_threshold_is_taken():
    """Guards against a threshold from a chance bump, and against a stricter one than needed."""
    estimate = estimate_precision(*world(1)[:4], SCALE)
    assert (np.diff(estimate.precisions) >= 0).all() and (np.diff(estimate.thresholds) > 0).all()
    threshold, precision = estimate.loosest(0.5)
    assert precision >= 0.5
    assert (estimate.precisions[estimate.thresholds < threshold] < 0.5).all()
    assert estimate.loosest(1e-9)[0] == estimate.thresholds[0]


def test_a_precision_out_of_reach_is_told_with_the_best_one():
    """Guards against an empty set, or the best one there is without a word."""
    estimate = PrecisionEstimate(np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.4, 0.4]))
    assert estimate.loosest(0.4) == (0.2, 0.4)
    with pytest.raises(InputError, match=r"precision of 0\.5: the best is 0\.400, at 0\.2000"):
        estimate.loosest(0.5)


def test_blocks_and_samples_of_the_pool_change_little(monkeypatch):
    """Guards against clips that are lost at the edges of blocks, and a sample of the first clips alone."""
    audio, captions, chosen, labels, _ = world(2)
    whole = estimate_precision(audio, captions, chosen, labels, SCALE)
    monkeypatch.setattr(advisor, "_BLOCK", (7, 5))
    parts = estimate_precision(audio, captions, chosen, labels, SCALE)
    np.testing.assert_allclose(parts.precisions[::100], whole.precisions[::100], atol=0.01)
    monkeypatch.setattr(advisor, "POOL_SAMPLE", 400)
    order = np.argsort(audio @ captions[chosen[0]])
    some = estimate_precision(audio[order], captions, chosen, labels, SCALE)
    assert some.loosest(0.5)[0] == pytest.approx(whole.loosest(0.5)[0], abs=0.05)


def test_few_and_equal_vectors():
    """Guards against a division by nothing: one clip, one caption, all alike."""
    one = np.array([[1.0, 0.0]], np.float32)
    alone = estimate_precision(one, one, np.array([0]), np.array([3]), SCALE)
    assert alone.loosest(1.0) == (-1.0, 1.0)  # there is nothing else that it could be
    alike = estimate_precision(one.repeat(9, 0), one.repeat(4, 0), np.array([1, 2]), np.array([0, 1]), SCALE)
    np.testing.assert_allclose(alike.precisions, 0.25)
    with pytest.raises(InputError, match="no pairs"):
        estimate_precision(one[:0], one, np.array([0]), np.array([0]), SCALE)


def test_means_that_fall_are_pooled():
    """Guards against a wrong isotonic regression."""
    counts = np.array([1, 1, 0, 2, 4, 1])
    means = rising_means(np.array([0.5, 0.1, 0, 1.0, 1.0, 0.9]), counts)
    np.testing.assert_allclose(means[counts > 0], [0.3, 0.3, 2 / 6, 2 / 6, 0.9])
    assert (np.diff(means) >= 0).all()


@pytest.fixture
def flags(command, captioned_folder, pool_folder):
    assert command(run_teacher, "--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST) == 0
    Path("labels.txt").write_text("low hum\nhigh whistle\n")
    files = ["--captions", captioned_folder, "--audio", pool_folder, "--labels", "labels.txt"]
    return ["--teacher", "teacher", *files, "--num_captions", 3, "--output_dir", "set", "--max_skipped_fraction", 0.5]


@pytest.mark.parametrize("name", ["--pair_threshold", "--threshold"])
def test_the_command_finds_a_threshold_and_tells_the_estimate(command, flags, name, capsys):
    """Guards against a set that does not tell what was estimated."""
    assert command(curate, "--strategy", "ads", *flags, name, "auto", "--precision", 0.2) == 0
    made = json.loads(Path("set/provenance.json").read_text())
    assert made["wanted_precision"] == 0.2 and 0.2 <= made["estimated_precision"] <= 1
    assert f"threshold {made['pair_threshold']:.4f}: an estimated" in capsys.readouterr().out
    assert "Share of true pairs that was wanted" in Path("set/report.html").read_text()


def test_a_precision_that_the_command_cannot_reach_leaves_no_set(command, flags, capsys):
    """Guards against a traceback, or a set that is worse than was asked for."""
    assert command(curate, "--strategy", "ads", *flags, "--pair_threshold", "auto", "--precision", 1) == 1
    assert "error: no threshold reaches an estimated precision of 1: the best is 0." in capsys.readouterr().err
    assert not Path("set").exists()


@pytest.mark.parametrize(
    ("strategy", "wrong", "message"),
    [
        ("du", ["--pair_threshold", "auto"], "auto is for ads"),
        ("ads", ["--pair_threshold", "automatic"], "must be a cosine or auto, got 'automatic'"),
        ("ads", ["--pair_threshold", "auto", "--precision", 0], "must lie in"),
        ("ads", ["--pair_threshold", "auto", "--num_pairs", 5], "give one of"),
        ("ads", ["--pair_threshold", "auto", "--csls_neighbours", 2], "give it without --csls_neighbours"),
    ],
)
def test_flags_that_do_not_go_with_it(command, strategy, wrong, message, capsys):
    """Guards against an estimate of other pairs than those that are kept."""
    data = ["--teacher", "t", "--captions", "c", "--audio", "a", "--labels", "l"]
    assert command(curate, "--strategy", strategy, *data, *wrong) == 1
    assert message in capsys.readouterr().err
