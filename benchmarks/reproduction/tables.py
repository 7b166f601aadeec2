"""The tables: each row's accuracy over the seeds, and its difference from its teacher, clip by clip."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from grid import Row
from steps import ROOT

from modeling_clap_student.evaluation.statistics import bootstrap_interval, mcnemar


_NAMES = {
    "2": "As in the paper's Table 2",
    "order": "Which strategy is better",
    "3": "As in the paper's Table 3",
    "rounds": "A second round, and no replay, against the teacher",
    "seeds": "More seeds",
    "recipe": "What each part of the recipe gives, against the teacher",
    "ablations": "What differs from ADS+SL, against the teacher",
    "changes": "What differs from ADS+SL, against ADS+SL",
    "pool": "The same on the pool's labels",
}
_AGAINST = {"order": "difference", "changes": "against ADS+SL", "pool": "against ADS+SL"}


@dataclass(frozen=True)
class Predictions:
    """One seed's predictions on one labelled set's clips.

    Attributes:
        classes: their names.
        labels: (clips,) the true class.
        by_model: name -> (clips,) the predicted class; None for a clip that can't be read.
    """

    classes: list[str]
    labels: np.ndarray
    by_model: dict[str, np.ndarray]

    def right(self, model: str) -> np.ndarray:
        """(clips,) bool."""
        return self.by_model[model] == self.labels


def write_tables(parts: list[str], folder: Path) -> None:
    """Writes and prints `tables.md`."""
    told = "Mean ± s.d. over seeds; differences are paired by clip and seed, with 95 % bootstrap intervals over clips "
    text = f"{told}and McNemar's exact p over all of them.\n\n" + "\n\n".join(parts) + "\n"
    (folder / "tables.md").write_text(text, encoding="utf-8")
    print(text)


def tables_of(rows: list[Row], predictions: list[dict[str, Predictions]]) -> list[str]:
    """Markdown: the tables with these rows, from each seed's predictions."""
    parts = []
    for table in dict.fromkeys(row.table for row in rows):
        of_table = [row for row in rows if row.table == table]
        lines, sets = [line_of(row, predictions) for row in of_table], list(of_table[0].models)
        sizes = {name: len(predictions[0][name].labels) for name in sets}
        titles = [f"{name} (n = {sizes[name]}), % | {_AGAINST.get(table, 'against its teacher')} | p" for name in sets]
        titles.append("p, both sets")
        head = f"| model | {' | '.join(titles)} |\n|---|{'---|' * ' | '.join(titles).count('|')}---|"
        seeds = f" ({len(predictions)} seed{'s' * (len(predictions) != 1)})"
        parts.append("\n".join([f"### {_NAMES[table]}{seeds}", "", head, *lines]))
    return parts


def predict(rows: list[Row], seed: Path, data: str, sets: dict[str, str]) -> dict[str, Predictions]:
    """Set -> the predictions of the models that the rows name for it, from run_eval.py. No model is scored twice."""
    found = {}
    for labelled, spec in sets.items():
        named = [(row.models, row.baselines) for row in rows]
        wanted = {models[labelled] for both in named for models in both if labelled in models}
        found[labelled] = _predictions(seed, labelled)
        if missing := sorted(wanted - set(found[labelled].by_model)):
            models = [str(seed / name) for name in missing]
            output = free_name(seed, f"eval_{labelled}")
            command = [sys.executable, str(ROOT / "run_eval.py"), "--model", *models, "--output_dir", str(output)]
            subprocess.run([*command, "--task", spec.format(data=data)], check=True)
            found[labelled] = _predictions(seed, labelled)
    return found


def free_name(folder: Path, stem: str) -> Path:
    """The first of `stem_0`, `stem_1`, … that does not exist."""
    return next(path for number in count() if not (path := folder / f"{stem}_{number}").exists())


def _predictions(seed: Path, labelled: str) -> Predictions:
    found = Predictions([], np.array([]), {})
    for file in sorted(seed.glob(f"eval_{labelled}_*/details.json")):
        details = json.loads(file.read_text(encoding="utf-8"))
        task, labels = details["tasks"][0], np.array(details["tasks"][0]["labels"], dtype=object)
        by_model = {Path(one["model"]).name: np.array(one["predictions"], dtype=object) for one in details["results"]}
        found = Predictions(list(task["classes"]), labels, found.by_model | by_model)
    return found


def line_of(row: Row, predictions: list[dict[str, Predictions]]) -> str:
    cells, pooled = [], []
    for labelled, model in row.models.items():
        mine = np.array([of_seed[labelled].right(model) for of_seed in predictions])
        baseline = row.baselines[labelled]
        theirs = np.array([of_seed[labelled].right(baseline) for of_seed in predictions])
        accuracies = [100 * value for value in mine.mean(axis=1)]
        spread = f" ± {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        cells.append(f"{statistics.mean(accuracies):.1f}{spread}")
        if model == baseline:
            cells += ["", ""]
            continue
        difference, p = apart(mine, theirs)
        if row.table == "seeds":  # must not hide a seed that is below its teacher
            gains = 100 * (mine.mean(axis=1) - theirs.mean(axis=1))
            difference += f"; by seed {', '.join(f'{gain:+.1f}' for gain in gains)}"
        cells += [difference, p]
        pooled.append((mine.ravel(), theirs.ravel()))
    cells.append(f"{mcnemar(*map(np.concatenate, zip(*pooled, strict=True))):.2g}" if pooled else "")
    return f"| {row.title} | {' | '.join(cells)} |"


def apart(mine: np.ndarray, theirs: np.ndarray) -> list[str]:
    """(seeds, items) bool for two models, whether each is right -> their difference with its interval, McNemar's p."""
    differences = (mine.astype(float) - theirs).mean(axis=0)  # an item's seeds are not independent
    low, high = bootstrap_interval(differences)
    told = f"{100 * differences.mean():+.1f} ({100 * low:+.1f} – {100 * high:+.1f})"
    return [told, f"{mcnemar(mine.ravel(), theirs.ravel()):.2g}"]


__all__ = ["Predictions", "apart", "free_name", "predict", "tables_of", "write_tables"]
