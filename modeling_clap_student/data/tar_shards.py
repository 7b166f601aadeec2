"""Tar archives of clips, such as WebDataset's, read as they come.

datasets' own reader takes a name apart at its first dot, so that `id_30.000_40.000.wav` is no clip for it, refuses
archives of several formats, and parses the labels.
"""

import glob
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path

import fsspec
from datasets import IterableDataset

from ..errors import InputError
from ..redaction_clap_student import without_secrets
from .captions import caption_key
from .sources import TAR_SUFFIXES, Source
from .tables import AUDIO_SUFFIXES, ENCODED_CLIPS, ENCODED_PAIRS


_TEXTS = ("caption", "captions", "text", "texts")  # of a json beside a clip


def read_tar_shards(source: Source) -> IterableDataset:
    """The audio files, each archive a shard; their other members are not read.

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
        for member, content in _members(shard, name, AUDIO_SUFFIXES):
            yield _clip(member, content, name, source)


def _pairs(shards: list[str], names: list[str], source: str, field: str | None) -> Iterator[dict]:
    for shard, name in zip(shards, names, strict=True):
        members = _members(shard, name, {*AUDIO_SUFFIXES, ".txt", ".json"})
        for _, sample in groupby(members, lambda member: posixpath.splitext(member[0])[0]):
            clips, captions = [], []
            for member, content in sample:
                if content is None or _is_audio(member):
                    clips.append(_clip(member, content, name, source))
                else:
                    captions += _captions(member, content, field)
            for clip in clips:
                yield from ({**clip, "caption": text, "caption_id": caption_key(text)} for text in captions or [""])


def _members(shard: str, name: str, suffixes: set[str]) -> Iterator[tuple[str, bytes | None]]:
    """(name, content) of an archive's files of some suffixes; (why, None) where it is broken."""
    last = "its beginning"
    try:
        with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                base = posixpath.basename(member.name)
                if member.isfile() and not base.startswith(".") and _suffix(base) in suffixes:
                    yield member.name, archive.extractfile(member).read()
                    last = member.name
    except (tarfile.TarError, EOFError, OSError) as error:
        yield without_secrets(f"{name} broken after {last}: {error}"), None


def _clip(member: str, content: bytes | None, name: str, source: str) -> dict:
    broken = content is None
    audio = None if broken else {"bytes": content, "path": posixpath.basename(member)}
    audio_id = member if broken else f"{name}/{member}"
    return {"audio": audio, "audio_id": audio_id, "source": source, "origin_id": None}


def _captions(member: str, content: bytes, field: str | None) -> list[str]:
    """The texts of a member; none where it is not what its name says, as of a clip without any."""
    try:
        if _suffix(member) == ".txt":
            return [" ".join(content.decode("utf-8-sig").split())]
        told = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return []
    fields = told if isinstance(told, dict) else {}
    texts = next((fields[key] for key in ((field,) if field else _TEXTS) if fields.get(key)), [])
    return [
        " ".join(text.split()) for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)
    ]


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_audio(name: str) -> bool:
    return _suffix(name) in AUDIO_SUFFIXES


__all__ = ["expand_braces", "find_shards", "read_captioned_tar_shards", "read_tar_shards"]
