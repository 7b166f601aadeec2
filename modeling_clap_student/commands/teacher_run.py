"""What `clap-teacher` does once its flags are read."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed

from .. import ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from ..checkpoints.initialization import ModelArguments, new_model
from ..data.benchmarks import task_clips
from ..data.collation import ClapCollator
from ..data.corpora import read_corpora
from ..data.leakage import LeakageFilter, split_validation
from ..data.skipping import report_skipped, skipped_clips
from ..data.sources import ExclusionLog, dataset_source, report_exclusions
from ..data.spectrograms import spectrogram_cache
from ..evaluation.validation import Validation
from ..soundscapes import demo
from ..training.checkpointing import refuse_used_folder, whole_checkpoints
from ..training.curves import draw_curves
from ..training.streaming import check_steps
from ..utils.arguments import make_arguments, save_arguments
from ..utils.console import Stopwatch, heading, say
from ..utils.outputs import output_folder, probe_folder, write_json
from .arguments import TEACHER, TeacherArguments
from .command_line import push_if_asked, report_data


def subset(corpus: Dataset, fraction: float, seed: int) -> Dataset:
    """A random share of the rows; smaller shares lie within larger ones of the same seed."""
    order = np.random.default_rng(seed).permutation(len(corpus))
    return corpus.select(np.sort(order[: max(1, round(fraction * len(corpus)))]))


def train_teacher(args: TeacherArguments, model_args: ModelArguments, training_args: ClapStudentTrainingArguments):
    """Reads, builds, trains, saves."""
    watch = Stopwatch()
    set_seed(training_args.seed)
    heading(f"Teacher: trained on {', '.join(args.corpus)}")
    if not args.dry_run:
        probe_folder(training_args.output_dir)
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    leakage, held_out = LeakageFilter(task_clips(args.task)), None
    corpus = read_corpora(args.corpus, exclusions=exclusions, leakage=leakage, streams=True)
    report_exclusions(exclusions)
    if isinstance(corpus, Dataset):
        if training_args.validation_fraction > 0:
            corpus, held_out = split_validation(corpus, training_args.validation_fraction)
        corpus = subset(corpus, args.subset_fraction, training_args.seed)
        say(f"{len(corpus)} pairs, {len(held_out or [])} held out for validation")
    else:
        if args.subset_fraction < 1:
            raise InputError("--subset_fraction needs a corpus that can be counted, and a stream can't")
        check_steps(training_args)
        say(f"a stream of {corpus.num_shards} shards")
    if args.dry_run:
        report_data({"training pairs": corpus, "validation": held_out})
        return
    may_write = partial(refuse_used_folder, resume=training_args.resume_from_checkpoint)
    with output_folder(training_args.output_dir, check=may_write) as folder:
        model, processor = new_model(model_args, corpus["caption"] if isinstance(corpus, Dataset) else None)
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        trainer = ClapStudentTrainer(
            model=model,
            args=training_args,
            train_dataset=corpus,
            validation=held_out and Validation(processor, held_out, skipped, training_args.pairs_in_loss),
            data_collator=ClapCollator(
                processor,
                skipped,
                leakage=leakage,
                random_gain_db=training_args.random_gain_db,
                spectrograms=spectrogram_cache(training_args.spectrogram_cache, model),
            ),
            processing_class=processor,
            record={"datasets": [dataset_source(spec) for spec in args.corpus], **starts(args, model_args)},
        )
        result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
        trainer.save_model(_internal_call=True)  # pushed once, at the end
        trainer.create_model_card()
        write_json(
            folder / "results.json",
            {
                "corpus": args.corpus,
                "subset_fraction": args.subset_fraction,
                "num_pairs": len(corpus) if isinstance(corpus, Dataset) else None,
                "num_validation": len(held_out or []),
                "excluded": exclusions.lines,
                "num_skipped": report_skipped(skipped),
                "train_loss": result.training_loss,
                "seconds": watch.seconds,
                "seed": training_args.seed,
                "num_threads": torch.get_num_threads(),
            },
        )
        save_arguments(folder, args)
        draw_curves(trainer.state.log_history, folder / "curves.png")
    say(f"teacher saved in {folder} after {watch.seconds:.0f} s")
    push_if_asked(training_args)


def starts(args: TeacherArguments, model_args: ModelArguments) -> dict:
    """For the model card: what the training started from."""
    return {
        "origin": "A teacher, trained on captioned audio with the symmetric contrastive loss.",
        "subset_fraction": args.subset_fraction,
        "text_model": model_args.text_model,
        "audio_weights": model_args.audio_weights,
    }


def make_built_in_teacher(seed: int) -> str:
    """Trains the demo's teacher if it is not there, or goes on with it; returns its folder."""
    settings = demo.teacher(seed)
    folder = Path(settings["output_dir"])
    if (folder / "results.json").exists():
        say(f"reusing the teacher in {folder}")
    else:
        say(f"no teacher in {folder}: training one on the built-in soundscapes first")
        resume = {"resume_from_checkpoint": "last"} if whole_checkpoints(folder) else {}
        train_teacher(*make_arguments(TEACHER, settings | resume))
    return str(folder)
