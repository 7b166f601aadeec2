r"""Teaches a model the order of sounds: TeminAL's stages A (one sound or two) and B (before, after, while).

One process:        python run_temporal.py --stage b --model outputs/teacher --clips esc50:1,2,3=/data/ESC-50 \
                        --validation_clips esc50:4=/data/ESC-50 --output_dir outputs/temporal
Several GPUs:       accelerate launch --num_processes 2 run_temporal.py --stage b …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_temporal.py --stage b …

`--stage ab` runs A, and then B from A's best weights. With nothing but --stage it uses the built-in soundscapes and
their teacher, and first makes the teacher if it does not exist. `run_eval.py --task zste=…` measures what was learnt.
"""

import copy
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..soundscapes import demo
from ..temporal.arguments import TemporalArguments, TemporalTrainingArguments
from ..utils.console import print_table, say
from .command_line import command, parse_arguments, report_data


_TYPES = (TemporalArguments, TemporalTrainingArguments)


def defaults(flags: Namespace) -> dict:
    """The built-in clips and teacher if nothing is named, with a schedule for two CPU cores."""
    if flags.model or flags.clips:
        return {"output_dir": f"outputs/temporal_{flags.stage}"}
    return demo.temporal(flags.stage, flags.seed)


@command
def main():
    args, training_args = parse_arguments(_TYPES, __doc__, adapt=defaults)
    if args.model is None or args.clips is None:
        raise InputError(f"--{'model' if args.model is None else 'clips'} is missing: give both, or neither")
    if args.model == demo.teacher(training_args.seed)["output_dir"] and not args.dry_run:
        from .teacher import make_built_in_teacher

        make_built_in_teacher(training_args.seed)
    train = train_both if args.stage == "ab" else train_stage
    if results := train(args, training_args):
        print_results(results)


def train_stage(args: TemporalArguments, training_args: TemporalTrainingArguments) -> dict:
    """Trains a model on one stage's scenes of labelled clips. Returns the results."""
    from transformers import set_seed

    from ..data.benchmarks import Benchmark
    from ..evaluation.validation import TemporalValidation
    from ..temporal.collation import SceneCollator, SceneKinds
    from ..temporal.scenes import Deck, SceneRenderer
    from ..temporal.sources import check_three_sounds, place_of, read_clips, read_model
    from ..temporal.trainer import TemporalTrainer
    from ..temporal.vocabulary import add_words
    from ..temporal.words import teach_words
    from ..training.run import TrainingRun

    run = TrainingRun(f"Temporal post-training, stage {args.stage}: {args.model}", args, training_args)
    clips, held_out = read_clips(args)
    unheard = {"without": args.held_out_classes}
    deck = Deck(clips, training_args.seed, pairs="seen", place=place_of(args, "training"), **unheard)
    validation_deck = Deck(held_out, training_args.seed + 1, place=place_of(args, "validation"), **unheard)
    say(f"{len(clips)} clips of {len(deck.class_names)} classes to train on, {len(held_out)} to validate on")
    if args.dry_run:
        report_data({"clips": clips, "validation": held_out})
        return {}
    if args.stage == "a" and training_args.metric_for_best_model == "selection":
        training_args.metric_for_best_model = "accuracy_1a"  # stage A knows no order yet
    with run.folder() as skipped:
        set_seed(training_args.seed)
        model, processor, base = read_model(args, training_args)
        rate = processor.feature_extractor.sampling_rate
        retains = training_args.retention_weight > 0
        kinds = SceneKinds(args.stage, args.overlays, args.doubles, retains, args.max_sounds)
        narrator = narrator_of(args)
        can_learn = model.poolings and not training_args.frozen_pooling
        if can_learn and args.stage != "a" and not training_args.freeze_text_encoder:
            add_words(model, narrator.phrases, training_args.seed)
        if args.max_sounds > 2:
            check_three_sounds(args, deck, model, processor, narrator)
        validation = TemporalValidation(
            processor,
            Benchmark("validation", "", held_out, sorted(set(held_out["label"]))),
            validation_deck.scenes(training_args.validation_scenes),
            SceneRenderer(held_out, rate, skipped, args.construction),
            skipped,
            narrator.orders,
        )
        renderer = SceneRenderer(clips, rate, skipped, args.construction)
        collator = SceneCollator(deck, renderer, processor.tokenizer, kinds, narrator)
        trainer = TemporalTrainer(
            model=model,
            args=training_args,
            base=base,
            validation=validation,
            data_collator=collator,
            processing_class=processor,
            record=record(args, narrator, deck.class_names, model),
        )
        before = validation(model)
        if args.word_steps and can_learn and args.stage != "a" and not resumes(training_args):
            teach_words(
                model,
                processor.tokenizer,
                narrator,
                lambda number: collator.ways(deck.scene(number)),
                deck.class_names,
                args.word_steps,
                training_args.learning_rate,
                training_args.seed,
                trainer.read,
                progress=not training_args.disable_tqdm,
            )
        run.train(trainer)
        results = {
            "stage": args.stage,
            "before": before,
            "after": validation(model),
            "steps": training_args.max_steps,
            "num_clips": len(clips),
            "num_validation": len(held_out),
        }
        results = run.finish(trainer, skipped, results)
    run.publish("model")
    return results


def resumes(training_args: TemporalTrainingArguments) -> bool:
    """Whether the run continues from a checkpoint, which already knows the words."""
    from ..training.checkpointing import whole_checkpoints

    return bool(training_args.resume_from_checkpoint and whole_checkpoints(training_args.output_dir))


def narrator_of(args: TemporalArguments):
    from ..temporal.narration import Narrator

    shares = args.position_captions, args.name_captions
    return Narrator(args.hold_out_connectives, args.paraphrase_from, args.prompted, *shares)


def record(args: TemporalArguments, narrator, class_names: list[str], model) -> dict:
    """For the model card: how the model was post-trained, and what it was before."""
    from ..data.sources import dataset_source

    return {
        "origin": f"Post-trained on the order of sounds (TeminAL, stage {args.stage}).",
        "stage": args.stage,
        "datasets": [dataset_source(spec) for spec in args.clips],
        "connectives": [] if args.stage == "a" else narrator.connectives(args.overlays),
        "hold_out_connectives": args.hold_out_connectives,
        "class_names": class_names,
        "max_sounds": args.max_sounds,
        "construction": args.construction,
        "doubles": args.doubles,
        "held_out_classes": args.held_out_classes,
        "before": getattr(model.config, "record", None),
    }


def train_both(args: TemporalArguments, training_args: TemporalTrainingArguments) -> dict:
    """Runs both stages, in a folder that no other run may write meanwhile."""
    from ..training.checkpointing import refuse_used_folder, whole_checkpoints
    from ..utils.outputs import output_folder

    if args.dry_run:
        return train_in_turn(args, training_args)
    resume = training_args.resume_from_checkpoint if whole_checkpoints(training_args.output_dir) else None
    may_write = partial(refuse_used_folder, resume=resume)  # checked before stage A, not after
    with output_folder(training_args.output_dir, check=may_write):
        return train_in_turn(args, training_args)


def train_in_turn(args: TemporalArguments, training_args: TemporalTrainingArguments) -> dict:
    """Stage A, then stage B from its best weights. A's checkpoint is in B's folder, under `stage_a`."""
    from ..training.checkpointing import refuse_other_flags, whole_checkpoints

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


if __name__ == "__main__":
    main()
