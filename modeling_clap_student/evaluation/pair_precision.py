"""How many curated pairs are true, where that can be known: on the built-in corpus."""

import pyarrow.compute as pc
from datasets import Dataset

from ..data.soundscapes import holds_event


def pair_precision(pairs: Dataset) -> float | None:
    """The share of pairs whose clip truly contains what the caption says; None where no pair can be judged."""
    known = true = 0
    for batch in pairs.select_columns(["audio", "caption"]).with_format("arrow").iter(10_000):
        # The paths alone: pairs may hold their audio.
        paths = pc.struct_field(batch["audio"], "path").to_pylist()
        for path, caption in zip(paths, batch["caption"].to_pylist(), strict=True):
            verdict = holds_event(path or "", caption)
            known += verdict is not None
            true += bool(verdict)
    return true / known if known else None


__all__ = ["pair_precision"]
