"""A linear probe: what a few labelled clips of each class achieve on fixed embeddings.

Source: MTEB's protocol for classification, which MAEB uses too (Muennighoff et al. 2023, arXiv 2210.07316): logistic
regression on 8 examples per class, ten times.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F

from ..data.benchmarks import Benchmark, short_name
from ..errors import InputError
from .report import ReportTable, percent
from .statistics import score_row
from .zero_shot import ZeroShotResult


DRAWS = 10


@dataclass(frozen=True)
class Probe:
    """The probe of one model on one benchmark.

    Attributes:
        task: the benchmark's name.
        examples: training clips per class.
        accuracies: (draws,) in [0, 1], each on the clips that its draw left over.
        num_tested: number of clips in the smallest of these test sets.
    """

    task: str
    examples: int
    accuracies: list[float]
    num_tested: int

    @property
    def row(self) -> dict:
        """As `score_row`, with `deviation`, the s.d. over the draws."""
        row = score_row(self.task, f"probe_{self.examples}", mean(self.accuracies), self.num_tested)
        return row | {"deviation": stdev(self.accuracies)}


def probe(result: ZeroShotResult, examples: int, seed: int = 0, draws: int = DRAWS) -> Probe:
    """Learns the classes from some of the clips and classifies the others, several times.

    The draws depend only on the seed and on which clips could be read. So models that read the same clips get the same
    draws. If recordings are known, other clips of a drawn recording are used neither for training nor for testing.

    Args:
        result: holds the clips' embeddings.
        examples: clips per class.

    Raises:
        InputError: a class has too few clips.
    """
    rng, recordings = np.random.default_rng(seed), _recordings(result)
    names = np.array(result.benchmark.class_names, dtype=object)[result.truth]
    _check_clips(result.benchmark.name, examples, names)
    places = [np.flatnonzero(result.truth == number) for number in np.unique(result.truth)]
    accuracies, sizes = [], []
    for _ in range(draws):
        drawn = np.concatenate([rng.choice(of_class, examples, replace=False) for of_class in places])
        tested = np.flatnonzero(~np.isin(recordings, recordings[drawn]))
        if len(tested) == 0:
            raise InputError(f"--probe {examples} leaves no recording of {result.task} to test on")
        classify = fit_logistic(result.clip_embeds[drawn], result.truth[drawn])
        accuracies.append(float((classify(result.clip_embeds[tested]) == result.truth[tested]).mean()))
        sizes.append(len(tested))
    return Probe(result.task, examples, accuracies, min(sizes))


def check_probe(examples: int, tasks: Sequence) -> None:
    """Checks, before the clips are embedded, that the tasks fit a probe.

    Raises:
        InputError: no task has classes, or a class has too few clips.
    """
    labelled = [task for task in tasks if isinstance(task, Benchmark)]
    if not labelled:
        raise InputError("--probe is for classes, and no --task has any")
    for task in labelled:
        _check_clips(task.name, examples, task.clips["label"])


def _check_clips(task: str, examples: int, labels: Sequence[str]) -> None:
    name, count = Counter(labels).most_common()[-1]
    if count <= examples:
        raise InputError(f"--probe {examples} needs more clips of each class: {task} has {count} of {name!r}")


def _recordings(result: ZeroShotResult) -> np.ndarray:
    """(kept,) numbers, equal for clips that were cut from one recording."""
    clips = result.benchmark.clips
    names = list(clips["audio_id"])
    if "origin_id" in clips.column_names:
        names = [origin or name for origin, name in zip(clips["origin_id"], names, strict=True)]
    return np.unique(np.array(names, dtype=object)[result.rows], return_inverse=True)[1]


def fit_logistic(embeds: np.ndarray, labels: np.ndarray, strength: float = 1.0):
    """Multinomial logistic regression. Returns a classifier: (clips, dim) embeddings to (clips,) labels.

    Minimises Σ cross-entropy + |W|²/(2 · strength) over weights W and free biases, as scikit-learn does.

    Args:
        embeds: (clips, dim).
        labels: (clips,) int, at least two different ones.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    inputs, targets = torch.as_tensor(embeds, dtype=torch.float64), torch.as_tensor(targets)
    weights = torch.zeros(len(classes), inputs.shape[1], dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(len(classes), dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([weights, biases], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss():
        fit.zero_grad()
        value = F.cross_entropy(inputs @ weights.T + biases, targets, reduction="sum")
        value = value + weights.square().sum() / (2 * strength)
        value.backward()
        return value

    fit.step(loss)
    matrix, offsets = weights.detach().numpy(), biases.detach().numpy()
    return lambda clips: classes[(clips @ matrix.T + offsets).argmax(axis=1)]


def probe_rows(results: dict[str, list], examples: int, baseline: str | None, seed: int) -> list[dict]:
    """Rows for `results.json`, for tasks with classes; with a baseline, also the mean `difference` of the draws.

    Args:
        results: model -> its result on each task.
    """
    rows = []
    for of_task in zip(*results.values(), strict=True):
        if not isinstance(of_task[0], ZeroShotResult):
            continue
        probes = {model: probe(result, examples, seed) for model, result in zip(results, of_task, strict=True)}
        for model, each in probes.items():
            row = each.row | {"model": model}
            if baseline not in (None, model):
                differences = np.subtract(each.accuracies, probes[baseline].accuracies)
                row |= {"baseline": baseline, "difference": float(differences.mean())}
                row |= {"difference_deviation": float(differences.std(ddof=1))}
            rows.append(row)
    return rows


def probe_tables(rows: Sequence[dict]) -> list[ReportTable]:
    """Tables of model × task, mean ± s.d. over the draws."""
    if not rows:
        return []
    tasks, models = (list(dict.fromkeys(row[key] for row in rows)) for key in ("task", "model"))
    cells = {(row["model"], row["task"]): percent(row) for row in rows}
    examples = rows[0]["metric"].removeprefix("probe_")
    title = f"Accuracy of a linear probe on {examples} clips per class, % ± s.d. over {DRAWS} draws"
    lines = [[model, *(cells[model, task] for task in tasks)] for model in models]
    return [ReportTable(title, ["model", *map(short_name, tasks)], lines)]
