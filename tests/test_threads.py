"""Work side by side in threads."""

import pickle
import time
from threading import Event

import pytest
import torch

from modeling_clap_student.utils.threads import ThreadedMap


def test_results_are_in_order():
    """Guards against results in the order in which they were ready."""
    delays = [0.05, 0.0, 0.02, 0.0]
    assert ThreadedMap()(lambda delay, number: time.sleep(delay) or number, delays, [3, 1, 2, 0]) == [3, 1, 2, 0]


def test_an_error_waits_for_what_is_under_way(monkeypatch):
    """Guards against a thread that writes into the folder of a failed run, which then can't be taken away."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    begun, finished = Event(), []

    def work(number: int) -> None:
        if number == 0:
            begun.wait(10)
            raise ValueError("bad")
        begun.set()
        time.sleep(0.2)
        finished.append(number)

    with pytest.raises(ValueError, match="bad"):
        ThreadedMap()(work, list(range(50)))
    assert 1 in finished and len(finished) < 10
    count = len(finished)
    time.sleep(0.3)
    assert len(finished) == count


def test_it_travels_to_other_processes():
    """Guards against threads that can't be pickled once they were used."""
    threaded = ThreadedMap()
    assert threaded(abs, [-1]) == pickle.loads(pickle.dumps(threaded))(abs, [-1]) == [1]
