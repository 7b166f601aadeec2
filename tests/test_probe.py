"""The linear probe: the same regression as scikit-learn's, draws that leak nothing, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from test_commands import check_failure

from modeling_clap_student import InputError
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.data.benchmarks import Benchmark
from modeling_clap_student.evaluation.probe import DRAWS, fit_logistic, probe
from modeling_clap_student.evaluation.zero_shot import ZeroShotResult


def unit(embeds):
    return (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("strength", [1.0, 30.0])
def test_the_regression_is_scikit_learns(strength):
    """Guards against another penalty, or a fit that stops early: weights and probabilities follow from both."""
    rng = np.random.default_rng(0)
    labels = np.repeat([2, 5, 7], 8)
    embeds = unit(rng.standard_normal((24, 6)) + np.eye(6)[labels % 6])
    theirs = LogisticRegression(C=strength, max_iter=10_000, tol=1e-10).fit(embeds.astype(np.float64), labels)
    others = unit(rng.standard_normal((4000, 6)))
    ours = fit_logistic(embeds, labels, strength)(others)
    assert (ours == theirs.predict(others)).mean() > 0.999 and len(set(ours)) == 3


def result_of(embeds, truth, origins=None, rows=None):
    names = [f"class {number}" for number in range(truth.max() + 1)]
    columns = {"label": [names[n] for n in truth], "audio_id": [f"clip {n}" for n in range(len(truth))]}
    if origins is not None:
        columns["origin_id"] = origins
    rows = np.arange(len(truth)) if rows is None else rows
    kept = truth[rows]
    benchmark = Benchmark("task", "folder", Dataset.from_dict(columns), names)
    return ZeroShotResult(benchmark, rows, kept, kept, embeds[rows], embeds[:1], 1.0, 1.0, 1.0, {})


def test_accuracies_are_those_of_a_loop():
    """Guards against clips that are learned from and tested on, and against draws that models do not share."""
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(4), 20)
    embeds = unit(rng.standard_normal((80, 8)) + 0.9 * np.eye(8)[truth])
    result = probe(result_of(embeds, truth), 5, seed=3)
    draws, expected = np.random.default_rng(3), []
    for _ in range(DRAWS):
        drawn = np.concatenate([draws.choice(np.flatnonzero(truth == c), 5, replace=False) for c in range(4)])
        tested = np.setdiff1d(np.arange(80), drawn)
        model = LogisticRegression(max_iter=1000, tol=1e-8).fit(embeds[drawn], truth[drawn])
        expected.append(model.score(embeds[tested], truth[tested]))
    np.testing.assert_allclose(result.accuracies, expected, atol=0.017)  # one clip of 60
    row = result.row
    assert row["metric"] == "probe_5" and row["n"] == 60 and row["low"] is None
    assert row["value"] == pytest.approx(np.mean(result.accuracies))
    assert row["deviation"] == pytest.approx(np.std(result.accuracies, ddof=1))


def test_parts_of_a_drawn_recording_are_not_tested_on():
    """Guards against a probe that knows its test clips by heart: two clips per recording, unlike all others.
    Labels are random, so that nothing but the recording tells them."""
    rng = np.random.default_rng(2)
    recordings = np.repeat(np.arange(60), 2)
    truth = rng.integers(0, 3, 60)[recordings]
    embeds = unit(rng.standard_normal((60, 64)))[recordings]
    origins = [f"freesound:{number}" for number in recordings]
    honest, leaking = (np.mean(probe(result_of(embeds, truth, o), 10).accuracies) for o in (origins, None))
    assert honest < 0.45 < leaking


def test_clips_that_could_not_be_read_are_left_out():
    """Guards against rows of the kept clips taken for rows of all."""
    truth = np.repeat(np.arange(2), 10)
    embeds = unit(np.eye(2)[truth] + 0.01)
    assert probe(result_of(embeds, truth, rows=np.arange(3, 20)), 4).accuracies == [1.0] * DRAWS
    with pytest.raises(InputError, match="--probe 7 needs more clips of each class: task has 7 of 'class 0'"):
        probe(result_of(embeds, truth, rows=np.arange(3, 20)), 7)


def test_one_recording_a_class_leaves_nothing_to_test():
    truth = np.repeat(np.arange(2), 10)
    origins = [f"youtube:{number}" for number in truth]
    with pytest.raises(InputError, match="leaves no recording of task"):
        probe(result_of(unit(np.eye(2)[truth] + 0.01), truth, origins), 4)


def test_the_command_prints_and_keeps_it(command, tiny_folder, labelled_folder, capsys):
    """Guards against a probe that only the terminal sees, or that a model card lists as zero-shot."""
    task = ["--task", labelled_folder, "--output_dir", "eval"]
    assert command(run_eval, "--model", tiny_folder, *task, "--probe", "1") == 0
    printed = capsys.readouterr().out
    assert "linear probe on 1 clips per class" in printed
    rows = json.loads(Path("eval/results.json").read_text())
    (row,) = [row for row in rows if row["metric"].startswith("probe")]
    assert row["metric"] == "probe_1" and 0 <= row["value"] <= 1 and row["model"] == str(tiny_folder)
    assert "linear probe" in Path("eval/results.md").read_text()
    assert "probe" not in Path("eval/model_index.yaml").read_text()


def test_wrong_probes(command, tiny_folder, labelled_folder, captioned_folder, capsys):
    """Guards against an error after an hour of embedding."""
    flags = ["--model", tiny_folder, "--output_dir", "eval"]
    check_failure(command(run_eval, *flags, "--task", labelled_folder, "--probe", "0"), capsys, "--probe must")
    code = command(run_eval, *flags, "--task", labelled_folder, "--probe", "50")
    check_failure(code, capsys, "--probe 50 needs more clips of each class")
    code = command(run_eval, *flags, "--task", f"retrieval={captioned_folder}", "--probe", "8")
    check_failure(code, capsys, "--probe is for classes, and no --task has any")
    assert not Path("eval").exists()
