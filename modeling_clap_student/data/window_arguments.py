"""The arguments of windows: how long each part of a recording is, and how often one begins."""

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..utils.arguments import CheckedArguments, Range, flag
from ..windows_clap_student import SHORTEST, Windows


@dataclass(kw_only=True)
class WindowArguments(CheckedArguments):
    """Base of the arguments of a command that cuts recordings into windows."""

    title: ClassVar[str] = "Windows of long recordings"
    ranges: ClassVar[dict[str, Range]] = {"window_seconds": Range(SHORTEST), "hop_seconds": Range(SHORTEST)}
    window_seconds: float | None = flag(
        None, "Cut recordings into windows of this many seconds. The last window ends where its recording ends."
    )
    hop_seconds: float | None = flag(
        None, "Begin a window every this many seconds. Default: the windows lie side by side."
    )

    def windows_of(self, window_seconds: float | None) -> Windows | None:
        """The windows of a given length, s, with the hop that was asked for; None without a length.

        Raises:
            InputError: a hop without a window, or a hop longer than a window.
        """
        if window_seconds is not None:
            if self.hop_seconds is not None and self.hop_seconds > window_seconds:
                between = f"what lies between windows of {window_seconds:g} s"
                raise InputError(f"--hop_seconds {self.hop_seconds:g} passes over {between}: give less")
            return Windows(window_seconds, self.hop_seconds)
        if self.hop_seconds is not None:
            raise InputError("--hop_seconds says how often a window begins: give --window_seconds too")
        return None
