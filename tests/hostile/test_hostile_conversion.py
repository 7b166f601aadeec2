"""Conversion and post-training on hostile and damaged files: one line that names the file, nothing left."""

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import FAST, check_failure, tiny_clap, write_tone

from modeling_clap_student import ClapStudentModel
from modeling_clap_student.commands import convert, temporal
from modeling_clap_student.commands import evaluate as run_eval


class _Runs:
    """A pickle that writes a file when it is opened."""

    def __reduce__(self):
        return open, ("executed", "w")


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def zipped(name: str, size: int) -> bytes:
    """An archive like torch's whose one member unpacks to `size` zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(size))
    return file.getvalue()


KEY = "audio_encoder.base.conv_block1.conv1.weight"
FILES = {
    "empty": b"",
    "text": b"not a checkpoint\n" * 100,
    "cut": saved({"model": {KEY: torch.zeros(64, 1, 3, 3)}})[:-200],
    "code": pickle.dumps({"model": _Runs()}),
    "code in a checkpoint": saved({"model": {KEY: torch.zeros(4, 1, 3, 3)}, "epoch": _Runs()}),
    "bomb": zipped("archive/data.pkl", 50_000_000),
    "list": saved([1, 2, 3]),
    "numbers": saved({"model": {KEY: 3.0}}),
    "names": saved({"model": {1: torch.zeros(3)}}),
    "nothing": saved({"model": {}}),
    "one weight": saved({"model": {KEY: torch.zeros(64, 1, 3, 3)}}),
    "no numbers": saved({"model": {KEY: torch.full((64, 1, 3, 3), torch.nan)}}),
    "scalars": saved({"model": {KEY: torch.zeros(())}}),
    "no channels": saved({"model": {KEY: torch.zeros(0, 1, 3, 3), "logit_scale": torch.zeros(())}}),
    "panns": saved({"model": {"conv_block1.conv1.weight": torch.zeros(2, 1, 3, 3)}}),
    "a mel matrix of no shape": saved(
        {"model": {"conv_block1.conv1.weight": torch.zeros(2, 1, 3, 3), "logmel_extractor.melW": torch.ones(3)}}
    ),
    "half": saved({"model": {KEY: torch.zeros(64, 1, 3, 3, dtype=torch.int8)}}),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_checkpoints(command, tmp_path, capsys, name):
    """Guards against code that a checkpoint brings along, a traceback, and half a folder."""
    Path("x.pth").write_bytes(FILES[name])
    check_failure(command(convert, "x.pth", "--output_dir", "out"), capsys, "x.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pth"]


@pytest.mark.parametrize("place", ["folder", "/dev/null", "gone.pth", "x" * 4500])
def test_places_that_are_no_files(command, tmp_path, capsys, place):
    """Guards against a traceback where a folder, a device or nothing is named."""
    Path("folder").mkdir()
    check_failure(command(convert, place, "--output_dir", "out"), capsys)
    assert not Path("out").exists()


@pytest.fixture
def clips(tmp_path) -> Path:
    """One folder per class."""
    for number in range(16):
        name = ("dog", "hen", "[red]rain", "train\x1b[31m")[number % 4]
        write_tone(tmp_path / "clips" / name / f"{number}.wav", 200 + 40 * number, seconds=0.4)
    return tmp_path / "clips"


STEPS = [
    *FAST,
    "--eval_steps",
    "1",
    "--save_steps",
    "1",
    "--num_scenes",
    "8",
    "--validation_scenes",
    "4",
    "--word_steps",
    "2",
]


def test_post_training_on_names_that_mean_something(command, tiny_folder, clips, capsys):
    """Guards against a class that steers the terminal, or is taken for markup."""
    flags = ["--stage", "a", "--model", tiny_folder, "--clips", clips, "--validation_clips", clips]
    assert command(temporal, *flags, "--output_dir", "out", *STEPS) == 1  # all clips are kept out
    assert command(temporal, *flags[:-2], "--output_dir", "out", *STEPS) == 0
    shown = "".join(capsys.readouterr())
    assert "Traceback" not in shown and "\x1b[31m" not in shown


@pytest.mark.parametrize("kind", ["clap", "nan", "gone", "cut"])
def test_models_that_can_t_be_post_trained(command, tiny_folder, clips, capsys, tmp_path, kind):
    """Guards against post-training of what is no model of this package, or of weights that are no numbers."""
    if kind == "clap":
        tiny_clap(tmp_path / "model")
    elif kind == "nan":
        model = ClapStudentModel.from_pretrained(tiny_folder)
        model.audio_model.fc1.weight.data.fill_(torch.nan)
        model.save_pretrained(tmp_path / "model")
    elif kind == "cut":
        shutil.copytree(tiny_folder, tmp_path / "model")
        weights = (tmp_path / "model" / "model.safetensors").read_bytes()
        (tmp_path / "model" / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    flags = ["--stage", "b", "--model", "./model", "--clips", clips, "--output_dir", "out", *STEPS]
    check_failure(command(temporal, *flags), capsys, "model")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "row",
    ["0,a,b,dog,hen,nan,1,True", "0,a,b,dog,hen,5.0,-1,True", "x,a,b,dog,hen,5,1,True", "0,a,b,dog,hen,5,1,maybe",
     "0,../../x,/etc/passwd,dog,hen,5.0,1,True", "0,a,b,dog,hen,1e99,1,True", "0", "\x00"],
)  # fmt: skip
def test_lists_of_scenes_that_name_anything(command, tiny_folder, clips, capsys, row):
    """Guards against a traceback of a list of scenes, or a file that it names."""
    Path("scenes.csv").write_text(f"id,clip_a,clip_b,class_a,class_b,border,seed,seen_pair\n{row}\n")
    flags = ["--model", tiny_folder, "--task", f"zste={clips}", "--zste_manifest", "scenes.csv", "--output_dir", "out"]
    check_failure(command(run_eval, *flags), capsys)
    assert not Path("out").exists()
