"""Files whose header does not know how long they are, because a program wrote them to a pipe."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from modeling_clap_student.audio_clap_student import AudioFile
from modeling_clap_student.errors import ClipError


RATE = 16000


def encoded(kind: str, seconds: float = 3.0) -> bytes:
    samples = 0.1 * np.random.default_rng(0).normal(size=int(seconds * RATE))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind, subtype="PCM_16")
    return file.getvalue()


def piped(kind: str, seconds: float = 3.0, size: int = 0xFFFFFFFF) -> bytes:
    """A file with the length that an encoder leaves in its header where it can't go back to it."""
    data = bytearray(encoded(kind, seconds))
    at = data.find(b"data")
    if kind == "FLAC":  # the last 36 bits of STREAMINFO's second eight bytes
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    elif kind == "WAV":
        data[4:8] = data[at + 4 : at + 8] = struct.pack("<I", size)
    elif kind == "AU":
        data[8:12] = struct.pack(">I", 0xFFFFFFFF)
    elif kind == "W64":
        data[16:24] = data[at + 16 : at + 24] = b"\xff" * 8
    return bytes(data)


PIPED = [("FLAC", 0), ("WAV", 0xFFFFFFFF), ("WAV", 0x7FFFF000), ("WAV", 0x7FFFFFFF), ("AU", 0), ("W64", 0)]


@pytest.mark.parametrize(("kind", "size"), PIPED)
@pytest.mark.parametrize("as_bytes", [True, False])
def test_files_that_were_written_to_a_pipe_are_read(tmp_path, kind, size, as_bytes):
    """Guards against recordings of `ffmpeg … -` and `sox … -` that are taken for damaged ones, or for years."""
    expected = soundfile.read(io.BytesIO(encoded(kind)), dtype="float32")[0]
    (tmp_path / "a.x").write_bytes(piped(kind, size=size))
    with AudioFile(piped(kind, size=size) if as_bytes else tmp_path / "a.x") as file:
        assert file.frames == 3 * RATE
        for start in (0, 20000, 100, 3 * RATE - 500):
            np.testing.assert_array_equal(file.read(start, start + 500), expected[start : start + 500])
        file.check_end()


def test_cut_flac_files_of_unknown_length_are_told():
    """Guards against a length that is taken from what is left of a file."""
    data = piped("FLAC")
    with pytest.raises(ClipError):
        AudioFile(data[: len(data) * 2 // 3])


def test_empty_flac_files_of_unknown_length_are_no_clips():
    """Guards against a clip of no samples."""
    data = piped("FLAC")
    with pytest.raises(ClipError):
        AudioFile(data[: data.find(b"\xff\xf8", 42)])


def test_counting_needs_no_memory(tmp_path):
    """Guards against an hour that is in memory to be counted."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    tracemalloc.start()
    with AudioFile(tmp_path / "a.flac") as clip:
        assert clip.frames == 3600 * 8000
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("seconds", [30, 24 * 3600 + 1])
def test_headers_that_promise_more_than_there_is_stay_errors(seconds):
    """Guards against every lie of a header being taken for a pipe's."""
    data = bytearray(encoded("FLAC"))
    data[22:26] = (seconds * RATE).to_bytes(4, "big")
    with pytest.raises(ClipError, match=r"truncated|longer than 24 hours"), AudioFile(bytes(data)) as file:
        file.read(0, 100)
        file.check_end()
    data = bytearray(encoded("WAV"))
    at = data.find(b"data")
    data[at + 4 : at + 8] = (2 * RATE * 30).to_bytes(4, "little")
    with pytest.raises(ClipError, match="truncated"):
        AudioFile(bytes(data))
