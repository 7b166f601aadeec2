"""Files that end before they should, told from their headers and their last bytes.

A flac file is not among them: it says how many samples it has, and one tries whether the last one is there. An mp3
file without the header that encoders put before the music says nothing of its length, and passes as a shorter clip.
"""

import io
import re

from .errors import ClipError


_LONGEST_OGG_PAGE = 65307
_LONGEST_MP3_FRAME = 2881  # some programs count the header's own frame, some do not


def check_wav_end(log: str) -> None:
    """Reads libsndfile's log, which tells of a data chunk shorter than its header says; decoding goes on in silence.

    Programs that write to a pipe can't know the size and leave the largest number there, of 32 bits or of 31: such
    files are whole.

    Raises:
        ClipError: truncated.
    """
    remark = re.search(r"data : (\d+) \(should be", log)
    if remark is not None and not any(top - 2**12 <= int(remark[1]) < top for top in (2**31, 2**32)):
        raise ClipError("truncated")


def check_mp3_end(file: io.RawIOBase | io.BytesIO) -> None:
    """Compares the size of an mp3 file with the one in its Xing or Info header, where it has one.

    Raises:
        ClipError: truncated.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    tag = file.read(10)
    start = 0
    if len(tag) == 10 and tag[:3] == b"ID3":
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(192)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        return
    flags, *counts = (int.from_bytes(frame[at + i : at + i + 4], "big") for i in (4, 8, 12))
    stated = counts[flags & 1] if flags & 2 else 0  # the size comes after the number of frames, if that is there
    if size - start < stated - _LONGEST_MP3_FRAME:
        raise ClipError("truncated")


def check_ogg_end(file: io.RawIOBase | io.BytesIO) -> int:
    """Looks for the page that is marked as the last of an Ogg file; libsndfile takes a cut file for a shorter clip.

    Returns:
        where that page begins, in samples; 0 where that can't be told, or for files of other kinds.

    Raises:
        ClipError: truncated.
    """
    file.seek(0)
    head = file.read(18)
    if head[:4] != b"OggS":
        return 0
    file.seek(max(0, file.seek(0, io.SEEK_END) - 2 * _LONGEST_OGG_PAGE))
    tail = file.read()
    last = tail.rfind(b"OggS")
    page = tail[last:] if last >= 0 else b""
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if not segments or not page[5] & 4 or len(page) < 27 + page[26] + sum(segments):
        raise ClipError("truncated")
    before = tail.rfind(b"OggS", 0, last)
    if before < 0 or len({head[14:18], tail[before + 14 : before + 18], tail[last + 14 : last + 18]}) > 1:
        return 0  # several streams: their counts of samples begin anew
    return max(0, int.from_bytes(tail[before + 6 : before + 14], "little", signed=True))


__all__ = ["check_mp3_end", "check_ogg_end", "check_wav_end"]
