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

from argparse import Namespace

from .. import InputError
from ..curation.arguments import METHOD, SOURCES, CurateArguments
from ..soundscapes import demo
from ..utils.arguments import read_flags
from ..utils.console import say
from .command_line import command, parse_arguments


def defaults(flags: Namespace) -> dict:
    """Of a set that is made again, its arguments; the demo's where no data is named."""
    if flags.remake:
        return arguments_of(flags.remake)
    if flags.captions or flags.audio or flags.labels:
        return {}
    settings = demo.curation(flags.strategy, flags.seed)
    for what in ("caption", "pair"):  # a cut that was typed takes the place of the demo's
        if getattr(flags, f"{what}_threshold") is not None or getattr(flags, f"{what}_quantile") is not None:
            del settings[f"num_{what}s"]
    return settings


def arguments_of(path: str) -> dict:
    """The arguments that an Improvement-Set was made with, shown: it may be somebody else's.

    Raises:
        InputError: it does not tell them, or a value that is none.
    """
    from ..curation.improvement_set import read_provenance

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


@command
def main():
    (args,) = parse_arguments((CurateArguments,), __doc__.splitlines()[0], adapt=defaults)
    from .curate_run import curate  # not before: --help and a wrong flag need not wait for it

    curate(args)


if __name__ == "__main__":
    main()
