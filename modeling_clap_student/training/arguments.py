"""The arguments of a training run: transformers' own, and the few of the method."""

import copy
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from ..losses import NORMALIZATIONS


@dataclass(repr=False)  # the base class's hides tokens
class ClapStudentTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the method's weights and defaults that suit contrastive training.

    Raises:
        ValueError: a weight or probability outside [0, 1], or a temperature that does not fit.
    """

    soft_label_weight: float = field(
        default=0.3,
        metadata={"help": "Weight of the teacher's similarities in the targets, in [0, 1]. 0: hard labels."},
    )
    soft_label_normalization: str = field(
        default="l1", metadata={"help": "How similarities become target rows.", "choices": list(NORMALIZATIONS)}
    )
    soft_label_temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the softmax normalization."}
    )
    replay_probability: float = field(
        default=0.5, metadata={"help": "Probability that an optimiser step is drawn from the replay set."}
    )
    license: str = field(default="unknown", metadata={"help": "Licence of the weights, for the model card."})
    seed: int = field(default=0, metadata={"help": "Of weights, dropout, crops and the order of the data."})
    learning_rate: float = field(default=1e-4, metadata={"help": "The initial learning rate of AdamW."})
    num_train_epochs: float = field(default=20.0, metadata={"help": "Total number of training epochs."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Pairs a process and step."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "The learning rate's course."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Steps of warm-up; below 1, a share of all steps."})
    logging_steps: float = field(default=10, metadata={"help": "Log every so many steps."})
    # Hidden NaN losses would train on; the rows carry columns that no model takes.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Leave NaN losses out of the log."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay off: the collator needs them."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "All parameters are used."})
    disable_tqdm: bool | None = field(default=False, metadata={"help": "Hide the progress bars."})
    report_to: str | None = field(default="none", metadata={"help": "Where to report: tensorboard, wandb, trackio …"})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    hub_strategy: str = field(default="end", metadata={"help": "When to push, with --push_to_hub."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep."})

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()  # joins several processes on CPUs too
        super().__post_init__()
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type != "cpu"
        for name in ("soft_label_weight", "replay_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name} must lie in [0, 1], got {getattr(self, name)}")
        if (self.soft_label_temperature is not None) != (self.soft_label_normalization == "softmax"):
            raise ValueError(
                "--soft_label_temperature goes with --soft_label_normalization softmax, and with it alone"
            )
        if self.per_device_train_batch_size < 2:
            raise ValueError("--per_device_train_batch_size must be at least 2: one pair has no negatives")

    def __getstate__(self) -> dict:
        """What `training_args.bin` holds, which travels with a pushed model: everything but tokens."""
        return {name: None if name.endswith("_token") else value for name, value in self.__dict__.items()}

    def __deepcopy__(self, memo: dict) -> "ClapStudentTrainingArguments":
        """A copy within the process keeps its tokens."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


__all__ = ["ClapStudentTrainingArguments"]
