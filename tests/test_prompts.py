"""What stands for a class: templates, their ensemble, descriptions."""

import json
from pathlib import Path

import numpy as np
import pytest

from modeling_clap_student.checkpoints.embedding import embed_texts
from modeling_clap_student.errors import InputError
from modeling_clap_student.evaluation.zero_shot import Prompts, embed_classes, read_descriptions


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_the_paper_s_prompt_is_the_default(tiny):
    """Guards against another sentence than that whose numbers are compared."""
    model, processor = tiny
    expected = embed_texts(model, processor, ["this is a sound of low hum", "this is a sound of tone"])
    assert embed_classes(model, processor, ["low hum", "tone"], Prompts()) == pytest.approx(expected, abs=1e-6)


def test_several_texts_are_averaged_as_unit_vectors(tiny):
    """Guards against averages over all classes, over tokens, or of vectors that are left shorter than 1."""
    model, processor = tiny
    prompts = Prompts(("a {}", "the sound of {}"), {"hum": ["hum", "low tone", "hiss"], "whistle": ["whistle"]})
    texts = {
        "hum": ["a hum", "a low tone", "a hiss", "the sound of hum", "the sound of low tone", "the sound of hiss"],
        "whistle": ["a whistle", "the sound of whistle"],
    }
    got = embed_classes(model, processor, ["hum", "whistle"], prompts)
    for row, some in zip(got, texts.values(), strict=True):
        assert row == pytest.approx(
            unit(np.mean([embed_texts(model, processor, [t])[0] for t in some], axis=0)), abs=1e-6
        )
    assert got.dtype == np.float32


def test_a_template_without_a_place_for_the_name():
    """Guards against one sentence for all classes, and an accuracy of the first class's share."""
    with pytest.raises(InputError, match=r"'a sound' has no \{\} where the class name goes"):
        Prompts(("the sound of {}", "a sound"))


DESCRIBED = {"dog": ["a dog barks", "puppy"], "sea waves": ["surf"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "dog: [a dog barks, puppy]\nsea_waves: surf\n"),
        ("c.yml", "dog:\n  - a dog barks\n  - puppy\nsea/waves:\n  - surf\n"),
        ("c.json", json.dumps({"dog": ["a dog barks", "puppy"], "sea_waves": "surf"})),
        ("c.csv", "label,description\ndog,a dog barks\nsea_waves,surf\ndog,puppy\n"),
    ],
)
def test_descriptions_of_all_kinds_are_read_alike(tmp_path, name, text):
    """Guards against a format that loses a class's second text, or knows its name with underscores alone."""
    (tmp_path / name).write_text(text)
    assert read_descriptions(tmp_path / name) == DESCRIBED


def test_words_that_yaml_takes_for_something_else(tmp_path):
    """Guards against a class `no` that is false, and a description `1984` that is a number."""
    (tmp_path / "c.yaml").write_text("no: [yes, 1984]\noff: null\n")
    assert read_descriptions(tmp_path / "c.yaml") == {"no": ["yes", "1984"], "off": ["null"]}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gone.yaml", None, "can't read --class_descriptions"),
        ("c.yaml", "dog: [a\n", "is malformed"),
        ("c.json", "{", "is malformed"),
        ("c.yaml", "- dog\n", "holds no mapping"),
        ("c.yaml", "", "holds no mapping"),
        ("c.yaml", "dog: []\n", "'dog' needs a text"),
        ("c.json", '{"dog": [1]}', "'dog' needs a text"),
        ("c.json", '{"dog": " "}', "'dog' needs a text"),
        ("c.csv", "label,text\ndog,barks\n", "no column description"),
        ("c.csv", "label,description\ndog,\n", "'dog' needs a text"),
    ],
)
def test_files_that_describe_nothing(tmp_path, name, text, words):
    """Guards against a traceback, and a class that stands for an empty text."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_descriptions(Path(tmp_path / name))


def test_descriptions_are_of_the_tasks_classes():
    """Guards against a slip in a class's name that silently leaves it undescribed."""
    prompts = Prompts(descriptions=DESCRIBED)
    prompts.check({"dog", "sea waves"})
    with pytest.raises(InputError, match="describes classes that no task has: sea waves"):
        prompts.check({"dog"})
    with pytest.raises(InputError, match="missing are: cat, rain"):
        prompts.check({"dog", "sea waves", "rain", "cat"})
    Prompts().check({"anything"})
