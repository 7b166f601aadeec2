"""Curates an Improvement-Set: a teacher pairs captions with unlabelled audio.

One process:        python curate.py --strategy ads --teacher outputs/teacher --captions my_captions/ \
                        --audio my_pool/ --labels my_labels.txt --output_dir outputs/improvement_set
Several GPUs:       accelerate launch --num_processes 2 curate.py --strategy ads …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        curate.py --strategy ads …

du:  every clip of the pool with every training caption that is similar enough.
ds:  the training pairs whose caption is near the prompt of one of the labels.
ads: the captions chosen as in ds, with every clip of the pool that is similar enough.
"""

import shutil
import tempfile
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import set_seed

from .. import InputError, __version__
from ..checkpoints.inference import for_inference
from ..checkpoints.loading import load_checkpoint, push_folder
from ..curation.advisor import AUTO, estimate_precision
from ..curation.arguments import METHOD, SOURCES, CurateArguments
from ..curation.embedding_store import EmbeddingStore, StoredVectors
from ..curation.improvement_set import (
    is_improvement_set,
    load_improvement_set,
    pair_precision,
    read_provenance,
    read_streamed_audio,
    save_improvement_set,
    save_streamed_pairs,
)
from ..curation.matching import similarity_histogram
from ..curation.report.page import ReportData, write_report
from ..curation.selection import PROMPT, SelectedCaptions, Threshold, label_prompts, select_captions
from ..curation.stored_embeddings import StoredEmbedder
from ..curation.strategies import (
    DEFAULT_THRESHOLDS,
    PAPER_DU_THRESHOLD,
    PAPER_THRESHOLDS,
    Curated,
    match_pool,
    select_training_pairs,
    training_pairs,
)
from ..data.benchmarks import evaluation_clips, read_labels, task_clips
from ..data.corpora import read_corpora
from ..data.decoding import readable_rows
from ..data.filters import with_audio
from ..data.leakage import KeptOut, read_origins
from ..data.pools import read_pools
from ..data.skipping import SkippedClips
from ..data.sources import Excluded
from ..hub_clap_student import fingerprint
from ..utils.arguments import read_flags, save_arguments
from ..utils.console import Stopwatch, heading, say
from ..utils.outputs import check_new_folder, whole_folder
from ..utils.processes import from_main_process
from .command_line import (
    command,
    parse_arguments,
    report_data,
    report_excluded,
    report_skipped,
    settle_dtype,
    skipped_clips,
)
from .teacher import built_in_folder


def defaults(flags: Namespace) -> dict:
    """Of a set that is made again, its arguments; the built-in corpus where no data is named, and sizes that suit its
    teacher, whose cosines are not the paper's."""
    if flags.remake:
        return arguments_of(flags.remake)
    if flags.captions or flags.audio or flags.labels:
        return {}
    folder = built_in_folder(flags.seed)
    number = {"caption_threshold": None, "pair_threshold": None}
    if flags.caption_threshold is None and flags.caption_quantile is None:
        number["num_captions"] = 60
    if flags.pair_threshold is None and flags.pair_quantile is None:
        number["num_pairs"] = 1500
    return {
        "teacher": str(folder / "teacher"),
        "captions": ["soundscapes"],
        "audio": ["soundscapes"],
        "labels": "soundscapes",
        "output_dir": str(folder / f"improvement_set_{flags.strategy}"),
        **number,
    }


def arguments_of(path: str) -> dict:
    """The arguments that an Improvement-Set was made with, shown: it may be somebody else's.

    Raises:
        InputError: it does not tell them, or a value that is none.
    """
    arguments = (read_provenance(path) or {}).get("arguments")
    if not isinstance(arguments, dict):
        raise InputError(f"{path} does not tell how it was made: it has no provenance.json with arguments")
    method = {name: arguments[name] for name in METHOD if name in arguments}
    for name in SOURCES:
        if name in method:
            say(f"{path}: --{name} {method[name]}")
    if passed_over := sorted(map(str, arguments.keys() - method.keys())):
        say(f"{path}: not taken, for they say nothing of the method: {', '.join(passed_over)}")
    return read_flags(method, (CurateArguments,), f"{path}/provenance.json")


def read_inputs(
    args: CurateArguments, evaluated: list[Dataset], kept_out: KeptOut
) -> tuple[Dataset, Dataset, Dataset | IterableDataset | None, list[str], str | None]:
    """The captioned rows, their captions each once, the pool, the class names and the label set's layout."""
    excluded = Excluded(allow_outside_paths=args.allow_outside_paths)
    corpus = read_corpora(args.captions, args.strategy == "ds", excluded, KeptOut(evaluated))
    _, first = np.unique(corpus["caption_id"], return_index=True)
    captions = corpus.select(np.sort(first)).select_columns(["caption", "caption_id"])
    pool = None if args.strategy == "ds" else read_pools(args.audio, excluded, kept_out)
    class_names, layout = ([], None) if args.strategy == "du" else read_labels(args.labels, excluded)
    report_excluded(excluded)
    say(f"{len(corpus)} captioned rows with {len(captions)} different captions")
    streamed = isinstance(pool, IterableDataset)
    size = f"a stream of {pool.num_shards} shards" if streamed else f"{0 if pool is None else len(pool)} clips"
    say(f"{size} in the pool, {len(class_names)} labels")
    if args.exclude and pool is not None and not streamed:
        unknown = pool.with_format("arrow")["origin_id"][:].null_count
        if unknown:
            say(f"{unknown} clips of the pool tell no recording: --exclude can't leave them out")
    return corpus, captions, pool, class_names, layout


def evaluation_sets(args: CurateArguments) -> list[Dataset]:
    """The clips that the student will be tested on: neither captions nor pool may hold them."""
    labelled = evaluation_clips(args.labels) if args.labels else None
    return [*task_clips(args.task), *([] if labelled is None else [labelled])]


def curate(args: CurateArguments) -> None:
    """Reads, embeds, selects, matches, saves."""
    watch = Stopwatch()
    set_seed(args.seed)
    heading(f"Curation: {args.strategy} with {args.teacher}")
    if not args.dry_run:
        check_new_folder(args.output_dir, is_improvement_set)
    evaluated = evaluation_sets(args)
    kept_out = KeptOut(evaluated, read_origins(args.exclude or []))
    corpus, captions, pool, class_names, layout = read_inputs(args, evaluated, kept_out)
    if args.dry_run:
        heard = with_audio(corpus, "the replay set", Excluded())
        report_data({"captions": captions, "captioned clips": heard, "pool": pool})
        return
    model, processor = load_checkpoint(args.teacher)
    encoder = for_inference(model.to(PartialState().device), args.dtype)
    made_by = provenance(args, model, class_names)
    check_remade(args, made_by)
    with (
        whole_folder(args.output_dir, replaces=is_improvement_set) as folder,
        tempfile.TemporaryDirectory(prefix=".pairs-", dir=folder) as scratch,
    ):
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        store = EmbeddingStore(args.embedding_store, model, processor, args.batch_size, args.dtype)
        embedder = StoredEmbedder(encoder, processor, store, skipped, args.batch_size)
        caption_embeds = embedder.texts(captions["caption"], "embedding captions")
        selected = select(args, embedder, caption_embeds, class_names, layout)
        known, clips, replay = {"selected": by_label(selected, class_names)}, None, None
        if args.strategy == "ds":
            pairs = select_training_pairs(corpus, captions, selected, class_names)
            pairs = with_similarity(pairs, captions, caption_embeds, embedder)
        else:
            clip_embeds, clips = embed_pool(embedder, pool, kept_out)
            tables = (clips, clip_embeds, captions, caption_embeds)
            found, precisions = from_main_process(
                lambda: matched(args, model, tables, selected, class_names, layout, Path(scratch, "pairs.arrow"))
            )
            pairs, replay = found.pairs, replay_set(args.strategy, corpus, captions, selected, class_names)
            if replay is not None and (args.embed_audio or args.push_to_hub):
                replay = readable(replay, skipped)
            made_by |= {"pair_threshold": found.threshold, "highest_similarity": found.highest}
            made_by |= args.matching_options() | precisions
        if selected is not None:
            made_by |= {"caption_threshold": selected.threshold, "num_captions": len(selected.indices)}
        made_by |= {
            "num_pairs": len(pairs),
            "num_clips": len(pairs.unique("audio_id")),
            "num_replay": 0 if replay is None else len(replay),
            "num_skipped": report_skipped(skipped, Path(args.output_dir)),
        }
        if streamed := isinstance(pool, IterableDataset):
            save_streamed_pairs(folder, pairs, clips, pool)
            known["audio_of"] = partial(read_streamed_audio, folder, pairs)
        if PartialState().is_main_process:
            if args.strategy != "ds":
                known |= similarities(clip_embeds, caption_embeds, selected)
            written = None if streamed else pairs
            save_improvement_set(folder, written, replay, made_by, args.output_dir, args.embed_audio)
            sizes = {"num_pool_clips": None if clips is None else len(clips), "num_captions": len(captions)}
            leave_report(folder, pairs, made_by, **sizes, **known)
            save_arguments(folder, args)
    say(
        f"{made_by['num_pairs']} pairs of {made_by['num_clips']} clips saved in {args.output_dir} "
        f"after {watch.seconds:.0f} s; look and listen in report.html there"
    )
    if args.push_to_hub and PartialState().is_main_process:
        push(args, made_by)


def select(
    args: CurateArguments,
    embedder: StoredEmbedder,
    caption_embeds: StoredVectors,
    class_names: list[str],
    layout: str | None,
) -> SelectedCaptions | None:
    """The captions near one of the labels; None for du, which takes them all."""
    if args.strategy == "du":
        return None
    labels = embedder.texts(label_prompts(class_names), "embedding labels")
    cut = args.threshold("caption", PAPER_THRESHOLDS.get(layout, DEFAULT_THRESHOLDS)[0])
    selected = select_captions(caption_embeds[:], labels[:], cut)
    say(f"{len(selected.indices)} captions lie at {selected.threshold:.3f} or nearer to a label")
    if len(selected.indices) == 0:
        raise empty("caption", selected)
    return selected


def matched(
    args: CurateArguments,
    model,
    tables: tuple[Dataset, StoredVectors, Dataset, StoredVectors],
    selected: SelectedCaptions | None,
    class_names: list[str],
    layout: str | None,
    scratch: Path,
) -> tuple[Curated, dict]:
    """The pool's clips with their captions, and what an advised threshold leaves in the provenance."""
    clips, clip_embeds, captions, caption_embeds = tables
    precisions = {}
    if args.pair_threshold == AUTO:
        cut, precisions = advised(args, model, clip_embeds, caption_embeds[:], selected)
    else:
        cut = pair_threshold(args, layout)
    found = match_pool(
        *(clips, clip_embeds, captions, caption_embeds[:], cut, selected, class_names),
        scratch=scratch,
        balance_labels=args.balance_labels,
        max_pairs=args.max_pairs,
        **args.matching_options(),
    )
    if len(found.pairs) == 0:
        raise empty("pair", found)
    return found, precisions


def pair_threshold(args: CurateArguments, layout: str | None) -> Threshold:
    """What the flags say, or the paper's cosine for this strategy and label set."""
    paper = PAPER_DU_THRESHOLD if args.strategy == "du" else PAPER_THRESHOLDS.get(layout, DEFAULT_THRESHOLDS)[1]
    return args.threshold("pair", paper)


def similarities(clip_embeds: StoredVectors, caption_embeds: StoredVectors, selected: SelectedCaptions | None) -> dict:
    """How all similarities are spread, for the report."""
    chosen = caption_embeds[:] if selected is None else caption_embeds[selected.indices]
    histogram = similarity_histogram(clip_embeds, chosen)
    sampled = histogram.clips < histogram.of_clips
    return {
        "histogram": (histogram.edges, histogram.counts),
        "sampled_clips": histogram.clips if sampled else None,
    }


def push(args: CurateArguments, made_by: dict) -> None:
    """Uploads the set with its audio inside."""
    pairs, replay, _ = load_improvement_set(args.output_dir)
    with tempfile.TemporaryDirectory() as folder:
        save_improvement_set(Path(folder), pairs, replay, made_by, args.push_to_hub, with_audio=True)
        if (report := Path(args.output_dir, "report.html")).exists():
            shutil.copy(report, folder)
        say(f"pushed to {push_folder(folder, args.push_to_hub, args.private, repo_type='dataset')}")


def embed_pool(
    embedder: StoredEmbedder, pool: Dataset | IterableDataset, kept_out: KeptOut
) -> tuple[StoredVectors, Dataset]:
    """The embeddings of the clips that can be read, and a table of these clips; of a stream it has no audio."""
    if isinstance(pool, Dataset):
        embeds, rows = embedder.table(pool, "embedding the pool")
        return embeds, pool.select(rows)
    excluded = Excluded()
    embeds, clips = embedder.stream(pool, kept_out, excluded, "embedding the stream")
    report_excluded(excluded)
    return embeds, clips


def replay_set(
    strategy: str, corpus: Dataset, captions: Dataset, selected: SelectedCaptions | None, class_names: list[str]
) -> Dataset | None:
    """What the student rehearses: for du the teacher's corpus, for ads its part in the domain; None without audio."""
    excluded = Excluded()
    corpus = with_audio(corpus, "the replay set", excluded)
    report_excluded(excluded)
    if len(corpus) == 0:
        return None
    if strategy == "du":
        return training_pairs(corpus)
    pairs = select_training_pairs(corpus, captions, selected, class_names)
    return pairs if len(pairs) else None


def readable(replay: Dataset, skipped: SkippedClips) -> Dataset | None:
    """The part of the replay set that decodes: what is put into a set that others may get is audio, nothing else."""
    rows = from_main_process(lambda: readable_rows(replay, skipped))
    return replay.select(rows) if len(rows) else None


def with_similarity(
    pairs: Dataset, captions: Dataset, caption_embeds: StoredVectors, embedder: StoredEmbedder
) -> Dataset:
    """Training pairs with the teacher's cosine between clip and caption; clips that can't be read are left out."""
    clip_embeds, rows = embedder.table(pairs, "embedding the chosen clips")
    pairs = pairs.select(rows)
    row_of = {key: row for row, key in enumerate(captions["caption_id"])}
    texts = np.array([row_of[key] for key in pairs["caption_id"]])
    blocks = (slice(start, start + 4096) for start in range(0, len(pairs), 4096))
    similarity = np.concatenate([(clip_embeds[rows] * caption_embeds[texts[rows]]).sum(axis=1) for rows in blocks])
    columns = pairs.column_names
    return pairs.remove_columns("similarity").add_column("similarity", similarity).select_columns(columns)


def advised(
    args: CurateArguments, model, clip_embeds: StoredVectors, caption_embeds: np.ndarray, selected: SelectedCaptions
) -> tuple[Threshold, dict]:
    """The loosest threshold with the wanted precision, and what the provenance tells of it."""
    scale = model.logit_scale.exp().item()
    estimate = estimate_precision(clip_embeds, caption_embeds, selected.indices, selected.labels, scale)
    value, precision = estimate.loosest(args.precision)
    say(f"threshold {value:.4f}: an estimated {precision:.1%} of the pairs are true ({args.precision:.1%} wanted)")
    return Threshold(value), {"wanted_precision": args.precision, "estimated_precision": precision}


def by_label(selected: SelectedCaptions | None, class_names: list[str]) -> dict[str, np.ndarray] | None:
    """The similarities of the captions that each label got."""
    if selected is None:
        return None
    return {name: selected.similarities[selected.labels == number] for number, name in enumerate(class_names)}


def leave_report(folder: Path, pairs: Dataset, made_by: dict, **known) -> None:
    """Draws `report.html`. The set is whole without it, so that no failure here may lose what took hours."""
    try:
        write_report(folder / "report.html", ReportData(pairs, made_by, pair_precision=pair_precision(pairs), **known))
    except Exception as error:
        say(f"no report.html: {type(error).__name__}: {error}")


def empty(what: str, found) -> InputError:
    """The error for a set that came out empty, with a threshold that would not."""
    near = found.highest - 0.05
    return InputError(
        f"no {what} reached {found.threshold:.3f}: the highest similarity seen is {found.highest:.3f}. "
        f"Try --{what}_threshold {near:.2f}, or --num_{what}s to keep the best ones whatever their cosine"
    )


def provenance(args: CurateArguments, model, class_names: list[str]) -> dict:
    """All that is needed to make the set again; what came out is added to it."""
    return {
        "strategy": args.strategy,
        "teacher": args.teacher,
        "teacher_fingerprint": fingerprint(model),
        "teacher_revision": getattr(model.config, "_commit_hash", None),
        "dtype": args.dtype,
        "prompt": PROMPT,
        "captions": args.captions,
        "audio": args.audio,
        "exclude": args.exclude,
        "labels": class_names,
        "seed": args.seed,
        "num_threads": torch.get_num_threads(),
        "version": __version__,
        "arguments": args.to_repeat(),
    }


def check_remade(args: CurateArguments, made_by: dict) -> None:
    """A set that is made again must have the same teacher and labels.

    Raises:
        InputError: it has not.
    """
    older = (read_provenance(args.remake) or {}) if args.remake else {}
    for name, what in (("teacher_fingerprint", "the teacher's weights are"), ("labels", "the labels are")):
        if name in older and older[name] != made_by[name]:
            raise InputError(f"{args.remake} can't be made again: {what} not those it was made with")


@command
def main():
    (args,) = parse_arguments((CurateArguments,), __doc__.splitlines()[0], adapt=defaults)
    settle_dtype(args)
    curate(args)


if __name__ == "__main__":
    main()
