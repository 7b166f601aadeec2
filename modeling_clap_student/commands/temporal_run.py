"""What `clap-temporal` does once its flags are read."""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset, concatenate_datasets
from transformers import set_seed

from .. import ClapStudentModel, InputError
from ..checkpoints.loading import load_checkpoint
from ..data.benchmarks import Benchmark, read_benchmark, task_clips
from ..data.leakage import LeakageFilter, split_validation
from ..data.skipping import report_skipped, skipped_clips
from ..data.sources import ExclusionLog, dataset_source, report_exclusions
from ..evaluation.validation import TemporalValidation
from ..processing_clap_student import label_text
from ..temporal.arguments import TemporalTrainingArguments
from ..temporal.collation import SceneCollator, SceneKinds
from ..temporal.scenes import Deck, SceneRenderer
from ..temporal.trainer import TemporalTrainer, order_aware
from ..training.checkpointing import refuse_other_flags, refuse_used_folder, whole_checkpoints
from ..training.curves import draw_curves
from ..utils.arguments import save_arguments
from ..utils.console import Stopwatch, heading, print_table, say
from ..utils.outputs import output_folder, probe_folder, write_json
from .arguments import TemporalArguments
from .command_line import push_if_asked, report_data


_COLUMNS = ["audio", "audio_id", "source", "origin_id", "label"]


def read_clips(args: TemporalArguments) -> tuple[Dataset, Dataset]:
    """Labelled clips to train on and to validate on; neither are those of the evaluation sets."""
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    leakage = LeakageFilter(task_clips(args.task))
    if args.validation_clips:
        validation = read_benchmark(args.validation_clips, exclusions).clips
        validation = leakage.drop_from(validation, args.validation_clips, exclusions)
        leakage = LeakageFilter([*task_clips(args.task), validation])
    tables = [leakage.drop_from(read_benchmark(spec, exclusions).clips, spec, exclusions) for spec in args.clips]
    clips = concatenate_datasets([table.select_columns(_COLUMNS) for table in tables])
    if len(clips) == 0:
        raise InputError(f"{place_of(args, 'training')} holds no clips: all of them are in an evaluation set")
    if not args.validation_clips:
        try:
            clips, validation = split_validation(clips, 0.1)
        except InputError as error:
            raise InputError(
                f"{place_of(args, 'training')} is too small to hold out {place_of(args, 'validation')}"
            ) from error
    report_exclusions(exclusions)
    unknown = {label_text(name) for name in args.held_out_classes} - set(clips["label"])
    if unknown:
        raise InputError(f"--held_out_classes {sorted(unknown)[0]!r} is no class of {', '.join(args.clips)}")
    return clips, validation


def place_of(args: TemporalArguments, use: str) -> str:
    """What the clips to train or to validate on are, for errors: the flag that others are named with."""
    kept = " without the clips of --task" if args.task else ""
    if use == "training":
        return f"--clips {' '.join(args.clips)}{kept}"
    if args.validation_clips:
        return f"--validation_clips {args.validation_clips}{kept}"
    return (
        f"the tenth of {' '.join(args.clips)}{kept} that is held out to validate on (name clips for that with "
        "--validation_clips)"
    )


def read_model(args: TemporalArguments, training_args: TemporalTrainingArguments) -> tuple:
    """The model to train, its processor, and the model before, whose single sounds are kept."""
    start, processor = load_checkpoint(args.model)
    if not isinstance(start, ClapStudentModel):
        raise InputError(
            f"{args.model} is a {start.config.model_type!r} checkpoint: post-training needs one of this package"
        )
    pooling = "mean_max" if training_args.frozen_pooling else "attention"
    model = order_aware(start, processor, pooling)
    model.config._name_or_path, model.config._commit_hash = args.model, start.config._commit_hash
    base = start if args.base is None else load_checkpoint(args.base)[0]
    if not isinstance(base, ClapStudentModel) or _senses(base) != _senses(start):
        raise InputError(f"--base {args.base} hears or reads otherwise than {args.model}: it must be of its kind")
    return model, model.processor, base


def _senses(model: ClapStudentModel) -> tuple:
    """What two models must share to take the same inputs to one space."""
    config = model.config
    return config.audio_config.sampling_rate, config.text_config.vocab_size, config.projection_dim


def train_stage(args: TemporalArguments, training_args: TemporalTrainingArguments) -> dict:
    """Reads, trains one stage, evaluates, saves; returns the results."""
    watch = Stopwatch()
    heading(f"Temporal post-training, stage {args.stage}: {args.model}")
    if not args.dry_run:
        probe_folder(training_args.output_dir)
    clips, held_out = read_clips(args)
    known = {"without": args.held_out_classes}
    deck = Deck(clips, training_args.seed, pairs="seen", place=place_of(args, "training"), **known)
    validation_deck = Deck(held_out, training_args.seed + 1, place=place_of(args, "validation"), **known)
    say(f"{len(clips)} clips of {len(deck.class_names)} classes to train on, {len(held_out)} to validate on")
    if args.dry_run:
        report_data({"clips": clips, "validation": held_out})
        return {}
    if args.stage == "a" and training_args.metric_for_best_model == "selection":
        training_args.metric_for_best_model = "accuracy_1a"  # there is no order yet
    may_write = partial(refuse_used_folder, resume=training_args.resume_from_checkpoint)
    with output_folder(training_args.output_dir, check=may_write) as folder:
        set_seed(training_args.seed)
        model, processor, base = read_model(args, training_args)
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        rate = processor.feature_extractor.sampling_rate
        keeps = training_args.retention_weight > 0
        kinds = SceneKinds(args.stage, args.overlays, args.doubles, args.paraphrase_from, args.prompted, keeps)
        validation = TemporalValidation(
            processor,
            Benchmark("validation", "", held_out, sorted(set(held_out["label"]))),
            validation_deck.scenes(training_args.validation_scenes),
            SceneRenderer(held_out, rate, skipped, args.construction),
            skipped,
            kinds.orders,
        )
        trainer = TemporalTrainer(
            model=model,
            args=training_args,
            base=base,
            validation=validation,
            data_collator=SceneCollator(
                deck, SceneRenderer(clips, rate, skipped, args.construction), processor.tokenizer, kinds
            ),
            processing_class=processor,
            record=record(args, kinds, model),
        )
        before = validation(model)
        trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
        after = validation(model)
        trainer.save_model(_internal_call=True)  # pushed once, at the end
        trainer.create_model_card()
        results = {
            "stage": args.stage,
            "before": before,
            "after": after,
            "steps": training_args.max_steps,
            "num_clips": len(clips),
            "num_validation": len(held_out),
            "num_skipped": report_skipped(skipped),
            "seconds": watch.seconds,
            "seed": training_args.seed,
            "num_threads": torch.get_num_threads(),
        }
        save_arguments(folder, args)
        write_json(folder / "results.json", results)
        draw_curves(trainer.state.log_history, folder / "curves.png")
    say(f"saved in {training_args.output_dir} after {watch.seconds:.0f} s")
    push_if_asked(training_args)
    return results


def record(args: TemporalArguments, kinds: SceneKinds, model: ClapStudentModel) -> dict:
    """For the model card: how the model was post-trained, and what it was before."""
    return {
        "origin": f"Post-trained on the order of sounds (TeminAL, stage {args.stage}).",
        "stage": args.stage,
        "datasets": [dataset_source(spec) for spec in args.clips],
        "connectives": kinds.connectives,
        "construction": args.construction,
        "doubles": args.doubles,
        "held_out_classes": args.held_out_classes,
        "before": getattr(model.config, "record", None),
    }


def train_both(args: TemporalArguments, training_args: TemporalTrainingArguments) -> dict:
    """Both stages, in a folder that no other run writes meanwhile."""
    if args.dry_run:
        return train_in_turn(args, training_args)
    resume = training_args.resume_from_checkpoint if whole_checkpoints(training_args.output_dir) else None
    may_write = partial(refuse_used_folder, resume=resume)  # before stage A, not after
    with output_folder(training_args.output_dir, check=may_write):
        return train_in_turn(args, training_args)


def train_in_turn(args: TemporalArguments, training_args: TemporalTrainingArguments) -> dict:
    """Stage A, and stage B from its best weights; A's checkpoint lies in the folder of B's, `stage_a`."""
    first = Path(training_args.output_dir) / "stage_a"
    base, start = args.base or args.model, args.model
    results = {}
    for stage, name, folder in (("a", start, first), ("b", str(first), first.parent)):
        of_stage = replace(args, stage=stage, model=name, base=base)
        of_stage.flags = args.flags | {"stage": stage, "model": name, "base": base, "output_dir": str(folder)}
        if stage == "a" and (first / "results.json").exists():
            refuse_other_flags(first, of_stage.flags)
            say(f"reusing stage A in {first}")
            continue
        settings = copy.deepcopy(training_args)
        settings.output_dir = str(folder)
        settings.push_to_hub = settings.push_to_hub and stage == "b"
        if not whole_checkpoints(folder):
            settings.resume_from_checkpoint = None
        results = train_stage(of_stage, settings)
    return results


def print_results(results: dict) -> None:
    rows = [[name, *(f"{results[when][name]:.1%}" for when in ("before", "after"))] for name in results["after"]]
    print_table("Validation", ["score", "before", "after"], rows)
