"""A student's training step at the paper's size: samples per second, memory, a plain recipe beside it, and limits.

A step is the teacher's embeddings, the student's forward and backward, and the optimiser, as in
`benchmarks/training_step.py`. The plain recipe uses float32 and torch's defaults: TF32 in convolutions.
"""

import copy
import time
from contextlib import nullcontext

import torch
from embedding import GFLOP_A_CLIP
from gpu.card import float32_products, kernels, matmul_rate, seconds_of
from gpu.models import student_and_teacher
from gpu.record import Record, Setting, part
from timing import wait_for
from training_step import Ours, Plain, on_device, prepare, rows

from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.skipping import SkippedClips


GOAL = 3  # times as fast as the plain recipe
BATCHES = (64, 128, 256)
# Name -> the training arguments, and how float32 is multiplied.
WAYS = {
    "plain": (None, None),
    "float32": ({}, "ieee"),
    "TF32": ({}, "tf32"),
    "bfloat16": ({"bf16": True}, None),
    "bfloat16, compiled": ({"bf16": True, "torch_compile": True}, None),
    "bfloat16, compiled, TF32 off": ({"bf16": True, "torch_compile": True, "tf32": False}, None),
}


class Bench:
    """Clips, models, and the measurements so far.

    Attributes:
        rates: (recipe, batch) -> samples per second.
    """

    def __init__(self, setting: Setting):
        self.setting, self.rates = setting, {}
        self.folder = setting.folder / "training"
        self.table, self.processor = prepare(self.folder, setting.size(256, 8))

    def contestant(self, way: str, size: int) -> Plain | Ours:
        student, teacher = map(copy.deepcopy, student_and_teacher(self.setting))
        options, _ = WAYS[way]
        if options is None:
            return Plain(student.to(self.setting.device), teacher.to(self.setting.device))
        if self.setting.small and "torch_compile" in options:
            options = options | {"torch_compile_backend": "eager"}
        options = options | {"per_device_train_batch_size": size}
        return Ours(student.to(self.setting.device), teacher, self.table, self.processor, self.folder, **options)

    def batch(self, size: int) -> dict:
        collate = ClapCollator(self.processor, SkippedClips(self.folder / "batch.csv"))
        return on_device(collate(rows(self.table, size)), self.setting.device)


def train(record: Record, setting: Setting, bench: Bench, way: str, size: int) -> None:
    """Training step:"""
    size = setting.size(size, size // 16)
    precision = WAYS[way][1]
    with nullcontext() if precision is None else float32_products(precision):
        contestant, batch = bench.contestant(way, size), bench.batch(size)
        if setting.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        first = contestant.step(batch)
        for _ in range(setting.size(2, 0)):
            contestant.step(batch)
        rate = size / seconds_of(lambda: contestant.step(batch), setting, 6)
    bench.rates[way, size] = rate
    title = f"{way}, batch {size}"
    record.add(title, rate, "samples/s")
    record.add(f"{title}: first loss", first)
    if setting.device == "cuda":
        record.add(f"{title}: peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
    if way != "plain" and ("plain", size) in bench.rates:
        record.add(
            f"{title}, × plain", rate / bench.rates["plain", size], at_least=GOAL if "bfloat16" in way else None
        )


def find_limits(record: Record, setting: Setting, bench: Bench) -> None:
    """What limits."""
    size = setting.size(128, 8)
    ours, batch = bench.contestant("bfloat16", size), bench.batch(size)
    ours.step(batch)
    record.add("a step in bfloat16: where its time goes", kernels(lambda: ours.step(batch), setting, 10))
    flop = 4 * setting.size(1e9, 1e9 / 16**2) * GFLOP_A_CLIP  # teacher; student forward, and backward twice as much
    floor = matmul_rate(setting, torch.bfloat16) / flop
    record.add("floor: CNN14 four times at the product's rate", floor, "samples/s")
    if rate := bench.rates.get(("bfloat16", size)):
        record.add("share of the floor's rate that bfloat16 reaches", rate / floor)
    ours.trainer.training_step(ours.model, dict(batch))
    record.add("optimiser alone", 1000 * seconds_of(ours.optimizer.step, setting), "ms")


def load(record: Record, setting: Setting, bench: Bench, workers: int) -> None:
    """The training's loader, workers:"""
    size = setting.size(64, 4)
    options = {"per_device_train_batch_size": size, "dataloader_num_workers": workers, "bf16": False}
    student, teacher = student_and_teacher(setting)
    table = bench.table.select(range(setting.size(len(bench.table), 16)))
    ours = Ours(copy.deepcopy(student).to(setting.device), teacher, table, bench.processor, bench.folder, **options)
    batches = iter(ours.trainer.get_train_dataloader())
    for _ in range(1 + 2 * workers):  # batches that each had prepared before
        next(batches)
    start, pairs = time.perf_counter(), sum(len(batch["audio_id"]) for batch in batches)
    wait_for(setting.device)
    record.add(f"{workers} workers, to the device", pairs / (time.perf_counter() - start), "samples/s")


if __name__ == "__main__":
    record, setting = part()
    bench = Bench(setting)
    for size in BATCHES if not setting.small else BATCHES[:1]:
        for way in list(WAYS)[:4]:
            record.attempt(train, setting, bench, way, size, seconds=6)
    record.attempt(load, setting, bench, 0, seconds=6)
    record.attempt(find_limits, setting, bench, seconds=8)
    # Compiling may take longer than the time left. Earlier measurements stay.
    for way in ("bfloat16, compiled", "bfloat16, compiled, TF32 off"):
        if not any("compiled" in known for known, _ in bench.rates):  # some releases can't read the TF32 setting
            record.attempt(train, setting, bench, way, setting.size(128, 64), seconds=40)
    if not setting.small:
        record.attempt(load, setting, bench, 14, seconds=10)
