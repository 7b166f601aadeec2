"""Training batches from streams: each optimiser step whole from the Improvement-Set or whole from the replay set.

What `replay` does with rows of tables, for data that is never held: tar shards, Parquet files, Hub datasets.
"""

from collections.abc import Iterator
from itertools import count

import numpy as np
from datasets import IterableDataset, concatenate_datasets
from datasets.distributed import split_dataset_by_node
from torch.utils.data import IterableDataset as TorchIterableDataset
from torch.utils.data import get_worker_info

from ..errors import InputError
from .replay import MOST_DRAWS


# Rows that are shuffled among themselves, from so many shards at once. They are in memory, encoded: 512 clips of 10 s
# are some 250 MB.
_BLOCK, _OPEN_SHARDS = 512, 8


class MixedStream(TorchIterableDataset):
    """One process's batches of rows, endless, each from one of two streams, for a `StatefulDataLoader`.

    In an epoch of a stream, every process and every worker reads its own share: each clip is seen exactly once by one
    of them. The order depends on nothing but the seed, the epoch and the number of processes and workers; the choice
    between the two streams depends on the seed and the step alone, so that all processes agree. `state_dict` and
    `load_state_dict` go on at the very row.

    Args:
        curated: pairs with `audio audio_id caption`.
        replay: pairs to rehearse, or None.
        batch_size: rows in a batch.
        accumulation: batches of a process in one optimiser step.
        replay_probability: of drawing a step from `replay`.
        seed: of order, choice and crops.
        rank: of this process.
        world_size: processes.

    Each row gets `draw`, a random number that chooses its crop.
    """

    def __init__(
        self,
        curated: IterableDataset,
        replay: IterableDataset | None,
        batch_size: int,
        accumulation: int,
        replay_probability: float,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.streams = [curated] if replay is None else [curated, replay]
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.replay_probability = replay_probability
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._batches = 0
        self._rows: list[ShuffledEpochs] = []
        self._start: list[dict] | None = None

    def from_replay(self, step: int) -> bool:
        """Whether an optimiser step is drawn from the replay set."""
        if len(self.streams) == 1:
            return False
        return bool(np.random.default_rng([self.seed, step]).random() < self.replay_probability)

    def __iter__(self) -> Iterator[list[dict]]:
        worker = get_worker_info()
        # The loader takes a batch from each worker in turn.
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        index, shares = self.rank * stride + first, self.world_size * stride
        self._rows = [ShuffledEpochs(share(stream, index, shares), self.seed) for stream in self.streams]
        for epochs, state in zip(self._rows, self._start or [], strict=False):
            epochs.load_state_dict(state)
        rows = [iter(epochs) for epochs in self._rows]
        for number in count(first + stride * self._batches, stride):
            source = rows[self.from_replay(number // self.accumulation)]
            draws = np.random.default_rng([self.seed, self.rank, number]).integers(MOST_DRAWS, size=self.batch_size)
            batch = [{**next(source), "draw": draw} for draw in draws.tolist()]
            self._batches += 1
            yield batch

    def state_dict(self) -> dict:
        """Where it stands, behind the batch yielded last."""
        return {"batches": self._batches, "rows": [epochs.state_dict() for epochs in self._rows] or self._start}

    def load_state_dict(self, state: dict) -> None:
        """Goes on where `state_dict` was taken, as the next iteration begins."""
        self._batches, self._start = state["batches"], state["rows"]


def share(stream: IterableDataset, index: int, count: int) -> IterableDataset:
    """One of `count` shares of a stream, which make it up: its own shards, or, where there are fewer, every so many-th
    clip of all of them, which each reader then passes over."""
    if stream.num_shards >= count:
        return stream.shard(count, index, contiguous=False)
    return split_dataset_by_node(stream, index, count)


class ShuffledEpochs:
    """The rows of a stream, epoch after epoch, each in another order.

    Several shards are read at a time, in random order, and rows are shuffled in blocks. A shuffle buffer would mix a
    little better, but what it holds is lost when a run is resumed.

    Raises:
        InputError: as it is iterated, where the stream holds no row.
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
        """The shards in random order, dealt to a few readers, each of which reads one after the other."""
        number = self._stream.num_shards
        order, most = rng.permutation(number).tolist(), min(number, _OPEN_SHARDS)
        return [
            concatenate_datasets([self._stream.shard(number, shard) for shard in order[first::most]])
            for first in range(most)
        ]

    def state_dict(self) -> dict:
        return dict(self._state)

    def load_state_dict(self, state: dict) -> None:
        self._state = dict(state)


def _rows(columns: dict[str, list]) -> Iterator[dict]:
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


__all__ = ["MixedStream", "ShuffledEpochs", "share"]
