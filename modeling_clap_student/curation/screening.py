"""Finds the pool's clips that are not paired: copies of evaluation clips, poor recordings, copies of each other."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..data.identity import clip_keys
from ..data.leakage import SAME_SOUND, EvaluationSounds
from ..data.near_duplicates import SamePair, groups_of, pairs_within
from ..data.quality import FAULTS, LIMITS, QUALITY_FIELDS
from ..data.skipping import SkippedClips
from ..data.sound_store import Sounds, can_be_heard
from ..data.windows import WindowPlaces
from ..errors import InputError
from ..utils.console import say
from .arguments import CurateArguments
from .embedding_store import StoredVectors
from .similarity_scan import SimilarityScan


QUALITY_LIST, DUPLICATES_LIST = "quality.csv", "duplicates.csv"
_COLUMNS = ("group", "audio_id", "from", "kept", "by", "similarity")  # of the list of copies
_NUM_EXAMPLES, _ROWS_AT_ONCE = 5, 4096


@dataclass
class Screening:
    """The result.

    Attributes:
        rows: (kept,) int64 of the pool, ascending.
        counts: for the provenance.
        examples: fault -> some clips that have it.
    """

    rows: np.ndarray
    counts: dict[str, int | dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)


class PoolScreen:
    """Examines the clips of a pool, and keeps those to pair.

    Args:
        args: what to leave out.
        clips: the pool, with `audio_id`.
        clip_embeds: (clips, dim), their embeddings.
        sounds: their fingerprints and quality, followed by those of captioned clips; None if nobody listened.
        captioned_ids: the ids of those captioned clips.
        folder: for the lists of poor recordings and of copies.
        skipped: gets the clips that are dropped for their quality.
    """

    def __init__(
        self,
        args: CurateArguments,
        clips: Dataset,
        clip_embeds: StoredVectors,
        sounds: Sounds | None,
        folder: Path,
        skipped: SkippedClips,
        captioned_ids: Sequence[str] = (),
    ):
        self.args, self.clip_embeds, self.sounds = args, clip_embeds, sounds
        self.folder, self.skipped = folder, skipped
        self.ids = [*clips["audio_id"][:], *captioned_ids]
        self.places = WindowPlaces(clips) if "start" in clips.column_names else None
        self.keep = np.ones(len(clips), bool)
        self.result = Screening(np.arange(len(clips)))
        self._groups: list[tuple] = []  # rows of the list of copies

    def run(self, evaluation: EvaluationSounds | None, texts: np.ndarray, window_seconds: float) -> Screening:
        """Does everything that the arguments ask for.

        Args:
            evaluation: the sounds of evaluation clips; their copies are dropped.
            texts: (captions, dim) embeddings of the captions that the clips will be compared with.
            window_seconds: length of the teacher's window.

        Raises:
            InputError: no clip is left.
        """
        if self.sounds is not None:
            if evaluation:
                self.drop_evaluation_copies(evaluation)
            self.judge_quality(window_seconds)
            if self.args.near_duplicates != "keep":
                self.find_copies(texts)
        if self.args.deduplicate is not None:
            self.drop_similar(texts)
        if self._groups:
            _write_csv(self.folder / DUPLICATES_LIST, _COLUMNS, self._groups)
        self.result.rows = np.flatnonzero(self.keep)
        return self.result

    def drop_evaluation_copies(self, evaluation: EvaluationSounds) -> None:
        copies = evaluation.matches(self.sounds)
        copies = {row: name for row, name in copies.items() if row < len(self.keep)}  # captioned clips are not dropped
        if self.places is not None:
            # A window beside a copy may hold the rest of its sound.
            copies = {other: name for row, name in copies.items() for other in self.places.touching(row).tolist()}
        self.keep[list(copies)] = False
        if copies:
            self.result.counts["evaluation_copies"] = len(copies)
            row, name = next(iter(copies.items()))
            say(
                f"the pool: {len(copies)} of {len(self.keep)} clips left out: {SAME_SOUND} "
                f"(for instance {self.ids[row]}: {name})"
            )
        if not self.keep.any():
            raise InputError("the pool holds no clip that does not sound like one of the evaluation set")

    def judge_quality(self, window_seconds: float) -> None:
        """Counts and lists poor recordings. Drops those that break a limit."""
        limits = {name: value for name in LIMITS if (value := getattr(self.args, name)) is not None}
        poor, clips_with, dropped, total = [], defaultdict(list), Counter(), int(self.keep.sum())
        for row in np.flatnonzero(self.keep & self.sounds.heard[: len(self.keep)]).tolist():
            quality = self.sounds.quality(row)
            if faults := quality.faults(window_seconds):
                numbers = (f"{getattr(quality, name):.6g}" for name in QUALITY_FIELDS)
                poor.append((self.ids[row], " ".join(faults), *numbers))
            for fault in faults:
                clips_with[fault].append(self.ids[row])
            if broken := quality.broken_limits(limits):
                dropped.update(broken.keys())
                self.keep[row] = False
                self.skipped.note(self.ids[row], "; ".join(broken.values()))
        if poor:
            _write_csv(self.folder / QUALITY_LIST, ("audio_id", "faults", *QUALITY_FIELDS), poor)
            self.result.counts["quality"] = {name: len(clips_with[name]) for name in FAULTS if name in clips_with}
            self.result.examples = {name: clips_with[name][:_NUM_EXAMPLES] for name in FAULTS if name in clips_with}
            say(f"the pool: {_in_words(self.result.counts['quality'])} of {total} clips ({QUALITY_LIST})")
        if dropped:
            words = ", ".join(f"--{name} {limits[name]:g} drops {count}" for name, count in dropped.items())
            if not self.keep.any():
                raise InputError(f"no clip of the pool is good enough: of {total}, {words}")
            say(f"the pool: {words} of {total} clips")
            self.result.counts["below_quality"] = dict(dropped)

    def find_copies(self, texts: np.ndarray) -> None:
        """Lists clips that are one sound. If requested, drops all but the best of each group.

        A captioned clip is better than any clip of the pool.
        """
        size, drops = len(self.keep), self.args.near_duplicates == "drop"
        stays = np.append(self.keep, np.ones(len(self.ids) - size, bool))
        pairs = [pair for pair in pairs_within(self.sounds) if stays[pair.row] and stays[pair.other]]
        pairs = pairs if self.places is None else [pair for pair in pairs if self._are_copies(pair)]
        groups, scores = groups_of(pairs), defaultdict(float)
        for pair in pairs:
            for row in (pair.row, pair.other):
                scores[row] = max(scores[row], pair.score)
        rows = [row for group in groups for row in group if drops and row < size]
        nearest = dict(zip(rows, self._nearest(np.array(rows, np.int64), texts), strict=True))
        for group in groups:
            captioned = {row for row in group if row >= size}
            kept = set(group) if not drops else captioned or {max(group, key=lambda row: (nearest[row], -row))}
            self._note_group(group, kept, "sound", scores)
        self._tell("near_duplicates", groups, drops, "are the same recordings under other bytes")

    def _are_copies(self, pair: SamePair) -> bool:
        """Whether two clips are one sound for another reason than that neighbouring windows overlap."""
        if max(pair.row, pair.other) >= len(self.places):  # a captioned clip
            return True
        if self.places.overlap(pair.row, pair.other):
            return False
        hop = self.args.hop_seconds or self.args.window_seconds
        return abs(pair.shift) < hop / 2  # so each window of a copied recording is the copy of one window

    def drop_similar(self, texts: np.ndarray) -> None:
        """Of clips that are almost equal for the teacher, keeps the one nearest to a caption. Starts with the
        nearest."""
        rows = np.flatnonzero(self.keep)
        order = rows[np.argsort(-self._nearest(rows, texts), kind="stable")]
        embeds = self.clip_embeds.take(order)
        gone, members, cosines = np.zeros(len(order), bool), {}, {}
        for pairs in SimilarityScan(embeds, embeds).pairs(self.args.deduplicate):
            firsts, starts = np.unique(pairs.queries, return_index=True)
            for first, start, stop in zip(firsts.tolist(), starts, [*starts[1:], len(pairs)], strict=True):
                seconds = pairs.keys[start:stop]
                new = (seconds > first) & ~gone[seconds] & ~gone[first]
                gone[seconds[new]] = True
                if new.any():
                    members[int(order[first])] = order[seconds[new]].tolist()
                    cosines.update(zip(members[int(order[first])], pairs.similarities[start:stop][new], strict=True))
        groups = [[best, *others] for best, others in members.items()]
        for group in groups:
            self._note_group(group, {group[0]}, "embedding", cosines)
        self._tell("semantic_duplicates", groups, True, f"have a cosine of {self.args.deduplicate:g} or more")

    def _nearest(self, rows: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """(rows,) float32: each clip's cosine with its nearest caption."""
        starts = range(0, len(rows), _ROWS_AT_ONCE)
        blocks = (self.clip_embeds[rows[start : start + _ROWS_AT_ONCE]] for start in starts)
        return np.concatenate([np.empty(0, np.float32), *((block @ texts.T).max(axis=1) for block in blocks)])

    def _note_group(self, group: list[int], kept: set[int], means: str, scores: dict[int, float]) -> None:
        number = self._groups[-1][0] + 1 if self._groups else 1
        for row in group:
            in_pool, score = row < len(self.keep), f"{scores[row]:.4f}" if row in scores else ""
            if in_pool:
                self.keep[row] = row in kept
            place = "pool" if in_pool else "captions"
            self._groups.append((number, self.ids[row], place, "yes" if row in kept else "no", means, score))

    def _tell(self, name: str, groups: list[list[int]], drops: bool, words: str) -> None:
        if not groups:
            return
        clips, rows = sum(map(len, groups)), [row for group in groups for row in group if row < len(self.keep)]
        dropped = int((~self.keep[rows]).sum())
        self.result.counts[name] = {"groups": len(groups), "clips": clips, "dropped": dropped}
        what = f"one of each stays, {dropped} are dropped" if drops else "all stay (--near_duplicates drop)"
        say(f"the pool: {clips} clips in {len(groups)} groups {words}; {what} ({DUPLICATES_LIST})")


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[tuple]) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        csv.writer(file).writerows([tuple(header), *rows])


def captioned_clips(corpus: Dataset, pool_keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Keys and ids of the captioned clips that are files of their own, not the pool's."""
    _, firsts = np.unique(corpus["audio_id"][:], return_index=True)
    clips = corpus.select_columns(["audio", "audio_id"]).select(firsts)
    clips = clips.select(np.flatnonzero(can_be_heard(clips)))
    keys = clip_keys(clips)
    rows = np.flatnonzero(~np.isin(keys, pool_keys))
    return keys[rows], clips.select(rows)["audio_id"][:]
