"""Weights that are shared out among processes (FSDP), and made whole again."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from ..errors import InputError


def fit_for_sharding(model: nn.Module, accelerator: Accelerator, averages: bool = False) -> None:
    """Prepares a model for FSDP, where the launcher asks for that; otherwise leaves it as it is.

    FSDP shares out neither scalars nor channels-last weights. The scale of the logits is left to every process, and
    needs no averaging: each computes the same loss, of the batch of all, and with it the same gradient.

    Args:
        model: with a `logit_scale`.
        accelerator: which has not taken the model yet.
        averages: whether a moving average of the weights is asked for.

    Raises:
        InputError: in half precision, to which FSDP would cast the batch norms as well; with a moving average.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    if accelerator.mixed_precision != "no":
        raise InputError(f"FSDP can't train batch norms in {accelerator.mixed_precision}: leave out mixed precision")
    model.to(memory_format=torch.contiguous_format)
    if averages:
        raise InputError("FSDP keeps no whole weights to average: leave out --ema_decay")
    plugin.ignored_modules = [nn.ParameterList([model.logit_scale]).to(accelerator.device)]


def make_whole(model: nn.Module) -> None:
    """Undoes FSDP, in place, so that each process can go on with all weights; for all processes at once.

    FSDP has no way back: the model becomes a new one of its own class and weights.
    """
    if not isinstance(model, FSDPModule):
        return
    weights = {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in model.state_dict().items()
    }
    kind = next(base for base in type(model).__mro__ if not issubclass(base, FSDPModule))
    whole = kind(model.config).to(model.device).train(model.training)
    whole.load_state_dict(weights)
    # What else lies in the old one is FSDP's: hooks, groups of processes.
    model.__class__, model.__dict__ = kind, {**whole.__dict__, "_processor": model._processor}


__all__ = ["fit_for_sharding", "make_whole"]
