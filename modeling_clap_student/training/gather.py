"""Batches over all processes, with gradients."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def row_counts(rows: int, device: torch.device) -> list[int] | None:
    """How many rows each process brings, in rank order; None in a single process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    counts = torch.empty(dist.get_world_size(), dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(counts, torch.tensor([rows], device=device))
    return counts.tolist()


def gather(tensor: Tensor, counts: list[int] | None) -> Tensor:
    """(local, ...) -> (all processes' rows in rank order, ...); the tensor itself in a single process.

    The gradient flows back to every process. Each process computes the same loss over the global batch; the gather's
    backward sums its gradient over the N processes and DistributedDataParallel divides by N, which together give the
    gradient of one process with the whole batch. A gather without gradient, or negatives of one process alone, do not.

    Args:
        tensor: of this process; all processes call this together.
        counts: `row_counts` of the batch: a process may bring fewer rows than another, or none.
    """
    return tensor if counts is None else _Gather.apply(tensor, counts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor, counts: list[int]) -> Tensor:
        ctx.counts, most = counts, max(counts)
        # Collectives want equal parts.
        padded = F.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, most - len(tensor))).contiguous()
        parts = padded.new_empty(len(counts) * most, *tensor.shape[1:])
        dist.all_gather_into_tensor(parts, padded)
        if min(counts) == most:
            return parts
        return torch.cat([part[:count] for part, count in zip(parts.split(most), counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.split(ctx.counts)[dist.get_rank()], None


__all__ = ["gather", "row_counts"]
