"""The output of commands: lines, headings and tables, from the main process only."""

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from accelerate import PartialState
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm.auto import tqdm

from ..redaction_clap_student import without_secrets


console = Console(highlight=False, soft_wrap=True)


# Control characters, with which a name could control the terminal or reverse a line, and unencodable characters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(message: str) -> str:
    """One line that is safe to show: without secrets and without control characters."""
    return _UNPRINTABLE.sub("\ufffd", without_secrets(" ".join(message.splitlines())))


def say(message: str) -> None:
    """Prints a line, from the main process only. A terminal breaks it between words; a file gets it whole."""
    if PartialState().is_main_process:
        console.print(Text(printable(message)), soft_wrap=not console.is_terminal)


def heading(message: str) -> None:
    """Announces a stage."""
    if not PartialState().is_main_process:
        return
    text = Text(printable(message), style="bold")
    if text.cell_len + 2 > console.width:
        console.print(text)  # a rule would truncate it
    else:
        console.rule(text, align="left")


_bars = {"shown": True}
_LOGGED_EVERY = 30  # seconds between two lines of a bar in a file


@contextmanager
def quiet(progress: bool = True) -> Iterator[None]:
    """Prints nothing for a while, for callers from Python.

    Args:
        progress: whether progress bars are still shown.
    """
    before = console.quiet, _bars["shown"]
    console.quiet, _bars["shown"] = True, progress
    try:
        yield
    finally:
        console.quiet, _bars["shown"] = before


def progress_bar(*args, disable: bool = False, **options) -> tqdm:
    """A progress bar with tqdm's arguments, unless `quiet` hides it. It disappears when it is full."""
    if not sys.stderr.isatty():
        options = {"mininterval": _LOGGED_EVERY} | options
    return tqdm(*args, disable=disable or not _bars["shown"], **{"leave": False} | options)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], justify: Literal["left", "right"] = "right"
) -> None:
    """Prints a table, with the first column left-aligned, from the main process only. `justify` aligns the others."""
    table = Table(title=Text(printable(title), style="italic"), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="left" if number == 0 else justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if PartialState().is_main_process:
        console.print(table)


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Shortens each path to as few last parts as make it unique, so that it fits a table on a terminal."""
    paths = list(dict.fromkeys(paths))
    parts = {path: path.rstrip("/").split("/") for path in paths}

    def tail(path: str, length: int) -> list[str]:
        return parts[path][-length:]

    def length(path: str) -> int:
        others = [other for other in paths if other != path]
        deepest = len(parts[path])
        lengths = (n for n in range(1, deepest) if all(tail(path, n) != tail(other, n) for other in others))
        return next(lengths, deepest)

    return {path: "/".join(tail(path, length(path))) or path for path in paths}


def in_words(seconds: float) -> str:
    """A duration as people say it: `40 s`, `12 minutes`, `5 hours`, `3 days`."""
    for unit, length, enough in (("days", 86400, 2), ("hours", 3600, 1.5), ("minutes", 60, 1.5)):
        if seconds >= enough * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self.start, 2)
