"""What a model is evaluated on: labelled clips to classify, or captioned clips to find and to be found."""

from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from . import benchmarks, corpora
from .benchmarks import Benchmark, read_benchmark
from .corpora import read_corpora
from .excluded import Excluded
from .naming import parse_source
from .published import PUBLISHED


# Before a spec: its captions are what counts, though it may have labels too.
RETRIEVAL = "retrieval="
# Before a spec: scenes of two of its clips are what is evaluated on.
ZSTE = "zste="


@dataclass(frozen=True)
class CaptionedSet:
    """A task of audio-text retrieval.

    Attributes:
        name: as the user named it.
        layout: the kind of set, for instance `clotho`.
        pairs: table of `CAPTION_COLUMNS`, whose audio is there; a clip has a row for each of its captions.
    """

    name: str
    layout: str
    pairs: Dataset


def read_task(spec: str, excluded: Excluded) -> Benchmark | CaptionedSet:
    """Reads an evaluation set of either kind.

    Args:
        spec: as in `parse_source`. After `retrieval=` it is a captioned corpus; without that too where it has captions
            alone, as Clotho, or names their column.
        excluded: gets the number of clips that were left out, and why.

    Raises:
        InputError: a spec that can't be read, or has nothing to evaluate on.
    """
    captioned = spec.removeprefix(RETRIEVAL)
    readers = corpora.READERS if captioned != spec else {**corpora.READERS, **benchmarks.READERS}
    source = parse_source(captioned, readers, "an evaluation set", columns=("audio", "caption", "label"))
    if captioned == spec and source.layout in benchmarks.READERS and not source.column("caption"):
        return read_benchmark(spec, excluded)
    return CaptionedSet(spec, source.layout, read_corpora([captioned], excluded=excluded, evaluates=True))


def short_name(spec: str) -> str:
    """What to call a task in little room: `esc50:4,5=/data/ESC-50` -> `esc50:4,5`, `/data/mine` -> `mine`."""
    named, _, place = spec.rpartition("#")[0].rpartition("=") if "#" in spec else spec.rpartition("=")
    layout = named.removeprefix(RETRIEVAL).removeprefix(ZSTE).partition(":")[0]
    named = named.replace("=", " ")
    return named if layout in PUBLISHED else f"{named} {Path(place).name}".strip()


__all__ = ["RETRIEVAL", "ZSTE", "CaptionedSet", "read_task", "short_name"]
