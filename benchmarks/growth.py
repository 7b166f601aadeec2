"""Time and memory of embedding and matching as the pool grows: ten thousand clips to a million.

    python benchmarks/growth.py [--embed 10000 100000] [--match 10000 100000 1000000] [--captions 2000]
                                [--processes 1 2 4]

Each process has one thread and does its share of a pool, and the time is that of the slowest. Embedding is what
`curate.py` does under `accelerate launch`: files are listed beforehand, then read, embedded, and the vectors written
to a store. So that many clips end on the same day, a clip is a quarter of a second at 8 kHz, a WAV file, and the tower
a CNN14 of 2 channels. That shows the growth; `benchmarks/embedding.py` shows the speed at the paper's size.
Matching reads vectors of 1024 numbers from a store, as `curate.py` does, and compares them with the captions. There,
a process stands for one of several machines: `curate.py` itself matches in one process with a thread for each core.

`CPU µs a clip` is the processor time of all processes by the number of clips. Where time is linear, it is the same in
all rows of a kind; other work on the machine hardly changes it, as it does the seconds. `peak MiB` is the largest
anonymous memory of any process, with torch and all libraries. Pages of files that are read do not count: the system
drops them when it needs room.
"""

import argparse
import io
import multiprocessing
import os
import re
import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from matching import DIM, embeddings, threshold_for
from timing import machine
from transformers import BertConfig

from modeling_clap_student import ClapStudentConfig, ClapStudentFeatureExtractor, ClapStudentModel
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.checkpoints.initialization import scratch_tokenizer
from modeling_clap_student.curation.arguments import Threshold
from modeling_clap_student.curation.embedder import StoredEmbedder
from modeling_clap_student.curation.embedding_store import EmbeddingStore, StoredVectors
from modeling_clap_student.curation.matching import match
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.processing_clap_student import ClapStudentProcessor


RATE, SAMPLES = 8000, 2000
FILES_A_FOLDER, ROWS_AT_ONCE = 10_000, 16_384
KEPT = 1e-4  # part of all pairs that reaches the threshold


def write_pool(folder: Path, count: int) -> None:
    """WAV files of noise, no two alike."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    soundfile.write(file, np.zeros(SAMPLES), RATE, format="WAV", subtype="PCM_16")
    header = file.getvalue()[: -2 * SAMPLES]
    for number in range(count):
        if number % FILES_A_FOLDER == 0:
            part = folder / f"{number // FILES_A_FOLDER:03}"
            part.mkdir(parents=True)
        samples = rng.integers(-8000, 8000, SAMPLES, dtype=np.int16)
        (part / f"{number:07}.wav").write_bytes(header + samples.tobytes())


def write_vectors(file: Path, count: int, seed: int) -> None:
    with open(file, "wb") as out:
        for start in range(0, count, ROWS_AT_ONCE):
            out.write(embeddings(min(ROWS_AT_ONCE, count - start), seed + start).numpy().tobytes())


def small_clap() -> tuple[ClapStudentModel, ClapStudentProcessor]:
    torch.manual_seed(0)
    front_end = {"sampling_rate": RATE, "hop_length": 60, "n_fft": 256, "max_frequency": RATE // 2}
    tower = {**front_end, "num_mel_bins": 32, "base_channels": 2}
    text = BertConfig(vocab_size=100, hidden_size=16, num_hidden_layers=0)
    model = ClapStudentModel(ClapStudentConfig(audio_config=tower, text_config=text, projection_dim=128))
    extractor = ClapStudentFeatureExtractor(sampling_rate=RATE, window_seconds=SAMPLES / RATE)
    return model.eval(), ClapStudentProcessor(extractor, scratch_tokenizer(["a sound"]))


def embedding(folder: Path):
    """What embeds the first clips of the pool."""
    model, processor = small_clap()
    encoder, table = for_inference(model), read_pools([str(folder / "pool")])

    def embed(count: int) -> int:
        store = EmbeddingStore(folder / f"store-{count}-{os.environ['WORLD_SIZE']}", model, processor, batch_size=32)
        skipped = SkippedClips(folder / f"skipped-{count}-{os.environ['WORLD_SIZE']}.csv")
        vectors, rows = StoredEmbedder(encoder, processor, store, skipped).table(table.select(range(count)), "")
        assert len(vectors) == len(rows) == count
        return count

    return embed


def matching(folder: Path):
    """What matches this process's share of the first clips."""
    file = folder / "clips"
    text = torch.from_numpy(np.fromfile(folder / "captions", np.float32)).view(-1, DIM)
    sample = torch.from_numpy(np.fromfile(file, np.float32, 1000 * DIM)).view(-1, DIM)
    threshold = Threshold(value=threshold_for(sample, text, KEPT))
    rank, processes = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))

    def find(count: int) -> int:
        rows = np.arange(count * rank // processes, count * (rank + 1) // processes)
        clips = StoredVectors([file], [0, file.stat().st_size // (4 * DIM)], rows, DIM, rows)
        return len(match(clips, text, threshold).clips)

    return find


KINDS = {"embedding": embedding, "matching": matching}


@contextmanager
def peak_memory():
    """Watches this process's anonymous memory. Yields a list that gets the peak, in MiB."""
    over, peak = threading.Event(), [0.0]

    def watch() -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024)
            if over.wait(0.01):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def work(rank: int, processes: int, port: int, folder: Path, sizes: dict[str, list[int]], results) -> None:
    """One process: every kind at every size. Puts kind, clips, what was found, seconds, CPU seconds, MiB."""
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
    where |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in where.items()}
    from accelerate import PartialState

    state = PartialState(cpu=True)
    torch.set_num_threads(1)
    for kind, prepare in KINDS.items():
        run = prepare(folder)
        for count in sizes[kind]:
            state.wait_for_everyone()
            start, cpu = time.perf_counter(), time.process_time()
            with peak_memory() as peak:
                found = run(count)
            results.put((kind, count, found, time.perf_counter() - start, time.process_time() - cpu, peak[0]))
    state.destroy_process_group()


def measure(folder: Path, sizes: dict[str, list[int]], processes: int) -> list[tuple]:
    """(kind, clips, found, seconds, CPU seconds, MiB) for each kind and size. `found`: clips embedded, or pairs."""
    results = multiprocessing.get_context("spawn").SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    torch.multiprocessing.spawn(work, (processes, port, folder, sizes, results), nprocs=processes)
    rows = []
    while not results.empty():
        rows.append(results.get())
    table = []
    for kind in KINDS:
        for count in sizes[kind]:
            found, seconds, cpu, mib = zip(*(row[2:] for row in rows if row[:2] == (kind, count)), strict=True)
            found = sum(found) if kind == "matching" else found[0]
            table.append((kind, count, found, max(seconds), sum(cpu), max(mib)))
    return table


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embed", type=int, nargs="+", default=[10_000, 100_000], metavar="CLIPS")
    parser.add_argument("--match", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="CLIPS")
    parser.add_argument("--captions", type=int, default=2000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args(arguments)
    print(f"{machine('cpu')}, torch {torch.__version__}; {args.captions} captions\n")
    print("| | clips | processes | found | seconds | CPU µs a clip | peak MiB |\n|---|---|---|---|---|---|---|")
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    sizes = {"embedding": args.embed, "matching": args.match}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pool(folder / "pool", max(args.embed))
        write_vectors(folder / "clips", max(args.match), 1)
        write_vectors(folder / "captions", args.captions, 0)
        for processes in args.processes:
            for kind, count, found, seconds, cpu, mib in measure(folder, sizes, processes):
                figures = f"{found} | {seconds:.1f} | {1e6 * cpu / count:.0f} | {mib:.0f}"
                print(f"| {kind} | {count} | {processes} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
