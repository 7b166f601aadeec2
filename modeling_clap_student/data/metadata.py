"""Metadata files: csv and jsonl as lists of rows, json."""

import csv
import json
from pathlib import Path

from ..errors import InputError


def read_rows(path: Path, *needed: str, fallback: str | None = None) -> list[dict[str, str | list]]:
    """Reads a csv (with a header; a byte-order mark is ignored) or jsonl file.

    Args:
        path: the file.
        needed: columns that must be there.
        fallback: an encoding for a file that is not UTF-8.

    Returns:
        a dict a row; what is missing is "", and a list in a jsonl stays one.

    Raises:
        InputError: a file that is missing, empty, not text, or lacks a needed column.
    """
    try:
        rows = _parse(path, "utf-8-sig")
    except UnicodeDecodeError as error:
        if fallback is None:
            raise InputError(f"{path} is no readable {path.suffix.lstrip('.')} file: {error}") from error
        rows = _parse(path, fallback)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except (json.JSONDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no readable {path.suffix.lstrip('.')} file: {error}") from error
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


def _text(value) -> str | list:
    return "" if value is None else value if isinstance(value, list) else str(value)


def read_json(path: Path) -> dict | list:
    """Reads a json file.

    Raises:
        InputError: a file that is missing or no json.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no readable json file: {error}") from error


__all__ = ["read_json", "read_rows"]
