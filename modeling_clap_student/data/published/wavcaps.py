"""WavCaps (Mei et al. 2023): clips from four sources. A language model turned their descriptions into captions.

It contains clips of AudioCaps, Clotho, ESC-50 and UrbanSound8K: see `origin_id`.
"""

from pathlib import Path
from types import NoneType

from datasets import Dataset

from ...errors import InputError
from ..files import audio_under
from ..identity import recording
from ..sources import Source
from ..tables import captioned_table
from ..texts import read_json
from .corpus import Corpus


PARTS = ("AudioSet_SL", "BBC_Sound_Effects", "FreeSound", "SoundBible")


def _entries(source: Source, part: str) -> list[dict]:
    folder = source.path / "json_files" / part
    # There may be an excerpt beside fsd_final.json: fsd_final_2s.json.
    path = next(iter(sorted(folder.glob("*_final.json"))), folder / "*_final.json")
    content = read_json(path)
    entries = content.get("data") if isinstance(content, dict) else content  # SoundBible's was once a bare list
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise InputError(f'{path} is not laid out as {{"data": [{{"id": …, "caption": …}}, …]}}')
    return entries


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and "caption" in entry
        and isinstance(entry.get("id"), (str, int))
        and isinstance(entry["caption"], (str, list, NoneType))
    )


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """Files by part and name. The archives unpack to `…/waveforms/FreeSound_flac`, and most users move the files. One
    id may mean different sounds in FreeSound and SoundBible, so a folder must name the source."""
    files = {}
    for file in audio_under(folder):
        parents = [name.removesuffix("_flac") for name in file.relative_to(folder).parts[:-1]]
        part = next((name for name in reversed(parents) if name in PARTS), None)
        if part:
            files[part, file.stem] = file
    return files


def _pairs(source: Source) -> Dataset:
    files = _files(source.path)
    audio, ids, captions, origins = [], [], [], []
    for part in source.choose(PARTS, default=PARTS):
        for entry in _entries(source, part):
            name = str(entry["id"]).removesuffix(".wav")  # AudioSet's ids end in .wav; the files are .flac now
            texts = entry["caption"] if isinstance(entry["caption"], list) else [entry["caption"]]
            audio += [files.get((part, name))] * len(texts)
            ids += [f"{part}/{name}"] * len(texts)
            captions += texts
            site = {"FreeSound": "freesound", "AudioSet_SL": "youtube"}.get(part)
            origins += [recording(site, name) if site else None] * len(texts)
    return captioned_table(source, audio, ids, captions, origins)


WAVCAPS = Corpus(
    name="wavcaps",
    title="WavCaps",
    layout="json_files/AudioSet_SL/as_final.json …; audio anywhere below a folder AudioSet_SL or AudioSet_SL_flac …",
    size="403050 clips of 68 s on average, 7568 h, a caption each; AudioSet_SL 108317, BBC_Sound_Effects 31201, "
    "FreeSound 262300, SoundBible 1232",
    address="https://huggingface.co/datasets/cvssp/WavCaps",
    markers=tuple(f"json_files/{part}" for part in PARTS),
    parts="AudioSet_SL, BBC_Sound_Effects, FreeSound, SoundBible (all by default)",
    captioned=_pairs,
)
