"""Checkpoints: killed and resumed to the bit, whole or not there, of this run or refused."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import FAST, ROOT, SMALL
from safetensors.torch import load_file
from test_training import make_trainer

from modeling_clap_student import ClapStudentTrainingArguments, InputError
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands.command_line import parse_arguments
from modeling_clap_student.training.checkpointing import whole_checkpoints


STEPS = 120
LAUNCHES = {1: [], 2: ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A captioned folder, a teacher trained on it, in one folder."""
    from conftest import captioned_folder

    folder = tmp_path_factory.mktemp("killed")
    captioned_folder.__wrapped__(folder)
    flags = ["--corpus", "captioned", "--output_dir", "teacher", *SMALL, *FAST]
    subprocess.run([sys.executable, ROOT / "run_teacher.py", *flags], cwd=folder, check=True, capture_output=True)
    return folder


def student(folder: Path, name: str, processes: int, *flags: str) -> subprocess.Popen:
    """Starts a student with everything on that draws random numbers or keeps a state."""
    command = [
        sys.executable, *LAUNCHES[processes], str(ROOT / "run_student.py"), "--strategy", "none",
        "--teacher", "teacher", "--init", "fresh", *SMALL, "--dropout", "0.3", "--output_dir", name,
        "--max_steps", str(STEPS), "--save_steps", "4", "--save_strategy", "steps", "--disable_tqdm", "true",
        "--per_device_train_batch_size", str(4 // processes), "--ema_decay", "0.9", "--mixup_alpha", "0.4",
        "--random_gain_db", "6", "--learning_rate", "1e-3", *flags,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen) -> None:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-2000:]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.slow
def test_a_killed_run_ends_like_the_uninterrupted_one(teacher, processes):
    """Guards against weights, optimiser, averages, random numbers or the order of the data that a kill -9 costs."""
    finish(student(teacher, f"whole{processes}", processes))
    killed = teacher / f"killed{processes}"
    process = student(teacher, killed.name, processes)
    while len(whole_checkpoints(killed)) == 0 and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.5))
    for victim in [*psutil.Process(process.pid).children(recursive=True), process]:  # launchers' children live on
        os.kill(victim.pid, signal.SIGKILL)
    process.communicate()
    assert whole_checkpoints(killed) and not (killed / "results.json").exists()
    finish(student(teacher, killed.name, processes, "--resume_from_checkpoint"))
    whole, resumed = (load_file(teacher / f"{name}{processes}" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ({"save_steps": 2}, [2, 4, 6]),
        ({}, [3, 6]),  # 12 clips, 4 at a time: 3 steps an epoch
        ({"save_strategy": "epoch", "save_steps": 2}, [3, 6]),
        ({"save_strategy": "no", "save_steps": 2}, []),
    ],
)
def test_when_checkpoints_are_saved(tiny, captioned_folder, tmp_path, given, saved):
    """Guards against a number of steps that is typed and does nothing."""
    options = {"save_strategy": None, "max_steps": 6, "save_total_limit": None} | given
    make_trainer(tiny, captioned_folder, tmp_path, **options).train()
    folders = (tmp_path / "out").glob("checkpoint-*")
    assert sorted(int(folder.name.rpartition("-")[2]) for folder in folders) == saved


def test_a_number_of_steps_that_was_typed_is_obeyed(tmp_path):
    """Guards against flags, a file and Python that mean different things."""
    (tmp_path / "run.yaml").write_text("save_steps: 8\n")
    (tmp_path / "epochs.yaml").write_text("save_strategy: epoch\nsave_steps: 500\n")  # as it was written down once
    validated = ["--validation_fraction", "0.5"]
    for flags, strategy, steps in (
        ([], "epoch", 500),
        (["--save_steps", "8"], "steps", 8),
        (["--config", str(tmp_path / "run.yaml")], "steps", 8),
        (["--config", str(tmp_path / "epochs.yaml")], "epoch", 500),
        ([*validated, "--save_steps", "8"], "steps", 8),
        ([*validated, "--eval_steps", "8"], "steps", 8),
        ([*validated, "--eval_steps", "4", "--save_steps", "8"], "steps", 8),
        (validated, "epoch", 500),
    ):
        (args,) = parse_arguments((ClapStudentTrainingArguments,), "", ["--output_dir", str(tmp_path), *flags])
        assert (args.save_strategy, args.save_steps) == (strategy, steps), flags
        if flags[:2] == validated:
            assert args.eval_strategy == strategy
            assert args.eval_steps == (None if strategy == "epoch" else 4 if "4" in flags else steps)
    assert ClapStudentTrainingArguments(str(tmp_path), save_steps=8).save_strategy == "steps"


def test_parts_that_a_crash_left_are_no_checkpoint(tiny, captioned_folder, tmp_path):
    """Guards against resuming from half a checkpoint, the newest by name."""
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "save_total_limit": 3}
    trainer = make_trainer(tiny, captioned_folder, tmp_path, **options)
    trainer.train()
    broken = tmp_path / "out" / "checkpoint-4"
    assert whole_checkpoints(tmp_path / "out")[-1] == broken
    (broken / "run.json").write_text('{"unfinished": true}')
    with pytest.raises(InputError, match="checkpoint-4 is no whole checkpoint"):
        make_trainer(tiny, captioned_folder, tmp_path, **options).train(resume_from_checkpoint=str(broken))
    trainer = make_trainer(tiny, captioned_folder, tmp_path, **options)
    assert trainer.train(resume_from_checkpoint=True).global_step == 4
    assert [path.name for path in whole_checkpoints(tmp_path / "out")] == ["checkpoint-2", "checkpoint-4"]


def test_a_full_disk_costs_the_checkpoint_at_hand_alone(tiny, captioned_folder, tmp_path, monkeypatch):
    """Guards against the last good checkpoint being deleted, or half a one left, when saving fails."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, save_strategy="steps", save_steps=2, max_steps=6)
    save, trainer_class = torch.save, type(trainer)

    def full(*args, **kwargs):
        if trainer.state.global_step == 4:
            raise OSError(28, "No space left on device")
        return save(*args, **kwargs)

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(InputError, match=r"checkpoint-4: .*No space left.*last whole checkpoint is .*checkpoint-2"):
        trainer.train()
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-2"]
    monkeypatch.undo()
    assert isinstance(trainer, trainer_class)
    assert make_trainer(
        tiny, captioned_folder, tmp_path, save_strategy="steps", save_steps=2, max_steps=6
    ).train(resume_from_checkpoint="last").global_step == 6  # fmt: skip


def test_a_failed_save_leaves_the_model_that_was_there(tiny, captioned_folder, tmp_path, monkeypatch):
    """Guards against a half-written model.safetensors in place of a good one."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path)
    trainer.save_model()
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    torch.nn.init.zeros_(trainer.model.audio_model.fc1.weight)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)  # of the arguments, after the weights
    with pytest.raises(InputError, match="No space"):
        trainer.save_model()
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_run_is_refused(tiny, captioned_folder, tmp_path):
    """Guards against a run that silently goes on with another one's optimiser or data."""
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    make_trainer(tiny, captioned_folder, tmp_path, **options).train()
    with pytest.raises(InputError, match=r"of another run: hyperparameters.learning_rate was 0.0001 and is 0.01"):
        make_trainer(tiny, captioned_folder, tmp_path, learning_rate=1e-2, **options).train("last")
    with pytest.raises(InputError, match="no whole checkpoint in"):
        make_trainer(tiny, captioned_folder, tmp_path / "elsewhere", **options).train(True)
    # To train for longer is no other run.
    longer = {**options, "max_steps": 6}
    assert make_trainer(tiny, captioned_folder, tmp_path, **longer).train("last").global_step == 6


def test_used_folders_are_refused(command, captioned_folder, capsys, tmp_path):
    """Guards against a model, or an unfinished run, that the next run overwrites."""
    flags = ["--corpus", captioned_folder, "--output_dir", tmp_path / "t", *SMALL, *FAST]
    assert command(run_teacher, *flags) == 0
    assert command(run_teacher, *flags) == 1
    assert "holds a trained model already: name another --output_dir" in capsys.readouterr().err
    weights = (tmp_path / "t" / "model.safetensors").read_bytes()
    assert command(run_teacher, *flags, "--resume_from_checkpoint", "--license", "mit") == 0  # as one does to push it
    assert (tmp_path / "t" / "model.safetensors").read_bytes() == weights
    assert "license: mit" in (tmp_path / "t" / "README.md").read_text()
    (tmp_path / "t" / "results.json").unlink()
    assert command(run_teacher, *flags) == 1
    assert "holds an unfinished run: --resume_from_checkpoint continues it" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{}, {"contrastive_batch_size": 8}])
def test_a_loss_that_is_no_number_stops_the_run(tiny, captioned_folder, tmp_path, options):
    """Guards against hours of training on NaN, and against a stop that does not say which clips it was."""
    options |= {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}
    trainer = make_trainer(tiny, captioned_folder, tmp_path, **options)
    collate, batches = trainer.data_collator, []

    def poisoned(rows):
        batches.append([row["audio_id"] for row in rows])
        batch = collate(rows)
        if len(batches) == 1 + 2 * trainer.args.gradient_accumulation_steps:
            batch["input_values"][1] = float("inf")
        return batch

    trainer.data_collator = poisoned
    with pytest.raises(InputError, match=r"loss is nan at step 3.*whole checkpoint is .*checkpoint-2") as stop:
        trainer.train()
    assert all(name in str(stop.value) for name in batches[2 * trainer.args.gradient_accumulation_steps])
    assert all(value.isfinite().all() for value in trainer.model.parameters())
