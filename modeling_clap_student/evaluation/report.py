"""The output of `run_eval.py`: tables for the terminal and for `results.md`, and a block for a model's card."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..card_clap_student import markdown_text
from ..data.benchmarks import ZSTE, Benchmark, CaptionedSet, short_name
from ..data.sources import split_revision
from ..temporal.captions import RELATIONS
from ..utils.ranking import CUTOFFS, DIRECTIONS
from .paper import paper_rows
from .plots import most_confused
from .zero_shot import ZeroShotResult
from .zste.published import PublishedTest
from .zste.questions import ASKED
from .zste.result import CONTROL, MAIN_TASKS, SCORE, SceneSet, ZsteResult
from .zste.tasks import CONTROLS, MEANS, metric_of


CLASSIFICATION = {"accuracy": "Accuracy", "macro_accuracy": "Macro accuracy", "mAP": "Mean average precision"}
RETRIEVAL = (*(f"R@{k}" for k in CUTOFFS), "mAP@10", "median_rank")

# Scores that the table compares with a baseline. Other differences are only in results.json.
_COMPARED = ("accuracy", "R@1", "mAP@10")  # endings
_PUBLISHED = ("/group", "/R@1", "/mAP@10", "/accuracy")  # endings, for tests by others
_COMPARED_SCENES = ("1A", "2A", "3A", "3C", "3D", "4A", "4B", "5A", "6A", "6B")


@dataclass(frozen=True)
class ReportTable:
    """A table of texts. Its title gives the unit."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def as_markdown(self) -> str:
        """The first column is left-aligned, the others right-aligned."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, rule, *self.rows]
        rows = ["| " + " | ".join(map(markdown_text, line)) + " |" for line in lines]
        return "\n".join([f"## {markdown_text(self.title)}", "", *rows])


def score_tables(rows: Sequence[dict], tasks: Sequence) -> list[ReportTable]:
    """The main scores, also for the terminal: model × task, in % with 95 % interval or s.d., then the paper's numbers.

    Args:
        rows: from `compare`.
        tasks: the tasks of the rows.
    """
    scores = {(row["model"], row["task"], row["metric"]): row for row in rows}
    models = list(dict.fromkeys(row["model"] for row in rows))
    labelled = [task for task in tasks if isinstance(task, Benchmark)]
    tables = []
    if labelled:
        columns = ["model", *(short_name(task.name) for task in labelled)]
        for metric, title in CLASSIFICATION.items():
            cells = [[m, *(percent(scores[m, task.name, metric]) for task in labelled)] for m in models]
            cells += paper_rows(labelled) if metric == "accuracy" else []
            tables.append(ReportTable(f"{title}, %", columns, cells))
    for task in tasks:
        if isinstance(task, CaptionedSet):
            tables.append(_retrieval_table(scores, models, task))
    return tables + _difference_table(rows)


def percent(row: dict) -> str:
    """A score in a table: its value in %, with its 95 % interval, or with its s.d. over several models."""
    value = f"{100 * row['value']:.1f}"
    if "deviation" in row:
        return f"{value} ± {100 * row['deviation']:.1f}"
    return value if row["low"] is None else f"{value} ({100 * row['low']:.1f} – {100 * row['high']:.1f})"


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
        return row["metric"] in _COMPARED_SCENES or row["metric"].endswith(_PUBLISHED)
    return row["metric"].endswith(_COMPARED)


def _signed(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # never -0.0


# metric of scenes -> its meaning.
TITLES = {
    SCORE: "score: mean of 1A 2A 3A 4A 5A over chance",
    "1A": "1A single sound",
    "2A": "2A overlay: both sounds",
    "2B": "2B overlay: recall at 2",
    "2C": "2C one after the other: both sounds",
    "2D": "2D one after the other: recall at 2",
    "3A": "3A order, of 3 captions",
    "3B": "3B order or overlay, of 3 captions",
    "3C": "3C order, of 2 captions",
    "3D/text": "3D 2 × 2: captions",
    "3D/audio": "3D 2 × 2: sounds",
    "3D": "3D 2 × 2: both",
    "3E/text": "3E 3 × 3: captions",
    "3E/audio": "3E 3 × 3: sounds",
    "3E": "3E 3 × 3: both",
    "4A": "4A among up to 50 captions",
    "4B": "4B among up to 50, the reversal with them",
    "4B/reversal_share": "4B errors that are the reversal",
    "5A": "5A position prompts: both at once",
    "5B": "5B position prompts: first and second",
    "5B/first": "5B first",
    "5B/second": "5B second",
    "5B/swapped": "5B both swapped",
    "6A": "6A order by “after”",
    "6B": "6B order by other connectives",
    "6D": "6D order by “after”, “then”, “followed by”",
    "6E": "6E order by whole sentences",
    "7A": "7A order of three sounds, of 6 captions",
    **{f"6C/{words}_gap_R@{k}": f"6C swap gap, {words}, R@{k}" for words in ("reversed", "replaced") for k in CUTOFFS},
}
_CONTROLLED = [metric for metric in MAIN_TASKS if metric not in ("1A", "7A")]
_OF_ORDER = ("3A", "3C", "3D", "4A", "4B", "5A", "5B", "6A", "6B")


def scene_tables(rows: Sequence[dict], tasks: Sequence) -> list[ReportTable]:
    """Tables for each set of scenes, also for the terminal: tasks × models, controls, connectives; tests by others."""
    tables = []
    for task in tasks:
        scores, models, name = _scores_on(task.name, rows)
        if isinstance(task, PublishedTest):
            titles = {metric: _words(metric) for model, metric in scores if model == models[0]}
            tables.append(_task_table(scores, models, name, titles))
        elif isinstance(task, SceneSet):
            tables += [
                _task_table(scores, models, name, TITLES),
                _control_table(scores, models, name, _OF_ORDER),
                _connective_table(scores, models, name),
            ]
    return tables


def scene_notes(tasks: Sequence) -> list[str]:
    """Explains the words of the tables, if there are scenes."""
    if not any(isinstance(task, SceneSet) for task in tasks):
        return []
    controls = "; ".join(f"{name}: {effect}" for name, effect in CONTROLS.values())
    return [
        f"Scenes: ties count as wrong, in controls as their share. Controls: {controls}. Deaf to order: what a model "
        "reaches that is perfect but can't hear which sound comes first."
    ]


def _scores_on(task: str, rows: Sequence[dict]) -> tuple[dict, list[str], str]:
    """(model, metric) -> row; the models; the task's name."""
    scores = {(row["model"], row["metric"]): row for row in rows if row["task"] == task}
    return scores, list(dict.fromkeys(model for model, _ in scores)), short_name(task)


def _chance(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.3g}"


def _task_table(scores: dict, models: list[str], name: str, titles: dict[str, str]) -> ReportTable:
    cells = [
        [title, _chance(scores[models[0], metric]["chance"]), *(percent(scores[model, metric]) for model in models)]
        for metric, title in titles.items()
    ]
    return ReportTable(f"{name}, %", ["task", "chance", *models], cells)


def _control_table(
    scores: dict, models: list[str], name: str, metrics: Sequence[str], whole: bool = False
) -> ReportTable:
    """One row per task and model: the score, the score under each control, and values known without measuring.

    `whole`: with n and intervals, which do not fit on the terminal.
    """
    show = percent if whole else lambda row: f"{100 * row['value']:.1f}"
    cells = [
        [
            _words(metric),
            model,
            *([str(scores[model, metric]["n"])] if whole else []),
            show(scores[model, metric]),
            *(show(scores[model, f"{metric}/{CONTROL}/{control}"]) for control in CONTROLS),
            _chance(scores[model, metric]["chance"]),
            _chance(scores[model, metric]["order_blind"]),
        ]
        for metric in metrics
        for model in models
    ]
    names = [control_name for control_name, _ in CONTROLS.values()]
    heads = ["task", "model", *(["n"] if whole else []), "as it is", *names, "chance", "deaf to order"]
    return ReportTable(f"{name}: {'all ' * whole}controls, % (a tie counts as its share)", heads, cells)


def _words(metric: str) -> str:
    return metric.replace("_", " ").replace("/", " ")


def _connective_table(scores: dict, models: list[str], name: str) -> ReportTable:
    cells = []
    asked = {metric_of(words): words for words in ASKED} | {metric: f"all of {metric}" for metric in MEANS}
    for metric, words in asked.items():
        for model in models:
            row, agreement = scores[model, metric], scores.get((model, f"{metric}/consistency"))
            answers = {True: "yes", False: "no", None: "unknown"}
            answer = "–" if "deviation" in row else answers.get(row["trained_on"], row["trained_on"])
            cells.append([words, model, answer, percent(row), percent(agreement) if agreement else "–"])
    heads = ["connective", "model", "trained on", "order, %", "same verdict as “before”, %"]
    return ReportTable(f"{name}: connectives (chance 50 %)", heads, cells)


def detail_tables(results: dict[str, list]) -> list[ReportTable]:
    """For each classification task: accuracy by fold, accuracy by class, and the most confused classes."""
    tables = []
    for scored in _by_task(results, ZeroShotResult):
        tables += [*_fold_table(scored), _class_table(scored), _confusion_table(scored)]
    return tables


def scene_detail_tables(rows: Sequence[dict], results: dict[str, list]) -> list[ReportTable]:
    """All controls; class pairs that may occur in training and those that may not; confused relations."""
    tables = []
    for scored in _by_task(results, ZsteResult):
        scores = _scores_on(next(iter(scored.values())).task, rows)
        tables += [_control_table(*scores, _CONTROLLED, whole=True), _pair_table(*scores), _relation_table(scored)]
    return tables


def _by_task(results: dict[str, list], kind: type) -> list[dict]:
    """For each task whose results are of one kind: model -> its result."""
    tasks = [dict(zip(results, task_results, strict=True)) for task_results in zip(*results.values(), strict=True)]
    return [scored for scored in tasks if isinstance(next(iter(scored.values())), kind)]


def _task_name(scored: dict) -> str:
    return short_name(next(iter(scored.values())).task)


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
    return [ReportTable(f"{_task_name(scored)}: accuracy by fold, %", columns, cells)]


def _class_table(scored: dict[str, ZeroShotResult]) -> ReportTable:
    names = next(iter(scored.values())).benchmark.class_names
    accuracies = [result.by_class for result in scored.values()]
    cells = [
        [name, *(f"{100 * by_class[name]:.1f}" if name in by_class else "–" for by_class in accuracies)]
        for name in names
    ]
    return ReportTable(f"{_task_name(scored)}: accuracy by class, %", ["class", *scored], cells)


def _confusion_table(scored: dict[str, ZeroShotResult]) -> ReportTable:
    cells = []
    for model, result in scored.items():
        for pair in most_confused(result):
            places = [path or clip for path, clip in zip(pair.paths, pair.clips, strict=True)]
            count = f"{pair.count} ({pair.share:.0%})"
            cells.append([model, pair.label, pair.predicted, count, ", ".join(places[:3])])
    columns = ["model", "class", "taken for", "clips", "for instance"]
    return ReportTable(f"{_task_name(scored)}: most confused classes", columns, cells)


def _pair_table(scores: dict, models: list[str], name: str) -> ReportTable:
    kinds = [(model, kind) for model in models for kind in ("seen", "unseen")]
    cells = []
    for metric in _CONTROLLED:
        rows = [scores.get((model, f"{metric}/{kind}")) for model, kind in kinds]
        cells.append([_words(metric), *(percent(row) if row else "–" for row in rows)])
    heads = ["task", *(f"{model}: {kind}" for model, kind in kinds)]
    return ReportTable(f"{name}: pairs of classes that training may hear (seen) and may not, %", heads, cells)


def _relation_table(scored: dict[str, ZsteResult]) -> ReportTable:
    cells = [
        [relation, model, *map(str, result.confusion[way].tolist())]
        for way, relation in enumerate(RELATIONS)
        for model, result in scored.items()
    ]
    heads = ["heard", "model", *(f"said: {relation}" for relation in RELATIONS), "tie"]
    return ReportTable(f"{_task_name(scored)}: 3B, scenes", heads, cells)


def as_markdown(tables: Sequence[ReportTable], notes: Sequence[str]) -> str:
    """`results.md`: notes, then the tables."""
    notes = map(markdown_text, notes)
    return "\n\n".join(["# Evaluation", *notes, *(table.as_markdown() for table in tables)]) + "\n"


def model_index(rows: Sequence[dict], tasks: Sequence, models: Sequence[str]) -> str:
    """The `model-index` block of model cards' metadata, as YAML, with an entry for each of `models`."""
    kinds = {
        task.name: "zero-shot-audio-classification"
        if isinstance(task, Benchmark | SceneSet)
        else "audio-text-retrieval"
        for task in tasks
    }
    entries = []
    for model in models:
        name = split_revision(model)[0].rstrip("/").split("/")[-1]
        results = [_eval_result(row, kinds[row["task"]]) for row in rows if row["model"] == model and _is_listed(row)]
        entries += eval_results_to_model_index(name, results)
    return yaml.safe_dump({"model-index": entries}, sort_keys=False, allow_unicode=True)


def _is_listed(row: dict) -> bool:
    """Scenes have hundreds of scores: parts, pairs of classes and controls are only in `results.json`."""
    return (
        not row["task"].startswith(ZSTE) or row["metric"] in (SCORE, *MAIN_TASKS) or row["metric"].endswith(_PUBLISHED)
    )


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
