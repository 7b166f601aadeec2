"""Arguments that are checked before anything is done with them: each number has a range, and no text is empty."""

import math
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple


class Range(NamedTuple):
    """Which numbers an argument may have: finite ones, from the lowest to the highest.

    Attributes:
        low: the lowest.
        high: the highest.
        above: whether the lowest itself is left out.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if math.isfinite(self.high):
            return f"lie in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        return f"be {'above' if self.above else 'at least'} {self.low:g}"


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
SHARE = Range(0, 1)
SEED = Range(0, 2**32 - 1)  # numpy takes no other


class CheckedArguments:
    """Base of a dataclass of arguments. Its `__post_init__` calls `check`, or is this one.

    Attributes:
        ranges: argument -> which numbers it may have, of this class; those of its bases hold too. A default may lie
            outside, and means that the argument was not given.
    """

    ranges: ClassVar[dict[str, Range]] = {}

    def __post_init__(self):
        self.check()

    def check(self) -> None:
        """Looks at every argument.

        Raises:
            ValueError: a number out of its range, or an empty text.
        """
        ranges = {name: allowed for base in reversed(type(self).__mro__) for name, allowed in _ranges(base).items()}
        for field in fields(self):
            value = getattr(self, field.name, None)
            if value is None or value == field.default:
                continue
            allowed = ranges.get(field.name)
            if allowed is not None and not (isinstance(value, (int, float)) and value in allowed):
                raise ValueError(f"--{field.name} must {allowed}, got {_shown(value)}")
            if _is_empty(value):
                raise ValueError(f"--{field.name} is empty: give it a value, or leave it out")


def _ranges(kind: type) -> dict[str, Range]:
    return vars(kind).get("ranges", {})


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_empty(value: Any) -> bool:
    texts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(text, str) and not text.strip() for text in texts)


__all__ = ["COUNT", "NOT_NEGATIVE", "POSITIVE", "SEED", "SHARE", "CheckedArguments", "Range"]
