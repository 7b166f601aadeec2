r"""Curates an Improvement-Set: a teacher pairs captions with unlabelled audio.

One process:        python curate.py --strategy ads --teacher outputs/teacher --captions my_captions/ \
                        --audio my_pool/ --labels my_labels.txt --output_dir outputs/improvement_set
Several GPUs:       accelerate launch --num_processes 2 curate.py --strategy ads …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        curate.py --strategy ads …

du:  every clip of the pool with every training caption that is similar enough.
ds:  the training pairs whose caption is near the prompt of one of the labels.
ads: the captions chosen as in ds, with every clip of the pool that is similar enough.

Listen and judge:   python curate.py review outputs/improvement_set
"""

import shutil
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from accelerate import PartialState

from ..curation.arguments import METHOD, SOURCES, CurateArguments
from ..errors import InputError
from ..soundscapes import demo
from ..utils.arguments import read_flags, save_arguments
from ..utils.console import Stopwatch, heading, in_words, say
from ..utils.outputs import check_new_folder, whole_folder
from . import review
from .command_line import command, parse_arguments, report_data


def defaults(flags: Namespace) -> dict:
    """The arguments of a set that is made again, or those of the demo if no data is named."""
    if flags.remake:
        if flags.trust_remote_code and not flags.teacher:
            raise InputError("--trust_remote_code lets the code of a --teacher that you name run: name it")
        return arguments_of(flags.remake)
    if flags.captions or flags.audio or flags.labels:
        return {}
    settings = demo.curation(flags.strategy, flags.seed)
    for kind in ("caption", "pair"):  # a typed cut replaces the demo's
        if getattr(flags, f"{kind}_threshold") is not None or getattr(flags, f"{kind}_quantile") is not None:
            del settings[f"num_{kind}s"]
    return settings


def arguments_of(path: str) -> dict:
    """The arguments that an Improvement-Set was made with. They are printed, because it may be somebody else's.

    Raises:
        InputError: the set does not have them, or has an invalid value.
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
        say(f"{path}: ignored, because they do not describe the method: {', '.join(passed_over)}")
    return read_flags(method, (CurateArguments,), f"{path}/provenance.json")


@command
def main():
    if sys.argv[1:2] == ["review"]:
        return review.main()
    (args,) = parse_arguments((CurateArguments,), __doc__, adapt=defaults)
    make_improvement_set(args)


def make_improvement_set(args: CurateArguments) -> None:
    """Makes pairs from a teacher, captions and a pool, in a folder that appears completely or not at all."""
    from transformers import set_seed

    from ..checkpoints.loading import load_checkpoint
    from ..curation.curate import SCRATCH, run_curation
    from ..curation.improvement_set import is_improvement_set
    from ..curation.inputs import read_inputs
    from ..data.filters import with_audio
    from ..data.skipping import skipped_clips
    from ..data.sources import ExclusionLog

    watch = Stopwatch()
    set_seed(args.seed)
    heading(f"Curation ({args.strategy}): matches captions with recordings")
    say(f"teacher {args.teacher}")
    if not args.dry_run:
        check_new_folder(args.output_dir, is_improvement_set)
    inputs = read_inputs(args)
    if args.dry_run:
        captioned_clips = with_audio(inputs.corpus, "the replay set", ExclusionLog())
        report_data({"captions": inputs.captions, "captioned clips": captioned_clips, "pool": inputs.pool})
        return
    model, processor = load_checkpoint(args.teacher, trust_remote_code=args.trust_remote_code)
    check_remade(args, model, inputs.class_names)
    with whole_folder(args.output_dir, replaces=is_improvement_set) as folder:
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        improvement = run_curation(args, inputs, model, processor, folder, skipped)
        if PartialState().is_main_process:
            improvement.write(folder, args.output_dir, args.embed_audio, has_pairs=inputs.is_streamed)
            (folder / SCRATCH).unlink(missing_ok=True)
            save_arguments(folder, args)
    made_by = improvement.provenance
    say(
        f"{made_by['num_pairs']} pairs of {made_by['num_clips']} clips saved in {args.output_dir} "
        f"after {in_words(watch.seconds)}; look and listen in report.html there"
    )
    if args.push_to_hub and PartialState().is_main_process:
        push(args, made_by)


def push(args: CurateArguments, made_by: dict) -> None:
    """Uploads the set with its audio inside."""
    from ..checkpoints.loading import push_folder
    from ..curation.improvement_set import load_improvement_set, save_improvement_set

    pairs, replay, _ = load_improvement_set(args.output_dir)
    with tempfile.TemporaryDirectory() as folder:
        save_improvement_set(Path(folder), pairs, replay, made_by, args.push_to_hub, with_audio=True)
        if (report := Path(args.output_dir, "report.html")).exists():
            shutil.copy(report, folder)
        say(f"pushed to {push_folder(folder, args.push_to_hub, args.private, repo_type='dataset')}")


def check_remade(args: CurateArguments, model, class_names: list[str] | None) -> None:
    """Checks that a set that is made again has the same teacher and labels.

    Raises:
        InputError: it does not.
    """
    from ..curation.improvement_set import read_provenance
    from ..hub_clap_student import fingerprint

    older = (read_provenance(args.remake) or {}) if args.remake else {}
    now = {"teacher_fingerprint": fingerprint(model) if older else None, "labels": class_names}
    for name, complaint in (("teacher_fingerprint", "the teacher's weights are"), ("labels", "the labels are")):
        if name in older and older[name] != now[name]:
            raise InputError(f"{args.remake} can't be made again: {complaint} not those it was made with")


if __name__ == "__main__":
    main()
