"""A part's findings, on disk line by line: a crash or a time limit loses only what comes after it."""

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """The device and size of a part.

    Attributes:
        device: "cuda" or "cpu".
        small: sizes that take a CPU a second or two.
        folder: for files, empty at first.
    """

    device: str
    small: bool
    folder: Path

    def size(self, full, small):
        return small if self.small else full


class Record:
    """Lines of JSON: measurements, errors, what was left out, and what was started.

    Args:
        path: the file's.
        seconds: time limit of the part.
    """

    def __init__(self, path: Path, seconds: float):
        self.path, self.end = path, time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()

    def add(self, what: str, value, unit: str = "", at_least=None, at_most=None, must: bool = False) -> None:
        """Adds a measurement. If it `must` reach its goal and does not, the program fails."""
        goal, met = "", None
        if at_least is not None:
            goal, met = f"≥ {at_least:g}", bool(value >= at_least)
        if at_most is not None:
            goal, met = f"≤ {at_most:g}", bool(value <= at_most)  # false for NaN, as it must be
        value = value if isinstance(value, str) else float(value)
        self.write({"what": what, "value": value, "unit": unit, "goal": goal, "met": met, "must": must})

    def check(self, what: str, value, unit: str = "", at_least=None, at_most=None) -> None:
        """A measurement that must reach its goal."""
        self.add(what, value, unit, at_least, at_most, must=True)

    def attempt(self, work: Callable, setting: Setting, *args, seconds: float = 0.0) -> None:
        """Calls `work(record, setting, *args)`, named after its docstring's first line. An error is written down.

        If fewer than `seconds` are left, it is left out.
        """
        named = [str(arg) for arg in args if isinstance(arg, (str, int))]
        title = " ".join([work.__doc__.splitlines()[0].rstrip("."), *named])
        if not setting.small and self.left() < seconds:
            told = f"takes about {seconds:g} s, and {self.left():.0f} s were left"
            self.write({"of": "", "what": title, "left_out": told})
            return
        self.write({"begun": title})
        start = time.monotonic()
        try:
            work(self, setting, *args)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0][:300]
            told = f"{type(error).__name__}: {first}"
            self.write({"what": title, "error": told, "trace": traceback.format_exc()[-4000:]})
        self.write({"ended": title, "seconds": round(time.monotonic() - start, 2)})
        gc.collect()
        if "torch" in sys.modules and setting.device == "cuda":
            sys.modules["torch"].cuda.empty_cache()

    def write(self, line: dict) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def part() -> tuple[Record, Setting]:
    """Reads the flags that the program gave this part.

    Raises:
        SystemExit: the part should run on a GPU but torch sees none. It would measure the CPU instead.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=1e6)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    record = Record(args.record, args.seconds)
    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            sys.exit("torch sees no GPU here: --device cpu --small tries the program without one")
    return record, Setting(args.device, args.small, args.folder)
