"""Batch norms over the batch of all processes, so that several processes train as one does."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise(model: nn.Module) -> nn.Module:
    """Gives every batch norm the statistics of all processes; names and values of the weights stay.

    On GPUs they are torch's own, which CPUs lack.
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
    """`nn.BatchNorm2d` that takes mean and variance over all processes, with gradients."""

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
    """The sum over all processes; so is its gradient."""

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


__all__ = ["AcrossProcesses", "synchronise"]
