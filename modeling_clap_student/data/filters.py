"""Filters that leave out and count unusable rows: without words, repeated, without audio, or with a file elsewhere.

Every filter takes the table, the user's name for it, and the log that records how many rows were left out, and why.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..errors import InputError
from ..soundscapes.corpus import is_soundscape
from .files import OUTSIDE, allowed_folders, are_outside, locate
from .sources import ExclusionLog, Source
from .tables import UNDECODED
from .texts import LONGEST_TEXT, NO_WORDS, TOO_LONG


_EXAMPLE = 200  # characters of a row's name that are shown


def with_words(table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
    """The rows whose caption has a word. An InputError if none has."""
    worded = pc.fill_null(pc.match_substring_regex(column_of(table, "caption"), r"[\pL\pN]"), False)
    table = select_rows(table, worded, spec, NO_WORDS, exclusions)
    if len(table) == 0:
        raise InputError(f"{spec} holds no caption with a word in it")
    return table


def with_short_texts(table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
    """The rows without absurdly long texts. An InputError if every row has such a text."""
    short = np.ones(len(table), bool)
    for name in (name for name, feature in table.features.items() if getattr(feature, "dtype", None) == "string"):
        length = pc.fill_null(pc.utf8_length(column_of(table, name)), 0)
        short &= length.to_numpy(zero_copy_only=False) <= LONGEST_TEXT
    if len(table) and not short.any():
        raise InputError(f"{spec} holds nothing but rows with {TOO_LONG}")
    return select_rows(table, short, spec, TOO_LONG, exclusions)


def with_files_inside(table: Dataset, source: Source) -> Dataset:
    """The rows whose audio is not a file, or is a file in the folder that the user named, with links resolved.

    An InputError if no row is left.
    """
    roots = allowed_folders(source)
    if roots is None:
        return table
    audio = column_of(table, "audio")
    outside = are_outside(pc.struct_field(audio, "path"), roots) & ~_has_bytes(audio)
    if len(table) and outside.all():
        raise InputError(
            f"{source.spec}: none of its {len(table)} files lies in {' or '.join(roots) or 'its folder'} "
            "(--allow_outside_paths takes others)"
        )
    return select_rows(table, ~outside, source.spec, OUTSIDE, source.exclusions)


def without_repeats(table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
    """Leaves out rows that repeat a caption of the same clip."""
    pairs = pc.binary_join_element_wise(column_of(table, "audio_id"), column_of(table, "caption_id"), "\n")
    return select_rows(table, first_of_each(pairs), spec, "the same caption of the same clip", exclusions)


def without_repeated_clips(table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
    """The first row of each clip."""
    firsts = first_of_each(column_of(table, "audio_id"))
    return select_rows(table, firsts, spec, "the same clip again", exclusions)


def first_of_each(values: pa.Array) -> np.ndarray:
    """(values,) bool: whether a value occurs for the first time."""
    _, firsts = np.unique(values.dictionary_encode().indices.to_numpy(), return_index=True)
    return np.isin(np.arange(len(values)), firsts)


def with_audio(table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
    """The rows whose audio exists: bytes, a file, or a built-in clip.

    Each folder is listed once. A file whose name is written with other code points than in the row counts as the same.
    """
    audio = column_of(table, "audio")
    has_bytes = _has_bytes(audio)
    paths = pc.struct_field(audio, "path").to_pylist()
    rows = [row for row, path in enumerate(paths) if not has_bytes[row] and not is_soundscape(path or "")]
    is_there = np.ones(len(table), dtype=bool)
    renamed = False
    for row, file in zip(rows, locate(paths[row] for row in rows), strict=True):
        is_there[row] = file is not None
        if file not in (None, paths[row]):
            paths[row], renamed = file, True
    if renamed:
        columns = table.column_names
        audio = pa.StructArray.from_arrays([pc.struct_field(audio, "bytes"), pa.array(paths)], ["bytes", "path"])
        table = table.remove_columns("audio").add_column("audio", audio, feature=UNDECODED).select_columns(columns)
    return select_rows(table, is_there, spec, "no such audio file", exclusions)


def _has_bytes(audio: pa.Array) -> np.ndarray:
    return pc.is_valid(pc.struct_field(audio, "bytes")).to_numpy(zero_copy_only=False)


def select_rows(
    table: Dataset, mask: np.ndarray | pa.Array, spec: str, reason: str, exclusions: ExclusionLog
) -> Dataset:
    """The rows of a mask. The log gets the number of the other rows, the reason and an example."""
    mask = np.asarray(mask, dtype=bool)
    if mask.all():
        return table
    example = (table[int(np.argmin(mask))]["audio_id"] or "")[:_EXAMPLE]
    exclusions.add(spec, reason, int((~mask).sum()), len(table), example)
    return table.select(np.flatnonzero(mask))


def column_of(table: Dataset, column: str) -> pa.Array:
    """A column in arrow, in one piece."""
    values = table.with_format("arrow")[column][:]
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
