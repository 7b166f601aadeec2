"""Turns frames or tokens into one vector: CLAP's poolings, and poolings that also hear which sound came first."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_clap_student import ClapStudentAudioConfig, ClapStudentConfig


def mean_max(frames: Tensor) -> Tensor:
    """(batch, frames, hidden size) -> (batch, hidden size): maximum plus mean over time, as in PANNs."""
    return frames.amax(dim=1) + frames.mean(dim=1)


class OrderHead(nn.Module):
    """A small transformer block over states and their places, averaged. Its output is zero before training.

    A checkpoint that was trained without it gives the same vectors when it is added. A state's place is its relative
    position between the ends of the clip or text, so any length works.

    Args:
        hidden_size: width of the states.
        width: width of the block, a multiple of 4.
    """

    num_heads = 4
    num_frequencies = 8

    def __init__(self, hidden_size: int, width: int):
        super().__init__()
        self.input = nn.Linear(hidden_size, width)
        self.input_norm = nn.LayerNorm(width)
        self.place = nn.Linear(2 * self.num_frequencies, 2 * width)
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_1 = nn.Linear(width, 2 * width)
        self.feed_forward_2 = nn.Linear(2 * width, width)
        self.output_norm = nn.LayerNorm(width)
        # A parameter of its own: transformers calls `_init_weights` only for modules that have a parameter.
        self.output = nn.Parameter(torch.empty(hidden_size, width))

    def order(self, states: Tensor, mask: Tensor) -> Tensor:
        """What to add to a pooling that ignores order.

        Args:
            states: (batch, states, hidden size).
            mask: (batch, states), 1 for the valid states, which come first.

        Returns:
            (batch, hidden size).
        """
        mask = mask.to(states.dtype)
        # The product binds a state to its place. So the mean over states still knows what was where.
        gain, shift = self.place(self._places(mask)).chunk(2, dim=-1)
        hidden = self.input_norm(self.input(states)) * gain + shift
        hidden = hidden + self._attention(self.attention_norm(hidden), mask)
        hidden = hidden + self.feed_forward_2(F.gelu(self.feed_forward_1(self.feed_forward_norm(hidden))))
        weights = (mask / mask.sum(dim=1, keepdim=True)).unsqueeze(2)
        return F.linear((self.output_norm(hidden) * weights).sum(dim=1), self.output)

    def _places(self, mask: Tensor) -> Tensor:
        """(batch, states, 2 · frequencies): sines and cosines of each place in [0, 1], from a quarter turn up."""
        number = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32) + 0.5
        time = number / mask.float().sum(dim=1, keepdim=True)
        turns = 0.25 * 2 ** torch.arange(self.num_frequencies, device=mask.device, dtype=torch.float32)
        angles = 2 * math.pi * time.unsqueeze(2) * turns
        return torch.cat([angles.sin(), angles.cos()], dim=2).to(mask.dtype)

    def _attention(self, hidden: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        heads = self.query_key_value(hidden).view(batch, length, 3, self.num_heads, width // self.num_heads)
        visible = mask.bool()[:, None, None, :]
        mixed = F.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4), attn_mask=visible)
        return self.attention_output(mixed.transpose(1, 2).reshape(batch, length, width))


class MeanMaxPooling(nn.Module):
    """The audio tower's pooling in CLAP: the same result for any order of the frames."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, hidden size) -> (batch, hidden size)."""
        return mean_max(frames)


class OrderAwarePooling(OrderHead):
    """CLAP's audio pooling, plus what an `OrderHead` hears in the frames."""

    def __init__(self, config: ClapStudentAudioConfig):
        super().__init__(config.hidden_size, config.temporal_hidden_size)

    def forward(self, frames: Tensor) -> Tensor:
        return mean_max(frames) + self.order(frames, torch.ones_like(frames[..., 0]))


class FirstToken(nn.Module):
    """The text tower's pooling in CLAP: the state of [CLS]."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """(texts, tokens, hidden size) -> (texts, hidden size)."""
        return states[:, 0]


class OrderAwareText(OrderHead):
    """CLAP's text pooling, plus what an `OrderHead` reads in the tokens."""

    def __init__(self, config: ClapStudentConfig):
        super().__init__(config.text_config.hidden_size, config.audio_config.temporal_hidden_size)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        return states[:, 0] + self.order(states, torch.ones_like(states[..., 0]) if mask is None else mask)


AUDIO_POOLINGS = {"mean_max": lambda config: MeanMaxPooling(), "attention": OrderAwarePooling}
TEXT_POOLINGS = {"first": lambda config: FirstToken(), "attention": OrderAwareText}
