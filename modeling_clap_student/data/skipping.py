"""Clips that can't be used: which, why, and when they are too many to go on."""

import atexit
import csv
import hashlib
import io
import math
import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from accelerate import PartialState

from ..errors import InputError
from ..utils.arguments import SHARE, CheckedArguments, Range
from ..utils.console import say


_ENOUGH = 20  # clips, below which a share says nothing
_SLOTS = 2**20


@dataclass(kw_only=True)
class ReadingArguments(CheckedArguments):
    """Base of the arguments of a command that reads clips.

    Attributes:
        flags: all flags of the command as they were read, its other dataclasses' too; None where nothing was.
    """

    flags: ClassVar[dict[str, Any] | None] = None
    ranges: ClassVar[dict[str, Range]] = {"max_skipped_fraction": SHARE}
    max_skipped_fraction: float = field(
        default=0.1,
        metadata={"help": "Stop when more than this share of the clips, of 20 or more, can't be read; 1: never."},
    )
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Also read files that a table or a link names outside the folder that was given."},
    )


class SkippedClips:
    """The clips that could not be used: a csv file of `audio_id,reason` that every process and worker appends to.

    It also knows what share of the distinct clips tried they are, over all threads, workers and processes of a
    machine, through two tables beside the list, tried and bad: a byte a clip, found by its hash. Clips that meet in a
    byte are made up for (linear counting, Whang et al. 1990): right to 0.3 % for two million clips, in 2 MB. They lie
    in the run's own folder, hidden, one file a machine: nobody else can put anything in their place.

    Args:
        path: the file; it appears with the first entry. Its folder must exist by then.
        max_fraction: a larger share than this ends the run; 1 for never.
    """

    def __init__(self, path: Path | str, max_fraction: float = 1.0):
        self.path = Path(path)
        self.max_fraction = max_fraction
        self._table: np.ndarray | None = None

    def __getstate__(self):
        return {**self.__dict__, "_table": None}

    def start_afresh(self) -> None:
        """Forgets an earlier run in the same folder. For one process, before any other goes on."""
        self.path.unlink(missing_ok=True)
        for tables in self.path.parent.glob(f".{self.path.name}.*"):  # of a run that was killed, on any machine
            tables.unlink(missing_ok=True)

    def tried(self, audio_id: str) -> None:
        """Counts a clip that was read, once however often it is."""
        if self.max_fraction < 1:
            self._marks()[0, _slot(audio_id)] = 1

    def add(self, audio_id: str, reason: str) -> None:
        """Lists and counts a clip that could not be read.

        Raises:
            InputError: it is clear by now that more than `max_fraction` of the clips can't be read.
        """
        line = io.StringIO(newline="")
        csv.writer(line).writerow([audio_id, " ".join(reason.split())])
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(line.getvalue())
        if self.max_fraction < 1:
            self._marks()[:, _slot(audio_id)] = 1
            # Three standard deviations: a few bad clips in a row at the start are no reason to stop.
            self._stop_above(3.0)

    def check(self) -> None:
        """For the end of a run.

        Raises:
            InputError: more than `max_fraction` of the clips, of 20 or more, could not be read.
        """
        if self.max_fraction < 1:
            self._stop_above(0.0)

    def _stop_above(self, deviations: float) -> None:
        tried, bad = self.counts()
        slack = deviations * math.sqrt(self.max_fraction * (1 - self.max_fraction) * tried)
        if tried >= _ENOUGH and bad > self.max_fraction * tried + slack:
            some = "; ".join(f"{name} ({reason})" for name, reason in list(self.read().items())[:3])
            raise InputError(
                f"{bad} of {tried} clips can't be read, and --max_skipped_fraction is {self.max_fraction:g}; "
                f"for instance {some}"
            )

    def counts(self) -> tuple[int, int]:
        """Distinct clips tried, and those of them that could not be read; (0, 0) with a `max_fraction` of 1."""
        if self.max_fraction == 1:
            return 0, 0
        used = (min(np.count_nonzero(table), _SLOTS - 1) for table in self._marks())
        tried, bad = (round(-_SLOTS * math.log1p(-count / _SLOTS)) for count in used)
        return tried, bad

    def read(self) -> dict[str, str]:
        """audio_id -> reason, each clip once."""
        if not self.path.exists():
            return {}
        with open(self.path, encoding="utf-8", newline="") as file:
            return dict(csv.reader(file))

    def _table_path(self) -> Path:
        host = re.sub(r"[^\w.-]", "_", socket.gethostname())
        return self.path.with_name(f".{self.path.name}.{host}")

    def _marks(self) -> np.ndarray:
        if self._table is None:
            path = self._table_path()
            try:
                with open(path, "ab") as file:
                    _reserve(file.fileno(), 2 * _SLOTS)
                self._table = np.memmap(path, np.uint8, "r+", shape=(2, _SLOTS))
            except OSError as error:
                reason = f"{error.strerror or error} (--max_skipped_fraction 1 counts none)"
                raise InputError(f"can't count the clips in {path}: {reason}") from error
        return self._table

    @contextmanager
    def listing(self) -> Iterator[None]:
        """A run whose list begins anew, and which tells at its end how many clips it holds. For all processes alike.

        Raises:
            InputError: at the end, as `check`.
        """
        state = PartialState()
        self.close()
        state.wait_for_everyone()
        if state.is_main_process:
            self.start_afresh()
        state.wait_for_everyone()
        yield
        self.check()
        state.wait_for_everyone()
        self.close()
        if state.is_main_process and (count := len(self.read())):
            warnings.warn(f"{count} clips could not be used: they are listed in {self.path}", stacklevel=4)

    def close(self) -> None:
        """Takes the tables away at the end of a run; the list stays."""
        self._table = None
        self._table_path().unlink(missing_ok=True)


def _reserve(file: int, size: int) -> None:
    """Makes an open file so large, its space on the disk taken: written to a hole of a full disk, a map is a crash.

    It does not matter which process is first: what is marked stays.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    elif (missing := size - os.fstat(file).st_size) > 0:  # macOS
        os.write(file, bytes(missing))


def _slot(audio_id: str) -> int:
    digest = hashlib.blake2b(audio_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SLOTS


def skipped_clips(folder: Path, max_fraction: float) -> SkippedClips:
    """The list of a new run, `skipped.csv` in its folder; the one of an earlier run is forgotten."""
    skipped = SkippedClips(folder / "skipped.csv", max_fraction)
    if PartialState().is_main_process:
        skipped.start_afresh()
    PartialState().wait_for_everyone()
    if PartialState().is_local_main_process:
        atexit.register(skipped.close)  # also of a run that fails
    return skipped


def report_skipped(skipped: SkippedClips, folder: Path | None = None, most: int = 5) -> int:
    """Says at the end of a run how many clips were skipped, names some, and returns the number.

    Args:
        skipped: the clips.
        folder: where the list will lie, if not where it is now.
        most: how many to name.

    Raises:
        InputError: they are too many.
    """
    reasons = skipped.read()
    if reasons:
        file = (folder or skipped.path.parent) / skipped.path.name
        say(f"skipped {len(reasons)} clip{'s' * (len(reasons) != 1)} (all in {file}):")
        for audio_id, reason in list(reasons.items())[:most]:
            say(f"  {audio_id}: {reason}")
    skipped.check()
    PartialState().wait_for_everyone()
    skipped.close()
    return len(reasons)
