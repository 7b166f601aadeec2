"""Clips that are held out of training to validate on: whole recordings, and for the same share the same ones."""

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from ..errors import InputError
from .captions import exact_key
from .filters import column_of


def split_validation(corpus: Dataset, fraction: float) -> tuple[Dataset, Dataset]:
    """Parts a captioned table in two, neither of which has a recording of the other.

    A recording is what `origin_id` tells where it is known, else the clip; recordings that share a clip are one.
    Whether it is held out follows from a hash of its name and the share alone: not from a seed, nor from what else is
    in the table. So a teacher and its student hold out the same clips, and a smaller share lies within a larger one.

    Args:
        corpus: table with `audio_id`, and `origin_id` where it is known.
        fraction: share of the recordings to hold out, in (0, 1); met by chance, so only roughly in a small table.

    Returns:
        the rows to train on and those to validate on, both in their order.

    Raises:
        InputError: one of the two would be empty.
    """
    numbers = _numbers(corpus)
    # The lower half: the upper one decides for which of the names a recording of several has its number.
    held_out = numbers % 2**32 < fraction * 2**32
    if held_out.all() or not held_out.any():
        whom = "train" if held_out.all() else "validate"
        change = "smaller" if held_out.all() else "larger"
        count = len(np.unique(numbers))
        raise InputError(
            f"a validation share of {fraction:g} leaves none of {count} recording{'s' * (count != 1)} to {whom} on: "
            f"choose a {change} share"
        )
    return corpus.select(np.flatnonzero(~held_out)), corpus.select(np.flatnonzero(held_out))


def _numbers(corpus: Dataset) -> np.ndarray:
    """(rows,) uint64 that look random, equal for rows of one recording alone."""
    clips = column_of(corpus, "audio_id")
    names = pc.coalesce(column_of(corpus, "origin_id"), clips) if "origin_id" in corpus.column_names else clips
    names = names.dictionary_encode()
    hashes = np.array([int(exact_key(name), 16) for name in names.dictionary.to_pylist()], dtype=np.uint64)
    clips, names = clips.dictionary_encode().indices.to_numpy(), names.indices.to_numpy()
    numbers, before = hashes[names], None
    # Again and again, for recordings may share clips in chains.
    while not np.array_equal(numbers, before):
        before, numbers = numbers, _lowest(_lowest(numbers, clips), names)
    return numbers


def _lowest(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The lowest value in each row's group."""
    lowest = np.full(groups.max(initial=-1) + 1, np.iinfo(np.uint64).max)
    np.minimum.at(lowest, groups, values)
    return lowest[groups]
