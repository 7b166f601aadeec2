"""Batch-wise replay: each optimiser step is drawn whole from the Improvement-Set or whole from the replay set."""

import math
from collections.abc import Iterator

import numpy as np
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler


# A crop is chosen by a number below this: 32 bits are 300 times the samples of five minutes.
MOST_DRAWS = 2**32 - 1

_AT_ONCE = 65536  # numbers that are Python objects at a time


class ReplaySampler(Sampler[tuple[int, int]]):
    """Rows of the Improvement-Set followed by the replay set, in runs of one optimiser step from one of them.

    Each is a pair: the row, and a random number that chooses the crop. The crops of a run depend neither on what else
    draws random numbers, nor on workers, nor on whether the run was interrupted.

    Every step is full, whatever the sizes: a set that is used up is shuffled anew. An epoch has as many steps as it
    takes to see both sets once. The draws depend on nothing but the seed and the epoch, so that all processes agree
    and a resumed run repeats them.

    Args:
        num_curated: rows of the Improvement-Set (or of the only set).
        num_replay: rows of the replay set, 0 for none.
        step_size: pairs in one optimiser step, over all processes and accumulation steps.
        replay_probability: of drawing a step from the replay set.
        seed: of the draws.

    Raises:
        ValueError: no rows, or a probability outside [0, 1].
    """

    def __init__(self, num_curated: int, num_replay: int, step_size: int, replay_probability: float, seed: int):
        if num_curated < 1 or step_size < 1:
            raise ValueError(f"need at least one row and one pair a step, got {num_curated} and {step_size}")
        if not 0 <= replay_probability <= 1:
            raise ValueError(f"replay_probability must lie in [0, 1], got {replay_probability}")
        self.num_curated = num_curated
        self.num_replay = num_replay
        self.step_size = step_size
        self.replay_probability = replay_probability if num_replay else 0.0
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def num_steps(self) -> int:
        return math.ceil((self.num_curated + self.num_replay) / self.step_size)

    def __len__(self) -> int:
        return self.num_steps * self.step_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        curated = _shuffled_forever(rng.spawn(1)[0], self.num_curated, offset=0)
        replay = _shuffled_forever(rng.spawn(1)[0], self.num_replay, offset=self.num_curated)
        crops = rng.spawn(1)[0]
        for _ in range(self.num_steps):
            source = replay if rng.random() < self.replay_probability else curated
            for draw in crops.integers(MOST_DRAWS, size=self.step_size).tolist():
                yield next(source), draw


def _shuffled_forever(rng: np.random.Generator, size: int, offset: int) -> Iterator[int]:
    while True:
        order = rng.permutation(size)
        for start in range(0, size, _AT_ONCE):
            yield from (order[start : start + _AT_ONCE] + offset).tolist()


class DrawnRows(TorchDataset):
    """A table, asked for rows with the numbers that choose their crops, as `ReplaySampler` gives them."""

    def __init__(self, table: Dataset):
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict]:
        rows = self.table.__getitems__([row for row, _ in keys])
        return [{**row, "draw": draw} for row, (_, draw) in zip(rows, keys, strict=True)]


__all__ = ["MOST_DRAWS", "DrawnRows", "ReplaySampler"]
