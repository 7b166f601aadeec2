"""The commands as scripts of `uv run` and `hf jobs uv run`, and trackio as their tracker."""

import csv
import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import soundfile
from conftest import FAST, ROOT, SMALL
from huggingface_hub.cli._uv_script_header import parse_uv_script_header

from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.data.decoding import decode_clip
from modeling_clap_student.training.tracked_pairs import TrackedPairs


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPTS = ("curate.py", "run_teacher.py", "run_student.py", "run_eval.py", "run_temporal.py")


@pytest.fixture(scope="module")
def setup() -> dict:
    """What setup.py tells setuptools."""
    with patch("setuptools.setup") as called:
        runpy.run_path(str(ROOT / "setup.py"))
    return called.call_args.kwargs


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_needs_what_the_package_needs(name, setup):
    """Guards against a job with other versions than those that are tested."""
    text = (ROOT / name).read_text(encoding="utf-8")
    header = re.match(r"# /// script\n((?:#.*\n)+?)# ///\n", text)[1]
    told = tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in header.splitlines(True)))
    assert told["dependencies"] == setup["install_requires"]
    assert told["requires-python"] == setup["python_requires"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_job_brings_the_package_along(name):
    """Guards against a job that can't import what its script imports."""
    header = parse_uv_script_header((ROOT / name).read_text(encoding="utf-8"))
    (volume,) = header.volumes
    source, place = volume.split(":")
    assert (ROOT / source / "__init__.py").is_file() and Path(place).parent == Path(header.env["PYTHONPATH"])
    assert header.image and header.flavor and header.timeout and header.secrets == ["HF_TOKEN"]


def test_the_lower_bound_of_python_is_the_first_classifier(setup):
    """Guards against Pythons that are promised in one place and refused in another."""
    named = [text.split(":: ")[-1] for text in setup["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert setup["python_requires"] == f">={named[0]}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {named[0]} to {named[-1]}" in readme


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    """trackio's storage, in a folder of the test."""
    pytest.importorskip("trackio")
    from trackio import utils
    from trackio.sqlite_storage import SQLiteStorage

    for module in [sys.modules[name] for name in list(sys.modules) if name.startswith("trackio")]:
        for name in ("TRACKIO_DIR", "MEDIA_DIR"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, tmp_path / "trackio" / ("media" if name == "MEDIA_DIR" else ""))
    assert tmp_path / "trackio" == utils.TRACKIO_DIR
    return SQLiteStorage


@pytest.mark.slow
def test_losses_reach_trackio_without_a_network(command, captioned_folder, tracker):
    """Guards against a tracker that needs an account, or gets other numbers than the run."""
    flags = ["--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST, "--logging_steps", 1]
    assert command(run_teacher, *flags, "--report_to", "trackio", "--project", "sounds") == 0
    (run,) = tracker.get_runs("sounds")
    told = [row["train/loss"] for row in tracker.get_logs("sounds", run) if "train/loss" in row]
    state = json.loads(next(Path("teacher").glob("checkpoint-*/trainer_state.json")).read_text())
    assert (
        told == pytest.approx([entry["loss"] for entry in state["log_history"] if "loss" in entry]) and len(told) == 2
    )


def test_five_pairs_are_heard_in_trackio(command, tiny_folder, captioned_folder, tracker, tmp_path):
    """Guards against clips without their captions, without sound, or with another clip's sound."""
    flags = ["--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder, "--output_dir", "student"]
    assert command(run_student, *flags, *FAST, "--report_to", "trackio", "--project", "pairs") == 0
    (run,) = tracker.get_runs("pairs")
    told = [value for row in tracker.get_logs("pairs", run) for key, value in row.items() if key.startswith("pairs/")]
    assert len(told) == 5
    rows = list(csv.DictReader((captioned_folder / "metadata.csv").open()))
    for clip in told:
        samples, rate = soundfile.read(tmp_path / "trackio" / "media" / clip["file_path"])
        twins = [row["file_name"] for row in rows if row["caption"] == clip["caption"]]
        heard = [decode_clip({"path": str(captioned_folder / name), "bytes": None}, rate) for name in twins]
        assert rate == 24_000 and any(len(own) == len(samples) and abs(own - samples).max() < 1e-3 for own in heard)


@pytest.mark.parametrize("name", ["TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID"])
def test_no_recording_leaves_with_the_losses(name, monkeypatch):
    """Guards against a Space of losses that also publishes recordings."""
    monkeypatch.setenv(name, "me/losses")
    monkeypatch.setitem(sys.modules, "trackio", None)  # importing it would fail
    args = SimpleNamespace(trackio_space_id=None, trackio_bucket_id=None)
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    TrackedPairs([{"audio": None, "caption": "rain"}], 0).on_train_begin(args, state, None)
    monkeypatch.delenv(name)
    with pytest.raises(ImportError):
        TrackedPairs([{"audio": None, "caption": "rain"}], 0).on_train_begin(args, state, None)
