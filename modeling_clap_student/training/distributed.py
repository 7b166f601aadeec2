"""Makes several processes train as one: batch norms over all of them, and split weights (FSDP)."""

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from ..errors import InputError


def synchronise(model: nn.Module) -> nn.Module:
    """Makes every batch norm use the statistics of all processes. Names and values of the weights do not change.

    On GPUs these are torch's own modules, which do not work on CPUs.
    """
    if model.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, norm in list(model.named_modules()):
        if type(norm) is nn.BatchNorm2d:
            across = AcrossProcesses(norm.num_features, norm.eps, norm.momentum).to(norm.weight)
            across.load_state_dict(norm.state_dict())
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, across.train(norm.training))
    return model


class AcrossProcesses(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with mean and variance over all processes, with gradients."""

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.training:
            return super().forward(hidden)
        values, shape = hidden.to(self.weight.dtype), (1, -1, 1, 1)
        size = values.new_tensor([values.numel() / self.num_features])
        sums = _Sum.apply(torch.cat([values.sum(dim=(0, 2, 3)), size]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(dim=(0, 2, 3))) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(hidden.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes. The gradient is summed too."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def fit_for_sharding(model: nn.Module, accelerator: Accelerator, needs_whole_weights: bool = False) -> None:
    """Prepares a model for FSDP, if the launcher asks for it. Otherwise leaves it unchanged.

    FSDP splits neither scalars nor channels-last weights. Every process keeps the scale of the logits, and it needs no
    averaging: each process computes the same loss, over the whole batch, and so the same gradient.

    Args:
        model: the names of its logit scales begin with `logit_scale`.
        accelerator: has not prepared the model yet.
        needs_whole_weights: whether the training averages or mixes weights, see `FinalWeights`.

    Raises:
        InputError: half precision, to which FSDP would also cast the batch norms; or averages of weights.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    if accelerator.mixed_precision != "no":
        raise InputError(f"FSDP can't train batch norms in {accelerator.mixed_precision}: leave out mixed precision")
    model.to(memory_format=torch.contiguous_format)
    if needs_whole_weights:
        raise InputError("FSDP keeps no whole weights to average or mix: leave out --ema_decay and --start_share")
    scales = [weight for name, weight in model.named_parameters() if name.startswith("logit_scale")]
    plugin.ignored_modules = [nn.ParameterList(scales).to(accelerator.device)]


def make_whole(model: nn.Module) -> None:
    """Undoes FSDP, in place, so that each process has all weights. All processes must call it together.

    FSDP can't be undone directly: a new model of the same class gets the weights.
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
    # Everything else in the old model belongs to FSDP: hooks, process groups.
    model.__class__, model.__dict__ = kind, {**whole.__dict__, "_processor": model._processor}
