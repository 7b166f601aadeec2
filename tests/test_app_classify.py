"""The tab Classify: what it says is what `classify` says, of short clips and long ones, under any names."""

from html import unescape

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from app_world import LABELS, arguments, make_world
from conftest import CAPTIONS, RATE, tiny_clap, tones, write_tone

from modeling_clap_student import ClapStudentModel, InputError, classify
from modeling_clap_student.app.classify import ClassifyTab, draw, hear, read_names, read_prompt
from modeling_clap_student.app.models import STUDENT, Model, open_models
from modeling_clap_student.app.page import open_content
from modeling_clap_student.checkpoints.arguments import ModelArguments
from modeling_clap_student.checkpoints.initialization import new_model
from modeling_clap_student.classification_clap_student import PROMPT
from modeling_clap_student.soundscapes import demo


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


def slow(name: str) -> tuple[Model, list[int]]:
    """A model that counts as slow, and how many windows its tower has heard, a number a call."""
    (model,), heard = open_models(str(name), None), []
    model.is_quick, embed = False, model.model.get_audio_features

    def counted(values=None, **named):
        if values is not None:
            heard.append(len(values))
        return embed(values, **named)

    model.model.get_audio_features = counted
    return model, heard


def write_changing(path, seconds: float):
    """A recording that sounds otherwise every second."""
    waves = tones(5, RATE).repeat(8, 1).flatten()[: round(seconds * RATE)].numpy()
    soundfile.write(path, waves, RATE, subtype="FLOAT")
    return path, waves


@torch.no_grad()
def pooled(model: ClapStudentModel, frames: torch.Tensor) -> torch.Tensor:
    """CLAP's own formulas: (frames, hidden size) -> (dim,)."""
    tower, projection = model.audio_model, model.audio_projection
    hidden = F.relu(tower.fc1(frames.max(dim=0).values + frames.mean(dim=0)))
    embed = projection.linear1(hidden)
    return F.normalize(projection.layer_norm(embed + projection.linear2(F.gelu(embed))), dim=0)


FRAME = 32 * 1024 / RATE  # s, of the tiny model


@pytest.mark.parametrize(
    ("seconds", "starts", "length", "hop", "count"),
    [(0.2, [0], 0.2, 1, 1), (4, [0], 1.0, 0.5, 1), (13, [0, 5, 8], 2.5, 1.25, 3), (40, range(0, 40, 5), 2.5, 1.25, 3)],
)
def test_a_slow_model_hears_a_clip_once(world, tmp_path, seconds, starts, length, hop, count):
    """Guards against parts that are other frames than those that lie there, and a clip that is heard ten times."""
    model, heard = slow(world / "student")
    path, wave = write_changing(tmp_path / "clip.wav", seconds)
    *_, last = hear(path, [model], 60)
    assert heard == [1] * len(starts)

    plain = ClapStudentModel.from_pretrained(world / "student").eval()
    frames, middles = [], []
    for start in starts:
        window = np.resize(wave[start * RATE :][: 5 * RATE], 5 * RATE)  # a shorter clip is repeated
        with torch.no_grad():
            states = plain.audio_model(torch.from_numpy(window)[None]).last_hidden_state[0]
        for number, state in enumerate(states):
            middle = start + (number + 0.5) * FRAME
            if (not middles or middle > middles[-1]) and (middle < seconds or not middles):
                frames.append(state)
                middles.append(middle)
    expected = []
    for start, end in last.spans:
        first = next((place for place, middle in enumerate(middles) if middle >= start), len(middles))
        first = min(first, len(frames) - count)
        expected.append(pooled(plain, torch.stack(frames[first : first + count])))
        assert end - start == pytest.approx(length)
    assert [start for start, _ in last.spans][:2] == [0, hop][: len(last.spans)] and last.spans[-1][1] == seconds
    torch.testing.assert_close(last.parts[0], torch.stack(expected), atol=2e-5, rtol=0)
    if seconds <= 30:
        (whole,) = classify(str(world / "student"), str(path), LABELS)
        assert model.answers(last.wholes[0][None], LABELS, PROMPT)[0].shares == pytest.approx(whole, abs=1e-4)


def test_a_slow_model_without_frames_hears_fewer_parts(tmp_path):
    """Guards against a wait of ten windows' time for a CLAP of another kind, and bars that are not `classify`'s."""
    model, heard = slow(tiny_clap(tmp_path / "clap", seconds=10))
    for seconds, spans, windows in (
        (5, [(0, 2.5), (2.5, 5)], 1 + 2),
        (20, [(0, 10), (10, 20)], 2),
        (50, [(start, start + 10) for start in range(0, 50, 10)], 5),
    ):
        heard.clear()
        clip = write_tone(tmp_path / "clip.wav", 900, seconds=seconds)
        *_, last = hear(clip, [model], 60)
        assert last.spans == spans and sum(heard) == windows
        (expected,) = classify(model.name, str(clip), LABELS)
        assert model.answers(last.wholes[0][None], LABELS, PROMPT)[0].shares == pytest.approx(expected, abs=1e-4)


def test_slow_is_a_matter_of_size():
    """Guards against a machine's mood that decides what is shown. A quarter of CNN14's width is slow."""
    for sizes, is_quick in ((demo.teacher(0), True), ({"text_model": "scratch", "base_channels": 16}, False)):
        named = {name: value for name, value in sizes.items() if name in ModelArguments.__dataclass_fields__}
        model = Model(STUDENT, "any", *new_model(ModelArguments(**named), CAPTIONS))
        assert model.is_quick is is_quick and model.has_frames


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
