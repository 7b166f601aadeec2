"""Which classes are taken for which, and the pictures of an evaluation."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix as reference

from modeling_clap_student.data.benchmarks import Benchmark
from modeling_clap_student.data.sources import Source
from modeling_clap_student.data.tables import UNDECODED, labelled_table
from modeling_clap_student.evaluation.plots import (
    confusion_matrix,
    draw_confusion,
    draw_embeddings,
    most_confused,
    plane,
)
from modeling_clap_student.evaluation.report import detail_tables
from modeling_clap_student.evaluation.zero_shot import ZeroShotResult
from modeling_clap_student.soundscapes.corpus import labelled_clips


def result(truth: list[int], predicted: list[int], names: list[str], unread: int = 0) -> ZeroShotResult:
    """The first clips could not be read."""
    labels = [names[0]] * unread + [names[number] for number in truth]
    ids = [f"{number}.wav" for number in range(len(labels))]
    table = labelled_table(Source("s", "folder", "s"), ids, ids, labels, folds=[n % 2 for n in range(len(labels))])
    vectors = np.random.default_rng(0).normal(size=(len(truth) + len(names), 8)).astype(np.float32)
    rows = np.arange(unread, len(labels))
    truth, predicted = np.array(truth), np.array(predicted)
    embeds = vectors[: len(truth)], vectors[len(truth) :]
    accuracy = float(np.mean(truth == predicted))
    return ZeroShotResult(Benchmark("s", "folder", table, names), rows, truth, predicted, *embeds, accuracy, 0, 0, {})


def test_matrix():
    """Guards against a transposed matrix, and a class that nobody predicts missing from it."""
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(4, size=80), rng.integers(3, size=80)
    assert np.array_equal(confusion_matrix(truth, predicted, 5), reference(truth, predicted, labels=range(5)))


def test_most_confused_pairs_name_their_clips():
    """Guards against clips of other rows where some could not be read, and against pairs that are right."""
    found = most_confused(result([0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 0, 2], ["bird", "cat", "dog"], unread=2))
    assert [(pair.label, pair.predicted, pair.count) for pair in found] == [("bird", "cat", 2), ("cat", "bird", 1)]
    assert found[0].clips == ["s/2.wav", "s/3.wav"] and found[1].clips == ["s/6.wav"]
    assert found[0].paths == ["2.wav", "3.wav"] and found[1].paths == ["6.wav"]
    assert [pair.share for pair in found] == pytest.approx([2 / 3, 1 / 2])
    assert len(most_confused(result([0, 1], [1, 0], ["a", "b"]), most=1)) == 1
    assert most_confused(result([0, 1], [0, 1], ["a", "b"])) == []


def test_a_clip_without_a_file_has_no_path():
    """Guards against a path in results.md that nobody can open: a Hub dataset's, or the built-in corpus's."""
    one = result([0, 1, 1], [1, 0, 0], ["a", "b"])
    audio = [{"bytes": b"RIFF", "path": "0.wav"}, {"bytes": None, "path": "/data/1.wav"}]
    audio.append({"bytes": None, "path": labelled_clips("test")[0][0]})
    clips = one.benchmark.clips.remove_columns("audio").add_column("audio", audio)
    one = replace(one, benchmark=replace(one.benchmark, clips=clips.cast_column("audio", UNDECODED)))
    assert [pair.paths for pair in most_confused(one)] == [["/data/1.wav", None], [None]]
    (table,) = [table for table in detail_tables({"one": [one]}) if "confused" in table.title]
    assert [row[-1] for row in table.rows] == ["/data/1.wav, s/2.wav", "s/0.wav"]


def test_folds_of_clips_that_were_read():
    """Guards against a fold's accuracy over other clips than its own."""
    assert result([0, 0, 1, 1], [0, 1, 1, 0], ["a", "b"], unread=1).fold_accuracy == {"0": 0.0, "1": 1.0}


@pytest.mark.parametrize("classes", [2, 30])
def test_pictures_are_drawn(tmp_path, classes):
    """Guards against a chart that fails for many classes, and a half-written file."""
    truth = list(range(classes)) * 3
    one = result(truth, truth[::-1], [f"class {number}" for number in range(classes)])
    draw_confusion([one, one], tmp_path / "confusion.png")
    draw_embeddings({"before": one, "after": one}, tmp_path / "embeddings.png")
    sizes = [Image.open(tmp_path / f"{name}.png").size for name in ("confusion", "embeddings")]
    assert sizes[0][0] > 500 and sizes[1][0] == 2 * sizes[1][1]
    assert len(list(tmp_path.iterdir())) == 2


def test_plane_is_that_of_principal_components():
    """Guards against directions of small variance, and a picture that flips from run to run."""
    vectors = np.random.default_rng(0).normal(size=(50, 6)) * [1, 5, 1, 3, 1, 1]
    points, method = plane(vectors)
    expected = PCA(2).fit_transform(vectors)
    assert method == "PCA" and np.abs(points) == pytest.approx(np.abs(expected), abs=1e-9)
    assert np.array_equal(points, plane(vectors)[0])


def test_plane_of_umap_where_it_is_installed(monkeypatch):
    """Guards against a branch that nobody runs: umap-learn is no requirement."""
    module = ModuleType("umap")
    module.__spec__ = SimpleNamespace()
    module.UMAP = lambda **options: SimpleNamespace(
        fit_transform=lambda vectors: vectors[:, :2] + options["random_state"]
    )
    monkeypatch.setitem(sys.modules, "umap", module)
    points, method = plane(np.zeros((5, 3)), seed=4)
    assert method == "UMAP" and np.array_equal(points, np.full((5, 2), 4.0))
