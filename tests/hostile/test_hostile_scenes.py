"""Too few clips for scenes: the line says which clips are too few, why, and what to do."""

import shutil
from itertools import product

import pytest
from conftest import check_failure, write_tone

from modeling_clap_student.commands import temporal as run_temporal


NAMES = [f"class_{letter}" for letter in "abcdefghij"]


@pytest.fixture
def folder(tmp_path):
    """Ten classes of four clips."""
    for number, (name, clip) in enumerate(product(NAMES, range(4))):
        write_tone(tmp_path / "clips" / name / f"{clip}.wav", 200 + 11 * number, seconds=0.3)
    return tmp_path / "clips"


def flags(tiny_folder, *more):
    return ["--stage", "b", "--model", tiny_folder, "--dry_run", *more]


@pytest.mark.parametrize("clips", [4, 1])
def test_a_small_folder_leaves_too_few_to_validate_on(clips, folder, tiny_folder, command, capsys):
    """Guards against `there are 1` of a folder of ten classes: it is the held-out tenth that has one."""
    for name in NAMES:
        for clip in range(clips, 4):
            (folder / name / f"{clip}.wav").unlink()
    for name in NAMES[4:] if clips == 4 else ():
        shutil.rmtree(folder / name)  # of the four others the tenth that is held out is one clip
    code = command(run_temporal, *flags(tiny_folder, "--clips", folder))
    check_failure(code, capsys, "held out to validate on", "--validation_clips", str(folder))


def test_clips_that_are_all_in_the_evaluation_set(folder, tiny_folder, command, capsys):
    """Guards against a word on classes where every clip was kept out."""
    code = command(run_temporal, *flags(tiny_folder, "--clips", folder, "--task", folder))
    check_failure(code, capsys, f"--clips {folder}", "no clips", "evaluation set")


def test_validation_clips_of_one_class(folder, tiny_folder, tmp_path, command, capsys):
    """Guards against a line that blames the clips to train on."""
    write_tone(tmp_path / "other" / "hum" / "a.wav", 99)
    write_tone(tmp_path / "other" / "hiss" / "b.wav", 88)
    write_tone(tmp_path / "task" / "hum" / "a.wav", 99)
    write_tone(tmp_path / "task" / "tone" / "a.wav", 77)
    given = ["--clips", folder, "--validation_clips", tmp_path / "other", "--task", tmp_path / "task"]
    code = command(run_temporal, *flags(tiny_folder, *given))
    check_failure(code, capsys, f"1 (hiss) in --validation_clips {tmp_path / 'other'}", "--task")
