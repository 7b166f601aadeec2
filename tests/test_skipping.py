"""The list of skipped clips, and when there are too many of them."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT

from modeling_clap_student.data.skipping import _SLOTS, ReadingArguments, SkippedClips
from modeling_clap_student.errors import InputError


def read(skipped: SkippedClips, names: range, bad: set) -> None:
    for name in names:
        skipped.add(f"clip {name}", "no such file") if name in bad else skipped.count_tried(f"clip {name}")


@pytest.fixture
def skipped(tmp_path):
    skipped = SkippedClips(tmp_path / "skipped.csv", 0.1)
    yield skipped
    skipped.close()


def test_clips_skipped_twice_are_listed_once(skipped):
    """Guards against counts that grow with each epoch, and reasons of several lines that break the csv."""
    for _ in range(2):
        skipped.add("a", "two\nlines,\r\nand a comma")
    skipped.add("b", "gone")
    assert skipped.read() == {"a": "two lines, and a comma", "b": "gone"}


def test_too_many_bad_clips_end_the_run_in_one_line_that_names_some(skipped):
    """Guards against a day's run on a tenth of a corpus, because a disk was not mounted."""
    with pytest.raises(InputError, match=r"\d+ of \d+ clips can't be read.*0\.1; .*clip 1 \(no such file\)") as error:
        read(skipped, range(1, 200), set(range(1, 200, 2)))
    assert "\n" not in str(error.value)
    assert skipped.counts()[0] < 40


def test_a_few_bad_clips_at_the_start_do_not_end_a_run(skipped):
    """Guards against a run that ends because the second and the fifth of a million clips are bad."""
    read(skipped, range(1000), {1, 4, 5, *range(100, 1000, 20)})
    assert skipped.counts() == (1000, 48)
    skipped.check()


def test_the_end_of_a_run_is_exact(skipped):
    """Guards against a share just above the limit that passes, because no bad clip came last."""
    bad = set(range(0, 110 * 9, 9))
    read(skipped, range(1000), bad)
    with pytest.raises(InputError, match="110 of 1000"):
        skipped.check()


def test_few_clips_say_nothing(skipped):
    """Guards against small sets that can't be used for one bad file."""
    read(skipped, range(19), {1, 2, 3, 4})
    skipped.check()
    read(skipped, range(19, 20), set())
    with pytest.raises(InputError, match="4 of 20"):
        skipped.check()


def test_clips_are_counted_once_over_epochs(skipped):
    """Guards against a share that falls from epoch to epoch."""
    for _ in range(5):
        read(skipped, range(100), {7})
    assert skipped.counts() == (100, 1)


def test_clips_are_counted_over_threads_workers_and_processes(skipped):
    """Guards against processes that each see too few clips to speak of a share."""
    copy = pickle.loads(pickle.dumps(skipped))
    read(copy, range(50), {3})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: read(skipped, range(50 * i, 50 * i + 50), {50 * i}), range(1, 5)))
    code = (
        "import sys; from modeling_clap_student.data.skipping import SkippedClips\n"
        "skipped = SkippedClips(sys.argv[1], 0.1)\n"
        "for i in range(250, 300): skipped.count_tried(f'clip {i}')\n"
        "skipped.add('clip 300', 'gone')"
    )
    subprocess.run([sys.executable, "-c", code, str(skipped.path)], check=True, cwd=ROOT)
    assert skipped.counts() == (301, 6)
    assert len(skipped.read()) == 6


def test_a_million_clips_are_counted_to_a_percent(skipped):
    """Guards against a table that is full."""
    slots = np.random.default_rng(0).integers(_SLOTS, size=2_000_000)
    skipped._marks()[0, slots] = 1
    skipped._marks()[1, slots[:100_000]] = 1
    assert skipped.counts() == (pytest.approx(2_000_000, rel=0.01), pytest.approx(100_000, rel=0.01))


def test_a_new_run_starts_afresh(skipped):
    """Guards against the last run's bad clips in this run's share."""
    read(skipped, range(100), {7})
    SkippedClips(skipped.path, 0.1).start_afresh()
    again = SkippedClips(skipped.path, 0.1)
    assert again.counts() == (0, 0) and again.read() == {}


def test_never_and_at_once(tmp_path):
    """Guards against limits of 1 and 0 that mean something else."""
    never = SkippedClips(tmp_path / "never.csv", 1)
    read(never, range(100), set(range(100)))
    never.check()
    at_once = SkippedClips(tmp_path / "at_once.csv", 0)
    read(at_once, range(30), set())
    with pytest.raises(InputError, match="1 of 31"):
        at_once.add("x", "gone")
    at_once.close()


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_shares_beyond_0_and_1_are_refused(value):
    """Guards against 10 for ten per cent."""
    with pytest.raises(ValueError, match="max_skipped_fraction"):
        ReadingArguments(max_skipped_fraction=value)
