"""The page of `--help`: examples, then our own flags in groups. `--help_all` adds all of transformers' flags."""

from argparse import SUPPRESS, Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import fields
from inspect import get_annotations


# The fields of transformers.TrainingArguments that a first training may need, in short words.
_USUAL = {
    "output_dir": "Folder of the model and its checkpoints. Default: one in outputs/, named after the command.",
    "max_steps": "Stop after this many steps, in place of --num_train_epochs. A stream needs it.",
    "gradient_accumulation_steps": "Batches that make one step. The loss compares the pairs of each batch alone.",
    "bf16": "Compute in bfloat16, on processors that have it.",
    "dataloader_num_workers": "Processes that read clips. 0: the main process reads them in threads.",
    "eval_strategy": "When to evaluate.",
    "eval_steps": "Evaluate every this many steps. Default: --logging_steps.",
    "metric_for_best_model": "The score that selects the checkpoint.",
    "push_to_hub": "Upload the model to the Hub.",
    "hub_model_id": "Its name there, someone/model. Default: your account and the folder's name.",
    "hub_private_repo": "Make the new repository private.",
}
# Our flags that every training needs unchanged.
_SETTLED = {"logging_nan_inf_filter", "remove_unused_columns", "ddp_find_unused_parameters"}
_OTHERS = "Flags of transformers.TrainingArguments"
_MORE = "All flags of transformers.TrainingArguments work too: --help_all lists them."


class PageFormatter(RawDescriptionHelpFormatter):
    """Shows one spelling of each flag, and a default only where it is informative."""

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        name = action.option_strings[-1] if action.dest == "help" else action.option_strings[0]
        if action.nargs == 0 or action.const is True:
            return name
        if action.choices is not None and len(action.choices) <= 6:
            return f"{name} {'|'.join(map(str, action.choices))}"
        return f"{name} {action.metavar or 'VALUE'}{' …' if action.nargs == '+' else ''}"

    def _get_help_string(self, action: Action) -> str:
        words = action.help or ""
        # None, False and a missing default are not shown. 0 is.
        goes_without_saying = action.default in (None, "", SUPPRESS) or action.default is False
        if goes_without_saying or action.default == [] or "%(default)" in words:
            return words
        return f"{words} (default: %(default)s)"


class HelpAll(Action):
    """`--help` with every flag."""

    def __init__(self, option_strings: list[str], dest: str, **options):
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, nargs=0, **options)

    def __call__(self, parser: ArgumentParser, *_):
        print(format_page(parser, parser.types, everything=True), end="")
        parser.exit()


def format_page(parser: ArgumentParser, types: Sequence[type], everything: bool = False) -> str:
    """The page of a parser for dataclasses of arguments. The heading of each group is its class's `title`."""
    groups: dict[str, list[Action]] = {}
    titles = {field.name: _title(kind, field.name) for kind in types for field in fields(kind)}
    for action in parser._actions:
        title = titles.get(action.dest, "Help and settings")
        if action.dest in _USUAL and any(_is_theirs(kind, action.dest) for kind in types):
            action.help = _USUAL[action.dest]
        # `--x false` does the same as `--no_x`.
        if everything or (title != _OTHERS and not action.option_strings[0].startswith("--no_")):
            groups.setdefault(title, []).append(action)
    formatter = parser._get_formatter()
    formatter.add_usage(f"{parser.prog} [flags]", parser._actions, [])
    formatter.add_text(parser.description)
    for title in sorted(groups, key=_rank(types)):
        formatter.start_section(title)
        formatter.add_arguments(groups[title])
        formatter.end_section()
    if not everything and _OTHERS in titles.values():
        formatter.add_text(_MORE)
    return formatter.format_help()


def _title(kind: type, name: str) -> str:
    """The title of the class that declares the flag, or that set our default for it."""
    if name in _SETTLED or (_is_theirs(kind, name) and name not in _USUAL):
        return _OTHERS
    if _is_theirs(kind, name):
        return [base.title for base in kind.__mro__ if "title" in vars(base)][-2]  # -1 is that of `CheckedArguments`
    return _owner(kind, name).title


def _owner(kind: type, name: str) -> type | None:
    """The class that declares the flag; None if the dataclass does not have it."""
    return next((owner for owner in kind.__mro__ if name in get_annotations(owner)), None)


def _is_theirs(kind: type, name: str) -> bool:
    owner = _owner(kind, name)
    return owner is not None and owner.__module__.startswith("transformers.")  # its class is slow to import


def _rank(types: Sequence[type]):
    """Titles in the order of the classes. Flags that every command has come last."""
    order = [owner.title for kind in types for owner in kind.__mro__ if "title" in vars(owner)]
    common = [title for title in order if title.startswith("Reading")]
    order = [title for title in order if title not in common] + common
    return lambda title: order.index(title) if title in order else len(order) + (title == _OTHERS)
