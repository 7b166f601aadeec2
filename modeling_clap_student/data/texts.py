"""Texts beside audio: reads metadata files, turns titles and web pages into captions, and makes keys of captions."""

import csv
import hashlib
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError, reading


METADATA = ("metadata.csv", "metadata.jsonl")  # in a folder
FILE_COLUMNS = ("file_name", "path", "filename")

LONGEST_TEXT = 131_072  # characters of a caption or a name; the csv reader's own limit
NO_WORDS = "no word in the caption"
TOO_LONG = f"a text of more than {LONGEST_TEXT} characters"

_EXTENSION = re.compile(r"\.(wav|wave|aiff?|mp3|flac|ogg|oga|opus|m4a|wma)$", re.IGNORECASE)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOKEN_WITH_DIGITS = re.compile(r"\S*\d\S*")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_LINK = re.compile(r"\b(https?://|www\.)\S+", re.IGNORECASE)
_SEPARATORS = re.compile(r"[_\-/\\|.,;:()\[\]{}+=~*#@&\"<>]+")


def folder_metadata(folder: Path) -> Path | None:
    """The metadata file of a folder, if it has one."""
    return next((path for name in METADATA if (path := folder / name).exists()), None)


def read_rows(path: Path, *needed: str, fallback: str | None = None) -> list[dict[str, Any]]:
    """Reads a csv (with a header; a byte-order mark is ignored) or jsonl file that must have some columns.

    A missing cell is "". A number in a jsonl becomes text; a list or a mapping stays one. `fallback` is the encoding
    for a file that is not UTF-8. Any fault of the file is an InputError.
    """
    with reading(path, f"{path.suffix.lstrip('.')} file"):
        try:
            rows = _parse(path, "utf-8-sig")
        except UnicodeDecodeError:
            if fallback is None:
                raise
            rows = _parse(path, fallback)
    if not rows:
        raise InputError(f"{path} holds no rows")
    columns = list(rows[0]) if isinstance(rows[0], dict) else []
    missing = [column for column in needed if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}: its columns are {', '.join(map(str, columns))}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or None in row:
            raise InputError(f"{path}: row {number} does not fit the header: quote texts that hold commas")
    return [{column: _text(row.get(column)) for column in columns} for row in rows]


def _parse(path: Path, encoding: str) -> list:
    with open(path, newline="", encoding=encoding) as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file if line.strip()]
        return [*csv.DictReader(file)]


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return "" if value is None else value if isinstance(value, dict) else str(value)


def text_column(path: Path, rows: list[dict[str, Any]], column: str) -> list[str]:
    """A column of `read_rows` whose cells must be texts. A list or a mapping is an InputError."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row[column], str):
            raise InputError(f"{path}: row {number}: {column} must be a text, not a {type(row[column]).__name__}")
    return [row[column] for row in rows]


def texts_in(cells: Iterable[Any]) -> list:
    """The texts in some cells; each cell holds a text or a list of texts."""
    return [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]


def read_json(path: Path) -> dict | list:
    with reading(path, "json file"):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def clean_title(title: str) -> str:
    """A recording's title or file name as text: `LBS_FX DOG Small Alert Bark001.wav` -> `lbs fx dog small alert bark`.

    Drops the extension, takers' numbers and dates, splits CamelCase and separators, lower-cases. The result may be
    empty (`1000000007.aif`): such a title says nothing about the sound.
    """
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), title.strip())
    text = _EXTENSION.sub("", text)
    text = _SEPARATORS.sub(" ", text)
    text = re.sub(r"(?<=[A-Za-z])\d+\b", "", text)  # Bark001 -> Bark
    text = _TOKEN_WITH_DIGITS.sub(" ", text)
    words = _CAMEL.sub(" ", text).lower().split()
    return " ".join(words) if any(len(word) > 1 for word in words) else ""


def strip_html(text: str) -> str:
    """Text from a web page without its tags, entities and links: `a <b>dog</b> &amp; <a href="…">rain</a>`."""
    for _ in range(2):  # some sites escape twice: &amp;quot;
        text = html.unescape(text)
    return " ".join(_LINK.sub(" ", _TAG.sub(" ", text)).split())


def shorten(text: str, max_words: int) -> str:
    """At most so many words, cut at the last end of a sentence within them if there is one."""
    words = text.split()
    if len(words) <= max_words:
        return " ".join(words)
    words = words[:max_words]
    ends = [number for number, word in enumerate(words, start=1) if word.rstrip("\"')]").endswith((".", "!", "?"))]
    return " ".join(words[: ends[-1]] if ends else words)


def caption_key(caption: str) -> str:
    """Equal for captions that differ only in case and blanks."""
    return exact_key(" ".join(caption.lower().split()))


def exact_key(text: str) -> str:
    """64 bits that are equal for equal texts only."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def caption_fault(caption: str | None) -> str | None:
    """Why a caption can't be used; None where it can."""
    if not any(letter.isalnum() for letter in caption or ""):
        return NO_WORDS
    return TOO_LONG if len(caption) > LONGEST_TEXT else None
