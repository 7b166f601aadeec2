"""The app's temporary folder is gone whatever ends the app, at the latest when the next one starts."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT

from modeling_clap_student.app.scratch import temporary_folder


HOLDS = """
import time
from modeling_clap_student.app.scratch import temporary_folder
with temporary_folder() as folder:
    (folder / "upload.wav").write_text("x")
    print(folder, flush=True)
    time.sleep(300)
"""


@contextmanager
def holder(folder: Path):
    """A process with a temporary folder in another folder: the process, and its folder."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_what_is_in_it(place, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with temporary_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder) and folder.parent == place
        (folder / "upload.wav").write_text("x")
    assert not folder.exists() and os.environ["GRADIO_TEMP_DIR"] == "before"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order(place, number):
    """Guards against recordings of visitors that outlive the page."""
    with holder(place) as (process, folder):
        assert (folder / "upload.wav").exists()
        process.send_signal(number)
        process.wait(30)
        assert not folder.exists()


def test_the_next_start_removes_what_a_kill_left(place):
    """Guards against uploads that nobody removes, a running page that loses its own, and a stranger's folder."""
    with holder(place) as (killed, left), holder(place) as (_, in_use):
        killed.kill()
        killed.wait()
        assert (left / "upload.wav").exists()
        others = [place / "clap_app_of_a_person", place / "elsewhere"]
        for other in others:
            other.mkdir()
            (other / "mine.txt").write_text("mine")
        (place / "clap_app_link").symlink_to(in_use)
        with temporary_folder():
            assert not left.exists()
            assert (in_use / "upload.wav").exists() and all((other / "mine.txt").exists() for other in others)


def test_an_older_handler_comes_back(place):
    before = signal.getsignal(signal.SIGTERM)
    with temporary_folder():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
