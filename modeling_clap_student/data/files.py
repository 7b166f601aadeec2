"""Which audio files are there: folders are listed once, never asked file by file."""

import os
import unicodedata
from collections.abc import Iterable


def same_name(name: str) -> str:
    """Equal for names that differ only in how their accents are written: a csv says é, macOS's files say e + ´."""
    return unicodedata.normalize("NFC", name)


def locate(paths: Iterable[str | None]) -> list[str | None]:
    """The file that each path means, None where there is none."""
    listings: dict[str, dict[str, str]] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path or "")
        if folder not in listings:
            listings[folder] = _listing(folder)
        there = listings[folder].get(name) or listings[folder].get(same_name(name))
        found.append(os.path.join(folder, there) if there else None)
    return found


def _listing(folder: str) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):  # no folder, or none that could be: a NUL byte in its name
        return {}
    return {same_name(name): name for name in names} | {name: name for name in names}


__all__ = ["locate", "same_name"]
