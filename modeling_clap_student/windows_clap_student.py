"""Windows of a recording: where they lie, and parts of a recording by name and as a source of samples.

`rec.wav#t=2.5,7.5` is the part of a recording between two times, in seconds, as in the W3C's Media Fragments. A part
can stand wherever a path can. It is decoded, identified by a key, and skipped like any other clip.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .errors import ClipError, InputError


# The end of a name, as arrow's regular expressions take it: there $ matches the end only. Longer numbers are no
# times.
PART = r"#t=[0-9]{1,9}(?:\.[0-9]{1,9})?,[0-9]{1,9}(?:\.[0-9]{1,9})?$"
_NAMED_PART = re.compile(PART.removesuffix("$") + r"\Z")
SHORTEST = 0.01  # seconds, for a window and for a hop


@dataclass(frozen=True)
class Windows:
    """How long windows are, and how often one begins.

    Args:
        seconds: length of a window.
        hop: from the start of one window to the start of the next, s; by default they lie side by side.

    Raises:
        InputError: not a number, less than 0.01 s, or a hop longer than a window.
    """

    seconds: float
    hop: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "hop", self.every)
        for name, value in (("a window", self.seconds), ("the hop between windows", self.every)):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and SHORTEST <= value < float("inf")):
                raise InputError(f"{name} is a number of seconds, at least {SHORTEST:g}, not {value!r}")
        if self.every > self.seconds:
            raise InputError(
                f"a hop of {self.every:g} s passes over what lies between windows of {self.seconds:g} s: give less"
            )

    @property
    def every(self) -> float:
        """The hop; without one, a window's length."""
        return self.seconds if self.hop is None else self.hop

    def __str__(self) -> str:
        return f"{self.seconds:g} s" + ("" if self.every == self.seconds else f", one every {self.every:g} s")

    def bounds(self, frames: int, rate: int) -> Iterator[tuple[int, int]]:
        """Where the windows of a recording begin and end, in samples.

        A window begins every `hop` seconds. The last one ends where the recording ends. It is as long as the others,
        so it may begin sooner after the one before it. A recording that is no longer than a window is one window.

        Args:
            frames, rate: the recording's samples, and its rate in Hz.
        """
        last, count, start = max(0, frames - round(self.seconds * rate)), 0, 0
        while start < last:
            yield start, start + frames - last
            count += 1
            start = round(count * self.every * rate)
        yield last, frames


def as_seconds(sample: int, rate: int) -> float:
    """The time of a sample, rounded to a microsecond: `round(seconds * rate)` gives the sample again."""
    return round(sample / rate, 6)


class Part:
    """A part of a source, itself a source. Beyond its ends is silence, as beyond a file's.

    Args:
        source: with `rate`, `frames` and `read(start, stop)`, like an `AudioFile`. Used as a context manager, the part
            closes it.
        start, stop: samples. A `stop` after the end of the source is moved there.

    Raises:
        ClipError: the source ends before the part begins.
    """

    def __init__(self, source, start: int, stop: int):
        if not 0 <= start < min(stop, source.frames):
            times = [sample / source.rate for sample in (start, stop, source.frames)]
            raise ClipError("has no part from {:g} to {:g} s: it lasts {:g} s".format(*times))
        self._source, self._start = source, start
        self.rate, self.frames = source.rate, min(stop, source.frames) - start

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) float32, counted from the part's own start."""
        return self._source.read(self._start + start, self._start + stop)

    def check_end(self) -> None:
        """Nothing to check: the part does not depend on what comes after it."""

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self._source.__exit__(*details)


def part_of(source, span: tuple[float, float]) -> Part:
    """A part of a source, by its times in seconds."""
    return Part(source, *(round(seconds * source.rate) for seconds in span))


def part_name(start: float, end: float) -> str:
    """The ending of a path, or of an id, that names a part of it. Times are rounded to a microsecond."""
    return f"#t={as_text(start)},{as_text(end)}"


def as_text(seconds: float) -> str:
    """A time to the microsecond, as short as possible."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def split_part(name: str) -> tuple[str, tuple[float, float] | None]:
    """Splits the name of a part: the path or id, and where the part begins and ends, s; None for a whole file."""
    match = _NAMED_PART.search(name)
    if match is None:
        return name, None
    start, end = match[0].removeprefix("#t=").split(",")
    return name[: match.start()], (float(start), float(end))


def without_part(name: str) -> str:
    return split_part(name)[0]
