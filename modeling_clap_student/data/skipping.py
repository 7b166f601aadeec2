"""Clips that can't be used: which ones, why, and when there are too many to continue."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from accelerate import PartialState

from ..errors import InputError
from ..utils.arguments import SHARE, CheckedArguments, Range, flag
from ..utils.console import say


_ENOUGH = 20  # with fewer clips, a share says nothing
_SLOTS = 2**20


@dataclass(kw_only=True)
class ReadingArguments(CheckedArguments):
    """Base of the arguments of a command that reads clips."""

    title: ClassVar[str] = "Reading clips"
    # All flags of the command as they were read, including those of its other dataclasses; None without a command
    # line.
    flags: ClassVar[dict[str, Any] | None] = None
    ranges: ClassVar[dict[str, Range]] = {"max_skipped_fraction": SHARE}
    max_skipped_fraction: float = flag(
        0.1, "Stop when more than this share of the clips can't be read, once 20 were tried. 1: never stop."
    )
    dry_run: bool = flag(False, "Read the inputs, print their size, and stop.")
    allow_outside_paths: bool = flag(
        False, "Also read files outside the folder that you named, where a table or a link points to them."
    )


@dataclass(kw_only=True)
class LeakageArguments(ReadingArguments):
    """Base of the arguments of a command that keeps evaluation clips out."""

    title: ClassVar[str] = "Reading clips"

    allow_near_duplicates: bool = flag(
        False, "Do not compare sounds with the evaluation clips. Other encodings of these may then be learned from."
    )
    fingerprint_store: str = flag(
        "outputs/fingerprints",
        "Folder that keeps the clips' fingerprints, so that each clip is decoded for one only once.",
    )


class SkippedClips:
    """The clips that could not be used: a csv file of `audio_id,reason` that every process and worker appends to.

    The file appears with the first entry; its folder must exist by then. A share of bad clips above `max_fraction`
    ends the run; 1 means never. It is the share of the distinct clips tried, over all threads, workers and processes
    of a machine. Two tables beside the list count the clips tried and the bad ones. Each clip has a byte, at a place
    given by its hash. Clips that share a byte are corrected for (linear counting, Whang et al. 1990): exact to 0.3 %
    for two million clips, in 2 MB. The tables are hidden in the run's own folder, one file per machine, so nobody else
    can replace them.
    """

    def __init__(self, path: Path | str, max_fraction: float = 1.0):
        self.path = Path(path)
        self.max_fraction = max_fraction
        self._table: np.ndarray | None = None

    def __getstate__(self):
        return {**self.__dict__, "_table": None}

    def start_afresh(self) -> None:
        """Forgets an earlier run in the same folder. One process calls it before any other continues."""
        self.path.unlink(missing_ok=True)
        for tables in self.path.parent.glob(f".{self.path.name}.*"):  # left by a run that was killed, on any machine
            tables.unlink(missing_ok=True)

    def begin(self) -> None:
        """Starts a run, in all processes: an earlier run in the same folder is forgotten."""
        if PartialState().is_main_process:
            self.start_afresh()
        PartialState().wait_for_everyone()

    def end(self) -> None:
        """Ends a run, in all processes: deletes the tables. The list stays."""
        self.check()
        PartialState().wait_for_everyone()
        self.close()

    def count_tried(self, audio_id: str) -> None:
        """Counts a clip that was read; once, however often it is read."""
        self._mark(0, audio_id)

    def add(self, audio_id: str, reason: str) -> None:
        """Lists and counts a clip that could not be read. An InputError once there are surely too many."""
        self.note(audio_id, reason)
        self._mark(slice(None), audio_id)
        self.check(deviations=3.0)  # a few bad clips in a row at the start are no reason to stop

    def note(self, audio_id: str, reason: str) -> None:
        """Lists a clip that can be read but is not wanted. It does not count."""
        line = io.StringIO(newline="")
        csv.writer(line).writerow([audio_id, " ".join(reason.split())])
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(line.getvalue())

    def check(self, deviations: float = 0.0) -> None:
        """An InputError if the bad clips exceed `max_fraction` by more than this many standard deviations."""
        num_tried, num_bad = self.counts()
        slack = deviations * math.sqrt(self.max_fraction * (1 - self.max_fraction) * num_tried)
        if num_tried >= _ENOUGH and num_bad > self.max_fraction * num_tried + slack:
            examples = "; ".join(f"{name} ({reason})" for name, reason in list(self.read().items())[:3])
            raise InputError(
                f"{num_bad} of {num_tried} clips can't be read, and --max_skipped_fraction is {self.max_fraction:g}; "
                f"for instance {examples}"
            )

    def counts(self) -> tuple[int, int]:
        """Distinct clips tried, and how many of them could not be read; (0, 0) with a `max_fraction` of 1."""
        if self.max_fraction == 1:
            return 0, 0
        slots = (min(np.count_nonzero(marks), _SLOTS - 1) for marks in self._marks())
        num_tried, num_bad = (round(-_SLOTS * math.log1p(-count / _SLOTS)) for count in slots)
        return num_tried, num_bad

    def read(self) -> dict[str, str]:
        """audio_id -> reason, each clip once."""
        if not self.path.exists():
            return {}
        with open(self.path, encoding="utf-8", newline="") as file:
            return dict(csv.reader(file))

    def _table_path(self) -> Path:
        host = re.sub(r"[^\w.-]", "_", socket.gethostname())
        return self.path.with_name(f".{self.path.name}.{host}")

    def _mark(self, tables: int | slice, audio_id: str) -> None:
        if self.max_fraction < 1:
            digest = hashlib.blake2b(audio_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            self._marks()[tables, int.from_bytes(digest, "big") % _SLOTS] = 1

    def _marks(self) -> np.ndarray:
        """(2, slots) bytes: tried, bad. Any process may create the file; marks are never removed."""
        if self._table is None:
            path, size = self._table_path(), 2 * _SLOTS
            try:
                with open(path, "ab") as file:
                    # The space must be allocated: on a full disk, writing to a hole of a memory map crashes the
                    # process.
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, size)
                    else:  # macOS
                        file.write(bytes(max(0, size - os.fstat(file.fileno()).st_size)))
                self._table = np.memmap(path, np.uint8, "r+", shape=(2, _SLOTS))
            except OSError as error:
                reason = f"{error.strerror or error} (--max_skipped_fraction 1 counts none)"
                raise InputError(f"can't count the clips in {path}: {reason}") from error
        return self._table

    @contextmanager
    def listing(self) -> Iterator[None]:
        """Wraps a run from `begin` to `end`, and warns of the clips in its list."""
        self.close()
        PartialState().wait_for_everyone()
        self.begin()
        yield
        self.end()
        if PartialState().is_main_process and (count := len(self.read())):
            warnings.warn(f"{count} clips could not be used: they are listed in {self.path}", stacklevel=4)

    def close(self) -> None:
        self._table = None
        self._table_path().unlink(missing_ok=True)


def skipped_clips(folder: Path, max_fraction: float) -> SkippedClips:
    """The list of a new run, `skipped.csv` in its folder. The list of an earlier run is deleted."""
    skipped = SkippedClips(folder / "skipped.csv", max_fraction)
    skipped.begin()
    if PartialState().is_local_main_process:
        atexit.register(skipped.close)  # also when a run fails
    return skipped


def report_skipped(skipped: SkippedClips, folder: Path | None = None, num_examples: int = 5) -> int:
    """Says at the end of a run how many clips were skipped, names some, and returns the number. Raises as `check`.

    `folder` is where the list will be, if it is moved.
    """
    reasons = skipped.read()
    if reasons:
        file = (folder or skipped.path.parent) / skipped.path.name
        say(f"skipped {len(reasons)} clip{'s' * (len(reasons) != 1)} (all in {file}):")
        for audio_id, reason in list(reasons.items())[:num_examples]:
            say(f"  {audio_id}: {reason}")
    skipped.end()
    return len(reasons)
