"""Two processes, started by `accelerate launch`, train as one does: loss, gradients, weights."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT


pytestmark = pytest.mark.slow


LAUNCH = [
    *("-m", "accelerate.commands.launch", "--config_file", str(ROOT / "recipes" / "2_gpus.yaml")),
    *("--mixed_precision", "no"),
]


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """What one process and two came to."""
    from conftest import captioned_folder

    folder = tmp_path_factory.mktemp("processes")
    captioned_folder.__wrapped__(folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    for launch, pairs in (([], 4), (LAUNCH, 2)):
        command = [sys.executable, *launch, str(ROOT / "tests" / "train_steps.py"), str(folder), str(pairs)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[:3000]
    return [torch.load(folder / f"steps-{count}.pt", weights_only=True) for count in (1, 2)]


def difference(one: dict, other: dict) -> float:
    """Norm of the difference over the norm, all tensors as one vector."""
    assert one.keys() == other.keys()
    norm = sum(value.norm() ** 2 for value in one.values()) ** 0.5
    return float(sum((value - other[name]).norm() ** 2 for name, value in one.items()) ** 0.5 / norm)


@pytest.mark.parametrize("way", ["teacher", "student", "clap", "fused", "eval", "cached"])
def test_two_processes_train_as_one(steps, way):
    """Guards against local negatives, gathers without gradient, other replay draws, batch norms of their own."""
    one, two = steps[0][way], steps[1][way]
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-6)
    for mine, theirs in zip(one["gradients"], two["gradients"], strict=True):
        assert difference(mine, theirs) < 1e-6
    assert difference(one["weights"], two["weights"]) < 1e-6


def test_the_comparison_can_fail(steps):
    """Guards against a comparison that any two runs pass: batch norms of each process's own are seen."""
    one, two = (step["unsynchronised"] for step in steps)
    assert difference(one["gradients"][0], two["gradients"][0]) > 1e-3


def test_cached_gradients_are_those_of_the_whole_batch(steps):
    """Guards against negatives from a part of the batch, and a second pass that is not the first's."""
    for step in steps:
        whole, cached = step["eval"], step["cached"]
        assert cached["losses"] == pytest.approx(whole["losses"], rel=1e-6)
        for mine, theirs in zip(whole["gradients"], cached["gradients"], strict=True):
            assert difference(mine, theirs) < 1e-6


def test_losses_of_mixed_clips_are_finite_on_all(steps):
    """Guards against partners counted within one process, whose rows would be another's."""
    assert all(torch.tensor(step["mixed"]["losses"]).isfinite().all() for step in steps)
