"""Batches of scenes with their captions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch

from ..curation.strategies import PROMPT
from ..errors import ClipError, InputError
from ..processing_clap_student import tokenize
from ..utils.threads import ThreadedMap
from .captions import DOUBLE, FORWARD, OVERLAY, RELATIONS, REVERSE, SINGLE, key_of
from .narration import Heard, Narrator
from .scenes import Deck, Scene, SceneRenderer


AGAIN = "again"
_TRIES = 20  # scenes that are drawn in place of one that can't be read


@dataclass(frozen=True)
class SceneKinds:
    """Which scenes a stage is made of."""

    stage: str = "b"  # `a`, one sound or two; `b`, their order; `joint`, both in each batch
    overlays: bool = True  # whether stage B has both sounds at once as a third block
    doubles: str = "mixed"  # pairs of stage A: half one after the other and half at once, or `concat`
    retention: bool = True  # whether single sounds are added, for which the model shall stay as it was
    max_sounds: int = 2  # 3: a third of stage B's scenes have three, in three of their orders


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

    def __init__(
        self, deck: Deck, renderer: SceneRenderer, tokenizer, kinds: SceneKinds, narrator: Narrator | None = None
    ):
        self.deck, self.renderer, self.tokenizer, self.kinds = deck, renderer, tokenizer, kinds
        self.narrator = narrator or Narrator()
        self.listen: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._cache: dict[int, tuple[Scene, Sounds]] = {}
        self._bytes = 0
        self._map = ThreadedMap()

    def __call__(self, rows: list[dict]) -> dict:
        """Lays a batch out block by block.

        Returns:
            `input_values` (N, samples) float32, or `input_frames` (N, frames, hidden size) where the collator listens;
            `facts` (N, any) int64, the keys of all that is true of what is heard;
            `input_ids` and `attention_mask` (M, tokens), and `keys` (M,) int64, of captions and what they say;
            `parts`, for each loss (stage, blocks, scenes), where stage `again` has other captions of the first blocks
            of the part before it; `num_single`, how many of the last rows are for retention;
            `prompts`, their texts, and `audio_id`, the clips.
        """
        scenes = self._map(self._scene, [row["number"] for row in rows])
        audio, said, facts, parts = [], [], [], []
        for stage in ("a", "b"):
            if self.kinds.stage in (stage, "joint"):
                told = [self._captions(stage, scene, row) for (scene, _), row in zip(scenes, rows, strict=True)]
                audio += _by_block(sounds[stage] for _, sounds in scenes)
                said += _by_block(captions for captions, _ in told)
                facts += _by_block(true for _, true in told)
                parts.append((stage, len(told[0][0]), len(told)))
        if self.kinds.stage != "a":
            others = [self._paraphrases(scene, row) for (scene, _), row in zip(scenes, rows, strict=True)]
            if all(others):
                said += _by_block(others)
                parts.append((AGAIN, len(others[0]), len(others)))
        # Of every other scene: what a model knows of single sounds is kept at half the price.
        single = [(sound, scene.class_a) for scene, sounds in scenes[::2] for sound in sounds["single"]]
        audio += [sound for sound, _ in single]
        said += [(PROMPT + name, key_of(SINGLE, name)) for _, name in single]
        facts += [[key_of(SINGLE, name)] for _, name in single]
        most = max(map(len, facts))
        tokens = tokenize(self.tokenizer, [caption for caption, _ in said])
        return {
            "input_values" if self.listen is None else "input_frames": torch.stack(list(map(torch.as_tensor, audio))),
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "keys": torch.tensor([key for _, key in said]),
            "facts": torch.tensor([true + true[:1] * (most - len(true)) for true in facts]),
            "parts": parts,
            "num_single": len(single),
            "prompts": [PROMPT + name for _, name in single],
            "audio_id": [clip for scene, _ in scenes for clip in (scene.clip_a, scene.clip_b)],
        }

    def ways(self, scene: Scene) -> list[Heard]:
        """What is heard in each block of stage B."""
        classes = (scene.class_a, scene.class_b)
        if third := self._third(scene):
            return [Heard(tuple((*classes, third[1])[n] for n in order)) for order in self._orders(scene)]
        return [Heard(classes), Heard(classes[::-1]), Heard(classes, at_once=True)][: len(self._relations)]

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
                    sounds["b"] = self._render_orders(scene)
                if self.kinds.retention:  # of clips as evaluations hear them: scenes have another level
                    sounds["single"] = [self.renderer.original(scene.clip_a, scene.seed)]
                return scene, sounds
            except ClipError:
                continue
        raise InputError(f"{_TRIES} scenes in a row can't be heard; for instance {scene.clip_a} and {scene.clip_b}")

    def _render_orders(self, scene: Scene) -> list[np.ndarray]:
        third = self._third(scene)
        if third is None:
            return [self.renderer.render(scene, relation) for relation in self._relations]
        clips = (scene.clip_a, scene.clip_b, third[0])
        return [self.renderer.sequence(clips, order, scene.seed) for order in self._orders(scene)]

    def _third(self, scene: Scene) -> tuple[str, str] | None:
        """The clip and the class of its third sound, if it is to have one."""
        return self.deck.third(scene) if self.kinds.max_sounds > 2 and scene.seed % 3 == 0 else None

    def _orders(self, scene: Scene) -> list[tuple[int, int, int]]:
        """Of three sounds: forward, reversed and one of the other orders, as many as there are relations."""
        forward, *others, reverse = permutations(range(3))
        return [forward, reverse, others[scene.seed // 3 % len(others)]][: len(self._relations)]

    @property
    def _relations(self) -> tuple[str, ...]:
        return RELATIONS if self.kinds.overlays else (FORWARD, REVERSE)

    def _captions(self, stage: str, scene: Scene, row: dict) -> tuple[list[tuple[str, int]], list[list[int]]]:
        """(caption, key) of each block's row, and what is true of each."""
        classes = (scene.class_a, scene.class_b)
        if stage == "a":
            keys = key_of(SINGLE, scene.class_a), key_of(DOUBLE, *classes)
            captions = f"Single sound of {scene.class_a}", f"Combined sound of {' and '.join(classes)}"
            return list(zip(captions, keys, strict=True)), [[key] for key in keys]
        ways = self.ways(scene)
        return self.narrator.narrate(ways, *_moment(scene, row)), [heard.facts for heard in ways]

    def _paraphrases(self, scene: Scene, row: dict) -> list[tuple[str, int]]:
        """Another (caption, key) of the rows of the first two blocks, if there is one."""
        return self.narrator.paraphrase(self.ways(scene)[:2], *_moment(scene, row))


def _by_block(of_scenes: Iterable[Sequence]) -> list:
    """What each scene has for its blocks, block by block."""
    return [item for block in zip(*of_scenes, strict=True) for item in block]


def _moment(scene: Scene, row: dict) -> tuple[float, list[int]]:
    """How much of the run is over, and what draws the words."""
    return row.get("progress", 1.0), [scene.seed, row.get("visit", 0)]
