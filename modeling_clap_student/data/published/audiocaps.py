"""AudioCaps (Kim et al. 2019): ten-second clips of AudioSet with captions. Users download the audio themselves."""

import re
from pathlib import Path

from datasets import Dataset

from ..files import audio_under
from ..identity import recording
from ..sources import Source
from ..tables import captioned_table
from ..texts import read_rows
from .corpus import Corpus, first_there


PARTS = ("train", "val", "test")

# `ID`, `ID_30`, `ID_30.000_40.000`, `ID_30000_40000`, with or without a Y before it, as in PANNs' copy of AudioSet. An
# id has 11 characters, which may be - and _. So a name can't be split at a _.
_CLIP = re.compile(r"Y?([\w-]{11})(_[\d.]+([_-][\d.]+)?)?", re.ASCII)


def _places(part: str) -> tuple[str, ...]:
    return f"{part}.csv", f"audiocaps_{part}.csv", f"dataset/{part}.csv"


def _list(source: Source, part: str) -> Path:
    places = [source.path / place for place in _places(part)]
    return first_there(places, "audiocaps:test=PATH")


def _files(folder: Path) -> dict[str, Path]:
    """Files by YouTube id (AudioSet has one clip per video), or by name for files named after the caption's id."""
    files = {}
    for file in audio_under(folder):
        clip = _CLIP.fullmatch(file.stem)
        files.setdefault(clip[1] if clip else file.stem, file)
    return files


def _pairs(source: Source) -> Dataset:
    rows = []
    for part in source.choose(PARTS, default=("train",)):
        rows += read_rows(_list(source, part), "audiocap_id", "youtube_id", "caption")
    files = _files(source.path)
    ids = [row["youtube_id"] for row in rows]
    audio = [files.get(row["youtube_id"], files.get(row["audiocap_id"])) for row in rows]
    origins = [recording("youtube", name) for name in ids]
    return captioned_table(source, audio, ids, [row["caption"] for row in rows], origins)


AUDIOCAPS = Corpus(
    name="audiocaps",
    title="AudioCaps",
    layout="train.csv val.csv test.csv, or audiocaps_train.csv …; audio anywhere below: YOUTUBEID[_START[_END]].wav "
    "(or .flac .ogg .mp3), perhaps after a Y, or AUDIOCAPID.wav",
    size="51308 clips of 10 s, 143 h; train 49838 with a caption each, val 495 and test 975 with 5",
    address="https://github.com/cdjkim/audiocaps",
    markers=tuple(place for part in PARTS for place in _places(part)),
    header="audiocap_id,youtube_id",
    parts="train (the default), val, test (the default to evaluate on)",
    evaluation_parts=("test",),
    captioned=_pairs,
)
