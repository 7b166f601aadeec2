"""The facts about a published corpus: its layout on disk, and what it can serve as."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from ...errors import InputError
from ..sources import Source


@dataclass(frozen=True)
class Corpus:
    name: str  # the user's name for it: `esc50`
    title: str  # its authors' name for it
    layout: str  # the files and folders that are read
    size: str  # clips and hours, as published
    address: str
    markers: tuple[str, ...]  # paths in its folder; any one of them marks this layout
    # Readers of (clip, caption) pairs, of clips without text, and of clips with class names; None where it has none.
    captioned: Callable[[Source], Dataset] | None = None
    pool: Callable[[Source], Dataset] | None = None
    labelled: Callable[[Source], Dataset] | None = None
    parts: str = ""  # the parts that may be named, and the default
    evaluation_parts: tuple[str, ...] = ()  # the captioned parts that retrieval is usually scored on
    # True if its pool's rows are the published clips, whose files may be missing. False if they are the existing
    # files.
    lists_clips: bool = True
    header: str = ""  # how a marker's first line begins, if its name is too common: `train.csv`

    def fits(self, folder: Path) -> bool:
        """Whether a folder is laid out as this corpus is published."""
        paths = (folder / marker for marker in self.markers)
        return any(path.exists() and self._begins(path) for path in paths)

    def _begins(self, path: Path) -> bool:
        if not self.header:
            return True
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.readline().replace('"', "").replace(" ", "").startswith(self.header)


def first_there(places: list[Path], example: str) -> Path:
    """The first of a part's usual places that exists."""
    for place in places:
        if place.exists():
            return place
    raise InputError(f"{places[0]} is missing: name a part that is there, for instance {example}")
