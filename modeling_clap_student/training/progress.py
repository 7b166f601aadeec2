"""Shows a training's progress: what is trained, one bar, and how long it will take."""

import sys
import time

from torch import nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ..utils.console import in_words, progress_bar, say


_MEASURED = 5  # steps for the estimate, without the first one, which warms up
_LONG = 60  # seconds; a shorter training needs no estimate


class TrainingProgress(TrainerCallback):
    """One bar that shows the last loss. In a file, which can't show a bar, each log is a line.

    Args:
        pairs: number of pairs in an optimiser step.
        hidden: shows no bar.
    """

    def __init__(self, pairs: int, hidden: bool = False):
        self.pairs, self.bar, self.started = pairs, None, None
        self.as_bar, self.as_lines = not hidden and sys.stderr.isatty(), not hidden and not sys.stderr.isatty()

    def on_train_begin(self, args, state, control, model: nn.Module | None = None, **kwargs) -> None:
        steps = state.max_steps - state.global_step
        size = ""
        if model is not None:
            audio, text = _in_millions(model.audio_model), _in_millions(model.text_model)
            size = f"{audio} weights in the audio tower, {text} in the text tower; "
        say(f"training: {size}{steps} steps of {self.pairs} pairs")
        hidden = not (self.as_bar and state.is_world_process_zero)
        self.bar = progress_bar(
            total=state.max_steps, initial=state.global_step, desc="training", unit="step", disable=hidden, leave=False
        )

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.bar.update(state.global_step - self.bar.n)
        now = time.perf_counter()
        if self.started is None:
            self.started = now, state.global_step + _MEASURED
        elif state.global_step == self.started[1]:
            left = (state.max_steps - state.global_step) * (now - self.started[0]) / _MEASURED
            if left >= _LONG and state.is_world_process_zero:
                self._write(f"about {in_words(left)} to go on this machine")

    def on_log(self, args, state, control, logs: dict | None = None, **kwargs) -> None:
        logs = logs or {}
        scores = {name.removeprefix("eval_"): value for name, value in logs.items() if name.startswith("eval_")}
        if not state.is_world_process_zero:
            return
        if "loss" in logs:
            told = f"loss {logs['loss']:.4g}"
            if self.bar is not None:
                self.bar.set_postfix_str(told, refresh=False)
            if self.as_lines:
                rate = f", {logs['samples_per_second']:.3g} pairs per second" if "samples_per_second" in logs else ""
                say(f"step {state.global_step} of {state.max_steps}: {told}{rate}")
        elif scores:
            chosen = (args.metric_for_best_model or "").removeprefix("eval_")
            shown = {name: scores[name] for name in (chosen, "loss") if name in scores} or scores
            self._write(f"step {state.global_step}: " + ", ".join(f"{name} {v:.4g}" for name, v in shown.items()))

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.bar.close()

    def _write(self, line: str) -> None:
        if self.bar is not None:
            self.bar.clear()
        say(line)


def _in_millions(tower: nn.Module) -> str:
    return f"{sum(weight.numel() for weight in tower.parameters()) / 1e6:.3g} million"


def tell_progress(trainer: Trainer, pairs: int) -> None:
    """Replaces transformers' own bar and printed dicts by `TrainingProgress`."""
    for theirs in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(theirs)
    trainer.add_callback(TrainingProgress(pairs, trainer.args.disable_tqdm))
