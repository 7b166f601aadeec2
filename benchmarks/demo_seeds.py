"""The demo over several seeds: accuracy of teacher and student, mean ± standard deviation, precision of pairs.

    python benchmarks/demo_seeds.py --strategy ads --seeds 0 1 2

Results that are already in outputs/ are reused.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).parents[1]


def results_of(strategy: str, seed: int) -> dict:
    command = [sys.executable, ROOT / "run_student.py", "--strategy", strategy, "--seed", str(seed)]
    subprocess.run(command, check=True, cwd=ROOT)
    folder = ROOT / "outputs" / "soundscapes" / f"seed-{seed}" / f"student_{strategy}"
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def percent(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", default="ads")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    runs = [results_of(args.strategy, seed) for seed in args.seeds]
    print(f"\n| seed | teacher | student ({args.strategy}) | gain | clips | pairs | true pairs |")
    print("|---|---|---|---|---|---|---|")
    before, after = ([run[f"{who}_accuracy"] for run in runs] for who in ("teacher", "student"))
    for run, a, b in zip(runs, before, after, strict=True):
        precision = "" if run["pair_precision"] is None else f"{run['pair_precision']:.1%}"
        scores = [run["scores"][0][who] for who in ("teacher", "student")]
        interval = [f"{score['low']:.1%} – {score['high']:.1%}" for score in scores]
        print(
            f"| {run['seed']} | {a:.1%} ({interval[0]}) | {b:.1%} ({interval[1]}) | {100 * (b - a):+.1f} "
            f"| {run['num_clips']} | {run['num_pairs']} | {precision} |"
        )
    gains = [b - a for a, b in zip(before, after, strict=True)]
    print(f"| mean ± s.d. | {percent(before)} | {percent(after)} | {percent(gains)} | | | |")


if __name__ == "__main__":
    main()
