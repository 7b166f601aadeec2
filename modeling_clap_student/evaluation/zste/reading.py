"""Reads tests by others from the files that they are published as.

The log counts what is left out: items without a recording or a caption, and events without a class.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset
from huggingface_hub import snapshot_download

from ...data.benchmarks import read_benchmark
from ...data.sources import BUILT_IN, PUBLISHED_TEST, ZSTE, ExclusionLog, Source, hub_name, is_there, split_revision
from ...data.tables import first_line, is_unicode
from ...data.texts import caption_fault, read_json, read_rows
from ...errors import InputError, reading
from .compositions import Composition, compose, map_events, read_mapping, read_times
from .published import Choice, Pairs, PublishedTest, Search
from .recordings import Recordings


PARTS = {
    "compa": ("order", "attribute"),
    "reasonaudio": ("order", "overlap", "duration", "negation", "mix", "natural"),
    "audiotime": ("ordering", "timestamp", "frequency", "duration"),
}
WHOLE = "all"  # the part of tables whose names contain no part
_WITH_PARTS = re.compile(r"(?P<parts>\w[\w,]*)=(?P<place>.+)", re.DOTALL)
_WITH_OPTIONS = re.compile(r"(?P<place>.+?)#(mapping=(?P<mapping>[^,#]+))?,?(clips=(?P<clips>.+))?", re.DOTALL)


def read_published(spec: str, exclusions: ExclusionLog) -> PublishedTest:
    """Reads `zste=NAME[:PART,…]=PLACE`; `zste=NAME:PLACE` is also allowed.

    PLACE is one table, or a folder with tables and recordings at any depth. For ReasonAudio it may be a Hub dataset.
    For AudioTime, `#mapping=FILE,clips=SPEC` may follow: a csv for `read_mapping`, and labelled clips, by default the
    built-in ones.
    """
    name, rest = PUBLISHED_TEST.fullmatch(spec).group("name", "rest")
    parted = _WITH_PARTS.fullmatch(rest[1:]) if rest.startswith(":") and not is_there(rest[1:]) else None
    parts, place = (tuple(parted["parts"].split(",")), parted["place"]) if parted else ((), rest[1:])
    found = _WITH_OPTIONS.fullmatch(place) if name == "audiotime" and not is_there(place) else None
    place = found["place"] if found else place
    if unknown := [part for part in parts if part not in PARTS[name]]:
        raise InputError(f"{spec}: no part {unknown[0]}: its parts are {', '.join(PARTS[name])}")
    source = Source(spec, name, _root(name, place), parts, exclusions=exclusions, label=name)
    if name == "audiotime":
        test = _read_audiotime(source, *(found.group("mapping", "clips") if found else (None, None)))
    else:
        test = _read_compa(source) if name == "compa" else _read_reasonaudio(source, place)
    return replace(test, place=place)


def _root(name: str, place: str) -> Path:
    """The folder of the files. Those of a Hub dataset are downloaded."""
    if place and is_there(place):
        return Path(os.path.expanduser(place)).resolve()
    on_hub = hub_name(place) if name == "reasonaudio" else None
    if on_hub is None:
        raise InputError(f"no such file or folder: {place[:300]!r}: give {ZSTE}{name}=PATH or {ZSTE}{name}:PART=PATH")
    dataset, revision = split_revision(on_hub)
    try:
        return Path(snapshot_download(dataset, repo_type="dataset", revision=revision))
    except Exception as error:  # the client's own errors, and those of its HTTP library
        raise InputError(f"can't load the dataset {on_hub}: {first_line(error)}") from error


def _tables(source: Source, suffixes: Iterable[str], place: str = "") -> list[tuple[Path, str]]:
    """The files with some suffixes, and the part of each, from its name or from the innermost folder that names one.

    If no name contains a part, all belong to the part that was asked for.
    """
    root = source.path
    paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix in suffixes)
    tables = []
    for path in paths:
        inner = path.relative_to(root.parent)
        if any(name.startswith(".") for name in inner.parts[1:]) or not path.is_file():
            continue
        names = [path.stem, *(folder.name for folder in inner.parents), place.rpartition("/")[2]]
        part = next((part for name in names for part in PARTS[source.layout] if part in name.lower()), WHOLE)
        tables.append((path, part))
    if len(source.parts) == 1 and all(part == WHOLE for _, part in tables):
        return [(path, source.parts[0]) for path, _ in tables]
    return sorted(tables, key=lambda table: [*PARTS[source.layout], WHOLE].index(table[1]))


def _check_parts(source: Source, found: Iterable[str], expected: str) -> None:
    """An InputError unless all parts that were asked for exist, or at least one part if none was asked for."""
    found = set(found)
    if missing := [part for part in source.parts if part not in found] or ([] if found else [source.path]):
        raise InputError(f"{source.spec}: nothing of {missing[0]} is there: it takes {expected}")


def _one_a_part(source: Source, tables: Iterable[tuple[Path, str, object]]) -> dict[str, tuple[Path, object]]:
    found = {}
    for table, part, content in tables:
        if part in found:
            raise InputError(f"{source.spec}: {found[part][0]} and {table} both are {part}: name one of them")
        found[part] = table, content
    return found


def _leave_out(source: Source, part: str, reason: str, count: int, total: int) -> None:
    if count == total:
        raise InputError(f"{source.spec}: none of the {total} items of {part} can be asked: {reason}")
    source.exclusions.add(source.spec, reason, count, total, part)


def _is_text(text: object) -> bool:
    return isinstance(text, str) and caption_fault(text) is None and is_unicode(text)


_CAPTIONS, _FILES = ("pair_caption", "reversed_pair_caption"), ("pair_file", "reversed_pair_file")


def _read_compa(source: Source) -> PublishedTest:
    """`CompA_order_benchmark.csv`, `Compa-Attribute.csv`, and folders of recordings.

    In the second file `pair_file.1` and `reversed_pair_file.1` name the files, and `pair_file` names videos. Some rows
    have a third recording, which is not used, as in the authors' code.
    """
    tables = [(table, part, read_rows(table)) for table, part in _tables(source, [".csv"]) if source.wants(part)]
    found = _one_a_part(source, [table for table in tables if {*_CAPTIONS, *_FILES} <= table[2][0].keys()])
    _check_parts(source, found, f"a csv with the columns {', '.join((*_CAPTIONS, *_FILES))}")
    recordings, items = Recordings(source), {}
    for part, (table, rows) in found.items():
        columns = [f"{column}.1" if f"{column}.1" in rows[0] else column for column in _FILES]
        for row in rows:
            numbers = [recordings.number(row[column], table, part) if row[column] else None for column in columns]
            items.setdefault(part, []).append(([row[column] for column in _CAPTIONS], numbers))
    clips, row_of = recordings.clips()
    texts, parts = {}, {}
    for part, pairs in items.items():
        kept = [
            ([texts.setdefault(caption, len(texts)) for caption in captions], row_of[numbers])
            for captions, numbers in pairs
            if all(map(_is_text, captions)) and None not in numbers and (row_of[numbers] >= 0).all()
        ]
        _leave_out(source, part, "a caption or a recording is missing", len(pairs) - len(kept), len(pairs))
        parts[part] = Pairs(*map(np.array, zip(*kept, strict=True)))
    return PublishedTest(source.spec, source.layout, "", list(texts), clips, parts)


_TABULAR = (".csv", ".tsv", ".jsonl", ".parquet", ".arrow")


class _Table:
    """One ReasonAudio table's contribution to its part."""

    def __init__(self, path: Path, part: str, recordings: Recordings):
        self.part = part
        self.queries: dict[str, str] = {}  # id -> text
        self.corpus: dict[str, int] = {}  # id -> number of the recording
        self.both: list[str] = []  # ids of rows that have both
        self.judged: list[tuple[str, str]] = []  # (query, recording) that belong together
        data = _load(path)
        columns = set(data.column_names)
        if {"query-id", "corpus-id"} <= columns:
            scores = data["score"][:] if "score" in columns else [1] * len(data)
            with reading(path, "table of judgements"):
                rows = zip(data["query-id"][:], data["corpus-id"][:], scores, strict=True)
                self.judged = [(str(query), str(clip)) for query, clip, score in rows if float(score or 0) > 0]
        elif "_id" in columns:
            texts = data["text"][:] if "text" in columns else [None] * len(data)
            numbers = recordings.numbers(data, path, part) if "audio" in columns else [None] * len(data)
            for key, text, number in zip(map(str, data["_id"][:]), texts, numbers, strict=True):
                if key in (self.queries if text else self.corpus):
                    raise InputError(f"{path}: two rows have the _id {key[:200]}")
                if _is_text(text):
                    self.queries[key] = text
                    self.both += [] if number is None else [key]
                if number is not None:
                    self.corpus[key] = number


def _load(path: Path) -> Dataset:
    with reading(path, f"{path.suffix[1:]} file"):
        if path.suffix == ".parquet":
            return Dataset.from_parquet(str(path))
        if path.suffix == ".arrow":
            return Dataset.from_file(str(path))
        if path.suffix == ".tsv":
            with open(path, newline="", encoding="utf-8-sig") as file:
                return Dataset.from_list([*csv.DictReader(file, delimiter="\t")])
        return Dataset.from_list(read_rows(path))


def _read_reasonaudio(source: Source, place: str) -> PublishedTest:
    """Tables `_id, audio, text`: a row with a text is a query; a row with audio is a recording to search.

    A table `query-id, corpus-id, score` says which belong together. Without it, rows with both do, or rows with equal
    ids if every recording has the id of a query. Tables whose names contain no part count for all parts.
    """
    recordings = Recordings(source)
    tables = [_Table(path, part, recordings) for path, part in _tables(source, _TABULAR, place)]
    names = [part for part in dict.fromkeys(table.part for table in tables if table.queries) if source.wants(part)]
    _check_parts(source, names, "tables with the columns _id, audio, text")
    clips, row_of = recordings.clips()
    texts, parts = {}, {}
    for part in names:
        own = [table for table in tables if table.part == part]
        lent = [table for table in tables if table.part in (part, WHOLE)]
        queries = _merge(source, [table.queries for table in own])
        numbers = _merge(source, [table.corpus for table in lent])
        corpus = {key: int(row_of[number]) for key, number in numbers.items() if row_of[number] >= 0}
        answers = _answers(queries, corpus, own, lent)
        if not any(answers.values()):
            raise InputError(
                f"{source.spec}: nothing says which audio {part}'s texts mean: add query-id,corpus-id,score"
            )
        kept = {query: np.array(sorted(corpus[key] for key in keys)) for query, keys in answers.items() if keys}
        _leave_out(source, part, "a text without its recording", len(answers) - len(kept), len(answers))
        asked = np.array([texts.setdefault(queries[query], len(texts)) for query in kept])
        parts[part] = Search(asked, np.array(sorted({*corpus.values()})), list(kept.values()))
    return PublishedTest(source.spec, source.layout, "", list(texts), clips, parts)


def _merge(source: Source, mappings: Iterable[dict]) -> dict:
    merged = {}
    for mapping in mappings:
        if twice := sorted(merged.keys() & mapping.keys()):
            raise InputError(f"{source.spec}: two tables of one part have the _id {twice[0][:200]}")
        merged |= mapping
    return merged


def _answers(queries: dict, corpus: dict, own: list[_Table], lent: list[_Table]) -> dict[str, set[str]]:
    """Query -> the recordings that it means; empty if that is not known."""
    pairs = [pair for table in lent for pair in table.judged if pair[0] in queries]
    if not pairs and (both := [key for table in own for key in table.both]):
        first = {queries[key]: key for key in reversed(queries)}  # a text in several rows is one query
        pairs = [(first[queries[key]], key) for key in both]
        queries = {key: text for text, key in first.items()}
    if not pairs and corpus.keys() <= queries.keys():
        pairs = [(key, key) for key in corpus]
    answers: dict[str, set[str]] = {key: set() for key in queries}
    for query, key in pairs:
        answers[query] |= {key} & corpus.keys()
    return answers


def _read_audiotime(source: Source, mapping: str | None, clips: str | None) -> PublishedTest:
    """`ordering_captions.json` and similar, `{id: {"event": {name: [[onset, end], …]}, "caption": …}}`.

    `duration` has no onsets. Files called `train…` are read only if there are no others.
    """
    found = _described(source)
    benchmark = read_benchmark(clips or BUILT_IN, source.exclusions)
    by_class: dict[str, list[str]] = {}
    for audio_id, label in sorted(zip(benchmark.clips["audio_id"][:], benchmark.clips["label"][:], strict=True)):
        by_class.setdefault(label, []).append(audio_id)
    counts = Counter(event for items in found.values() for item in items.values() for event in item["event"])
    counts = {event: count for event, count in counts.most_common() if is_unicode(event)}
    labels = read_mapping(Path(mapping), [*by_class]) if mapping else map_events(counts, [*by_class])
    unmapped = {event: count for event, count in counts.items() if event not in labels}
    compositions, parts, faults = [], {}, []
    for part, items in found.items():
        made = {key: _compose(part, key, item, labels, by_class) for key, item in items.items()}
        kept = [composition for composition in made.values() if isinstance(composition, Composition)]
        strange = [event for event in unmapped if any(event in item["event"] for item in items.values())]
        faults += _count_faults(source, part, made, strange)
        if kept:
            numbers = len(compositions) + np.arange(len(kept))
            parts[part] = Choice(numbers, 2 * numbers[:, None] + [0, 1])
            compositions += kept
    if not parts or any(part not in parts for part in source.parts):
        more = "#clips=SPEC names other labelled clips, #mapping=FILE a csv event,label"
        raise InputError(f"{source.spec}: none of the captions can be asked: {'; '.join(faults)} ({more})")
    facts = {"clips": clips or BUILT_IN, "labels": {e: labels[e] for e in counts if e in labels}, "unmapped": unmapped}
    texts = [composition.caption for composition in compositions]
    return PublishedTest(source.spec, source.layout, "", texts, benchmark.clips, parts, compositions, facts)


def _described(source: Source) -> dict[str, dict[str, dict]]:
    """Part -> id -> an item with a mapping `event` and a `caption`."""
    tables = [(table, part) for table, part in _tables(source, [".json"]) if source.wants(part)]
    places = [table.relative_to(source.path).parts for table, _ in tables]
    tests = [t for t, names in zip(tables, places, strict=True) if not any(n.startswith("train") for n in names)]
    contents = []
    for table, part in tests or tables:
        content = read_json(table)
        items = {key: i for key, i in content.items() if isinstance(i, dict)} if isinstance(content, dict) else {}
        items = {key: i for key, i in items.items() if isinstance(i.get("event"), dict) and "caption" in i}
        contents += [(table, part, items)] if items else []
    found = _one_a_part(source, contents)
    _check_parts(source, found, 'json files {id: {"event": {…}, "caption": …}}')
    return {part: items for part, (_, items) in found.items()}


_UNMAPPED = "an event without a class among the clips"
_LISTED = 20  # events without a class shown on the terminal; details.json has all


def _compose(part: str, key: str, item: dict, labels: dict, by_class: dict) -> Composition | str:
    """The recording of an item, or why it can't be used."""
    caption = item["caption"]
    caption = caption[0] if isinstance(caption, list) and caption else caption
    times = None if part == "duration" else read_times(item["event"])
    if not _is_text(caption) or not is_unicode(key):
        return "no word in the caption"
    if times is None:
        return "events without onsets within a minute"
    if not times.keys() <= labels.keys():
        return _UNMAPPED
    composition = compose(f"{part}/{key}", caption, times, labels, by_class)
    return composition if composition.is_ordered else "the same order forward and reversed"


def _count_faults(source: Source, part: str, made: dict[str, Composition | str], unmapped: list[str]) -> list[str]:
    """Notes the items that can't be used. Also returns that in words."""
    names = "; ".join(unmapped[:_LISTED]) + (f" and {len(unmapped) - _LISTED} more" if unmapped[_LISTED:] else "")
    faults: dict[str, list[str]] = {}
    for key, fault in made.items():
        if isinstance(fault, str):
            faults.setdefault(fault, []).append(key)
    lines = []
    for fault, keys in faults.items():
        example = names if fault == _UNMAPPED else keys[0][:200]
        source.exclusions.add(f"{source.spec} ({part})", fault, len(keys), len(made), example)
        lines.append(f"{len(keys)} of {part}: {fault} ({example})")
    return lines
