"""Clips that can't be used: which, why, and when they are too many to go on."""

import csv
import hashlib
import io
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..checked_arguments import SHARE, CheckedArguments, Range
from ..errors import InputError


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


class SkippedClips:
    """The clips that could not be used: a csv file of `audio_id,reason` that every process and worker appends to.

    It also knows what share of the distinct clips tried they are, over all threads, workers and processes of a
    machine, through two tables in the temporary folder, tried and bad: a byte a clip, found by its hash. Clips that
    meet in a byte are made up for (linear counting, Whang et al. 1990): right to 0.3 % for two million clips, in 2 MB.

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
        self._table_path().unlink(missing_ok=True)

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
        user = os.getuid() if hasattr(os, "getuid") else 0
        run = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"clap_student_{user}_{run}.tried"

    def _marks(self) -> np.ndarray:
        if self._table is None:
            with open(self._table_path(), "ab") as file:
                file.truncate(2 * _SLOTS)  # no other size is ever made, so that it does not matter who is first
            self._table = np.memmap(self._table_path(), np.uint8, "r+", shape=(2, _SLOTS))
        return self._table

    def close(self) -> None:
        """Takes the tables away at the end of a run; the list stays."""
        self._table_path().unlink(missing_ok=True)


def _slot(audio_id: str) -> int:
    digest = hashlib.blake2b(audio_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SLOTS


__all__ = ["ReadingArguments", "SkippedClips"]
