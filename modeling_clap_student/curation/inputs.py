"""Reads what is curated: captions, pool and class names, without the clips that the student will be tested on."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset, IterableDataset

from ..data.benchmarks import check_class_names, evaluation_clips, read_labels, task_clips
from ..data.corpora import read_corpora
from ..data.leakage import EvaluationSounds, LeakageFilter, evaluation_sounds, read_origins
from ..data.pools import read_pools
from ..data.sources import ExclusionLog, report_exclusions
from ..data.windows import Windows, cut_pool
from ..utils.console import say
from .arguments import CurateArguments


@dataclass(frozen=True)
class CurationInputs:
    """Tables and names.

    Attributes:
        corpus: captioned rows.
        captions: their captions, each once.
        pool: clips without text; None for ds.
        class_names: the labels; empty for du.
        layout: the published set that they come from; None for a list of the user.
        leakage: clips that the student will be tested on, and others to leave out of the pool.
        sounds: of the test clips; None if sounds are not compared.
        windows: the pool is cut into them.
    """

    corpus: Dataset
    captions: Dataset
    pool: Dataset | IterableDataset | None
    class_names: list[str]
    layout: str | None
    leakage: LeakageFilter
    sounds: EvaluationSounds | None
    windows: Windows | None = None

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.pool, IterableDataset)


def read_inputs(
    args: CurateArguments, captions=None, audio=None, class_names: list[str] | None = None
) -> CurationInputs:
    """Reads the data that the arguments name, unless `curate` got it as objects. Says how much there is."""
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    test_clips = evaluation_sets(args) if class_names is None else task_clips(args.task)
    leakage = LeakageFilter(test_clips, read_origins(args.exclude or []))
    captions = args.captions if captions is None else captions
    # A pool's clips are listened to while they are embedded, and compared after that.
    sounds = evaluation_sounds(args, test_clips)
    learnt = LeakageFilter(test_clips, sounds=sounds)
    corpus = read_corpora(captions, args.strategy == "ds", exclusions, learnt)
    _, first = np.unique(corpus["caption_id"], return_index=True)
    texts = corpus.select(np.sort(first)).select_columns(["caption", "caption_id"])
    pool = None if args.strategy == "ds" else read_pools(args.audio if audio is None else audio, exclusions, leakage)
    windows = args.windows_of(args.window_seconds)
    if windows is not None:
        pool = cut_pool(pool, windows)
    layout = None
    if args.strategy == "du":
        class_names = []
    elif class_names is None:
        class_names, layout = read_labels(args.labels, exclusions)
    else:
        class_names = check_class_names(class_names, "labels")
    report_exclusions(exclusions)
    inputs = CurationInputs(corpus, texts, pool, class_names, layout, leakage, sounds, windows)
    say(f"{len(corpus)} captioned rows with {len(texts)} different captions")
    if inputs.is_streamed:
        size = f"a stream of {pool.num_shards} shards"
    else:
        size = f"{0 if pool is None else len(pool)} {'clips' if windows is None else f'windows of {windows}'}"
    say(f"{size} in the pool, {len(class_names)} labels")
    if args.exclude and isinstance(pool, Dataset):
        unknown = pool.with_format("arrow")["origin_id"][:].null_count
        if unknown:
            say(f"{unknown} clips of the pool name no recording: --exclude can't leave them out")
    return inputs


def evaluation_sets(args: CurateArguments) -> list[Dataset]:
    """The clips that the student will be tested on. Captions and pool must not contain them."""
    labelled = evaluation_clips(args.labels) if args.labels else None
    return [*task_clips(args.task), *([] if labelled is None else [labelled])]
