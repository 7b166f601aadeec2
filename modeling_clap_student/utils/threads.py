"""Work side by side in the threads of a process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch


class ThreadedMap:
    """Calls a function for each item of a list, in as many threads as torch uses; in one, in a DataLoader's worker.

    soundfile, numpy and torch release the interpreter lock, so that threads use the cores without the memory and
    the start-up time of worker processes. The threads begin with the first call, so that it travels to such processes.
    """

    def __init__(self):
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self):
        return {"_threads": None}

    def __call__(self, function: Callable, *lists: list) -> list:
        """The results, in order. An error of the function is raised once no thread is at work any more."""
        if self._threads is None:
            workers = torch.utils.data.get_worker_info()
            self._threads = ThreadPoolExecutor(1 if workers else torch.get_num_threads())
        futures = [self._threads.submit(function, *items) for items in zip(*lists, strict=True)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            # What goes on reading would write into a folder that is being taken away.
            for future in futures:
                future.cancel()
            wait(futures)
            raise
