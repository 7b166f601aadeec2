"""Verdicts of listeners: does a clip hold the sound in its caption? As a csv file, and as Label Studio's JSON.

A file is complete in itself: it names the pairs' set, how they were drawn, and each verdict. An empty verdict means
that nobody has judged the pair yet.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from ..errors import InputError, reading
from ..utils.outputs import whole_file


FITS, DOES_NOT, CANT_TELL = WORDS = ("fits", "does not", "can't tell")
SUFFIXES = (".csv", ".json")
NAME = "verdicts.csv"
LABEL_STUDIO_CONFIG = f"""<View>
  <Audio name="audio" value="$audio"/>
  <Header value="$caption"/>
  <Choices name="verdict" toName="audio" choice="single-radio" showInline="true">
    {" ".join(f'<Choice value="{word}"/>' for word in WORDS)}
  </Choices>
</View>
"""


@dataclass(frozen=True)
class Cut:
    """A cosine at which a set may be cut, and the pairs that are judged to know how good that cut is.

    Attributes:
        cosine: no pair of the set has exactly this cosine.
        pairs: number of the set's pairs at or above it.
        sample: how many of these are judged: those with the lowest lots.
    """

    cosine: float
    pairs: int
    sample: int

    def __str__(self) -> str:
        return f"{self.cosine:.8f}:{self.pairs}:{self.sample}"


@dataclass(frozen=True)
class Judged:
    """One pair to judge.

    Attributes:
        lot: in [0, 1), drawn for each pair of the set without regard to its content.
        weight: how many pairs of the set it represents.
        verdict: one of `WORDS`, or empty.
    """

    audio_id: str
    caption: str
    label: str
    similarity: float
    lot: float
    weight: float
    verdict: str = ""

    @property
    def key(self) -> tuple[str, str, float]:
        return self.audio_id, self.caption, round(self.similarity, 5)


COLUMNS = ("set", *(field.name for field in fields(Judged)), "cuts", "drawn")


@dataclass(frozen=True)
class Verdicts:
    """Verdicts on pairs of one set.

    Attributes:
        set_id: the set's, see `identify`.
        cuts: from the strictest to the loosest.
        pairs: in the order of their lots.
        drawn: number of pairs in the review; a file may hold fewer.
        place: where they come from, for messages.
    """

    set_id: str
    cuts: tuple[Cut, ...]
    pairs: tuple[Judged, ...]
    drawn: int
    place: str = "the review"

    @property
    def counts(self) -> dict[str, int]:
        return {word: sum(pair.verdict == word for pair in self.pairs) for word in WORDS}

    @property
    def in_order(self) -> tuple[Judged, ...]:
        """The pairs up to the first that nobody has judged, with the weights of a draw that ends before its lot."""
        end = next((place for place, pair in enumerate(self.pairs) if not pair.verdict), None)
        if end is None:
            return self.pairs
        lot = self.pairs[end].lot
        # Only that share of the less similar pairs could be drawn; of the most similar ones too.
        return tuple(replace(pair, weight=max(pair.weight, 1 / max(lot, 1e-9))) for pair in self.pairs[:end])

    def check_whole(self) -> None:
        """Raises InputError if pairs of the review are missing: they may have been left out on purpose."""
        if len(self.pairs) < self.drawn:
            raise InputError(
                f"{self.place} lacks {self.drawn - len(self.pairs)} of the review's {self.drawn} pairs: give all of "
                "them, judged or not; clap-curate review SET --verdicts FILE adds what is missing"
            )

    def check(self, provenance: dict) -> None:
        """Raises InputError if they are on another set than the one with this provenance."""
        if self.set_id != identify(provenance):
            raise InputError(
                f"{self.place} holds verdicts of another set, whose teacher, strategy, labels or limits on pairs "
                "differ: review this one"
            )


def identify(provenance: dict) -> str:
    """16 hexadecimal digits that identify the pairs, wherever the set is cut."""
    names = ("strategy", "teacher_fingerprint", "prompt", "labels", "max_captions_per_clip", "max_clips_per_caption")
    method = json.dumps([provenance.get(name) for name in (*names, "mutual_nearest", "csls_neighbours")])
    return hashlib.blake2b(method.encode(), digest_size=8).hexdigest()


def read_verdicts(paths: Sequence[str | Path], may_be_empty: bool = False) -> Verdicts:
    """Reads files of verdicts on one review.

    Args:
        paths: csv files that the page saved, or Label Studio's exports, `.json`: JSON or JSON-MIN.
        may_be_empty: also accept files without any verdict.

    Raises:
        InputError: a missing or malformed file, a word that is not in `WORDS`, contradictory verdicts, verdicts on
            several sets or reviews, or no verdict.
    """
    rows = [(f"{path}, pair {number}", row) for path in paths for number, row in enumerate(_rows(Path(path)), 1)]
    pairs: dict[tuple, Judged] = {}
    plans = {(row["set"], row["cuts"], str(row["drawn"])) for _, row in rows}
    where = " and ".join(map(str, paths))
    if len(plans) > 1:
        several = "sets" if len({set_id for set_id, *_ in plans}) > 1 else "reviews"
        raise InputError(f"{where} holds verdicts of several {several}: give those of one")
    for place, row in rows:
        pair = _judged(row, place)
        older = pairs.setdefault(pair.key, pair)
        if pair.verdict and older.verdict and pair.verdict != older.verdict:
            raise InputError(
                f"{place}: {pair.audio_id} with {pair.caption[:60]!r} is judged {older.verdict!r} and "
                f"{pair.verdict!r}: keep one of them"
            )
        if pair.verdict:
            pairs[pair.key] = pair
    if not pairs or not (may_be_empty or any(pair.verdict for pair in pairs.values())):
        raise InputError(f"{where} holds no verdict: judge the pairs of review.html, and save")
    ((set_id, cuts, drawn),) = plans
    by_lot = tuple(sorted(pairs.values(), key=lambda pair: pair.lot))
    cuts, drawn = _plan(cuts, drawn, where)
    return Verdicts(set_id, cuts, by_lot, drawn, where)


def _rows(path: Path) -> list[dict]:
    kind = "file of verdicts"
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is no {kind}: it takes .csv, or .json of Label Studio")
    with reading(path, kind):
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        else:
            rows = [row for task in json.loads(text) for row in _of_task(task)]
        if missing := [name for name in COLUMNS for row in rows if row.get(name) is None]:
            raise InputError(f"{path} is no {kind}: it lacks {missing[0]}; give what review.html saves")
    return rows


def _of_task(task: dict) -> Iterable[dict]:
    """A task of Label Studio: one row for each person who judged it. A skipped task counts as not judged."""
    data = task.get("data", task)  # JSON-MIN has all fields on one level
    said = [data.get("verdict") or ""] if "data" not in task else []
    for annotation in task.get("annotations") or []:
        if not annotation.get("was_cancelled"):
            choices = [item["value"]["choices"] for item in annotation["result"] if item["type"] == "choices"]
            said += [choice for words in choices for choice in words]
    return [data | {"verdict": word} for word in said or [""]]


def _judged(row: dict, place: str) -> Judged:
    verdict = str(row["verdict"]).strip()
    if verdict not in ("", *WORDS):
        raise InputError(f"{place}: {verdict[:40]!r} is no verdict: it takes {', '.join(WORDS)}, or nothing")
    try:
        numbers = [float(row[name]) for name in ("similarity", "lot", "weight")]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{place}: similarity, lot and weight must be numbers: give what review.html saves")
    return Judged(str(row["audio_id"]), str(row["caption"]), str(row["label"]), *numbers, verdict)


def _plan(cuts: str, drawn: str, place: str) -> tuple[tuple[Cut, ...], int]:
    try:
        parts = [part.split(":") for part in cuts.split()]
        return tuple(Cut(float(cosine), int(pairs), int(sample)) for cosine, pairs, sample in parts), int(drawn)
    except ValueError as error:
        raise InputError(f"{place}: `cuts` or `drawn` is malformed: give what review.html saves") from error


def as_rows(verdicts: Verdicts) -> list[dict]:
    """The rows of a file, with `COLUMNS`."""
    plan = " ".join(map(str, verdicts.cuts)), verdicts.drawn
    return [dict(zip(COLUMNS, (verdicts.set_id, *astuple(pair), *plan), strict=True)) for pair in verdicts.pairs]


def write_verdicts(path: Path, verdicts: Verdicts) -> None:
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(as_rows(verdicts))


def as_label_studio(verdicts: Verdicts, audio: Iterable[str]) -> list[dict]:
    """Tasks to import into Label Studio, with `LABEL_STUDIO_CONFIG`. `audio` are the clips' addresses or paths."""

    def annotations(word: str) -> list[dict]:
        choice = {"from_name": "verdict", "to_name": "audio", "type": "choices", "value": {"choices": [word]}}
        return [{"result": [choice]}] if word else []

    tasks = zip(as_rows(verdicts), audio, strict=True)
    return [{"data": row | {"audio": clip}, "annotations": annotations(row["verdict"])} for row, clip in tasks]


def with_earlier(pairs: Iterable[Judged], earlier: Verdicts | None) -> tuple[Judged, ...]:
    """The pairs, with their earlier verdicts."""
    said = {} if earlier is None else {pair.key: pair.verdict for pair in earlier.pairs}
    return tuple(replace(pair, verdict=said.get(pair.key, "")) for pair in pairs)
