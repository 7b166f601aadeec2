"""Teaches a text tower the words for an order before any sound is heard.

Each sound that a caption names has a vector, that of its prompt; which is first and which is last turns it, each place
by a rotation of its own. A caption shall come to the sum of its sounds and of what their places make of them. Neither
audio nor truth is needed for that: only what the words mean. What a place does to one sound it does to all, so that
pairs of sounds that no scene has are told too, and stage B has a target that is there from its first step.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..curation.strategies import PROMPT
from ..losses import temporal_contrastive_loss
from ..processing_clap_student import tokenize
from .captions import FIRST, LAST, NAMED
from .connectives import WHILE
from .narration import Heard, Narrator


_SHARE = 0.7  # of a place's vector, beside that of the sound itself
_PAIRS = 24  # a step
_SCALE = 15.0
_KEPT = 10.0  # how firmly prompts stay where they were


class PlaceCode:
    """What captions shall come to: unit vectors of sounds and places.

    Args:
        sounds: (classes, dim), unit vectors of the classes' prompts.
    """

    def __init__(self, sounds: Tensor, seed: int):
        self.sounds = sounds
        generator, size = torch.Generator().manual_seed(seed), sounds.shape[1]
        first, last, at_once = (
            torch.linalg.qr(torch.randn(size, size, generator=generator))[0].to(sounds) for _ in range(3)
        )
        self._turns = {FIRST: first, LAST: last, WHILE: at_once}

    def of_sound(self, number: int, place: str = NAMED) -> Tensor:
        """(dim,), not normalised: a sound at a place, or its name alone."""
        sound = self.sounds[number]
        return sound if place == NAMED else sound + _SHARE * sound @ self._turns[place]

    def of_scene(self, first: int, last: int, at_once: bool = False) -> Tensor:
        places = (WHILE, WHILE) if at_once else (FIRST, LAST)
        return sum(self.of_sound(number, place) for number, place in zip((first, last), places, strict=True))


def teach_words(
    model: nn.Module,
    tokenizer,
    narrator: Narrator,
    pairs: Sequence[tuple[str, str]],
    steps: int,
    learning_rate: float,
    seed: int,
    read: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> None:
    """Trains what learns of a model's text tower, in place.

    Args:
        pairs: of class names, those that may be heard together.
        read: what a frozen tower makes of tokens, a `CaptionReader`.
    """
    names = sorted({name for pair in pairs for name in pair})
    number = {name: place for place, name in enumerate(names)}

    def embed(captions: list[str]) -> Tensor:
        tokens = tokenize(tokenizer, captions).to(model.device)
        if read is None:
            inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        else:
            states = read(tokens["input_ids"], tokens["attention_mask"])
            inputs = {"token_states": states, "attention_mask": tokens["attention_mask"]}
        return model.get_text_features(**inputs).pooler_output

    prompts = [PROMPT + name for name in names]
    with torch.no_grad():
        base = torch.cat([embed(prompts[start : start + _PAIRS]) for start in range(0, len(prompts), _PAIRS)])
    code = PlaceCode(base, seed)
    was_training = model.training
    model.train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], learning_rate)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, max(2, steps), pct_start=0.1)
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        drawn = [pairs[place] for place in rng.integers(len(pairs), size=_PAIRS)]
        drawn = [pair if rng.random() < 0.5 else pair[::-1] for pair in drawn]
        loss = sum(_losses(drawn, narrator, code, number, embed, int(rng.integers(2**32))))
        some = rng.permutation(len(names))[:_PAIRS]
        drift = embed([prompts[place] for place in some]) - base[some]
        loss = loss + _KEPT * drift.square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        course.step()
    model.train(was_training)


def _losses(drawn, narrator: Narrator, code: PlaceCode, number: dict[str, int], embed, seed: int) -> list[Tensor]:
    """Of the method's captions of all ways, and of other captions of the orders."""
    scenes = [[Heard(pair), Heard(pair[::-1]), Heard(pair, at_once=True)] for pair in drawn]
    losses = []
    for blocks, tell in ((3, narrator.narrate), (2, narrator.paraphrase)):
        said = [tell(scene[:blocks], 1.0, [seed, place]) for place, scene in enumerate(scenes)]
        if not all(said):
            continue
        captions, keys = zip(*(one for block in zip(*said, strict=True) for one in block), strict=True)
        heard = [scene[block] for block in range(blocks) for scene in scenes]
        numbers = [[number[name] for name in way.classes] for way in heard]
        wanted = torch.stack([code.of_scene(*two, way.at_once) for two, way in zip(numbers, heard, strict=True)])
        facts = [way.facts for way in heard]
        most = max(map(len, facts))
        facts = torch.tensor([true + true[:1] * (most - len(true)) for true in facts], device=wanted.device)
        logits = _SCALE * F.normalize(wanted, dim=1) @ embed(list(captions)).T
        keys = torch.tensor(keys, device=wanted.device)
        losses.append(temporal_contrastive_loss(logits, blocks, keys=keys, facts=facts))
    return losses
