"""Flags from a file."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from modeling_clap_student import InputError
from modeling_clap_student.cli import parse_arguments
from modeling_clap_student.data.skipping import ReadingArguments


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
