"""The card: what it is, and how fast it multiplies and copies. The other parts are judged by this."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch
from gpu.record import Record, Setting, part
from timing import interleaved, machine


ROUNDS = 5
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy")


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """How float32 matrices and convolutions are multiplied on a GPU: "ieee", or "tf32" with ten bits of mantissa."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = precision
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def seconds_of(work: Callable, setting: Setting, rounds: int = ROUNDS) -> float:
    """The median of some rounds, after one that does not count. Waits until the card is done."""
    return statistics.median(interleaved({"": work}, setting.size(rounds, 1), setting.device)[""])


def matmul_rate(setting: Setting, dtype: torch.dtype, size: int = 8192, times: int = 10) -> float:
    """FLOP/s of a product of random square matrices."""
    size, times = setting.size(size, 128), setting.size(times, 2)
    left, right = (torch.randn(size, size, dtype=dtype, device=setting.device) for _ in range(2))
    result = torch.empty_like(left)

    def work() -> None:
        for _ in range(times):
            torch.mm(left, right, out=result)

    return times * 2 * size**3 / seconds_of(work, setting)


def kernels(work: Callable, setting: Setting, count: int = 6) -> str:
    """The kernels that take most of a work's time, as shares of the wall clock; first, the device's busy share."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    on_gpu = setting.device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    work()
    with profile(activities=activities) as found:
        start = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        wall = 1e6 * (time.perf_counter() - start)
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    times = [
        (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.key)
        for event in found.key_averages()
        if event.device_type == kind
    ]
    told = [f"{key[:60]} {time / wall:.0%}" for time, key in sorted(times, reverse=True)[:count]]
    return f"busy {sum(time for time, _ in times) / wall:.0%}: " + "; ".join(told)


def describe(record: Record, setting: Setting) -> None:
    """Machine."""
    record.add("processor", machine("cpu"))
    record.add("memory", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, "GiB")
    record.add("versions", ", ".join(f"{name} {version(name)}" for name in PACKAGES))
    record.add("system", platform.platform())
    if setting.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        record.add("card", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
                   f"{properties.multi_processor_count} multiprocessors, CUDA {torch.version.cuda}, "
                   f"cuDNN {torch.backends.cudnn.version()}")  # fmt: skip
        asked = "driver_version,clocks.sm,clocks.max.sm,power.draw,memory.used"
        command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            told = str(error)
        record.add(asked.replace(",", ", "), " ".join(told.split()))


def multiply(record: Record, setting: Setting) -> None:
    """Products of matrices."""
    for name, dtype, precision in (
        ("bfloat16", torch.bfloat16, "ieee"),
        ("TF32", torch.float32, "tf32"),
        ("float32", torch.float32, "ieee"),
    ):
        with float32_products(precision):
            rate = matmul_rate(setting, dtype, times=2 if name == "float32" else 10)
        record.add(f"matrix product, {name}", rate / 1e12, "TFLOP/s")


def copy(record: Record, setting: Setting) -> None:
    """Copies."""
    size = setting.size(2**30, 2**20)
    there = torch.empty(size, dtype=torch.uint8, device=setting.device).random_(0, 255)
    twin, here = torch.empty_like(there), torch.zeros(size, dtype=torch.uint8)
    works = {"within the device, read and written": lambda: twin.copy_(there)}
    hosts = {"pageable": here} | ({"pinned": here.pin_memory()} if setting.device == "cuda" else {})
    for name, host in hosts.items():
        works |= {
            f"to the device, {name}": lambda host=host: there.copy_(host),
            f"from the device, {name}": lambda host=host: host.copy_(there),
        }
    for name, work in works.items():
        moved = 2 * size if name.startswith("within") else size
        record.add(f"copy {name}", moved / seconds_of(work, setting) / 1e9, "GB/s")


if __name__ == "__main__":
    record, setting = part()
    for measure in (describe, multiply, copy):
        record.attempt(measure, setting)
