"""Pulls a student's embeddings towards its teacher's, for the same crops and the same captions."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from ..errors import reading
from ..hub_clap_student import follow_umask


_FILE = "distillation.safetensors"


class Distillation(TrainerCallback):
    """λ · ½ (mean (1 − cos(P a, â)) + mean (1 − cos(P z, ẑ))) over clips a and captions z; the teacher's are â and ẑ.

    P is the identity if student and teacher have the same number of dimensions. Otherwise it learns with the student,
    and is dropped after the training.

    Args:
        weight: λ.
        student_dim: dimensions of the student's embeddings.
        teacher_dim: dimensions of the teacher's.
        seed: seed of P.
        device: device of the embeddings.

    Source: Hinton et al. 2015, arXiv 1503.02531, with cosines in place of logits.
    """

    def __init__(self, weight: float, student_dim: int, teacher_dim: int, seed: int, device: torch.device):
        self.weight = weight
        self.projection = None
        if student_dim != teacher_dim:
            self.projection = nn.Linear(student_dim, teacher_dim, bias=False, device=device)
            values = torch.randn(teacher_dim, student_dim, generator=torch.Generator().manual_seed(seed))
            self.projection.weight.data.copy_(values * student_dim**-0.5)

    def __call__(self, audio: Tensor, text: Tensor, teacher_audio: Tensor, teacher_text: Tensor) -> Tensor:
        """The term, for embeddings (pairs, dim) of all processes."""
        if self.projection is not None:
            audio, text = self.projection(audio), self.projection(text)
        cosines = [F.cosine_similarity(audio, teacher_audio), F.cosine_similarity(text, teacher_text)]
        return self.weight * (1 - torch.stack(cosines)).mean()

    def add_to(self, optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
        """Lets P learn. Its gradient is the same in each process, because the whole loss is."""
        if self.projection is not None:
            optimizer.add_param_group({"params": [self.projection.weight], "lr": learning_rate, "weight_decay": 0.0})

    def on_step_end(self, *args, **kwargs) -> None:
        if self.projection is not None:  # `Trainer` clears only the model's gradients
            self.projection.zero_grad()

    def save(self, folder: str) -> None:
        """Writes P into a checkpoint."""
        if self.projection is not None:
            save_file({"weight": self.projection.weight.data.cpu()}, Path(folder, _FILE))
            follow_umask(Path(folder, _FILE))

    def load(self, folder: str) -> None:
        """Continues from a checkpoint's P."""
        if self.projection is not None:
            with reading(Path(folder, _FILE), "projection of this model's embeddings"):
                self.projection.load_state_dict(load_file(Path(folder, _FILE)))
