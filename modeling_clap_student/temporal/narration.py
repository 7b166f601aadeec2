"""What training captions say about a scene: the order of its sounds, the place of one sound, or its name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..curation.strategies import PROMPT
from .captions import FIRST, LAST, NAMED, PLACES, SECOND, THIRD, facts_of, key_of
from .connectives import AT_ONCE, BEFORE, CONNECTIVES, SEQUENCES, WHILE, order_words


# Phrases about one place alone.
POSITIONS = {
    FIRST: (
        "the first sound is {}",
        "first there is {}",
        "it starts with {}",
        "it begins with {}",
        "{} is heard first",
    ),
    SECOND: ("the second sound is {}", "{} is heard second", "{} is the second sound"),
    THIRD: ("the third sound is {}", "{} is heard third", "{} is the third sound"),
    LAST: (
        "the last sound is {}",
        "at the end there is {}",
        "it ends with {}",
        "it stops with {}",
        "{} is heard last",
    ),
}

# What evaluation asks of places, which goes with the common words.
_COMMON_POSITIONS = {
    place: (f"In this concatenated sound, the {place} sound is {{}}",) * 3 for place in (FIRST, SECOND)
}

Said = tuple[str, int]  # a caption and the key of what it says


@dataclass(frozen=True)
class Heard:
    """Different sounds, one after the other, or two at once."""

    classes: tuple[str, ...]
    at_once: bool = False

    @property
    def facts(self) -> list[int]:
        return facts_of(self.classes, self.at_once)

    def name(self, number: int, prompt: str) -> Said:
        return prompt + self.classes[number], key_of(NAMED, self.classes[number])

    def place(self, place: str, sentence: str) -> Said:
        name = self.classes[-1 if place == LAST else PLACES.index(place)]
        return sentence.format(name), key_of(place, name)

    def order(self, words: str, prompt: str) -> Said:
        """In the words for an order, or of sounds at once, for both."""
        connective = CONNECTIVES[words]
        classes = self.classes if connective.kind in (BEFORE, WHILE) else self.classes[::-1]
        return prompt + connective.join(*classes), key_of(connective.kind, *classes)


@dataclass(frozen=True)
class Narrator:
    """Draws the words for scenes: those of the method, and later also others.

    Attributes:
        hold_out: whether the common words for an order are kept from training, to test with them.
        paraphrase_from: when the others begin, as a share of the run; 1: never. "A preceded by B" turns the sounds
            around: from the start, a model that was not taught the words before would learn no order at all.
        prompted: whether half of the captions begin with evaluations' prompt, "this is a sound of".
        positions: share of the other captions that say one sound's place.
        names: share of the other captions that name one of the sounds.
    """

    hold_out: bool = False
    paraphrase_from: float = 0.0
    prompted: bool = True
    positions: float = 0.25
    names: float = 0.15

    @property
    def orders(self) -> tuple[str, ...]:
        """The words for an order, as often as captions use them in the end: half of them `before`."""
        others = order_words(self.hold_out) if self.paraphrase_from < 1 else ()
        return (*others, *[BEFORE] * max(1, len(others)))

    def connectives(self, overlays: bool) -> list[str]:
        """The words that captions use for an order, each once; with overlays, also those for both at once."""
        at_once = (WHILE, *(AT_ONCE if self.paraphrase_from < 1 else ())) if overlays else ()
        return list(dict.fromkeys((BEFORE, *self.orders, *at_once)))

    @property
    def phrases(self) -> list[str]:
        """All that captions say besides names."""
        places = [sentence.format("") for sentences in self._positions.values() for sentence in sentences]
        return [*self.connectives(overlays=True), *(places if self.paraphrase_from < 1 and self.positions else ())]

    def longest(self, class_names: Sequence[str]) -> list[str]:
        """Captions of three sounds, of the longest names."""
        names = sorted(class_names, key=len)[-3:]
        sequences = [words for kind in SEQUENCES.values() for words in kind[self.hold_out]]
        return [PROMPT + CONNECTIVES[words].join(*names) for words in sequences]

    def narrate(self, scene: Sequence[Heard], progress: float, seed: list[int]) -> list[Said]:
        """A caption of each way in which the same sounds are heard: `before`, or `while`."""
        rng = np.random.default_rng([*seed, 1])
        prompt = self._prompt(rng)
        paraphrases = progress >= self.paraphrase_from < 1
        at_once = _draw(rng, (WHILE, *AT_ONCE)) if paraphrases else WHILE
        words = BEFORE if len(scene[0].classes) == 2 else SEQUENCES[BEFORE][self.hold_out][0]
        return [heard.order(at_once if heard.at_once else words, prompt) for heard in scene]

    def paraphrase(self, scene: Sequence[Heard], progress: float, seed: list[int]) -> list[Said]:
        """Another caption of each of two orders, all in the same words; none before it is time."""
        if not progress >= self.paraphrase_from < 1:
            return []
        rng = np.random.default_rng([*seed, 2])
        prompt, kind, count = self._prompt(rng), rng.random(), len(scene[0].classes)
        if kind < self.names:
            number = int(rng.integers(count))
            return [heard.name(number, PROMPT if self.prompted else "") for heard in scene]
        if kind < self.names + self.positions:
            place = _draw(rng, (*PLACES[:count], LAST))
            sentence = _draw(rng, self._positions[place])
            return [heard.place(place, sentence) for heard in scene]
        words = _draw(rng, order_words(self.hold_out))
        words = words if count == 2 else _draw(rng, SEQUENCES[CONNECTIVES[words].kind][self.hold_out])
        return [heard.order(words, prompt) for heard in scene]

    @property
    def _positions(self) -> dict[str, tuple[str, ...]]:
        more = {} if self.hold_out else _COMMON_POSITIONS
        return {place: sentences + more.get(place, ()) for place, sentences in POSITIONS.items()}

    def _prompt(self, rng: np.random.Generator) -> str:
        return PROMPT if self.prompted and rng.random() < 0.5 else ""


def _draw(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[rng.integers(len(options))]
