"""MACS (Martín-Morató and Mesaros 2021): scenes of TAU Urban Acoustic Scenes 2019 with two to five captions each."""

import yaml
from datasets import Dataset

from ...errors import InputError
from ...utils.arguments import load_yaml
from ..files import audio_under, same_name
from ..sources import Source
from ..tables import captioned_table
from .corpus import Corpus


# It makes texts, lists and dicts and nothing else: the sentence `no` stays a text, and no tag runs code. libyaml's
# loader is faster, where it exists.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def _pairs(source: Source) -> Dataset:
    path = source.path / "MACS.yaml"
    try:
        clips = load_yaml(path.read_text(encoding="utf-8-sig"), _LOADER)["files"]
        pairs = [(clip["filename"], note["sentence"]) for clip in clips for note in clip["annotations"]]
        if not all(isinstance(name, str) for name, _ in pairs):
            raise TypeError("a filename is no text")
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is not laid out as files: filename, annotations: sentence: {reason}") from error
    files = {same_name(file.name): file for file in audio_under(source.path)}
    names = [name for name, _ in pairs]
    audio = [files.get(same_name(name)) for name in names]
    return captioned_table(source, audio, names, [sentence for _, sentence in pairs])


MACS = Corpus(
    name="macs",
    title="MACS",
    layout="MACS.yaml; the audio of TAU Urban Acoustic Scenes 2019 (development) anywhere below, "
    "as TAU-urban-acoustic-scenes-2019-development/audio/*.wav",
    size="3930 clips of 10 s, 11 h, 17275 captions",
    address="https://zenodo.org/records/5114771, audio https://zenodo.org/records/2589280",
    markers=("MACS.yaml",),
    captioned=_pairs,
)
