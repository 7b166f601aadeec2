"""The tab Classify: what it says is what `classify` says, of short clips and long ones, under any names."""

from html import unescape

import numpy as np
import pytest
import soundfile
from app_world import LABELS, arguments, make_world
from conftest import RATE, write_tone

from modeling_clap_student import InputError, classify
from modeling_clap_student.app.classify import ClassifyTab, draw, hear, read_names, read_prompt
from modeling_clap_student.app.models import open_models
from modeling_clap_student.app.page import open_content
from modeling_clap_student.classification_clap_student import PROMPT


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def models(world):
    return open_models(str(world / "student"), str(world / "teacher"))


class Visitor:
    """What gradio tells of who asks."""

    def __init__(self, session_hash="one"):
        self.session_hash = session_hash


def test_a_short_clip_is_classified_as_by_the_package(world, models, tmp_path):
    """Guards against bars, or a picture over time, that show other numbers than `classify` gives."""
    clip = write_tone(tmp_path / "clip.wav", 900, seconds=5)
    first, *_, last = hear(clip, models, 60)
    assert first.spans == [] and last.is_done and last.seconds == 5 and last.spectrogram
    for name, model, whole, parts in zip(("student", "teacher"), models, last.wholes, last.parts, strict=True):
        (expected,) = classify(str(world / name), str(clip), LABELS)
        assert model.answers(whole[None], LABELS, PROMPT)[0].shares == pytest.approx(expected, abs=1e-4)
        (rows,) = classify(str(world / name), str(clip), LABELS, windows=1.0, hop=0.5)
        assert last.spans == [(row["start"], row["end"]) for row in rows]
        for answer, row in zip(model.answers(parts, LABELS, PROMPT), rows, strict=True):
            assert answer.shares == pytest.approx({label: row[label] for label in LABELS}, abs=1e-4)


def test_a_long_clip_streams_to_the_same_answer(world, models, tmp_path):
    """Guards against a recording that must be heard to its end before anything is shown, and a mean of other parts."""
    clip = write_tone(tmp_path / "long.wav", 500, seconds=93)
    heard = list(hear(clip, models, 60))
    assert len(heard) > 3 and len(heard[0].spans) == 8 and heard[-1].spans[-1] == (88.0, 93.0)
    (expected,) = classify(str(world / "student"), str(clip), LABELS)
    shares = models[0].answers(heard[-1].wholes[0][None], LABELS, PROMPT)[0].shares
    assert shares == pytest.approx(expected, abs=1e-4)


def test_none_of_these_is_that_of_multi_label(world, tmp_path):
    """Guards against a share of "none of these" that nothing stands behind."""
    content = open_content(arguments(world), tmp_path)
    student = content.models[0]
    student.set_usual(np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32))
    cosines = student.usual @ student.labels(LABELS).T
    thresholds = dict(zip(LABELS, np.quantile(cosines.double().numpy(), 0.95, axis=0).tolist(), strict=True))
    clip = write_tone(tmp_path / "clip.wav", 900, seconds=5)
    (expected,) = classify(str(world / "student"), str(clip), LABELS, multi_label=True, thresholds=thresholds)
    whole = next(hear(clip, [student], 60)).wholes[0]
    assert student.answers(whole[None], LABELS, PROMPT)[0].none == pytest.approx(expected["none of these"], abs=1e-4)


def test_too_few_clips_tell_nothing_of_none(world, tmp_path):
    """Guards against a threshold from six clips."""
    content = open_content(arguments(world), tmp_path)
    assert all(model.usual is None for model in content.models)
    clip = write_tone(tmp_path / "clip.wav", 900, seconds=5)
    bars, _ = draw(next(hear(clip, content.models, 60)), content.models, ", ".join(LABELS), PROMPT)
    assert "none of these" not in bars and bars.count('class="answer') == len(LABELS)


def test_other_names_hear_nothing_again(models, tmp_path, monkeypatch):
    """Guards against a clip that is embedded at every letter that is typed."""
    *_, heard = hear(write_tone(tmp_path / "clip.wav", 900, seconds=2), models, 60)
    monkeypatch.setattr(type(models[0]), "clips", None)
    bars, when = draw(heard, models, "dog, rain, <b>cat</b>", PROMPT)
    assert all(word in bars for word in ("dog", "rain", "&lt;b&gt;cat&lt;/b&gt;")) and "<b>cat" not in bars + when


def test_names_and_prompt():
    assert read_names(" dog,rain\n church bell ,\n") == ["dog", "rain", "church bell"]
    for text, words in (
        ("", "two classes"),
        (" , ", "none is there"),
        ("dog", "only 'dog'"),
        ("a, b, a", "'a' stands"),
    ):
        with pytest.raises(InputError, match=words):
            read_names(text)
    with pytest.raises(InputError, match=r"needs \{\} where"):
        read_prompt("a sound")


def test_what_can_not_be_heard_is_a_sentence(models, tmp_path):
    """Guards against a traceback, or a temporary path, on the page."""
    broken = tmp_path / "secret-name" / "broken.wav"
    broken.parent.mkdir()
    broken.write_text("this is not audio")
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), RATE)
    hours = tmp_path / "hours.wav"
    soundfile.write(hours, np.zeros(2 * 3600 * 1000, np.int16), 1000, subtype="PCM_U8")
    tab = ClassifyTab(models, LABELS, 60)
    for path, words in ((broken, "can't be read as audio"), (empty, "can't be read"), (hours, "lasts 2:00:00, and")):
        *_, (answer, when, heard) = tab.listen(str(path), "dog, rain", PROMPT, Visitor())
        assert words in unescape(answer) and 'role="alert"' in answer and "secret-name" not in answer
        assert when == "" and heard is None


def test_another_clip_takes_its_place(models, tmp_path):
    """Guards against the answers of a recording that was taken away, and a clip that ends another visitor's."""
    clip = str(write_tone(tmp_path / "long.wav", 500, seconds=60))
    tab = ClassifyTab(models, LABELS, 60)
    running, others = (tab.listen(clip, "dog, rain", PROMPT, Visitor(name)) for name in ("one", "two"))
    for listening in (running, others):
        next(listening)
        assert "bars" in next(listening)[0]
    (cleared,) = tab.listen(None, "dog, rain", PROMPT, Visitor("one"))
    assert "Drop a recording" in cleared[0]
    assert list(running) == [] and list(others)[-1][2].is_done
