"""AudioSet (Gemmeke et al. 2017): 2.1 million 10-s cuts of YouTube videos. A pool: its labels are never read.

Nobody publishes the audio. Everyone downloads it, under various names. The segments csv says which video belongs to
which part. A file is recognised by the 11 characters of its video, whatever else the download program writes:

    --PJHxphWEs.wav   Y--PJHxphWEs.wav   --PJHxphWEs_30.wav   --PJHxphWEs_30.000_40.000.ogg
    --PJHxphWEs_30.0-40.0.ogg            --PJHxphWEs_30000_40000.flac
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ...errors import InputError
from ..files import as_strings, list_audio
from ..filters import first_of_each
from ..sources import Source
from ..tables import clip_table
from .corpus import Corpus


# The folders in which a part's audio lies, where it has its own folder.
_PART_FOLDERS = {
    "unbalanced_train": ("unbalanced_train", "unbalanced_train_segments", "unbal_train"),
    "balanced_train": ("balanced_train", "balanced_train_segments", "bal_train"),
    "eval": ("eval", "eval_segments"),
}
_CSV_FOLDERS = (".", "metadata", "csv", "segments", "data")

# A video, with or without a Y before it and one or two times after it. Ids may hold a _, so names can't be split at
# it.
_NAME = r"(?:^|/)Y?(?P<video>[A-Za-z0-9_-]{11})(?:_[0-9.]+(?:[_-][0-9.]+)?)?\.[A-Za-z0-9]+$"
_ROW = re.compile(rb'\s*"?([A-Za-z0-9_-]{11})"?\s*,')


def _clips(source: Source) -> Dataset:
    parts = source.choose(tuple(_PART_FOLDERS), default=("unbalanced_train",))
    foreign = {name for part, names in _PART_FOLDERS.items() if part not in parts for name in names}
    files = list_audio(source.path, enters=lambda folder: folder not in foreign)
    videos = pc.struct_field(pc.extract_regex(files, _NAME), "video")
    clips = pa.table({"file": files, "video": videos})
    clips = _select(source, clips, pc.is_valid(videos), "not named after a video")
    clips = _select_parts(source, clips, parts)
    clips = _select(source, clips, first_of_each(clips["video"].combine_chunks()), "another file of the same video")
    audio = pc.binary_join_element_wise(str(source.path), clips["file"], "/")
    return clip_table(source, audio, clips["file"], pc.binary_join_element_wise("youtube", clips["video"], ":"))


def _select_parts(source: Source, clips: pa.Table, parts: tuple[str, ...]) -> pa.Table:
    """The files of the parts: those in the segments csv; without a csv, those in the parts' own folders.

    A file without a row belongs to another part, or to no known part. It must not be used. Otherwise clips of the
    evaluation part would slip into the pool from a folder that holds them all.
    """
    tables = {part: _segments(source.path, part) for part in parts}
    if all(tables.values()):
        rows = as_strings(video for table in tables.values() for video in _videos(table))
        listed_videos = pc.unique(rows)
        missing = listed_videos.filter(pc.invert(pc.is_in(listed_videos, value_set=clips["video"])))
        for reason, count, example in (
            ("a row of the csv that stands there twice", len(rows) - len(listed_videos), rows),
            ("a row of the csv without a file", len(missing), missing),
        ):
            source.exclusions.add(source.spec, reason, count, len(rows), example[0].as_py() if count else "")
        return _select(source, clips, pc.is_in(clips["video"], value_set=listed_videos), "not in the csv of the part")
    folders = "|".join(name for part in parts for name in _PART_FOLDERS[part])
    in_folder = pc.match_substring_regex(clips["file"], f"(^|/)({folders})/")
    if not pc.any(in_folder, min_count=0).as_py():
        part = next(part for part, table in tables.items() if table is None)
        raise InputError(f"{source.path} has neither {part}_segments.csv nor audio in a folder {part}")
    return _select(source, clips, in_folder, "not in the folder of the part")


def _select(source: Source, clips: pa.Table, mask: pa.Array, reason: str) -> pa.Table:
    excluded = clips.filter(pc.invert(mask))
    if len(excluded):
        source.exclusions.add(source.spec, reason, len(excluded), len(clips), excluded["file"][0].as_py())
    return clips.filter(mask)


def _segments(root: Path, part: str) -> Path | None:
    files = (root / folder / f"{part}_segments.csv" for folder in _CSV_FOLDERS)
    return next((file for file in files if file.is_file()), None)


def _videos(table: Path) -> Iterator[str]:
    """The first column of a segments csv, line by line. Nothing after it is kept, least of all the labels.

    Comments, and the header that some copies have, do not begin with 11 characters and a comma.
    """
    with open(table, "rb") as lines:
        for line in lines:
            if match := _ROW.match(line.removeprefix(b"\xef\xbb\xbf")):
                yield match[1].decode("ascii")


AUDIOSET = Corpus(
    name="audioset",
    title="AudioSet",
    layout="audio/unbalanced_train/*.wav unbalanced_train_segments.csv (the audio in any folders, the csv also in "
    "metadata/; files named YTID, YYTID, YTID_START, YTID_START_END)",
    size="unbalanced_train: 2041789 clips of 10 s; balanced_train: 22160; eval: 20371",
    address="https://research.google.com/audioset/download.html",
    markers=(
        *(str(Path(folder, f"{part}_segments.csv")) for folder in _CSV_FOLDERS for part in _PART_FOLDERS),
        *(f"{folder}{part}_segments" for folder in ("", "audio/", "audios/") for part in _PART_FOLDERS),
        *(f"{folder}{name}" for folder in ("", "audio/") for name in ("unbalanced_train", "unbal_train")),
    ),
    parts="unbalanced_train (the default), balanced_train, eval",
    pool=_clips,
    lists_clips=False,
)
