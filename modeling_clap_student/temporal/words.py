"""Teaches a text tower the words for an order before any sound is heard.

Each sound that a caption names has a vector: that of its prompt. Its place (first, last or between) rotates that
vector, each place by its own rotation. The target of a caption is the sum of its sounds' vectors and of the rotated
ones. It needs neither audio nor labels, only the meaning of the words. A place does the same to every sound, so pairs
that no scene has are learnt too, and stage B has a target from its first step.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..curation.strategies import PROMPT
from ..losses import temporal_contrastive_loss
from ..processing_clap_student import tokenize
from ..utils.console import progress_bar
from .captions import FIRST, LAST, NAMED, SECOND
from .connectives import WHILE
from .narration import Heard, Narrator


_SHARE = 0.7  # of a place's vector, beside that of the sound itself
_SCENES = 24  # per step
_SCALE = 15.0
_KEPT = 10.0  # how firmly prompts stay where they were


class PlaceCode:
    """The targets of captions: unit vectors of sounds and places.

    Args:
        sounds: (classes, dim), unit vectors of the classes' prompts.
    """

    def __init__(self, sounds: Tensor, seed: int):
        self.sounds = sounds
        generator, size = torch.Generator().manual_seed(seed), sounds.shape[1]
        turned = FIRST, LAST, WHILE, SECOND
        self._turns = {
            place: torch.linalg.qr(torch.randn(size, size, generator=generator))[0].to(sounds) for place in turned
        }

    def of_sound(self, number: int, place: str = NAMED) -> Tensor:
        """(dim,), not normalised: a sound at a place, or its name alone."""
        sound = self.sounds[number]
        return sound if place == NAMED else sound + _SHARE * sound @ self._turns[place]

    def of_scene(self, *numbers: int, at_once: bool = False) -> Tensor:
        """(dim,), not normalised: two or three sounds, one after the other, or two at once."""
        places = (WHILE, WHILE) if at_once else (FIRST, *[SECOND] * (len(numbers) - 2), LAST)
        return sum(self.of_sound(number, place) for number, place in zip(numbers, places, strict=True))


def teach_words(
    model: nn.Module,
    tokenizer,
    narrator: Narrator,
    ways: Callable[[int], list[Heard]],
    names: Sequence[str],
    steps: int,
    learning_rate: float,
    seed: int,
    read: Callable[[Tensor, Tensor], Tensor] | None = None,
    progress: bool = True,
) -> None:
    """Trains what learns of a model's text tower, in place.

    Args:
        ways: the ways in which the sounds of a scene may be heard, by its number: as many for each.
        names: of all sounds.
        read: what a frozen tower makes of tokens, a `CaptionReader`.
        progress: whether a bar is shown.
    """
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
        base = torch.cat([embed(prompts[start : start + _SCENES]) for start in range(0, len(prompts), _SCENES)])
    code = PlaceCode(base, seed)
    was_training = model.training
    model.train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], learning_rate)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, max(2, steps), pct_start=0.1)
    for step in progress_bar(range(steps), desc="words", unit="step", disable=not progress):
        rng = np.random.default_rng([seed, step])
        scenes = [ways(step * _SCENES + place) for place in range(_SCENES)]
        loss = sum(_losses(scenes, narrator, code, number, embed, int(rng.integers(2**32))))
        some = rng.permutation(len(names))[:_SCENES]
        drift = embed([prompts[place] for place in some]) - base[some]
        loss = loss + _KEPT * drift.square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        course.step()
    model.train(was_training)


def _losses(scenes, narrator: Narrator, code: PlaceCode, number: dict[str, int], embed, seed: int) -> list[Tensor]:
    """Of the method's captions of all ways, and of other captions of the first two, which tell an order."""
    losses = []
    for blocks, tell in ((len(scenes[0]), narrator.narrate), (2, narrator.paraphrase)):
        said = [tell(scene[:blocks], 1.0, [seed, place]) for place, scene in enumerate(scenes)]
        if not all(said):
            continue
        captions, keys = zip(*(one for block in zip(*said, strict=True) for one in block), strict=True)
        heard = [scene[block] for block in range(blocks) for scene in scenes]
        wanted = [code.of_scene(*(number[name] for name in way.classes), at_once=way.at_once) for way in heard]
        facts = [way.facts for way in heard]
        most = max(map(len, facts))
        facts = torch.tensor([true + true[:1] * (most - len(true)) for true in facts], device=wanted[0].device)
        logits = _SCALE * F.normalize(torch.stack(wanted), dim=1) @ embed(list(captions)).T
        keys = torch.tensor(keys, device=wanted[0].device)
        losses.append(temporal_contrastive_loss(logits, blocks, keys=keys, facts=facts))
    return losses
