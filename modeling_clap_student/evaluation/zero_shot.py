"""Zero-shot classification: each clip gets the class with the nearest texts."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from ..checkpoints.embedding import embed_clips, embed_texts, side_by_side
from ..checkpoints.inference import for_inference
from ..checkpoints.loading import as_checkpoint
from ..curation.strategies import PROMPT
from ..data.benchmarks import Benchmark, read_benchmark
from ..data.skipping import SkippedClips
from ..data.tables import is_unicode
from ..data.texts import LONGEST_TEXT, TOO_LONG, read_rows
from ..errors import InputError
from ..processing_clap_student import label_text
from ..utils.arguments import load_yaml
from ..utils.precision import AUTO, usable_dtype
from ..utils.processes import own_device
from .metrics import Accuracy, MacroAccuracy, MeanAveragePrecision, computed
from .statistics import (
    ItemScores,
    average_precision_interval,
    macro_interval,
    paired_difference,
    score_row,
    wilson_interval,
)


PLACE = "{}"


@dataclass(frozen=True)
class Prompts:
    """How class names are turned into texts."""

    templates: tuple[str, ...] = (PROMPT + PLACE,)  # sentences with `{}` for the name
    descriptions: dict[str, list[str]] | None = None  # replacements for the names; None: the names themselves

    def __post_init__(self):
        if wrong := [template for template in self.templates if PLACE not in template]:
            raise InputError(f"--prompt {wrong[0]!r} has no {{}} where the class name goes: 'the sound of {{}}'")

    def check(self, class_names: set[str]) -> None:
        """Raises an InputError unless the descriptions are for exactly these classes."""
        if self.descriptions is None:
            return
        for names, problem in (
            (self.descriptions.keys() - class_names, "describes classes that no task has"),
            (class_names - self.descriptions.keys(), "does not describe all classes; missing are"),
        ):
            if names:
                raise InputError(f"--class_descriptions {problem}: {', '.join(sorted(names))}")

    def texts(self, class_name: str) -> list[str]:
        names = [class_name] if self.descriptions is None else self.descriptions[class_name]
        return [template.replace(PLACE, name) for template in self.templates for name in names]


def embed_classes(model, processor, class_names: list[str], prompts: Prompts) -> np.ndarray:
    """(classes, dim) float32 unit vectors: the mean of each class's texts' unit vectors, normalised.

    Source: Radford et al. 2021, arXiv 2103.00020, section 3.1.4 (prompt ensembles in the embedding space).
    """
    texts = [prompts.texts(name) for name in class_names]
    embeds = embed_texts(model, processor, [text for class_texts in texts for text in class_texts])
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    sums = np.add.reduceat(embeds, starts)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def read_descriptions(path: str | Path) -> dict[str, list[str]]:
    """Class name as words -> the texts that describe it, at least one.

    Args:
        path: a .yaml or .json file with a mapping from class names to a text or a list of texts; or a .csv with the
            columns `label` and `description`, one text per row.
    """
    path = Path(path)
    if path.suffix == ".csv":
        pairs = [(row["label"], row["description"]) for row in read_rows(path, "label", "description")]
    else:
        pairs = _read_mapping(path).items()
    descriptions: dict[str, list[str]] = {}
    for name, texts in pairs:
        texts = _check_texts(path, name, texts)
        descriptions.setdefault(label_text(name), []).extend(texts)
    return descriptions


def _read_mapping(path: Path) -> dict:
    try:
        text = path.read_text(encoding="utf-8-sig")
        # It makes texts, lists and dicts and nothing else: a class `no` stays a text.
        content = json.loads(text) if path.suffix == ".json" else load_yaml(text, yaml.BaseLoader)
    except OSError as error:
        raise InputError(f"can't read --class_descriptions {path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is malformed: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds no mapping: it takes lines such as `dog: [a dog barks, a puppy]`")
    return content


def _check_texts(path: Path, name: str, texts: object) -> list[str]:
    given = texts if isinstance(texts, list) else [texts]
    words = [text for text in given if isinstance(text, str) and text.strip()]
    if not given or len(words) < len(given):
        raise InputError(f"{path}: {name!r} needs a text, or a list of texts, none of them blank")
    for text in (name, *words):
        if not is_unicode(text) or len(text) > LONGEST_TEXT:
            raise InputError(f"{path}: {ascii(text)[:80]} is no Unicode text, or {TOO_LONG}")
    return words


@dataclass(frozen=True)
class Difference:
    """The difference of an accuracy from a baseline's, on the clips that both could read."""

    value: float  # the model's minus the baseline's
    low: float  # lower end of its 95 % interval (bootstrap)
    high: float
    p: float  # p of McNemar's exact test


@dataclass(frozen=True)
class ZeroShotResult:
    """The result of one model on one benchmark.

    Attributes:
        benchmark: the clips and their classes.
        rows: (kept,) int, the clips that could be read. All scores are about these.
        truth, predicted: (kept,) int, indices into `benchmark.class_names`.
        clip_embeds: (kept, dim) float32 unit vectors.
        class_embeds: (classes, dim), the same for the classes' prompts.
        accuracy: share of the clips that were classified correctly, in [0, 1].
        macro_accuracy: mean of the classes' accuracies.
        mean_average_precision: of the cosines with the classes.
        by_class: accuracy of each class.
        logit_scale: the factor of the model's cosines.
        difference: from a baseline on the same clips; None without one.
    """

    benchmark: Benchmark
    rows: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    clip_embeds: np.ndarray = field(repr=False)
    class_embeds: np.ndarray = field(repr=False)
    accuracy: float
    macro_accuracy: float
    mean_average_precision: float
    by_class: dict[str, float]
    logit_scale: float = 1.0
    difference: Difference | None = None

    @property
    def task(self) -> str:
        return self.benchmark.name

    @property
    def n(self) -> int:
        """Clips that could be read."""
        return len(self.rows)

    @property
    def correct(self) -> np.ndarray:
        return self.predicted == self.truth

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval (Wilson)."""
        return wilson_interval(int(self.correct.sum()), self.n)

    @property
    def probabilities(self) -> np.ndarray:
        """(kept, classes) float32, as `classify` gives them."""
        logits = self.logit_scale * (self.clip_embeds @ self.class_embeds.T)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    @property
    def predictions(self) -> list[str | None]:
        """Class name for each row of the benchmark; None for a clip that could not be read."""
        names: list[str | None] = [None] * len(self.benchmark.clips)
        for row, number in zip(self.rows, self.predicted, strict=True):
            names[row] = self.benchmark.class_names[number]
        return names

    @property
    def fold_accuracy(self) -> dict[str, float]:
        """Accuracy of each fold, in order; empty if the benchmark has no folds."""
        names = self.benchmark.folds
        if names is None:
            return {}
        folds = np.array(self.benchmark.clips["fold"], dtype=object)[self.rows]
        return {name: float(self.correct[folds == name].mean()) for name in names if name in folds}

    @property
    def collapse(self) -> str | None:
        """A warning, if two of four or more classes got nine of ten clips but truly hold less than six of ten; else
        None."""
        if len(self.benchmark.class_names) < 4:
            return None
        places, counts = np.unique(self.predicted, return_counts=True)
        first = np.argsort(-counts, kind="stable")[:2]
        share = counts[first].sum() / self.n
        if share < 0.9 or np.sort(np.bincount(self.truth))[-2:].sum() / self.n > 0.6:
            return None
        names = " and ".join(self.benchmark.class_names[place] for place in places[first])
        classes = len(self.benchmark.class_names)
        return f"{share:.0%} of the clips of {self.task} were taken for {names}, out of {classes} classes"

    def as_row(self) -> dict:
        """The accuracy as `{task, metric, value, n, low, high}`."""
        return score_row(self.task, "accuracy", self.accuracy, self.n, self.interval)

    def as_rows(self, seed: int = 0) -> list[dict]:
        """All scores. The seed is for the bootstrap intervals of the macro accuracy and the mAP."""
        classes, totals = np.unique(self.truth, return_counts=True)
        hits = np.bincount(self.truth[self.correct], minlength=len(self.benchmark.class_names))
        macro = macro_interval(hits[classes], totals, seed)
        precision = average_precision_interval(self.clip_embeds @ self.class_embeds.T, self.truth, seed)
        return [
            self.as_row(),
            score_row(self.task, "macro_accuracy", self.macro_accuracy, self.n, macro),
            score_row(self.task, "mAP", self.mean_average_precision, self.n, precision),
        ]

    def item_scores(self) -> dict[str, ItemScores]:
        """Metric -> each clip's contribution."""
        return {"accuracy": ItemScores(np.array(self.benchmark.clips["audio_id"])[self.rows], self.correct)}


def evaluate_zero_shot(
    model,
    task: str | Path | Benchmark,
    baseline=None,
    prompt: str | list[str] | None = None,
    batch_size: int = 32,
    dtype: str = AUTO,
    seed: int = 0,
    max_skipped_fraction: float = 0.1,
    progress: bool = True,
    trust_remote_code: bool = False,
) -> ZeroShotResult:
    """Classifies labelled clips without any training on them. The numbers are those of `run_eval.py`.

    Clips that can't be read are left out; a warning says how many, and names one. Each process embeds its share, and
    all get the result. Models are moved to the accelerator, if there is one.

    Args:
        model: a `ClapStudentModel`, transformers' `ClapModel`, any model that `curate` takes as a teacher, the name of
            a checkpoint, or a pair of a model and its processor.
        task: an evaluation set as `--task` takes it, or one that was already read.
        baseline: another model to compare with, on the same clips.
        prompt: the text for a class, `{}` for its name. Several are averaged. By default "this is a sound of {}".
        batch_size: windows per batch.
        dtype: of the towers: float32, bfloat16 or auto, as `--dtype`.
        seed: for the difference's bootstrap interval.
        max_skipped_fraction: an error is raised if more than this share of 20 or more clips can't be read.
        progress: whether to show bars.
        trust_remote_code: whether code in a named checkpoint may run.

    Raises:
        InputError: a task, a model or a prompt that can't be used, or too many clips that can't be read.
    """
    prompts = Prompts((prompt,) if isinstance(prompt, str) else tuple(prompt or [PROMPT + PLACE]))
    benchmark = task if isinstance(task, Benchmark) else read_benchmark(str(task))
    device = own_device()
    models = {"model": model} | ({} if baseline is None else {"baseline": baseline})
    checkpoints = {name: as_checkpoint(given, trust_remote_code=trust_remote_code) for name, given in models.items()}
    checkpoints = {
        name: (for_inference(clap.to(device), usable_dtype(dtype, device.type)), processor)
        for name, (clap, processor) in checkpoints.items()
    }
    with TemporaryDirectory() as folder:
        skipped = SkippedClips(Path(folder, "skipped.csv"), max_skipped_fraction)
        results = zero_shot_of_all(checkpoints, benchmark, skipped, batch_size, prompts, progress)
        if reasons := skipped.read():
            first = "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:5])
            warnings.warn(f"{len(reasons)} clips of {benchmark.name} can't be read: {first}", stacklevel=2)
    if baseline is None:
        return results["model"]
    scores = {name: result.item_scores()["accuracy"] for name, result in results.items()}
    paired = paired_difference([scores["model"]], scores["baseline"], seed)
    keys = ("difference", "difference_low", "difference_high", "mcnemar_p")
    return replace(results["model"], difference=Difference(*(paired[key] for key in keys)))


def zero_shot(
    model,
    processor,
    benchmark: Benchmark,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
) -> ZeroShotResult:
    """Classifies a benchmark's clips by argmax over cos(clip, class). Ties: the first class.

    Source: Wang et al. 2023, arXiv 2305.01864, section 3.
    """
    return zero_shot_of_all({"": (model, processor)}, benchmark, skipped, batch_size, prompts)[""]


def zero_shot_of_all(
    checkpoints: Mapping[str, tuple],
    benchmark: Benchmark,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
    progress: bool = True,
) -> dict[str, ZeroShotResult]:
    """Each model's result, in their order. A clip is read once for all models with equal feature extractors.

    Args:
        checkpoints: name -> (model, processor), all on one device.
    """
    results = {}
    for names, models, processor in side_by_side(checkpoints):
        description = f"evaluating on {benchmark.name}" if progress else None
        clips, rows = embed_clips(models, processor, benchmark.clips, skipped, batch_size, description)
        for place, name in enumerate(names):
            classes = embed_classes(*checkpoints[name], benchmark.class_names, prompts or Prompts())
            scale = checkpoints[name][0].logit_scale.detach().float().exp().item()
            results[name] = _classify(benchmark, clips[:, place], rows, classes, scale)
    return {name: results[name] for name in checkpoints}


def _classify(
    benchmark: Benchmark, clips: np.ndarray, rows: np.ndarray, classes: np.ndarray, scale: float
) -> ZeroShotResult:
    names, truth = benchmark.class_names, class_numbers(benchmark, rows)
    cosines = clips @ classes.T
    predicted = cosines.argmax(axis=1)
    scores = computed(Accuracy(), predictions=predicted, references=truth)
    return ZeroShotResult(
        benchmark,
        rows,
        truth,
        predicted,
        clips,
        classes,
        accuracy=scores["accuracy"],
        macro_accuracy=computed(MacroAccuracy(), predictions=predicted, references=truth)["macro_accuracy"],
        mean_average_precision=computed(MeanAveragePrecision(), predictions=cosines, references=truth)["mAP"],
        by_class={names[place]: value for place, value in scores["class_accuracy"].items()},
        logit_scale=scale,
    )


def class_numbers(benchmark: Benchmark, rows: np.ndarray) -> np.ndarray:
    """The class of each of these clips, as its index in `class_names`."""
    number = {name: place for place, name in enumerate(benchmark.class_names)}
    return np.array([number[label] for label in np.array(benchmark.clips["label"])[rows]])
