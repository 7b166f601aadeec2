"""Which weights learn, how fast, and which weights a training ends with."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import TrainerCallback

from ..errors import reading
from ..hub_clap_student import follow_umask


def freeze(model: nn.Module, audio_encoder: bool, text_encoder: bool, batch_norm: bool = False) -> list[nn.Module]:
    """Freezes the named towers, and weights that no input reaches. The projections keep learning.

    Returns:
        the modules that must stay in eval mode: the frozen towers, whose batch norms would change even without
            gradients; with `batch_norm`, all batch norms, whose weights learn while their statistics stay fixed.
    """
    frozen = [tower for tower, yes in ((model.audio_model, audio_encoder), (model.text_model, text_encoder)) if yes]
    for tower in frozen:
        tower.requires_grad_(False)
    for weight in model.unused_parameters():
        weight.requires_grad_(False)
    return frozen + (batch_norms(model) if batch_norm else [])


def batch_norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, decayed: set[str], layer_decay: float
) -> list[dict]:
    """Groups for an optimiser: a layer's learning rate is `learning_rate · layer_decay ** depth`.

    The projections and the logit scale have depth 0; a tower's last layer (with CNN14's fc1) has depth 1, and so on
    down to its input. Source: discriminative fine-tuning, Howard and Ruder 2018, arXiv 1801.06146, section 3.2.

    Args:
        model: with `audio_model` and `text_model`.
        learning_rate: of depth 0.
        weight_decay: of the parameters `decayed`.
        decayed: names.
        layer_decay: in (0, 1].
    """
    depths = layer_depths(model)
    rates = {name: learning_rate * layer_decay ** depths[name] for name in depths}
    return groups_by_rate(model, rates, weight_decay, decayed)


# A transformer layer, a block of CNN14, or a block or a merging of Swin's.
_LAYER = re.compile(r"\.(?:blocks|layers?)\.\d+(?:\.(?:blocks\.\d+|downsample))?\.")
_INPUT = re.compile(r"\.(?:bn0|batch_norm|embeddings|patch_embed)\.")  # below all layers


def layer_depths(model: nn.Module) -> dict[str, int]:
    """Name of each parameter -> 0 if it is above the towers, 1 in a tower's last layer, more below."""
    names = [name for name, _ in model.named_parameters()]
    depths = dict.fromkeys(names, 0)
    for tower in ("audio_model.", "text_model."):
        own = [name for name in names if name.startswith(tower)]
        layers = list(dict.fromkeys(match[0] for name in own if (match := _LAYER.search(name))))
        for name in own:
            layer = _LAYER.search(name)
            if layer:
                depths[name] = len(layers) - layers.index(layer[0])
            else:
                depths[name] = len(layers) + 1 if _INPUT.search(name) else 1
    return depths


def groups_by_rate(model: nn.Module, rates: dict[str, float], weight_decay: float, decayed: set[str]) -> list[dict]:
    """Groups for an optimiser, the fastest first: the parameters that learn, by their learning rate.

    Args:
        model: has the parameters.
        rates: name of each parameter -> its learning rate.
        weight_decay: of the parameters `decayed`.
        decayed: names.
    """
    groups: dict[tuple[float, bool], dict] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate, decays = rates[name], name in decayed
            settings = {"lr": rate, "weight_decay": weight_decay if decays else 0.0}
            groups.setdefault((-rate, decays), {"params": [], **settings})["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


_FILE = "moving_average.safetensors"


class FinalWeights(TrainerCallback):
    """The weights that a training ends with, and that are scored meanwhile, if they are not the trained weights.

    Batch statistics are treated like weights.

    Args:
        model: the student, not wrapped, with the weights that the training begins with.
        ema_decay: for a moving average of the weights after each step: the share that it keeps per step, in (0, 1).
        start_share: share of the starting weights, in [0, 1). The rest is the average, or the trained weights without
            one.

    Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4); exponential as in Tarvainen and Valpola 2017,
    arXiv 1703.01780. Weights between those of the start and of the end: Wortsman et al. 2022, arXiv 2109.01903.
    """

    def __init__(self, model: nn.Module, ema_decay: float | None = None, start_share: float = 0.0):
        self.model, self.start_share, self.average = model, start_share, None
        if ema_decay:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True)
        self.start, self.is_over = _copied(model.state_dict()) if start_share else {}, False

    def on_step_end(self, *args, **kwargs) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_train_begin(self, *args, **kwargs) -> None:
        self.is_over = False

    def on_train_end(self, *args, **kwargs) -> None:
        self._copy_into_model(self._values())
        self.is_over = True

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the final weights into the model for a while. At the end of a training it already has them."""
        if self.is_over:
            yield
            return
        own = _copied(self.model.state_dict())
        self._copy_into_model(self._values())
        yield
        self._copy_into_model(own)

    def save(self, folder: str) -> None:
        """Writes the average into a checkpoint."""
        if self.average is not None:
            values = {name: value.contiguous() for name, value in _copied(self.average.state_dict()).items()}
            save_file(values, Path(folder, _FILE))
            follow_umask(Path(folder, _FILE))

    def load(self, folder: str) -> None:
        """Continues from a checkpoint's average."""
        if self.average is not None:
            file = Path(folder, _FILE)
            with reading(file, "moving average of this model's weights"):
                self.average.load_state_dict(load_file(file))

    def _values(self) -> dict[str, torch.Tensor]:
        values = (self.average.module if self.average else self.model).state_dict()
        between = {name: value for name, value in self.start.items() if value.is_floating_point()}
        return values | {name: torch.lerp(values[name], start, self.start_share) for name, start in between.items()}

    @torch.no_grad()
    def _copy_into_model(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in self.model.state_dict().items():
            value.copy_(values[name])


def _copied(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in values.items()}
