"""The common parts of the commands: reading flags, listing what can be named, reporting, and failing.

Slow modules are imported where they are used, so that `--help` is fast.
"""

import functools
import os
import sys
import traceback
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Callable, Sequence
from datetime import timedelta
from difflib import get_close_matches

import torch
from accelerate import PartialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from ..errors import InputError
from ..redaction_clap_student import without_secrets
from ..utils.arguments import make_arguments, read_config
from ..utils.console import print_table, printable
from ..utils.outputs import CAN_BE_MENDED, short
from .help_page import HelpAll, PageFormatter, format_page


def parse_arguments(
    types: Sequence[type], description: str, argv: list[str] | None = None, adapt: Callable | None = None, prog=None
) -> tuple:
    """Reads flags into dataclasses. Flags in the file of `--config` count as typed, unless they are typed too.

    Args:
        types: the dataclasses.
        description: the module's docstring, for `--help`.
        argv: the flags; by default those of the process.
        adapt: takes the flags as read, and returns other defaults for some of them. A typed flag keeps its value.
        prog: the command's name in `--help`; by default its file's.

    Returns:
        the dataclasses. The first one's `flags` are all flags as they were read, for `save_arguments`.

    Raises:
        InputError: a value that a dataclass refuses, or an unusable file.
    """
    argv = sys.argv[1:] if argv is None else argv
    file = _config_file(argv)
    config = {} if file is None else read_config(file, types)
    parser = _Parser(types, config, description=description, prog=prog)
    if adapt is not None:
        adapted = adapt(parser.parse_args(argv))
        parser.set_defaults(**{name: value for name, value in adapted.items() if name not in config})
    flags = vars(parser.parse_args(argv))
    flags.pop("config", None)
    return make_arguments(types, flags)


def _config_file(argv: list[str]) -> str | None:
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--config")
    return parser.parse_known_args(argv)[0].config


class OneLineParser(ArgumentParser):
    """`ArgumentParser` with one-line errors. A value without a flag is not shown: it may be a token."""

    def parse_args(self, args=None, namespace=None):
        flags, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [text.partition("=")[0] for text in unknown if text.startswith("--")]
            near = get_close_matches(names[0], self._option_string_actions, 1) if names else []
            hint = f"; is it {near[0]}?" if near else ""
            self.error(f"no flag is called {names[0]}{hint}" if names else "a value belongs to no flag: quote it")
        return flags

    def error(self, message: str):
        self.exit(2, f"error: {printable(message)} (--help lists all flags)\n")


class _Parser(OneLineParser, HfArgumentParser):
    """A parser for flags that a file may have set. They need not be typed, and typed ones override them."""

    def __init__(self, types: Sequence[type], config: dict, **options):
        self._config, self.types = config, types
        super().__init__(types, formatter_class=PageFormatter, **options)
        self.add_argument("--help_all", action=HelpAll, help="Show all flags, transformers' too, and exit.")
        self.add_argument(
            "--config",
            default=SUPPRESS,
            metavar="FILE",
            help="A .yaml or .json file with flags; arguments.json beside a result repeats its run.",
        )
        self.add_argument(
            "--list_corpora", action=_ListCorpora, help="List the corpora and layouts that can be named, and exit."
        )

    def format_help(self) -> str:
        return format_page(self, self.types)

    def add_argument(self, *names, **options):
        if options.get("action") == "extend":
            options["action"] = _Several
        if (name := names[0].lstrip("-")) in self._config:
            options |= {"default": self._config[name], "required": False}
        return super().add_argument(*names, **options)


class _Several(Action):
    """argparse's `extend`, but typed values replace the default instead of extending it."""

    def __call__(self, parser, namespace, values, option_string=None):
        older = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if older is None or older is self.default else older), *values])


class _ListCorpora(Action):
    """Prints the corpora and ends the command, like `--help`: no other flag is needed."""

    def __init__(self, option_strings: list[str], dest: str, **options):
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, nargs=0, **options)

    def __call__(self, parser, *_):
        if PartialState().is_main_process:
            Console().print(list_corpora())  # unlike `console`, this one folds long lines
        parser.exit()


# How long a process waits for the others. The main one may write terabytes meanwhile; NCCL's default of 10 minutes
# would end the run.
_PATIENCE = timedelta(hours=12)


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Makes a function the entry point of a command: `run` runs it."""

    @functools.wraps(main)
    def guarded() -> None:
        run(main)

    return guarded


def run(main: Callable[[], None]) -> None:
    """Runs a command. A user's mistake ends in one line and exit code 1, an interruption in code 130."""
    transformers_logging.set_verbosity_error()
    # Hides the libraries' bars for reading and writing files. Embedding and training keep theirs.
    transformers_logging.disable_progress_bar()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    # accelerate joins processes on CPUs only if it is told that there is no other device.
    PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)
    try:
        main()
        # At the interpreter's end, a process that is still connected to one that is gone may abort. So it leaves
        # before.
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()
    except InputError as error:
        # An error from a worker process comes wrapped in that worker's traceback. Its own message is the last line.
        lines = str(error).strip().splitlines() or [""]
        print(f"error: {printable(lines[-1].rpartition('InputError: ')[2])}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in CAN_BE_MENDED:
            raise
        place = f": {short(error.filename)}" if error.filename else ""
        print(f"error: {os.strerror(error.errno)}{place}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception:  # a defect: its traceback helps to fix it, and may hold addresses
        print(without_secrets(traceback.format_exc()), file=sys.stderr)
        sys.exit(1)


def report_data(data: dict) -> None:
    """Prints how many rows, clips, captions and hours a run would read.

    Args:
        data: title -> table, stream, or None.
    """
    from .summary import summarise

    rows = [[name, *summarise(table).cells()] for name, table in data.items() if table is not None]
    print_table("What is there", ["data", "rows", "clips", "captions", "hours"], rows)


# Layouts that belong to no corpus: what they serve as, and how they look.
LAYOUTS = {
    "soundscapes": ("captions, pool, evaluation", "nothing on disk: the package makes its clips itself"),
    "audiofolder": (
        "captions, pool, evaluation",
        "metadata.csv or metadata.jsonl with file_name and caption or label",
    ),
    "csv": (
        "captions, evaluation",
        "a .csv or .jsonl with file_name and caption, or caption_1 …, or a list captions; for evaluation with label",
    ),
    "hub": (
        "captions, pool, evaluation",
        "someone/dataset[@revision], or a folder of Parquet or Arrow files: audio and caption or label",
    ),
    "folder": ("pool, evaluation", "audio files in any folders; for evaluation one folder per class"),
    "stream": (
        "captions to train on, pool",
        "stream[:SPLIT]=… what hub takes, read while it arrives: nothing is downloaded or copied first",
    ),
    "webdataset": (
        "captions to train on, pool",
        "tar archives: a folder of them, one, x-{000..099}.tar, a glob, an address; captions in x.txt or x.json "
        "behind x.flac",
    ),
}
GRAMMAR = (
    "NAME[:PART,…][=PATH]; mostly a path or a Hub id is enough. csv, audiofolder and hub also take names of columns: "
    "hub:test=someone/dataset#audio=file,caption=text (or label=class)"
)


def serves_as(corpus) -> str:
    """The roles that a published corpus can have."""
    uses = {"captions": corpus.captioned, "pool": corpus.pool, "evaluation": corpus.labelled}
    return ", ".join(use for use, reader in uses.items() if reader)


def list_corpora() -> Table:
    """A table of all names that `--corpus`, `--captions`, `--audio` and `--task` know."""
    from ..data.published import PUBLISHED

    table = Table(
        title="Corpora", title_justify="left", caption=escape(GRAMMAR), caption_justify="left", show_lines=True
    )
    table.add_column("name", no_wrap=True)
    table.add_column("serves as", max_width=11)
    table.add_column("layout, parts, size, where it is published", overflow="fold")
    for name, corpus in sorted(PUBLISHED.items()):
        parts = f"parts: {corpus.parts}" if corpus.parts else ""
        about = [corpus.title, corpus.layout, parts, corpus.size, corpus.address]
        table.add_row(name, serves_as(corpus), escape("\n".join(filter(None, about))))
    for name, (uses, layout) in LAYOUTS.items():
        table.add_row(name, uses, escape(layout))
    return table
