"""The arguments of temporal post-training: transformers' own, and those of TeminAL."""

from dataclasses import dataclass, field
from typing import ClassVar

from transformers.trainer_utils import SaveStrategy

from ..training.arguments import ClapTrainingArguments
from ..utils.arguments import COUNT, SHARE, Range


STAGES = ("a", "b", "joint")
CONSTRUCTIONS = ("ours", "authors")


@dataclass(repr=False)  # the base class's hides tokens
class TemporalTrainingArguments(ClapTrainingArguments):
    """The settings of TeminAL's stages. The weights of the loss are `temporal_contrastive_loss`'s."""

    ranges: ClassVar[dict[str, Range]] = {
        "alpha_same": Range(0, 100),
        "alpha_cross": Range(0, 100),
        "alpha_same_overlay": Range(0, 100),
        "alpha_cross_overlay": Range(0, 100),
        "reverse_weight": Range(0, 100),
        "overlay_weight": Range(0, 100),
        "retention_weight": Range(0, 1000),
        "encoder_learning_rate": SHARE,
        "max_steps": COUNT,
        "per_device_train_batch_size": Range(2),
        "num_scenes": Range(2),
        "validation_scenes": Range(2),
    }

    alpha_same: float = field(
        default=1.0,
        metadata={"help": "Weight of the same sounds in the other order among the negatives; 0: left out."},
    )
    alpha_cross: float = field(default=1.0, metadata={"help": "The same of other sounds in the other order."})
    alpha_same_overlay: float | None = field(
        default=None, metadata={"help": "The same of the same sounds at once; by default --alpha_same."}
    )
    alpha_cross_overlay: float | None = field(
        default=None, metadata={"help": "The same of other sounds at once; by default --alpha_cross."}
    )
    reverse_weight: float = field(default=1.0, metadata={"help": "Weight of the loss of reversed scenes."})
    overlay_weight: float = field(default=1.0, metadata={"help": "Weight of the loss of overlays."})
    retention_weight: float = field(
        default=10.0,
        metadata={"help": "How firmly single sounds and their prompts stay where they were embedded; 0: not at all."},
    )
    encoder_learning_rate: float = field(
        default=1e-5, metadata={"help": "Of the towers' layers; --learning_rate is of what lies above them."}
    )
    freeze_audio_encoder: bool = field(
        default=False, metadata={"help": "Leave the convolutions as they are, which is many times as fast."}
    )
    freeze_text_encoder: bool = field(default=False, metadata={"help": "Leave the text tower as it is."})
    frozen_pooling: bool = field(
        default=False,
        metadata={
            "help": "The authors' arm: CLAP's pooling, which is blind to order, and only what lies behind it learns, "
            "with the last layer of the text tower."
        },
    )
    num_scenes: int = field(
        default=4000, metadata={"help": "Different scenes; with --freeze_audio_encoder each is rendered once."}
    )
    validation_scenes: int = field(default=200, metadata={"help": "Scenes that select the checkpoint."})
    max_steps: int = field(default=600, metadata={"help": "Optimiser steps."})
    per_device_train_batch_size: int = field(
        default=32, metadata={"help": "Scenes, in all orders, a process and step."}
    )
    max_grad_norm: float = field(default=0.5, metadata={"help": "Longest gradient; longer ones are cut."})
    eval_strategy: str = field(default="steps", metadata={"help": "When to score the model on validation scenes."})
    eval_steps: float | None = field(default=100, metadata={"help": "Score it every so many steps."})
    save_strategy: str = field(
        default="steps",
        metadata={"help": "When to save a checkpoint.", "choices": [moment.value for moment in SaveStrategy]},
    )
    save_steps: float = field(default=100, metadata={"help": "Save one every so many steps."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint."})
    metric_for_best_model: str | None = field(
        default="selection",
        metadata={"help": "What is best: selection, of single sounds and order; order; accuracy_1a, for stage A."},
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more is better."})

    def loss_weights(self, num_blocks: int) -> dict:
        """For `temporal_contrastive_loss` of stage B: each α (between orders, with overlays), and the blocks'."""
        same, cross = self.alpha_same_overlay, self.alpha_cross_overlay
        return {
            "alpha_same": (self.alpha_same, self.alpha_same if same is None else same),
            "alpha_cross": (self.alpha_cross, self.alpha_cross if cross is None else cross),
            "block_weights": (1.0, self.reverse_weight, self.overlay_weight)[:num_blocks],
        }
