"""Batches of scenes with their captions, of which each is read once by a text tower that does not learn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..curation.strategies import PROMPT
from ..errors import ClipError, InputError
from ..processing_clap_student import tokenize
from .captions import (
    AFTER,
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


_TEXTS_AT_ONCE, _LENGTH_STEP = 8, 16
_MOST_TEXT_BYTES = 2**30  # of what is kept


class CaptionReader:
    """What a frozen text tower makes of captions' tokens.

    The tower always sees as many captions, padded to a length that follows from each one's own, so that a caption gets
    the same states, to the bit, in whatever company and whether or not a run was interrupted.

    Args:
        tower: a `BertModel` in eval mode.
    """

    def __init__(self, tower: nn.Module):
        self.tower = tower
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._bytes = 0

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(texts, tokens) of both, padded at the end -> (texts, tokens, hidden size) float32, 0 for the padding."""
        texts = [
            tuple(row[:count])
            for row, count in zip(input_ids.tolist(), attention_mask.sum(dim=1).tolist(), strict=True)
        ]
        states = {text: self._kept[text] for text in texts if text in self._kept}
        states |= self._read([text for text in dict.fromkeys(texts) if text not in states])
        found = torch.zeros(*input_ids.shape, self.tower.config.hidden_size, device=input_ids.device)
        for row, text in enumerate(texts):
            found[row, : len(text)] = states[text]
        return found

    def _read(self, texts: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for text in texts:
            by_length.setdefault(-(-len(text) // _LENGTH_STEP) * _LENGTH_STEP, []).append(text)
        states = {}
        for length, group in by_length.items():
            for start in range(0, len(group), _TEXTS_AT_ONCE):
                some = group[start : start + _TEXTS_AT_ONCE]
                filled = some + some[:1] * (_TEXTS_AT_ONCE - len(some))
                states |= zip(some, self._states(filled, length), strict=False)
        for text, state in states.items():
            if self._bytes + state.nbytes <= _MOST_TEXT_BYTES:
                self._kept[text] = state
                self._bytes += state.nbytes
        return states

    def _states(self, texts: list[tuple[int, ...]], length: int) -> list[Tensor]:
        length = min(length, self.tower.config.max_position_embeddings)
        device = self.tower.device
        ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts], device=device)
        lengths = torch.tensor([[len(text)] for text in texts], device=device)
        mask = (torch.arange(length, device=device) < lengths).long()
        states = self.tower(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return [state[: len(text)].clone() for state, text in zip(states, texts, strict=True)]


_BEFORE, _AFTER, _AT_ONCE = (
    [words for words in TRAINING_CONNECTIVES if PARAPHRASES[words].kind == kind] for kind in (BEFORE, AFTER, WHILE)
)
_TRIES = 20  # scenes that are drawn in place of one that can't be read


@dataclass(frozen=True)
class SceneKinds:
    """Which scenes a stage is made of.

    Attributes:
        stage: `a`, one sound or two; `b`, their order; `joint`, both in each batch.
        overlays: whether stage B has the sounds at once as a third block.
        doubles: of stage A: `mixed`, half of the pairs one after the other and half at once, or `concat`.
        paraphrase_from: when captions begin to say `before` and `while` in other words too, as a share of the run; 1:
            never. "A preceded by B" turns the sounds around: from the start, a model would learn no order at all.
        prompted: whether half of the captions begin with the prompt of evaluations, "this is a sound of".
        retention: whether single sounds are added, for which the model shall stay as it was.
    """

    stage: str = "b"
    overlays: bool = True
    doubles: str = "mixed"
    paraphrase_from: float = 0.5
    prompted: bool = True
    retention: bool = True

    @property
    def connectives(self) -> list[str]:
        """The words that captions use."""
        if self.stage == "a":
            return []
        more = [words for words in TRAINING_CONNECTIVES if self.overlays or PARAPHRASES[words].kind != WHILE]
        return [BEFORE, *([WHILE] if self.overlays else []), *(more if self.paraphrase_from < 1 else [])]

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
Heard = dict[str, list[np.ndarray | torch.Tensor]]

_MOST_BYTES = 2 * 2**30  # of what a tower made of scenes, in memory


class SceneCollator:
    """Rows of a `number` -> the scenes of these numbers, all their orders.

    A row may tell the share of the run that is over, `progress`, and how often its scene was heard before, `visit`.

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
        self._heard: dict[int, tuple[Scene, Heard]] = {}
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
        heard = list(self._threads.map(self._hear, [row["number"] for row in rows]))
        items, parts = [], []
        for stage in ("a", "b"):
            if self.kinds.stage in (stage, "joint"):
                of_scenes = [
                    list(zip(audio[stage], self._captions(stage, scene, row), strict=True))
                    for (scene, audio), row in zip(heard, rows, strict=True)
                ]
                items += [item for block in zip(*of_scenes, strict=True) for item in block]
                parts.append((stage, len(of_scenes[0]), len(of_scenes)))
        # Of every other scene: what a model knows of single sounds is kept at half the price.
        single = [
            (audio, (PROMPT + scene.class_a, key_of(SINGLE, scene.class_a)))
            for scene, of_scene in heard[::2]
            for audio in of_scene["single"]
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
            "audio_id": [clip for scene, _ in heard for clip in (scene.clip_a, scene.clip_b)],
        }

    def _hear(self, number: int) -> tuple[Scene, Heard]:
        """A scene, and what of it is wanted."""
        if number in self._heard:
            return self._heard[number]
        scene, heard = self._rendered(number)
        if self.listen is not None:
            heard = {part: self._listened(waveforms) for part, waveforms in heard.items()}
            size = sum(audio.nbytes for of_part in heard.values() for audio in of_part)
            if self._bytes + size <= _MOST_BYTES:
                self._bytes += size
                self._heard[number] = scene, heard
        return scene, heard

    def _listened(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        return list(self.listen(torch.from_numpy(np.stack(waveforms)))) if waveforms else []

    def _rendered(self, number: int) -> tuple[Scene, Heard]:
        for attempt in range(_TRIES):
            scene = self.deck.scene(number + attempt * 2**40)
            try:
                heard = {"single": []}
                if self.kinds.stage != "b":
                    single = self.renderer.single(scene.clip_a, scene.seed)
                    heard["a"] = [single, self.renderer.render(scene, self._double(scene))]
                if self.kinds.stage != "a":
                    heard["b"] = [self.renderer.render(scene, relation) for relation in self._relations]
                if self.kinds.retention:  # of clips as evaluations hear them: scenes have another level
                    heard["single"] = [self.renderer.original(scene.clip_a, scene.seed)]
                return scene, heard
            except ClipError:
                continue
        raise InputError(f"{_TRIES} scenes in a row can't be heard; for instance {scene.clip_a} and {scene.clip_b}")

    @property
    def _relations(self) -> tuple[str, ...]:
        return RELATIONS if self.kinds.overlays else (FORWARD, REVERSE)

    def _double(self, scene: Scene) -> str:
        """How stage A hears two sounds."""
        return OVERLAY if self.kinds.doubles == "mixed" and scene.seed % 2 else FORWARD

    def _captions(self, stage: str, scene: Scene, row: dict) -> list[tuple[str, int]]:
        """(caption, key) of each block's row."""
        classes = (scene.class_a, scene.class_b)
        if stage == "a":
            return [
                (f"Single sound of {scene.class_a}", key_of(SINGLE, scene.class_a)),
                (f"Combined sound of {scene.class_a} and {scene.class_b}", key_of(DOUBLE, *classes)),
            ]
        prompt, order, at_once = self._wording(scene.seed, row)
        keys = {
            FORWARD: key_of(BEFORE, *classes),
            REVERSE: key_of(BEFORE, *reversed(classes)),
            OVERLAY: key_of(WHILE, *classes),
        }
        words = {FORWARD: order, REVERSE: order, OVERLAY: at_once}
        return [
            (prompt + scene_caption(*classes, relation, words[relation]), keys[relation])
            for relation in self._relations
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
