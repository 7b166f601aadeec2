"""Which column of a user's table holds what: the one that was named, or one of a usual name."""

import re
from collections.abc import Iterable

from ..errors import InputError
from .sources import Source


_CAPTION = re.compile(r"captions?(_\d+)?")
_HOLDS = {"audio": "the audio", "caption": "the captions", "label": "the class names"}


def find_column(source: Source, place: object, columns: Iterable[str], what: str, *known: str) -> str:
    """The column for `audio`, `caption` or `label`.

    Args:
        source: of the table; a column named there goes before the usual ones.
        place: what the columns are of, for the error.
        columns: the table's.
        what: is looked for.
        known: usual names, the first that is there counts.

    Raises:
        InputError: there is none.
    """
    columns, named = list(columns), source.column(what)
    found = next((column for column in ((named,) if named else known) if column in columns), None)
    if found is None:
        raise _missing(source, place, columns, what, named or known[0])
    return found


def caption_columns(source: Source, place: object, columns: Iterable[str]) -> list[str]:
    """The columns that hold captions: the one that was named, or `caption`, `captions`, `caption_1` …

    Raises:
        InputError: there is none.
    """
    columns, named = [column for column in columns if column], source.column("caption")
    found = [column for column in columns if column == named or (named is None and _CAPTION.fullmatch(column))]
    if not found:
        raise _missing(source, place, columns, "caption", named or "caption")
    return found


def _missing(source: Source, place: object, columns: list[str], what: str, wanted: str) -> InputError:
    return InputError(
        f"{place} has no column {wanted}: its columns are {', '.join(map(str, columns)) or 'none'}. "
        f"Say which one holds {_HOLDS[what]}: {source.spec.partition('#')[0]}#{what}=COLUMN"
    )


__all__ = ["caption_columns", "find_column"]
