"""What the tasks come to without what they are about: if a score stays, it does not measure the hearing of order."""

from dataclasses import dataclass

import numpy as np

from .outcomes import Outcome
from .questions import Questions
from .tasks import SceneAudio, Texts, scene_tasks


# control -> its name in a table, and what it does.
CONTROLS = {
    "shuffled_audio": ("shuffled", "each scene has the audio of another one"),
    "bag_of_words": ("bag of words", "the words of each caption stand in alphabetical order"),
    "time_averaged": ("averaged", "both orders are the mean of the embeddings of the two sounds, each heard alone"),
    "second_softer": ("2nd −6 dB", "the sound heard second is softer: the louder one comes first"),
    "second_louder": ("2nd +6 dB", "the sound heard second is louder"),
}
GAIN_DB = 6.0


@dataclass(frozen=True)
class ControlAudio:
    """Embeddings of n scenes, (n, dim) float32 unit vectors each.

    Attributes:
        plain: of the scenes as they are.
        first_alone, second_alone: of the two parts of `forward`, each heard alone.
        softer, louder: (forward, reverse) whose second sound is 6 dB softer, or louder.
    """

    plain: SceneAudio
    first_alone: np.ndarray
    second_alone: np.ndarray
    softer: tuple[np.ndarray, np.ndarray]
    louder: tuple[np.ndarray, np.ndarray]


def control_tasks(
    audio: ControlAudio, texts: Texts, sorted_texts: Texts, questions: Questions, seed: int = 0
) -> dict[str, dict[str, Outcome]]:
    """control -> metric -> its outcome, whose ties should be shared: without order, all is ties.

    Args:
        audio: of the scenes, at least 2.
        texts, sorted_texts: as they are, and with their words in alphabetical order.
        questions: of the scenes.
        seed: of which scene gets which other one's audio.
    """
    plain = audio.plain
    other = derangement(len(plain.forward), seed)
    averaged = unit(audio.first_alone + audio.second_alone)
    settings = {
        "shuffled_audio": (SceneAudio(plain.forward[other], plain.reverse[other], plain.overlay[other]), texts),
        "bag_of_words": (plain, sorted_texts),
        "time_averaged": (SceneAudio(averaged, averaged, plain.overlay), texts),
        "second_softer": (SceneAudio(*audio.softer, plain.overlay), texts),
        "second_louder": (SceneAudio(*audio.louder, plain.overlay), texts),
    }
    return {control: scene_tasks(*of, questions) for control, of in settings.items()}


def derangement(count: int, seed: int) -> np.ndarray:
    """(count,) int, a permutation drawn from a seed that leaves none of 2 or more items in its place."""
    order = np.random.default_rng(seed).permutation(count)
    moved = np.empty(count, dtype=np.int64)
    moved[order] = np.roll(order, 1)  # one cycle through all
    return moved


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, dim) -> the same, of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


__all__ = ["CONTROLS", "GAIN_DB", "ControlAudio", "control_tasks", "derangement", "unit"]
