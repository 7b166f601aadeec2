"""The tab Review: a person judges pairs of a set one by one, and the set is cut where the verdicts say."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
from filelock import lock_descriptor

from ..curation.curate import Improvement
from ..curation.promise import (
    CONFIDENCE,
    GroupCut,
    Promise,
    decide,
    describe,
    drawn,
    fitted_precisions,
    weighted_precision,
)
from ..curation.report.pictures import ACCENT, BAR, MARK, chart_of
from ..curation.review import beside_set, draw_review
from ..curation.verdict_cut import keep_promised
from ..curation.verdicts import CANT_TELL, DOES_NOT, FITS, NAME, Verdicts, read_verdicts, write_verdicts
from ..data.decoding import open_clip
from ..errors import ClipError, InputError
from ..utils.outputs import make_folder
from .pictures import complaint, keys, note, percent, player, spectrogram_row
from .pool import Pool


NUM_VERDICTS = 100
_KEYS = {FITS: "Y", DOES_NOT: "N", CANT_TELL: "?"}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other window, of this server or of another, writes into a folder, which is locked itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a filesystem without locks
            lock_descriptor(descriptor)
        yield
    finally:
        os.close(descriptor)


class Review:
    """Pairs of a set to judge, and the file that holds what was said of them.

    A review that `clap-curate review` began is gone on with. Every verdict is in the file before the next pair is
    shown, and what others wrote there meanwhile stays.

    Args:
        pool: its set is reviewed.
        folder: of `verdicts.csv`; where the command of the same name writes by default.
        number: of pairs to judge, of a new review.

    Raises:
        InputError: a set that can't be reviewed, or verdicts on another one.
    """

    def __init__(self, pool: Pool, folder: Path | None = None, number: int = NUM_VERDICTS):
        self.pool = pool
        self.folder = folder or beside_set(pool.name, "review")
        self.file = self.folder / NAME
        if self.file.exists():
            self._drawn = read_verdicts([self.file], may_be_empty=True)
            self._drawn.check(pool.provenance)
            self.rows = self._rows_of(self._drawn)
        else:
            self.rows, self._drawn = draw_review(pool.pairs, pool.provenance, number)
        self.picture = lru_cache(maxsize=64)(self._picture)

    def _rows_of(self, verdicts: Verdicts) -> list[int]:
        """Where the judged pairs stand in the set."""
        table = self.pool.pairs.select_columns(["audio_id", "caption", "similarity"]).with_format("arrow")[:]
        wanted, rows = {pair.key for pair in verdicts.pairs}, defaultdict(lambda: -1)
        similarities = table["similarity"].to_numpy().astype(np.float64).round(5).tolist()
        keys = zip(table["audio_id"].to_pylist(), table["caption"].to_pylist(), similarities, strict=True)
        rows.update((key, row) for row, key in enumerate(keys) if key in wanted)
        found = [rows[pair.key] for pair in verdicts.pairs]
        if -1 in found:
            raise InputError(
                f"{self.file} holds verdicts of another set: {found.count(-1)} of {len(found)} pairs are not in "
                f"{self.pool.name}"
            )
        return found

    def verdicts(self) -> Verdicts:
        """What has been said so far, by whichever window."""
        return read_verdicts([self.file], may_be_empty=True) if self.file.exists() else self._drawn

    def judge(self, place: int, word: str) -> Verdicts:
        """Writes a verdict on a pair, or takes it back where it is said again; returns all verdicts.

        Raises:
            InputError: no such pair or word, a file that can't be written, or one that was made anew meanwhile.
        """
        if not 0 <= place < len(self.rows) or word not in _KEYS:
            raise InputError("no such pair, or no such verdict")
        key = self._drawn.pairs[place].key
        make_folder(self.folder)
        with alone(self.folder):
            now = self.verdicts()
            if key not in {pair.key for pair in now.pairs}:
                raise InputError(f"{self.file} was made anew meanwhile: start clap-app again")
            pairs = (
                replace(pair, verdict="" if pair.verdict == word else word) if pair.key == key else pair
                for pair in now.pairs
            )
            now = replace(now, pairs=tuple(pairs))
            write_verdicts(self.file, now)
        return now

    def words(self, verdicts: Verdicts) -> list[str]:
        """The verdict on each pair of this review, empty where there is none."""
        said = {pair.key: pair.verdict for pair in verdicts.pairs}
        return [said.get(pair.key, "") for pair in self._drawn.pairs]

    def next_place(self, verdicts: Verdicts, after: int = -1) -> int:
        """The next pair that nobody has judged; the one at hand where all are."""
        words = self.words(verdicts)
        order = [(after + 1 + n) % len(words) for n in range(len(words))]
        return next((place for place in order if not words[place]), max(after, 0))

    def remake(self, precision: float, drop_rejected: bool) -> tuple[Path, int]:
        """Writes the set anew, cut where the verdicts promise a precision; returns its folder and how many pairs.

        Raises:
            InputError: nothing can be promised, or the folder can't be written.
        """
        verdicts, folder = self.verdicts(), beside_set(self.pool.name, "judged")
        if weighted_precision(verdicts.pairs) is None:
            raise InputError("judge some pairs first: without a verdict there is nowhere to cut")
        promise = decide(verdicts, precision, CONFIDENCE)
        if not np.isfinite(promise.lowest):
            raise InputError(_line(promise.groups[-1], promise))
        made_by = self.pool.provenance
        pairs, promised = keep_promised(self.pool.pairs, made_by, verdicts, promise, drop_rejected)
        asked = {"pair_threshold": str(self.file), "precision": precision, "drop_rejected": drop_rejected}
        arguments = (made_by.get("arguments") or {}) | asked
        counts = {"num_pairs": len(pairs), "num_clips": len(pairs.unique("audio_id"))}
        made_by = made_by | promised | counts | {"arguments": arguments}
        Improvement(pairs, self.pool.replay, made_by, {"selected": None}, self.folder, True).save(folder)
        return folder, len(pairs)

    def _picture(self, row: int) -> str:
        """The spectrogram of a pair's clip, or why it can't be read."""
        audio = self.pool.pairs[row]["audio"]
        try:
            self.pool.check(audio)
            with open_clip(audio, 24_000) as clip:
                picture = f'<div class="bare">{spectrogram_row(clip.source)}</div>'
            return picture + player(f"pairs/{row}", "the clip", plays=True)
        except (ClipError, InputError) as error:
            return complaint(f"this clip can't be read: {error}")

    def card(self, place: int, verdicts: Verdicts) -> str:
        """The pair at hand, with buttons for a finger or a mouse."""
        pair, word = self._drawn.pairs[place], self.words(verdicts)[place]
        buttons = "".join(
            f'<button type="button" data-word="{escape(one)}" data-key="{key}" '
            f'aria-pressed="{str(one == word).lower()}">{escape(one.capitalize())}<kbd>{key}</kbd></button>'
            for one, key in _KEYS.items()
        )
        label = note(f"chosen for: {pair.label}") if pair.label else ""
        number = note(f"Pair {place + 1} of {len(self.rows)}")
        return (
            f'<div class="card pair stage" data-place="{place}">{number}'
            f'<p class="caption">{escape(pair.caption)}</p>{label}{self.picture(self.rows[place])}'
            f'<div class="verdicts" role="group" aria-label="Does it fit?">{buttons}</div>'
            f'<div class="steps"><button type="button" data-go="-1" data-key="←">Back<kbd>←</kbd></button>'
            f'<button type="button" data-go="1" data-key="→">Next<kbd>→</kbd></button></div></div>'
        )


def progress(words: list[str]) -> str:
    """How far the review is."""
    judged = sum(map(bool, words))
    told = ", ".join(f"{words.count(word)} {'fit' if word == FITS else word}" for word in _KEYS)
    return (
        f'<div class="progress" role="progressbar" aria-valuenow="{judged}" aria-valuemax="{len(words)}" '
        f'aria-label="judged pairs"><i style="width:{100 * judged / len(words):.1f}%"></i></div>'
        f'<p><b>{judged} of {len(words)} judged</b><span class="note">: {escape(told)}</span></p>'
    )


def findings(verdicts: Verdicts, wanted: float) -> str:
    """Precision so far, its curve, and what follows for the wanted one."""
    share = weighted_precision(verdicts.pairs)
    if share is None:
        return note("Precision and its curve stand here after the first verdict.")
    promise = decide(verdicts, wanted, CONFIDENCE)
    lines = "".join(note(_line(group, promise)) for group in promise.groups)
    return (
        f'<p class="figure"><b>{percent(share["precision"])}</b> of the set fit, as judged so far '
        f'<span class="note">(95 % interval {percent(share["low"])} to {percent(share["high"])})</span></p>'
        f'<div class="chart">{precision_chart(verdicts, promise)}</div>{lines}'
    )


def _line(group: GroupCut, promise: Promise) -> str:
    if group.cut is not None:
        return describe(group, promise).capitalize()
    whose = "" if group.labels is None else f"{', '.join(group.labels)}: "
    verdicts = "verdict" if group.missing == 1 else "verdicts"
    more = "a lower share may do" if group.missing is None else f"about {group.missing} more {verdicts} may do"
    return f"{whose}no threshold holds {percent(promise.precision)} yet: {more}.".capitalize()


def precision_chart(verdicts: Verdicts, promise: Promise) -> str:
    """The share that fits at or above each threshold, and what holds at least of it."""
    cosines = [cut.cosine for cut in verdicts.cuts]
    samples = [drawn(verdicts, cut) for cut in verdicts.cuts]
    least = [100 * sample.lower_bound(promise.confidence) if sample.told else np.nan for sample in samples]

    def draw(axes) -> None:
        axes.set_ylim(0, 104)
        axes.plot(cosines, 100 * fitted_precisions(verdicts), "o-", color=ACCENT, markersize=4)
        axes.plot(cosines, least, "v", color=BAR, markersize=5)
        axes.axhline(100 * promise.precision, color=MARK, linewidth=1.2, linestyle=(0, (4, 2)))

    chart = chart_of("slim", draw, "threshold", "pairs that fit, %", "Precision against threshold")
    return keys("fit", f"at least ({percent(promise.confidence)} sure)", "wanted") + chart


class ReviewTab:
    """Builds the tab, and answers its events.

    Args:
        review: None where there is none; `why` says why.
    """

    def __init__(self, review: Review | None, why: str = ""):
        self.review, self.why = review, why

    def build(self, page: gr.Blocks) -> None:
        """Inside a `gr.Tab` of a page."""
        if self.review is None:
            gr.HTML(complaint(self.why))
            return
        place, options = gr.State(0), {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Row(elem_classes="halves"):
            with gr.Column(min_width=300, scale=3):
                card = gr.HTML("", js_on_load=_ON_LOAD, elem_id="pair")
                gr.HTML(note("Space plays. Y: fits, N: does not, ?: can't tell. Every verdict is saved at once."))
            with gr.Column(min_width=300, scale=2):
                with gr.Column(elem_classes="card"):
                    done = gr.HTML("", elem_id="done")
                    found = gr.HTML("", elem_id="found")
                wanted = gr.Slider(0.5, 0.99, 0.8, step=0.01, label="Share of true pairs that is wanted", buttons=[])
                drop = gr.Checkbox(True, label="Leave out what does not fit")
                again = gr.Button("Make the set again", variant="primary")
                made = gr.HTML("", elem_id="made")
        outputs = [card, done, found, place]
        page.load(self.begin, wanted, outputs, **options)
        card.judge(self.judge, [place, wanted], outputs, concurrency_limit=1, **options)
        card.go(self.go, [place, wanted], outputs, **options)
        wanted.release(self.told, wanted, found, **options)
        again.click(self.remake, [wanted, drop], made, concurrency_limit=1, **(options | {"show_progress": "minimal"}))

    def begin(self, wanted: float):
        try:
            return self._show(self.review.next_place(self.review.verdicts()), wanted)
        except InputError as error:
            return complaint(error), "", "", 0

    def judge(self, place: int, wanted: float, event: gr.EventData):
        try:
            place = int(event.place)
            now = self.review.judge(place, str(event.word))
            was_taken_back = not self.review.words(now)[place]
            return self._show(place if was_taken_back else self.review.next_place(now, place), wanted)
        except InputError as error:
            return complaint(error), gr.skip(), gr.skip(), place

    def go(self, place: int, wanted: float, event: gr.EventData):
        place = min(max(0, place + int(event.step)), len(self.review.rows) - 1)
        return self._show(place, wanted)

    def told(self, wanted: float) -> str:
        return findings(self.review.verdicts(), wanted)

    def remake(self, wanted: float, drop: bool) -> str:
        try:
            folder, number = self.review.remake(wanted, drop)
        except InputError as error:
            return complaint(error)
        return (
            f"<p>{number:,} of {len(self.review.pool.pairs):,} pairs are in <b>{escape(str(folder))}</b>.</p>"
            + note(f"run_student.py --improvement_set {folder}")
        )

    def _show(self, place: int, wanted: float):
        now = self.review.verdicts()
        return self.review.card(place, now), progress(self.review.words(now)), findings(now, wanted), place


_ON_LOAD = """
let busy = false;
element.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button || busy) return;
  const place = Number(element.querySelector("[data-place]")?.dataset.place);
  busy = true;
  if (button.dataset.word) trigger("judge", {place, word: button.dataset.word});
  else if (button.dataset.go) trigger("go", {step: Number(button.dataset.go)});
  else busy = false;
  setTimeout(() => { busy = false; }, 4000);
});
watch("value", () => {
  const moved = busy;
  busy = false;
  if (moved) element.querySelector("audio")?.play().catch(() => {});
});
"""
