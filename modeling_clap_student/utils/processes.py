"""Coordination: what one process does for all of a launch, and the lock that keeps other runs out of a folder."""

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import lock_descriptor

from ..errors import InputError


T = TypeVar("T")


def own_device() -> torch.device:
    """The device of this process."""
    device = PartialState().device
    assert device is not None
    return device


def from_main_process(function: Callable[[], T]) -> T:
    """Calls a function in the main process. Its result or error appears in all processes, which wait for it."""
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


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of filesystems without locks
_HOLDER = ("host", "pid", "since")

_held: dict[Path, tuple[Path, int]] = {}  # folder -> lock file, its descriptor


def _forget_locks() -> None:
    """A worker process must not keep a lock alive after the process that took it was killed."""
    for _, descriptor in _held.values():
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Keeps other runs out of a folder. The main process takes the lock for all of a launch.

    The lock is a file beside the folder, or inside it if nothing can be written beside it. A process that holds the
    lock may take it again. On a filesystem without locks there is none.

    Yields:
        whether a run that was killed while writing there left its lock.

    Raises:
        InputError: another run holds it (the message names it), or another file is in the lock's place.
        OSError: the file can't be made.
    """
    folder = folder.resolve()
    is_ours, killed = from_main_process(lambda: _take(folder))
    try:
        yield killed
    finally:
        if is_ours and PartialState().is_main_process:
            _give_back(folder)


def _take(folder: Path) -> tuple[bool, bool]:
    """Whether the lock has to be released, and whether a killed run left one."""
    if folder in _held:
        return False, False
    while True:
        file, descriptor = _open(folder)
        try:
            free = lock_descriptor(descriptor, blocking=False)
            # A file that its holder has just removed locks nothing.
            content = os.read(descriptor, 4096) if os.fstat(descriptor).st_nlink else None
            if content is not None and not free:
                raise InputError(f"{folder} is in use by {_holder(content)}: wait, or name another --output_dir")
            if content and _read(content) is None:
                raise InputError(f"{file} is in the way, and is no lock of this package: move it")
            if content is not None:
                _sign(descriptor)
                _held[folder] = file, descriptor
                return True, bool(content)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if not os.fstat(descriptor).st_size:  # it was created just now
                file.unlink(missing_ok=True)
            return False, False
        finally:
            if folder not in _held:
                os.close(descriptor)


def _open(folder: Path) -> tuple[Path, int]:
    """Opens the lock file, and creates it if needed. Never follows a link, and never truncates."""
    beside, inside = folder.parent / f".{folder.name}.lock", folder / ".lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return beside, os.open(beside, flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        if beside.exists():  # belongs to another user
            return beside, os.open(beside, os.O_RDONLY)
        return inside, os.open(inside, flags, 0o666)


def _sign(descriptor: int) -> None:
    holder = dict(
        zip(_HOLDER, (socket.gethostname(), os.getpid(), f"{datetime.now():%Y-%m-%d %H:%M:%S}"), strict=True)
    )
    with suppress(OSError):  # a file left by another user can be locked, but not written
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())


def _read(content: bytes) -> dict | None:
    """The present or past holder of the lock; None if it is not a lock of this package."""
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return holder if isinstance(holder, dict) and tuple(holder) == _HOLDER else None


def _holder(content: bytes) -> str:
    holder = _read(content)
    if holder is None:  # the holder has not written its name yet
        return "another process"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"


def _give_back(folder: Path) -> None:
    """Removes the file while the lock still holds, so that nobody can have taken it meanwhile."""
    file, descriptor = _held.pop(folder)
    with suppress(OSError):
        if os.path.samestat(file.stat(), os.fstat(descriptor)):
            file.unlink()
    os.close(descriptor)
