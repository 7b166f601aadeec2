"""What the commands share: how they read arguments, speak, fail and leave results."""

import atexit
import os
import re
import sys
import time
import traceback
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Callable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import HfArgumentParser, TrainingArguments
from transformers.utils import logging as transformers_logging

from .checkpoints import push_folder
from .data.excluded import Excluded
from .data.listing import list_corpora
from .data.skipping import SkippedClips
from .data.summary import summarise
from .errors import InputError
from .output_folders import CAN_BE_MENDED, short
from .redaction_clap_student import without_secrets
from .run_config import read_config


console = Console(highlight=False, soft_wrap=True)


# Control characters, by which a name could steer the terminal or turn a line around, and what no terminal can encode.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(message: str) -> str:
    """One line that may be shown: without secrets, and without characters that do something."""
    return _UNPRINTABLE.sub("\ufffd", without_secrets(" ".join(message.splitlines())))


def say(message: str) -> None:
    """Prints a line, from the main process alone."""
    if PartialState().is_main_process:
        console.print(Text(printable(message)))


def heading(message: str) -> None:
    """Announces a stage."""
    if PartialState().is_main_process:
        console.rule(Text(printable(message), style="bold"), align="left")


def parse_arguments(
    types: Sequence[type], description: str, argv: list[str] | None = None, adapt: Callable | None = None
) -> tuple:
    """Reads flags into dataclasses; those in the file of `--config` count as typed, unless they are typed too.

    Args:
        types: the dataclasses.
        description: of the command, for `--help`.
        argv: the flags; the process's by default.
        adapt: given the flags as read, returns other defaults for some of them; a flag that was typed keeps its value.

    Returns:
        the dataclasses; the first one's `flags` are all flags as they were read, for `run_config.save_arguments`.

    Raises:
        InputError: a value that a dataclass refuses, or a file that can't be used.
    """
    argv = sys.argv[1:] if argv is None else argv
    file = _config_file(argv)
    config = {} if file is None else read_config(file, types)
    parser = _Parser(types, config, description=description)
    if adapt is not None:
        adapted = adapt(parser.parse_args(argv))
        parser.set_defaults(**{name: value for name, value in adapted.items() if name not in config})
    flags = vars(parser.parse_args(argv))
    flags.pop("config", None)
    try:
        parsed = parser.parse_dict(flags)
    except Exception as error:  # transformers' own arguments raise a dozen unrelated types
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from error
    parsed[0].flags = flags
    return parsed


def _config_file(argv: list[str]) -> str | None:
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--config")
    return parser.parse_known_args(argv)[0].config


class OneLineParser(ArgumentParser):
    """`ArgumentParser` whose errors are one line. A value that belongs to no flag is not shown: it may be a token."""

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
    """A parser for flags of which a file has told some: these need not be typed, and give way to what is typed."""

    def __init__(self, types: Sequence[type], config: dict, **options):
        self._config = config
        super().__init__(types, **options)
        self.add_argument(
            "--config",
            default=SUPPRESS,
            metavar="FILE",
            help="A .yaml or .json file with flags; arguments.json beside a result repeats its run.",
        )
        self.add_argument(
            "--list_corpora", action=_ListCorpora, help="List the corpora and layouts that can be named, and exit."
        )

    def add_argument(self, *names, **options):
        if options.get("action") == "extend":
            options["action"] = _Several
        if (name := names[0].lstrip("-")) in self._config:
            options |= {"default": self._config[name], "required": False}
        return super().add_argument(*names, **options)


class _Several(Action):
    """argparse's `extend`, but for what was typed alone: it does not come on top of the default."""

    def __call__(self, parser, namespace, values, option_string=None):
        older = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if older is None or older is self.default else older), *values])


class _ListCorpora(Action):
    """Prints the corpora and ends the command, like `--help`: no other flag is needed beside it."""

    def __init__(self, option_strings: list[str], dest: str, **options):
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, nargs=0, **options)

    def __call__(self, parser, *_):
        if PartialState().is_main_process:
            Console().print(list_corpora())  # unlike `console`, one that folds long lines
        parser.exit()


# How long a process waits for the others: the main one may write terabytes meanwhile. NCCL's own 10 minutes would end
# the run.
_PATIENCE = timedelta(hours=12)


def run(main: Callable[[], None]) -> None:
    """Runs a command: a user's mistake ends in one line and exit code 1, an interruption in 130."""
    transformers_logging.set_verbosity_error()
    # Their bars on reading and writing files; embedding and training keep theirs.
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    # accelerate joins processes on CPUs only when told that there is nothing else.
    PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)
    try:
        main()
        # Left to the interpreter's end, a process that is still connected to one that is gone may abort.
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()
    except InputError as error:
        # One raised in a worker process comes wrapped in that worker's traceback; its own words stand last.
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
    except Exception:  # a defect: its traceback helps to mend it, and may hold addresses
        print(without_secrets(traceback.format_exc()), file=sys.stderr)
        sys.exit(1)


def skipped_clips(folder: Path, max_fraction: float) -> SkippedClips:
    """The list of a new run, `skipped.csv` in its folder; the one of an earlier run is forgotten."""
    skipped = SkippedClips(folder / "skipped.csv", max_fraction)
    if PartialState().is_main_process:
        skipped.start_afresh()
    PartialState().wait_for_everyone()
    if PartialState().is_local_main_process:
        atexit.register(skipped.close)  # also of a run that fails
    return skipped


def report_skipped(skipped: SkippedClips, folder: Path | None = None, most: int = 5) -> int:
    """Says at the end of a run how many clips were skipped, names some, and returns the number.

    Args:
        skipped: the clips.
        folder: where the list will lie, if not where it is now.
        most: how many to name.

    Raises:
        InputError: they are too many.
    """
    reasons = skipped.read()
    if reasons:
        file = (folder or skipped.path.parent) / skipped.path.name
        say(f"skipped {len(reasons)} clip{'s' * (len(reasons) != 1)} (all in {file}):")
        for audio_id, reason in list(reasons.items())[:most]:
            say(f"  {audio_id}: {reason}")
    skipped.check()
    PartialState().wait_for_everyone()
    skipped.close()
    return len(reasons)


def report_excluded(excluded: Excluded) -> None:
    """Says which rows of the data were left out, and why."""
    for line in excluded.lines:
        say(line)


def report_data(data: dict[str, Dataset | IterableDataset | None]) -> None:
    """Prints how many rows, clips, captions and hours a run would read."""
    rows = [[name, *summarise(table).cells()] for name, table in data.items() if table is not None]
    print_table("What is there", ["data", "rows", "clips", "captions", "hours"], rows)


def push_if_asked(args: TrainingArguments) -> None:
    """Uploads what a run made, with `--push_to_hub`.

    Raises:
        InputError: the upload broke off.
    """
    if args.push_to_hub and PartialState().is_main_process:
        name = args.hub_model_id or Path(args.output_dir).name
        say(f"pushed to {push_folder(args.output_dir, name, args.hub_private_repo, token=args.hub_token)}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, first column left-aligned, from the main process alone."""
    table = Table(title=Text(printable(title), style="italic"), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if PartialState().is_main_process:
        console.print(table)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self.start, 2)


__all__ = [
    "OneLineParser",
    "Stopwatch",
    "heading",
    "parse_arguments",
    "print_table",
    "printable",
    "push_if_asked",
    "report_data",
    "report_excluded",
    "report_skipped",
    "run",
    "say",
    "skipped_clips",
]
