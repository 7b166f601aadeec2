"""ZSTE's tables of the arms of TeminAL: what each hears, over the seeds, and how far their order accuracies differ."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from steps import ROOT
from tables import apart, free_name


CONTROLS = "3C/control/"
BASE = "base"
MAIN = (
    *(BASE, "A", "B", "B, common words held out", "B, scenes of ESC-50's classes too"),
    *("A→B", "A→B, frozen pooling (the authors')"),
)
COMBINED = (BASE, "B", "ADS+SL", "ADS+SL, then B", "B, then ADS+SL")
SHOWN = ("1A", "2A", "2C", "3A", "3B", "3C", "3C/unseen", "3D", "4A", "4B", "5A", "5B", "6A", "6B", "6D", "6E", "7A")
FEW = ("1A", "2C", "3A", "3C", "3C/unseen", "4B", "6D")


@dataclass(frozen=True)
class Scored:
    """One arm of one seed.

    Attributes:
        rows: metric -> its row of results.json.
        order: (scenes,) whether the model got the order of each right, task 3C; None where a clip can't be read.
    """

    rows: dict[str, dict]
    order: np.ndarray


def scores(folder: Path, names: list[str], args) -> dict[str, Scored]:
    """What ZSTE finds of models, by runs of run_eval.py; none is scored twice on as many scenes."""
    stem = f"zste_{args.scenes}"
    if missing := [name for name in names if name not in scored(folder, stem)]:
        models = [str(folder / name) for name in missing]
        command = [sys.executable, str(ROOT / "run_eval.py"), "--model", *models]
        command += ["--task", f"zste=esc50:5={args.data}/esc10", "--zste_scenes", str(args.scenes)]
        subprocess.run([*command, "--output_dir", str(free_name(folder, stem))], check=True)
    return scored(folder, stem)


def scored(folder: Path, stem: str) -> dict[str, Scored]:
    found = {}
    for file in sorted(folder.glob(f"{stem}_*/details.json")):
        outcomes = json.loads(file.read_text(encoding="utf-8"))["results"]
        orders = {Path(of["model"]).name: np.array(of["order"], dtype=object) for of in outcomes}
        rows: dict[str, dict] = {name: {} for name in orders}
        for row in json.loads(file.with_name("results.json").read_text(encoding="utf-8")):
            rows.get(Path(row["model"]).name, {})[row["metric"]] = row
        found |= {name: Scored(rows[name], order) for name, order in orders.items()}
    return found


def cell(of_seeds: list[Scored], metric: str) -> str:
    rows = [seed.rows[metric] for seed in of_seeds]
    values = [100 * row["value"] for row in rows]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    ends = [(100 * row["low"], 100 * row["high"]) for row in rows if row["low"] is not None]
    interval = f" ({min(low for low, _ in ends):.0f} – {max(high for _, high in ends):.0f})" if ends else ""
    return f"{statistics.mean(values):.1f}{spread}{interval}"


def tasks_table(arms: dict[str, list[Scored]], metrics: list[str]) -> str:
    """Markdown: metrics × (chance, arms)."""
    lines = [f"| task | chance | {' | '.join(arms)} |", f"|---|---|{'---|' * len(arms)}"]
    for metric in metrics:
        chance = next(iter(arms.values()))[0].rows[metric]["chance"]
        cells = ["–" if chance is None else f"{100 * chance:.2g}", *(cell(of, metric) for of in arms.values())]
        lines.append(f"| {metric.removeprefix(CONTROLS)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def arms_table(arms: dict[str, list[Scored]]) -> str:
    """Markdown: arms × (a few metrics, how far 3C is from the first arm's on the same scenes)."""
    first, *_ = arms
    titles = [*FEW, f"3C against {first}", "p"]
    lines = [f"| arm | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    theirs = np.array([seed.order for seed in arms[first]])
    for name, of_seeds in arms.items():
        mine = np.array([seed.order for seed in of_seeds])
        heard = np.array([None not in scene for scene in np.concatenate([mine, theirs]).T])
        difference = apart(mine[:, heard].astype(bool), theirs[:, heard].astype(bool))
        cells = [*(cell(of_seeds, metric) for metric in FEW), *(["", ""] if name == first else difference)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_tables(arms: dict[str, list[Scored]], folder: Path) -> None:
    """Writes and prints `temporal.md`, from each arm's seeds."""
    base = arms[BASE]

    def some(names: tuple[str, ...]) -> dict[str, list[Scored]]:
        return {name: arms[name] for name in names if name in arms}

    parts = [
        f"{len(base)} seeds: mean ± s.d. in %; in brackets from the lowest to the highest end of the seeds' 95 % "
        "intervals. Differences are paired by scene and seed, with 95 % bootstrap intervals over scenes and McNemar's "
        "exact p over all of them.",
        "### Tasks\n\n" + tasks_table(some(MAIN), list(SHOWN)),
        "### Controls of 3C\n\n" + tasks_table(some(MAIN), [m for m in base[0].rows if m.startswith(CONTROLS)]),
    ]
    changed = ("A→B", "B", *(name for name in arms if name not in (*MAIN, *COMBINED)))
    for title, names in (("What differs from A→B", changed), ("With an improvement for the domain", COMBINED)):
        if len(of_table := some(names)) > 1 and names[0] in of_table:
            parts.append(f"### {title}\n\n" + arms_table(of_table))
    text = "\n\n".join(parts) + "\n"
    (folder / "temporal.md").write_text(text, encoding="utf-8")
    print(text)


__all__ = ["BASE", "scores", "write_tables"]
