"""The examples, as a newcomer runs them."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from modeling_clap_student import ClapStudentModel, evaluate_zero_shot
from modeling_clap_student.hub_clap_student import fingerprint


def run(name: str, *arguments) -> str:
    """What an example prints, run as a program."""
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)], capture_output=True, text=True, check=False,
        timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_files_are_classified(tiny_folder, pool_folder):
    """Guards against an example that no longer runs, and labels of other files."""
    files = [str(pool_folder / f"{number}.flac") for number in range(3)]
    printed = run("classify_files.py", tiny_folder, *files, "--labels", "low hum", "high whistle").splitlines()
    found = ClapStudentModel.from_pretrained(tiny_folder).classify(files, labels=["low hum", "high whistle"])
    best = [max(row, key=row.get) for row in found]
    assert [line.split(" (")[0] for line in printed] == [f"{f}: {b}" for f, b in zip(files, best, strict=True)]


@pytest.mark.slow
def test_a_dataset_of_one_s_own_is_trained_on(tiny_folder, captioned_folder, tmp_path):
    """Guards against an example that no longer runs, or leaves no model."""
    rows = (captioned_folder / "metadata.csv").read_text().splitlines()[1:]
    (tmp_path / "captions.csv").write_text("\n".join(["file,text", *(f"{captioned_folder}/{row}" for row in rows)]))
    printed = run("train_on_your_dataset.py", tiny_folder, tmp_path / "captions.csv", tmp_path / "out", "--epochs", 1)
    assert "recall on held-out clips: " in printed
    assert ClapStudentModel.from_pretrained(tmp_path / "out").encode_text("hum").shape == (1, 32)


@pytest.mark.slow
def test_a_model_is_scored(tiny_folder, labelled_folder):
    """Guards against an example that no longer runs, or prints another number than the package finds."""
    printed = run("evaluate_model.py", tiny_folder, labelled_folder, "--baseline", tiny_folder)
    expected = evaluate_zero_shot(str(tiny_folder), labelled_folder, progress=False)
    assert printed.startswith(f"accuracy {expected.accuracy:.1%} (") and " on 6 clips" in printed
    assert "difference +0.0%" in printed and "p = 1" in printed


@pytest.mark.slow
def test_a_set_is_curated_and_trained_on(tiny_folder, captioned_folder, pool_folder, tmp_path, monkeypatch):
    """Guards against an example that no longer runs, or a student that did not learn from the set."""
    monkeypatch.chdir(tmp_path)
    printed = run(
        "curate_and_train.py", tiny_folder, captioned_folder, pool_folder, "out", "--labels", "low hum", "whistle",
        "--num_captions", 3, "--num_pairs", 8, "--epochs", 1,
    )  # fmt: skip
    assert (
        printed.strip().endswith("8 pairs; the student is in out/student") and (tmp_path / "out/pairs/data").is_dir()
    )
    teacher, student = (ClapStudentModel.from_pretrained(path) for path in (tiny_folder, tmp_path / "out" / "student"))
    assert fingerprint(teacher) != fingerprint(student)
    assert student.config.record["num_pairs"] == 8 and student.config.record["num_replay"] == 9
