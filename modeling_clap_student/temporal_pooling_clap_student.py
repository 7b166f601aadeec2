"""From frames to one vector: CLAP's pooling, which is blind to order, and one that hears what came first."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_clap_student import ClapStudentAudioConfig


class MeanMaxPooling(nn.Module):
    """Maximum plus mean over time, as in PANNs: the same for any order of the frames."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, hidden size) -> (batch, hidden size)."""
        return frames.amax(dim=1) + frames.mean(dim=1)


class OrderAwarePooling(MeanMaxPooling):
    """Maximum plus mean, plus the mean of what a small transformer block makes of the frames and their places.

    What it adds starts at 0: a checkpoint that was trained with `MeanMaxPooling` gives the same vectors at first.
    A frame's place is where it lies between the clip's ends, so that clips of any length can be heard.
    """

    num_heads = 4
    num_frequencies = 8

    def __init__(self, config: ClapStudentAudioConfig):
        super().__init__()
        width = config.temporal_hidden_size
        self.input = nn.Linear(config.hidden_size, width)
        self.input_norm = nn.LayerNorm(width)
        self.place = nn.Linear(2 * self.num_frequencies, 2 * width)
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_1 = nn.Linear(width, 2 * width)
        self.feed_forward_2 = nn.Linear(2 * width, width)
        self.output_norm = nn.LayerNorm(width)
        # A parameter of its own: transformers hands no module to `_init_weights` that has none.
        self.output = nn.Parameter(torch.empty(config.hidden_size, width))

    def forward(self, frames: Tensor) -> Tensor:
        # Multiplied, a place and a sound are one thing at once: their mean over time tells what was heard when.
        gain, shift = self.place(self._places(frames)).chunk(2, dim=-1)
        hidden = self.input_norm(self.input(frames)) * gain + shift
        hidden = hidden + self._attention(self.attention_norm(hidden))
        hidden = hidden + self.feed_forward_2(F.gelu(self.feed_forward_1(self.feed_forward_norm(hidden))))
        return super().forward(frames) + F.linear(self.output_norm(hidden).mean(dim=1), self.output)

    def _places(self, frames: Tensor) -> Tensor:
        """(frames, 2 · frequencies): sines and cosines of where each frame lies in [0, 1], from a quarter turn up."""
        time = (torch.arange(frames.shape[1], device=frames.device, dtype=torch.float32) + 0.5) / frames.shape[1]
        turns = 0.25 * 2 ** torch.arange(self.num_frequencies, device=frames.device, dtype=torch.float32)
        angles = 2 * math.pi * time[:, None] * turns
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(frames.dtype)

    def _attention(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        heads = self.query_key_value(hidden).view(batch, length, 3, self.num_heads, width // self.num_heads)
        mixed = F.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4))
        return self.attention_output(mixed.transpose(1, 2).reshape(batch, length, width))


POOLINGS = {"mean_max": lambda config: MeanMaxPooling(), "attention": OrderAwarePooling}

__all__ = ["POOLINGS", "MeanMaxPooling", "OrderAwarePooling"]
