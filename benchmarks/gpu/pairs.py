"""The paper's whole matching, 1.9 million clips with 128 thousand captions: seconds, the floor, and other methods.

The floor is the matrix product alone, at the card's rate for bfloat16. The embeddings are synthetic, as in
`benchmarks/matching.py`. The threshold keeps 3 pairs in ten thousand, 73 million, or about a million.
"""

import time
from functools import cache
from importlib.util import find_spec

import torch
from gpu.card import kernels, matmul_rate
from gpu.record import Record, Setting, part
from matching import DIM, embeddings, peak_mib, threshold_for, watch_memory

from modeling_clap_student.curation.arguments import Threshold
from modeling_clap_student.curation.matching import Matches, match
from modeling_clap_student.curation.similarity_scan import product_dtype


MOST = 10**9  # pairs
GOAL_SECONDS, GOAL_FLOORS = 10, 3


@cache
def vectors(setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips and captions on the device, float32."""
    rows = setting.size((1_900_000, 128_000), (3000, 2000))
    return tuple(embeddings(count, seed, setting.device) for seed, count in enumerate(rows, 1))


@cache
def threshold(setting: Setting, kept: float) -> Threshold:
    return Threshold(value=threshold_for(*vectors(setting), kept))


@cache
def floor(setting: Setting) -> float:
    """The floor, in seconds."""
    audio, text = vectors(setting)
    return 2 * DIM * len(audio) * len(text) / matmul_rate(setting, torch.bfloat16)


def timed(setting: Setting, audio, text, chosen: Threshold) -> tuple[float, Matches]:
    """Seconds of one match, with its output in host memory."""
    match(audio[:4096], text[:4096], chosen, max_pairs=MOST, device=setting.device)  # kernels are loaded
    start = time.perf_counter()
    found = match(audio, text, chosen, max_pairs=MOST, device=setting.device)
    return time.perf_counter() - start, found


def match_there(record: Record, setting: Setting) -> None:
    """Embeddings on the card."""
    audio, text = vectors(setting)
    record.add("type of the product", str(product_dtype(audio.device)))
    record.add("floor", floor(setting), "s")
    for kept in (3e-4, 4e-6):
        before = watch_memory(setting.device)
        seconds, found = timed(setting, audio, text, threshold(setting, kept))
        record.add(f"{len(found.clips)} pairs", seconds, "s", at_most=GOAL_SECONDS)
        record.add(f"{len(found.clips)} pairs, × the floor", seconds / floor(setting), at_most=GOAL_FLOORS)
        record.add("peak beyond the embeddings", peak_mib(setting.device) - before, "MiB")


def match_here(record: Record, setting: Setting) -> None:
    """Embeddings in host memory, as curation has them."""
    there = vectors(setting)
    audio, text = (side.cpu().numpy() for side in there)
    expected = match(*there, threshold(setting, 4e-6), max_pairs=MOST, device=setting.device)
    seconds, found = timed(setting, audio, text, threshold(setting, 4e-6))
    record.add(f"from host memory, {len(found.clips)} pairs", seconds, "s", at_most=GOAL_SECONDS)
    record.add("from host memory, × the floor", seconds / floor(setting), at_most=GOAL_FLOORS)
    same = len(found.clips) == len(expected.clips) and bool((found.captions == expected.captions).all())
    record.check("the same pairs as from the card", float(same), at_least=1)
    seconds, found = timed(setting, audio, text, Threshold(count=setting.size(1_000_000, 100)))
    record.add(f"from host memory, the best {len(found.clips)}", seconds, "s", at_most=GOAL_SECONDS)


def loop(record: Record, setting: Setting) -> None:
    """A plain loop of torch: a block of the float32 product, its elements that reach the threshold."""
    audio, text = vectors(setting)
    share = 4  # of the clips are measured; the time is scaled to all
    value, parts = threshold(setting, 4e-6).value, []
    start = time.perf_counter()
    for block in audio[: len(audio) // share].split(4096):
        product = block @ text.T
        rows, columns = (product >= value).nonzero(as_tuple=True)
        parts.append([tensor.cpu() for tensor in (rows, columns, product[rows, columns])])
    seconds = share * (time.perf_counter() - start)
    record.add(f"a plain loop in float32, {share} times a {share}th of the clips", seconds, "s")
    record.add("a plain loop, × the floor", seconds / floor(setting))


def search_with_faiss(record: Record, setting: Setting) -> None:
    """faiss on the card."""
    if find_spec("faiss") is None:
        record.write(
            {"what": "faiss-gpu", "left_out": "not installed: its wheels need the libraries of CUDA 12, 600 MB"}
        )
        return
    import faiss

    if setting.device == "cuda" and not hasattr(faiss, "GpuIndexFlatIP"):
        record.write({"what": "faiss-gpu", "left_out": "the faiss that is installed is the processor's"})
        return
    audio, text = (side.cpu().numpy() for side in vectors(setting))
    index = faiss.IndexFlatIP(DIM)
    if setting.device == "cuda":
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.add(text)
    share = 19
    start = time.perf_counter()
    index.search(audio[: len(audio) // share], 16)  # on a GPU it has no range_search
    seconds = share * (time.perf_counter() - start)
    record.add(f"faiss, the 16 nearest captions of each clip, {share} times a {share}th of them", seconds, "s")


def look_inside(record: Record, setting: Setting) -> None:
    """Where the time of a match goes."""
    audio, text = vectors(setting)
    chosen, rows = threshold(setting, 3e-4), setting.size(200_000, 1000)
    work = lambda: match(audio[:rows], text, chosen, max_pairs=MOST, device=setting.device)  # noqa: E731
    record.add(f"{rows} clips", kernels(work, setting))


if __name__ == "__main__":
    record, setting = part()
    for measure, seconds in (
        (match_there, 10),
        (match_here, 25),
        (loop, 10),
        (search_with_faiss, 15),
        (look_inside, 5),
    ):
        record.attempt(measure, setting, seconds=seconds)
