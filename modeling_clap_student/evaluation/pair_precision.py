"""How many curated pairs are true, where that can be known: on the built-in corpus."""

from datasets import Dataset

from ..data.soundscapes import holds_event


def pair_precision(pairs: Dataset) -> float | None:
    """The share of pairs whose clip truly contains what the caption says; None where no pair can be judged."""
    paths = [audio["path"] or "" for audio in pairs["audio"]]
    verdicts = [holds_event(path, caption) for path, caption in zip(paths, pairs["caption"], strict=True)]
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None


__all__ = ["pair_precision"]
