"""Words for an order that a text tower learns without a sound."""

import itertools

import torch
from conftest import settle, tiny_model

from modeling_clap_student.temporal.narration import Narrator
from modeling_clap_student.temporal.trainer import order_aware
from modeling_clap_student.temporal.words import PlaceCode, teach_words


NAMES = ["hum", "hiss", "whistle", "tone", "steady", "soft"]


def test_a_place_does_to_one_sound_what_it_does_to_all():
    """Guards against a code that is the same in both orders, or tells a pair by other than its two sounds."""
    sounds = torch.nn.functional.normalize(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    code = PlaceCode(sounds, seed=1)
    forward, reverse, at_once = code.of_scene(0, 1), code.of_scene(1, 0), code.of_scene(0, 1, at_once=True)
    torch.testing.assert_close(forward, code.of_sound(0, "first") + code.of_sound(1, "last"))
    torch.testing.assert_close(code.of_scene(0, 1) - code.of_scene(0, 2), code.of_scene(3, 1) - code.of_scene(3, 2))
    torch.testing.assert_close(at_once, code.of_scene(1, 0, at_once=True))
    assert (forward - reverse).norm() > 0.5 and (forward - at_once).norm() > 0.5
    assert torch.equal(code.of_sound(2), sounds[2]) and torch.equal(
        PlaceCode(sounds, 1).of_scene(2, 3), code.of_scene(2, 3)
    )


def test_the_order_of_a_caption_is_learnt_without_a_sound():
    """Guards against a tower that learns nothing of order, prompts that move away, and a sound that is needed."""
    model = settle(order_aware(*tiny_model(), "attention"))
    names, pairs = sorted(NAMES), list(itertools.combinations(NAMES, 2))
    prompts = [f"this is a sound of {name}" for name in names]
    before, audio = model.encode_text(prompts), {n: v.clone() for n, v in model.audio_model.state_dict().items()}
    code = PlaceCode(before, seed=0)

    def count_right() -> int:
        right = 0
        for one, other in itertools.permutations(NAMES, 2):
            texts = model.encode_text([f"{one} before {other}", f"{other} before {one}"])
            wanted = torch.nn.functional.normalize(code.of_scene(names.index(one), names.index(other)), dim=0)
            right += bool(texts[0] @ wanted > texts[1] @ wanted)
        return right

    assert count_right() <= 20  # of 30
    narrator = Narrator(paraphrase_from=1.0, prompted=False)
    teach_words(model, model.processor.tokenizer, narrator, pairs, 140, 3e-3, seed=0)
    assert count_right() >= 23
    assert (model.encode_text(prompts) * before).sum(dim=1).min() > 0.99
    assert all(torch.equal(value, audio[name]) for name, value in model.audio_model.state_dict().items())
    assert not model.training


def test_steps_of_none_change_nothing():
    model = order_aware(*tiny_model(), "attention")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    teach_words(model, model.processor.tokenizer, Narrator(), [("hum", "hiss")], 0, 1e-3, seed=0)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
