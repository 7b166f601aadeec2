"""Timing for the benchmarks, and the name of the machine."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def interleaved(works: dict[str, Callable], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each in each round, after a warm-up round."""
    times = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            wait_for(device)
            start = time.perf_counter()
            work()
            wait_for(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores{load}"
