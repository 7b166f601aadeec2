"""Batches of scenes with their captions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..curation.strategies import PROMPT
from ..errors import ClipError, InputError
from ..processing_clap_student import tokenize
from ..utils.threads import ThreadedMap
from .captions import (
    AFTER,
    BEFORE,
    DOUBLE,
    FORWARD,
    OVERLAY,
    RELATIONS,
    REVERSE,
    SINGLE,
    TRAINING,
    WHILE,
    key_of,
    scene_caption,
)
from .scenes import Deck, Scene, SceneRenderer


_BEFORE, _AFTER, _AT_ONCE = (TRAINING[kind] for kind in (BEFORE, AFTER, WHILE))
_TRIES = 20  # scenes that are drawn in place of one that can't be read


@dataclass(frozen=True)
class SceneKinds:
    """Which scenes a stage is made of."""

    stage: str = "b"  # `a`, one sound or two; `b`, their order; `joint`, both in each batch
    overlays: bool = True  # whether stage B has both sounds at once as a third block
    doubles: str = "mixed"  # pairs of stage A: half one after the other and half at once, or `concat`
    # When captions begin to say `before` and `while` in other words too, as a share of the run; 1: never. "A preceded
    # by B" turns the sounds around: from the start, a model would learn no order at all.
    paraphrase_from: float = 0.5
    prompted: bool = True  # whether half of the captions begin with evaluations' prompt, "this is a sound of"
    retention: bool = True  # whether single sounds are added, for which the model shall stay as it was

    @property
    def connectives(self) -> list[str]:
        """The words that captions use."""
        if self.stage == "a":
            return []
        kinds = [BEFORE, AFTER, WHILE] if self.overlays else [BEFORE, AFTER]
        paraphrases = [words for kind in kinds for words in TRAINING[kind]] if self.paraphrase_from < 1 else []
        return [BEFORE, *([WHILE] if self.overlays else []), *paraphrases]

    @property
    def orders(self) -> list[str]:
        """The words for an order, as often as captions use them once they paraphrase: half of them name first what is
        heard second, a quarter are `before`."""
        if self.paraphrase_from == 1:
            return [BEFORE]
        turns = range(max(len(_BEFORE), len(_AFTER)))
        afters = [_AFTER[n % len(_AFTER)] for n in range(2 * len(turns))]
        return [w for n in turns for w in (BEFORE, afters[2 * n], _BEFORE[n % len(_BEFORE)], afters[2 * n + 1])]


# Of a scene, for stages `a` and `b` and for retention (`single`): waveforms, or what a tower made of them.
Sounds = dict[str, list[np.ndarray | torch.Tensor]]

_MOST_BYTES = 2 * 2**30  # of what a tower made of scenes, in memory


class SceneCollator:
    """Rows of a `number` -> the scenes of these numbers, all their orders.

    A row may have the share of the run that is over, `progress`, and how often its scene was heard before, `visit`. A
    scene with a clip that can't be read is replaced by another one, and the clip is listed.

    Attributes:
        listen: (rows, samples) -> (rows, frames, hidden size), convolutions that do not learn. With it, batches
            hold what it makes of the waveforms, and a scene is rendered and heard once, as long as memory lasts.
    """

    def __init__(self, deck: Deck, renderer: SceneRenderer, tokenizer, kinds: SceneKinds):
        self.deck, self.renderer, self.tokenizer, self.kinds = deck, renderer, tokenizer, kinds
        self.listen: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._cache: dict[int, tuple[Scene, Sounds]] = {}
        self._bytes = 0
        self._map = ThreadedMap()

    def __call__(self, rows: list[dict]) -> dict:
        """Lays a batch out block by block.

        Returns:
            `input_values` (N, samples) float32, or `input_frames` (N, frames, hidden size) where the collator listens;
            `input_ids` and `attention_mask` (N, tokens); `keys` (N,) int64;
            `parts`, for each loss (stage, blocks, scenes); `num_single`, how many of the last rows are for retention;
            `prompts`, their texts, and `audio_id`, the clips.
        """
        scenes = self._map(self._scene, [row["number"] for row in rows])
        items, parts = [], []
        for stage in ("a", "b"):
            if self.kinds.stage in (stage, "joint"):
                blocks = [
                    list(zip(sounds[stage], self._captions(stage, scene, row), strict=True))
                    for (scene, sounds), row in zip(scenes, rows, strict=True)
                ]
                items += [item for block in zip(*blocks, strict=True) for item in block]
                parts.append((stage, len(blocks[0]), len(blocks)))
        # Of every other scene: what a model knows of single sounds is kept at half the price.
        single = [
            (audio, (PROMPT + scene.class_a, key_of(SINGLE, scene.class_a)))
            for scene, sounds in scenes[::2]
            for audio in sounds["single"]
        ]
        items += single
        tokens = tokenize(self.tokenizer, [caption for _, (caption, _) in items])
        audio = [torch.as_tensor(audio) for audio, _ in items]
        return {
            "input_values" if self.listen is None else "input_frames": torch.stack(audio),
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "keys": torch.tensor([key for _, (_, key) in items]),
            "parts": parts,
            "num_single": len(single),
            "prompts": [caption for _, (caption, _) in single],
            "audio_id": [clip for scene, _ in scenes for clip in (scene.clip_a, scene.clip_b)],
        }

    def _scene(self, number: int) -> tuple[Scene, Sounds]:
        if number in self._cache:
            return self._cache[number]
        scene, sounds = self._render(number)
        if self.listen is not None:
            sounds = {
                part: list(self.listen(torch.from_numpy(np.stack(waveforms)))) if waveforms else []
                for part, waveforms in sounds.items()
            }
            size = sum(audio.nbytes for frames in sounds.values() for audio in frames)
            if self._bytes + size <= _MOST_BYTES:
                self._bytes += size
                self._cache[number] = scene, sounds
        return scene, sounds

    def _render(self, number: int) -> tuple[Scene, Sounds]:
        for attempt in range(_TRIES):
            scene = self.deck.scene(number + attempt * 2**40)
            try:
                sounds = {"single": []}
                if self.kinds.stage != "b":
                    double = OVERLAY if self.kinds.doubles == "mixed" and scene.seed % 2 else FORWARD
                    sounds["a"] = [
                        self.renderer.single(scene.clip_a, scene.seed),
                        self.renderer.render(scene, double),
                    ]
                if self.kinds.stage != "a":
                    sounds["b"] = [self.renderer.render(scene, relation) for relation in self._relations]
                if self.kinds.retention:  # of clips as evaluations hear them: scenes have another level
                    sounds["single"] = [self.renderer.original(scene.clip_a, scene.seed)]
                return scene, sounds
            except ClipError:
                continue
        raise InputError(f"{_TRIES} scenes in a row can't be heard; for instance {scene.clip_a} and {scene.clip_b}")

    @property
    def _relations(self) -> tuple[str, ...]:
        return RELATIONS if self.kinds.overlays else (FORWARD, REVERSE)

    def _captions(self, stage: str, scene: Scene, row: dict) -> list[tuple[str, int]]:
        """(caption, key) of each block's row."""
        classes = (scene.class_a, scene.class_b)
        if stage == "a":
            return [
                (f"Single sound of {scene.class_a}", key_of(SINGLE, scene.class_a)),
                (f"Combined sound of {scene.class_a} and {scene.class_b}", key_of(DOUBLE, *classes)),
            ]
        prompt, order, at_once = self._wording(scene.seed, row)
        meanings = {
            FORWARD: (order, key_of(BEFORE, *classes)),
            REVERSE: (order, key_of(BEFORE, *reversed(classes))),
            OVERLAY: (at_once, key_of(WHILE, *classes)),
        }
        return [
            (prompt + scene_caption(*classes, relation, words), key)
            for relation, (words, key) in meanings.items()
            if relation in self._relations
        ]

    def _wording(self, seed: int, row: dict) -> tuple[str, str, str]:
        """What captions begin with, and the words for an order and for both at once; all orders of a scene share them.

        Half of them are bare. Once they paraphrase, half say an order the other way round, a quarter `before`.
        """
        rng = np.random.default_rng([seed, 1, row.get("visit", 0)])
        prompt = PROMPT if self.kinds.prompted and rng.random() < 0.5 else ""
        if not row.get("progress", 1.0) >= self.kinds.paraphrase_from < 1:
            return prompt, BEFORE, WHILE
        orders = ([BEFORE], _BEFORE, _AFTER, _AFTER)[rng.integers(4)]
        at_once = ([WHILE], _AT_ONCE)[rng.integers(2)]
        return prompt, orders[rng.integers(len(orders))], at_once[rng.integers(len(at_once))]
