"""The site: every page is in its navigation, every link leads to a page, and nothing comes from the network."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from conftest import ROOT


CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
NAV = {name: page for entry in CONFIG["nav"] for name, page in entry.items()}


@pytest.fixture
def copy(tmp_path) -> Path:
    """The site's sources, outside the repository, whose `build` is not touched."""
    for name in ("docs", "examples", "modeling_clap_student"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


@pytest.fixture
def pages(copy) -> Path:
    """The pages, as after `make demo`."""
    report = copy / "outputs" / "soundscapes" / "seed-0" / "improvement_set_ads" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<!doctype html><title>Report</title>")
    runpy.run_path(str(copy / "docs" / "build.py"), run_name="__main__")
    return copy / "build" / "docs"


def test_every_page_is_in_the_navigation(pages):
    """Guards against a page that nobody finds, and an entry that leads nowhere."""
    named, there = set(NAV.values()), {page.name for page in pages.glob("*.md")}
    assert named == there
    assert next(iter(NAV)) == "Start" and list(NAV)[-1] == "Changelog"


def test_links_of_the_pages_stay_within_the_site(pages):
    """Guards against links that work in the repository alone."""
    lost = []
    for page in pages.glob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path = target.split("#")[0]
            if path and "://" not in path and not (pages / path).is_file():
                lost.append(f"{page.name}: {target}")
    assert lost == []
    assert "(report.html)" in (pages / "curation.md").read_text(encoding="utf-8")


def test_a_notebook_becomes_a_page(copy):
    """Guards against a notebook whose code or whose output is lost."""
    build = runpy.run_path(str(copy / "docs" / "build.py"))
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"text": ["1\n"]}]},
        {
            "cell_type": "code",
            "source": ["show()"],
            "outputs": [
                {"data": {"image/png": "iVBO\nRw==\n", "text/plain": ["<IPython.core.display.Image object>"]}},
                {"data": {"text/html": ["\n <audio>\n", "</audio>"], "text/plain": ["<IPython.Audio object>"]}},
                {"data": {"text/html": ["<iframe>"], "text/plain": ["<IPython.lib.display.IFrame at 0x7f45>"]}},
            ],
        },
    ]
    (copy / "n.ipynb").write_text(json.dumps({"cells": cells}))
    page = build["of_notebook"](copy / "n.ipynb")
    assert page == (
        "# Title\ntext\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nshow()\n```\n\n"
        '<img alt="the cell\'s picture" src="data:image/png;base64,iVBORw==">\n\n<audio> </audio>\n'
    )


def test_the_reference_names_what_is_exported():
    """Guards against a public name without its documentation."""
    import modeling_clap_student as package

    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    assert {f"modeling_clap_student.{module}.{name}" for name, module in package._MODULES.items()} <= told


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("zensical") and find_spec("mkdocstrings")), reason="needs .[docs]")
def test_the_site_builds_without_a_warning(copy, pages):
    """Guards against a reference to a name that is gone, and scripts or fonts that are fetched."""
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=copy, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "No issues found" in said and "arning" not in said, said
    site = copy / "build" / "site"
    for page in NAV.values():
        html = (site / page).with_suffix(".html").read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+href="(?:https?:)?//', html)
        assert not fetched, (page, fetched)
    assert "encode_audio" in (site / "search.json").read_text(encoding="utf-8")
    assert "fit_classes" in (site / "reference.html").read_text(encoding="utf-8")
