"""The tables that count clips: on full disks, after kills, beside others' files."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT

from modeling_clap_student.data import skipping
from modeling_clap_student.data.skipping import _SLOTS, SkippedClips
from modeling_clap_student.errors import InputError


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_nothing_lies_in_the_temporary_folder(tmp_path, monkeypatch):
    """Guards against a name in a folder of everyone's, which any user can take first, and leftovers of killed runs."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    skipped = SkippedClips(tmp_path / "run" / "skipped.csv", 0.1)
    skipped.count_tried("a")
    assert skipped.counts() == (1, 0)
    assert not any((tmp_path / "tmp").iterdir())
    assert len(hidden(tmp_path / "run")) == 1
    skipped.close()
    assert not hidden(tmp_path / "run")


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_elsewhere_and_the_next_takes_its_tables_away(tmp_path):
    """Guards against 2 MB in the temporary folder for each run that was killed."""
    (tmp_path / "tmp").mkdir()
    code = (
        "import os, signal, sys; from modeling_clap_student.data.skipping import SkippedClips\n"
        "skipped = SkippedClips(sys.argv[1], 0.1); skipped.add('a', 'gone'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    flags = [sys.executable, "-c", code, str(tmp_path / "skipped.csv")]
    assert subprocess.run(flags, cwd=ROOT, env=environment).returncode == -signal.SIGKILL
    assert not any((tmp_path / "tmp").iterdir())
    (tmp_path / ".skipped.csv.another-machine").write_bytes(b"")
    again = SkippedClips(tmp_path / "skipped.csv", 0.1)
    again.start_afresh()
    assert not hidden(tmp_path) and again.counts() == (0, 0)
    again.close()


def test_space_is_reserved_before_it_is_mapped(tmp_path):
    """Guards against a sparse file, whose first byte on a full disk ends the process without a word."""
    skipped = SkippedClips(tmp_path / "skipped.csv", 0.1)
    skipped.count_tried("a")
    assert os.stat(skipped._table_path()).st_blocks * 512 >= 2 * _SLOTS
    copy = pickle.loads(pickle.dumps(skipped))  # as in a worker: what is marked stays
    copy.count_tried("b")
    assert skipped.counts() == copy.counts() == (2, 0)
    skipped.close()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    """Guards against SIGBUS, and against a traceback."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(skipping.os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"No space left on device.*--max_skipped_fraction 1"):
        SkippedClips(tmp_path / "skipped.csv", 0.1).count_tried("a")


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs to mount a small disk")
def test_a_truly_full_disk_is_one_line(tmp_path):
    """The same on a file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(InputError, match="No space left on device"):
            SkippedClips(disk / "skipped.csv", 0.1).count_tried("a")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_no_limit_needs_no_tables(tmp_path):
    """Guards against a way out that needs the disk too."""
    skipped = SkippedClips(tmp_path / "skipped.csv", 1)
    skipped.count_tried("a")
    skipped.add("b", "gone")
    skipped.check()
    assert not hidden(tmp_path) and skipped.read() == {"b": "gone"}
