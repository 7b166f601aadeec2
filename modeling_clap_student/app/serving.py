"""What the page's server hands out: clips of the pool by their number, what was made for the page by a secret name.

No path from a request is opened, and what is sent of a file is its sound, encoded anew.
"""

import errno
import io
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from urllib.parse import quote

import numpy as np
import soundfile
from datasets import Dataset
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..data.decoding import open_clip
from ..errors import ClipError, InputError


MOST_SECONDS = 30  # of a clip that is played
_RATE = 32_000
_LOCAL = ("127.0.0.1", "localhost")
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'"
)


@dataclass(frozen=True)
class Made:
    """Something that the page shows or lets one save."""

    content: bytes
    kind: str
    name: str = ""


class Shelf:
    """Keeps the last things that were made for the page, each under a name that nobody can guess.

    Args:
        most_bytes: of all of them; the oldest go.
    """

    def __init__(self, most_bytes: int = 2**27):
        self.most_bytes = most_bytes
        self._makers: OrderedDict[str, tuple[Callable[[], Made], int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, made: Made) -> str:
        """Its address on the page."""
        return self.put_later(lambda: made, len(made.content))

    def put_later(self, make: Callable[[], Made], size: int = 10_000) -> str:
        """The address of what is made when it is asked for; `size` is what it takes until then, bytes."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._makers[name] = make, size
            while sum(size for _, size in self._makers.values()) > self.most_bytes and len(self._makers) > 1:
                self._makers.popitem(last=False)
        return f"made/{name}"

    def get(self, name: str) -> Made | None:
        with self._lock:
            make, _ = self._makers.get(name, (lambda: None, 0))
        return make()


class PoolPlayer:
    """Encodes clips of a pool for a browser.

    Args:
        clips: `audio` of each, undecoded.
        check: raises a ClipError for audio that is not to be played.
    """

    def __init__(self, clips: Dataset, check: Callable[[dict | None], None]):
        self.clips, self.check = clips, check
        self.encoded = lru_cache(maxsize=64)(self._encoded)  # at most 0.5 MB each

    def _encoded(self, number: int) -> bytes:
        audio = self.clips[number]["audio"]
        self.check(audio)
        with open_clip(audio, _RATE) as clip:
            return as_mp3(clip.read(0, min(clip.length, MOST_SECONDS * _RATE)), _RATE)


def as_mp3(samples: np.ndarray, rate: int) -> bytes:
    """Mono samples as the one compressed format that every browser plays."""
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), rate, format="MP3", compression_level=0.5)
    return file.getvalue()


def as_wav(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def add_routes(app: FastAPI, shelf: Shelf, players: Mapping[str, PoolPlayer]) -> None:
    """`/made/NAME`, and `/clips/NUMBER`, where `clips` is one of the players."""

    def clip(kind: str, number: str, request: Request) -> Response:
        player = players[kind]
        is_number = number.isascii() and number.isdigit() and len(number) < 10
        if not is_number or int(number) >= len(player.clips):
            return PlainTextResponse("no such clip", 404)
        try:
            return partial_content(player.encoded(int(number)), "audio/mpeg", request)
        except (ClipError, InputError):
            return PlainTextResponse("this clip can't be read", 404)

    for kind in players:
        app.get(f"/{kind}/{{number}}")(partial(clip, kind))

    @app.get("/made/{name}")
    def made(name: str, request: Request) -> Response:
        found = shelf.get(name)
        if found is None:
            return PlainTextResponse("this is no longer kept: search again", 404)
        response = partial_content(found.content, found.kind, request)
        if found.name:
            response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name)}"
        return response


def partial_content(content: bytes, kind: str, request: Request) -> Response:
    """The content, or the part of it that is asked for: players jump to a place by asking for what lies there."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-store"}
    unit, _, span = request.headers.get("range", "").partition("=")
    first, dash, last = span.partition("-")
    if unit.strip() != "bytes" or not dash or "," in span or not (first + last).isdigit() or len(span) > 40:
        return Response(content, media_type=kind, headers=headers)
    size = len(content)
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(content[start:stop], 206, media_type=kind, headers=headers)


def protect(app: FastAPI, host: str) -> None:
    """The page loads nothing from elsewhere and sends nothing there.

    A local one goes by local names alone, and takes nothing from other websites.
    """
    is_local = is_loopback(host)

    @app.middleware("http")
    async def with_policy(request: Request, call_next):
        is_foreign = request.headers.get("sec-fetch-site") == "cross-site" and request.method != "GET"
        if is_local and is_foreign:  # a form of any website may send a file to this machine
            response = PlainTextResponse("this page takes nothing from other websites", 403)
        else:
            response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY + ("; frame-ancestors 'none'" if is_local else "")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    if is_local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOCAL, host])


def is_loopback(host: str) -> bool:
    return host in _LOCAL or host.startswith("127.")


def free_port(host: str, port: int | None, first: int = 7860, tries: int = 100) -> int:
    """The port that was asked for; without one the first free one.

    Raises:
        InputError: it is taken, or may not be used.
    """
    for number in [port] if port is not None else range(first, first + tries):
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, number))
            return number
        except OSError as error:
            reason = error
            if error.errno != errno.EADDRINUSE:
                break
    if reason.errno == errno.EADDRINUSE:
        raise InputError(f"port {number} is taken: give another with --port, or leave it out")
    raise InputError(f"can't listen on {host}, port {number}: {reason.strerror or reason}")
