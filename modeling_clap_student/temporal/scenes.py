"""Scenes of two sounds, for TeminAL and ZSTE: which two clips, and how one is heard before, after or with the other.

A scene is 10 s long. All three relations of its sounds are rendered from the same two parts of clips, prepared alike,
so only the order distinguishes `forward` from `reverse`. TeminAL's authors (Sinha et al., arXiv
2408.09269) put 5-s recordings together as they are; that construction is kept beside this one for comparison.
"""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..data.replay import MOST_DRAWS
from ..data.skipping import SkippedClips
from ..data.texts import exact_key, read_rows
from ..errors import InputError
from ..processing_clap_student import label_text
from ..utils.outputs import write_text
from .arguments import CONSTRUCTIONS
from .captions import OVERLAY, RELATIONS, REVERSE
from .preparation import (
    SHORTEST,
    PreparedClips,
    excerpt,
    fade_ends,
    limit_peak,
    loudness,
    mix,
    set_level,
    trim_silence,
)


SECONDS = 10.0
PAIRS = ("all", "seen", "unseen")

_BORDER = (0.35, 0.65)  # of the scene


@dataclass(frozen=True)
class Scene:
    """Two clips of different classes; a manifest has these columns."""

    id: int
    clip_a: str  # the `audio_id` of the sound that is first in `forward`
    clip_b: str
    class_a: str
    class_b: str
    border: float  # where the first sound of `forward` gives way to the second, seconds
    seed: int  # of what rendering draws
    seen_pair: bool  # whether training may hear the two classes together


def is_held_out(class_a: str, class_b: str, fraction: float = 0.2, seed: int = 0) -> bool:
    """Whether training never plays two classes together.

    It depends on the two names alone, so it is the same for every corpus. Their order, case, underscores and slashes
    do not matter. About `fraction` of the pairs are held out.
    """
    names = sorted(label_text(name).lower() for name in (class_a, class_b))
    return int(exact_key("\n".join((f"held out {seed}", *names))), 16) < fraction * 2**64


class Deck:
    """Draws scenes. Each pair of different classes is equally likely; so are orders, clips and borders.

    The border lies between 35 and 65 % of the scene.

    Args:
        clips: table with `audio_id label`, in any order.
        pairs: which pairs of classes to draw: `all`, those that `is_held_out` leaves (`seen`) or holds out (`unseen`).
        without: class names that are never drawn.
        place: what the clips are, for errors.
    """

    def __init__(
        self,
        clips: Dataset,
        seed: int,
        pairs: str = "all",
        without: Collection[str] = (),
        place: str = "what scenes are made of",
    ):
        if pairs not in PAIRS:
            raise ValueError(f"unknown pairs {pairs!r}: known are {', '.join(PAIRS)}")
        self.seed = seed
        dropped = {label_text(name) for name in without}
        self._clips: dict[str, list[str]] = {}
        for audio_id, label in sorted(zip(clips["audio_id"][:], clips["label"][:], strict=True)):
            if label not in dropped:
                self._clips.setdefault(label, []).append(audio_id)
        self.class_names = sorted(self._clips)
        if len(self.class_names) < 2:
            classes = f"{len(self.class_names)}{''.join(f' ({name})' for name in self.class_names)}"
            raise InputError(
                f"scenes need clips of at least 2 classes, and there are {classes} in {place}, "
                f"{len(clips)} clip{'s' * (len(clips) != 1)}"
            )
        allowed = {"all": (False, True), "seen": (False,), "unseen": (True,)}[pairs]
        self.class_pairs = [pair for pair in combinations(self.class_names, 2) if is_held_out(*pair) in allowed]
        self._heard_with: dict[str, set[str]] = {name: set() for name in self.class_names}
        for one, other in self.class_pairs:
            self._heard_with[one].add(other)
            self._heard_with[other].add(one)
        if not self.class_pairs:
            raise InputError(
                f"not one pair of the {len(self.class_names)} classes is {pairs}: more classes are needed in {place}"
            )

    def scene(self, number: int) -> Scene:
        """A scene. It depends only on the clips, the seed and the number."""
        rng = np.random.default_rng([self.seed, number])
        pair = self.class_pairs[rng.integers(len(self.class_pairs))]
        class_a, class_b = rng.permutation(2).tolist()
        classes = pair[class_a], pair[class_b]
        clips = [self._clips[name][rng.integers(len(self._clips[name]))] for name in classes]
        border = float(rng.uniform(*_BORDER)) * SECONDS
        seed = int(rng.integers(MOST_DRAWS))
        return Scene(number, *clips, *classes, border, seed, not is_held_out(*classes))

    def third(self, scene: Scene) -> tuple[str, str] | None:
        """A third sound for a scene: the `audio_id` of its clip, and its class, which may be heard with both others.

        None where there is no such class. The same for equal clips and scenes.
        """
        beside = (self._heard_with.get(name, set()) for name in (scene.class_a, scene.class_b))
        classes = sorted(set.intersection(*beside))
        if not classes:
            return None
        rng = np.random.default_rng([scene.seed, 3])
        name = classes[rng.integers(len(classes))]
        return self._clips[name][rng.integers(len(self._clips[name]))], name

    def scenes(self, count: int) -> list[Scene]:
        return [self.scene(number) for number in range(count)]


class SceneRenderer:
    """Makes waveforms of scenes; several threads may ask at once.

    `ours`: the silence around each clip is cut away. A part of the length that the scene needs, or the repeated clip,
    gets the same level (-26 dB RMS) and fades in and out within 20 ms. `forward` is one part after the other,
    `reverse` the same two parts in the other order. In `overlay` both are repeated for the whole scene, equally loud.

    `authors`: 5 s of each clip as it is, one after the other, or their sum, twice. The sum saturates at full scale, as
    in a file of 16 bits. The border of the scene is not used.

    Args:
        clips: table with `audio audio_id`.
        skipped: where clips that can't be used are listed. It raises an InputError when they are too many.
    """

    def __init__(self, clips: Dataset, sampling_rate: int, skipped: SkippedClips, construction: str = "ours"):
        if construction not in CONSTRUCTIONS:
            raise ValueError(f"unknown construction {construction!r}: known are {', '.join(CONSTRUCTIONS)}")
        self.sampling_rate = sampling_rate
        self.construction = construction
        self._size = round(SECONDS * sampling_rate)
        self._clips = PreparedClips(clips, sampling_rate, skipped, trim_silence if construction == "ours" else None)

    def render(self, scene: Scene, relation: str, second_gain_db: float = 0.0) -> np.ndarray:
        """(10 s,) float32 within [-1, 1]: the sound of a scene. It depends only on the scene and its clips.

        `second_gain_db` makes the second sound louder, to test what a model listens to. If the peak is then too high,
        the whole is lowered. A clip that can't be used raises a ClipError.
        """
        if relation not in RELATIONS:
            raise ValueError(f"unknown relation {relation!r}: known are {', '.join(RELATIONS)}")
        if relation == OVERLAY and second_gain_db:
            raise ValueError("two sounds at once have no second one")
        parts = self._parts(scene)
        if relation == OVERLAY:
            return limit_peak(self._overlay(*parts)) if self.construction == "ours" else self._sum(*parts)
        first, second = reversed(parts) if relation == REVERSE else parts
        if not second_gain_db:
            return np.concatenate([first, second])
        return limit_peak(np.concatenate([first, second * np.float32(10 ** (second_gain_db / 20))]))

    def sequence(self, clips: Sequence[str], order: Sequence[int], seed: int) -> np.ndarray:
        """(10 s,) float32: parts of several clips one after the other, in an order of their numbers.

        Lengths of parts differ by half at most. The parts do not depend on the order.
        """
        shares = np.random.default_rng([seed, 4]).uniform(0.8, 1.2, len(clips))
        ends = np.round(np.cumsum(shares / shares.sum()) * self._size).astype(int)
        parts = [
            fade_ends(set_level(excerpt(self._clips[clip], size, [seed, number])), self.sampling_rate)
            for number, (clip, size) in enumerate(zip(clips, np.diff(ends, prepend=0).tolist(), strict=True))
        ]
        return np.concatenate([parts[number] for number in order])

    def single(self, audio_id: str, seed: int = 0) -> np.ndarray:
        """(10 s,) float32: one clip, prepared, or as it is for `authors`; a part of a longer one, which the seed
        draws, and a shorter one over and over."""
        clip = self._clips[audio_id]
        if self.construction == "authors":
            return np.resize(clip, self._size)
        return set_level(excerpt(clip, self._size, [seed]))

    def original(self, audio_id: str, seed: int = 0) -> np.ndarray:
        """The same of a clip as evaluations hear it: with its silence, at its own level."""
        clip = self._clips.original(audio_id)
        start = seed % max(1, len(clip) - self._size + 1)
        return np.resize(clip[start : start + self._size], self._size)

    def _parts(self, scene: Scene) -> list[np.ndarray]:
        clips = [self._clips[scene.clip_a], self._clips[scene.clip_b]]
        if self.construction == "authors":
            half = self._size // 2
            return [np.resize(clips[0], half), np.resize(clips[1], self._size - half)]
        first = round(scene.border * self.sampling_rate)
        sizes = (first, self._size - first)
        parts = [excerpt(clip, size, [scene.seed, n]) for n, (clip, size) in enumerate(zip(clips, sizes, strict=True))]
        return [fade_ends(set_level(part), self.sampling_rate) for part in parts]

    def _overlay(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        levels = [loudness(part, self.sampling_rate) for part in (first, second)]
        return mix(np.resize(first, self._size), np.resize(second, self._size), *levels)

    def _sum(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.resize(np.clip(first + second[: len(first)], -1, 1), self._size)


def write_manifest(path: Path | str, scenes: list[Scene]) -> None:
    """Writes scenes to a csv, whole or not at all, so that a test is the same everywhere."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Scene)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(scene) for scene in scenes)
    write_text(Path(path), text.getvalue())


def read_manifest(path: Path | str) -> list[Scene]:
    """Reads what `write_manifest` wrote, exactly."""
    rows = read_rows(Path(path), *(field.name for field in fields(Scene)))
    return [_scene(path, number, row) for number, row in enumerate(rows, start=1)]


def _scene(path: Path | str, number: int, row: dict) -> Scene:
    names = {name: row[name] for name in ("clip_a", "clip_b", "class_a", "class_b")}
    try:
        scene = Scene(
            id=int(row["id"]),
            border=float(row["border"]),
            seed=int(row["seed"]),
            seen_pair={"True": True, "False": False}[row["seen_pair"]],
            **names,
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: row {number} has an invalid value: {error}") from error
    if not SHORTEST <= scene.border <= SECONDS - SHORTEST or scene.seed < 0 or not all(names.values()):
        raise InputError(f"{path}: row {number} is no scene of two clips, with a border inside and a seed")
    return scene
