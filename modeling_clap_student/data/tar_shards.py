"""Tar archives of clips, such as WebDataset's, read as they come.

datasets' own reader takes a name apart at its first dot, so that `id_30.000_40.000.wav` is no clip for it, refuses
archives of several formats, and parses the labels.
"""

import glob
import json
import lzma
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path

import fsspec
from datasets import IterableDataset

from ..errors import InputError
from ..redaction_clap_student import without_secrets
from .captions import caption_key
from .recordings import origin_of
from .sources import TAR_SUFFIXES, Source
from .tables import AUDIO_SUFFIXES, ENCODED_CLIPS, ENCODED_PAIRS, is_unicode, refused


# Bytes of a file in an archive: 25 minutes of stereo at 44.1 kHz in 16 bits, and a text. A few megabytes can unpack to
# any size, and what is read of an archive is in memory.
LARGEST_CLIP, LARGEST_TEXT = 2**28, 2**20
# Bytes that are unpacked for nothing, before an archive is given up that unpacks to so many times its size.
MOST_PASSED_OVER, _LARGEST_RATIO = 2**32, 10
_PIECE = 2**20
_LONGEST_NAME = 4096

_TEXTS = ("caption", "captions", "text", "texts")  # of a json beside a clip


def read_tar_shards(source: Source) -> IterableDataset:
    """The audio files, each archive a shard; of their other members a json beside a clip may tell its recording.

    Raises:
        InputError: no archive, or one that is missing.
    """
    return IterableDataset.from_generator(_clips, features=ENCODED_CLIPS, gen_kwargs=_shards(source))


def read_captioned_tar_shards(source: Source) -> IterableDataset:
    """The audio files with the captions beside them: `x.flac` and, next in the archive, `x.txt` or `x.json`.

    In a json the field that was named as `#caption=FIELD` counts, or `caption`, `captions`, `text`, `texts`; a list
    makes a pair of each of its texts. A clip without any text makes a pair without one, which gets listed.

    Raises:
        InputError: no archive, or one that is missing.
    """
    field = {"field": source.column("caption")}
    return IterableDataset.from_generator(_pairs, features=ENCODED_PAIRS, gen_kwargs=_shards(source) | field)


def _shards(source: Source) -> dict:
    if source.column("audio"):
        raise InputError(
            f"{source.spec}: tar archives have no column of audio; #caption=FIELD names a field of a json"
        )
    shards = find_shards(str(source.path))
    names = [posixpath.basename(shard) for shard in shards]
    where = names if len(set(names)) == len(names) else map(without_secrets, shards)
    folder = Path(without_secrets(str(source.path)))
    name = source.label or (folder.name if folder.is_dir() else folder.parent.name or source.layout)
    return {"shards": shards, "names": [f"{name}/{place}" for place in where], "source": name}


def find_shards(place: str) -> list[str]:
    """The archives that a folder, a file, a glob, a pattern `x-{000..099}.tar` or an address stands for, in order."""
    if Path(place).is_dir():
        found = sorted(str(file) for file in Path(place).rglob("*") if file.name.endswith(TAR_SUFFIXES))
    else:
        found = [file for part in expand_braces(place) for file in _glob(part)]
    if not found:
        raise InputError(f"{place} stands for no tar archive ({' '.join(TAR_SUFFIXES)})")
    if missing := next((file for file in found if "://" not in file and not Path(file).is_file()), None):
        raise InputError(f"no such archive: {missing}")
    return found


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` -> a-00.tar a-01.tar a-02.tar; `{a,b}.tar` -> a.tar b.tar."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if place % 2 == 0 else _choices(piece) for place, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        first, last = numbers.groups()
        return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return inside.split(",")


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern)) if glob.has_magic(pattern) and "://" not in pattern else [pattern]


def _clips(shards: list[str], names: list[str], source: str) -> Iterator[dict]:
    """The clips of some archives, in their order; a broken archive ends in a row without audio, which gets listed."""
    for shard, name in zip(shards, names, strict=True):
        for clips, beside in _samples(_members(shard, name, {*AUDIO_SUFFIXES, ".json"})):
            yield from (_clip(member, name, source, beside) for member in clips)


def _pairs(shards: list[str], names: list[str], source: str, field: str | None) -> Iterator[dict]:
    for shard, name in zip(shards, names, strict=True):
        for clips, beside in _samples(_members(shard, name, {*AUDIO_SUFFIXES, ".txt", ".json"})):
            captions = [text for member in beside for text in _captions(member, field)]
            fault = "" if captions else next((f"its text is {m.fault} ({m.name})" for m in beside if m.fault), "")
            for member in clips:
                clip = _clip(replace(member, content=None, fault=fault) if fault else member, name, source, beside)
                yield from ({**clip, "caption": text, "caption_id": caption_key(text)} for text in captions or [""])


@dataclass(frozen=True)
class _Member:
    """A file of an archive: its content, or why that is not read; no name where the archive itself is at fault."""

    name: str | None
    content: bytes | None
    fault: str = ""


def _samples(members: Iterator[_Member]) -> Iterator[tuple[list[_Member], list[_Member]]]:
    """(clips, texts) that lie side by side under one name; no more of them than one clip may be large."""
    for _, sample in groupby(members, lambda member: member.name and posixpath.splitext(member.name)[0]):
        clips, beside, held = [], [], 0
        for member in sample:
            if member.name and not _is_audio(member.name):
                beside.append(member)
                continue
            held += len(member.content or b"")
            if clips and held > LARGEST_CLIP:
                yield clips, beside
                clips, held = [], len(member.content or b"")
            clips.append(member)
        yield clips, beside


class _Header(tarfile.TarInfo):
    """A member's header. Names, attributes and maps of holes may stand in headers of their own, read whole."""

    _LISTS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
              tarfile.GNUTYPE_LONGLINK)  # fmt: skip

    def _proc_member(self, archive):
        if self.type in self._LISTS and self.size > LARGEST_TEXT:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)

    def _proc_gnusparse_10(self, *_):
        raise tarfile.ReadError("a file with holes")


def _members(shard: str, name: str, suffixes: set[str]) -> Iterator[_Member]:
    """An archive's files of some suffixes, one in memory at a time, and what is at fault with one, or with it."""
    last, passed = "its beginning", 0
    try:
        with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # tarfile remembers every member of a stream otherwise
                member_name = member.name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
                base = posixpath.basename(member_name)
                wanted = _suffix(base) in suffixes and not base.startswith(".") and not member.isdir()
                fault = _fault(member) if wanted else ""
                if wanted:
                    yield _Member(member_name, None if fault else archive.extractfile(member).read(), fault)
                for size in _passed_over(archive, member) if fault or not wanted else ():
                    passed += size
                    if passed > max(MOST_PASSED_OVER, _LARGEST_RATIO * file.tell()):
                        raise tarfile.ReadError(f"it unpacks to more than {passed} bytes that are no clips")
                last = member_name
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        yield _Member(None, None, without_secrets(f"{name} broken after {last}: {error}"))


def _passed_over(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[int]:
    """The bytes of a file that is not read, piece by piece as they are unpacked."""
    yield tarfile.BLOCKSIZE
    if member.isreg() and not member.issparse():
        content = archive.extractfile(member)
        while piece := content.read(_PIECE):
            yield len(piece)


def _fault(member: tarfile.TarInfo) -> str:
    """Why a file of an archive is not read; empty where it is."""
    if not member.isreg():
        return "a link or a device in an archive, not a file"
    most = LARGEST_CLIP if _is_audio(member.name) else LARGEST_TEXT
    return f"too large: {member.size} bytes in an archive, and {most} are read" if member.size > most else ""


def _clip(member: _Member, name: str, source: str, beside: list[_Member]) -> dict:
    if member.name is None:
        return {"audio": None, "audio_id": member.fault, "source": source, "origin_id": None}
    audio = {"bytes": member.content, "path": posixpath.basename(member.name)}
    if member.content is None:
        audio = refused(f"{member.fault} ({member.name})")
    origin = next(filter(None, (origin_of(_fields(text)) for text in beside)), None)
    return {"audio": audio, "audio_id": f"{name}/{member.name}", "source": source, "origin_id": origin}


def _fields(member: _Member) -> dict:
    """The fields of a json beside a clip; none where it is something else."""
    try:
        content = json.loads((member.content or b"").decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _captions(member: _Member, field: str | None) -> list[str]:
    """The texts of a member; none where it is not what its name says, as of a clip without any."""
    if _suffix(member.name) == ".txt":
        try:
            texts = [(member.content or b"").decode("utf-8-sig")]
        except UnicodeDecodeError:
            return []
    else:
        fields = _fields(member)
        texts = next((fields[key] for key in ((field,) if field else _TEXTS) if fields.get(key)), [])
    texts = [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]
    return [" ".join(text.split()) for text in texts if text.strip() and is_unicode(text)]


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_audio(name: str) -> bool:
    return _suffix(name) in AUDIO_SUFFIXES
