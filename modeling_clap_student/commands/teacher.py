"""Trains a teacher: CLAP (CNN14 and BERT) on captioned audio, with the symmetric contrastive loss.

One process:        python run_teacher.py --corpus my_clips/ --output_dir outputs/teacher
Several GPUs:       accelerate launch --num_processes 2 run_teacher.py --corpus my_clips/ --output_dir outputs/teacher
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_teacher.py --corpus my_clips/ --output_dir outputs/teacher

Without --corpus it trains a small teacher on the built-in soundscapes.
"""

from argparse import Namespace

from ..soundscapes import demo
from .arguments import TEACHER
from .command_line import command, parse_arguments


def defaults(flags: Namespace) -> dict:
    """The demo's, where the corpus is the built-in one alone."""
    if flags.corpus not in (None, [demo.NAME]):
        return {"output_dir": "outputs/teacher"}
    return demo.teacher(flags.seed)


@command
def main():
    parsed = parse_arguments(TEACHER, __doc__.splitlines()[0], adapt=defaults)
    from .teacher_run import train_teacher  # not before: --help and a wrong flag need not wait for it

    train_teacher(*parsed)


if __name__ == "__main__":
    main()
