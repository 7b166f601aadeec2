"""The app's temporary folder, for uploads and what else is needed in between. It goes when the app ends."""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor


_PREFIX, _MARK = "clap_app_", ".made_by_clap_app"
_ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that gradio keeps uploads in. Removes the folders of apps that were killed.

    It is locked while it is in use. Such a lock ends with its process, whatever ends that.
    """
    _remove_abandoned()
    before = os.environ.get("GRADIO_TEMP_DIR")
    with (
        _ended_in_order(),
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name,
        _locked(name) as is_locked,
    ):
        if is_locked:  # never before: who finds the mark and no lock may remove the folder
            Path(name, _MARK).touch()
        os.environ["GRADIO_TEMP_DIR"] = name
        try:
            yield Path(name)
        finally:
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


@contextmanager
def without_old_files(folder: Path, every: float = 120, age: float = 900) -> Iterator[None]:
    """Removes files that nobody has written to for a while, also of uploads that broke off, which gradio forgets.

    Args:
        folder: from `temporary_folder`.
        every: how often, s.
        age: s since the last write.
    """
    ended = threading.Event()

    def clean() -> None:
        while not ended.wait(every):
            for file in folder.rglob("*"):
                with suppress(OSError):  # gone already
                    if file.is_file() and file.name != _MARK and time.time() - file.stat().st_mtime > age:
                        file.unlink()

    thread = threading.Thread(target=clean, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A program that is told to end, or whose terminal closes, leaves its `with` blocks first."""
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    before = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _locked(folder: str | Path) -> Iterator[bool]:
    """Locks a folder; whether it could be locked."""
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:  # a filesystem without locks
        return False


def _remove_abandoned() -> None:
    """Removes the marked folders that no process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or not (folder / _MARK).is_file():
                continue
            with _locked(folder) as is_abandoned:
                if is_abandoned:
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another user's, or removed just now
            continue
