"""The commands as scripts of `uv run` and `hf jobs uv run`, and trackio as what they report to."""

import json
import re
import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from conftest import FAST, ROOT, SMALL
from huggingface_hub.cli._uv_script_header import parse_uv_script_header

from modeling_clap_student.commands import teacher as run_teacher


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


@pytest.mark.slow
def test_losses_reach_trackio_without_a_network(command, captioned_folder, tmp_path, monkeypatch):
    """Guards against a tracker that needs an account, or gets other numbers than the run."""
    pytest.importorskip("trackio")
    from trackio import utils
    from trackio.sqlite_storage import SQLiteStorage

    for module in [sys.modules[name] for name in list(sys.modules) if name.startswith("trackio")]:
        if hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    assert tmp_path / "trackio" == utils.TRACKIO_DIR
    flags = ["--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST, "--logging_steps", 1]
    assert command(run_teacher, *flags, "--report_to", "trackio", "--project", "sounds") == 0
    (run,) = SQLiteStorage.get_runs("sounds")
    told = [row["train/loss"] for row in SQLiteStorage.get_logs("sounds", run) if "train/loss" in row]
    state = json.loads(next(Path("teacher").glob("checkpoint-*/trainer_state.json")).read_text())
    assert (
        told == pytest.approx([entry["loss"] for entry in state["log_history"] if "loss" in entry]) and len(told) == 2
    )
