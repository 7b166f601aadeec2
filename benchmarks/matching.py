"""How fast clips and captions are matched, and the memory that takes, beside other methods and the bare product.

    python benchmarks/matching.py [--sizes 20000x20000 100000x50000] [--repeats 3]
    python benchmarks/matching.py --instructions avx2 [--decay 0.5 | --vectors CLIPS.npy CAPTIONS.npy]
    python benchmarks/matching.py --device cuda [--sizes 1900000x128000]

The embeddings are synthetic: unit vectors whose cosines have the spread of a trained model's (about ±0.15), with 45
important directions. `--decay P` lets the standard deviation along the i-th of 1024 directions be i⁻ᴾ instead (0: as
much along all; 0.5: cosines of about ±0.17), `--vectors` takes yours. A threshold keeps the wanted part of all pairs.
`--instructions avx2` keeps torch, its libraries and faiss from using newer instructions: it shows what a processor
without them would do, at this one's clock. Every method finds the same pairs, except pairs so near the threshold that
float32 can't decide:

loop     a block of the product at a time, its nonzero elements into a list of tuples, then a pandas DataFrame
faiss    `IndexFlatIP.range_search`, all cores (needs `pip install faiss-cpu`)
match    `modeling_clap_student.curation.matching.match`
full     the same, with the full product for every pair, even where bounds from leading directions pay
product  only the product in the type that `match` uses, with results thrown away: the floor

Each method runs in its own process, in turns. Seconds are the median and the fastest of the turns, and the processor's
own, of all cores, in the turn with the fewest: other work on the machine hardly changes those. The peak is the memory
beyond the embeddings. On a GPU the embeddings are made there, `match` is compared with the product only, and
the peak is the GPU's.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import time
from pathlib import Path


DIM, SPREAD = 1024, 45  # the cosines' standard deviation is about 1 / √SPREAD
INSTRUCTIONS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "FAISS_OPT_LEVEL": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    }
}


def embeddings(rows: int, seed: int, device: str = "cpu"):
    """(rows, DIM) float32 unit vectors with SPREAD important directions and many weak ones."""
    import torch

    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(SPREAD, DIM, generator=generator).to(device) / DIM**0.5
    generator = torch.Generator(device).manual_seed(seed)
    vectors = torch.empty(rows, DIM, device=device)
    for part in vectors.split(16384):
        part.normal_(generator=generator).mul_(0.2 / DIM**0.5)
        part += torch.randn(len(part), SPREAD, generator=generator, device=device) @ directions / SPREAD**0.5
        part /= part.norm(dim=1, keepdim=True)
    return vectors


def decaying(rows: int, seed: int, decay: float):
    """(rows, DIM) float32 unit vectors with the standard deviations i⁻ᴾ."""
    import torch

    vectors = torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed))
    vectors *= torch.arange(1, DIM + 1) ** -decay
    return vectors / vectors.norm(dim=1, keepdim=True)


def sides(args, clips: int, captions: int):
    """Both sides' vectors."""
    import numpy as np
    import torch

    if args.vectors:
        return tuple(
            torch.from_numpy(np.load(file)[:count])
            for file, count in zip(args.vectors, (clips, captions), strict=True)
        )
    if args.decay is not None:
        return decaying(clips, 1, args.decay), decaying(captions, 2, args.decay)
    return embeddings(clips, 1, args.device), embeddings(captions, 2, args.device)


def threshold_for(audio, text, kept: float) -> float:
    """The cosine that about this part of all pairs reaches, rounded as people would type it."""
    sample = (audio[:: max(1, len(audio) // 1000)] @ text[:: max(1, len(text) // 4000)].T).flatten()
    return round(float(sample.topk(int(kept * len(sample))).values[-1]), 3)


def loop(audio, text, threshold: float) -> int:
    import pandas

    pairs = []
    for start in range(0, len(audio), 1024):
        block = audio[start : start + 1024] @ text.T
        rows, columns = (block >= threshold).nonzero(as_tuple=True)
        values = block[rows, columns]
        pairs += zip((rows + start).tolist(), columns.tolist(), values.tolist(), strict=True)
    return len(pandas.DataFrame(pairs, columns=["clip", "caption", "similarity"]))


def faiss(audio, text, threshold: float) -> int:
    import faiss as library

    index = library.IndexFlatIP(text.shape[1])
    index.add(text.numpy())
    limits, _, _ = index.range_search(audio.numpy(), threshold)
    return int(limits[-1])


def match(audio, text, threshold: float) -> int:
    from modeling_clap_student.curation import matching
    from modeling_clap_student.curation.arguments import Threshold

    found = matching.match(audio, text, Threshold(value=threshold), max_pairs=10**9, device=audio.device)
    return len(found.clips)


def full(audio, text, threshold: float) -> int:
    from modeling_clap_student.curation import leading_directions

    leading_directions.FEWEST_PAIRS = len(audio) * len(text) + 1
    return match(audio, text, threshold)


def product(audio, text, threshold: float) -> int:
    import torch

    from modeling_clap_student.curation.similarity_scan import BLOCKS, product_dtype

    dtype, (rows, columns) = (
        product_dtype(audio.device),
        (1024, 4096) if audio.device.type == "cpu" else BLOCKS["cuda"],
    )
    text = text.to(dtype)
    result = torch.empty(rows * columns, dtype=dtype, device=audio.device)
    for start in range(0, len(audio), rows):
        block = audio[start : start + rows].to(dtype)
        for first in range(0, len(text), columns):
            others = text[first : first + columns]
            torch.mm(block, others.T, out=result[: len(block) * len(others)].view(len(block), len(others)))
    result[0].item()  # on a GPU: waits until it is done
    return 0


WAYS = {way.__name__: way for way in (loop, faiss, match, full, product)}


def watch_memory(device: str) -> float:
    """MiB in use. The peak is counted from here on."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mib(device)


def peak_mib(device: str) -> float:
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measure(way: str, clips: int, captions: int, args, results) -> None:
    audio, text = sides(args, clips, captions)
    threshold = threshold_for(audio, text, args.kept)
    try:
        WAYS[way](audio[:2048], text[:2048], threshold)  # warms up imports, threads and kernels
    except ImportError as error:
        results.put((str(error), threshold, 0, 0, 0))
        return
    before = watch_memory(args.device)
    start, cpu = time.perf_counter(), time.process_time()
    count = WAYS[way](audio, text, threshold)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    results.put((count, threshold, seconds, cpu, peak_mib(args.device) - before))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--sizes", nargs="+", default=None, help="CLIPSxCAPTIONS")
    parser.add_argument("--ways", nargs="+", default=None, choices=list(WAYS))
    parser.add_argument("--decay", type=float, help="Of the synthetic vectors' standard deviations.")
    parser.add_argument("--vectors", nargs=2, metavar="FILE", help="npy files of unit vectors: clips and captions.")
    parser.add_argument("--instructions", choices=list(INSTRUCTIONS), help="Use these at most.")
    parser.add_argument("--kept", type=float, default=3e-4, help="Part of all pairs that reaches the threshold.")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    os.environ |= INSTRUCTIONS.get(args.instructions, {})  # of the processes that are started
    sizes = args.sizes or (["20000x20000", "100000x50000"] if args.device == "cpu" else ["1900000x128000"])
    ways = args.ways or (list(WAYS) if args.device == "cpu" else ["match", "product"])
    context = multiprocessing.get_context("spawn")
    print(f"{'clips':>8} {'captions':>8} {'way':8} {'pairs':>10} {'at':>6}", end=" ")
    print(f"{'seconds':>8} {'fastest':>8} {'CPU s':>8} {'peak MiB':>9}")
    for clips, captions in (map(int, size.split("x")) for size in sizes):
        measured = {way: [] for way in ways}
        for way in [*ways] * args.repeats:
            results = context.Queue()
            process = context.Process(target=measure, args=(way, clips, captions, args, results))
            process.start()
            measured[way].append(results.get())
            process.join()
        for way, turns in measured.items():
            count, threshold = turns[0][:2]
            seconds, peak = (statistics.median(turn[i] for turn in turns) for i in (2, 4))
            fastest, cpu = (min(turn[i] for turn in turns) for i in (2, 3))
            line = f"{seconds:8.2f} {fastest:8.2f} {cpu:8.2f} {peak:9.0f}" if seconds else "not measured"
            print(f"{clips:8} {captions:8} {way:8} {count:>10} {threshold:6.3f} {line}", flush=True)


if __name__ == "__main__":
    main()
