"""The launcher's settings in recipes/, started with processes on CPUs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SMALL
from safetensors.torch import load_file


RECIPES = ROOT / "recipes"
TINY = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--disable_tqdm", "true", "--save_strategy", "no"]

# accelerate takes several processes on CPUs for DDP, whatever is asked of it. Told that they are GPUs, it shards.
SHARDING_ON_CPUS = """
import runpy, sys
from accelerate import PartialState
from accelerate.utils import DistributedType

make = PartialState.__init__

def make_as_gpus(self, *args, **options):
    make(self, *args, **options)
    if self.distributed_type is DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU

PartialState.__init__ = make_as_gpus
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(recipe: str, *command, folder: Path) -> subprocess.Popen:
    """Starts a command as the recipe's comment tells."""
    launch = ["-m", "accelerate.commands.launch", "--config_file", RECIPES / recipe]
    return subprocess.Popen(
        [sys.executable, *map(str, launch + list(command))],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen, code: int = 0) -> str:
    """Waits for them to end well, or with another code; returns what they said."""
    try:
        said = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [code] * len(processes), "\n".join(said)
    return "\n".join(said)


def record(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["record"]


def test_every_recipe_is_started_here():
    """Guards against a recipe without a test."""
    assert {file.name for file in RECIPES.iterdir()} == {"2_gpus.yaml", "8_gpus.yaml", "2_machines.yaml", "fsdp.yaml"}


@pytest.mark.parametrize(("recipe", "options", "count"), [("2_gpus", [], 2), ("8_gpus", ["--num_processes", "4"], 4)])
@pytest.mark.slow
def test_several_gpus_of_one_machine(recipe, options, count, captioned_folder, tmp_path):
    """Guards against a recipe that starts one process, or in float32. (Eight would take two cores too long: four.)"""
    script = [ROOT / "run_teacher.py", "--corpus", captioned_folder, "--output_dir", "out", *SMALL, *TINY]
    finish(start(f"{recipe}.yaml", *options, *script, folder=tmp_path))
    made = record(tmp_path / "out")
    assert made["world_size"] == count and made["mixed_precision"] == "bf16"
    assert yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text())["num_processes"] == int(recipe[0])


@pytest.mark.slow
def test_two_machines(captioned_folder, tmp_path):
    """Guards against machines that don't find each other, or train each for itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = [ROOT / "run_teacher.py", "--corpus", captioned_folder, "--output_dir", "out", *SMALL, *TINY]
    place = ["--main_process_ip", "127.0.0.1", "--main_process_port", port, "--num_processes", 2]
    machines = [
        start("2_machines.yaml", *place, "--machine_rank", rank, *script, folder=tmp_path) for rank in range(2)
    ]
    said = finish(*machines)
    assert record(tmp_path / "out")["world_size"] == 2 and said.count("teacher saved") == 1


@pytest.mark.slow
def test_sharded_weights_learn_the_same(tiny_folder, captioned_folder, labelled_folder, tmp_path):
    """Guards against weights that can't be shared out, gradients that are not averaged, and a student that stays in
    pieces when it is evaluated and saved. The GPUs are CPUs; that the real ones share out alike is PyTorch's part."""
    driver = tmp_path / "sharding_on_cpus.py"
    driver.write_text(SHARDING_ON_CPUS)
    script = [ROOT / "run_student.py", "--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder]
    # Steps as large as the gradients: Adam's are as large for gradients that were added up.
    script += ["--optim", "sgd", "--learning_rate", "1e-3", "--warmup_steps", "0", "--max_grad_norm", "1000"]
    script += ["--task", labelled_folder, *TINY, "--max_steps", "1", "--output_dir"]
    finish(start("2_gpus.yaml", "--mixed_precision", "no", *script, "whole", folder=tmp_path))
    finish(start("fsdp.yaml", driver, *script, "shared", folder=tmp_path))
    names = ("tiny", "whole", "shared")
    before, whole, shared = (load_file(tmp_path / name / "model.safetensors") for name in names)
    assert before.keys() == whole.keys() == shared.keys()
    for part in ("logit_scale", "audio_model.blocks.3.conv1.weight", "text_model.encoder", "text_projection"):
        step, error = (
            sum((a[name] - b[name]).double().square().sum() for name in before if name.startswith(part)).sqrt()
            for a, b in ((whole, before), (whole, shared))
        )
        assert step > 0 and error < 0.01 * step, (part, error, step)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "shared")]
    assert results[0]["student_accuracy"] == results[1]["student_accuracy"]
    files = [{file.name for file in (tmp_path / name).iterdir()} for name in ("whole", "shared")]
    assert files[0] == files[1] and "modeling_clap_student.py" in files[1]


@pytest.mark.slow
def test_sharding_in_half_precision(tiny_folder, captioned_folder, tmp_path):
    """Guards against a traceback from within a batch norm."""
    driver = tmp_path / "sharding_on_cpus.py"
    driver.write_text(SHARDING_ON_CPUS)
    script = [ROOT / "run_student.py", "--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder]
    said = finish(start("fsdp.yaml", driver, *script, *TINY, "--bf16", "true", folder=tmp_path), code=1)
    assert "error: FSDP can't train batch norms in bf16" in said
