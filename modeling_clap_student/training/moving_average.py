"""An exponential moving average of the weights, kept beside them and in every checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import TrainerCallback

from ..errors import reading
from ..hub_clap_student import follow_umask


_FILE = "moving_average.safetensors"


class MovingAverage(TrainerCallback):
    """Averages weights and batch statistics after each step; the model that a training ends with has the average.

    Args:
        model: the student, not wrapped.
        decay: part of the average that a step keeps, in (0, 1).

    Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4); exponential as in Tarvainen and Valpola 2017,
    arXiv 1703.01780.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = model
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def on_step_end(self, *args, **kwargs) -> None:
        self.average.update_parameters(self.model)

    def on_train_end(self, *args, **kwargs) -> None:
        self._put(self.average.module.state_dict())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average for a while."""
        own = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._put(self.average.module.state_dict())
        yield
        self._put(own)

    def save(self, folder: str) -> None:
        """Writes the average into a checkpoint."""
        values = {name: value.clone().contiguous() for name, value in self.average.state_dict().items()}
        save_file(values, Path(folder, _FILE))
        follow_umask(Path(folder, _FILE))

    def load(self, folder: str) -> None:
        """Goes on from a checkpoint's average."""
        file = Path(folder, _FILE)
        with reading(file, "moving average of this model's weights"):
            self.average.load_state_dict(load_file(file))

    @torch.no_grad()
    def _put(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in self.model.state_dict().items():
            value.copy_(values[name])


__all__ = ["MovingAverage"]
