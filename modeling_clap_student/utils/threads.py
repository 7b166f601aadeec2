"""Parallel work in the threads of a process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch


class ThreadedMap:
    """Calls a function for each item of a list, in as many threads as torch uses; in a DataLoader's worker, in one.

    soundfile, numpy and torch release the interpreter lock. So threads use the cores without the memory and start-up
    time of worker processes. The threads start at the first call, so the object can be sent to such processes.
    """

    def __init__(self):
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self):
        return {"_threads": None}

    def __call__(self, function: Callable, *lists: list) -> list:
        """The results, in order. An error of the function is raised once no thread is working any more."""
        if self._threads is None:
            workers = torch.utils.data.get_worker_info()
            self._threads = ThreadPoolExecutor(1 if workers else torch.get_num_threads())
        futures = [self._threads.submit(function, *items) for items in zip(*lists, strict=True)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            # A thread that is still working would write into a folder that is being removed.
            for future in futures:
                future.cancel()
            wait(futures)
            raise
