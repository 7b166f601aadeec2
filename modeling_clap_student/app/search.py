"""The tab Search: clips of the pool by words, by a sound, or like another clip, without embedding the pool again."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
import pyarrow as pa
from datasets import Audio, Features, Value
from pyarrow.parquet import write_table

from ..classification_clap_student import PROMPT
from ..clips_clap_student import clip_windows
from ..data.decoding import encoded_audio
from ..errors import ClipError, InputError
from ..windows_clap_student import without_part
from .classify import without_path
from .pictures import clock, complaint, note, player
from .pool import Index, Pool
from .serving import Made, Shelf


_AT_ONCE, _MOST = 12, 240  # hits that are shown at first, and that are kept
_NAME = 3  # words: as many, or fewer, are taken for the name of a class
_ANY = "any"
_WELCOME = note("Say what to listen for, or give a sound: the clips that lie nearest stand here.")
_COLUMNS = Features(
    {
        "audio": Audio(decode=False), "audio_id": Value("string"), "source": Value("string"),
        "start": Value("float64"), "end": Value("float64"), "score": Value("float32"), "query": Value("string"),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """Which clips may be hits.

    Attributes:
        name: what a clip's name has in it, whatever its case.
        source: its corpus; empty for any.
        least: the lowest score.
        once: whether one window of each recording is enough.
    """

    name: str = ""
    source: str = ""
    least: float = -1.0
    once: bool = False


@dataclass(frozen=True)
class Query:
    """What is looked for: a unit vector, and how the page calls it."""

    vector: np.ndarray
    words: str
    shown: int = _AT_ONCE


@dataclass(frozen=True)
class Hit:
    """A clip that was found: `row` of the pool's table."""

    row: int
    score: float
    audio_id: str
    source: str
    start: float | None = None
    end: float | None = None

    @property
    def place(self) -> str:
        return "" if self.start is None else f"{clock(self.start)} to {clock(self.end)}"


class PoolSearch:
    """Finds clips of a pool by their vectors.

    Args:
        pool, index: from `open_pool` and `open_index`.
    """

    def __init__(self, pool: Pool, index: Index):
        self.pool, self.index = pool, index
        table = pool.clips.with_format("arrow")
        names = [name for name in ("audio_id", "source", "start", "end") if name in pool.clips.column_names]
        self._columns = {name: table[name][:].to_pylist() for name in names}
        self._lower = [self._columns["audio_id"][row].lower() for row in index.rows.tolist()]
        sources = self._columns.get("source") or [None] * len(pool.clips)
        self._sources = np.array([sources[row] or "" for row in index.rows.tolist()], object)
        self.sources = sorted(set(self._sources.tolist()) - {""})
        self.has_windows = any(start is not None for start in self._columns.get("start", ()))

    def by_words(self, words: str) -> Query:
        """A few words are put into the prompt, as the name of a class would be; more are a caption."""
        words = " ".join((words or "").split())
        if not words:
            raise InputError("say what to listen for: a word or a sentence")
        text = PROMPT.replace("{}", words) if len(words.split()) <= _NAME else words
        return Query(self.index.model.texts([text])[0].numpy(), words)

    def by_sound(self, path: str | Path) -> Query:
        """A file's sound; a ten-minute one is averaged, so that short ones do better."""
        extractor = self.index.model.processor.feature_extractor
        with without_path():
            (vector,) = self.index.model.clips([clip_windows(str(path), None, extractor)], 8)
        return Query(vector.numpy(), "this sound")

    def like(self, row: int) -> Query:
        """Another clip of the pool, by the vector that is kept of it."""
        if not 0 <= row < len(self.pool.clips):
            raise InputError("no such clip in the pool")
        vector = np.array(self.index.vectors[self.index.place_of(row)])
        return Query(vector, f"more like {self._columns['audio_id'][row]}")

    def find(self, query: Query, filters: Filters = Filters(), count: int = _MOST) -> list[Hit]:
        """The nearest clips, the best first."""
        scores = self.index.scores(query.vector)
        may = scores >= filters.least
        if filters.source:
            may &= self._sources == filters.source
        if needle := filters.name.strip().lower():
            may &= np.fromiter((needle in name for name in self._lower), bool, len(self._lower))
        places = np.flatnonzero(may)
        most = len(places) if filters.once else min(count, len(places))
        if most < len(places):
            places = places[np.argpartition(-scores[places], most - 1)[:most]]
        places = places[np.argsort(-scores[places], kind="stable")]
        hits = (self._hit(int(self.index.rows[place]), float(scores[place])) for place in places)
        return list(_first_of_each(hits, count) if filters.once else hits)

    def _hit(self, row: int, score: float) -> Hit:
        values = {name: column[row] for name, column in self._columns.items()}
        return Hit(row, score, values.pop("audio_id"), values.pop("source", None) or "", **values)


def _first_of_each(hits: Iterator[Hit], count: int) -> Iterator[Hit]:
    seen = set()
    for hit in hits:
        if (name := without_part(hit.audio_id)) not in seen:
            seen.add(name)
            yield hit
        if len(seen) == count:
            return


def as_csv(hits: list[Hit], query: Query) -> bytes:
    """The hits as a table."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["rank", "score", "audio_id", "source", "start", "end", "query"])
    for rank, hit in enumerate(hits, 1):
        writer.writerow([rank, f"{hit.score:.6f}", hit.audio_id, hit.source, hit.start, hit.end, query.words])
    return text.getvalue().encode()


def as_parquet(hits: list[Hit], query: Query, pool: Pool) -> bytes:
    """The hits as a dataset with their audio in it; clips that can't be read are left out."""
    rows = []
    for hit in hits:
        audio = pool.clips[hit.row]["audio"]
        try:
            pool.check(audio)
            encoded = encoded_audio(audio)
        except (ClipError, InputError):
            continue
        of_hit = {name: getattr(hit, name) for name in ("audio_id", "source", "start", "end", "score")}
        rows.append({"audio": encoded, **of_hit, "query": query.words})
    file = io.BytesIO()
    write_table(pa.Table.from_pylist(rows, _COLUMNS.arrow_schema), file)  # the schema tells readers the features
    return file.getvalue()


class SearchTab:
    """Builds the tab, and answers its events.

    Args:
        pool: None where none was named.
        search: None where its vectors are not there; `why` says why.
        shelf: for what is saved.
    """

    def __init__(self, pool: Pool | None, search: PoolSearch | None, why: str, shelf: Shelf):
        self.pool, self.search, self.why, self.shelf = pool, search, why, shelf

    def build(self) -> None:
        """Inside a `gr.Tab`."""
        if self.search is None:
            gr.HTML(complaint(self.why))
            return
        index, query = self.search.index, gr.State(None)
        with gr.Row(elem_classes="halves"):
            with gr.Column(min_width=300):
                words = gr.Textbox(label="Words", placeholder="rain", elem_id="words", autofocus=False)
                find = gr.Button("Search", variant="primary")
            with gr.Column(min_width=300):
                sound = gr.Audio(
                    label="Or a sound", sources=["upload", "microphone"], type="filepath", editable=False, buttons=[],
                    waveform_options=gr.WaveformOptions(show_recording_waveform=False), elem_id="sound",
                )  # fmt: skip
        with gr.Row(elem_classes="filters"):
            name = gr.Textbox(label="Name holds", min_width=160)
            source = gr.Dropdown(
                [_ANY, *self.search.sources], value=_ANY, label="Source", min_width=160,
                visible=len(self.search.sources) > 1,
            )  # fmt: skip
            least = gr.Slider(0, 1, 0, step=0.05, label="Score at least", min_width=160, buttons=[])
            once = gr.Checkbox(label="One part of a recording", visible=self.search.has_windows, min_width=160)
        about = f"{len(index.rows):,} clips, by the vectors that the {index.model.role.lower()} gave them."
        if index.lacking:
            about += f" {index.lacking:,} clips of the pool have none: curate.py did not embed them."
        gr.HTML(note(f"{about} {self.pool.note}"))
        hits = gr.HTML(_WELCOME, js_on_load=_ON_LOAD, elem_id="hits")
        more = gr.Button("Show more", visible=False, size="sm")
        filters, outputs = [name, source, least, once], [hits, more, query]
        options = {"show_progress": "minimal", "show_progress_on": hits, "api_visibility": "private"}
        gr.on([words.submit, find.click], self.find_words, [words, *filters], outputs, **options)
        sound.change(self.find_sound, [sound, *filters], outputs, **options)
        hits.similar(self.find_like, filters, outputs, **options)
        more.click(self.show_more, [query, *filters], outputs, **options)
        gr.on(
            [one.change for one in filters], self.show, [query, *filters], outputs, trigger_mode="always_last",
            **(options | {"show_progress": "hidden"}),
        )  # fmt: skip

    def find_words(self, words, *filters):
        return self._answer(lambda: self.search.by_words(words), filters)

    def find_sound(self, path, *filters):
        if path is None:
            return gr.skip(), gr.skip(), gr.skip()
        return self._answer(lambda: self.search.by_sound(path), filters)

    def find_like(self, name, source, least, once, event: gr.EventData):
        return self._answer(lambda: self.search.like(int(event.row)), (name, source, least, once))

    def show_more(self, query: Query, *filters):
        return self._answer(lambda: replace(query, shown=query.shown + _AT_ONCE), filters)

    def show(self, query: Query | None, *filters):
        return (gr.skip(), gr.skip(), gr.skip()) if query is None else self._answer(lambda: query, filters)

    def _answer(self, make_query, filters):
        try:
            query = make_query()
        except InputError as error:
            return complaint(error), gr.update(visible=False), None
        name, source, least, once = filters
        least = -1.0 if not least else float(least)
        hits = self.search.find(query, Filters(name or "", "" if source == _ANY else source, least, bool(once)))
        shown = hits[: query.shown]
        return self.draw(shown, query), gr.update(visible=len(hits) > len(shown)), query

    def draw(self, hits: list[Hit], query: Query) -> str:
        """The hits with their players, and links to save them."""
        if not hits:
            return complaint("no clip passes these filters: lower the score, or clear the name")
        table = self.shelf.put(Made(as_csv(hits, query), "text/csv", "hits.csv"))
        rows = "".join(_draw_hit(rank, hit) for rank, hit in enumerate(hits, 1))
        whole = self.shelf.put_later(lambda: Made(as_parquet(hits, query, self.pool), *_PARQUET))
        return (
            f'<div class="head"><h3>Nearest to “{escape(query.words)}”</h3><p class="links">Save these {len(hits)}: '
            f'<a href="{table}" download>csv</a> <a href="{whole}" download>dataset with audio</a></p></div>'
            f'<ol class="hits">{rows}</ol>'
        )


_PARQUET = ("application/vnd.apache.parquet", "hits.parquet")
_ON_LOAD = """
element.addEventListener("click", event => {
  const button = event.target.closest("[data-like]");
  if (button) trigger("similar", {row: Number(button.dataset.like)});
});
"""


def _draw_hit(rank: int, hit: Hit) -> str:
    source = "" if hit.audio_id.startswith(f"{hit.source}/") else hit.source
    about = " · ".join(filter(None, (source, hit.place)))
    return (
        f'<li class="card hit"><div class="head"><span class="name">{rank}. {escape(hit.audio_id)}</span>'
        f'<b title="cosine">{hit.score:.3f}</b></div>{note(about) if about else ""}'
        f"{player(f'clips/{hit.row}', f'hit {rank}: {hit.audio_id}')}"
        f'<button type="button" data-like="{hit.row}">More like this</button></li>'
    )
