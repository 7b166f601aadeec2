"""The recordings of a test by others: files, found by the names in its tables, and rows of tables."""

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from datasets import Dataset, Value, concatenate_datasets

from ...data.files import list_audio, same_name
from ...data.filters import with_files_inside
from ...data.sources import Source
from ...data.tables import arrow_type, clip_table, without_decoding
from ...errors import InputError


class Recordings:
    """Numbers recordings as they are named, each once. `clips` makes a table of them at the end."""

    def __init__(self, source: Source):
        self.source = source
        self.root = source.path if source.path.is_dir() else source.path.parent
        self._numbers: dict[str | tuple[int, int], int] = {}  # key: a file, or a table and its row
        self._tables: list[Dataset] = []  # tables that hold the audio
        self._missing: dict[str, None] = {}
        self._files: dict[str, list[str]] = {}  # by the last part of their path
        for path in list_audio(self.root).to_pylist():
            self._files.setdefault(same_name(os.path.basename(path)), []).append(path)

    def number(self, name: str, table: Path, part: str) -> int | None:
        """The number of the file with the name that a table gives, wherever it is; None if it does not exist."""
        file = os.path.normpath(table.parent / name)
        if not os.path.isfile(file):
            file = self._nearest(same_name(name), table, part)
        if file is None:
            self._missing[name] = None
            return None
        return self._number(file)

    def _number(self, key: str | tuple[int, int]) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _nearest(self, name: str, table: Path, part: str) -> str | None:
        """The file with this name that fits best: in the folders of the name, in the part's folder, beside the
        table."""
        wanted, beside = PurePosixPath(name).parts[::-1], os.path.relpath(table.parent, self.root)

        def fit(path: str) -> tuple:
            same = [a == b for a, b in zip(wanted, PurePosixPath(same_name(path)).parts[::-1], strict=False)]
            return [*same, False].index(False), part in path.lower(), path.startswith(f"{beside}/"), -path.count("/")

        paths = sorted(self._files.get(os.path.basename(name), []), key=fit, reverse=True)
        if len(paths) > 1 and fit(paths[0]) == fit(paths[1]):
            raise InputError(f"{table}: {name} is {paths[0]} or {paths[1]}: keep one of them in {self.root}")
        return str(self.root / paths[0]) if paths else None

    def numbers(self, data: Dataset, table: Path, part: str) -> list[int | None]:
        """The number of each row's recording, which the column `audio` holds or names; None if it does not exist."""
        if not pa.types.is_struct(arrow_type(data, "audio")):
            return [self.number(str(name), table, part) if name else None for name in data["audio"][:]]
        data = without_decoding(data.select_columns(["audio"]), table)
        place, numbers = len(self._tables), []
        self._tables.append(data)
        for batch in data.with_format("arrow").iter(100):
            for clip in batch["audio"]:
                name = clip["path"].as_py() if clip.is_valid else None
                if clip.is_valid and clip["bytes"].is_valid:
                    numbers.append(self._number((place, len(numbers))))
                else:
                    numbers.append(self.number(name, table, part) if name else None)
        return numbers

    def clips(self) -> tuple[Dataset, np.ndarray]:
        """A table with `audio audio_id`, and (numbers,) int, the row of each, -1 for a file that may not be read."""
        spec, name = self.source.spec, self.source.name
        missing, listed = list(self._missing), len(self._missing) + len(self._numbers)
        if missing:
            example = missing[0][:200]
            if not self._numbers:
                raise InputError(
                    f"{spec} lists {listed} clips, but not one of their files is there: {example} … "
                    "(are its archives unpacked?)"
                )
            self.source.exclusions.add(spec, "no such audio file", len(missing), listed, example)
        files = {os.path.relpath(key, self.root): key for key in self._numbers if isinstance(key, str)}
        table = with_files_inside(clip_table(self.source, files.values(), files.keys()), self.source)
        keys = [files[audio_id.removeprefix(f"{name}/")] for audio_id in table["audio_id"]]
        tables = [table.select_columns(["audio", "audio_id"])]
        for place, data in enumerate(self._tables):
            rows = [key[1] for key in self._numbers if isinstance(key, tuple) and key[0] == place]
            ids = [f"{name}/{place}/{row}" for row in rows]
            tables.append(data.select(rows).add_column("audio_id", ids, feature=Value("string")))
            keys += [(place, row) for row in rows]
        row_of = {key: row for row, key in enumerate(keys)}
        return concatenate_datasets(tables), np.array([row_of.get(key, -1) for key in self._numbers], dtype=np.int64)
