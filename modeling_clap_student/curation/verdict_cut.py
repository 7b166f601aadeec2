"""Cuts a curation where verdicts say: which of the found pairs stay, and what is printed about it."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..errors import InputError
from ..utils.console import say
from .promise import Promise, describe, weighted_precision
from .sampling import label_numbers
from .verdicts import DOES_NOT, Verdicts


_SAME = 2e-3  # difference of one pair's cosines under another rounding
_OTHERS = 0.01  # share of the pairs at a cut that this may add or remove


def keep_promised(
    pairs: Dataset, made_by: dict, verdicts: Verdicts, promise: Promise, drop_rejected: bool
) -> tuple[Dataset, dict]:
    """The pairs that can be promised, and facts for the provenance.

    Args:
        pairs: of the set that was reviewed, at least those at or above the lowest cut.
        made_by: the provenance so far.
        verdicts, promise: the verdicts and the cuts that follow from them.
        drop_rejected: leave out pairs that were judged not to fit.

    Raises:
        InputError: the verdicts are on another set.
    """
    verdicts.check(made_by)
    table = pairs.select_columns(["audio_id", "caption", "similarity", "label"]).with_format("arrow")[:]
    rows_of = _find_judged(table, verdicts, promise.lowest)
    names, labels = label_numbers(table)
    is_kept = table["similarity"].to_numpy() >= np.array([promise.cosine(name) for name in names])[labels]
    rejected = [rows_of[pair.key] for pair in verdicts.pairs if pair.verdict == DOES_NOT and pair.key in rows_of]
    num_rejected = int(is_kept[rejected].sum()) if drop_rejected else 0
    if drop_rejected:
        is_kept[rejected] = False
    if not is_kept.any():
        raise InputError(f"{verdicts.place}: no pair would be left")
    for group in promise.groups:
        say(describe(group, promise))
    facts = facts_of(verdicts, promise) | ({"dropped_as_rejected": num_rejected} if drop_rejected else {})
    return (pairs if is_kept.all() else pairs.select(np.flatnonzero(is_kept))), facts


def _find_judged(table: pa.Table, verdicts: Verdicts, lowest: float) -> dict[tuple, int]:
    """The rows of the judged pairs at or above the lowest cut."""
    wanted = next(cut.pairs for cut in verdicts.cuts if cut.cosine == lowest)
    number = int((table["similarity"].to_numpy() >= lowest).sum())
    judged = [pair for pair in verdicts.pairs if pair.similarity >= lowest]
    rows_at = defaultdict(list)
    is_near = pc.is_in(table["audio_id"], pa.array({pair.audio_id for pair in judged}, pa.string()))
    near = table.append_column("row", pa.array(range(len(table)))).filter(is_near)
    for row in near.to_pylist():
        rows_at[row["audio_id"], row["caption"]].append((row["row"], row["similarity"]))
    found = {}
    for pair in judged:
        alike = rows_at[pair.audio_id, pair.caption]
        if rows := [row for row, value in alike if abs(value - pair.similarity) < _SAME]:
            found[pair.key] = rows[0]
    # A pair on the cut may have moved below it.
    lost = [pair for pair in judged if pair.key not in found and pair.similarity >= lowest + _SAME]
    if lost or abs(number - wanted) > max(2, _OTHERS * wanted):
        told = f"{len(lost)} of {len(judged)} judged pairs are not found" if lost else f"it had {wanted}"
        raise InputError(
            f"{verdicts.place} holds verdicts of another set: at {lowest:.4f} there are {number} pairs, and "
            f"{told}. Give the flags that made it, or review this one"
        )
    return found


def facts_of(verdicts: Verdicts, promise: Promise) -> dict:
    """For the provenance: the wanted and promised precision, and each label's precision with its 95 % interval."""
    kept = [pair for pair in verdicts.in_order if pair.similarity >= promise.cosine(pair.label)]
    labels = sorted({pair.label for pair in kept if pair.label})
    shares = {label: weighted_precision(pair for pair in kept if pair.label == label) for label in labels}
    groups = [
        {
            "labels": None if group.labels is None else list(group.labels),
            "cosine": group.cut.cosine,
            "precision_at_least": round(group.sample.lower_bound(promise.level), 4),
            "verdicts": group.sample.told,
        }
        for group in promise.groups
        if group.cut is not None
    ]
    return {
        "wanted_precision": promise.precision,
        "confidence": promise.confidence,
        "verdicts": verdicts.counts,
        "promises": groups,
        "label_precision": {label: share for label, share in shares.items() if share},
    }
