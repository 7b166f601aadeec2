"""Windows of a recording: where they lie; a part of one, by its name and as a source of samples.

`rec.wav#t=2.5,7.5` is what lies between two times of a recording, in seconds, as the W3C's Media Fragments write it. A
part travels wherever a path does, and is decoded, known by a key, and skipped like any other clip.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .errors import ClipError, InputError


# What a name ends in, as arrow takes it: its $ is the end and nothing else. Longer numbers are no times.
PART = r"#t=[0-9]{1,9}(?:\.[0-9]{1,9})?,[0-9]{1,9}(?:\.[0-9]{1,9})?$"
_NAMED_PART = re.compile(PART.removesuffix("$") + r"\Z")
SHORTEST = 0.01  # seconds of a window, and from one to the next


@dataclass(frozen=True)
class Windows:
    """How long windows are, and how often one begins.

    Args:
        seconds: length of a window.
        hop: from the start of one window to the start of the next, s; by default they lie side by side.

    Raises:
        InputError: no numbers, or less than 0.01 s; or a hop longer than a window.
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
        """The hop, which without one is a window's length."""
        return self.seconds if self.hop is None else self.hop

    def __str__(self) -> str:
        return f"{self.seconds:g} s" + ("" if self.every == self.seconds else f", one every {self.every:g} s")

    def bounds(self, frames: int, rate: int) -> Iterator[tuple[int, int]]:
        """Where the windows of a recording begin and end, in samples.

        They begin every `hop` seconds. The last one ends where the recording ends, and is as long as the others, so
        that it may begin sooner after the one before. A recording that is no longer than a window is one window.

        Args:
            frames, rate: of the recording: samples, Hz.
        """
        last, count, start = max(0, frames - round(self.seconds * rate)), 0, 0
        while start < last:
            yield start, start + frames - last
            count += 1
            start = round(count * self.every * rate)
        yield last, frames


def as_seconds(sample: int, rate: int) -> float:
    """The time of a sample, rounded to a microsecond: `round(seconds * rate)` is the sample again."""
    return round(sample / rate, 6)


class Part:
    """Some of a source's samples, in the form of a source: beyond its ends is silence, as beyond a file's.

    Args:
        source: with `rate`, `frames` and `read(start, stop)`, as an `AudioFile`. The part, as a context manager,
            closes it.
        start, stop: samples; what lies behind the end of the source is not there.

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
        """Whether the recording is whole behind the part does not matter."""

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self._source.__exit__(*details)


def part_of(source, span: tuple[float, float]) -> Part:
    """A part of a source, by its times in seconds."""
    return Part(source, *(round(seconds * source.rate) for seconds in span))


def part_name(start: float, end: float) -> str:
    """What stands behind a path, or an id, for a part of it; times are rounded to a microsecond."""
    return f"#t={as_text(start)},{as_text(end)}"


def as_text(seconds: float) -> str:
    """A time to the microsecond, as short as may be."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def split_part(name: str) -> tuple[str, tuple[float, float] | None]:
    """A path, or an id, without its part, and where the part begins and ends, s; None where it means the whole."""
    match = _NAMED_PART.search(name)
    if match is None:
        return name, None
    start, end = match[0].removeprefix("#t=").split(",")
    return name[: match.start()], (float(start), float(end))


def without_part(name: str) -> str:
    return split_part(name)[0]
