"""What is known of a published corpus: how it is laid out on disk, and what it can serve as."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from ...errors import InputError
from ..sources import Source


@dataclass(frozen=True)
class Corpus:
    """A published corpus.

    Attributes:
        name: what a user calls it: `esc50`.
        title: what its authors call it.
        layout: the files and folders that are read.
        size: clips and hours, as published.
        address: where it is published.
        markers: paths, relative to its folder, one of which tells this layout from others.
        parts: the parts that may be named, and which of them are read where none is.
        lists_clips: whether its pool's rows are the clips that were published, of which files may be missing, and not
            the files that are there.
        evaluation_parts: those of its captioned parts that retrieval is scored on everywhere.
        header: what the first line of a marker begins with, where its name alone says little: `train.csv`.
        captioned: reads (clip, caption) pairs; None where it has no captions.
        pool: reads clips without any text; None where it makes no pool.
        labelled: reads clips with class names; None where it has none.
    """

    name: str
    title: str
    layout: str
    size: str
    address: str
    markers: tuple[str, ...]
    captioned: Callable[[Source], Dataset] | None = None
    pool: Callable[[Source], Dataset] | None = None
    labelled: Callable[[Source], Dataset] | None = None
    parts: str = ""
    evaluation_parts: tuple[str, ...] = ()
    lists_clips: bool = True
    header: str = ""

    def fits(self, folder: Path) -> bool:
        """Whether a folder is laid out as this corpus is published."""
        paths = (folder / marker for marker in self.markers)
        return any(path.exists() and (not self.header or _first_line(path).startswith(self.header)) for path in paths)


def _first_line(path: Path) -> str:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.readline().replace('"', "").replace(" ", "")


def first_there(places: list[Path], example: str) -> Path:
    """The first of a part's usual places that is there."""
    for place in places:
        if place.exists():
            return place
    raise InputError(f"{places[0]} is missing: name a part that is there, for instance {example}")
