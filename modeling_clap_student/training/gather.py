"""Batches over all processes, with gradients."""

import torch
import torch.distributed.nn.functional
from torch import Tensor


def gather(tensor: Tensor) -> Tensor:
    """(local, ...) -> (all processes' rows in rank order, ...); the tensor itself in a single process.

    The gradient flows back to every process. Each process computes the same loss over the global batch; the gather's
    backward sums its gradient over the N processes and DistributedDataParallel divides by N, which together give the
    gradient of one process with the whole batch. A gather without gradient, or negatives of one process alone, do not.

    All processes must hold the same number of rows.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return tensor
    if tensor.requires_grad:
        return torch.cat(torch.distributed.nn.functional.all_gather(tensor))
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


__all__ = ["gather"]
