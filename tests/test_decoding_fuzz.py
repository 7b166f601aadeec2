"""2,000 damaged files through the decoder, in processes of their own: a crash there is a failed test here."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT


pytestmark = pytest.mark.slow


NUMBER, PROCESSES = 2000, 2


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict]:
    """How each file was taken; the last of a process that died has no outcome."""
    folder = tmp_path_factory.mktemp("damaged")
    share = NUMBER // PROCESSES
    processes = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fuzz_decoding.py"), str(i), str(i + share), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        for i in range(0, NUMBER, share)
    ]
    files: dict[int, dict] = {}
    for process in processes:
        out, err = process.communicate(timeout=120)
        for line in out.splitlines():
            result = json.loads(line)
            files.setdefault(result["number"], {}).update(result)
        assert process.returncode == 0, f"{list(files.values())[-1]} ended the process: {err[-3000:]}"
    return list(files.values())


def test_no_damaged_file_crashes_or_hangs_the_decoder(outcomes):
    """Guards against a file that takes a whole run with it: a segmentation fault, an endless loop, or an exception
    other than ClipError, which the run knows to concern one clip only."""
    assert len(outcomes) == NUMBER and all("crop" in file for file in outcomes)
    summary = Counter((file["format"], file["whole"].split(":")[0]) for file in outcomes)
    for (suffix, outcome), count in sorted(summary.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"{suffix:5} {count:5} {outcome}")
    slowest = max(outcomes, key=lambda file: file["seconds"])
    print(f"slowest: {slowest['seconds']:.2f} s, {slowest['format']}, {slowest['kind']}")
    assert len(summary) > 12, "the mutations no longer reach far into the decoders"


def test_no_damaged_file_gives_samples_that_are_not_finite(outcomes):
    """Guards against a NaN, or a number so large that its square is infinite, in a batch."""
    assert [file for file in outcomes if "NOT FINITE" in (file["whole"], file["crop"])] == []


def test_some_damaged_files_are_decoded_and_most_are_refused(outcomes):
    """Guards against a decoder that refuses all, and a test that would not see it."""
    for suffix in ("wav", "flac", "ogg", "mp3"):
        decoded = [file["whole"] == "decoded" for file in outcomes if file["format"] == suffix]
        assert 0.05 < sum(decoded) / len(decoded) < 0.6
