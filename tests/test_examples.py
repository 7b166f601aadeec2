"""The examples, as a newcomer runs them."""

import os
import subprocess
import sys

from conftest import ROOT

from modeling_clap_student import ClapStudentModel, evaluate_zero_shot


def run(name: str, *arguments) -> str:
    """What an example prints, run as a program."""
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)], capture_output=True, text=True, check=False,
        timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_files_are_classified(tiny_folder, pool_folder):
    """Guards against an example that no longer runs, and labels of other files."""
    files = [str(pool_folder / f"{number}.flac") for number in range(3)]
    printed = run("classify_files.py", tiny_folder, *files, "--labels", "low hum", "high whistle").splitlines()
    found = ClapStudentModel.from_pretrained(tiny_folder).classify(files, labels=["low hum", "high whistle"])
    best = [max(row, key=row.get) for row in found]
    assert [line.split(" (")[0] for line in printed] == [f"{f}: {b}" for f, b in zip(files, best, strict=True)]


def test_a_dataset_of_one_s_own_is_trained_on(tiny_folder, captioned_folder, tmp_path):
    """Guards against an example that no longer runs, or leaves no model."""
    rows = (captioned_folder / "metadata.csv").read_text().splitlines()[1:]
    (tmp_path / "captions.csv").write_text("\n".join(["file,text", *(f"{captioned_folder}/{row}" for row in rows)]))
    printed = run("train_on_your_dataset.py", tiny_folder, tmp_path / "captions.csv", tmp_path / "out", "--epochs", 1)
    assert "recall on held-out clips: " in printed
    assert ClapStudentModel.from_pretrained(tmp_path / "out").encode_text("hum").shape == (1, 32)


def test_a_model_is_scored(tiny_folder, labelled_folder):
    """Guards against an example that no longer runs, or prints another number than the package finds."""
    printed = run("evaluate_model.py", tiny_folder, labelled_folder, "--baseline", tiny_folder)
    expected = evaluate_zero_shot(str(tiny_folder), labelled_folder, progress=False)
    assert printed.startswith(f"accuracy {expected.accuracy:.1%} (") and " on 6 clips" in printed
    assert "difference +0.0%" in printed and "p = 1" in printed
