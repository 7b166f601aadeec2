"""The clips to search and to judge: the pool behind an Improvement-Set, and its vectors, which curate.py kept."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from datasets import Dataset

from ..curation.embedding_store import CLIPS, EmbeddingStore, StoredVectors
from ..curation.improvement_set import STREAMED, load_improvement_set
from ..data.identity import clip_keys
from ..data.pools import read_pools
from ..data.sources import ExclusionLog
from ..data.windows import WINDOW_COLUMNS, cut_pool
from ..errors import ClipError, InputError, reading
from ..soundscapes.corpus import is_soundscape
from ..utils.console import quiet
from ..windows_clap_student import Windows, without_part
from .models import Model


_ROWS = 65_536  # that are compared at a time


@dataclass(frozen=True)
class Pool:
    """An Improvement-Set and the clips that it was made of.

    Attributes:
        name: of the set.
        pairs, replay, provenance: the set.
        clips: `audio audio_id source`, and of windows `start end`.
        note: where the clips come from, if not from the whole pool; else empty.
        is_ours: whether the set lies on this machine, so that files of this machine that it names may be played.
    """

    name: str
    pairs: Dataset
    replay: Dataset | None
    provenance: dict
    clips: Dataset
    note: str = ""
    is_ours: bool = True

    @property
    def labels(self) -> list[str]:
        return self.provenance.get("labels") or []

    def check(self, audio: dict | None) -> None:
        """Whether a clip, undecoded, may be played.

        Raises:
            ClipError: a stranger's set names a file of this machine, or a link took the place of a file.
        """
        path = without_part((audio or {}).get("path") or "")
        if not path or (audio or {}).get("bytes") is not None or is_soundscape(path):
            return
        if not self.is_ours:
            raise ClipError("is a file of whoever made the set")
        if ".." in PurePath(path).parts or os.path.islink(path):
            raise ClipError("is a link, or leads through ..: links are not served")


def open_pool(name: str) -> Pool:
    """Opens a set, and the pool that its provenance names; the set's own clips where that is not here.

    Raises:
        InputError: no such set.
    """
    if name.startswith(STREAMED):
        raise InputError(f"--pool takes a whole set: name {name.removeprefix(STREAMED)} without {STREAMED}")
    pairs, replay, provenance = load_improvement_set(name)
    is_ours = Path(name).is_dir()
    try:
        return Pool(name, pairs, replay, provenance, _whole_pool(provenance, is_ours))
    except InputError as error:
        clips = clips_of(pairs)
        note = f"These are the {len(clips)} clips of the pairs, not the whole pool: {error}."
        return Pool(name, pairs, replay, provenance, clips, note, is_ours)


def _whole_pool(provenance: dict, is_ours: bool) -> Dataset:
    specs = provenance.get("audio")
    if not is_ours:  # it would name folders of this machine, or have others downloaded
        raise InputError("the set is from the Hub")
    if not specs or not isinstance(specs, list):
        raise InputError("the set doesn't say what its pool was")
    with quiet(progress=False):
        clips = read_pools(specs, ExclusionLog(allow_outside_paths=True))
        if provenance.get("window_seconds"):
            clips = cut_pool(clips, Windows(provenance["window_seconds"], provenance.get("hop_seconds")))
    if not isinstance(clips, Dataset):
        raise InputError("the pool is a stream, which can't be played from any place")
    return clips


def clips_of(pairs: Dataset) -> Dataset:
    """Each clip of some pairs once."""
    _, first = np.unique(pairs["audio_id"][:], return_index=True)
    columns = ["audio", "audio_id", "source", *WINDOW_COLUMNS]
    return pairs.select(np.sort(first)).select_columns([name for name in columns if name in pairs.column_names])


@dataclass(frozen=True)
class Index:
    """The vectors of a pool's clips, and the model that made them and now asks.

    Attributes:
        model: whose vectors they are.
        vectors: (clips, dim) unit vectors, in memory or on disk.
        rows: (clips,) int64, of the pool's table.
        lacking: clips of the pool whose vectors were not kept.
    """

    model: Model
    vectors: np.ndarray | StoredVectors
    rows: np.ndarray
    lacking: int = 0

    def scores(self, query: np.ndarray) -> np.ndarray:
        """(clips,) float32 cosines with a unit vector."""
        scores = np.empty(len(self.vectors), np.float32)
        for start in range(0, len(scores), _ROWS):
            scores[start : start + _ROWS] = self.vectors[start : start + _ROWS] @ query
        return scores

    def place_of(self, row: int) -> int:
        """Of a row of the table, its place among the vectors.

        Raises:
            InputError: it has none.
        """
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise InputError("no vector of this clip is kept: search by its sound instead")
        return place


_IN_MEMORY = 2**31  # bytes of vectors


def open_index(pool: Pool, models: Sequence[Model], root: str | Path) -> Index:
    """Finds the vectors of a pool's clips in the store where curate.py kept them. Nothing is embedded.

    Raises:
        InputError: they are of another model, or not there.
    """
    whose = pool.provenance.get("teacher_fingerprint")
    teacher = pool.provenance.get("teacher", "a model that the set doesn't name")
    model = next((model for model in models if model.fingerprint == whose), None)
    if model is None:
        raise InputError(
            f"the pool's vectors are another model's, {teacher}: start with --baseline {teacher} to search them"
        )
    keys = clip_keys(pool.clips.select_columns(["audio", "audio_id"]))
    stores = [EmbeddingStore.kept(folder, model.config.projection_dim) for folder in stores_of(whose, root)]
    store = max(stores, key=lambda store: store.knows(CLIPS, keys).sum(), default=None)
    is_known = np.zeros(len(keys), bool) if store is None else store.knows(CLIPS, keys)
    if not is_known.any():
        raise InputError(
            f"{root} keeps no vectors of this pool by {teacher}: name the folder that curate.py wrote with "
            "--embedding_store, or run it again"
        )
    rows = np.flatnonzero(is_known)
    rows = rows[store.readable(CLIPS, keys[rows])]
    vectors = store.vectors(CLIPS, keys[rows])
    small = vectors.shape[0] * vectors.shape[1] * 4 <= _IN_MEMORY
    return Index(model, vectors[:] if small else vectors, rows, int((~is_known).sum()))


def stores_of(teacher: str, root: str | Path) -> list[Path]:
    """The folders that keep a teacher's embeddings, whatever machine, batch or version made them."""
    folders = []
    for about in sorted(Path(root).glob("*/store.json")):
        with reading(about, "description of a store; remove its folder"):
            description = json.loads(about.read_text(encoding="utf-8"))
        if isinstance(description, dict) and description.get("teacher") == teacher:
            folders.append(about.parent)
    return folders


def some_clips(clips: Dataset, count: int) -> np.ndarray:
    """Rows of a table, evenly spread."""
    return np.unique(np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int))


def built_in_clips(count: int) -> Dataset:
    """Clips that the package makes itself, where there is no pool."""
    clips = read_pools("soundscapes")
    return clips.select(some_clips(clips, count))
