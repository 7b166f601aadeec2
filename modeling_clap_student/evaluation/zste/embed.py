"""Scenes and their texts to embeddings, for any CLAP: a scene is rendered once for all models of a sampling rate."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, tee

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ...data.skipping import SkippedClips
from ...embedding import embed_texts, nothing_readable
from ...encoding_clap_student import iter_embeddings
from ...errors import ClipError, InputError
from ...temporal.captions import FORWARD, OVERLAY, REVERSE
from ...temporal.scenes import Scene, SceneRenderer
from ..prompts import Prompts, embed_classes
from .controls import GAIN_DB, ControlAudio
from .questions import FIRST, SECOND, Questions
from .tasks import SceneAudio, Texts


_AT_ONCE = 4  # scenes that are rendered side by side; with all variants they take 64 MB at 44.1 kHz

Render = Callable[[Scene], list[np.ndarray]]


def every_variant(renderer: SceneRenderer) -> Render:
    """What renders all that tasks and controls hear of a scene; `control_audio` says which is which."""

    def render(scene: Scene) -> list[np.ndarray]:
        forward, reverse, overlay = (renderer.render(scene, relation) for relation in (FORWARD, REVERSE, OVERLAY))
        border = round(scene.border * renderer.sampling_rate)
        louder = [
            renderer.render(scene, relation, gain) for gain in (-GAIN_DB, GAIN_DB) for relation in (FORWARD, REVERSE)
        ]
        return [forward, reverse, overlay, forward[:border], forward[border:], *louder]

    return render


def control_audio(embeds: np.ndarray) -> ControlAudio:
    """(n, variants, dim), the embeddings of what `every_variant` renders."""
    forward, reverse, overlay, first, second, *of_gains = embeds.transpose(1, 0, 2)
    return ControlAudio(
        SceneAudio(forward, reverse, overlay), first, second, softer=tuple(of_gains[:2]), louder=tuple(of_gains[2:])
    )


def embed_scenes(
    checkpoints: Sequence[tuple],
    scenes: Sequence[Scene],
    render: Render,
    skipped: SkippedClips,
    batch_size: int = 32,
    description: str = "embedding scenes",
) -> tuple[list[np.ndarray], np.ndarray]:
    """Embeds scenes as models hear them, each process its share; a few waveforms are in memory at a time.

    Args:
        checkpoints: (model, processor) of each, all of one sampling rate.
        scenes: to be heard.
        render: makes a scene's waveforms, as many of each, at that rate. What raises a ClipError is left out.
        skipped: where the clips were listed that can't be read.
        batch_size: windows to embed at a time.
        description: for the progress bar.

    Returns:
        of each model (kept, waveforms, dim) float32 unit vectors, and (kept,) int64, the places of these scenes.

    Raises:
        InputError: not one scene can be heard, more clips can't be read than `skipped` allows, or embeddings that are
            not finite.
    """
    state = PartialState()
    bounds = np.linspace(0, len(scenes), state.num_processes + 1).astype(int)
    share = range(bounds[state.process_index], bounds[state.process_index + 1])
    rendered: list[int] = []  # the scene of each waveform
    found: list[list[np.ndarray]] = [[] for _ in checkpoints]
    with tqdm(total=len(share), desc=description, unit="scene", disable=not state.is_main_process) as bar:
        streams = tee(_waveforms(scenes, share, render, rendered, bar), len(checkpoints))
        vectors = [
            iter_embeddings(model.eval(), _windows(processor.feature_extractor, stream), batch_size)
            for (model, processor), stream in zip(checkpoints, streams, strict=True)
        ]
        for count, of_models in enumerate(zip(*vectors, strict=True), start=1):
            for mine, vector in zip(found, of_models, strict=True):
                mine.append(vector.numpy())
            bar.update(count == len(rendered) or rendered[count] != rendered[count - 1])
    everything = gather_object([(rendered, found)])
    skipped.check()
    numbers = np.array([number for of_process, _ in everything for number in of_process], dtype=np.int64)
    if len(numbers) == 0:
        raise nothing_readable(len(scenes), skipped, "scenes")
    rows, counts = np.unique(numbers, return_counts=True)
    embeds = [
        np.stack([vector for _, of_models in everything for vector in of_models[place]])
        for place in range(len(checkpoints))
    ]
    return [check_finite(of.reshape(len(rows), counts[0], -1)) for of in embeds], rows


def _waveforms(
    scenes: Sequence[Scene], share: Iterable[int], render: Render, rendered: list[int], bar: tqdm
) -> Iterator[np.ndarray]:
    """One scene's after the other's; `rendered` gets the scene of each before it is yielded."""

    def attempt(number: int) -> list[np.ndarray]:
        try:
            return render(scenes[number])
        except ClipError:
            return []

    numbers = iter(share)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        while some := list(islice(numbers, _AT_ONCE)):
            for number, waveforms in zip(some, list(threads.map(attempt, some)), strict=True):
                rendered.extend([number] * len(waveforms))
                bar.update(not waveforms)
                yield from waveforms


def _windows(extractor, waveforms: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return map(extractor.windows, waveforms)


def check_finite(embeds: np.ndarray) -> np.ndarray:
    """The same. Raises an InputError where a number is none: all comparisons with it would be ties or wrong."""
    if not np.isfinite(embeds).all():
        raise InputError("the model's embeddings are not all finite: its training has diverged; lower --learning_rate")
    return embeds


def embed_questions(
    model, processor, questions: Questions, prompts: Prompts, arrange: Callable[[str], str] = str
) -> Texts:
    """Embeds all that scenes are compared with.

    Args:
        model, processor: as for `embed_texts`.
        questions: with classes and captions.
        prompts: what stands for a class; a caption takes the place of the class name in the same sentences.
        arrange: what is done to each name, description and caption before it is put there.
    """

    def embedded(described: dict[str, list[str]]) -> np.ndarray:
        arranged = {name: [arrange(text) for text in texts] for name, texts in described.items()}
        return embed_classes(model, processor, list(arranged), Prompts(prompts.templates, arranged))

    def positions(sentence: str) -> np.ndarray:
        return embed_texts(model, processor, [arrange(sentence.format(name)) for name in questions.class_names])

    names = prompts.descriptions or {}
    texts = Texts(
        embedded({name: names.get(name, [name]) for name in questions.class_names}),
        positions(FIRST),
        positions(SECOND),
        embedded({caption: [caption] for caption in questions.captions}),
    )
    for embeds in (texts.classes, texts.first, texts.second, texts.captions):
        check_finite(embeds)
    return texts


__all__ = ["control_audio", "embed_questions", "embed_scenes", "every_variant"]
