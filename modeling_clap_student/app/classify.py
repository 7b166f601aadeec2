"""The tab Classify: which of some named sounds a clip holds, as both models hear it, and when."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np
import torch
import torch.nn.functional as F

from ..classification_clap_student import PROMPT
from ..clips_clap_student import open_audio
from ..errors import InputError
from ..soundscapes.corpus import SAMPLING_RATE, labelled_clips, render
from ..windows_clap_student import Windows, as_seconds
from .models import Answer, Model
from .parts import listener, parts_of
from .pictures import bars, clock, complaint, note, spectrogram_row, strips


_SHORT = 30  # s, up to which a clip is heard as a whole before its parts
_REDRAW = 0.6  # s between two pictures of a recording that is still being heard
_EXAMPLES = ("siren", "rain", "dog", "church bell", "bird", "footsteps")
_WELCOME = note("Drop a recording, record one, or take an example: the answers stand here.")


@dataclass(frozen=True)
class Heard:
    """What has been heard of a clip so far, whatever the classes are called.

    Attributes:
        seconds: of the clip.
        wholes: of each model (dim,).
        spans: start and end of each part, s.
        parts: of each model (parts, dim).
        spectrogram: a row of the picture.
        is_done: whether all was heard.
    """

    seconds: float
    wholes: list[torch.Tensor]
    spans: list[tuple[float, float]] = field(default_factory=list)
    parts: list[torch.Tensor] = field(default_factory=list)
    spectrogram: str = ""
    is_done: bool = False


def read_names(text: str) -> list[str]:
    """Class names between commas or on lines of their own.

    Raises:
        InputError: fewer than two, or one twice.
    """
    names = [name for part in (text or "").splitlines() for name in map(str.strip, part.split(",")) if name]
    if len(names) < 2:
        told = f"only {names[0]!r} is" if names else "none is"
        raise InputError(f"name two classes at least, with a comma between them: {told} there")
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise InputError(f"{twice!r} stands twice among the class names: take one away")
    return names


def read_prompt(text: str) -> str:
    if "{}" not in (text or ""):
        raise InputError("the prompt needs {} where a class name goes: this is a sound of {}")
    return text


def hear(path: str | Path, models: Sequence[Model], most_minutes: float) -> Iterator[Heard]:
    """Hears a file as it goes: a short one as a whole first, then its parts; of a long one the parts alone.

    Raises:
        InputError: it can't be read, or lasts too long.
    """
    with without_path(), open_audio(str(path)) as source:
        seconds = source.frames / source.rate
        if seconds > 60 * most_minutes:
            raise InputError(
                f"this recording lasts {clock(seconds)}, and the page takes {most_minutes:g} minutes: start it with "
                "--max_minutes, or let run_eval.py --window_scores score it"
            )
        windows = parts_of(seconds, models)
        bounds = list(windows.bounds(source.frames, source.rate))
        spans = [(as_seconds(a, source.rate), as_seconds(b, source.rate)) for a, b in bounds]
        listeners = [listener(model, path, source, windows) for model in models]
        heard = Heard(seconds, [])
        are_windows = all(windows == Windows(model.window_seconds) for model in models)
        if has_whole := seconds <= _SHORT and not are_windows:
            heard = replace(heard, wholes=[one.whole() for one in listeners])
            yield heard
            heard = replace(heard, spectrogram=spectrogram_row(source))
        vectors = [torch.empty(len(bounds), model.config.projection_dim) for model in models]
        step = min(one.at_once for one in listeners)
        for first in range(0, len(bounds), step):
            group = bounds[first : first + step]
            done = first + len(group)
            for one, found in zip(listeners, vectors, strict=True):
                found[first:done] = one.parts(group)
            parts = [found[:done] for found in vectors]
            wholes = heard.wholes if has_whole else [F.normalize(part.mean(dim=0), dim=0) for part in parts]
            heard = replace(heard, wholes=wholes, parts=parts, spans=spans[:done])
            yield heard
        if not has_whole:
            heard = replace(heard, spectrogram=spectrogram_row(source))
        yield replace(heard, is_done=True)


@contextmanager
def without_path() -> Iterator[None]:
    """An upload lies under a temporary name, which tells nobody anything."""
    try:
        yield
    except InputError as error:
        if not str(error).startswith("can't read "):
            raise
        raise InputError(f"this file can't be read as audio: {str(error).rpartition(': ')[2]}") from error


def draw(heard: Heard | None, models: Sequence[Model], names: str, prompt: str) -> tuple[str, str]:
    """The bars, and the picture of when; both empty sentences where there is nothing to show."""
    try:
        labels, prompt = read_names(names), read_prompt(prompt)
    except InputError as error:
        return complaint(error), ""
    if heard is None:
        return _WELCOME, ""
    answers = [one.answers(whole[None], labels, prompt)[0] for one, whole in zip(models, heard.wholes, strict=True)]
    told = bars(models, answers) + _verdict(models, answers)
    if not heard.spans:
        return told, note("Hearing when each sound is there …")
    shares = np.stack([one.shares(parts, labels, prompt) for one, parts in zip(models, heard.parts, strict=True)])
    so_far = "" if heard.is_done else note(f"Heard {clock(heard.spans[-1][1])} of {clock(heard.seconds)} …")
    order = sorted(range(len(labels)), key=lambda n: -answers[0].shares[labels[n]])
    labels, shares = [labels[n] for n in order], shares[..., order]
    picture = heard.spectrogram + strips(models, labels, heard.spans, shares, heard.seconds)
    return told, f'<div class="when">{picture}</div>{so_far}'


def _verdict(models: Sequence[Model], answers: Sequence[Answer]) -> str:
    """What "none of these" means, where it is more than a bar."""
    nobody = [model.role for model, answer in zip(models, answers, strict=True) if (answer.none or 0) > 0.5]
    if not nobody:
        return ""
    return note(f"{' and '.join(nobody)}: no class fits this clip better than it fits one clip in twenty.")


class ClassifyTab:
    """Builds the tab, and answers its events.

    Args:
        models: the student, and perhaps the teacher.
        labels: class names to begin with.
        most_minutes: that a recording may last.
    """

    def __init__(self, models: Sequence[Model], labels: Sequence[str], most_minutes: float):
        self.models, self.labels, self.most_minutes = models, labels, most_minutes
        self._latest: OrderedDict[str, str] = OrderedDict()  # session -> its clip: an older one is heard no further
        self._lock = threading.Lock()

    def build(self) -> None:
        """Inside a `gr.Tab`."""
        heard = gr.State(None)
        with gr.Row(elem_classes="halves"):
            with gr.Column(min_width=300):
                clip = gr.Audio(
                    label="Recording", sources=["upload", "microphone"], type="filepath", editable=False, buttons=[],
                    waveform_options=gr.WaveformOptions(show_recording_waveform=False), elem_id="clip",
                )  # fmt: skip
                with gr.Row(elem_classes="examples"):
                    for name in _EXAMPLES:
                        button = gr.Button(name, size="sm", min_width=60)
                        button.click(
                            partial(example, name), None, clip, show_progress="hidden", api_visibility="private"
                        )
                names = gr.Textbox(
                    ", ".join(self.labels), label="Classes", info="With commas between them.", lines=2, max_lines=8,
                )  # fmt: skip
                prompt = gr.Textbox(PROMPT, label="Prompt", info="{} stands for a class.")
            with gr.Column(min_width=300, elem_classes="card"):
                answer = gr.HTML(_WELCOME, elem_id="answer")
        when = gr.HTML("", elem_id="when", elem_classes="stage")
        options = {"show_progress": "hidden", "api_visibility": "private"}
        clip.change(self.listen, [clip, names, prompt], [answer, when, heard], concurrency_limit=4, **options)
        gr.on(
            [names.change, prompt.change], self.rename, [heard, names, prompt], [answer, when],
            trigger_mode="always_last", **options,
        )  # fmt: skip

    def listen(self, path: str | None, names: str, prompt: str, request: gr.Request):
        """Yields the answer, the picture and what was heard, until another clip takes its place."""
        session = str(request.session_hash)
        with self._lock:
            self._latest[session] = path or ""
            self._latest.move_to_end(session)
            while len(self._latest) > 1000:
                self._latest.popitem(last=False)
        if path is None:
            yield _WELCOME, "", None
            return
        yield note("Listening …"), "", None
        last = 0.0
        try:
            for heard in hear(path, self.models, self.most_minutes):
                if self._latest.get(session) != path:
                    return
                is_due = time.monotonic() - last > _REDRAW or heard.is_done or len(heard.spans) == 0
                if heard.wholes and is_due:
                    last = time.monotonic()
                    yield *draw(heard, self.models, names, prompt), heard
        except InputError as error:
            yield complaint(error), "", None

    def rename(self, heard: Heard | None, names: str, prompt: str) -> tuple[str, str]:
        """The same clip under other names: nothing is heard again."""
        return draw(heard, self.models, names, prompt)


def example(name: str) -> tuple[int, np.ndarray]:
    """A built-in clip of a class, as gradio takes audio."""
    address = next(address for address, _, label in labelled_clips() if label == name)
    return SAMPLING_RATE, (render(address) * 2**15).astype(np.int16)
