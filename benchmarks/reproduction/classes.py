"""What became of each class: how true its curated pairs are, how well it is known before and after, and for what it is
taken. Labels of the pool are read here, and to rank options, after everything is trained."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from protocols import Protocol
from tables import Predictions

from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.evaluation.plots import confusion_matrix, show_confusion
from modeling_clap_student.utils.charts import FILE_STYLE, save_chart


_ALIKE = {"dog bark": "dog", "engine idling": "engine"}  # one set's class is the other's


def write_classes(
    protocol: Protocol, predictions: list[dict[str, Predictions]], seeds: list[Path], data: str, folder: Path
) -> None:
    """Writes and prints `classes.md`, and draws `confusion_DOMAIN.png`: teachers and their ADS+SL students."""
    truth = pool_labels(protocol.pool, data)
    parts = []
    for domain in protocol.domains:
        of_domain = [of_seed[domain] for of_seed in predictions]
        verdicts = [judged_pairs(seed / f"pairs_ads_{domain}", truth) for seed in seeds]
        parts.append(classes_table(domain, of_domain, verdicts))
        draw_both(domain, of_domain, folder / f"confusion_{domain}.png")
    text = (
        f"Over {len(seeds)} seeds. Pairs: those of ADS whose clip's class is known, a seed; true: the clip is of the "
    )
    text += "class whose prompt is nearest to the caption.\n\n" + "\n\n".join(parts) + "\n"
    (folder / "classes.md").write_text(text, encoding="utf-8")
    print(text)


def pool_labels(pool: list[str], data: str) -> dict[str, str]:
    """Clip -> its class, of the parts of the pool that have classes."""
    known: dict[str, str] = {}
    for spec in pool:
        if not spec.startswith("folder="):
            clips = read_benchmark(spec.format(data=data)).clips
            known |= zip(clips["audio_id"], clips["label"], strict=True)
    return known


def judged_pairs(improvement_set: Path, truth: dict[str, str]) -> list[tuple[str, bool]]:
    """(class, whether it is the clip's) of each pair whose clip's class is known."""
    pairs = load_improvement_set(str(improvement_set))[0]
    rows = zip(pairs["label"], pairs["audio_id"], strict=True)
    return [(label, same(truth[clip], label)) for label, clip in rows if clip in truth]


def same(label: str, other: str) -> bool:
    return _ALIKE.get(label, label) == _ALIKE.get(other, other)


def classes_table(domain: str, of_seeds: list[Predictions], verdicts: list[list[tuple[str, bool]]]) -> str:
    """Markdown: class × (pairs, how many of them are true, the teacher's accuracy, the student's)."""
    lines = [f"### {domain}", "", "| class | pairs | true, % | teacher, % | ADS+SL, % |", "|---|---|---|---|---|"]
    every = [verdict for of_seed in verdicts for verdict in of_seed]
    for name in (*of_seeds[0].classes, None):
        judged = [true for label, true in every if name in (label, None)]
        accuracies = [
            np.mean([of.right(model)[(of.labels == name) | (name is None)].mean() for of in of_seeds])
            for model in ("teacher", f"ads_sl_{domain}")
        ]
        true = f"{100 * np.mean(judged):.0f}" if judged else "–"
        cells = [name or "all", f"{len(judged) / len(verdicts):.0f}", true, *(f"{100 * a:.1f}" for a in accuracies)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
