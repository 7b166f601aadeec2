"""Teaches a model the order of sounds: TeminAL's stages A (one sound or two) and B (before, after, while).

One process:        python run_temporal.py --stage b --model outputs/teacher --clips esc50:1,2,3=/data/ESC-50 \
                        --validation_clips esc50:4=/data/ESC-50 --output_dir outputs/temporal
Several GPUs:       accelerate launch --num_processes 2 run_temporal.py --stage b …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_temporal.py --stage b …

`--stage ab` runs A and then B from A's best weights. With nothing but --stage it takes the built-in soundscapes and
their teacher, which is made first when it is not there. `run_eval.py --task zste=…` tells what was learnt.
"""

from argparse import Namespace

from .. import InputError
from ..soundscapes import demo
from ..temporal.arguments import TemporalTrainingArguments
from .arguments import TemporalArguments
from .command_line import command, parse_arguments


def defaults(flags: Namespace) -> dict:
    """The built-in clips and their teacher where nothing is named, and a schedule that suits two CPU cores."""
    if flags.model or flags.clips:
        return {"output_dir": f"outputs/temporal_{flags.stage}"}
    return demo.temporal(flags.stage, flags.seed)


@command
def main():
    types = (TemporalArguments, TemporalTrainingArguments)
    args, training_args = parse_arguments(types, __doc__.splitlines()[0], adapt=defaults)
    if args.model is None or args.clips is None:
        raise InputError(f"--{'model' if args.model is None else 'clips'} is missing: give both, or neither")
    from . import temporal_run  # not before: --help and a wrong flag need not wait for it
    from .teacher_run import make_built_in_teacher

    if args.model == demo.teacher(training_args.seed)["output_dir"] and not args.dry_run:
        make_built_in_teacher(training_args.seed)
    train = temporal_run.train_both if args.stage == "ab" else temporal_run.train_stage
    if results := train(args, training_args):
        temporal_run.print_results(results)


if __name__ == "__main__":
    main()
