"""The tab Order: two sounds one after the other, and which of them the models heard first."""

import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
from datasets import Dataset

from ..classification_clap_student import PROMPT
from ..data.skipping import SkippedClips
from ..data.tables import UNDECODED
from ..errors import ClipError, InputError
from ..temporal.captions import RELATIONS, scene_caption
from ..temporal.scenes import SECONDS, Scene, SceneRenderer
from .models import Answer, Model
from .pictures import bars, complaint, note, player
from .serving import Made, Shelf, as_wav


_PLAYED = ("first, then second", "second, then first", "both at once")
_WELCOME = note("Give two sounds and say what each is: the page plays them, and asks the models what came first.")


def has_heard_order(model: Model) -> bool:
    """Whether a model was post-trained on the order of sounds."""
    record = model.record
    while isinstance(record, dict):
        if record.get("stage") in ("a", "b"):
            return True
        record = record.get("before")
    return False


def ask(
    models: Sequence[Model], paths: Sequence[str], names: Sequence[str], relation: str
) -> tuple[np.ndarray, int, list[str], list[dict[str, float]]]:
    """Renders two files as a scene, and asks each model for its caption.

    Args:
        paths: of the two files.
        names: of their sounds.
        relation: one of `RELATIONS`.

    Returns:
        the scene as the first model hears it, (samples,) float32; its rate, Hz; the captions, in the order of
        `RELATIONS`; and of each model the probability of each caption.

    Raises:
        InputError: a file that can't be read, or names that are empty or the same.
    """
    names = [" ".join((name or "").split()) for name in names]
    if not all(names):
        raise InputError("say what each of the two sounds is: a word or two")
    if names[0].lower() == names[1].lower():
        raise InputError(f"both sounds are called {names[0]!r}: which came first can't be asked then")
    captions = [scene_caption(*names, one) for one in RELATIONS]
    audio = {"audio": [{"bytes": None, "path": str(path)} for path in paths], "audio_id": ["a", "b"]}
    clips, waves, answers = Dataset.from_dict(audio).cast_column("audio", UNDECODED), [], []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            extractor = model.processor.feature_extractor
            skipped = SkippedClips(Path(folder) / "skipped.csv", 1)
            renderer = SceneRenderer(clips, extractor.sampling_rate, skipped)
            try:
                wave = renderer.render(Scene(0, "a", "b", *names, SECONDS / 2, 0, True), relation)
            except ClipError as error:
                raise InputError(f"one of the two files can't be used: it {error}") from error
            waves.append(wave)
            (vector,) = model.clips([list(extractor.windows(wave))], 2)
            texts = model.texts([PROMPT.replace("{}", caption) for caption in captions])
            shares = (model.scale * vector @ texts.T).softmax(dim=0).tolist()
            answers.append(dict(zip(captions, shares, strict=True)))
    return waves[0], models[0].processor.feature_extractor.sampling_rate, captions, answers


class OrderTab:
    """Builds the tab, and answers its events.

    Args:
        models: at least one of them has learnt the order of sounds.
        shelf: for the scene that is played.
    """

    def __init__(self, models: Sequence[Model], shelf: Shelf):
        self.models, self.shelf = models, shelf

    def build(self) -> None:
        """Inside a `gr.Tab`."""
        sounds, names = [], []
        with gr.Row(elem_classes="halves"):
            for which, such_as in (("First", "dog"), ("Second", "siren")):
                with gr.Column(min_width=300):
                    sounds.append(
                        gr.Audio(
                            label=f"{which} sound", sources=["upload", "microphone"], type="filepath", editable=False,
                            buttons=[], waveform_options=gr.WaveformOptions(show_recording_waveform=False),
                            elem_id=f"{which.lower()}-sound",
                        )
                    )  # fmt: skip
                    names.append(gr.Textbox(label=f"What the {which.lower()} sound is", placeholder=such_as))
        played = gr.Radio(_PLAYED, value=_PLAYED[0], label="Played")
        button = gr.Button("What came first?", variant="primary")
        with gr.Column(elem_classes="card"):
            answer = gr.HTML(_WELCOME, elem_id="order")
        options = {"show_progress": "minimal", "api_visibility": "private"}
        gr.on(
            [button.click, played.change, *(name.submit for name in names)], self.answer, [*sounds, *names, played],
            answer, trigger_mode="always_last", **options,
        )  # fmt: skip

    def answer(self, first: str | None, second: str | None, name: str, other: str, played: str) -> str:
        if first is None or second is None:
            return _WELCOME
        relation = RELATIONS[_PLAYED.index(played)]
        try:
            wave, rate, captions, answers = ask(self.models, (first, second), (name, other), relation)
        except InputError as error:
            return complaint(error)
        address = self.shelf.put(Made(as_wav(wave, rate), "audio/wav"))
        truth = captions[RELATIONS.index(relation)]
        told = []
        for model, shares in zip(self.models, answers, strict=True):
            is_right = max(shares, key=shares.get) == truth
            told.append(f"{model.role}: {'right' if is_right else 'wrong'}")
        drawn = bars(self.models, [Answer(shares, None) for shares in answers])
        return (
            f"<h3>Played: {escape(truth)}</h3>{player(address, 'the two sounds')}{drawn}{note('. '.join(told) + '.')}"
        )
