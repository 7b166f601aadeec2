"""Results by class: how true its curated pairs are, its accuracy before and after, and its confusions.

The pool's labels are read only here and for ranking options, after everything is trained.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from protocols import Protocol
from tables import Predictions

from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.evaluation.plots import confusion_matrix, show_confusion
from modeling_clap_student.utils.charts import FILE_STYLE, MUTED, save_chart


GAIN, LOSS = "#1f6f8b", "#b5541f"
_ALIKE = {"dog bark": "dog", "engine idling": "engine"}  # one set's class equals the other's


@dataclass(frozen=True)
class OfClass:
    """The results for one class, over the seeds; for all classes together if it has no name.

    Attributes:
        pairs: ADS pairs per seed whose clip's class is known.
        true: share of them that is true; None if there are none.
        teacher, student: accuracy, in [0, 1].
    """

    name: str | None
    pairs: float
    true: float | None
    teacher: float
    student: float


def write_classes(
    protocol: Protocol, predictions: list[dict[str, Predictions]], seeds: list[Path], data: str, folder: Path
) -> None:
    """Writes and prints `classes.md`, and draws `confusion_DOMAIN.png` and `classes_DOMAIN.png`.

    All results are for the teachers and their ADS+SL students.
    """
    truth = pool_labels(protocol.pool, data)
    parts = []
    for domain in protocol.domains:
        of_domain = [of_seed[domain] for of_seed in predictions]
        verdicts = [judged_pairs(seed / f"pairs_ads_{domain}", truth) for seed in seeds]
        found = classes_of(domain, of_domain, verdicts)
        parts.append(classes_table(domain, found))
        draw_both(domain, of_domain, folder / f"confusion_{domain}.png")
        draw_gains(domain, found[:-1], folder / f"classes_{domain}.png")
    text = (
        f"Over {len(seeds)} seeds. Pairs: those of ADS whose clip's class is known, a seed; true: the clip is of the "
    )
    text += "class whose prompt is nearest to the caption.\n\n" + "\n\n".join(parts) + "\n"
    (folder / "classes.md").write_text(text, encoding="utf-8")
    print(text)


def pool_labels(pool: list[str], data: str) -> dict[str, str]:
    """Clip -> its class, for the parts of the pool that have classes."""
    known: dict[str, str] = {}
    for spec in pool:
        if not spec.startswith("folder="):
            clips = read_benchmark(spec.format(data=data)).clips
            known |= zip(clips["audio_id"], clips["label"], strict=True)
    return known


def judged_pairs(improvement_set: Path, truth: dict[str, str]) -> list[tuple[str, bool]]:
    """(class, whether it is the clip's) for each pair whose clip's class is known."""
    pairs = load_improvement_set(str(improvement_set))[0]
    rows = zip(pairs["label"], pairs["audio_id"], strict=True)
    return [(label, same(truth[clip], label)) for label, clip in rows if clip in truth]


def same(label: str, other: str) -> bool:
    return _ALIKE.get(label, label) == _ALIKE.get(other, other)


def classes_of(domain: str, of_seeds: list[Predictions], verdicts: list[list[tuple[str, bool]]]) -> list[OfClass]:
    """Each class, followed by all of them together."""
    found = []
    every = [verdict for of_seed in verdicts for verdict in of_seed]
    for name in (*of_seeds[0].classes, None):
        judged = [true for label, true in every if name in (label, None)]
        teacher, student = (
            np.mean([of.right(model)[(of.labels == name) | (name is None)].mean() for of in of_seeds])
            for model in ("teacher", f"ads_sl_{domain}")
        )
        true = float(np.mean(judged)) if judged else None
        found.append(OfClass(name, len(judged) / len(verdicts), true, teacher, student))
    return found


def classes_table(domain: str, classes: list[OfClass]) -> str:
    """Markdown: class × (pairs, share of true pairs, the teacher's accuracy, the student's)."""
    lines = [f"### {domain}", "", "| class | pairs | true, % | teacher, % | ADS+SL, % |", "|---|---|---|---|---|"]
    for of in classes:
        true = "–" if of.true is None else f"{100 * of.true:.0f}"
        cells = [of.name or "all", f"{of.pairs:.0f}", true, f"{100 * of.teacher:.1f}", f"{100 * of.student:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_gains(domain: str, classes: list[OfClass], path: Path) -> None:
    """Accuracy of each class before and after, with the largest gain on top; and the gain against the share of true
    pairs."""
    ordered = sorted(classes, key=lambda of: of.student - of.teacher)
    with matplotlib.rc_context(FILE_STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 1.6 + 0.19 * len(classes)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for place, of in enumerate(ordered):
            colour = GAIN if of.student >= of.teacher else LOSS
            left.plot([100 * of.teacher, 100 * of.student], [place, place], color=colour, lw=2, zorder=1)
            left.scatter(100 * of.teacher, place, s=22, facecolor="white", edgecolor=colour, zorder=2)
            left.scatter(100 * of.student, place, s=22, color=colour, zorder=3)
        left.set_yticks(range(len(ordered)), [of.name for of in ordered])
        left.set_xlabel("accuracy, %: teacher (hollow) and ADS+SL student")
        left.set_ylim(-0.7, len(ordered) - 0.3)
        judged = [of for of in classes if of.true is not None]
        gains = [100 * (of.student - of.teacher) for of in judged]
        right.scatter([100 * of.true for of in judged], gains, s=22, color=[GAIN if g >= 0 else LOSS for g in gains])
        right.axhline(0, color=MUTED, lw=0.8)
        right.set_xlabel("true pairs of the class, %")
        right.set_ylabel("gain, points")
        figure.suptitle(domain)
        save_chart(figure, path)


def draw_both(domain: str, of_seeds: list[Predictions], path: Path) -> None:
    """The confusion matrices of all seeds' teachers together and of their students, side by side."""
    names = of_seeds[0].classes
    with matplotlib.rc_context(FILE_STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(10, 5.6) if len(names) <= 20 else (18, 9.6), layout="constrained")
        for place, (title, model) in enumerate((("teacher", "teacher"), ("ADS+SL", f"ads_sl_{domain}")), 1):
            axes = figure.add_subplot(1, 2, place)
            show_confusion(axes, sum(matrix_of(of_seed, model) for of_seed in of_seeds), names)
            axes.set_title(f"{domain}: {title}")
        save_chart(figure, path)


def matrix_of(predictions: Predictions, model: str) -> np.ndarray:
    number = {name: place for place, name in enumerate(predictions.classes)}
    heard = [(true, said) for true, said in zip(predictions.labels, predictions.by_model[model], strict=True) if said]
    true, said = np.array([[number[name] for name in pair] for pair in heard]).T
    return confusion_matrix(true, said, len(number))


__all__ = ["write_classes"]
