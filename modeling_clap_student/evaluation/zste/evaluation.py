"""Embeds scenes and captions with any CLAP, and asks every task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, tee

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ...checkpoints.embedding import embed_clips, embed_texts, nothing_readable, side_by_side
from ...data.benchmarks import Benchmark
from ...data.skipping import SkippedClips
from ...encoding_clap_student import iter_embeddings
from ...errors import ClipError, InputError
from ...temporal.captions import BEFORE, FORWARD, OVERLAY, REVERSE, scene_caption
from ...temporal.scenes import Scene, SceneRenderer
from ..zero_shot import Prompts, embed_classes, zero_shot
from .questions import FIRST, SECOND, Questions, ask, bag_of_words, hears_forward
from .result import ZsteResult
from .scene_set import SceneSet
from .tasks import (
    GAIN_DB,
    ControlAudio,
    SceneAudio,
    Texts,
    confusion,
    control_tasks,
    order_accuracy,
    scene_tasks,
    single_sounds,
)


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
    return [vectors.reshape(len(rows), counts[0], -1) for vectors in embeds], rows


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
    return Texts(
        embedded({name: names.get(name, [name]) for name in questions.class_names}),
        positions(FIRST),
        positions(SECOND),
        embedded({caption: [caption] for caption in questions.captions}),
    )


def evaluate_scenes(
    checkpoints: dict[str, tuple],
    scene_set: SceneSet,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
) -> dict[str, ZsteResult]:
    """Zero-shot temporal evaluation.

    Scenes are rendered once for all models of one sampling rate. Task 1A takes the set's clips as they are, each once.

    Args:
        checkpoints: name -> (model, processor), in eval mode, all on one device.
        scene_set: clips and scenes.
        skipped: where clips that can't be read are listed; a scene with one of them is left out.
        batch_size: windows to embed at a time.
        prompts: what stands for classes and captions; "this is a sound of " + them by default.

    Returns:
        name -> its result, in the order of the models.

    Raises:
        InputError: fewer than two scenes can be heard, or embeddings that are not finite.
    """
    prompts = prompts or Prompts()
    questions = ask(scene_set.scenes, scene_set.benchmark.class_names)
    by_rate: dict[int, list[str]] = {}
    for name, (_, processor) in checkpoints.items():
        by_rate.setdefault(processor.feature_extractor.sampling_rate, []).append(name)
    heard: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for rate, names in by_rate.items():
        render = every_variant(SceneRenderer(scene_set.benchmark.clips, rate, skipped))
        some = [checkpoints[name] for name in names]
        embeds, rows = embed_scenes(some, scene_set.scenes, render, skipped, batch_size, f"scenes at {rate} Hz")
        if len(rows) < 2:
            raise InputError(f"{scene_set.name}: only one scene can be heard, and at least 2 are needed")
        heard |= {name: (of_model, rows) for name, of_model in zip(names, embeds, strict=True)}
    singles = _single_sounds(checkpoints, scene_set, skipped, batch_size)
    return {
        name: _result(checkpoint, scene_set, questions, heard[name], singles[name], prompts)
        for name, checkpoint in checkpoints.items()
    }


def _single_sounds(
    checkpoints: dict[str, tuple], scene_set: SceneSet, skipped: SkippedClips, batch_size: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Model -> embeddings of the clips as they are, and their rows."""
    found = {}
    for names, models, processor in side_by_side(checkpoints):
        description = f"single sounds of {scene_set.name}"
        embeds, rows = embed_clips(models, processor, scene_set.benchmark.clips, skipped, batch_size, description)
        found |= {name: (embeds[:, place], rows) for place, name in enumerate(names)}
    return found


def _result(
    checkpoint: tuple,
    scene_set: SceneSet,
    questions: Questions,
    scenes_heard: tuple[np.ndarray, np.ndarray],
    clips_heard: tuple[np.ndarray, np.ndarray],
    prompts: Prompts,
) -> ZsteResult:
    (model, processor), (embeds, rows), (singles, kept) = checkpoint, scenes_heard, clips_heard
    questions = questions.select(rows)
    texts = embed_questions(model, processor, questions, prompts)
    audio = control_audio(embeds)
    clips = scene_set.benchmark.clips
    number = {name: place for place, name in enumerate(questions.class_names)}
    truth = np.array([number[label] for label in np.array(clips["label"])[kept]])
    sorted_texts = embed_questions(model, processor, questions, prompts, bag_of_words)
    record = getattr(model.config, "record", None) or {}
    return ZsteResult(
        scene_set=scene_set,
        rows=rows,
        clip_ids=np.array(clips["audio_id"])[kept],
        questions=questions,
        outcomes={
            "1A": single_sounds(singles, texts.classes, truth),
            **scene_tasks(audio.plain, texts, questions),
        },
        controls=control_tasks(audio, texts, sorted_texts, questions),
        confusion=confusion(audio.plain, texts, questions),
        trained_connectives=record.get("connectives"),
    )


def quick_scores(
    model,
    processor,
    scenes: Sequence[Scene],
    renderer: SceneRenderer,
    singles: Benchmark,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
    connectives: Sequence[str] = (BEFORE,),
) -> dict[str, float]:
    """Tasks 1A and 3C without controls: each scene is heard in one order, half of them in each.

    All processes must call alike; each embeds its share.

    Args:
        model, processor, skipped, batch_size: as for `embed_clips`; the model on its device.
        scenes: the same each time.
        renderer: of the processor's sampling rate; it keeps the clips that it has prepared.
        singles: labelled clips, each heard once.
        prompts: what stands for classes and captions; "this is a sound of " + them by default.
        connectives: the words for the order, a scene each in turn.

    Returns:
        `accuracy_1a` and `order`, in [0, 1]; of the latter guessing reaches 0.5, a model that ignores order less.
    """
    prompts = prompts or Prompts()
    was_training = model.training
    try:
        single = zero_shot(model.eval(), processor, singles, skipped, batch_size, prompts).accuracy
        heard = dict(zip((scene.id for scene in scenes), hears_forward(len(scenes)), strict=True))

        def render(scene: Scene) -> list[np.ndarray]:
            return [renderer.render(scene, FORWARD if heard[scene.id] else REVERSE)]

        (embeds,), rows = embed_scenes([(model, processor)], scenes, render, skipped, batch_size, "hearing order")
        kept = [scenes[row] for row in rows]
        said = [connectives[row % len(connectives)] for row in rows]
        forward, reverse = (_captions(model, processor, kept, said, way, prompts) for way in (FORWARD, REVERSE))
    finally:
        model.train(was_training)
    right = order_accuracy(embeds[:, 0], embeds[:, 0], forward, reverse, np.array([heard[s.id] for s in kept]))
    return {"accuracy_1a": single, "order": float(right.mean())}


def _captions(model, processor, scenes: Sequence[Scene], said: list[str], relation: str, prompts: Prompts):
    captions = [
        scene_caption(scene.class_a, scene.class_b, relation, words) for scene, words in zip(scenes, said, strict=True)
    ]
    return embed_classes(model, processor, captions, Prompts(prompts.templates))
