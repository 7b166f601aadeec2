"""Trains a student on an Improvement-Set, with the teacher's soft labels and replay.

One process:        accelerate launch run_student.py --strategy ads --teacher outputs/teacher \
                        --improvement_set outputs/improvement_set_ads --task esc50=/data/ESC-50
Several GPUs:       accelerate launch --num_processes 2 run_student.py --strategy ads …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_student.py --strategy ads …

With nothing but --strategy it runs the whole chain on the built-in soundscapes: teacher, curation, student, scores.
`--strategy none` trains on the teacher's own corpus with soft labels alone (the paper's SL row).
"""

from argparse import Namespace

from .. import ClapStudentTrainingArguments
from ..checkpoints.arguments import ModelArguments
from ..soundscapes import demo
from .arguments import StudentArguments
from .command_line import command, parse_arguments


def is_built_in(flags: Namespace | StudentArguments) -> bool:
    return not (flags.teacher or flags.improvement_set or flags.replay)


def defaults(flags: Namespace) -> dict:
    """The demo's, where nothing but the strategy is named."""
    if not is_built_in(flags):
        return {"output_dir": f"outputs/student_{flags.strategy}"}
    return demo.student(flags.strategy, flags.seed, flags.init)


@command
def main():
    types = (StudentArguments, ModelArguments, ClapStudentTrainingArguments)
    args, model_args, training_args = parse_arguments(types, __doc__.splitlines()[0], adapt=defaults)
    from . import student_run  # not before: --help and a wrong flag need not wait for it

    if is_built_in(args):
        if args.dry_run:
            student_run.report_built_in()
            return
        student_run.make_what_is_missing(args, training_args.seed)
    if results := student_run.train_student(args, model_args, training_args):
        student_run.print_results(results)


if __name__ == "__main__":
    main()
