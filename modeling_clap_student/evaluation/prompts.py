"""What stands for a class in text: its name in one or several sentences, or descriptions of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ..curation.selection import PROMPT
from ..data.captions import LONGEST_TEXT, TOO_LONG, label_text
from ..data.metadata import load_yaml, read_rows
from ..data.tables import is_unicode
from ..embedding import embed_texts
from ..errors import InputError


PLACE = "{}"


@dataclass(frozen=True)
class Prompts:
    """How class names become texts.

    Attributes:
        templates: sentences with `{}` where the name goes.
        descriptions: class name -> what takes the name's place; None where the names stand for themselves.
    """

    templates: tuple[str, ...] = (PROMPT + PLACE,)
    descriptions: dict[str, list[str]] | None = None

    def __post_init__(self):
        if wrong := [template for template in self.templates if PLACE not in template]:
            raise InputError(f"--prompt {wrong[0]!r} has no {{}} where the class name goes: 'the sound of {{}}'")

    def check(self, class_names: set[str]) -> None:
        """Raises an InputError unless the descriptions are of these classes, all of them and no others."""
        if self.descriptions is None:
            return
        for names, what in (
            (self.descriptions.keys() - class_names, "describes classes that no task has"),
            (class_names - self.descriptions.keys(), "does not describe all classes; missing are"),
        ):
            if names:
                raise InputError(f"--class_descriptions {what}: {', '.join(sorted(names))}")

    def texts(self, class_name: str) -> list[str]:
        """All that stands for a class."""
        names = [class_name] if self.descriptions is None else self.descriptions[class_name]
        return [template.replace(PLACE, name) for template in self.templates for name in names]


def embed_classes(model, processor, class_names: list[str], prompts: Prompts) -> np.ndarray:
    """Embeds each class: the mean of its texts' unit vectors, made one again.

    Returns:
        (classes, dim) float32 unit vectors.

    Source: Radford et al. 2021, arXiv 2103.00020, section 3.1.4 (prompt ensembles in the embedding space).
    """
    texts = [prompts.texts(name) for name in class_names]
    embeds = embed_texts(model, processor, [text for some in texts for text in some])
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    sums = np.add.reduceat(embeds, starts)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def read_descriptions(path: str | Path) -> dict[str, list[str]]:
    """Reads what describes each class.

    Args:
        path: a .yaml or .json file with a mapping from class names to a text or a list of texts; or a .csv with the
            columns `label` and `description`, a row a text.

    Returns:
        class name as words -> its texts, at least one.

    Raises:
        InputError: a file that can't be read, or is laid out otherwise.
    """
    path = Path(path)
    pairs = _read_csv(path) if path.suffix == ".csv" else _read_mapping(path)
    described: dict[str, list[str]] = {}
    for name, texts in pairs:
        described.setdefault(label_text(name), []).extend(texts)
    return described


def _read_csv(path: Path) -> list[tuple[str, list[str]]]:
    rows = read_rows(path, "label", "description")
    return [_checked(path, row["label"], row["description"]) for row in rows]


def _read_mapping(path: Path) -> list[tuple[str, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        # It makes texts, lists and dicts and nothing else: a class `no` stays a text.
        content = json.loads(text) if path.suffix == ".json" else load_yaml(text, yaml.BaseLoader)
    except OSError as error:
        raise InputError(f"can't read --class_descriptions {path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is malformed: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds no mapping: it takes lines such as `dog: [a dog barks, a puppy]`")
    return [_checked(path, name, texts) for name, texts in content.items()]


def _checked(path: Path, name: str, texts: object) -> tuple[str, list[str]]:
    texts = texts if isinstance(texts, list) else [texts]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{path}: {name!r} needs a text, or a list of texts, none of them blank")
    for text in (name, *texts):
        if not is_unicode(text) or len(text) > LONGEST_TEXT:
            raise InputError(f"{path}: {ascii(text)[:80]} is no Unicode text, or {TOO_LONG}")
    return name, texts


__all__ = ["Prompts", "embed_classes", "read_descriptions"]
