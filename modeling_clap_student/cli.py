"""What the commands share: how they read arguments, speak, fail and leave results."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from rich.console import Console
from rich.table import Table
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from .data.decoding import SkippedClips
from .errors import InputError


console = Console(highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Prints a line, from the main process alone."""
    if PartialState().is_main_process:
        console.print(message, markup=False)


def heading(message: str) -> None:
    """Announces a stage."""
    if PartialState().is_main_process:
        console.rule(f"[bold]{message}", align="left")


def parse_arguments(
    types: Sequence[type], description: str, argv: list[str] | None = None, adapt: Callable | None = None
) -> tuple:
    """Reads flags into dataclasses.

    Args:
        types: the dataclasses.
        description: of the command, for `--help`.
        argv: the flags; the process's by default.
        adapt: given the flags as read, returns other defaults for some of them; a flag that was typed keeps its value.

    Raises:
        InputError: a value that a dataclass refuses.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = HfArgumentParser(types, description=description)
    if adapt is not None:
        parser.set_defaults(**adapt(parser.parse_args(argv)))
    try:
        return parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise InputError(str(error)) from error


def run(main: Callable[[], None]) -> None:
    """Runs a command: a user's mistake ends in one line and exit code 1, an interruption in 130."""
    transformers_logging.set_verbosity_error()
    # Their bars on reading and writing files; embedding and training keep theirs.
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    # accelerate joins processes on CPUs only when told that there is nothing else.
    PartialState(cpu=not torch.accelerator.is_available())
    try:
        main()
    except InputError as error:
        # One raised in a worker process comes wrapped in that worker's traceback; its own words stand last.
        print(f"error: {str(error).strip().splitlines()[-1].rpartition('InputError: ')[2]}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Makes the folder of a run, and takes it away again if the run fails before it has left anything to resume."""
    folder = Path(path)
    existed = folder.exists()
    if PartialState().is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "skipped.csv").unlink(missing_ok=True)  # of an earlier run
    PartialState().wait_for_everyone()
    try:
        yield folder
        PartialState().wait_for_everyone()  # what the main process wrote is there for all
    except BaseException:
        if not existed and not any(folder.glob("checkpoint-*")) and not (folder / "model.safetensors").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A folder that appears whole or not at all: filled under a temporary name, then renamed.

    An older folder of the same name is replaced if it was made this way, known by its `provenance.json`.

    Raises:
        InputError: the folder holds something else.
    """
    folder = Path(path).resolve()
    taken = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    if taken and not (folder / "provenance.json").exists():
        raise InputError(f"{folder} holds something that is no Improvement-Set: give another --output_dir")
    partial = folder.with_name(f"{folder.name}.partial")
    state = PartialState()
    if state.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    state.wait_for_everyone()
    try:
        yield partial
        state.wait_for_everyone()
        if state.is_main_process:
            older = folder.with_name(f"{folder.name}.old")
            if folder.exists():
                folder.rename(older)
            partial.rename(folder)
            shutil.rmtree(older, ignore_errors=True)
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: dict | list) -> None:
    """Writes a json file, whole or not at all, from the main process alone."""
    if PartialState().is_main_process:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)


def report_skipped(skipped: SkippedClips, most: int = 5) -> int:
    """Says how many clips were skipped, names some, and returns the number."""
    reasons = skipped.read()
    if reasons:
        say(f"skipped {len(reasons)} clip{'s' * (len(reasons) != 1)} (all in {skipped.path}):")
        for audio_id, reason in list(reasons.items())[:most]:
            say(f"  {audio_id}: {reason}")
    return len(reasons)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, first column left-aligned, from the main process alone."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    if PartialState().is_main_process:
        console.print(table)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self.start, 2)


__all__ = [
    "Stopwatch",
    "heading",
    "output_folder",
    "parse_arguments",
    "print_table",
    "report_skipped",
    "run",
    "say",
    "whole_folder",
    "write_json",
]
