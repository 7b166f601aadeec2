"""Checkpoints that count only when they are complete, and that know which run they belong to."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import TrainOutput, sort_checkpoints
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import InputError, reading
from ..hub_clap_student import SENTENCE_FILES
from ..utils.arguments import ARGUMENTS
from ..utils.console import say
from ..utils.outputs import SKIPPED, make_folder, whole_files, write_json
from ..utils.processes import from_main_process
from .record import touches_weights


# A file that marks a folder as ours before anything is written there, and as complete when everything is.
_MARK = "run.json"
_UNFINISHED = {"unfinished": True}
# The files that a training leaves in its folder. `save_pretrained` writes `model*` and so on.
_CODE = ("errors.py", "losses.py", "version.py")
_LEFT = ("README.md", "results.json", ARGUMENTS, SKIPPED, "curves.png", "training_args.bin", "config.json")
_WRITTEN = ("model*.safetensors*", "processor_config.json", "tokenizer*.json", *SENTENCE_FILES)
_SAVED = (*_LEFT, *_WRITTEN, "*_clap_student.py", *_CODE)

# Values that may change when a run is resumed: its length, how data are fetched, the number of threads, the licence.
_FREE = re.compile(r"license|max_steps|num_train_epochs|dataloader_|version|num_threads")
# The same for a finished run's flags, when a run continues from its result.
_NO_MATTER = re.compile(r"dataloader_|dry_run|max_skipped_fraction")


def whole_checkpoints(folder: str | Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return [path for path, whole in _own_checkpoints(folder).items() if whole]


def _own_checkpoints(folder: str | Path) -> dict[Path, bool]:
    """This package's checkpoints, oldest first, and whether each is complete. Other programs' are not touched."""
    marks = {Path(path): _read_mark(Path(path)) for path in sort_checkpoints(str(folder))}
    return {path: mark != _UNFINISHED for path, mark in marks.items() if mark is not None}


def _read_mark(checkpoint: Path) -> dict | None:
    """The facts about its run in one of this package's checkpoints; None for any other folder."""
    try:
        mark = json.loads((checkpoint / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(mark, dict) and (mark == _UNFINISHED or {"version", "hyperparameters"} <= mark.keys())
    return mark if is_ours else None


def whole_checkpoint(run_dir: str | Path, checkpoint: str | bool) -> Path:
    """The checkpoint to continue from: a folder, or for True or "last" the newest complete one of the run.

    Raises:
        InputError: there is none, or it is not complete.
    """
    if checkpoint is True or str(checkpoint).lower() in ("last", "true"):
        newest = whole_checkpoints(run_dir)[-1:]
        if not newest:
            raise InputError(f"can't resume: there is no whole checkpoint in {run_dir}")
        return newest[0]
    if _read_mark(Path(checkpoint)) in (None, _UNFINISHED):
        raise InputError(f"can't resume: {checkpoint} is no whole checkpoint of this package")
    return Path(checkpoint)


def refuse_used_folder(path: str | Path, resume: str | bool | None = None) -> None:
    """Checks the folder of a training that does not continue what is there.

    Args:
        path: the folder; it need not exist.
        resume: the checkpoint to continue from, as for `whole_checkpoint`.

    Raises:
        InputError: the folder holds a model, an unfinished run, or files that the training would replace; or the
            checkpoint does not exist.
    """
    folder = Path(path)
    own = _own_checkpoints(folder)
    if resume and whole_checkpoint(folder, resume) and own:
        return
    if own and not (folder / "results.json").exists():
        raise InputError(
            f"{folder} holds an unfinished run: --resume_from_checkpoint continues it. Or name another --output_dir"
        )
    if (folder / SAFE_WEIGHTS_NAME).exists():
        raise InputError(
            f"{folder} holds a trained model already: name another --output_dir, or delete it. To push it or train it "
            "for longer, add --resume_from_checkpoint"
        )
    for pattern in ("checkpoint-*", *_SAVED):
        for file in folder.glob(pattern):
            raise InputError(f"{folder} holds {file.name}, which is not of this run: name another --output_dir")


class CheckpointingMixin:
    """For a `Trainer`: a crash or a full disk while saving costs the current checkpoint, never an older one.

    A run that is resumed after its end trains no further step, and ends with the same weights.
    """

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As `Trainer.save_model`; existing files are replaced only by complete ones.

        Raises:
            InputError: a full disk or missing permission.
        """
        folder = Path(output_dir or self.args.output_dir)
        from_main_process(lambda: make_folder(folder))
        try:
            with whole_files(folder) as files:
                super().save_model(str(files), _internal_call=True)
        except (RuntimeError, SafetensorError) as error:  # raised by torch and safetensors
            raise InputError(f"can't save the model in {folder}: {str(error).splitlines()[0]}") from error
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _save_checkpoint(self, model, trial) -> None:
        args, run_dir = self.args, self._get_output_dir(trial=trial)
        folder = Path(run_dir, f"checkpoint-{self.state.global_step}")
        from_main_process(partial(_begin, folder))
        # Older ones are removed when all processes have written their part of this one.
        limit, args.save_total_limit = args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError, InputError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(f"can't save {folder}: {str(error).splitlines()[0]}; {last_whole(run_dir)}") from error
        finally:
            args.save_total_limit = limit
        PartialState().wait_for_everyone()
        write_json(folder / _MARK, self.run_facts())
        if args.should_save:
            self._remove_older(folder)

    def _remove_older(self, newest: Path) -> None:
        """Removes our checkpoints beyond `save_total_limit`, but never the newest or the best."""
        limit, best = self.args.save_total_limit or 0, self.state.best_model_checkpoint
        spared = {newest, *([Path(best)] if best else [])}
        older = [path for path in whole_checkpoints(newest.parent) if path not in spared]
        if limit > 0:
            for path in older[: len(older) - max(0, limit - len(spared))]:
                shutil.rmtree(path, ignore_errors=True)

    def _finalize_training(self, *args, **kwargs) -> TrainOutput:
        """As `Trainer._finalize_training`, but keeps the last checkpoint beside the best one."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            result = super()._finalize_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit
        if self.state.global_step > self._first_step:
            return result
        say(f"the run had ended at step {self.state.global_step}: no step is trained, and missing files are written")
        return result._replace(training_loss=_mean_loss(self.state.log_history))

    def _run_epoch(self, *args, **kwargs) -> None:
        """As `Trainer._run_epoch`. That would take one step too many in a run that ended within an epoch."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def run_facts(self) -> dict:
        """The facts that distinguish this run from others."""
        return json.loads(json.dumps(self.accelerator.unwrap_model(self.model).config.record, default=str))

    def checkpoint_to_resume(self, checkpoint: str | bool) -> str:
        """The folder to continue from. Deletes partial checkpoints that a crash left.

        Args:
            asked: a checkpoint's folder, or True or "last" for the newest complete one of the output folder.

        Raises:
            InputError: there is none, or it is incomplete, damaged or of another run.
        """
        run_dir = self.args.output_dir
        if self.args.should_save:
            for path, whole in _own_checkpoints(run_dir).items():
                if not whole:
                    shutil.rmtree(path)
        PartialState().wait_for_everyone()
        checkpoint = whole_checkpoint(run_dir, checkpoint)
        mark, ours = _read_mark(checkpoint), self.run_facts()
        if differences := _differences(mark, ours):
            raise InputError(f"can't resume: {checkpoint} is of another run: {'; '.join(differences[:3])}")
        if mark.get("num_threads", ours["num_threads"]) != ours["num_threads"]:
            say(
                f"resumed with {ours['num_threads']} threads instead of {mark['num_threads']}, which OMP_NUM_THREADS "
                "sets: the weights will not be those of an uninterrupted run to the bit"
            )
        check_state(checkpoint, self.accelerator.unwrap_model(self.model))
        return str(checkpoint)

    def _init_training_state(
        self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
    ) -> tuple[int, int]:
        """As `Trainer._init_training_state`, but looks for the best checkpoint in the run's present folder."""
        trained = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is not None and self.state.best_global_step:
            best = Path(resume_from_checkpoint).with_name(f"checkpoint-{self.state.best_global_step}")
            self.state.best_model_checkpoint = str(best) if best in whole_checkpoints(best.parent) else None
        self._first_step = self.state.global_step
        return trained

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        with reading(Path(resume_from_checkpoint, SAFE_WEIGHTS_NAME), "file of weights"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        optimizer, scheduler = Path(checkpoint, OPTIMIZER_NAME), Path(checkpoint, SCHEDULER_NAME)
        if not self.is_fsdp_enabled:
            self._needs(optimizer)
        self._needs(scheduler)
        if scheduler.exists():
            with reading(scheduler, "state of a schedule"):
                theirs, ours = torch.load(scheduler, weights_only=True), self.lr_scheduler.state_dict()
                if not isinstance(theirs["last_epoch"], int) or len(theirs) < len(ours):
                    raise ValueError("it is of another one")
        with reading(optimizer, "state of this model's optimiser"):
            super()._load_optimizer_and_scheduler(checkpoint)
            for weight, state in getattr(self.optimizer, "state", {}).items():
                shapes = {value.shape for value in state.values() if isinstance(value, torch.Tensor) and value.ndim}
                if not shapes <= {weight.shape}:
                    raise ValueError("its moments have other shapes than the weights")

    def _load_rng_state(self, checkpoint: str | None) -> None:
        process = f"_{self.args.process_index}" if self.args.world_size > 1 else ""
        file = Path(checkpoint, f"rng_state{process}.pth")
        self._needs(file)
        with reading(file, "state of random numbers"):
            super()._load_rng_state(checkpoint)

    def _needs(self, file: Path) -> None:
        """Requires a file. Without it `Trainer` would silently continue differently."""
        if not file.is_file() and not self.args.save_only_model:
            raise InputError(f"can't resume: {file} is missing")


def _begin(folder: Path) -> None:
    """Marks the folder of a new checkpoint as ours, before anything else is written there."""
    if folder.exists() and _read_mark(folder) is None and any(folder.iterdir()):
        raise InputError(
            f"can't save {folder}: another program's files are there. Move them, and continue with "
            f"--resume_from_checkpoint; {last_whole(folder.parent)}"
        )
    write_json(folder / _MARK, _UNFINISHED)


def check_state(checkpoint: Path, model: torch.nn.Module) -> None:
    """Checks that a checkpoint's weights and progress can be loaded. Its other files are read when they are needed.

    Raises:
        InputError: a file is missing, damaged or of another model. The message names it.
    """
    file = checkpoint / TRAINER_STATE_NAME
    with reading(file, "state of a training"):
        state = TrainerState.load_from_json(str(file))
        for name, default in vars(TrainerState()).items():
            kind = (int, float) if isinstance(default, int | float) else type(default)
            if default is not None and not isinstance(getattr(state, name), kind):
                raise ValueError(f"{name} is {getattr(state, name)!r}")
    file = checkpoint / SAFE_WEIGHTS_NAME
    if not file.exists():  # split among processes, or in several files
        return
    with reading(file, "file of weights"), safe_open(file, "pt") as weights:
        theirs = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    ours = {name: list(value.shape) for name, value in model.state_dict().items()}
    if wrong := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        raise InputError(
            f"{file} is of another model: {wrong[0]} is {theirs.get(wrong[0])} and not {ours.get(wrong[0])}"
        )


def _mean_loss(log_history: list[dict]) -> float | None:
    """The mean loss of a finished run, from its log."""
    logged, before, total = [entry for entry in log_history if "loss" in entry], 0, 0.0
    for entry in logged:
        total, before = total + entry["loss"] * (entry["step"] - before), entry["step"]
    return total / before if before else None


def last_whole(run_dir: str | Path) -> str:
    """Says which checkpoint is good."""
    checkpoints = whole_checkpoints(run_dir)
    return f"the last whole checkpoint is {checkpoints[-1]}" if checkpoints else "there is no whole checkpoint yet"


def refuse_other_flags(folder: Path, flags: dict) -> None:
    """Checks the flags of a run that would continue the finished one in a folder.

    Args:
        folder: has the finished run's `arguments.json`.
        flags: of this run, in the same form.

    Raises:
        InputError: they differ in a flag that affects the weights.
    """
    with reading(folder / ARGUMENTS, "json file"):
        theirs, ours = (
            {name: value for name, value in json.loads(text).items() if touches_weights(name)}
            for text in ((folder / ARGUMENTS).read_text(encoding="utf-8"), json.dumps(flags))
        )
    if differences := _differences(theirs, ours, free=_NO_MATTER):
        reasons = "; ".join(differences[:3])
        raise InputError(f"{folder} is of another run: {reasons}: name another --output_dir, or delete the folder")


def stop_at_bad_loss(loss: torch.Tensor, audio_ids: list[str], step: int, run_dir: str | Path) -> None:
    """Stops the training at a bad loss.

    Raises:
        InputError: the loss is NaN or infinite. The message names the batch's clips and the last good checkpoint.
    """
    if not loss.isfinite():
        raise InputError(
            f"the loss is {loss.item()} at step {step}, nothing was learned from it: look at this process's clips "
            f"{', '.join(dict.fromkeys(audio_ids))}; {last_whole(run_dir)}"
        )


def _differences(theirs: dict, ours: dict, name: str = "", free: re.Pattern = _FREE) -> list[str]:
    differences = []
    for key in sorted(theirs.keys() | ours.keys()):
        old, new = theirs.get(key), ours.get(key)
        if free.match(key) or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            differences += _differences(old, new, f"{name}{key}.", free)
        else:
            differences.append(f"{name}{key} was {old!r} and is {new!r}")
    return differences
