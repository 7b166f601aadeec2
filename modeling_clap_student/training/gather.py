"""Batches over all processes, with gradients."""

import torch
import torch.distributed as dist
from torch import Tensor


def gather(tensor: Tensor) -> Tensor:
    """(local, ...) -> (all processes' rows in rank order, ...); the tensor itself in a single process.

    The gradient flows back to every process. Each process computes the same loss over the global batch; the gather's
    backward sums its gradient over the N processes and DistributedDataParallel divides by N, which together give the
    gradient of one process with the whole batch. A gather without gradient, or negatives of one process alone, do not.

    All processes must hold the same number of rows.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    return _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


__all__ = ["gather"]
