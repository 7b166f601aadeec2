"""The tables: each row's accuracy over the seeds, and how far it is from its teacher, clip by clip."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from grid import Row
from steps import DOMAINS, ROOT

from modeling_clap_student.evaluation.statistics import bootstrap_interval, mcnemar


_NAMES = {
    "2": "As in the paper's Table 2",
    "order": "Which strategy is better",
    "3": "As in the paper's Table 3",
    "ablations": "What differs from ADS+SL",
}
_AGAINST = {"order": "difference"}


def write_tables(rows: list[Row], seeds: list[Path], data: str, folder: Path) -> None:
    """Scores all models, writes and prints `tables.md`."""
    models = {name for row in rows for name in (*row.models.values(), *row.baselines.values())}
    correct = {seed: right_clips(seed, data, sorted(models)) for seed in seeds}
    parts = []
    for table in dict.fromkeys(row.table for row in rows):
        of_table = [row for row in rows if row.table == table]
        lines, domains = [line_of(row, correct) for row in of_table], list(of_table[0].models)
        titles = [f"{domain}, % | {_AGAINST.get(table, 'against its teacher')} | p" for domain in domains]
        head = f"| model | {' | '.join(titles)} |\n|---|{'---|' * 3 * len(domains)}"
        parts.append("\n".join([f"### {_NAMES[table]}", "", head, *lines]))
    seeds_told = f"Mean ± s.d. over {len(seeds)} seeds; differences are paired by clip and seed, with 95 % bootstrap "
    text = f"{seeds_told}intervals over clips and McNemar's exact p over all of them.\n\n" + "\n\n".join(parts) + "\n"
    (folder / "tables.md").write_text(text, encoding="utf-8")
    print(text)


def right_clips(seed: Path, data: str, models: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """domain -> model -> (clips,) whether each clip was put in its class, from one run of run_eval.py."""
    output = seed / "eval"
    known = {path.name for path in map(Path, _evaluated(output))}
    if not set(models) <= known:
        tasks = [spec.format(data=data) for spec in DOMAINS.values()]
        command = [sys.executable, str(ROOT / "run_eval.py"), "--model", *(str(seed / name) for name in models)]
        subprocess.run([*command, "--task", *tasks, "--output_dir", str(output)], check=True)
    details = json.loads((output / "details.json").read_text(encoding="utf-8"))
    labels = [np.array(task["labels"]) for task in details["tasks"]]
    found: dict[str, dict[str, np.ndarray]] = {domain: {} for domain in DOMAINS}
    names = [task["task"] for task in details["tasks"]]
    for result in details["results"]:
        number = names.index(result["task"])
        right = np.array(result["predictions"], dtype=object) == labels[number]
        found[list(DOMAINS)[number]][Path(result["model"]).name] = right.astype(bool)
    return found


def _evaluated(output: Path) -> list[str]:
    file = output / "details.json"
    return [model["model"] for model in json.loads(file.read_text())["models"]] if file.exists() else []


def line_of(row: Row, correct: dict) -> str:
    cells = []
    for domain, model in row.models.items():
        mine = np.array([of_seed[domain][model] for of_seed in correct.values()])
        baseline = row.baselines[domain]
        theirs = np.array([of_seed[domain][baseline] for of_seed in correct.values()])
        accuracies = [100 * value for value in mine.mean(axis=1)]
        spread = f" ± {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        cells.append(f"{statistics.mean(accuracies):.1f}{spread}")
        if model == baseline:
            cells += ["", ""]
            continue
        # A clip's seeds are no independent clips: they are drawn together.
        differences = (mine.astype(float) - theirs).mean(axis=0)
        low, high = bootstrap_interval(differences)
        cells.append(f"{100 * differences.mean():+.1f} ({100 * low:+.1f} – {100 * high:+.1f})")
        cells.append(f"{mcnemar(mine.ravel(), theirs.ravel()):.2g}")
    return f"| {row.title} | {' | '.join(cells)} |"


__all__ = ["write_tables"]
