"""A command's training, from its empty folder to the final files."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import Trainer

from ..checkpoints.loading import push_folder
from ..data.skipping import ReadingArguments, SkippedClips, report_skipped, skipped_clips
from ..utils.arguments import save_arguments
from ..utils.console import Stopwatch, heading, in_words, say
from ..utils.outputs import output_folder, probe_folder, write_json
from .arguments import ClapTrainingArguments
from .checkpointing import refuse_used_folder
from .curves import draw_curves
from .progress import tell_progress


RESULTS = "results.json"


class TrainingRun:
    """Everything that a training command does around its Trainer.

    Args:
        title: the run's headline.
        args: the command's own flags.
        training_args: the Trainer's.

    Raises:
        InputError: the output folder can't be written.
    """

    def __init__(self, title: str, args: ReadingArguments, training_args: ClapTrainingArguments):
        self.args, self.training_args = args, training_args
        self.watch = Stopwatch()
        heading(title)
        if not args.dry_run:
            probe_folder(training_args.output_dir)

    @contextmanager
    def folder(self) -> Iterator[SkippedClips]:
        """The run's output folder, locked for this run. Yields the list of clips that can't be read.

        Raises:
            InputError: the folder holds something that the run would replace, or another run is writing there.
        """
        resume = self.training_args.resume_from_checkpoint
        with output_folder(self.training_args.output_dir, check=partial(refuse_used_folder, resume=resume)) as folder:
            yield skipped_clips(folder, self.args.max_skipped_fraction)

    def train(self, trainer: Trainer) -> float:
        """Trains or continues, and saves the model. Returns the mean loss."""
        args = self.training_args
        tell_progress(trainer, args.train_batch_size * args.world_size * args.gradient_accumulation_steps)
        result = trainer.train(resume_from_checkpoint=self.training_args.resume_from_checkpoint)
        trainer.save_model(_internal_call=True)  # pushed once, at the end
        return result.training_loss

    def finish(self, trainer: Trainer, skipped: SkippedClips, results: dict) -> dict:
        """Writes the card, the results, the arguments and the curves. Returns the results."""
        trainer.create_model_card()
        results = results | {
            "num_skipped": report_skipped(skipped),
            "seconds": self.watch.seconds,
            "seed": self.training_args.seed,
            "num_threads": torch.get_num_threads(),
        }
        folder = Path(self.training_args.output_dir)
        write_json(folder / RESULTS, results)
        save_arguments(folder, self.args)
        draw_curves(trainer.state.log_history, folder / "curves.png")
        return results

    def publish(self, kind: str) -> None:
        """Says where the model is (a teacher or student), and uploads it with `--push_to_hub`.

        Raises:
            InputError: the upload was interrupted.
        """
        say(f"{kind} saved in {self.training_args.output_dir} after {in_words(self.watch.seconds)}")
        push_if_asked(self.training_args)


def push_if_asked(training_args: ClapTrainingArguments) -> None:
    """Uploads a training's folder, with `--push_to_hub`.

    Raises:
        InputError: the upload was interrupted.
    """
    if training_args.push_to_hub and PartialState().is_main_process:
        name = training_args.hub_model_id or Path(training_args.output_dir).name
        private, token = training_args.hub_private_repo, training_args.hub_token
        say(f"pushed to {push_folder(training_args.output_dir, name, private, token=token)}")
