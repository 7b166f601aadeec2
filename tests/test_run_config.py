"""Flags from a file, and the file that repeats a run."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from conftest import FAST, SMALL, numbers
from test_commands import check_failure

from modeling_clap_student import ClapStudentTrainingArguments, InputError
from modeling_clap_student.checkpoints.initialization import ModelArguments
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands.command_line import parse_arguments
from modeling_clap_student.curation.arguments import CurateArguments
from modeling_clap_student.data.skipping import ReadingArguments
from modeling_clap_student.evaluation.arguments import EvalArguments
from modeling_clap_student.training.arguments import StudentArguments, TeacherArguments
from modeling_clap_student.utils.arguments import ARGUMENTS, save_arguments


STUDENT = (StudentArguments, ModelArguments, ClapStudentTrainingArguments)


@dataclass
class Arguments(ReadingArguments):
    name: str = field(metadata={"choices": ["one", "two"]})
    parts: list[str] | None = field(default=None, metadata={"action": "extend", "nargs": "+"})
    rate: float = 0.5
    steps: int | None = 3
    cut: str | None = field(default=None, metadata={"aliases": ["--threshold"]})
    quick: bool = False
    more: dict | str | None = None


def read(*flags, adapt=None, **config):
    """What comes of a file and flags."""
    Path("run.yaml").write_text(yaml.safe_dump(config))
    (args,) = parse_arguments((Arguments,), "", ["--config", "run.yaml", *flags], adapt)
    return args


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_flags_from_a_file():
    """Guards against a kind of value that a file can't hold, and a required flag that has to be typed too."""
    args = read(name="two", parts=["a", "b"], rate=1, steps=None, threshold=0.25, quick=True, more={"x": 1})
    assert (args.name, args.parts, args.rate, args.steps, args.cut) == ("two", ["a", "b"], 1.0, None, "0.25")
    assert args.quick is True and args.more == {"x": 1} and isinstance(args.rate, float)
    as_typed = {"name": "two", "parts": "a", "rate": "1e-4", "steps": "7", "quick": "yes", "max-skipped-fraction": 1}
    args = read(**as_typed)
    assert (args.parts, args.rate, args.steps, args.quick, args.max_skipped_fraction) == (["a"], 1e-4, 7, True, 1.0)


def test_what_is_typed_wins():
    """Guards against a flag that the file overrides, or a list that holds the file's part and the typed one."""
    args = read("--name", "one", "--parts", "c", "--parts", "d", "e", "--quick", name="two", parts=["a"], rate=0.1)
    assert (args.name, args.parts, args.rate, args.quick) == ("one", ["c", "d", "e"], 0.1, True)
    assert read("--quick", "false", name="two", quick=True).quick is False


def test_other_defaults_see_the_file_and_give_way_to_it():
    """Guards against a built-in schedule on the data that a file names, and a file's value that is lost to it."""
    seen = []

    def adapt(flags):
        seen.append((flags.parts, flags.name))
        return {"rate": 0.9, "steps": 5, "cut": "low", "parts": ["x"]}

    args = read("--cut", "high", adapt=adapt, name="two", rate=0.1, steps=None)
    assert seen == [(None, "two")] and (args.rate, args.steps, args.cut, args.parts) == (0.1, None, "high", ["x"])
    assert read("--parts", "y", adapt=adapt, name="one", parts=["a"]).parts == ["y"]


def test_json_is_read_too():
    """Guards against numbers that YAML takes for text."""
    Path("run.json").write_text('{"name": "one", "rate": 1e-05, "more": {"min_lr": 1e-06}}')
    (args,) = parse_arguments((Arguments,), "", ["--config=run.json"])
    assert args.rate == 1e-5 and args.more == {"min_lr": 1e-6}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rat: 0.1", ["no flag is called rat", "rate"]),
        ("config: other.yaml", ["no flag is called config"]),
        ("rate: fast", ["rate must be a number", "'fast'"]),
        ("rate: null", ["rate must be a number", "None"]),
        ("steps: 2.5", ["steps must be a whole number", "2.5"]),
        ("steps: true", ["steps must be a whole number", "True"]),
        ("quick: perhaps", ["quick must be true or false"]),
        ("name: no", ["name must be text", "in quotes"]),
        ("name: three", ["name must be one of one, two", "'three'"]),
        ("parts: {a: b}", ["parts must be a list"]),
        ("parts: [[a]]", ["parts must be a list"]),
        ("more: [1]", ["more must be a mapping or text"]),
        ("max_skipped_fraction: 7", ["--max_skipped_fraction must lie in [0, 1]"]),
        ("- rate", ["no mapping"]),
        ("", ["no mapping"]),
        ("rate: [", ["run.yaml is malformed", "line"]),
        ("\x00", ["run.yaml is malformed"]),
    ],
)
def test_wrong_files(text, words):
    """Guards against a traceback, or a message that does not say which value of which file."""
    Path("run.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        parse_arguments((Arguments,), "", ["--name", "one", "--config", "run.yaml"])
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), error.value


def test_files_that_are_not_there(tmp_path):
    """Guards against a run with the defaults where the file's name was mistyped."""
    for name, words in (("gone.yaml", "no such file: gone.yaml"), (".", "can't read")):
        with pytest.raises(InputError, match=words):
            parse_arguments((Arguments,), "", ["--config", name])


@pytest.mark.parametrize(
    ("types", "adapt", "flags"),
    [
        (STUDENT, run_student.defaults, ["--strategy", "ads"]),
        (
            STUDENT,
            run_student.defaults,
            ["--strategy", "du", "--improvement_set", "s", "--replay", "a", "b", "--lr_scheduler_kwargs", '{"x": 1}',
             "--save_strategy", "no", "--soft_label_normalization", "softmax", "--soft_label_temperature", "0.1",
             "--debug", "underflow_overflow", "--optim", "sgd"],
        ),
        (
            (TeacherArguments, ModelArguments, ClapStudentTrainingArguments),
            run_teacher.defaults,
            ["--corpus", "here", "--task", "there", "--report_to", "all", "--learning_rate", "3e-5"],
        ),
        ((CurateArguments,), curate.defaults, ["--strategy", "ads"]),
        (
            (CurateArguments,),
            curate.defaults,
            ["--strategy", "ads", "--teacher", "t", "--captions", "c", "--audio", "a", "b", "--labels", "l",
             "--pair_threshold", "auto"],
        ),
        ((EvalArguments,), None, ["--model", "m", "--task", "a", "--task", "b"]),
    ],
)  # fmt: skip
def test_saved_arguments_repeat_a_run(types, adapt, flags):
    """Guards against a run that can't be repeated: a default that comes back changed, a list that grows."""
    first = parse_arguments(types, "", flags, adapt)
    save_arguments(Path("."), first[0])
    assert parse_arguments(types, "", ["--config", ARGUMENTS], adapt) == first
    assert not list(Path().glob(".partial-*"))


def test_no_token_is_saved():
    """Guards against a token that is pushed with the model."""
    flags = ["--strategy", "ads", "--hub_token", "hf_secret", "--resume_from_checkpoint", "true"]
    args, _, training_args = parse_arguments(STUDENT, "", flags)
    save_arguments(Path("."), args)
    assert training_args.hub_token == "hf_secret" and "hf_secret" not in Path(ARGUMENTS).read_text()
    assert "resume_from_checkpoint" not in json.loads(Path(ARGUMENTS).read_text())


@pytest.mark.slow
def test_every_command_leaves_its_arguments(command, captioned_folder, pool_folder, labelled_folder, capsys):
    """Guards against a command that forgets them, and a set that its own arguments make unrecognisable."""
    flags = ["--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST, "--logging_steps", 1]
    assert command(run_teacher, *flags) == 0
    made = ["--strategy", "ads", "--teacher", "teacher", "--captions", captioned_folder, "--audio", pool_folder]
    made += ["--labels", labelled_folder, *numbers("ads"), "--output_dir", "set"]
    assert command(curate, *made) == 0
    assert command(curate, "--config", "set/arguments.json", "--num_pairs", 5) == 0  # in the same place
    assert json.loads(Path("set/arguments.json").read_text())["num_pairs"] == 5
    flags = ["--strategy", "ads", "--improvement_set", "set", "--task", labelled_folder, "--output_dir", "student"]
    assert command(run_student, *flags, *FAST, "--logging_steps", 1) == 0
    capsys.readouterr()
    assert command(run_student, "--config", "student/arguments.json") == 0
    assert "reusing the student" in capsys.readouterr().out
    assert command(run_eval, "--model", "student", "--task", labelled_folder, "--output_dir", "eval") == 0
    assert json.loads(Path("eval/arguments.json").read_text())["task"] == [str(labelled_folder)]
    teacher = json.loads(Path("teacher/arguments.json").read_text())
    assert Path("teacher/curves.png").exists() and Path("student/curves.png").exists()
    assert teacher["base_channels"] == 2 and teacher["max_steps"] == 2 and teacher["corpus"] == [str(captioned_folder)]
    check_failure(command(run_eval, "--config", "gone.yaml"), capsys, "no such file: gone.yaml")
