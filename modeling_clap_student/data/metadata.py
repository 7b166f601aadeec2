"""Metadata files: csv and jsonl as lists of rows."""

import csv
import json
from pathlib import Path

from ..errors import InputError


def read_rows(path: Path, *needed: str) -> list[dict[str, str]]:
    """Reads a csv (with a header; a byte-order mark is ignored) or jsonl file.

    Args:
        path: the file.
        needed: columns that must be there.

    Raises:
        InputError: a file that is empty, not text, or lacks a needed column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = (
                [json.loads(line) for line in file if line.strip()]
                if path.suffix == ".jsonl"
                else [*csv.DictReader(file)]
            )
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
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
    return [{column: "" if row.get(column) is None else str(row[column]) for column in columns} for row in rows]


__all__ = ["read_rows"]
