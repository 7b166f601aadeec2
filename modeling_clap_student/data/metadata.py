"""Metadata files: csv and jsonl as lists of rows, json."""

import csv
import json
from pathlib import Path
from typing import Any

from ..errors import InputError, reading


METADATA = ("metadata.csv", "metadata.jsonl")  # of a folder
FILE_COLUMNS = ("file_name", "path", "filename")


def read_rows(path: Path, *needed: str, fallback: str | None = None) -> list[dict[str, Any]]:
    """Reads a csv (with a header; a byte-order mark is ignored) or jsonl file.

    Args:
        path: the file.
        needed: columns that must be there.
        fallback: an encoding for a file that is not UTF-8.

    Returns:
        a dict a row; what is missing is "", a number in a jsonl becomes text, a list or a mapping stays one.

    Raises:
        InputError: a file that is missing, empty, not text, or lacks a needed column.
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


def texts(path: Path, rows: list[dict[str, Any]], column: str) -> list[str]:
    """A column of `read_rows` that must hold a text each row.

    Raises:
        InputError: a list or a mapping.
    """
    for number, row in enumerate(rows, start=1):
        if not isinstance(row[column], str):
            raise InputError(f"{path}: row {number}: {column} must be a text, not a {type(row[column]).__name__}")
    return [row[column] for row in rows]


def read_json(path: Path) -> dict | list:
    """Reads a json file.

    Raises:
        InputError: a file that is missing or no json.
    """
    with reading(path, "json file"):
        return json.loads(path.read_text(encoding="utf-8-sig"))
