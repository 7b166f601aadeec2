"""The program for a GPU, without one: that it runs to its end, and that what breaks off is written down."""

import importlib
import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from conftest import ROOT


FOLDER = ROOT / "benchmarks" / "gpu"
PARTS = {
    "hangs": """
        import time
        record.add("before it hung", 1)
        record.write({"begun": "a nap"})
        time.sleep(600)
    """,
    "raises": """
        def measure(record, setting):
            '''A measure.'''
            raise MemoryError("no room")
        record.attempt(measure, setting)
        record.check("after the error", 2, at_least=1)
    """,
    "crashes": "import os; record.add('half', 0.5); os._exit(3)",
    "errs": "record.check('an error', float('nan'), at_most=1)",
    "misses": "record.add('a speed', 1, at_least=2)",
}


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    return importlib.import_module("gpu.run")


def found(folder) -> dict[str, dict]:
    return {part["part"]: part for part in json.loads((folder / "gpu.json").read_text())["parts"]}


@pytest.mark.slow
def test_every_part_runs_without_a_gpu(tmp_path):
    """Guards against a program that has rotted when a card is at hand at last, and parts that measure nothing."""
    command = [sys.executable, FOLDER / "run.py", "--device", "cpu", "--small", "--output_dir", tmp_path]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=500, check=False)
    page, parts = (tmp_path / "gpu.md").read_text(), found(tmp_path)
    assert done.returncode == 0, page[-5000:]
    assert list(parts) == ["card", "correctness", "pairs", "clips", "steps", "demo"]
    assert all(part["status"] == "done" and len(part["rows"]) > 5 for part in parts.values())
    rows = [row for part in parts.values() for row in part["rows"]]
    assert [row["what"] for row in rows if "left_out" in row] in ([], ["faiss-gpu"])
    assert page in done.stdout and all(f"| {row['what']} |" in page for row in rows)


def test_what_breaks_off_is_written_down(program, tmp_path, monkeypatch):
    """Guards against a hang or a crash that takes the other parts along, and an exit code of 0 for a wrong number."""
    (tmp_path / "gpu").mkdir()
    for name, text in PARTS.items():
        lines = ["from gpu.record import part", "record, setting = part()", *text.strip("\n").splitlines()]
        indent = len(lines[2]) - len(lines[2].lstrip())
        (tmp_path / "gpu" / f"{name}.py").write_text("\n".join([*lines[:2], *(line[indent:] for line in lines[2:])]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(program, "PARTS", {name: 3 if name == "hangs" else 20 for name in PARTS})
    arguments = ["--device", "cpu", "--small", "--output_dir", str(tmp_path / "out")]
    assert program.main([*arguments, "--parts", *PARTS, "--seconds", "83"]) == 1
    parts, page = found(tmp_path / "out"), (tmp_path / "out" / "gpu.md").read_text()
    assert parts["hangs"]["status"] == "stopped after 3 s" and parts["hangs"]["at"] == "a nap"
    assert parts["hangs"]["rows"][0]["what"] == "before it hung"
    assert [row.get("error", row.get("value")) for row in parts["raises"]["rows"]] == ["MemoryError: no room", 2]
    assert parts["crashes"]["status"] == "exit code 3" and parts["crashes"]["rows"][0]["value"] == 0.5
    assert "**Not right: hangs; raises; crashes; errs.**" in page and "| a speed | 1  | ≥ 2 | missed |" in page
    assert program.main([*arguments, "--parts", "misses", "--seconds", "20"]) == 0
    for name in ("raises", "crashes", "errs", "no_such_part"):
        assert program.main([*arguments, "--parts", name, "--seconds", "20"]) == 1, name


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_processor_is_not_taken_for_a_gpu(program, tmp_path):
    """Guards against numbers of the processor in a table of the card's."""
    assert program.main(["--output_dir", str(tmp_path), "--parts", "demo", "--small"]) == 1
    assert "torch sees no GPU here" in (tmp_path / "gpu.md").read_text()


def test_wheels_that_are_missing_are_brought_within_the_size(program, tmp_path, monkeypatch, capsys):
    """Guards against what is there already being carried, needs of needs being forgotten, and a folder too large."""
    wheels = importlib.import_module("gpu.wheels")
    needs = {
        "datasets": ["torch", "dill>=0.3", 'old; python_version < "3"'],
        "dill": [],
        "evaluate": ["dill", "numpy"],
    }

    def download(requirement, python, folder):
        path = folder / f"{requirement.name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            lines = [f"Requires-Dist: {need}" for need in needs[requirement.name]]
            archive.writestr(f"{requirement.name}-1.0.dist-info/METADATA", "\n".join(["Name: x", *lines, "", ""]))
        return path

    monkeypatch.setattr(wheels, "download", download)
    monkeypatch.setattr(wheels, "requirements", lambda: ["torch>=2.11", "datasets>=5,<6", "evaluate"])
    monkeypatch.setattr(sys, "argv", ["wheels.py", "--folder", str(tmp_path / "wheels")])
    wheels.main()
    assert capsys.readouterr().out.split("\n")[:3] == [f"{name}-1.0-py3-none-any.whl" for name in needs]
    monkeypatch.setattr(wheels, "MOST_MIB", 1e-5)
    with pytest.raises(SystemExit, match=r"^3 wheels take .* MiB, more than 1e-05: .*--have LIST$"):
        wheels.main()


def test_the_package_s_own_needs_are_known(program):
    """Guards against a list of needs that is no longer read from setup.py."""
    names = {need.split(">")[0] for need in importlib.import_module("gpu.wheels").requirements()}
    assert {"torch", "datasets", "soundfile", "tqdm"} <= names and "pytest" not in names
