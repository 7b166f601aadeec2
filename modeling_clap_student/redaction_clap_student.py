"""Removes what must stay private: secrets everywhere, and the user's folders in what is pushed."""

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any


_SECRETS = (
    # In an address: everything before the host. Greedy, because a password may hold an @.
    (re.compile(r"(?<=://)[^/\s'\"<>]+@"), "***@"),
    (
        re.compile(
            r"([?&;][\w.%-]*(?:token|key|signature|sig|secret|passw(?:or)?d|pwd|credentials?|auth)[\w.%-]*=)[^&#;\s'\"<>]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "hf_***"),
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}"), r"\1 ***"),
)
# `NAME:PARTS=PATH#COLUMNS`, the way users name data; `st:PATH`, a model; or a path alone.
_SPEC = re.compile(
    r"(?P<name>(?:[\w-]+(?::[\w,]+)?=)*(?:st:)?)(?P<path>(?:/|~|[A-Za-z]:[\\/]|\\\\|file://).*?)(?P<columns>#[\w=,]+)?"
)
# A path with a folder in it, inside a text. Not an address, and not `and/or`.
_INSIDE = re.compile(r"(?<![\w.:/~<-])(?:~|[A-Za-z]:(?=[\\/]))?(?:[\\/][^\s\\/:;,'\"<>|*?()\[\]{}`]+){2,}[\\/]?")


def without_secrets(text: str) -> str:
    """Removes passwords and tokens from a text: those in addresses, of the Hub, and in authorisation headers."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def public(value: Any) -> Any:
    """A copy of a value for publishing, without secrets and without the folders of the user's machine.

    Args:
        value: a text, in which absolute paths are cut to their last part; or dicts, lists and tuples of texts. A
            relative path stays: it says nothing about the user.
    """
    if isinstance(value, dict):
        return {public(key): public(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(public, value))
    if not isinstance(value, (str, PurePosixPath, PureWindowsPath)):
        return value
    text = without_secrets(str(value))
    if "\n" not in text and (whole := _SPEC.fullmatch(text)):
        return f"{whole['name']}{_last_part(whole['path'])}{whole['columns'] or ''}"
    return _INSIDE.sub(lambda match: _last_part(match[0]), text)


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path[:1]
