"""What `run_eval.py` tells: its tables, on the terminal and in `results.md`, and the block for a model's card."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..data.benchmarks import ZSTE, Benchmark, CaptionedSet, short_name
from ..data.sources import split_revision
from ..hub_clap_student import markdown_text
from ..utils.ranking import CUTOFFS, DIRECTIONS
from .comparison import Result
from .plots import Confusion, most_confused
from .zero_shot import ZeroShotResult
from .zste.result import COMPARED, MAIN_TASKS, SCORE


# Clips of the whole sets, all folds and parts, that the paper evaluates on.
PAPER_CLIPS = {"esc50": 2000, "urbansound8k": 8732, "tut17": 6300}

PAPER_SCORES = {
    "teacher": {"esc50": (81.9, 0.9), "urbansound8k": (74.8, 1.2), "tut17": (29.8, 1.3)},
    "SL": {"esc50": (83.1, 1.2), "urbansound8k": (73.9, 2.6), "tut17": (30.1, 2.1)},
    "DU": {"esc50": (82.4, 1.4), "urbansound8k": (73.9, 0.2), "tut17": (31.5, 1.0)},
    "DU+SL": {"esc50": (83.0, 0.5), "urbansound8k": (74.9, 1.4), "tut17": (29.9, 1.9)},
    "DS": {"esc50": (78.8, 0.5), "urbansound8k": (73.2, 1.1), "tut17": (29.8, 2.6)},
    "DS+SL": {"esc50": (83.5, 0.6), "urbansound8k": (75.5, 1.4), "tut17": (31.8, 2.6)},
    "ADS": {"esc50": (84.2, 0.5), "urbansound8k": (74.2, 2.1), "tut17": (32.5, 1.0)},
    "ADS+SL": {"esc50": (85.1, 0.7), "urbansound8k": (77.4, 0.6), "tut17": (36.0, 1.8)},
    "10 % teacher": {"esc50": (74.2, 1.3), "urbansound8k": (73.5, 2.0), "tut17": (30.9, 1.6)},
    "10 % teacher, DU+SL": {"esc50": (78.9, 0.3), "urbansound8k": (73.7, 1.3), "tut17": (28.8, 1.1)},
    "10 % teacher, ADS+SL": {"esc50": (81.3, 1.0), "urbansound8k": (74.5, 0.7), "tut17": (31.3, 0.5)},
}


def in_paper(task: object) -> bool:
    """Whether a task is one of the paper's, with all of its clips."""
    return isinstance(task, Benchmark) and PAPER_CLIPS.get(task.layout) == len(task.clips)


CLASSIFICATION = {"accuracy": "Accuracy", "macro_accuracy": "Macro accuracy", "mAP": "Mean average precision"}
RETRIEVAL = (*(f"R@{k}" for k in CUTOFFS), "mAP@10", "median_rank")
_COMPARED = ("accuracy", "R@1", "mAP@10")  # with a baseline; the others' differences stand in results.json alone


@dataclass(frozen=True)
class ReportTable:
    """A table of texts.

    Attributes:
        title: what it shows, with its unit.
        columns: their heads.
        rows: cells, as many as columns.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]

    def as_markdown(self) -> str:
        """With the first column to the left, the others to the right."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, rule, *self.rows]
        rows = ["| " + " | ".join(map(markdown_text, line)) + " |" for line in lines]
        return "\n".join([f"## {markdown_text(self.title)}", "", *rows])


def score_tables(rows: Sequence[dict], tasks: Sequence) -> list[ReportTable]:
    """What counts, for the terminal too: model × task, in % with 95 % interval or s.d., the paper's numbers below.

    Args:
        rows: of `compare`.
        tasks: that they speak of.
    """
    scores = {(row["model"], row["task"], row["metric"]): row for row in rows}
    models = list(dict.fromkeys(row["model"] for row in rows))
    labelled = [task for task in tasks if isinstance(task, Benchmark)]
    tables = []
    if labelled:
        columns = ["model", *(short_name(task.name) for task in labelled)]
        for metric, title in CLASSIFICATION.items():
            cells = [[m, *(percent(scores[m, task.name, metric]) for task in labelled)] for m in models]
            cells += _paper_rows(labelled) if metric == "accuracy" else []
            tables.append(ReportTable(f"{title}, %", columns, cells))
    for task in tasks:
        if isinstance(task, CaptionedSet):
            tables.append(_retrieval_table(scores, models, task))
    return tables + _difference_table(rows)


def percent(row: dict) -> str:
    """A score in a table: its value in %, with its 95 % interval, or its s.d. over several models."""
    value = f"{100 * row['value']:.1f}"
    if "deviation" in row:
        return f"{value} ± {100 * row['deviation']:.1f}"
    return value if row["low"] is None else f"{value} ({100 * row['low']:.1f} – {100 * row['high']:.1f})"


def _paper_rows(tasks: Sequence) -> list[list[str]]:
    if not any(map(in_paper, tasks)):
        return []
    return [
        [
            f"paper: {name}",
            *("{:.1f} ± {:.1f}".format(*scores[task.layout]) if in_paper(task) else "–" for task in tasks),
        ]
        for name, scores in PAPER_SCORES.items()
    ]


def _retrieval_table(scores: dict, models: list[str], task: CaptionedSet) -> ReportTable:
    def cell(model: str, way: str, metric: str) -> str:
        row = scores[model, task.name, f"{way}_{metric}"]
        if metric != "median_rank":
            return percent(row)
        spread = f"± {row['deviation']:.1f}" if "deviation" in row else f"({row['low']:.0f} – {row['high']:.0f})"
        return f"{row['value']:.1f} {spread}"

    cells = [
        [model, way.replace("_", " "), *(cell(model, way, metric) for metric in RETRIEVAL)]
        for way in DIRECTIONS
        for model in models
    ]
    heads = ["model", "direction", *(f"{metric}, %" for metric in RETRIEVAL[:-1]), "median rank"]
    return ReportTable(f"Retrieval: {short_name(task.name)}", heads, cells)


def _difference_table(rows: Sequence[dict]) -> list[ReportTable]:
    cells = [
        [
            row["model"],
            short_name(row["task"]),
            row["metric"].replace("_", " "),
            "{} ({} to {})".format(*(_signed(row[f"difference{end}"]) for end in ("", "_low", "_high"))),
            "–" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.2g}",
        ]
        for row in rows
        if "difference" in row and _is_compared(row)
    ]
    if not cells:
        return []
    baseline = next(row["baseline"] for row in rows if "difference" in row)
    columns = ["model", "task", "metric", "difference (95 %)", "McNemar's p"]
    return [ReportTable(f"Difference from {baseline} on the same clips, percentage points", columns, cells)]


def _is_compared(row: dict) -> bool:
    if row["task"].startswith(ZSTE):
        return row["metric"] in COMPARED
    return row["metric"].endswith(_COMPARED)


def _signed(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # never -0.0


def detail_tables(results: dict[str, list[Result]]) -> list[ReportTable]:
    """By fold, by class, and what is taken for what, of each classification task.

    Args:
        results: model -> its result on each task.
    """
    tables = []
    for of_task in zip(*results.values(), strict=True):
        if isinstance(of_task[0], ZeroShotResult):
            scored = dict(zip(results, of_task, strict=True))
            tables += [*_fold_table(scored), _class_table(scored), _confusion_table(scored)]
    return tables


def _fold_table(scored: dict[str, ZeroShotResult]) -> list[ReportTable]:
    folds = {model: result.fold_accuracy for model, result in scored.items()}
    names = list(dict.fromkeys(name for by_fold in folds.values() for name in by_fold))
    if len(names) < 2:
        return []
    cells = [
        [
            model,
            *(f"{100 * by_fold[name]:.1f}" if name in by_fold else "–" for name in names),
            f"{100 * mean(by_fold.values()):.1f} ± {100 * stdev(by_fold.values()):.1f}" if len(by_fold) > 1 else "–",
        ]
        for model, by_fold in folds.items()
    ]
    columns = ["model", *(f"fold {name}" for name in names), "mean ± s.d."]
    return [ReportTable(f"{_task_of(scored)}: accuracy by fold, %", columns, cells)]


def _class_table(scored: dict[str, ZeroShotResult]) -> ReportTable:
    names = next(iter(scored.values())).benchmark.class_names
    accuracies = [result.by_class for result in scored.values()]
    cells = [
        [name, *(f"{100 * by_class[name]:.1f}" if name in by_class else "–" for by_class in accuracies)]
        for name in names
    ]
    return ReportTable(f"{_task_of(scored)}: accuracy by class, %", ["class", *scored], cells)


def _confusion_table(scored: dict[str, ZeroShotResult]) -> ReportTable:
    cells = [
        [model, pair.label, pair.predicted, f"{pair.count} ({pair.share:.0%})", ", ".join(_places(pair)[:3])]
        for model, result in scored.items()
        for pair in most_confused(result)
    ]
    columns = ["model", "class", "taken for", "clips", "for instance"]
    return ReportTable(f"{_task_of(scored)}: most confused classes", columns, cells)


def _places(pair: Confusion) -> list[str]:
    """Of a pair's clips: their paths, or the ids of those that have none."""
    return [path or clip for path, clip in zip(pair.paths, pair.clips, strict=True)]


def _task_of(scored: dict[str, ZeroShotResult]) -> str:
    return short_name(next(iter(scored.values())).task)


def as_markdown(tables: Sequence[ReportTable], notes: Sequence[str]) -> str:
    """`results.md`: notes, then the tables."""
    notes = map(markdown_text, notes)
    return "\n\n".join(["# Evaluation", *notes, *(table.as_markdown() for table in tables)]) + "\n"


def model_index(rows: Sequence[dict], tasks: Sequence, models: Sequence[str]) -> str:
    """The block `model-index` of the metadata of models' cards, as YAML.

    Args:
        rows: of `compare`.
        tasks: that they speak of.
        models: to write an entry for.
    """
    kinds = {
        task.name: "audio-text-retrieval" if isinstance(task, CaptionedSet) else "zero-shot-audio-classification"
        for task in tasks
    }
    entries = []
    for model in models:
        name = split_revision(model)[0].rstrip("/").split("/")[-1]
        results = [_eval_result(row, kinds[row["task"]]) for row in rows if row["model"] == model and _is_told(row)]
        entries += eval_results_to_model_index(name, results)
    return yaml.safe_dump({"model-index": entries}, sort_keys=False, allow_unicode=True)


def _is_told(row: dict) -> bool:
    """Of scenes, there are hundreds of scores: parts, pairs of classes and controls stay in `results.json`."""
    return not row["task"].startswith(ZSTE) or row["metric"] in (SCORE, *MAIN_TASKS)


def _eval_result(row: dict, kind: str) -> EvalResult:
    name = short_name(row["task"])
    bounds = {key: row[key] for key in ("n", "low", "high") if row[key] is not None}
    return EvalResult(
        task_type=kind,
        dataset_type=re.sub(r"\W+", "_", name),
        dataset_name=name,
        metric_type=row["metric"],
        metric_value=round(row["value"], 4),
        metric_args={key: round(value, 4) for key, value in bounds.items()},
    )
