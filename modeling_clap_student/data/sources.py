"""Where some data is, which of its columns holds what, and which rows its reader leaves out."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import validate_repo_id

from ..errors import InputError
from ..redaction_clap_student import without_secrets
from ..utils.console import say


BUILT_IN = "soundscapes"  # the only name without a path: the package makes these clips itself
ST = "st:"  # prefix of a model that sentence-transformers loads
ZSTE = "zste="  # prefix of a task's spec: evaluates on scenes of two of its clips
PUBLISHED_TEST = re.compile(r"zste=(?P<name>compa|reasonaudio|audiotime)(?P<rest>[:=].*|)", re.DOTALL)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass
class ExclusionLog:
    """Rows that were left out, by source and reason."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)  # (source, reason) -> rows
    lines: list[str] = field(default_factory=list)  # the same in words, with an example each
    # Whether to read files outside the given folder that a table or a link names.
    allow_outside_paths: bool = False

    def add(self, spec: str, reason: str, count: int, total: int, example: str) -> None:
        """Notes that `count` of a source's `total` rows were left out. A count of 0 is not noted."""
        if count:
            self.counts[spec, reason] = self.counts.get((spec, reason), 0) + count
            self.lines.append(f"{spec}: {count} of {total} rows left out: {reason} (for instance {example})")


def report_exclusions(exclusions: ExclusionLog) -> None:
    for line in exclusions.lines:
        say(line)


@dataclass(frozen=True)
class Source:
    """Where some data is."""

    spec: str  # as the user typed it
    layout: str  # its layout: a key of the readers
    path: Path | str | None  # the file or folder; a Hub dataset's name; None for what the package makes itself
    parts: tuple[str, ...] = ()  # the folds or splits asked for; empty for the reader's own choice
    columns: tuple[tuple[str, str], ...] = ()  # (role, column) that the user named, for audio, caption or label
    exclusions: ExclusionLog = field(default_factory=ExclusionLog, compare=False)  # rows that its reader leaves out
    label: str | None = None  # distinguishes two sources of the same name

    @property
    def name(self) -> str:
        """The name in its clips' ids: the folder's or file's name, the Hub id, or the layout."""
        if self.label:
            return self.label
        if isinstance(self.path, Path):
            return self.path.stem if self.path.is_file() else self.path.name
        return without_secrets(self.path) if self.path else self.layout

    def wants(self, part: str) -> bool:
        return not self.parts or part in self.parts

    def choose(self, parts: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        """The parts of a corpus that were asked for, or the default ones."""
        unknown = [part for part in self.parts if part not in parts]
        if unknown:
            raise InputError(f"{self.spec}: no part {', '.join(unknown)}: its parts are {', '.join(parts)}")
        return self.parts or default

    def column(self, role: str) -> str | None:
        """The column that the user named for a role."""
        return dict(self.columns).get(role)


def with_distinct_names(sources: list[Source]) -> list[Source]:
    """The same sources. Folders of one name also get the names of the folders above them: `a/audio`, `b/audio`.

    Otherwise their clips would have the same ids.
    """
    places = {source.path for source in sources if isinstance(source.path, Path)}
    labels = {}
    for path in places:
        depth = 1
        while any(place.parts[-depth:] == path.parts[-depth:] for place in places if place != path):
            depth += 1
        labels[path] = "/".join(path.parts[-depth:]) if depth > 1 else None
    return [replace(source, label=labels.get(source.path)) for source in sources]


def is_there(path: str | Path) -> bool:
    """Whether a path exists. An impossible path does not: 4500 letters, a NUL byte, the home of an unknown user."""
    return os.path.exists(os.path.expanduser(path))


def split_revision(name: str | Path) -> tuple[str, str | None]:
    """`someone/model@v1` -> (`someone/model`, `v1`); a name without a revision, or a path -> (name, None).

    A `st:` prefix stays.
    """
    place = str(name).removeprefix(ST)
    match = None if is_there(place) else HUB_ID.fullmatch(place)
    prefix = str(name)[: len(str(name)) - len(place)]
    return (prefix + match["name"], match["revision"]) if match else (str(name), None)


def hub_name(spec: str) -> str | None:
    """The Hub dataset in a user's name for data, with its revision; None for anything else: a path, a known name.

    `hub:test=someone/data@v1#caption=text` -> `someone/data@v1`
    """
    place = re.sub(r"^(hub|stream)(:[\w,]+)?=", "", spec)
    name = place.partition("#")[0]
    is_path = name.startswith(".") or is_there(place) or is_there(name)
    return name if HUB_ID.fullmatch(name) and not is_path else None


def dataset_source(spec: str) -> dict:
    """`{name, revision}` of a dataset that the user named. The revision of a Hub dataset is its commit.

    The Hub is never asked about a path. A revision that can't be found out now is no error.
    """
    on_hub = hub_name(spec)
    if on_hub is None:
        return {"name": spec, "revision": None}
    name, revision = split_revision(on_hub)
    try:
        return {"name": name, "revision": HfApi().dataset_info(name, revision=revision).sha}
    except Exception:  # the client's own errors, and those of its HTTP library
        return {"name": spec, "revision": None}


def check_hub_id(name: str) -> None:
    """Refuses impossible names of Hub repositories before hours of work, not after."""
    try:
        validate_repo_id(name)
    except ValueError as error:
        raise InputError(f"{name!r} is no Hub id: give USER/NAME") from error


CAPTION_COLUMN = re.compile(r"captions?(_\d+)?")
_CONTENTS = {"audio": "the audio", "caption": "the captions", "label": "the class names"}


def find_column(source: Source, place: object, columns: Iterable[str], role: str, *usual: str) -> str:
    """The column of a role: the one that the user named, or the first usual one that exists.

    `place` names the table, for the error.
    """
    columns = list(columns)
    names = (source.column(role),) if source.column(role) else usual
    for name in names:
        if name in columns:
            return name
    raise _no_column(source, place, columns, role, names[0])


def caption_columns(source: Source, place: object, columns: Iterable[str]) -> list[str]:
    """The columns that hold captions: the one that the user named, or `caption`, `captions`, `caption_1` …"""
    columns, name = [column for column in columns if column], source.column("caption")
    matches = [column for column in columns if column == name or (name is None and CAPTION_COLUMN.fullmatch(column))]
    if not matches:
        raise _no_column(source, place, columns, "caption", name or "caption")
    return matches


def _no_column(source: Source, place: object, columns: list[str], role: str, name: str) -> InputError:
    return InputError(
        f"{place} has no column {name}: its columns are {', '.join(map(str, columns)) or 'none'}. "
        f"Say which one holds {_CONTENTS[role]}: {source.spec.partition('#')[0]}#{role}=COLUMN"
    )
