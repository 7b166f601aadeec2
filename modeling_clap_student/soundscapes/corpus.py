"""The built-in corpus: soundscapes that the package synthesises itself. Nothing is downloaded or stored.

Three parts play the roles of the paper's corpora:

- `train`: captioned clips of one event on a quiet background, for the teacher; also labelled, for training on scenes;
- `pool`: clips "in the wild" without text: one to three events over louder backgrounds and echoes;
- `test`: labelled clips of ten classes, the user's domain.

All use the same generators. `train` and `test` use ranges of the parameters that overlap only in part, as if they were
recorded with other things in another place. The pool covers both ranges. A clip is a pure function of its part and
number. An address such as `soundscapes://pool/17` replaces a file wherever the package takes audio.
"""

import re
from functools import lru_cache

import numpy as np

from ..errors import InputError
from .sounds import SOUND_CLASSES
from .synthesis import SAMPLING_RATE, Draw, hiss


SCHEME = "soundscapes://"
SECONDS = 5.0
NUM_SAMPLES = int(SECONDS * SAMPLING_RATE)

# Number of clips, range of the generators' parameters, and entropy of the seeds.
_PARTS = {
    "train": (1200, (0.0, 0.6), 101),
    "pool": (2400, (0.0, 1.0), 202),
    "test": (600, (0.4, 1.0), 303),
}

# How often a clip in the wild holds one, two and three events.
_CROWD = (0.5, 0.3, 0.2)

# The user's domain: a street.
TEST_CLASSES = (
    "siren", "car horn", "engine", "helicopter", "rain", "church bell", "footsteps", "dog", "bird", "jackhammer",
)  # fmt: skip

_CLASS_OF_CAPTION = {caption: name for name, kind in SOUND_CLASSES.items() for caption in kind.captions}


def is_soundscape(path: str) -> bool:
    return path.startswith(SCHEME)


def _plan(part: str, number: int) -> tuple[Draw, list[str]]:
    """The random generator of a clip, after the choice of its events, and the events' classes."""
    _, extent, entropy = _PARTS[part]
    rng = np.random.default_rng([entropy, number])
    classes = sorted(TEST_CLASSES if part == "test" else SOUND_CLASSES)
    if part != "pool":
        return Draw(rng, extent), [classes[number % len(classes)]]
    num_events = rng.choice(len(_CROWD), p=_CROWD) + 1
    return Draw(rng, extent), rng.choice(classes, size=num_events, replace=False).tolist()


def _parse(path: str) -> tuple[str, int]:
    match = re.fullmatch(rf"{SCHEME}(\w+)/([0-9]+)", path)
    if not match or match[1] not in _PARTS or int(match[2]) >= _PARTS[match[1]][0]:
        raise InputError(f"{path!r} is no clip of the soundscapes corpus")
    return match[1], int(match[2])


def render(path: str) -> np.ndarray:
    """(220500,) float32 within [-1, 1]: the clip at an address, with 16 bits per sample as in a file."""
    return _render_16_bit(path).astype(np.float32) / np.float32(2**15)


# Training uses the same clips in each epoch. At 441 kB per clip, this holds at most 0.9 GB.
@lru_cache(maxsize=2048)
def _render_16_bit(path: str) -> np.ndarray:
    draw, events = _plan(*_parse(path))
    clip = np.zeros(NUM_SAMPLES, np.float32)
    for event in events:
        sound = _normalize(SOUND_CLASSES[event].synthesize(draw)[:NUM_SAMPLES])
        start = draw.count(0, NUM_SAMPLES - len(sound))
        clip[start : start + len(sound)] += sound * np.float32(10 ** (-draw.any(0, 8) / 20))
    clip = _echoes(draw, clip)
    background = hiss(draw, NUM_SAMPLES, draw.any(20, 200), draw.log(8000, 400), steep=False)
    noise_level = 10 ** (-draw.any(10, 30) / 20)
    clip = _normalize(clip) + np.float32(noise_level) * _normalize(background)
    clip -= clip.mean()  # an offset can't be heard, but would reveal some classes
    level = draw.any(0.1, 0.9) / max(1e-6, np.abs(clip).max())
    return np.round(clip * np.float32(level * (2**15 - 1))).astype(np.int16)


def _normalize(signal: np.ndarray) -> np.ndarray:
    """The signal with a level of 1 in its loudest half second, so that short and long events have equal levels."""
    size = min(len(signal), SAMPLING_RATE // 2)
    power = np.add.reduceat(signal * signal, np.arange(0, len(signal), size)).max() / size
    return signal / np.float32(np.sqrt(power) + 1e-9)


def _echoes(draw: Draw, clip: np.ndarray) -> np.ndarray:
    """A few walls: delayed copies, which grow louder towards the end of the extent."""
    strength = draw(0, 0.7)
    out = clip.copy()
    for _ in range(3):
        delay = int(draw.any(0.01, 0.09) * SAMPLING_RATE)
        out[delay:] += np.float32(strength * draw.any(0.3, 1)) * clip[:-delay]
    return out


def _names(parts: tuple[str, ...], default: str) -> tuple[str, list[str]]:
    """The part that was asked for, and PART/NUMBER for its clips."""
    part = parts[0] if parts else default
    if len(parts) > 1 or part not in _PARTS:
        raise InputError(f"soundscapes has no part {','.join(parts)!r}: take one of {', '.join(_PARTS)}")
    return part, [f"{part}/{number}" for number in range(_PARTS[part][0])]


def captioned_clips(*parts: str) -> list[tuple[str, str, str]]:
    """(address, id, caption) of the captioned part, `train`."""
    part, names = _names(parts, "train")
    if part != "train":
        raise InputError(f"soundscapes:{part} has no captions: take soundscapes:train")
    rows = []
    for number, name in enumerate(names):
        _, (event,) = _plan(part, number)
        captions = SOUND_CLASSES[event].captions
        # A generator of its own, so that the words say nothing about the parameters of the sound.
        choice = np.random.default_rng([_PARTS[part][2], number, 1]).integers(len(captions))
        rows.append((SCHEME + name, name, captions[choice]))
    return rows


def pool_clips(*parts: str) -> list[tuple[str, str]]:
    """(address, id) of the clips without text; by default the part `pool`."""
    return [(SCHEME + name, name) for name in _names(parts, "pool")[1]]


def labelled_clips(*parts: str) -> list[tuple[str, str, str]]:
    """(address, id, class name) of the part `test`, the evaluation domain, by default; or of the captioned part,
    `train`.

    `train` holds all classes, `test` ten of them.
    """
    part, names = _names(parts, "test")
    if part == "pool":
        raise InputError("soundscapes:pool has no labels: take soundscapes:test or soundscapes:train")
    return [(SCHEME + name, name, _plan(part, number)[1][0]) for number, name in enumerate(names)]


def holds_event(path: str, caption: str) -> bool | None:
    """Whether a clip truly holds the sound in a caption of this corpus; None for any other clip or caption.

    For judging curated pairs afterwards. The method itself never sees it.
    """
    if caption not in _CLASS_OF_CAPTION or not is_soundscape(path) or "#" in path:
        return None  # "#": a part of a clip, which need not hold all its sounds
    return _CLASS_OF_CAPTION[caption] in _plan(*_parse(path))[1]
