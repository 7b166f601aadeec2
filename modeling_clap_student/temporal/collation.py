"""Batches of TeminAL: numbers of scenes to waveforms, captions, and what tells which captions say the same."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..curation.selection import PROMPT
from ..errors import ClipError, InputError
from ..processing_clap_student import tokenize
from .captions import (
    BEFORE,
    DOUBLE,
    FORWARD,
    OVERLAY,
    PARAPHRASES,
    RELATIONS,
    REVERSE,
    SINGLE,
    TRAINING_CONNECTIVES,
    WHILE,
    key_of,
    scene_caption,
)
from .scenes import Deck, Scene, SceneRenderer


STAGES = ("a", "b", "joint")

_ORDERS = [words for words in TRAINING_CONNECTIVES if PARAPHRASES[words].kind != WHILE]
_AT_ONCE = [words for words in TRAINING_CONNECTIVES if PARAPHRASES[words].kind == WHILE]
_TRIES = 20  # scenes that are drawn in place of one that can't be read


@dataclass(frozen=True)
class SceneKinds:
    """Which scenes a stage is made of.

    Attributes:
        stage: `a`, one sound or two; `b`, their order; `joint`, both in each batch.
        overlays: whether stage B has the sounds at once as a third block.
        doubles: of stage A: `mixed`, half of the pairs one after the other and half at once, or `concat`.
        paraphrase: whether captions are worded in other ways beside `before` and `while`.
        prompted: whether half of the captions begin with the prompt of evaluations, "this is a sound of".
        retention: whether single sounds are added, for which the model shall stay as it was.
    """

    stage: str = "b"
    overlays: bool = True
    doubles: str = "mixed"
    paraphrase: bool = True
    prompted: bool = True
    retention: bool = True

    @property
    def connectives(self) -> list[str]:
        """The words that captions use."""
        if self.stage == "a":
            return []
        more = [words for words in TRAINING_CONNECTIVES if self.overlays or PARAPHRASES[words].kind != WHILE]
        return [BEFORE, *([WHILE] if self.overlays else []), *(more if self.paraphrase else [])]


Row = tuple[np.ndarray | torch.Tensor, str, int]  # waveform, or what a tower made of it, caption, key

_MOST_BYTES = 2 * 2**30  # of what a tower made of scenes, in memory


class SceneCollator:
    """Rows of a `number` -> the scenes of these numbers, all their orders.

    A scene with a clip that can't be read is replaced by another one, and the clip is listed.

    Args:
        deck: draws the scenes.
        renderer: makes their waveforms.
        tokenizer: of the model.
        kinds: what a batch is made of.

    Attributes:
        listen: (rows, samples) -> (rows, frames, hidden size), convolutions that do not learn. With it, batches
            hold what it makes of the waveforms, and a scene is rendered and heard once, as long as memory lasts.
    """

    def __init__(self, deck: Deck, renderer: SceneRenderer, tokenizer, kinds: SceneKinds):
        self.deck, self.renderer, self.tokenizer, self.kinds = deck, renderer, tokenizer, kinds
        self.listen: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._heard: dict[int, tuple[Scene, dict[str, list[Row]]]] = {}
        self._bytes = 0
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self):
        return {**self.__dict__, "_threads": None}

    def __call__(self, rows: list[dict]) -> dict:
        """Lays a batch out block by block.

        Returns:
            `input_values` (N, samples) float32, or `input_frames` (N, frames, hidden size) where the collator listens;
            `input_ids` and `attention_mask` (N, tokens); `keys` (N,) int64;
            `parts`, for each loss (stage, blocks, scenes); `num_single`, how many of the last rows are for retention;
            `prompts`, their texts, and `audio_id`, the clips.

        Raises:
            InputError: too many clips in a row that can't be read.
        """
        if self._threads is None:
            workers = torch.utils.data.get_worker_info()
            self._threads = ThreadPoolExecutor(1 if workers else torch.get_num_threads())
        heard = list(self._threads.map(self._scene, [row["number"] for row in rows]))
        blocks, parts = [], []
        for stage in ("a", "b"):
            if self.kinds.stage in (stage, "joint"):
                of_scene = [rows[stage] for _, rows in heard]
                blocks += [item for block in zip(*of_scene, strict=True) for item in block]
                parts.append((stage, len(of_scene[0]), len(of_scene)))
        # Of every other scene: what a model knows of single sounds is kept at half the price.
        single = [row for _, of_scene in heard[::2] for row in of_scene["single"]]
        items = [*blocks, *single]
        tokens = tokenize(self.tokenizer, [caption for _, caption, _ in items])
        audio = [torch.as_tensor(audio) for audio, _, _ in items]
        return {
            "input_values" if self.listen is None else "input_frames": torch.stack(audio),
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "keys": torch.tensor([key for _, _, key in items]),
            "parts": parts,
            "num_single": len(single),
            "prompts": [caption for _, caption, _ in single],
            "audio_id": [clip for scene, _ in heard for clip in (scene.clip_a, scene.clip_b)],
        }

    def _scene(self, number: int) -> tuple[Scene, dict[str, list[Row]]]:
        """A scene, and its rows for stages `a` and `b` and for retention (`single`), as far as they are wanted."""
        if number in self._heard:
            return self._heard[number]
        scene, rows = self._rendered(number)
        if self.listen is not None:
            rows = {part: self._listened(of_part) for part, of_part in rows.items()}
            size = sum(audio.nbytes for of_part in rows.values() for audio, _, _ in of_part)
            if self._bytes + size <= _MOST_BYTES:
                self._bytes += size
                self._heard[number] = scene, rows
        return scene, rows

    def _listened(self, rows: list[Row]) -> list[Row]:
        if not rows:
            return rows
        frames = self.listen(torch.from_numpy(np.stack([waveform for waveform, _, _ in rows])))
        return [(of_row, caption, key) for of_row, (_, caption, key) in zip(frames, rows, strict=True)]

    def _rendered(self, number: int) -> tuple[Scene, dict[str, list[Row]]]:
        for attempt in range(_TRIES):
            scene = self.deck.scene(number + attempt * 2**40)
            try:
                rows = {"single": [self._single(scene, PROMPT + scene.class_a)] if self.kinds.retention else []}
                if self.kinds.stage != "b":
                    rows["a"] = self._of_stage_a(scene)
                if self.kinds.stage != "a":
                    rows["b"] = self._of_stage_b(scene)
                return scene, rows
            except ClipError:
                continue
        raise InputError(f"{_TRIES} scenes in a row can't be heard; for instance {scene.clip_a} and {scene.clip_b}")

    def _single(self, scene: Scene, caption: str) -> Row:
        return self.renderer.single(scene.clip_a, scene.seed), caption, key_of(SINGLE, scene.class_a)

    def _of_stage_a(self, scene: Scene) -> list[Row]:
        classes = (scene.class_a, scene.class_b)
        relation = OVERLAY if self.kinds.doubles == "mixed" and scene.seed % 2 else FORWARD
        caption = f"Combined sound of {scene.class_a} and {scene.class_b}"
        double = self.renderer.render(scene, relation), caption, key_of(DOUBLE, *classes)
        return [self._single(scene, f"Single sound of {scene.class_a}"), double]

    def _of_stage_b(self, scene: Scene) -> list[Row]:
        prompt, order, at_once = self._wording(scene.seed)
        rows = []
        for relation in RELATIONS if self.kinds.overlays else (FORWARD, REVERSE):
            classes = (scene.class_b, scene.class_a) if relation == REVERSE else (scene.class_a, scene.class_b)
            words, kind = (at_once, WHILE) if relation == OVERLAY else (order, BEFORE)
            caption = prompt + scene_caption(scene.class_a, scene.class_b, relation, words)
            rows.append((self.renderer.render(scene, relation), caption, key_of(kind, *classes)))
        return rows

    def _wording(self, seed: int) -> tuple[str, str, str]:
        """What captions begin with, and the words for an order and for both at once; all orders of a scene share them.

        Half of them are plain: bare, or with `before` and `while`.
        """
        rng = np.random.default_rng([seed, 1])
        bare, plain_order, plain_overlay = (rng.random(3) < 0.5).tolist()
        others, at_once = rng.integers(len(_ORDERS)), rng.integers(len(_AT_ONCE))
        return (
            PROMPT if self.kinds.prompted and not bare else "",
            _ORDERS[others] if self.kinds.paraphrase and not plain_order else BEFORE,
            _AT_ONCE[at_once] if self.kinds.paraphrase and not plain_overlay else WHILE,
        )


__all__ = ["STAGES", "SceneCollator", "SceneKinds"]
