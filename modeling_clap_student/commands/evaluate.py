"""Evaluates models: zero-shot classification of labelled clips, retrieval between clips and captions, order of sounds.

One process:        python run_eval.py --model outputs/student --baseline outputs/teacher --task esc50=/data/ESC-50
Several GPUs:       accelerate launch --num_processes 2 run_eval.py --model outputs/student --task esc50=/data/ESC-50
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_eval.py --model outputs/student --task esc50=/data/ESC-50 clotho=/data/Clotho
"""

from accelerate import PartialState

from ..utils.precision import settle_dtype
from .arguments import EvalArguments
from .command_line import command, parse_arguments


@command
def main():
    (args,) = parse_arguments((EvalArguments,), __doc__.splitlines()[0])
    from .evaluate_run import evaluate  # not before: --help and a wrong flag need not wait for it

    settle_dtype(args, PartialState().device.type)
    evaluate(args)


if __name__ == "__main__":
    main()
