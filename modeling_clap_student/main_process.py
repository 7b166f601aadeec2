"""What one process finds out for all."""

from collections.abc import Callable
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from .errors import InputError


T = TypeVar("T")


def from_main_process(function: Callable[[], T]) -> T:
    """What a function returns, or raises, in the main process: in all of them, which wait for it."""
    outcome = [(None, None)]
    if PartialState().is_main_process:
        try:
            outcome = [(function(), None)]
        except (InputError, OSError) as error:
            outcome = [(None, error)]
    result, error = broadcast_object_list(outcome)[0]
    if error is not None:
        raise error
    return result


__all__ = ["from_main_process"]
