"""Errors that the user can fix. Each has one line that says what is wrong, where, and what to do."""

from collections.abc import Generator
from contextlib import contextmanager
from os import PathLike


class InputError(ValueError):
    """A path, file, flag or checkpoint that a command can't use. Commands print its message and stop."""


class ClipError(ValueError):
    """One clip that can't be used. Commands skip the clip, count it and list it with this reason."""


@contextmanager
def reading(path: str | PathLike, kind: str = "file") -> Generator[None, None, None]:
    """Names the file in any error that occurs while it is read: parsers raise dozens of unrelated types.

    Args:
        path: the file.
        kind: what it should be, for the message: "json file", "checkpoint".

    Raises:
        InputError: replaces any other error raised inside.
    """
    try:
        yield
    except (InputError, ClipError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except RecursionError as error:
        raise InputError(f"{path} is no readable {kind}: it is nested too deeply") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory") from error
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no readable {kind}: {reason}") from error
