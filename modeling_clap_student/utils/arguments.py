"""A command's arguments: their ranges, and the files that they are read from and saved to."""

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from dataclasses import field as dataclass_field
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml
from transformers.hf_argparser import string_to_bool

from ..errors import InputError
from .outputs import write_json


class Range(NamedTuple):
    """The numbers that an argument may have: finite ones, from the lowest to the highest.

    Attributes:
        low: the lowest.
        high: the highest.
        above: whether the lowest itself is excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if math.isfinite(self.high):
            return f"lie in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        return f"be {'above' if self.above else 'at least'} {self.low:g}"


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
SHARE = Range(0, 1)
SEED = Range(0, 2**32 - 1)  # numpy takes no others


def flag(default: Any = MISSING, help: str = "", several: bool = False, **options) -> Any:
    """A field of a dataclass of arguments.

    Args:
        default: without a default, the flag must be given.
        help: its line of `--help`.
        several: whether it takes several values, and may be given repeatedly.
        options: `default_factory`, and other options of `ArgumentParser.add_argument`: `choices`, `nargs` …
    """
    factory = options.pop("default_factory", MISSING)
    metadata = {"help": help} | ({"action": "extend", "nargs": "+"} if several else {}) | options
    return dataclass_field(default=default, default_factory=factory, metadata=metadata)


class CheckedArguments:
    """Base of a dataclass of arguments. A subclass's `__post_init__` must call `check`, unless it is this one.

    Attributes:
        ranges: argument -> the numbers it may have, for this class; its bases' ranges apply too. A default may lie
            outside: it means that the argument was not given.
        title: the heading of this class's flags in `--help`.
    """

    title: ClassVar[str] = "Flags"
    ranges: ClassVar[dict[str, Range]] = {}

    def __post_init__(self):
        self.check()

    def check(self) -> None:
        """Checks every argument.

        Raises:
            ValueError: a number out of its range, or an empty text.
        """
        ranges = {name: allowed for base in reversed(type(self).__mro__) for name, allowed in _ranges(base).items()}
        for field in fields(self):
            value = getattr(self, field.name, None)
            if value is None or value == field.default:
                continue
            allowed = ranges.get(field.name)
            if allowed is not None and not (isinstance(value, (int, float)) and value in allowed):
                raise ValueError(f"--{field.name} must {allowed}, got {_as_text(value)}")
            if _is_empty(value):
                raise ValueError(f"--{field.name} is empty: give it a value, or leave it out")


def _ranges(kind: type) -> dict[str, Range]:
    return vars(kind).get("ranges", {})


def _as_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_empty(value: Any) -> bool:
    texts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(text, str) and not text.strip() for text in texts)


ARGUMENTS = "arguments.json"
_DEEPEST = 100  # levels of nesting in a yaml file
_IN_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


def read_config(path: str | Path, types: Sequence[type]) -> dict[str, Any]:
    """Reads flags from a YAML file, or from JSON if its name ends so.

    Args:
        path: the file: a mapping from names of flags, without dashes, to values; a list for a flag that takes several,
            null for none. Text is read as if it was typed.
        types: the dataclasses that the flags belong to.

    Returns:
        values for fields of the dataclasses.

    Raises:
        InputError: no file, an unreadable file, or no mapping; an unknown flag, or a value that it can't take.
    """
    return read_flags(_read_mapping(Path(path)), types, path)


def read_flags(content: dict, types: Sequence[type], place: object) -> dict[str, Any]:
    """The values of flags, as `read_config` reads them.

    Args:
        content: names of flags to values.
        types: the dataclasses that the flags belong to.
        place: the flags' source, for the message.

    Raises:
        InputError: an unknown flag or a value that it can't take.
    """
    flags = {
        name.lstrip("-"): (field, hints[field.name])
        for kind in types
        for hints in [get_type_hints(kind)]
        for field in fields(kind)
        if field.init
        for name in (field.name, *field.metadata.get("aliases", []))
    }
    values = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in flags:
            near = get_close_matches(name, flags, 1)
            raise InputError(f"{place}: no flag is called {key}" + (f"; is it {near[0]}?" if near else ""))
        field, hint = flags[name]
        values[field.name] = _read_value(value, field, hint, f"{place}: {key}")
    return values


def load_yaml(text: str, loader: type = yaml.SafeLoader) -> Any:
    """Reads YAML without aliases. A few hundred bytes of aliases of aliases would fill any memory.

    Args:
        text: the file's content.
        loader: a PyYAML loader, which decides what a plain word means.

    Raises:
        yaml.YAMLError: not YAML, an alias, or nested too deeply.
    """
    depth = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not taken: write out what *{event.anchor} stands for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
    return yaml.load(text, loader)


def _read_mapping(path: Path) -> dict:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else load_yaml(text)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}: --config takes a .yaml or .json file") from error
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is malformed: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no mapping: it takes lines such as `learning_rate: 0.001`")
    return content


def _read_value(value: Any, field: Field, hint: Any, place: str) -> Any:
    """The value of a flag. `place` is for the message if the value is invalid."""
    if value is None and field.default in (None, ""):  # argparse itself turns "" into None for a list
        return None
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    fitting = [read for kind in kinds for read in _as_kind(value, kind)]
    if not fitting:
        words = " or ".join(_IN_WORDS[kind] for kind in map(_plain, kinds) if kind in _IN_WORDS)
        quotes = "; put a word such as no in quotes" if isinstance(value, bool) else ""
        shown_value = "another" if field.name.endswith("token") else repr(value)
        raise InputError(f"{place} must be {words}, got {shown_value}{quotes}")
    choices = field.metadata.get("choices")
    if choices and fitting[0] not in (None, *choices):
        raise InputError(f"{place} must be one of {', '.join(choices)}, got {value!r}")
    return fitting[0]


def _as_kind(value: Any, kind: Any) -> list:
    """The value converted to a kind that a flag takes, in a list; an empty list if that is impossible."""
    plain, value_type = _plain(kind), type(value)
    if plain is list:
        items = [_as_kind(item, get_args(kind)[0]) for item in (value if value_type is list else [value])]
        return [[item[0] for item in items]] if all(items) else []
    if value_type is plain:
        return [value]
    try:
        if plain is bool and value_type is str:
            return [string_to_bool(value)]
        if (plain is float and value_type in (int, str)) or (plain is int and value_type is str):
            return [plain(value)]  # YAML reads 1e-4 as text
        if isinstance(plain, type) and issubclass(plain, Enum):
            return [plain(value)]
    except (ValueError, ArgumentTypeError):
        return []
    return [str(value)] if plain is str and value_type in (int, float) else []


def _plain(kind: Any) -> Any:
    """list[str] -> list."""
    return get_origin(kind) or kind


def make_arguments(types: Sequence[type], values: dict[str, Any]) -> tuple:
    """Makes dataclasses of arguments from values for their fields. The other fields have their defaults.

    Returns:
        the dataclasses. The first one's `flags` are all values, for `save_arguments`.

    Raises:
        InputError: a value that a dataclass refuses.
    """
    known_fields = {kind: [field for field in fields(kind) if field.init] for kind in types}
    missing = [field for kind in types for field in known_fields[kind] if field.name not in values]
    flags = values | {field.name: _default(field) for field in missing}
    try:
        instances = tuple(kind(**{field.name: flags[field.name] for field in known_fields[kind]}) for kind in types)
    except Exception as error:  # transformers' own arguments raise a dozen unrelated types
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from error
    instances[0].flags = flags
    return instances


def _default(field: Field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def save_arguments(folder: Path, args) -> None:
    """Writes `arguments.json`, with which `--config` repeats a run, in the main process only.

    Tokens are left out. So is the checkpoint that a run was resumed from: the result is that of the whole run.

    Args:
        folder: of the result.
        args: the first of the dataclasses from `parse_arguments`. Other dataclasses have no flags, and write nothing.
    """
    if args.flags is not None:
        secret_or_passing = ("_token", "resume_from_checkpoint")
        write_json(folder / ARGUMENTS, {k: v for k, v in args.flags.items() if not k.endswith(secret_or_passing)})
