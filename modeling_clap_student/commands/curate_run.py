"""What `clap-curate` does once its flags are read."""

import shutil
import tempfile
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from .. import InputError
from ..checkpoints.loading import load_checkpoint, push_folder
from ..curation.arguments import CurateArguments
from ..curation.curate import SCRATCH, run_curation
from ..curation.improvement_set import (
    is_improvement_set,
    load_improvement_set,
    read_provenance,
    save_improvement_set,
)
from ..curation.inputs import CurationInputs, read_inputs
from ..data.filters import with_audio
from ..data.skipping import skipped_clips
from ..data.sources import ExclusionLog
from ..hub_clap_student import fingerprint
from ..utils.arguments import save_arguments
from ..utils.console import Stopwatch, heading, say
from ..utils.outputs import check_new_folder, whole_folder
from .command_line import report_data


def curate(args: CurateArguments) -> None:
    """Reads, embeds, selects, matches, saves."""
    watch = Stopwatch()
    set_seed(args.seed)
    heading(f"Curation: {args.strategy} with {args.teacher}")
    if not args.dry_run:
        check_new_folder(args.output_dir, is_improvement_set)
    inputs = read_inputs(args)
    if args.dry_run:
        heard = with_audio(inputs.corpus, "the replay set", ExclusionLog())
        report_data({"captions": inputs.captions, "captioned clips": heard, "pool": inputs.pool})
        return
    model, processor = load_checkpoint(args.teacher)
    check_remade(args, model, inputs)
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
        f"after {watch.seconds:.0f} s; look and listen in report.html there"
    )
    if args.push_to_hub and PartialState().is_main_process:
        push(args, made_by)


def push(args: CurateArguments, made_by: dict) -> None:
    """Uploads the set with its audio inside."""
    pairs, replay, _ = load_improvement_set(args.output_dir)
    with tempfile.TemporaryDirectory() as folder:
        save_improvement_set(Path(folder), pairs, replay, made_by, args.push_to_hub, with_audio=True)
        if (report := Path(args.output_dir, "report.html")).exists():
            shutil.copy(report, folder)
        say(f"pushed to {push_folder(folder, args.push_to_hub, args.private, repo_type='dataset')}")


def check_remade(args: CurateArguments, model, inputs: CurationInputs) -> None:
    """A set that is made again must have the same teacher and labels.

    Raises:
        InputError: it has not.
    """
    older = (read_provenance(args.remake) or {}) if args.remake else {}
    now = {"teacher_fingerprint": fingerprint(model) if older else None, "labels": inputs.class_names}
    for name, what in (("teacher_fingerprint", "the teacher's weights are"), ("labels", "the labels are")):
        if name in older and older[name] != now[name]:
            raise InputError(f"{args.remake} can't be made again: {what} not those it was made with")
