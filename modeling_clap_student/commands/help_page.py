"""The page of `--help`: examples, then our own flags in groups. `--help_all` adds all of transformers' flags."""

from argparse import SUPPRESS, Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import fields
from inspect import get_annotations


# The fields of transformers.TrainingArguments that a first training may need.
_USUAL = {
    *("output_dir", "max_steps", "gradient_accumulation_steps", "bf16", "dataloader_num_workers"),
    *("eval_strategy", "eval_steps", "metric_for_best_model", "push_to_hub", "hub_model_id", "hub_private_repo"),
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
    owner = next(owner for owner in kind.__mro__ if name in get_annotations(owner))
    is_theirs = owner.__module__.startswith("transformers.")  # its class is slow to import
    if name in _SETTLED or (is_theirs and name not in _USUAL):
        return _OTHERS
    titled = [base.title for base in kind.__mro__ if "title" in vars(base)]
    return titled[-2] if is_theirs else owner.title  # the last one is `CheckedArguments`'


def _rank(types: Sequence[type]):
    """Titles in the order of the classes. Flags that every command has come last."""
    order = [owner.title for kind in types for owner in kind.__mro__ if "title" in vars(owner)]
    common = [title for title in order if title.startswith("Reading")]
    order = [title for title in order if title not in common] + common
    return lambda title: order.index(title) if title in order else len(order) + (title == _OTHERS)
