"""What a dry run tells of the data."""

import pytest
from datasets import IterableDataset

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands.summary import Summary, summarise
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.pools import read_pools


def test_counts_and_hours(captioned_folder):
    """Guards against hours that count a clip once for each of its captions, or captions once for each clip."""
    with open(captioned_folder / "metadata.csv", "a") as file:
        file.write("0.wav,another word on it\n")
    told = summarise(read_corpora([str(captioned_folder)]))
    assert (told.rows, told.clips, told.captions, told.looked_up) == (13, 12, 5, 12)
    assert told.hours == pytest.approx(12 / 3600)
    assert told.cells() == ["13", "12", "5", "0.00"]


def test_clips_that_can_not_be_read_are_told(pool_folder):
    """Guards against silence about a pool that is half broken."""
    told = summarise(read_pools([str(pool_folder)]))
    assert (told.clips, told.unreadable) == (7, 1)
    assert told.cells()[-1].endswith("(1 of 7 looked at can't be read)")


def test_text_without_audio_and_streams(tmp_path):
    """Guards against errors where there is no clip, or no count."""
    (tmp_path / "texts.csv").write_text("caption\na dog\nrain\n")
    assert summarise(read_corpora([str(tmp_path / "texts.csv")], needs_audio=False)).cells() == ["2", "0", "2", "0.00"]
    stream = IterableDataset.from_generator(lambda: iter(()))
    assert summarise(stream).cells() == ["–"] * 4


def test_hours_of_many_are_estimated():
    """Guards against an estimate that looks like a measurement, and against opening millions of files."""
    assert Summary(2_000_000, 1_900_000, None, 5274.6, 300).cells() == ["2,000,000", "1,900,000", "–", "≈ 5,275"]
    told = summarise(read_pools(["soundscapes"]))
    assert told.looked_up == 300 < told.clips == 2400


def test_every_command_tells(captioned_folder, pool_folder, labelled_folder, tiny_folder, tmp_path, command, capsys):
    """Guards against a command whose dry run reads nothing, tells no hours, or leaves something behind."""
    captions, pool = ["--captions", captioned_folder], ["--audio", pool_folder]
    runs = [
        (run_teacher, ["--corpus", captioned_folder, "--task", labelled_folder]),
        (curate, ["--strategy", "du", "--teacher", tiny_folder, *captions, *pool]),
        (run_student, ["--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder]),
        (run_eval, ["--model", tiny_folder, "--task", labelled_folder]),
    ]
    for module, flags in runs:
        capsys.readouterr()
        assert command(module, *flags, "--dry_run", "--output_dir", tmp_path / "made") == 0
        said = capsys.readouterr().out
        assert "What is there" in said and "hours" in said and "0.00" in said
        assert not (tmp_path / "made").exists()
