"""FSD50K (Fonseca et al. 2022): sounds of Freesound, with their authors' descriptions."""

from pathlib import Path

from datasets import Dataset

from ...errors import InputError
from ..identity import recording
from ..sources import Source
from ..tables import captioned_table
from ..texts import clean_title, read_json, read_rows, shorten, strip_html
from .corpus import Corpus


PARTS = ("train", "val", "dev", "eval")  # dev is train and val

# The model reads 100 tokens, some 70 words. After its first sentences, a description is mostly about the recorder, the
# licence and the author's other sounds.
MOST_WORDS = 60
_TEXTS = ("title", "description")
_NO_TEXTS = dict.fromkeys(_TEXTS, "")


def _caption(info: dict) -> str:
    """Title and description as one text, or only one of them where the other says nothing."""
    title = clean_title(strip_html(info["title"]))
    text = shorten(strip_html(info["description"]), MOST_WORDS)
    if title and text.lower().startswith(title):
        title = ""
    return ". ".join(part for part in (title, text) if part)


def _infos(path: Path) -> dict[str, dict[str, str]]:
    """Clip -> its title and description."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(info, dict) for info in content.values()):
        raise InputError(f'{path} is not laid out as {{"CLIP": {{"title": …, "description": …}}, …}}')
    infos = {name: {key: info.get(key) or "" for key in _TEXTS} for name, info in content.items()}
    for name, info in infos.items():
        if wrong := [key for key, text in info.items() if not isinstance(text, str)]:
            raise InputError(f"{path}: the {wrong[0]} of clip {name} is no text")
    return infos


def _names(source: Source, folder: str, splits: set[str]) -> list[str]:
    path = source.path / "FSD50K.ground_truth" / f"{folder}.csv"
    if folder == "eval":
        return [row["fname"] for row in read_rows(path, "fname")]
    return [row["fname"] for row in read_rows(path, "fname", "split") if row["split"] in splits]


def _pairs(source: Source) -> Dataset:
    parts = set(source.choose(PARTS, default=("dev",)))
    splits = {"train", "val"} if "dev" in parts else parts
    names, audio, captions = [], [], []
    for folder in ("dev", "eval"):
        if parts.isdisjoint(("eval",) if folder == "eval" else ("train", "val", "dev")):
            continue
        clips = _names(source, folder, splits)
        infos = _infos(source.path / "FSD50K.metadata" / f"{folder}_clips_info_FSD50K.json")
        names += clips
        audio += [source.path / f"FSD50K.{folder}_audio" / f"{name}.wav" for name in clips]
        captions += [_caption(infos.get(name, _NO_TEXTS)) for name in clips]
    return captioned_table(source, audio, names, captions, [recording("freesound", name) for name in names])


FSD50K = Corpus(
    name="fsd50k",
    title="FSD50K",
    layout="FSD50K.dev_audio/*.wav FSD50K.eval_audio/*.wav FSD50K.ground_truth/dev.csv … "
    "FSD50K.metadata/dev_clips_info_FSD50K.json …",
    size="51197 clips of 0.3 to 30 s, 108 h; dev 40966 (train 36796, val 4170), eval 10231; a text each",
    address="https://zenodo.org/records/4060432",
    markers=("FSD50K.ground_truth/dev.csv", "FSD50K.ground_truth/eval.csv"),
    parts="train, val, dev (both; the default), eval (the default to evaluate on)",
    evaluation_parts=("eval",),
    captioned=_pairs,
)
