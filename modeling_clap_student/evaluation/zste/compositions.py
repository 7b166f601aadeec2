"""AudioTime (Xie et al. 2024): captions with events and their times, turned into recordings made of labelled clips.

For each event, a clip is drawn from the class that the event's words name. Every sound gets the same level and the
same fades as in scenes. The reversed recording holds the same sounds, mirrored between the first onset and the last
end. So silence before and after reveals nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from ...data.skipping import SkippedClips
from ...data.texts import exact_key, read_rows, text_column
from ...errors import InputError
from ...processing_clap_student import label_text
from ...temporal.preparation import PreparedClips, excerpt, fade_ends, limit_peak, set_level, trim_silence


SECONDS = 10.0  # length of a recording, unless its sounds last longer
_LONGEST = 60.0
_SHORTEST = 0.05  # seconds; no sound is shorter
_LASTS = 2.0  # longest sound, s, if only its onset is given; it also ends where the next begins

Times = dict[str, list[tuple[float, float]]]  # event -> onsets and ends in seconds


@dataclass(frozen=True)
class Sound:
    clip: str  # an `audio_id`
    label: str
    onset: float  # seconds
    end: float


@dataclass(frozen=True)
class Composition:
    """A recording to make, forward and reversed."""

    id: str
    caption: str
    sounds: tuple[Sound, ...]
    seed: int

    @property
    def is_ordered(self) -> bool:
        """Whether reversing it changes the order of its classes."""
        forward = sorted(self.sounds, key=lambda sound: (sound.onset, sound.end))
        reverse = sorted(self.sounds, key=lambda sound: (-sound.end, -sound.onset))
        return [sound.label for sound in forward] != [sound.label for sound in reverse]


def read_times(events: object) -> Times | None:
    """The events of an AudioTime item, `{event: [[onset, end], …]}` or `{event: [onset, …]}`; None if these are not
    times within a minute."""
    if not isinstance(events, dict) or not events:
        return None
    if not all(isinstance(times, list) and times and str(event).strip() for event, times in events.items()):
        return None
    try:
        spans = {str(event): [_span(time) for time in times] for event, times in events.items()}
    except (TypeError, ValueError, OverflowError):
        return None
    onsets = sorted(onset for times in spans.values() for onset, _ in times)
    ended = {event: [(on, _end(on, onsets) if end is None else end) for on, end in t] for event, t in spans.items()}
    usable = all(on >= 0 and on + _SHORTEST <= end <= _LONGEST for times in ended.values() for on, end in times)
    return ended if usable else None


def _span(time: object) -> tuple[float, float | None]:
    onset, end = (time, None) if isinstance(time, (int, float)) else time
    if any(isinstance(value, (bool, str)) for value in (onset, end)):
        raise TypeError("a time is a number")
    return float(onset), None if end is None else float(end)


def _end(onset: float, onsets: list[float]) -> float:
    following = [later for later in onsets if later > onset]
    return min([onset + _LASTS, *following[:1]])


def _stems(phrase: str) -> frozenset[str]:
    """The words of a phrase, without case, order and the endings -s and -ing."""
    words = re.findall(r"[^\W_]+", phrase.lower())
    return frozenset(re.sub(r"(?<=\w{3})(ing|e?s|e)$", "", word) for word in words)


def map_events(events: Iterable[str], class_names: Sequence[str]) -> dict[str, str]:
    """Event -> the class that it means. Events without a class are left out.

    An event is one phrase, or several separated by commas, like AudioSet's names. A class with the same words is tried
    first; then one whose words are all in a phrase, or the other way round. If several classes fit, none is taken.
    """
    classes = {name: _stems(name) for name in class_names}

    def fitting(event: str) -> set[str]:
        phrases = [stems for part in event.split(",") if (stems := _stems(part))]
        equal = {name for name, stems in classes.items() if stems in (*phrases, _stems(event))}
        return equal or {
            name for name, stems in classes.items() if any(stems <= phrase or phrase <= stems for phrase in phrases)
        }

    found = {event: fitting(event) for event in events}
    return {event: next(iter(names)) for event, names in found.items() if len(names) == 1}


def read_mapping(path: Path, class_names: Sequence[str]) -> dict[str, str]:
    """A csv with the columns `event` and `label`, in place of `map_events`. A blank label leaves an event out."""
    rows = read_rows(path, "event", "label")
    labels = map(label_text, text_column(path, rows, "label"))
    mapping = {event: label for event, label in zip(text_column(path, rows, "event"), labels, strict=True) if label}
    if unknown := sorted(set(mapping.values()) - set(class_names)):
        raise InputError(f"{path}: {unknown[0]!r} is no class of the clips: they have {', '.join(class_names)}")
    return mapping


def compose(
    name: str, caption: str, times: Times, labels: Mapping[str, str], clips: Mapping[str, Sequence[str]]
) -> Composition:
    """Draws a clip of each event's class. Equal names and `clips` (class -> sorted ids) give the same clips."""
    seed = int(exact_key(name), 16) >> 1
    rng = np.random.default_rng(seed)
    sounds = []
    for event, spans in times.items():
        label = labels[event]
        clip = clips[label][rng.integers(len(clips[label]))]
        sounds += [Sound(clip, label, onset, end) for onset, end in spans]
    return Composition(name, caption, tuple(sounds), seed)


class Composer:
    """Makes the waveforms of compositions. Several threads may call it at once. `clips` have `audio audio_id`."""

    def __init__(self, clips: Dataset, sampling_rate: int, skipped: SkippedClips):
        self.sampling_rate = sampling_rate
        self._clips = PreparedClips(clips, sampling_rate, skipped, trim_silence)

    def render(self, composition: Composition) -> list[np.ndarray]:
        """Forward and reversed, (samples,) float32 within [-1, 1] each. An unusable clip raises a ClipError."""
        rate, parts, starts = self.sampling_rate, [], []
        for number, sound in enumerate(composition.sounds):
            size = round((sound.end - sound.onset) * rate)
            part = excerpt(self._clips[sound.clip], size, [composition.seed, number])
            parts.append(fade_ends(set_level(part), rate))
            starts.append(round(sound.onset * rate))
        first, last = min(starts), max(start + len(part) for start, part in zip(starts, parts, strict=True))
        turned = [first + last - start - len(part) for start, part in zip(starts, parts, strict=True)]
        size = max(last, round(SECONDS * rate))
        return [_mix(parts, places, size) for places in (starts, turned)]


def _mix(parts: list[np.ndarray], starts: list[int], size: int) -> np.ndarray:
    waveform = np.zeros(size, np.float32)
    for start, part in zip(starts, parts, strict=True):
        waveform[start : start + len(part)] += part
    return limit_peak(waveform)
