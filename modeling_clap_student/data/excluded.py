"""What was left out of the data that a run reads, counted."""

from dataclasses import dataclass, field


@dataclass
class Excluded:
    """Rows that were left out, by source and reason.

    Attributes:
        counts: (source, reason) -> rows.
        lines: the same in words, with an example each.
        allow_outside_paths: whether files that a table or a link names outside the given folder are read all the same.
    """

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    allow_outside_paths: bool = False

    def add(self, spec: str, reason: str, count: int, total: int, example: str) -> None:
        """Notes that of a source's `total` rows `count` were left out; nothing is noted of none."""
        if count:
            self.counts[spec, reason] = self.counts.get((spec, reason), 0) + count
            self.lines.append(f"{spec}: {count} of {total} rows left out: {reason} (for instance {example})")


__all__ = ["Excluded"]
