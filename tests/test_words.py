"""Words for an order that a text tower learns without a sound."""

import itertools

import torch
from conftest import settle, tiny_model

from modeling_clap_student.temporal.narration import Heard, Narrator
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
    three = [code.of_scene(*order) for order in itertools.permutations(range(3))]
    assert min((one - other).norm() for one, other in itertools.combinations(three, 2)) > 0.5
    ends = code.of_scene(0, 3)  # the one between them is added, and moves neither
    torch.testing.assert_close(code.of_scene(0, 1, 3) - ends, code.of_sound(1, "second"))
    assert torch.equal(code.of_sound(2), sounds[2]) and torch.equal(
        PlaceCode(sounds, 1).of_scene(2, 3), code.of_scene(2, 3)
    )


def two(names: list[str]):
    """Of a number, each pair of names in turn: in either order, and at once."""
    pairs = list(itertools.permutations(names, 2))

    def ways(number: int) -> list[Heard]:
        pair = pairs[number % len(pairs)]
        return [Heard(pair), Heard(pair[::-1]), Heard(pair, at_once=True)]

    return ways


def three(names: list[str]):
    """Of a number, three names in turn: forward, reversed, and in another order."""
    trios = list(itertools.permutations(names, 3))

    def ways(number: int) -> list[Heard]:
        one, other, last = trios[number % len(trios)]
        return [Heard((one, other, last)), Heard((last, other, one)), Heard((other, one, last))]

    return ways


def test_the_order_of_a_caption_is_learnt_without_a_sound():
    """Guards against a tower that learns nothing of order, prompts that move away, and a sound that is needed."""
    model = settle(order_aware(*tiny_model(), "attention"))
    prompts = [f"this is a sound of {name}" for name in NAMES]
    before, audio = model.encode_text(prompts), {n: v.clone() for n, v in model.audio_model.state_dict().items()}
    code = PlaceCode(before, seed=0)

    def count_right() -> int:
        right = 0
        for one, other in itertools.permutations(NAMES, 2):
            texts = model.encode_text([f"{one} before {other}", f"{other} before {one}"])
            wanted = torch.nn.functional.normalize(code.of_scene(NAMES.index(one), NAMES.index(other)), dim=0)
            right += bool(texts[0] @ wanted > texts[1] @ wanted)
        return right

    assert count_right() <= 20  # of 30
    narrator = Narrator(paraphrase_from=1.0, prompted=False)
    teach_words(model, model.processor.tokenizer, narrator, two(NAMES), NAMES, 140, 3e-3, seed=0)
    assert count_right() >= 23
    assert (model.encode_text(prompts) * before).sum(dim=1).min() > 0.99
    assert all(torch.equal(value, audio[name]) for name, value in model.audio_model.state_dict().items())
    assert not model.training


def test_the_words_for_three_sounds_are_learnt(capsys):
    """Guards against a sound in the middle whose place is not told from those of the others."""
    model = settle(order_aware(*tiny_model(), "attention"))
    names = NAMES[:3]
    code = PlaceCode(model.encode_text([f"this is a sound of {name}" for name in names]), seed=0)

    def share_right() -> float:
        """Of orders, those whose caption is the nearest of the six of its sounds."""
        orders = list(itertools.permutations(range(3)))
        texts = model.encode_text([" before ".join(names[number] for number in order) for order in orders])
        wanted = torch.nn.functional.normalize(torch.stack([code.of_scene(*order) for order in orders]), dim=1)
        return ((wanted @ texts.T).argmax(dim=1) == torch.arange(6)).float().mean().item()

    assert share_right() < 0.5  # a guess tells one of six
    narrator = Narrator(paraphrase_from=1.0, prompted=False)
    teach_words(model, model.processor.tokenizer, narrator, three(names), names, 60, 3e-3, seed=0)
    assert share_right() > 0.8
    assert "words: " in capsys.readouterr().err


def test_steps_of_none_change_nothing():
    model = order_aware(*tiny_model(), "attention")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    teach_words(model, model.processor.tokenizer, Narrator(), two(NAMES), NAMES, 0, 1e-3, seed=0)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
