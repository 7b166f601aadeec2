"""The tab Order: two sounds as a scene, its three captions asked of each model; and the tab About."""

import gradio as gr
import numpy as np
import pytest
from app_world import arguments, make_world
from conftest import save_models, write_tone

from modeling_clap_student import ClapStudentModel, InputError
from modeling_clap_student.app.about import card_of
from modeling_clap_student.app.models import open_models
from modeling_clap_student.app.order import OrderTab, ask, has_heard_order
from modeling_clap_student.app.page import blocks, open_content
from modeling_clap_student.app.serving import Shelf
from modeling_clap_student.temporal.captions import FORWARD, OVERLAY, REVERSE


RECORDS = {"student": {"stage": "b", "origin": "Post-trained."}, "teacher": {"before": {"stage": "c"}}}


@pytest.fixture
def models(tmp_path):
    save_models(tmp_path, ["teacher", "student"], RECORDS)
    return open_models(str(tmp_path / "student"), str(tmp_path / "teacher"))


@pytest.fixture
def sounds(tmp_path):
    return [str(write_tone(tmp_path / f"{tone}.wav", tone, 3)) for tone in (300, 3000)]


def pitch(wave: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)


def test_the_scene_and_the_answers(models, sounds):
    """Guards against a scene in another order than the page says, and answers to other captions."""
    wave, rate, captions, answers = ask(models, sounds, ["hum", "whistle"], FORWARD)
    assert len(wave) == 10 * rate
    assert pitch(wave[: 4 * rate], rate) == pytest.approx(300, abs=2)
    assert pitch(wave[6 * rate :], rate) == pytest.approx(3000, abs=2)
    assert captions == ["hum before whistle", "whistle before hum", "hum while whistle"]
    for model, shares in zip(models, answers, strict=True):
        plain = ClapStudentModel.from_pretrained(model.name)
        prompts = [f"this is a sound of {caption}" for caption in captions]
        logits = plain.logit_scale.exp() * plain.encode_audio(wave, rate) @ plain.encode_text(prompts).T
        assert list(shares.values()) == pytest.approx(logits.softmax(1)[0].tolist(), abs=1e-4)
    reversed_wave, *_ = ask(models, sounds, ["hum", "whistle"], REVERSE)
    assert pitch(reversed_wave[: 4 * rate], rate) == pytest.approx(3000, abs=2)
    assert ask(models, sounds, ["hum", "whistle"], OVERLAY)[0].shape == wave.shape


def test_wrong_sounds_and_names(models, sounds, tmp_path):
    (tmp_path / "broken.wav").write_text("no audio")
    silent = str(tmp_path / "broken.wav")
    for paths, names, words in (
        (sounds, ["", "dog"], "say what each"),
        (sounds, ["Dog", "dog "], "both sounds are called"),
        ([sounds[0], silent], ["hum", "dog"], "one of the two files can't be used"),
    ):
        with pytest.raises(InputError, match=words):
            ask(models, paths, names, FORWARD)
    tab = OrderTab(models, Shelf())
    assert "Give two sounds" in tab.answer(None, sounds[0], "a", "b", "first, then second")
    assert 'role="alert"' in tab.answer(*sounds, "a", "a", "first, then second")
    told = tab.answer(*sounds, "hum", "<b>dog", "second, then first")
    assert "Played: &lt;b&gt;dog before hum" in told and "<audio" in told and "Student: " in told


def test_the_tab_is_there_where_a_model_has_heard_order(models):
    assert [has_heard_order(model) for model in models] == [True, False]
    assert RECORDS["teacher"] == {"before": {"stage": "c"}}


def test_tabs_and_cards(tmp_path):
    """Guards against a tab without a use, and a card of another model."""
    world = make_world(tmp_path)
    args = arguments(world)
    content = open_content(args, tmp_path)
    page = blocks(content, args, Shelf())
    labels = [block.label for block in page.blocks.values() if isinstance(block, gr.Tab)]
    assert labels == ["Classify", "Search", "Review", "About"]
    text = card_of(content.models[0])
    assert text.startswith("# student") and "## How it was made" in text and "---" not in text.split("\n")[0]
    content.models[0].config.record = {"stage": "a"}
    page = blocks(content, args, Shelf())
    assert "Order" in [block.label for block in page.blocks.values() if isinstance(block, gr.Tab)]
