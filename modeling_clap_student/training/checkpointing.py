"""Checkpoints that count only when they are whole, and that know which run they belong to."""

import json
import re
import shutil
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers.trainer_utils import rotate_checkpoints, sort_checkpoints

from ..errors import InputError
from ..output_folders import write_json
from ..run_config import ARGUMENTS
from .record import touches_weights


_MARK = "run.json"  # written last: a folder without it was left by a crash, and holds parts

# What may be another when a run goes on: how far it goes, and how its data are fetched.
_FREE = re.compile(r"max_steps|num_train_epochs|dataloader_|version")
# And of a finished run's flags, for one that goes on from what it made.
_NO_MATTER = re.compile(r"dataloader_|dry_run|max_skipped_fraction")


def whole_checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return [Path(path) for path in sort_checkpoints(str(folder)) if Path(path, _MARK).is_file()]


class CheckpointingMixin:
    """For a `Trainer`: a crash or a full disk while saving costs the checkpoint at hand, never an older one."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As `Trainer.save_model`; files that are there are replaced by whole ones."""
        folder = Path(output_dir or self.args.output_dir)
        partial = folder / ".partial"
        super().save_model(str(partial), _internal_call=True)
        if self.args.should_save:
            for file in partial.iterdir():
                file.replace(folder / file.name)
            partial.rmdir()
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _save_checkpoint(self, model, trial) -> None:
        args, run_dir = self.args, self._get_output_dir(trial=trial)
        folder = Path(run_dir, f"checkpoint-{self.state.global_step}")
        # Older ones go when all processes have written their part of this one.
        limit, args.save_total_limit = args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(f"can't save {folder}: {str(error).splitlines()[0]}; {last_whole(run_dir)}") from error
        finally:
            args.save_total_limit = limit
        PartialState().wait_for_everyone()
        write_json(folder / _MARK, self.run_facts())
        if args.should_save:
            rotate_checkpoints(run_dir, limit, self.state.best_model_checkpoint, use_mtime=True)

    def run_facts(self) -> dict:
        """What tells this run from another."""
        return json.loads(json.dumps(self.accelerator.unwrap_model(self.model).config.record, default=str))

    def checkpoint_to_resume(self, asked: str | bool) -> str:
        """The folder to go on from, and away with parts that a crash left.

        Args:
            asked: a checkpoint's folder, or True or "last" for the newest whole one of the output folder.

        Raises:
            InputError: there is none, it is not whole, or of another run.
        """
        run_dir = self.args.output_dir
        if self.args.should_save:
            for path in set(map(Path, sort_checkpoints(run_dir))) - set(whole_checkpoints(run_dir)):
                shutil.rmtree(path)
        PartialState().wait_for_everyone()
        found = whole_checkpoints(run_dir)
        if asked is True or str(asked).lower() in ("last", "true"):
            if not found:
                raise InputError(f"can't resume: there is no whole checkpoint in {run_dir}")
            asked = found[-1]
        if not Path(asked, _MARK).is_file():
            raise InputError(f"can't resume: {asked} is no whole checkpoint of this package")
        differences = _differences(json.loads(Path(asked, _MARK).read_text(encoding="utf-8")), self.run_facts())
        if differences:
            raise InputError(f"can't resume: {asked} is of another run: {'; '.join(differences[:3])}")
        return str(asked)


def last_whole(run_dir: str | Path) -> str:
    """Says which checkpoint is good."""
    found = whole_checkpoints(run_dir)
    return f"the last whole checkpoint is {found[-1]}" if found else "there is no whole checkpoint yet"


def refuse_other_flags(folder: Path, flags: dict) -> None:
    """For a run that would go on from the finished one in a folder.

    Args:
        folder: with the other's `arguments.json`.
        flags: of this run, as the other's are.

    Raises:
        InputError: they differ in what can touch the weights.
    """
    told, now = (
        {name: value for name, value in json.loads(text).items() if touches_weights(name)}
        for text in ((folder / ARGUMENTS).read_text(encoding="utf-8"), json.dumps(flags))
    )
    if differences := _differences(told, now, free=_NO_MATTER):
        told_apart = "; ".join(differences[:3])
        raise InputError(f"{folder} is of another run: {told_apart}: name another --output_dir, or delete the folder")


def stop_at_bad_loss(loss: torch.Tensor, audio_ids: list[str], step: int, run_dir: str | Path) -> None:
    """Raises instead of training on.

    Raises:
        InputError: the loss is NaN or infinite; it names the batch's clips and the last good checkpoint.
    """
    if not loss.isfinite():
        raise InputError(
            f"the loss is {loss.item()} at step {step}, nothing was learnt from it: look at this process's clips "
            f"{', '.join(dict.fromkeys(audio_ids))}; {last_whole(run_dir)}"
        )


def _differences(theirs: dict, ours: dict, name: str = "", free: re.Pattern = _FREE) -> list[str]:
    found = []
    for key in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(key), ours.get(key)
        if free.match(key) or one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, f"{name}{key}.", free)
        else:
            found.append(f"{name}{key} was {one!r} and is {other!r}")
    return found


__all__ = ["CheckpointingMixin", "last_whole", "refuse_other_flags", "stop_at_bad_loss", "whole_checkpoints"]
