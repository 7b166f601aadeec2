"""What stage B teaches on the built-in corpus, arm by arm, with improvements before and after it: ZSTE's tables.

    python benchmarks/reproduction/order.py [--seeds 0] [--arms B …] [--picture docs/order.png]

A seed's teacher and Improvement-Set are those of `run_student.py --strategy ads`, in whose folder all else is kept.
What is there already is reused. On one core a stage B takes 6 minutes, and its evaluation 3.
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from steps import ROOT
from tables import free_name
from temporal_tables import BASE, Scored, scored, tasks_table

from modeling_clap_student.evaluation.plots import draw_tasks
from modeling_clap_student.soundscapes import demo


CLIPS = ["--clips", f"{demo.NAME}:train", "--task", demo.NAME]
SIZES = ["--max_steps", "400", "--num_scenes", "1500", "--learning_rate", "2e-3", "--encoder_learning_rate", "2e-3"]
SIZES += ["--freeze_audio_encoder", "true", "--word_steps", "400"]
STUDENT = [
    "--strategy",
    "ads",
    "--teacher",
    "teacher",
    "--improvement_set",
    "improvement_set_ads",
    "--task",
    demo.NAME,
]
STUDENT += ["--max_steps", "240", "--learning_rate", "1e-3", "--per_device_train_batch_size", "32"]

# Arm -> (folder, command, flags). Stage B starts from the teacher unless a model is named.
ARMS = {
    BASE: ("teacher", "", []),
    "B": ("order_b", "run_temporal.py", []),
    "B, common words held out": ("order_held_out", "run_temporal.py", ["--hold_out_connectives", "true"]),
    "B, before and while alone": (
        "order_plain",
        "run_temporal.py",
        ["--paraphrase_from", "1", "--word_steps", "0", "--max_steps", "600"],
    ),
    "B, words not first": (
        "order_no_words",
        "run_temporal.py",
        ["--paraphrase_from", "0.45", "--word_steps", "0", "--max_steps", "600"],
    ),
    "B, no places": ("order_no_places", "run_temporal.py", ["--position_captions", "0"]),
    "B, no names": ("order_no_names", "run_temporal.py", ["--name_captions", "0"]),
    "B, three sounds": ("order_three", "run_temporal.py", ["--max_sounds", "3", "--word_steps", "1000"]),
    "ADS+SL": ("student_ads", "", []),
    "B, then ADS+SL": ("order_improved", "run_student.py", ["--init", "order_b"]),
    "B, then ADS+SL, order not kept": (
        "order_lost",
        "run_student.py",
        ["--init", "order_b", "--retain_order", "false"],
    ),
    "ADS+SL, then B": ("improved_order", "run_temporal.py", ["--model", "student_ads"]),
}
SHOWN = ("1A", "2A", "2C", "3A", "3C", "3C/unseen", "3D", "4B", "5A", "5B", "6A", "6B", "6D", "6E", "7A")
PICTURE = {
    "1A": "one sound:\nwhich?", "2C": "two sounds:\nwhich?", "3C": "which first:\n“before”",
    "3C/unseen": "of new\npairs", "6A": "“after”", "6B": "“then”,\n“followed by”", "6E": "sentences",
    "4B": "among 50\ncaptions", "5B": "“the first\nsound is …”", "7A": "three\nsounds",
}  # fmt: skip


def make(arm: str, seed_folder: Path, seed: int) -> None:
    """Runs the command of an arm unless its model is there; those that it starts from are."""
    name, script, flags = ARMS[arm]
    if (seed_folder / name / "results.json").exists():
        return
    if not script:
        command = [ROOT / "run_student.py", "--strategy", "ads", "--seed", str(seed)]
        subprocess.run([sys.executable, *command], check=True, cwd=seed_folder.parents[2])
        return
    if script == "run_temporal.py":
        start = flags[1] if flags[:1] == ["--model"] else "teacher"
        flags = ["--stage", "b", *CLIPS, *SIZES, *flags, "--model", start]
    else:
        flags = [*STUDENT, *flags]
    command = [sys.executable, ROOT / script, *flags, "--seed", str(seed), "--output_dir", name]
    subprocess.run(command, check=True, cwd=seed_folder)


def scores(seed_folder: Path, names: list[str], count: int) -> dict[str, Scored]:
    stem = f"zste_{count}"
    if missing := [name for name in names if name not in scored(seed_folder, stem)]:
        command = [sys.executable, ROOT / "run_eval.py", "--model", *missing, "--task", f"zste={demo.NAME}"]
        command += ["--zste_scenes", str(count), "--output_dir", free_name(seed_folder, stem)]
        subprocess.run(command, check=True, cwd=seed_folder)
    return scored(seed_folder, stem)


def main():
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="Besides the base.")
    parser.add_argument("--scenes", type=int, default=1000, help="Of the test.")
    parser.add_argument("--output_dir", type=Path, default=Path("."), help="Where outputs/ lies.")
    parser.add_argument("--picture", type=Path, help="A PNG of base and B, of the first seed.")
    args = parser.parse_args()
    arms = [arm for arm in ARMS if arm in (BASE, *args.arms)]
    folders = [args.output_dir.resolve() / Path(demo.teacher(seed)["output_dir"]).parent for seed in args.seeds]
    for seed, folder in zip(args.seeds, folders, strict=True):
        for arm in arms:
            make(arm, folder, seed)
    names = [ARMS[arm][0] for arm in arms]
    of_seeds = [scores(folder, names, args.scenes) for folder in folders]
    by_arm = {arm: [of[ARMS[arm][0]] for of in of_seeds] for arm in arms}
    text = tasks_table(by_arm, list(SHOWN))
    controls = [metric for metric in by_arm[BASE][0].rows if metric.startswith("3C/control/")]
    text += "\n\n" + tasks_table(by_arm, controls) + "\n"
    (folders[0].parent / "order.md").write_text(text, encoding="utf-8")
    print(text)
    if args.picture:
        titles = {BASE: "before", "B": "after stage B"}
        rows = [row | {"model": title} for arm, title in titles.items() for row in by_arm[arm][0].rows.values()]
        draw_tasks(rows, f"zste={demo.NAME}", args.picture, PICTURE)


if __name__ == "__main__":
    main()
