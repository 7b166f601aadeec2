"""Replay, batch by batch: each optimiser step is drawn completely from the Improvement-Set or from the replay set."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from datasets import Dataset, IterableDataset, concatenate_datasets
from datasets.distributed import split_dataset_by_node
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset
from torch.utils.data import Sampler, get_worker_info

from ..errors import InputError


# A number below this chooses a crop: 32 bits are 300 times the samples of five minutes.
MOST_DRAWS = 2**32 - 1

_AT_ONCE = 65536  # numbers that are Python objects at a time


@dataclass(eq=False, repr=False)
class ReplaySampler(Sampler[tuple[int, int]]):
    """Rows of the Improvement-Set followed by the replay set. Each optimiser step takes its rows from one of the two.

    Each item is a pair: the row, and a random number that chooses the crop. So a run's crops do not depend on other
    users of random numbers, on the number of workers, or on interruptions.

    Every step is full, whatever the sizes: a set that is used up is shuffled again. An epoch has enough steps to see
    both sets once. The draws depend only on the seed and the epoch, so all processes agree and a resumed run repeats
    them. `step_size` is the number of pairs in one optimiser step, over all processes and accumulation steps.
    """

    num_curated: int
    num_replay: int
    step_size: int
    replay_probability: float
    seed: int
    epoch: int = 0

    def __post_init__(self):
        if self.num_curated < 1 or self.step_size < 1:
            raise ValueError(f"need at least one row and one pair a step, got {self.num_curated} and {self.step_size}")
        if not 0 <= self.replay_probability <= 1:
            raise ValueError(f"replay_probability must lie in [0, 1], got {self.replay_probability}")

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def num_steps(self) -> int:
        return math.ceil((self.num_curated + self.num_replay) / self.step_size)

    def __len__(self) -> int:
        return self.num_steps * self.step_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        curated = _shuffle_forever(rng.spawn(1)[0], self.num_curated, offset=0)
        replay = _shuffle_forever(rng.spawn(1)[0], self.num_replay, offset=self.num_curated)
        crops = rng.spawn(1)[0]
        for _ in range(self.num_steps):
            from_replay = rng.random() < self.replay_probability and self.num_replay > 0
            source = replay if from_replay else curated
            for draw in crops.integers(MOST_DRAWS, size=self.step_size).tolist():
                yield next(source), draw


def _shuffle_forever(rng: np.random.Generator, size: int, offset: int) -> Iterator[int]:
    while True:
        order = rng.permutation(size)
        for start in range(0, size, _AT_ONCE):
            yield from (order[start : start + _AT_ONCE] + offset).tolist()


class DrawnRows(TorchDataset):
    """A table that takes rows with the numbers that choose their crops, as `ReplaySampler` gives them."""

    def __init__(self, table: Dataset):
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict]:
        rows = self.table.__getitems__([row for row, _ in keys])
        return [{**row, "draw": draw} for row, (_, draw) in zip(rows, keys, strict=True)]


# Rows that are shuffled together, and how many shards they come from. They are in memory, encoded: 512 clips of 10 s
# take some 250 MB.
_BLOCK, _OPEN_SHARDS = 512, 8


@dataclass(eq=False, repr=False)
class MixedStream(TorchIterableDataset):
    """One process's endless batches of rows, each from one of two streams, for a `StatefulDataLoader`.

    In one epoch of a stream, every process and every worker reads its own share, and each clip is seen by exactly one
    of them. The order depends only on the seed, the epoch and the number of processes and workers. The choice between
    the two streams depends only on the seed and the step, so all processes agree. `state_dict` and `load_state_dict`
    continue at the exact row. An optimiser step takes `accumulation` batches of a process. Each row gets `draw`, a
    random number that chooses its crop.
    """

    curated: IterableDataset
    replay: IterableDataset | None
    batch_size: int
    accumulation: int
    replay_probability: float
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self):
        self._batches = 0
        self._epochs: list[ShuffledEpochs] = []
        self._start: list[dict] | None = None

    def from_replay(self, step: int) -> bool:
        draw = np.random.default_rng([self.seed, step]).random()
        return self.replay is not None and bool(draw < self.replay_probability)

    def __iter__(self) -> Iterator[list[dict]]:
        worker = get_worker_info()
        # The loader takes a batch from each worker in turn.
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        index, shares = self.rank * stride + first, self.world_size * stride
        streams = [stream for stream in (self.curated, self.replay) if stream is not None]
        self._epochs = [ShuffledEpochs(share(stream, index, shares), self.seed) for stream in streams]
        for epochs, state in zip(self._epochs, self._start or [], strict=False):
            epochs.load_state_dict(state)
        rows = [iter(epochs) for epochs in self._epochs]
        for number in count(first + stride * self._batches, stride):
            source = rows[self.from_replay(number // self.accumulation)]
            draws = np.random.default_rng([self.seed, self.rank, number]).integers(MOST_DRAWS, size=self.batch_size)
            batch = [{**next(source), "draw": draw} for draw in draws.tolist()]
            self._batches += 1
            yield batch

    def state_dict(self) -> dict:
        """Its position, after the batch that it yielded last."""
        return {"batches": self._batches, "rows": [epochs.state_dict() for epochs in self._epochs] or self._start}

    def load_state_dict(self, state: dict) -> None:
        """The next iteration continues where `state_dict` was taken."""
        self._batches, self._start = state["batches"], state["rows"]


def share(stream: IterableDataset, index: int, count: int) -> IterableDataset:
    """One of `count` equal shares of a stream: its own shards, or clips of all shards if there are too few shards."""
    if stream.num_shards >= count:
        return stream.shard(count, index, contiguous=False)
    return split_dataset_by_node(stream, index, count)


class ShuffledEpochs:
    """The rows of a stream, epoch after epoch, each in another order.

    Several shards are read at a time, in random order, and rows are shuffled in blocks. A shuffle buffer would mix a
    little better, but its content would be lost when a run is resumed.
    """

    def __init__(self, stream: IterableDataset, seed: int):
        self._stream = stream
        self._seed = seed
        self._state = {"epoch": 0, "block": 0, "row": 0, "readers": None}

    def __iter__(self) -> Iterator[dict]:
        while True:
            yield from self._rest_of_epoch()
            state = self._state
            if state["block"] == state["row"] == 0:
                raise InputError("a stream, or a process's share of it, holds no clips")
            self._state = {"epoch": state["epoch"] + 1, "block": 0, "row": 0, "readers": None}

    def _rest_of_epoch(self) -> Iterator[dict]:
        state = self._state
        readers = self._readers(np.random.default_rng([self._seed, state["epoch"]]))
        for reader, old in zip(readers, state["readers"] or [], strict=False):
            reader.load_state_dict(old)
        parts = [reader.iter(_BLOCK // len(readers)) for reader in readers]
        while True:
            state["readers"] = [reader.state_dict() for reader in readers]
            block = [row for part in parts for row in _rows(next(part, {}))]
            if not block:
                return
            order = np.random.default_rng([self._seed, state["epoch"], state["block"]]).permutation(len(block))
            for place in order[state["row"] :]:
                state["row"] += 1
                yield block[place]
            state["block"], state["row"] = state["block"] + 1, 0

    def _readers(self, rng: np.random.Generator) -> list[IterableDataset]:
        """The shards in random order, dealt to a few readers."""
        count = self._stream.num_shards
        order, readers = rng.permutation(count).tolist(), min(count, _OPEN_SHARDS)
        return [
            concatenate_datasets([self._stream.shard(count, shard) for shard in order[first::readers]])
            for first in range(readers)
        ]

    def state_dict(self) -> dict:
        return dict(self._state)

    def load_state_dict(self, state: dict) -> None:
        self._state = dict(state)


def _rows(columns: dict[str, list]) -> Iterator[dict]:
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
