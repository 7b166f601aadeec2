r"""Trains a teacher: CLAP (CNN14 and BERT) on captioned audio, with the symmetric contrastive loss.

One process:        python run_teacher.py --corpus my_clips/ --output_dir outputs/teacher
Several GPUs:       accelerate launch --num_processes 2 run_teacher.py --corpus my_clips/ --output_dir outputs/teacher
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_teacher.py --corpus my_clips/ --output_dir outputs/teacher

Without --corpus it trains a small teacher on the built-in soundscapes.
"""

from argparse import Namespace
from pathlib import Path

from ..checkpoints.arguments import ModelArguments
from ..soundscapes import demo
from ..training.arguments import ClapStudentTrainingArguments, TeacherArguments
from ..utils.arguments import make_arguments
from ..utils.console import say
from .command_line import command, parse_arguments, report_data


_TYPES = (TeacherArguments, ModelArguments, ClapStudentTrainingArguments)


def defaults(flags: Namespace) -> dict:
    """The demo's defaults, if a new model learns from the built-in corpus only."""
    if flags.corpus not in (None, [demo.NAME]) or flags.init != "fresh":
        return {"output_dir": "outputs/teacher"}
    return demo.teacher(flags.seed)


@command
def main():
    train_teacher(*parse_arguments(_TYPES, __doc__, adapt=defaults))


def train_teacher(args: TeacherArguments, model_args: ModelArguments, training_args: ClapStudentTrainingArguments):
    """Trains a checkpoint on captioned audio."""
    # Imported late, as in all commands, so that --help and errors in flags are fast.
    from transformers import set_seed

    from ..checkpoints.initialization import start_model
    from ..data.benchmarks import task_clips
    from ..data.leakage import LeakageFilter, evaluation_sounds
    from ..data.sources import ExclusionLog, dataset_source, report_exclusions
    from ..evaluation.validation import Validation
    from ..training.hearing import make_collator
    from ..training.run import TrainingRun
    from ..training.sources import read_teacher_data
    from ..training.trainer import ClapStudentTrainer

    training_args.check_start(args.init)
    set_seed(training_args.seed)
    run = TrainingRun(f"Teacher: learns from {', '.join(args.corpus)}", args, training_args)
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    tasks = task_clips(args.task)
    leakage = LeakageFilter(tasks, sounds=evaluation_sounds(args, tasks))
    data = read_teacher_data(args, training_args, leakage, exclusions)
    if data.is_streamed:
        leakage.listen_to_streams()
    report_exclusions(exclusions)
    say(str(data))
    if args.dry_run:
        report_data(data.tables)
        return
    with run.folder() as skipped:
        model, processor = start_model(args.init, model_args, data.captions)
        held_out, batch = data.validation, training_args.pairs_in_loss
        trainer = ClapStudentTrainer(
            model,
            training_args,
            data.pairs,
            validation=held_out and Validation(processor, held_out, skipped, batch),
            data_collator=make_collator(model, processor, training_args, skipped=skipped, leakage=leakage),
            processing_class=processor,
            record={
                "origin": "A teacher, trained on captioned audio with the symmetric contrastive loss.",
                "datasets": [dataset_source(spec) for spec in args.corpus],
                "subset_fraction": args.subset_fraction,
                "init": args.init,
                "text_model": model_args.text_model,
                "audio_weights": model_args.audio_weights,
            },
        )
        loss = run.train(trainer)
        results = {
            "corpus": args.corpus,
            "subset_fraction": args.subset_fraction,
            "num_pairs": trainer.num_curated,
            "num_validation": len(held_out or []),
            "excluded": exclusions.lines,
            "train_loss": loss,
        }
        run.finish(trainer, skipped, results)
    run.publish("teacher")


def make_built_in_teacher(seed: int) -> str:
    """Trains the demo's teacher if it does not exist, or continues its training. Returns its folder."""
    from ..training.checkpointing import whole_checkpoints

    settings = demo.teacher(seed)
    folder = Path(settings["output_dir"])
    if (folder / "results.json").exists():
        say(f"reusing the teacher in {folder}")
    else:
        resume = {"resume_from_checkpoint": "last"} if whole_checkpoints(folder) else {}
        train_teacher(*make_arguments(_TYPES, settings | resume))
    return str(folder)


if __name__ == "__main__":
    main()
