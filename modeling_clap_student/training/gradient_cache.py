"""Contrastive batches larger than memory: chunks are embedded twice, with the loss over all of them between.

First, every chunk is embedded without a graph. The loss over all chunks of all processes gives the gradient of each
embedding, which is kept. Then every chunk is embedded again, with a graph, and the kept gradients go backward through
it. By the chain rule, the gradient of the weights is that of the whole batch. Activations need the memory of one
chunk. The price is one more forward pass of the student.

The second pass must repeat the first, so it draws the same dropout. Batch norm sees one chunk at a time, as in
gradient accumulation. In training mode its statistics are a chunk's (over all processes), not the whole batch's; the
running statistics are updated once, in the second pass. With batch norms in eval mode, the gradient equals that of the
uncached batch.

Source: Gao et al. 2021, arXiv 2101.06983.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class CachedGradient:
    """The data that a chunk's second pass needs.

    Attributes:
        loss: of the whole batch.
        chunks: number of chunks in the batch.
        audio: (pairs, dim) gradient of the loss with respect to the chunk's audio embeddings.
        text: the same for its text embeddings.
        logit_scales: gradient of the logit scales: this chunk's share.
        states: of the random number generators before the chunk was embedded.
    """

    loss: Tensor
    chunks: int
    audio: Tensor
    text: Tensor
    logit_scales: Tensor
    states: list[Tensor]

    def surrogate(self, audio_embeds: Tensor, text_embeds: Tensor, logit_scales: Tensor) -> Tensor:
        """A scalar with the loss's value. Its mean over the chunks has the loss's gradient."""
        linear = (audio_embeds * self.audio).sum() + (text_embeds * self.text).sum()
        linear = self.chunks * (linear + (logit_scales * self.logit_scales).sum())
        return linear + (self.loss - linear).detach()

    @contextmanager
    def same_randomness(self) -> Iterator[None]:
        """Draws the same numbers as the first pass. Afterwards the generators continue where they were."""
        now = _random_states(self.audio.device)
        _set_random_states(self.states, self.audio.device)
        yield
        _set_random_states(now, self.audio.device)


def cache_gradients(
    model: nn.Module,
    chunks: list[dict[str, Tensor]],
    facts: list[dict[str, Tensor]],
    logit_scales: Tensor,
    loss_of: Callable[..., Tensor],
) -> list[CachedGradient]:
    """Runs the first pass.

    Args:
        model: gives `audio_embeds` and `text_embeds` of a chunk.
        chunks: the model's inputs, chunk by chunk.
        facts: about each chunk's pairs; `partner` counts within its chunk.
        logit_scales: scalar or (2,).
        loss_of: maps `(audio_embeds, text_embeds, logit_scales, facts)` of the whole batch to the loss.
    """
    states, audio, text = [], [], []
    with _untouched_statistics(model), torch.no_grad():
        for chunk in chunks:
            states.append(_random_states(logit_scales.device))
            outputs = model(**chunk)
            audio.append(outputs.audio_embeds)
            text.append(outputs.text_embeds)
    sizes = [len(part) for part in audio]
    leaves = [torch.cat(audio).requires_grad_(), torch.cat(text).requires_grad_(), logit_scales.detach().clone()]
    loss = loss_of(*leaves[:2], leaves[2].requires_grad_(), _joined(facts, sizes))
    gradients = torch.autograd.grad(loss, leaves)
    parts = zip(gradients[0].split(sizes), gradients[1].split(sizes), states, strict=True)
    share = gradients[2] / len(chunks)
    return [CachedGradient(loss.detach(), len(chunks), *part[:2], share, part[2]) for part in parts]


def _joined(facts: list[dict[str, Tensor]], sizes: list[int]) -> dict[str, Tensor]:
    joined = {name: torch.cat([part[name] for part in facts]) for name in facts[0]}
    if "partner" in joined:
        sizes = torch.tensor(sizes, device=joined["partner"].device)
        joined["partner"] = joined["partner"] + (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return joined


@contextmanager
def _untouched_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms in training mode use a chunk's statistics, but do not add them to the running ones."""
    tracking = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for part in tracking:
        # In eval mode they use the running statistics.
        part.track_running_stats = not part.training
    yield
    for part in tracking:
        part.track_running_stats = True


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states if device.type == "cpu" else [*states, torch.get_device_module(device).get_rng_state(device)]


def _set_random_states(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1], device)
