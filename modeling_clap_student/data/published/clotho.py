"""Clotho, versions 1 and 2 (Drossos et al. 2020): recordings of Freesound with five captions each.

Retrieval is usually scored on the evaluation split, and models are chosen by the validation split. Neither is read
unless it is named.
"""

from pathlib import Path

from datasets import Dataset

from ..files import same_name
from ..identity import recording
from ..sources import Source
from ..tables import captioned_table
from ..texts import read_rows
from .corpus import Corpus, first_there


PARTS = ("development", "validation", "evaluation")
CAPTIONS = [f"caption_{number}" for number in range(1, 6)]


def _list(source: Source, part: str) -> Path:
    name = f"clotho_captions_{part}.csv"
    places = [source.path / name, source.path / "clotho_csv_files" / name]
    return first_there(places, "clotho:evaluation=PATH")


def _audio_folder(source: Source, part: str) -> Path:
    # The archives hold a folder named after the part. Some tools unpack each into another folder of that name.
    own = f"clotho_audio_{part}"
    places = [source.path / place for place in (part, f"{own}/{part}", own, f"clotho_audio_files/{part}")]
    return next((place for place in places if place.is_dir()), places[0])


def _origins(captions: Path) -> dict[str, str | None]:
    """File name -> recording on Freesound, from the metadata beside the captions. Empty without that file."""
    path = captions.with_name(captions.name.replace("captions", "metadata"))
    if not path.exists():
        return {}
    rows = read_rows(path, "file_name", "sound_id", fallback="latin-1")  # version 2's is not UTF-8
    # Some of them say "Not found".
    return {same_name(row["file_name"]): recording("freesound", row["sound_id"]) for row in rows}


def _pairs(source: Source) -> Dataset:
    rows = []
    for part in source.choose(PARTS, default=("development",)):
        path, folder = _list(source, part), _audio_folder(source, part)
        recordings = _origins(path)
        for row in read_rows(path, "file_name", *CAPTIONS):
            name = row["file_name"]
            origin = recordings.get(same_name(name))
            rows += [(folder / name, f"{part}/{name}", row[column], origin) for column in CAPTIONS]
    return captioned_table(source, *zip(*rows, strict=True))


CLOTHO = Corpus(
    name="clotho",
    title="Clotho v1, v2",
    layout="development/*.wav … clotho_captions_development.csv … clotho_metadata_development.csv …",
    size="v2: 5929 clips of 15 to 30 s, 37 h, 5 captions each; development 3839, validation 1045, evaluation 1045; "
    "v1: 2893, none, 1045",
    address="https://zenodo.org/records/4783391",
    markers=tuple(f"{folder}clotho_captions_{part}.csv" for folder in ("", "clotho_csv_files/") for part in PARTS),
    parts="development (the default), validation, evaluation (the default to evaluate on)",
    evaluation_parts=("evaluation",),
    captioned=_pairs,
)
