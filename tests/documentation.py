"""What README and docs tell a reader to type: their commands and snippets, and whether a command can be given so."""

import re
import shlex
import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from conftest import ROOT


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"(?:\S*/)?(?:python3?|accelerate|make|pip|uv|hf|clap-\w+)\s")
# What the commands are called, and the module of each. What is not there is no command of this package.
MODULES = {
    "teacher": "teacher",
    "curate": "curate",
    "student": "student",
    "eval": "evaluate",
    "temporal": "temporal",
    "convert": "convert",
    "export": "export",
    "app": "app",
}
_SCRIPTS = {"curate.py": "curate"} | {f"run_{name}.py": name for name in ("teacher", "student", "eval", "temporal")}
# What a text may leave out behind an ellipsis.
_LEFT_OUT = {
    "teacher": {"--corpus": "clips/"},
    "curate": {"--strategy": "ads", "--teacher": "t", "--captions": "c", "--audio": "a", "--labels": "l"},
    "student": {"--strategy": "ads", "--improvement_set": "pairs"},
    "eval": {"--model": "m"},
    "temporal": {"--stage": "b"},
}
_SEVERAL = re.compile(r"^(?:[A-Z_]+=\S+\s+)+")  # variables before a command


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        place: the page and the line.
        kind: what stands behind the fence.
        text: what is in it.
    """

    place: str
    kind: str
    text: str

    @property
    def is_shell(self) -> bool:
        return self.kind == "bash" or (not self.kind and _PROGRAM.match(self.text) is not None)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT)
    return [Block(f"{name}:{text[: m.start()].count(chr(10)) + 2}", m[1], m[2]) for m in _BLOCK.finditer(text)]


def commands(block: Block) -> list[str]:
    """The commands of a block, each in one line, without what stands behind a `#`."""
    lines = block.text.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"&&", re.sub(r"(^|\s)# .*", "", line))]
    return [" ".join(part.split()) for part in parts if part.strip()]


class _Reached(BaseException):
    """Flags were read: the command would go on from here."""


def check_command(line: str) -> None:
    """Whether a command of this package, of a benchmark, of make, pip, uv or hf can be given.

    Raises:
        AssertionError: it can't, with what is wrong.
    """
    words = shlex.split(_SEVERAL.sub("", line))
    program = words[0].rpartition("/")[2]
    if program in ("python", "python3", "bash"):
        words = words[1:]
    elif program in ("accelerate", "uv", "hf"):
        words = _launched(program, words[1:])
    elif program == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert all(re.search(rf"^{t}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for t in targets), line
        return
    if not words or program == "pip" or words[0] == "-m":
        _check_extras(line)
        return
    name = _SCRIPTS.get(words[0]) or words[0].removeprefix("clap-")
    if name in MODULES:
        _check_flags(name, words[1:], line)
    else:
        assert (ROOT / words[0]).is_file(), f"{line}: there is no {words[0]}"
        known = flags_of_file(ROOT / words[0])
        unknown = [word for word in words[1:] if word.startswith("--") and word.split("=")[0] not in known]
        assert not unknown, f"{line}: {words[0]} has no {unknown[0]}"


def _launched(program: str, words: list[str]) -> list[str]:
    """What `accelerate launch`, `uv run` or `hf jobs uv run` starts; their own flags are checked."""
    place = next((n for n, word in enumerate(words) if word.endswith(".py") or word.startswith("clap-")), len(words))
    if program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        assert words[0] == "launch"
        _, unknown = launch_command_parser().parse_known_args([*words[1:place], "x.py"])
        assert not [word for word in unknown if word.startswith("--")], f"accelerate launch has no {unknown}"
    return words[place:]


def _check_extras(line: str) -> None:
    """`pip install '.[x]'`: the extra is one of setup.py's."""
    known = re.findall(r'^        "(\w+)":', (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE)
    for extras in re.findall(r"\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= set(known), f"{line}: setup.py has no such extra"


def _check_flags(name: str, words: list[str], line: str) -> None:
    """The command itself reads its flags, and checks what they say; it stops before it reads any data."""
    # An ellipsis behind a flag is its value; any other stands for flags.
    words = [
        "x" if word == "…" and before.startswith("--") else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    is_whole = "…" not in words
    words = [word for word in words if word != "…"]
    if not is_whole and "review" not in words:
        words = [x for flag, value in _LEFT_OUT[name].items() if flag not in words for x in (flag, value)] + words
    module = import_module(f"modeling_clap_student.commands.{MODULES[name]}")
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", [name, *words]))
        stop = stack.enter_context(patch.object(ArgumentParser, "parse_known_args", _parse_and_stop))
        assert stop is not None
        try:
            module.main()
        except _Reached:
            return
        except SystemExit as end:
            raise AssertionError(f"{line}: refused ({end.code})") from end
    raise AssertionError(f"{line}: no flags were read")


_parse_known_args = ArgumentParser.parse_known_args


def _parse_and_stop(self, args=None, namespace=None):
    flags, unknown = _parse_known_args(self, args, namespace)
    if self.add_help:  # the one that reads all flags, and not `--config` alone
        if unknown:
            self.error(f"no such flag: {unknown}")
        raise _Reached
    return flags, unknown


@cache
def flags_of_file(path: Path) -> frozenset[str]:
    """The flags that a program of benchmarks/ or examples/ names, in its own file or one beside it."""
    texts = [file.read_text(encoding="utf-8") for file in path.parent.glob("*.py")]
    return frozenset(flag for text in texts for flag in re.findall(r"--[a-z][\w-]*", text))


@cache
def known_flags() -> frozenset[str]:
    """Every flag of the commands, of transformers' arguments, of the launcher and of the benchmarks."""
    from accelerate.commands.launch import launch_command_parser

    from modeling_clap_student.app.arguments import AppArguments
    from modeling_clap_student.commands import export, student, teacher, temporal
    from modeling_clap_student.commands.review import ReviewArguments
    from modeling_clap_student.curation.arguments import CurateArguments
    from modeling_clap_student.evaluation.arguments import EvalArguments

    kinds = {*student._TYPES, *teacher._TYPES, *temporal._TYPES, CurateArguments, EvalArguments, ReviewArguments}
    kinds |= {export.ExportArguments, AppArguments}
    ours = {f"--{field.name}" for kind in kinds for field in fields(kind)}
    ours |= {"--config", "--help", "--help_all", "--list_corpora", "--tokenizer"}
    launcher = {flag for action in launch_command_parser()._actions for flag in action.option_strings}
    programs = [file for folder in ("benchmarks", "examples", "docs") for file in (ROOT / folder).rglob("*.py")]
    return frozenset(ours | launcher).union(*map(flags_of_file, programs))
