"""The notebook, from top to bottom, as it is."""

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient


PATH = ROOT / "examples" / "quickstart.ipynb"


def test_its_outputs_are_kept_and_small():
    """Guards against a notebook that shows nothing, an error that was kept, and a folder of whoever ran it."""
    notebook = nbformat.read(PATH, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(cell.execution_count == number for number, cell in enumerate(cells, 1))
    assert not [output for output in outputs if output.output_type == "error"]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in kinds and "text/html" in kinds
    text = PATH.read_text(encoding="utf-8")
    assert len(text) < 500_000 and "/tmp/" not in text and "/home/" not in text and "/root/" not in text


@pytest.mark.slow
def test_it_runs_offline(tmp_path, monkeypatch):
    """Guards against a first look that fails."""
    for name, value in {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(PATH, 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=1200, resources=resources, kernel_name="python3").execute()
    told = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "on 600 clips" in told and "pairs of" in told
    assert (tmp_path / "outputs/quickstart/pairs/report.html").is_file()
