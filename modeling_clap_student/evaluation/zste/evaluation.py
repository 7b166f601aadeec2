"""Embeds scenes and captions with any CLAP, and computes every task."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, tee

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ...checkpoints.embedding import embed_clips, embed_texts, first_too_long, nothing_readable, side_by_side
from ...data.skipping import SkippedClips
from ...encoding_clap_student import iter_embeddings
from ...errors import ClipError, InputError
from ...temporal.captions import FORWARD, RELATIONS, REVERSE
from ...temporal.scenes import Deck, Scene, SceneRenderer
from ...utils.console import progress_bar, say
from ..zero_shot import Prompts, class_numbers, embed_classes
from .questions import FIRST, ORDERS_OF_THREE, SECOND, Questions, ask, bag_of_words
from .result import SEED, SceneSet, ZsteResult
from .tasks import (
    GAIN_DB,
    ControlAudio,
    SceneAudio,
    Texts,
    confusion,
    control_tasks,
    derangement,
    scene_tasks,
    single_sounds,
    three_sounds,
)


_LONGEST = 20  # captions of three sounds whose tokens are counted
_AT_ONCE = 4  # scenes rendered in parallel; with all variants they take 64 MB at 44.1 kHz

Render = Callable[[Scene], list[np.ndarray]]
Embedded = tuple[np.ndarray, np.ndarray]  # vectors, and the places of their items


def every_variant(renderer: SceneRenderer) -> Render:
    """Renders all variants of a scene that tasks and controls hear. `control_audio` says which is which."""

    def render(scene: Scene) -> list[np.ndarray]:
        forward, reverse, overlay = (renderer.render(scene, relation) for relation in RELATIONS)
        border = round(scene.border * renderer.sampling_rate)
        louder = [
            renderer.render(scene, relation, gain) for gain in (-GAIN_DB, GAIN_DB) for relation in (FORWARD, REVERSE)
        ]
        return [forward, reverse, overlay, forward[:border], forward[border:], *louder]

    return render


def control_audio(embeds: np.ndarray) -> ControlAudio:
    """(n, variants, dim), the embeddings of the variants from `every_variant`."""
    forward, reverse, overlay, first, second, *softer_louder = embeds.transpose(1, 0, 2)
    plain = SceneAudio(forward, reverse, overlay)
    return ControlAudio(plain, first, second, softer=tuple(softer_louder[:2]), louder=tuple(softer_louder[2:]))


def embed_scenes(
    checkpoints: Sequence[tuple],
    scenes: Sequence[Scene],
    render: Render,
    skipped: SkippedClips,
    batch_size: int = 32,
    description: str = "embedding scenes",
) -> tuple[list[np.ndarray], np.ndarray]:
    """Embeds scenes as models hear them. Each process embeds its share, and few waveforms are in memory at a time.

    All models must have one sampling rate. For each model, returns (kept, waveforms, dim) float32 unit vectors; and
    (kept,) int64, the places of these scenes. `render` makes a fixed number of waveforms per scene. Scenes that raise
    a ClipError are left out.
    """
    state = PartialState()
    bounds = np.linspace(0, len(scenes), state.num_processes + 1).astype(int)
    share = range(bounds[state.process_index], bounds[state.process_index + 1])
    scene_numbers: list[int] = []  # the scene of each waveform
    embeddings: list[tuple[int, list[np.ndarray]]] = []  # for each waveform: its scene, and each model's vector
    with progress_bar(total=len(share), desc=description, unit="scene", disable=not state.is_main_process) as bar:
        streams = tee(_waveforms(scenes, share, render, scene_numbers, bar), len(checkpoints))
        vectors = [
            iter_embeddings(model.eval(), map(processor.feature_extractor.windows, stream), batch_size)
            for (model, processor), stream in zip(checkpoints, streams, strict=True)
        ]
        for count, model_vectors in enumerate(zip(*vectors, strict=True), start=1):
            embeddings.append((scene_numbers[count - 1], [vector.numpy() for vector in model_vectors]))
            bar.update(count == len(scene_numbers) or scene_numbers[count] != scene_numbers[count - 1])
    embeddings = [pair for pairs in gather_object([embeddings]) for pair in pairs]
    skipped.check()
    if not embeddings:
        raise nothing_readable(len(scenes), skipped, "scenes")
    numbers, vectors = zip(*embeddings, strict=True)
    rows, counts = np.unique(numbers, return_counts=True)
    return [np.stack(embeds).reshape(len(rows), counts[0], -1) for embeds in zip(*vectors, strict=True)], rows


def _waveforms(
    scenes: Sequence[Scene], share: Iterable[int], render: Render, scene_numbers: list[int], bar: tqdm
) -> Iterator[np.ndarray]:
    """The waveforms, scene by scene. `scene_numbers` gets the scene of each waveform before it is yielded."""

    def attempt(number: int) -> list[np.ndarray]:
        try:
            return render(scenes[number])
        except ClipError:
            return []

    numbers = iter(share)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        while chunk := list(islice(numbers, _AT_ONCE)):
            for number, waveforms in zip(chunk, list(threads.map(attempt, chunk)), strict=True):
                scene_numbers.extend([number] * len(waveforms))
                bar.update(not waveforms)
                yield from waveforms


def embed_questions(
    model, processor, questions: Questions, prompts: Prompts, arrange: Callable[[str], str] = str
) -> Texts:
    """Embeds all texts that scenes are compared with. A caption replaces the class name in the prompt's sentences.

    `arrange` is applied to each name, description and caption first.
    """

    def embed(descriptions: dict[str, list[str]]) -> np.ndarray:
        arranged = {name: [arrange(text) for text in texts] for name, texts in descriptions.items()}
        return embed_classes(model, processor, list(arranged), Prompts(prompts.templates, arranged))

    def embed_positions(sentence: str) -> np.ndarray:
        return embed_texts(model, processor, [arrange(sentence.format(name)) for name in questions.class_names])

    names = prompts.descriptions or {}
    return Texts(
        embed({name: names.get(name, [name]) for name in questions.class_names}),
        embed_positions(FIRST),
        embed_positions(SECOND),
        embed({caption: [caption] for caption in questions.captions}),
    )


def by_sampling_rate(checkpoints: Mapping[str, tuple]) -> dict[int, list[str]]:
    """Rate -> the names of the models with this rate. Each waveform is rendered once for all of them."""
    by_rate: dict[int, list[str]] = {}
    for name, (_, processor) in checkpoints.items():
        by_rate.setdefault(processor.feature_extractor.sampling_rate, []).append(name)
    return by_rate


def third_sounds(scene_set: SceneSet) -> list[tuple[str, str]]:
    """A third sound for each scene: its clip and its class. Empty if there are only two classes."""
    deck = Deck(scene_set.clips, SEED)
    return [third for scene in scene_set.scenes if (third := deck.third(scene)) is not None]


def in_order(
    renderer: SceneRenderer, scenes: Sequence[Scene], thirds: Sequence[tuple[str, str]], heard: np.ndarray
) -> Render:
    """Renders three sounds for each scene, in the order that is heard."""
    sounds = {
        scene.id: ((scene.clip_a, scene.clip_b, clip), ORDERS_OF_THREE[number])
        for scene, (clip, _), number in zip(scenes, thirds, heard, strict=True)
    }
    return lambda scene: [renderer.sequence(*sounds[scene.id], scene.seed)]


def reads_three(model, processor, questions: Questions, name: str) -> bool:
    """Whether a model reads captions of three sounds to their end. Says so if it does not."""
    longest = sorted((questions.captions[number] for number in np.unique(questions.three)), key=len)[-_LONGEST:]
    if too_long := first_too_long(model, processor, longest):
        say(f"{name}: 7A is left out: a caption of three sounds has {too_long[1]} tokens, and {too_long[2]} are read")
    return too_long is None


def evaluate_scenes(
    checkpoints: dict[str, tuple],
    scene_set: SceneSet,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
) -> dict[str, ZsteResult]:
    """Zero-shot temporal evaluation: each model's result, in their order.

    Scenes are rendered once for all models of one sampling rate. Task 1A uses each clip of the set once, unchanged. A
    scene with an unreadable clip is left out.
    """
    prompts = prompts or Prompts()
    thirds = third_sounds(scene_set)
    questions = ask(scene_set.scenes, scene_set.class_names, [name for _, name in thirds])
    scenes: dict[str, Embedded] = {}
    three: dict[str, Embedded] = {}
    for rate, names in by_sampling_rate(checkpoints).items():
        renderer = SceneRenderer(scene_set.clips, rate, skipped)
        render = every_variant(renderer)
        models = [checkpoints[name] for name in names]
        embeds, rows = embed_scenes(models, scene_set.scenes, render, skipped, batch_size, f"scenes at {rate} Hz")
        if len(rows) < 2:
            raise InputError(f"{scene_set.name}: only one scene can be heard, and at least 2 are needed")
        scenes |= {name: (model_embeds, rows) for name, model_embeds in zip(names, embeds, strict=True)}
        if thirds:
            render = in_order(renderer, scene_set.scenes, thirds, questions.three_heard)
            embeds, rows = embed_scenes(models, scene_set.scenes, render, skipped, batch_size, "scenes of three")
            three |= {name: (model_embeds[:, 0], rows) for name, model_embeds in zip(names, embeds, strict=True)}
    clips: dict[str, Embedded] = {}
    for names, models, processor in side_by_side(checkpoints):
        description = f"single sounds of {scene_set.name}"
        embeds, rows = embed_clips(models, processor, scene_set.clips, skipped, batch_size, description)
        clips |= {name: (embeds[:, place], rows) for place, name in enumerate(names)}
    return {
        name: _result(checkpoint, scene_set, questions, scenes[name], three.get(name), clips[name], prompts)
        for name, checkpoint in checkpoints.items()
    }


def _result(
    checkpoint: tuple,
    scene_set: SceneSet,
    questions: Questions,
    scenes: Embedded,
    three: Embedded | None,
    clips: Embedded,
    prompts: Prompts,
) -> ZsteResult:
    (model, processor), (scene_embeds, rows), (clip_embeds, clip_rows) = checkpoint, scenes, clips
    questions, audio = questions.select(rows), control_audio(scene_embeds)
    texts = embed_questions(model, processor, questions, prompts)
    truth = class_numbers(scene_set.benchmark, clip_rows)
    sorted_texts = embed_questions(model, processor, questions, prompts, bag_of_words)
    controls = control_tasks(audio, texts, sorted_texts, questions)
    sounds, places = np.empty((0, 0)), np.empty(0, int)
    if three is not None and reads_three(model, processor, questions, scene_set.name):
        heard = np.isin(three[1], rows)
        sounds, places = three[0][heard], np.searchsorted(rows, three[1][heard])
        strangers = derangement(len(sounds), 0)
        controls["shuffled_audio"]["7A"] = three_sounds(sounds[strangers], texts.captions, questions, places)
        controls["bag_of_words"]["7A"] = three_sounds(sounds, sorted_texts.captions, questions, places)
    record = getattr(model.config, "record", None) or {}
    return ZsteResult(
        scene_set=scene_set,
        rows=rows,
        clip_ids=np.array(scene_set.clips["audio_id"])[clip_rows],
        questions=questions,
        outcomes={
            "1A": single_sounds(clip_embeds, texts.classes, truth),
            **scene_tasks(audio.plain, texts, questions),
            "7A": three_sounds(sounds, texts.captions, questions, places),
        },
        controls=controls,
        confusion=confusion(audio.plain, texts, questions),
        trained_connectives=record.get("connectives"),
    )
