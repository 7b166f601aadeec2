"""The reliability curve: probabilities as `classify` gives them, bins against a loop, the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from modeling_clap_student import ClapStudentModel, evaluate_zero_shot
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.data.benchmarks import Benchmark
from modeling_clap_student.evaluation.reliability import draw_reliability, reliability
from modeling_clap_student.evaluation.zero_shot import ZeroShotResult


def result_of(confidences, right):
    """A result whose two classes have given probabilities: the named one's is `confidences`."""
    confidences, right = np.array(confidences), np.array(right)
    cosines = np.log(confidences / (1 - confidences))  # of the first class; the second's is 0
    clips = np.stack([cosines, np.ones_like(cosines)], axis=1)
    truth = np.where(right, 0, 1)
    table = Dataset.from_dict({"label": [f"class {n}" for n in truth], "audio_id": list(map(str, range(len(truth))))})
    benchmark = Benchmark("task", "folder", table, ["class 0", "class 1"])
    classes = np.array([[0.5, 0.0], [0.0, 0.0]])
    rows = np.arange(len(truth))
    named = np.zeros(len(truth), int)
    return ZeroShotResult(benchmark, rows, truth, named, clips, classes, 0.0, 0.0, 0.0, {}, logit_scale=2.0)


def test_bins_are_those_of_a_loop():
    """Guards against clips in a neighbour's bin, and a mean over bins in place of one over clips."""
    rng = np.random.default_rng(0)
    confidences, right = rng.uniform(0.5, 1, 500), rng.random(500) < 0.7
    curve = reliability(result_of(confidences, right))
    expected, error = [], 0.0
    for low in np.arange(10) / 10:
        inside = [n for n in range(500) if low <= confidences[n] < low + 0.1]
        if inside:
            sure, hits = np.mean(confidences[inside]), np.mean(right[inside])
            expected.append((sure, hits, len(inside)))
            error += abs(sure - hits) * len(inside) / 500
    np.testing.assert_allclose(np.stack([curve.confidence, curve.accuracy, curve.counts], axis=1), expected, atol=1e-9)
    assert curve.error == pytest.approx(error)


def test_a_model_that_is_as_right_as_sure():
    rng = np.random.default_rng(1)
    confidences = rng.uniform(0.5, 1, 20_000)
    assert reliability(result_of(confidences, rng.random(20_000) < confidences)).error < 0.02
    assert reliability(result_of(np.full(100, 0.99), np.arange(100) < 50)).error == pytest.approx(0.49)
    assert reliability(result_of([1 - 1e-12], [True])).counts.tolist() == [1]  # the last bin holds certainty


def test_probabilities_are_those_of_classify(tiny_folder, labelled_folder):
    """Guards against a softmax without the model's scale."""
    model = ClapStudentModel.from_pretrained(tiny_folder)
    result = evaluate_zero_shot(model, str(labelled_folder), progress=False)
    paths = [clip["path"] for clip in result.benchmark.clips["audio"]]
    told = model.classify(paths, result.benchmark.class_names)
    np.testing.assert_allclose(result.probabilities, [list(row.values()) for row in told], atol=2e-4)


def test_the_command_draws_and_keeps_it(command, tiny_folder, labelled_folder):
    flags = ["--model", tiny_folder, "--task", labelled_folder, "--output_dir", "eval", "--plot_reliability"]
    assert command(run_eval, *flags) == 0
    (row,) = [row for row in json.loads(Path("eval/results.json").read_text()) if row["metric"] == "ece"]
    assert 0 <= row["value"] <= 1
    assert list(Path("eval").glob("reliability_*.png"))
    assert command(run_eval, *flags) == 0  # its own older files are no hindrance


def test_the_picture(tmp_path):
    rng = np.random.default_rng(2)
    confidences = rng.uniform(0.5, 1, 400)
    models = {
        "teacher": result_of(confidences, rng.random(400) < confidences - 0.2),
        "student": result_of(confidences, rng.random(400) < confidences),
    }
    draw_reliability(models, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
