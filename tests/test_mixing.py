"""Training from streams: which rows each process and worker gets, and that a run goes on at the very row."""

import io
import tarfile
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, islice
from threading import Thread

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, IterableDataset, Value, concatenate_datasets, load_dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from modeling_clap_student import InputError
from modeling_clap_student.data.replay import MixedStream, ShuffledEpochs, share
from modeling_clap_student.data.sources import Source
from modeling_clap_student.data.streams import read_tar_shards


FEATURES = Features({"audio_id": Value("string")})


def of_generator(sizes: list[int], name: str = "g") -> IterableDataset:
    """A stream of shards of these sizes."""

    def rows(shards):
        for shard, size in shards:
            for number in range(size):
                yield {"audio_id": f"{name}/{shard}/{number}"}

    return IterableDataset.from_generator(rows, FEATURES, gen_kwargs={"shards": list(enumerate(sizes))})


def of_parquet(folder, sizes: list[int]) -> IterableDataset:
    for shard, size in enumerate(sizes):
        table = Dataset.from_dict({"audio_id": [f"p/{shard}/{number}" for number in range(size)]})
        table.to_parquet(folder / f"train-{shard:05d}-of-{len(sizes):05d}.parquet")
    return load_dataset(str(folder), split="train", streaming=True)


def of_tars(folder, sizes: list[int]) -> IterableDataset:
    for shard, size in enumerate(sizes):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for number in range(size):
                info = tarfile.TarInfo(f"{number}.wav")
                info.size = 3
                archive.addfile(info, io.BytesIO(b"abc"))
    return read_tar_shards(Source("t", "webdataset", folder)).select_columns(["audio_id"])


KINDS = ["generator", "parquet", "tar"]


def make(kind: str, folder, sizes: list[int]) -> IterableDataset:
    folder.mkdir(exist_ok=True)
    return of_generator(sizes) if kind == "generator" else {"parquet": of_parquet, "tar": of_tars}[kind](folder, sizes)


@pytest.fixture
def address(tmp_path):
    """A folder that a web server on this machine serves: (folder, address)."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "served").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served"))
    Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def loader(stream, replay=None, rank=0, world_size=1, workers=0, batch_size=2, accumulation=1, seed=0):
    mixed = MixedStream(stream, replay, batch_size, accumulation, 0.5, seed, rank, world_size)
    return StatefulDataLoader(mixed, batch_size=None, num_workers=workers)


def ids(batches) -> list[list[str]]:
    return [[row["audio_id"] for row in batch] for batch in batches]


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_of_two_workers_see_each_clip_once_an_epoch(kind, tmp_path):
    """Guards against clips that two workers share or none has: 4 shards of 6 clips are 12 clips per rank and epoch."""
    stream = make(kind, tmp_path / "data", [6] * 4)
    seen = [ids(islice(loader(stream, rank=rank, world_size=2, workers=2), 12)) for rank in range(2)]
    for epoch in range(2):
        rows = [row for batches in seen for batch in batches[6 * epoch : 6 * epoch + 6] for row in batch]
        assert len(rows) == len(set(rows)) == 24
    assert seen[0][:6] != seen[0][6:]


class OneEpoch(torch.utils.data.IterableDataset):
    """The first epoch of a share, for counting where shares are unequal."""

    def __init__(self, stream, rank, world_size):
        self.stream, self.rank, self.world_size = stream, rank, world_size

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        index, count = self.rank * worker.num_workers + worker.id, self.world_size * worker.num_workers
        rows = ShuffledEpochs(share(self.stream, index, count), seed=3)
        for row in rows:
            if rows.state_dict()["epoch"] > 0:
                return
            yield row


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shares_of_unequal_shards_make_up_the_epoch(kind, world_size, tmp_path):
    """Guards against clips lost or doubled where neither shards nor clips divide evenly."""
    sizes = [1, 9, 4, 7, 2, 13, 5]
    stream = make(kind, tmp_path / "data", sizes)
    loaders = [StatefulDataLoader(OneEpoch(stream, r, world_size), batch_size=None, num_workers=2)
               for r in range(world_size)]  # fmt: skip
    seen = Counter(row["audio_id"] for row in chain(*loaders))
    assert len(seen) == sum(sizes) and set(seen.values()) == {1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("workers", "cut"), [(0, 0), (0, 1), (0, 7), (0, 30), (2, 1), (2, 6), (2, 31)])
def test_a_run_goes_on_at_the_very_row(kind, workers, cut, tmp_path):
    """Guards against rows that a resumed run repeats or loses: in the middle of a block, of an epoch, of a step."""
    stream, replay = make(kind, tmp_path / "data", [5, 8, 3, 6]), of_generator([4, 3, 6], "replay")
    options = {"workers": workers, "batch_size": 3, "accumulation": 2}
    whole = list(islice(loader(stream, replay, **options), cut + 12))
    first = loader(stream, replay, **options)
    head = list(islice(first, cut))
    state = first.state_dict()
    resumed = loader(stream, replay, **options)
    resumed.load_state_dict(state)
    assert head + list(islice(resumed, 12)) == whole


def test_remote_archives_too(address):
    """Guards against tars at an address that can't be opened, or are read from another place by a resumed run."""
    folder, place = address
    of_tars(folder, [5, 8, 3, 6])
    source = Source("t", "webdataset", f"{place}/{{0..3}}.tar")
    stream = read_tar_shards(source).select_columns(["audio_id"])
    options = {"workers": 2, "world_size": 2, "rank": 1}
    whole = ids(islice(loader(stream, **options), 14))
    first = loader(stream, **options)
    head = ids(islice(first, 5))
    resumed = loader(stream, **options)
    resumed.load_state_dict(first.state_dict())
    assert head + ids(islice(resumed, 9)) == whole


def test_a_step_is_of_one_source_on_all_ranks():
    """Guards against ranks or workers that disagree whether a step is replay, and mixed batches."""
    stream, replay = of_generator([20] * 4), of_generator([20] * 4, "r")
    ranks = [ids(islice(loader(stream, replay, rank, 2, workers=2, accumulation=2), 80)) for rank in range(2)]
    sources = [[{row[0] for row in batch} for batch in rank] for rank in ranks]
    assert sources[0] == sources[1] and all(len(source) == 1 for source in sources[0])
    steps = [source for pair in zip(sources[0][::2], sources[0][1::2], strict=True) for source in [pair]]
    assert all(first == second for first, second in steps)
    share = sum(first == {"r"} for first, _ in steps) / len(steps)
    assert 0.25 < share < 0.75


def test_order_follows_from_the_seed():
    """Guards against an order that the clock decides, or that is none."""
    stream = of_generator([30, 30])
    a, b, c = (ids(islice(loader(stream, seed=seed, batch_size=60), 1))[0] for seed in (0, 0, 1))
    assert a == b != c and sorted(a) == sorted(c) and a != sorted(a)
    shard_of = [row.split("/")[1] for row in a]
    assert {"0", "1"} == set(shard_of[:10])  # shards are mixed, not read one after the other


def test_crops_differ_from_row_to_row_and_repeat_with_the_seed():
    """Guards against one crop for all, and against crops that a resumed or repeated run draws anew."""
    stream = of_generator([8])
    first, again = (
        [row["draw"] for batch in islice(loader(stream, workers=workers), 8) for row in batch] for workers in (0, 1)
    )
    assert len(set(first)) == 16 and first == again


def test_streams_of_several_corpora_are_mixed():
    """Guards against one corpus after the other."""
    stream = concatenate_datasets([of_generator([40] * 3, "a"), of_generator([40] * 3, "b")])
    rows = ids(islice(loader(stream, batch_size=40), 1))[0]
    assert 8 < sum(row[0] == "a" for row in rows) < 32


def test_an_empty_stream_is_an_error_not_a_hang():
    """Guards against a search for a row that never ends."""
    with pytest.raises(InputError, match="holds no clips"):
        next(iter(ShuffledEpochs(of_generator([0, 0]), 0)))


def test_memory_of_a_stream_is_a_block():
    """Guards against holding the stream: of a million rows, the first batch opens a few blocks."""
    opened = []

    def rows(shards):
        for shard in shards:
            for number in range(250_000):
                opened.append(number)
                yield {"audio_id": f"{shard}/{number}"}

    stream = IterableDataset.from_generator(rows, FEATURES, gen_kwargs={"shards": list(range(4))})
    mixed = MixedStream(stream, None, 64, 1, 0.0, 0)
    batches = list(islice(iter(mixed), 20))
    assert len(batches) == 20 and len(opened) < 20 * 64 + 2 * 512
    assert np.unique([row["audio_id"] for batch in batches for row in batch]).size == 20 * 64
