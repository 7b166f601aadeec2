"""Data that is read as it comes, not held and not copied: Hub datasets, Parquet and Arrow files, tar archives.

A stream has the columns of a pool, `POOL_COLUMNS`, or of captioned clips, `CAPTION_COLUMNS`, with the encoded bytes of
each clip in `audio`.
"""

import glob
import hashlib
import json
import lzma
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path

import fsspec
from datasets import Audio, Dataset, IterableDataset, Value, concatenate_datasets, load_dataset, load_from_disk

from ..errors import ClipError, InputError
from ..redaction_clap_student import without_secrets
from .decoding import as_encoded
from .files import OUTSIDE, allowed_folders, is_outside
from .identity import ORIGIN_COLUMNS, origin_of
from .sources import TAR_SUFFIXES, Source, caption_columns, find_column, split_revision
from .tables import AUDIO_SUFFIXES, ENCODED, ENCODED_CLIPS, ENCODED_PAIRS, first_line, is_unicode, refuse
from .texts import caption_key, texts_in


_SHARDS = 64  # shards of a table that is read as a stream
_AT_ONCE = 16  # clips in memory while their captions become pairs


def read_stream(source: Source, captioned: bool = False) -> IterableDataset:
    """A Hub dataset, or a folder of Parquet or Arrow files, as a pool, or as one pair for each caption of a clip."""
    streams = [_open(source, split) for split in source.parts or ("train",)]
    return concatenate_datasets([with_our_columns(source, stream, captioned) for stream in streams])


def _open(source: Source, split: str) -> IterableDataset:
    name, revision = split_revision(source.path)
    try:
        if any((Path(name) / file).exists() for file in ("state.json", "dataset_dict.json")):
            table = load_from_disk(name)
            return _shard(table[split] if isinstance(table, dict) else table)
        return load_dataset(name, split=split, revision=revision, streaming=True)
    except Exception as error:  # load_dataset raises a dozen unrelated types
        raise InputError(f"can't stream {source.path}: {first_line(error)}") from error


def _shard(table: Dataset) -> IterableDataset:
    return table.to_iterable_dataset(num_shards=max(1, min(_SHARDS, len(table))))


def as_stream(table: Dataset) -> IterableDataset:
    """A table of a pool or of pairs as a stream, to join it with other streams."""
    features = ENCODED_PAIRS if "caption" in table.column_names else ENCODED_CLIPS
    if "origin_id" not in table.column_names:
        table = table.add_column("origin_id", [None] * len(table), feature=Value("string"))
    return _shard(table.select_columns(list(features)).cast(features))


def join(parts: list[Dataset | IterableDataset]) -> Dataset | IterableDataset:
    """One table of all parts, or one stream if one of them is a stream."""
    if any(isinstance(part, IterableDataset) for part in parts):
        parts = [as_stream(part) if isinstance(part, Dataset) else part for part in parts]
    return concatenate_datasets(parts)


def with_our_columns(source: Source, stream: IterableDataset, captioned: bool) -> IterableDataset:
    """A stream of any columns as a pool, or as pairs of a clip and a caption."""
    columns = stream.features or dict.fromkeys(next(iter(stream), {}))  # a generator may name them only in its rows
    usual = ["audio", *(name for name, feature in columns.items() if isinstance(feature, Audio))]
    audio = find_column(source, source.spec, columns, "audio", *usual)
    captions = caption_columns(source, source.spec, columns) if captioned else None
    useful = {audio, *(captions or ()), "audio_id", "source", "__key__", "__url__", *ORIGIN_COLUMNS}
    useful = [name for name in columns if name in useful]
    features = ENCODED_PAIRS if captioned else ENCODED_CLIPS
    stream = stream.cast_column(audio, ENCODED) if isinstance(columns[audio], Audio) else stream
    return stream.select_columns(useful).map(
        _as_rows,
        batched=True,
        batch_size=_AT_ONCE,
        features=features,
        remove_columns=[name for name in useful if name not in features],
        fn_kwargs={"audio": audio, "captions": captions, "name": source.name, "roots": allowed_folders(source)},
    )


def _as_rows(
    columns: dict[str, list], audio: str, captions: list[str] | None, name: str, roots: tuple[str, ...] | None
) -> dict[str, list]:
    """A few rows in our columns. A clip with several captions becomes several rows. One without any becomes one
    row."""
    rows = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        clip = _as_clip(row, row[audio], name, roots)
        if captions is None:
            rows.append(clip)
        else:
            rows += _caption(clip, filter(None, texts_in(row[column] for column in captions)))
    names = ENCODED_CLIPS if captions is None else ENCODED_PAIRS
    return {column: [row[column] for row in rows] for column in names}


def _caption(clip: dict, texts: Iterable) -> list[dict]:
    """A pair for each caption of a clip. A clip without captions gives a pair without words, which gets listed."""
    captions = [" ".join(str(text).split()) for text in texts] or [""]
    return [{**clip, "caption": caption, "caption_id": caption_key(caption)} for caption in captions]


def _as_clip(row: dict, audio: object, name: str, roots: tuple[str, ...] | None) -> dict:
    try:
        audio = as_encoded(audio)
    except ClipError as error:
        raise InputError(f"{name}: a clip {error}") from error
    content, path = (audio or {}).get("bytes"), (audio or {}).get("path")
    if row.get("audio_id"):
        audio_id = row["audio_id"]
    elif "__key__" in row:  # a Hub dataset of tar shards
        audio_id = f"{name}/{posixpath.basename(row['__url__'])}/{row['__key__']}"
    else:
        # The row number is unknown where each process reads other shards. Equal bytes are one clip.
        identity = content if content is not None else str(path).encode()
        audio_id = f"{name}/{hashlib.blake2b(identity, digest_size=12).hexdigest()}"
    if path and content is None and roots is not None and is_outside(path, roots):
        audio = refuse(f"{OUTSIDE}: {path}")
    return {"audio": audio, "audio_id": audio_id, "source": row.get("source") or name, "origin_id": origin_of(row)}


# Tar archives, such as WebDataset's. datasets' own reader splits a name at its first dot, so `id_30.000_40.000.wav` is
# no clip for it. It also refuses archives with several formats, and parses the labels.
# Largest file read from an archive, bytes: 25 minutes of stereo at 44.1 kHz in 16 bits, and a text. A few megabytes
# can unpack to any size, and files of an archive are read into memory.
LARGEST_CLIP, LARGEST_TEXT = 2**28, 2**20
# Bytes that may be unpacked without use, before an archive is given up that unpacks to so many times its size.
MOST_PASSED_OVER, _LARGEST_RATIO = 2**32, 10
_PIECE = 2**20
_LONGEST_NAME = 4096

_TEXTS = ("caption", "captions", "text", "texts")  # fields of a json beside a clip


def read_tar_shards(source: Source) -> IterableDataset:
    """The audio files; each archive is a shard. A json beside a clip may name its recording."""
    return IterableDataset.from_generator(_clips, features=ENCODED_CLIPS, gen_kwargs=_shards(source))


def read_captioned_tar_shards(source: Source) -> IterableDataset:
    """The audio files with the captions beside them: `x.flac` and, next in the archive, `x.txt` or `x.json`.

    The caption is the json's field that was named as `#caption=FIELD`, or `caption`, `captions`, `text`, `texts`. A
    list makes one pair per text. A clip without text makes a pair without text, which gets listed.
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
    if len(set(names)) < len(names):
        names = map(without_secrets, shards)
    folder = Path(without_secrets(str(source.path)))
    name = source.label or (folder.name if folder.is_dir() else folder.parent.name or source.layout)
    return {"shards": shards, "names": [f"{name}/{shard}" for shard in names], "source": name}


def find_shards(place: str) -> list[str]:
    """The archives that a folder, a file, a glob, a pattern `x-{000..099}.tar` or an address means, in order."""
    if Path(place).is_dir():
        archives = sorted(str(file) for file in Path(place).rglob("*") if file.name.endswith(TAR_SUFFIXES))
    else:
        archives = []
        for pattern in expand_braces(place):
            is_glob = glob.has_magic(pattern) and "://" not in pattern
            archives += sorted(glob.glob(pattern)) if is_glob else [pattern]
    if not archives:
        raise InputError(f"{place} stands for no tar archive ({' '.join(TAR_SUFFIXES)})")
    if missing := next((file for file in archives if "://" not in file and not Path(file).is_file()), None):
        raise InputError(f"no such archive: {missing}")
    return archives


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` -> a-00.tar a-01.tar a-02.tar; `{a,b}.tar` -> a.tar b.tar."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if place % 2 == 0 else _choices(piece) for place, piece in enumerate(pieces)]
    return ["".join(combination) for combination in product(*choices)]


def _choices(alternatives: str) -> list[str]:
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", alternatives):
        first, last = numbers.groups()
        return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return alternatives.split(",")


def _clips(shards: list[str], names: list[str], source: str) -> Iterator[dict]:
    """The clips of some archives, in order. A broken archive ends in a row without audio, which gets listed."""
    for shard, name in zip(shards, names, strict=True):
        for clips, beside in _samples(_members(shard, name, {*AUDIO_SUFFIXES, ".json"})):
            yield from (_clip(member, name, source, beside) for member in clips)


def _pairs(shards: list[str], names: list[str], source: str, field: str | None) -> Iterator[dict]:
    for shard, name in zip(shards, names, strict=True):
        for clips, beside in _samples(_members(shard, name, {*AUDIO_SUFFIXES, ".txt", ".json"})):
            captions = [text for member in beside for text in _captions(member, field)]
            fault = "" if captions else next((f"its text is {m.fault} ({m.name})" for m in beside if m.fault), "")
            for member in clips:
                member = replace(member, content=None, fault=fault) if fault else member
                yield from _caption(_clip(member, name, source, beside), captions)


@dataclass(frozen=True)
class _Member:
    """A file of an archive: its content, or why it is not read. It has no name if the archive itself is faulty."""

    name: str | None
    content: bytes | None
    fault: str = ""


def _samples(members: Iterator[_Member]) -> Iterator[tuple[list[_Member], list[_Member]]]:
    """(clips, texts) that lie side by side under one name, up to the size limit of one clip."""
    for _, sample in groupby(members, lambda member: member.name and posixpath.splitext(member.name)[0]):
        clips, beside, size = [], [], 0
        for member in sample:
            if member.name and not _is_audio(member.name):
                beside.append(member)
                continue
            size += len(member.content or b"")
            if clips and size > LARGEST_CLIP:
                yield clips, beside
                clips, size = [], len(member.content or b"")
            clips.append(member)
        yield clips, beside


class _Header(tarfile.TarInfo):
    """A member's header. tarfile reads headers that hold long names, attributes or maps of holes whole."""

    _LISTS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
              tarfile.GNUTYPE_LONGLINK)  # fmt: skip

    def _proc_member(self, archive):
        if self.type in self._LISTS and self.size > LARGEST_TEXT:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)

    def _proc_gnusparse_10(self, *_):
        raise tarfile.ReadError("a file with holes")


def _members(shard: str, name: str, suffixes: set[str]) -> Iterator[_Member]:
    """An archive's files with some suffixes, one in memory at a time, and any fault of a file or of the archive."""
    last, wasted = "its beginning", 0
    try:
        with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # otherwise tarfile remembers every member of a stream
                member_name = member.name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
                base = posixpath.basename(member_name)
                is_read = _suffix(base) in suffixes and not base.startswith(".") and not member.isdir()
                fault = _fault(member) if is_read else ""
                if is_read:
                    yield _Member(member_name, None if fault else archive.extractfile(member).read(), fault)
                for size in _passed_over(archive, member) if fault or not is_read else ():
                    wasted += size
                    if wasted > max(MOST_PASSED_OVER, _LARGEST_RATIO * file.tell()):
                        raise tarfile.ReadError(f"it unpacks to more than {wasted} bytes that are no clips")
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
    """Why a file of an archive is not read; empty if it is read."""
    if not member.isreg():
        return "a link or a device in an archive, not a file"
    limit = LARGEST_CLIP if _is_audio(member.name) else LARGEST_TEXT
    return f"too large: {member.size} bytes in an archive, and {limit} are read" if member.size > limit else ""


def _clip(member: _Member, name: str, source: str, beside: list[_Member]) -> dict:
    if member.name is None:
        return {"audio": None, "audio_id": member.fault, "source": source, "origin_id": None}
    audio = {"bytes": member.content, "path": posixpath.basename(member.name)}
    if member.content is None:
        audio = refuse(f"{member.fault} ({member.name})")
    origin = next(filter(None, (origin_of(_fields(text)) for text in beside)), None)
    return {"audio": audio, "audio_id": f"{name}/{member.name}", "source": source, "origin_id": origin}


def _fields(member: _Member) -> dict:
    """The fields of a json beside a clip; empty if it is no json object."""
    try:
        content = json.loads((member.content or b"").decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _captions(member: _Member, field: str | None) -> list[str]:
    """The texts of a member; empty if its content is not what its name says."""
    if _suffix(member.name) == ".txt":
        try:
            texts = [(member.content or b"").decode("utf-8-sig")]
        except UnicodeDecodeError:
            return []
    else:
        fields = _fields(member)
        texts = next((fields[key] for key in ((field,) if field else _TEXTS) if fields.get(key)), [])
    texts = [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]
    return [text for text in texts if text.strip() and is_unicode(text)]


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_audio(name: str) -> bool:
    return _suffix(name) in AUDIO_SUFFIXES
