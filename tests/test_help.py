"""What `--help` shows, and what it leaves to `--help_all`."""

from dataclasses import fields
from inspect import get_annotations

import pytest

from modeling_clap_student.app.arguments import AppArguments
from modeling_clap_student.checkpoints.arguments import ModelArguments
from modeling_clap_student.commands.command_line import _Parser
from modeling_clap_student.commands.help_page import _SETTLED
from modeling_clap_student.commands.review import ReviewArguments
from modeling_clap_student.curation.arguments import CurateArguments
from modeling_clap_student.evaluation.arguments import EvalArguments
from modeling_clap_student.temporal.arguments import TemporalArguments, TemporalTrainingArguments
from modeling_clap_student.training.arguments import ClapStudentTrainingArguments, StudentArguments, TeacherArguments


TYPES = (StudentArguments, ClapStudentTrainingArguments)


def page(capsys, flag, types=TYPES):
    parser = _Parser(types, {}, description="Trains.\n\nOne process:   x --y \\\n                   --z")
    with pytest.raises(SystemExit) as end:
        parser.parse_args([flag])
    assert end.value.code == 0
    return capsys.readouterr().out


def flags_of(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("  --")]


TEMPORAL = (TemporalArguments, TemporalTrainingArguments)


@pytest.mark.parametrize(
    "types",
    [
        TYPES,
        (TeacherArguments, ModelArguments),
        (CurateArguments,),
        (EvalArguments,),
        TEMPORAL,
        (ReviewArguments,),
        (AppArguments,),
    ],
)
def test_all_of_ours_are_there_once(capsys, types):
    """Guards against a flag that nobody finds."""
    shown = flags_of(page(capsys, "--help", types))
    ours = [
        f"--{field.name}"
        for kind in types
        for field in fields(kind)
        if any(
            field.name in get_annotations(owner) and owner.__module__.startswith("modeling_clap")
            for owner in kind.__mro__
        )
    ]
    assert set(ours) - {f"--{name}" for name in _SETTLED} <= set(shown) and len(shown) == len(set(shown))


def test_ours_stand_first_and_transformers_on_demand(capsys):
    """Guards against a hundred flags before the one that counts, and against one that is nowhere."""
    short, whole = flags_of(page(capsys, "--help")), flags_of(page(capsys, "--help_all"))
    assert short[0] == "--strategy" and len(short) < 70
    assert "--fsdp" in whole and "--fsdp" not in short and "--max_steps" in short
    everything = {f"--{field.name}" for kind in TYPES for field in fields(kind)} - {"--_n_gpu"}
    assert everything <= set(whole)


def test_their_words_are_short(capsys):
    """Guards against transformers' paragraphs between our lines, and against ours in place of a flag's own words."""
    text = " ".join(page(capsys, "--help").split())
    assert "--output_dir VALUE Folder of the model and its checkpoints." in text and "`None`" not in text
    assert "--max_steps VALUE Steps to train. (default: 600)" in " ".join(page(capsys, "--help", TEMPORAL).split())


def test_examples_keep_their_lines(capsys):
    """Guards against commands that argparse folds into a paragraph."""
    text = page(capsys, "--help")
    assert text.startswith("usage: ") and "[flags]" in text.splitlines()[0]
    assert "One process:   x --y \\\n                   --z\n" in text
    assert "--help_all lists them" in text and "--help_all lists them" not in page(capsys, "--help", (EvalArguments,))


def test_defaults_are_told_where_they_tell_something(capsys):
    text = " ".join(page(capsys, "--help").split())
    assert "(default: 0.3)" in text and "(default: None)" not in text and "(default: False)" not in text
    assert "(default: 0)" in text  # a number, not the lack of one
