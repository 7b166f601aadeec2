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

import tempfile
from argparse import Namespace
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import set_seed

from modeling_clap_student import InputError, __version__
from modeling_clap_student.checkpoints import check_hub_id, fingerprint, load_checkpoint, push_folder
from modeling_clap_student.cli import (
    Stopwatch,
    heading,
    parse_arguments,
    report_data,
    report_excluded,
    report_skipped,
    run,
    say,
    skipped_clips,
)
from modeling_clap_student.curation.advisor import AUTO, estimate_precision
from modeling_clap_student.curation.improvement_set import (
    STRATEGIES,
    is_improvement_set,
    load_improvement_set,
    save_improvement_set,
)
from modeling_clap_student.curation.matching import MAX_PAIRS
from modeling_clap_student.curation.report import ReportData, write_report
from modeling_clap_student.curation.selection import PROMPT, SelectedCaptions, label_prompts, select_captions
from modeling_clap_student.curation.strategies import (
    PAPER_DU_THRESHOLD,
    PAPER_THRESHOLDS,
    match_pool,
    select_training_pairs,
    training_pairs,
)
from modeling_clap_student.curation.streamed_pairs import read_streamed_audio, save_streamed_pairs
from modeling_clap_student.curation.threshold import Threshold
from modeling_clap_student.data.benchmarks import evaluation_clips, read_labels
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.excluded import Excluded
from modeling_clap_student.data.filters import with_audio
from modeling_clap_student.data.leakage import KeptOut
from modeling_clap_student.data.origins import read_origins
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import ReadingArguments, SkippedClips
from modeling_clap_student.embedding import embed_clips, embed_stream, embed_texts
from modeling_clap_student.evaluation.pair_precision import pair_precision
from modeling_clap_student.output_folders import whole_folder
from run_teacher import built_in_folder


MATCHING = ("max_captions_per_clip", "max_clips_per_caption", "mutual_nearest", "csls_neighbours", "max_pairs")


@dataclass
class CurateArguments(ReadingArguments):
    strategy: str = field(metadata={"help": "Which pairs to make.", "choices": list(STRATEGIES)})
    teacher: str | None = field(default=None, metadata={"help": "Checkpoint folder or Hub id."})
    captions: list[str] | None = field(
        default=None,
        metadata={"help": "Captions: corpora as in run_teacher.py, or csv lists.", "action": "extend", "nargs": "+"},
    )
    audio: list[str] | None = field(
        default=None,
        metadata={"help": "The pool: NAME[:FOLDS]=PATH, a folder or a Hub id.", "action": "extend", "nargs": "+"},
    )
    exclude: list[str] | None = field(
        default=None,
        metadata={
            "help": "Corpora, or csv files with a column youtube_id, whose recordings are left out of the pool.",
            "action": "extend",
            "nargs": "+",
        },
    )
    labels: str | None = field(
        default=None, metadata={"help": "Class names: an evaluation set, a text file with a name a line, or a csv."}
    )
    task: list[str] | None = field(
        default=None,
        metadata={
            "help": "Evaluation sets, whose clips are left out of captions and pool, like those of --labels.",
            "action": "extend",
            "nargs": "+",
        },
    )
    caption_threshold: float | None = field(default=None, metadata={"help": "Keep captions of at least this cosine."})
    caption_quantile: float | None = field(default=None, metadata={"help": "Keep captions above this quantile."})
    num_captions: int | None = field(default=None, metadata={"help": "Keep this many captions."})
    pair_threshold: str | None = field(
        default=None,
        metadata={
            "help": "Keep pairs of at least this cosine; with auto, of the lowest cosine that gives --precision.",
            "aliases": ["--threshold"],
        },
    )
    precision: float = field(
        default=0.5, metadata={"help": "Share of true pairs, as estimated, that --pair_threshold auto looks for."}
    )
    pair_quantile: float | None = field(default=None, metadata={"help": "Keep pairs above this quantile."})
    num_pairs: int | None = field(default=None, metadata={"help": "Keep this many pairs."})
    max_captions_per_clip: int | None = field(
        default=None, metadata={"help": "Only pairs whose caption is among this many nearest of the clip."}
    )
    max_clips_per_caption: int | None = field(
        default=None, metadata={"help": "Only pairs whose clip is among this many nearest of the caption."}
    )
    mutual_nearest: bool = field(default=False, metadata={"help": "Only pairs of which each is the other's nearest."})
    csls_neighbours: int | None = field(
        default=None,
        metadata={
            "help": "Correct for hubs: compare 2 cos - r(clip) - r(caption), r the mean cosine to this many nearest. "
            "--pair_threshold is then on that scale."
        },
    )
    max_pairs: int = field(default=MAX_PAIRS, metadata={"help": "Stop if there are more pairs than this."})
    batch_size: int = field(default=32, metadata={"help": "Windows to embed at a time."})
    seed: int = field(default=0, metadata={"help": "Of the built-in run; curation itself draws nothing."})
    output_dir: str | None = field(default=None, metadata={"help": "Default: outputs/improvement_set_STRATEGY."})
    push_to_hub: str | None = field(
        default=None, metadata={"help": "Also upload it, with the audio inside, as this Hub dataset."}
    )
    private: bool = field(default=False, metadata={"help": "Make the new Hub dataset private."})
    dry_run: bool = field(default=False, metadata={"help": "Only read the inputs and say what is there."})

    def __post_init__(self):
        super().__post_init__()
        self.output_dir = self.output_dir or f"outputs/improvement_set_{self.strategy}"
        if self.teacher is None:
            raise ValueError("--teacher is missing: a checkpoint folder or Hub id (run_teacher.py makes one)")
        if not self.captions:
            raise ValueError("--captions is missing: a captioned corpus or a csv of captions")
        if self.strategy != "ds" and not self.audio:
            raise ValueError(f"--audio is missing: {self.strategy} matches captions with a pool of audio")
        if self.strategy != "du" and not self.labels:
            raise ValueError(f"--labels is missing: {self.strategy} selects captions near the class names")
        if self.push_to_hub:
            check_hub_id(self.push_to_hub)
        # Bad thresholds are told before anything is computed.
        if self.pair_threshold not in (None, AUTO):
            self.pair_threshold = _number(self.pair_threshold)
        _threshold(self, "caption", 0.0)
        _threshold(self, "pair", 0.0)
        _check_matching(self)
        _check_auto(self)


def defaults(flags: Namespace) -> dict:
    """The built-in corpus where no data is named; sizes that suit its teacher, whose cosines are not the paper's."""
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


def _threshold(args: CurateArguments, what: str, default: float) -> Threshold:
    value, quantile = getattr(args, f"{what}_threshold"), getattr(args, f"{what}_quantile")
    count = getattr(args, f"num_{what}s")
    if value == AUTO or (value is None and quantile is None and count is None):
        value = default
    try:
        return Threshold(value, quantile, count)
    except ValueError as error:
        raise ValueError(f"--{what}_threshold, --{what}_quantile, --num_{what}s: {error}") from error


def _check_matching(args: CurateArguments) -> None:
    limits = {name: getattr(args, name) for name in MATCHING if name != "mutual_nearest"}
    for name, value in limits.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if args.strategy == "ds" and matching_options(args):
        raise ValueError(f"--{next(iter(matching_options(args)))} is for pairs of du and ads: ds matches nothing")
    if args.mutual_nearest and (args.max_captions_per_clip or args.max_clips_per_caption):
        raise ValueError("--mutual_nearest means at most one caption a clip and one clip a caption: give it alone")
    if args.csls_neighbours and (args.pair_threshold, args.pair_quantile, args.num_pairs) == (None, None, None):
        raise ValueError("--csls_neighbours changes the scale: say --pair_threshold, --pair_quantile or --num_pairs")


def _number(value: str | float) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--pair_threshold must be a cosine or {AUTO}, got {value!r}") from None


def _check_auto(args: CurateArguments) -> None:
    if not 0 < args.precision <= 1:
        raise ValueError(f"--precision must lie in (0, 1], got {args.precision}")
    if args.pair_threshold != AUTO:
        return
    if args.strategy != "ads":
        raise ValueError(f"--pair_threshold {AUTO} is for ads: class names tell which pairs would be true")
    if matching_options(args):
        option = next(iter(matching_options(args)))
        raise ValueError(f"--pair_threshold {AUTO} estimates the precision of all pairs: give it without --{option}")


def matching_options(args: CurateArguments) -> dict:
    """What restricts the pairs, of `match`; without what was not asked for, as in the paper."""
    return {name: getattr(args, name) for name in MATCHING if getattr(args, name) and name != "max_pairs"}


def read_inputs(
    args: CurateArguments, evaluated: list[Dataset], kept_out: KeptOut
) -> tuple[Dataset, Dataset, Dataset | IterableDataset | None, list[str], str | None]:
    """The captioned rows, their captions each once, the pool, the class names and the label set's layout."""
    excluded = Excluded()
    corpus = read_corpora(args.captions, args.strategy == "ds", excluded, KeptOut(evaluated))
    _, first = np.unique(corpus["caption_id"], return_index=True)
    captions = corpus.select(np.sort(first)).select_columns(["caption", "caption_id"])
    pool = None if args.strategy == "ds" else read_pools(args.audio, excluded, kept_out)
    report_excluded(excluded)
    class_names, layout = ([], None) if args.strategy == "du" else read_labels(args.labels)
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
    specs = [*(args.task or []), *([args.labels] if args.labels else [])]
    return [clips for clips in map(evaluation_clips, dict.fromkeys(specs)) if clips is not None]


def curate(args: CurateArguments) -> None:
    """Reads, embeds, selects, matches, saves."""
    watch = Stopwatch()
    set_seed(args.seed)
    heading(f"Curation: {args.strategy} with {args.teacher}")
    evaluated = evaluation_sets(args)
    kept_out = KeptOut(evaluated, read_origins(args.exclude or []))
    corpus, captions, pool, class_names, layout = read_inputs(args, evaluated, kept_out)
    if args.dry_run:
        heard = with_audio(corpus, "the replay set", Excluded())
        report_data({"captions": captions, "captioned clips": heard, "pool": pool})
        return
    caption_cut, pair_cut = PAPER_THRESHOLDS.get(layout, (0.7, 0.7))
    model, processor = load_checkpoint(args.teacher)
    model.to(PartialState().device)
    with whole_folder(args.output_dir, replaces=is_improvement_set) as folder:
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        caption_embeds = embed_texts(model, processor, captions["caption"], description="embedding captions")
        facts = {}
        selected = None
        if args.strategy != "du":
            labels = embed_texts(model, processor, label_prompts(class_names))
            selected = select_captions(caption_embeds, labels, _threshold(args, "caption", caption_cut))
            say(f"{len(selected.indices)} captions lie at {selected.threshold:.3f} or nearer to a label")
            if len(selected.indices) == 0:
                raise empty(args, "caption", selected)
            facts |= {"caption_threshold": selected.threshold, "num_captions": len(selected.indices)}

        if args.strategy == "ds":
            pairs = select_training_pairs(corpus, captions, selected, class_names)
            pairs = with_similarity(pairs, captions, caption_embeds, model, processor, skipped, args.batch_size)
            replay = None
        else:
            clip_embeds, clips = embed_pool(model, processor, pool, skipped, args.batch_size, kept_out)
            threshold = _threshold(args, "pair", PAPER_DU_THRESHOLD if args.strategy == "du" else pair_cut)
            options = matching_options(args)
            if args.pair_threshold == AUTO:
                threshold, precisions = advised(args, model, clip_embeds, caption_embeds, selected)
                facts |= precisions
            found = match_pool(
                *(clips, clip_embeds, captions, caption_embeds, threshold, selected, class_names),
                max_pairs=args.max_pairs,
                **options,
            )
            if len(found.pairs) == 0:
                raise empty(args, "pair", found)
            pairs = found.pairs
            facts |= {"pair_threshold": found.threshold, "highest_similarity": found.highest, **options}
            replay = replay_set(args.strategy, corpus, captions, selected, class_names)
        facts |= {
            "num_pairs": len(pairs),
            "num_clips": len(set(pairs["audio_id"])),
            "num_replay": 0 if replay is None else len(replay),
            "num_skipped": report_skipped(skipped, Path(args.output_dir)),
        }
        streamed = isinstance(pool, IterableDataset)
        if streamed:
            save_streamed_pairs(folder, pairs, clips, pool)
        if PartialState().is_main_process:
            made_by = provenance(args, model, class_names, facts)
            save_improvement_set(folder, None if streamed else pairs, replay, made_by, args.output_dir)
            leave_report(
                folder,
                pairs,
                made_by,
                selected=by_label(selected, class_names),
                num_pool_clips=None if pool is None else len(clips),
                num_captions=len(captions),
                audio_of=partial(read_streamed_audio, folder, pairs) if streamed else None,
            )
    say(
        f"{facts['num_pairs']} pairs of {facts['num_clips']} clips saved in {args.output_dir} "
        f"after {watch.seconds:.0f} s; look and listen in report.html there"
    )
    if args.push_to_hub and PartialState().is_main_process:
        pairs = load_improvement_set(args.output_dir)[0] if streamed else pairs
        with tempfile.TemporaryDirectory() as folder:
            save_improvement_set(Path(folder), pairs, replay, made_by, args.push_to_hub, with_audio=True)
            say(f"pushed to {push_folder(folder, args.push_to_hub, args.private, repo_type='dataset')}")


def embed_pool(
    model,
    processor,
    pool: Dataset | IterableDataset,
    skipped: SkippedClips,
    batch_size: int,
    kept_out: KeptOut,
) -> tuple[np.ndarray, Dataset]:
    """The embeddings of the clips that can be read, and a table of these clips; of a stream it has no audio."""
    if isinstance(pool, Dataset):
        embeds, rows = embed_clips(model, processor, pool, skipped, batch_size, "embedding the pool")
        return embeds, pool.select(rows)
    excluded = Excluded()
    embeds, clips = embed_stream(model, processor, pool, skipped, batch_size, kept_out, excluded)
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


def with_similarity(pairs, captions, caption_embeds, model, processor, skipped, batch_size) -> Dataset:
    """Training pairs with the teacher's cosine between clip and caption; clips that can't be read are left out."""
    clip_embeds, rows = embed_clips(model, processor, pairs, skipped, batch_size, "embedding the chosen clips")
    pairs = pairs.select(rows)
    row_of = {key: row for row, key in enumerate(captions["caption_id"])}
    texts = caption_embeds[[row_of[key] for key in pairs["caption_id"]]]
    similarity, columns = (clip_embeds * texts).sum(axis=1), pairs.column_names
    return pairs.remove_columns("similarity").add_column("similarity", similarity).select_columns(columns)


def advised(
    args: CurateArguments, model, clip_embeds: np.ndarray, caption_embeds: np.ndarray, selected: SelectedCaptions
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


def empty(args: CurateArguments, what: str, found) -> InputError:
    """The error for a set that came out empty, with a threshold that would not."""
    near = found.highest - 0.05
    return InputError(
        f"no {what} reached {found.threshold:.3f}: the highest similarity seen is {found.highest:.3f}. "
        f"Try --{what}_threshold {near:.2f}, or --num_{what}s to keep the best ones whatever their cosine"
    )


def provenance(args: CurateArguments, model, class_names: list[str], facts: dict) -> dict:
    """All that is needed to make the set again, and what came out."""
    return {
        "strategy": args.strategy,
        "teacher": args.teacher,
        "teacher_fingerprint": fingerprint(model),
        "teacher_revision": getattr(model.config, "_commit_hash", None),
        "prompt": PROMPT,
        "captions": args.captions,
        "audio": args.audio,
        "exclude": args.exclude,
        "labels": class_names,
        "seed": args.seed,
        "version": __version__,
        **facts,
    }


def main():
    (args,) = parse_arguments((CurateArguments,), __doc__.splitlines()[0], adapt=defaults)
    curate(args)


if __name__ == "__main__":
    run(main)
