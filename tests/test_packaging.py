"""What is published: an sdist with all that the tests need, a wheel that works by itself, and fitting bounds."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.parser import HeaderParser
from pathlib import Path

import pytest
from conftest import ROOT


FOLDERS = ("modeling_clap_student", "tests", "benchmarks", "docs", "examples", "recipes")
FILES = ("*.py", "*.md", "LICENSE", "Makefile", "mkdocs.yml", "pyproject.toml")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what belongs to the repository: a build leaves files where it runs."""
    folder = tmp_path_factory.mktemp("source")
    for name in FOLDERS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "wheelhouse"))
    for file in (*(file for pattern in FILES for file in ROOT.glob(pattern)), ROOT / "MANIFEST.in"):
        shutil.copy(file, folder / file.name)
    return folder


@pytest.fixture(scope="module")
def sdist(source) -> Path:
    """The unpacked sdist."""
    before = [file.relative_to(source) for file in source.rglob("*") if file.is_file()]
    archive = built(source, "sdist")
    with tarfile.open(archive) as file:
        file.extractall(source.parent / "unpacked", filter="data")
    (folder,) = (source.parent / "unpacked").iterdir()
    assert [file for file in before if not (folder / file).is_file()] == []
    return folder


def built(folder: Path, kind: str) -> Path:
    """What setuptools makes of a folder."""
    subprocess.run([sys.executable, "setup.py", "-q", kind], cwd=folder, check=True, capture_output=True)
    (archive,) = (folder / "dist").iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The unpacked wheel that was made of the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(built(sdist, "bdist_wheel")) as file:
        file.extractall(folder)
    return folder


def test_the_sdist_holds_what_the_tests_need(sdist):
    """Guards against scripts, recipes, golden values or the Hub of the tests that a packager does not get."""
    for name in ("tests/conftest.py", "tests/hub_server.py", "tests/reference/msclap_golden.npz", "run_student.py",
                 "curate.py", "recipes/fsdp.yaml", "docs/training.md", "benchmarks/mini_real.sh"):  # fmt: skip
        assert (sdist / name).is_file()
    assert not [*sdist.rglob("*.pyc")]


def test_the_wheel_holds_the_package_and_its_commands(wheel):
    """Guards against a report without its page, and a command that is not installed."""
    for name in ("page.html.jinja", "review.html.jinja", "base.css", "verdicts.js"):
        assert (wheel / "modeling_clap_student/curation/report" / name).is_file()
    assert all((wheel / "modeling_clap_student/app" / f"page.{kind}").is_file() for kind in ("css", "js"))
    assert not (wheel / "tests").exists()
    (about,) = wheel.glob("*.dist-info")
    scripts = ConfigParser()
    scripts.read(about / "entry_points.txt")
    commands = dict(scripts["console_scripts"])
    assert {
        f"clap-{name}" for name in ("teacher", "curate", "student", "eval", "temporal", "convert", "export", "app")
    } <= {*commands}
    for place in commands.values():
        module, function = place.split(":")
        assert (wheel / f"{module.replace('.', '/')}.py").is_file() and function == "main"


@pytest.mark.slow
def test_an_installed_command_runs_from_an_empty_folder(wheel, tmp_path):
    """Guards against a command that works only where the repository lies."""
    done = subprocess.run(
        [sys.executable, "-m", "modeling_clap_student.commands.student", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "--soft_label_weight" in done.stdout, done.stderr
    assert not [*tmp_path.iterdir()]


def test_the_oldest_versions_are_within_the_bounds(wheel):
    """Guards against pins of `.[compat]` that a ceiling makes malformed."""
    (about,) = wheel.glob("*.dist-info")
    requires = HeaderParser().parsestr((about / "METADATA").read_text(encoding="utf-8")).get_all("Requires-Dist")
    needed = [line for line in requires if ";" not in line]
    pins = [line.partition(";")[0].strip() for line in requires if 'extra == "compat"' in line]
    assert any(line.startswith("transformers") and "<" in line for line in needed) and len(pins) == len(needed)
    for pin, line in zip(pins, needed, strict=True):
        name, version = pin.split("==")
        assert line.startswith(name) and f">={version}" in line and "," not in version
