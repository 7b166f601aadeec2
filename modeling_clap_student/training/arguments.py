"""The arguments of a training run: transformers' own, and the few of the method."""

import copy
import json
import os
from dataclasses import dataclass
from typing import ClassVar

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy, SaveStrategy, SchedulerType

from ..checkpoints.arguments import TEACHER_HELP, TRUST_HELP
from ..curation.arguments import STRATEGIES
from ..data.skipping import LeakageArguments
from ..errors import InputError
from ..losses import NORMALIZATIONS
from ..redaction_clap_student import public
from ..soundscapes import demo
from ..utils.arguments import COUNT, NOT_NEGATIVE, POSITIVE, SEED, SHARE, CheckedArguments, Range, flag
from ..utils.console import say
from ..utils.precision import NO_BFLOAT16, supports_bfloat16


@dataclass(repr=False)  # the base class's repr hides tokens
class ClapTrainingArguments(CheckedArguments, TrainingArguments):
    """`transformers.TrainingArguments` with defaults that suit every training of this package.

    Raises:
        ValueError: a value out of its range.
    """

    title: ClassVar[str] = "Training"
    ranges: ClassVar[dict[str, Range]] = {
        "per_device_train_batch_size": COUNT,
        "per_device_eval_batch_size": COUNT,
        "num_train_epochs": POSITIVE,
        "max_steps": COUNT,
        "learning_rate": NOT_NEGATIVE,
        "warmup_steps": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "adam_beta1": Range(0, 0.999999),
        "adam_beta2": Range(0, 0.999999),
        "adam_epsilon": NOT_NEGATIVE,
        "gradient_accumulation_steps": COUNT,
        "max_grad_norm": NOT_NEGATIVE,
        "label_smoothing_factor": SHARE,
        "neftune_noise_alpha": NOT_NEGATIVE,
        "torch_empty_cache_steps": COUNT,
        "logging_steps": POSITIVE,
        "eval_steps": POSITIVE,
        "eval_delay": NOT_NEGATIVE,
        "eval_accumulation_steps": COUNT,
        "save_steps": POSITIVE,
        "save_total_limit": COUNT,
        "seed": SEED,
        "data_seed": SEED,
        "dataloader_num_workers": Range(0, 1024),
        "dataloader_prefetch_factor": COUNT,
        "ddp_bucket_cap_mb": COUNT,
        "ddp_timeout": COUNT,
        "local_rank": NOT_NEGATIVE,
    }

    resume_from_checkpoint: str | None = flag(
        None, "Continue a run, from this checkpoint. Default: the last one.", nargs="?", const="last"
    )
    license: str = flag("unknown", "Licence of the weights, for the model card.")
    seed: int = flag(0, "Seed of weights, dropout, crops and the order of the data.")
    learning_rate: float = flag(1e-4, "Highest learning rate of AdamW.")
    num_train_epochs: float = flag(20.0, "Epochs to train.")
    per_device_train_batch_size: int = flag(64, "Pairs per process and step.")
    lr_scheduler_type: str = flag(
        "cosine", "How the learning rate falls.", choices=[course.value for course in SchedulerType]
    )
    warmup_steps: float = flag(0.05, "Warm-up steps. Below 1: a share of all steps.")
    logging_steps: float = flag(10, "Log the loss every this many steps.")
    # Hidden NaN losses would continue training. The rows carry columns that no model takes.
    logging_nan_inf_filter: bool = flag(False, "Leave NaN losses out of the log.")
    remove_unused_columns: bool = flag(False, "Must stay off: the collator needs all columns.")
    ddp_find_unused_parameters: bool | None = flag(False, "Look for parameters that got no gradient: there are none.")
    disable_tqdm: bool | None = flag(False, "Hide the progress bars.")
    # A command line takes one value. A value of None is settled in `__post_init__`.
    report_to: str | None = flag(  # ty: ignore[incompatible-mutable-override]
        "none", "Report to tensorboard, wandb, trackio …"
    )
    save_strategy: str | None = flag(  # ty: ignore[incompatible-attribute-override]
        None,
        "When to save a checkpoint. Default: after each epoch, or with --save_steps every that many steps.",
        choices=[moment.value for moment in SaveStrategy],
    )
    save_steps: float | None = flag(  # ty: ignore[incompatible-attribute-override]
        None, "Save a checkpoint every this many steps. Below 1: a share of all steps."
    )
    hub_strategy: str = flag(
        "end", "When to push, with --push_to_hub.", choices=[moment.value for moment in HubStrategy]
    )
    save_total_limit: int | None = flag(1, "Checkpoints to keep.")

    def __post_init__(self):
        self.check()
        if self.remove_unused_columns:
            raise ValueError("--remove_unused_columns must stay false: clips are decoded from columns no model takes")
        _check_reporting(self.report_to)
        self._check_mappings()
        if self.save_strategy is None:
            self.save_strategy = "epoch" if self.save_steps is None else "steps"
        if self.save_steps is None:
            self.save_steps = 500  # transformers' default, for streams: they have no epochs
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()  # joins several processes on CPUs too
        emulated = self.use_cpu and self._wants_bfloat16() and not supports_bfloat16()
        if emulated:
            self.bf16 = self.bf16_full_eval = False
            os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # the launcher's --mixed_precision
        TrainingArguments.__post_init__(self)
        if emulated:
            say(NO_BFLOAT16)
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type != "cpu"

    def _wants_bfloat16(self) -> bool:
        return self.bf16 or self.bf16_full_eval or os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16"

    def _check_mappings(self) -> None:
        for name in self._VALID_DICT_FIELDS:
            value = getattr(self, name)
            if isinstance(value, str) and value.startswith("{"):
                try:
                    json.loads(value)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"--{name} is no JSON: {error}") from error
        if self.optim_args and not all("=" in pair for pair in self.optim_args.replace(" ", "").split(",")):
            raise ValueError(f"--optim_args takes name=value,name=value, got {self.optim_args}")

    def refuse_data_parallel(self) -> None:
        """For a Trainer with negatives: DataParallel would silently use each GPU's own negatives only.

        Raises:
            InputError: several GPUs without a launcher.
        """
        if self.n_gpu > 1:
            raise InputError(
                f"{self.n_gpu} GPUs without a launcher would each compare only their own pairs: start with "
                f"`accelerate launch --num_processes {self.n_gpu} …` or set CUDA_VISIBLE_DEVICES=0"
            )

    def __getstate__(self) -> dict:
        """The content of `training_args.bin`, which travels with a pushed model: everything but tokens and folders."""
        return {name: None if name.endswith("_token") else public(value) for name, value in self.__dict__.items()}

    def __deepcopy__(self, memo: dict) -> "ClapTrainingArguments":
        """A copy inside the process keeps its tokens."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


def _check_reporting(report_to: str | list[str] | None) -> None:
    names = report_to if isinstance(report_to, list) else [report_to or "none"]
    names = [name for name in names if name not in ("none", "all")]
    if not names:
        return
    # Slow to import, and rarely needed.
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            names_known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise ValueError(f"--report_to {name} is unknown: give none, all or one of {names_known}")
        if name not in get_available_reporting_integrations():
            raise ValueError(f"--report_to {name} needs a package that is not installed: pip install {name}")


@dataclass(repr=False)  # the base class's repr hides tokens
class ClapStudentTrainingArguments(ClapTrainingArguments):
    """`transformers.TrainingArguments` with the method's weights and defaults that suit contrastive training.

    Raises:
        ValueError: a weight or probability outside [0, 1], or a temperature that does not fit.
    """

    title: ClassVar[str] = "The method's objective, and options of training"
    ranges: ClassVar[dict[str, Range]] = {
        "soft_label_weight": SHARE,
        "soft_label_temperature": POSITIVE,
        "distillation_weight": Range(0, 100),
        "replay_probability": SHARE,
        "contrastive_batch_size": Range(2),
        "random_gain_db": Range(0, 60),
        "mixup_alpha": Range(0, 100),
        "time_mask": Range(0, 10_000),
        "frequency_mask": Range(0, 1000),
        "layer_wise_lr_decay": Range(0.01, 1),
        "ema_decay": Range(0.01, 0.99999),
        "start_share": Range(0, 0.99),
        "validation_fraction": Range(0, 0.9),
    }

    soft_label_weight: float = flag(
        0.3, "Weight of the teacher's similarities in the targets, from 0 (hard labels) to 1."
    )
    soft_label_normalization: str = flag("l1", "How similarities become target rows.", choices=list(NORMALIZATIONS))
    soft_label_temperature: float | None = flag(None, "Temperature of the softmax normalization.")
    distillation_weight: float = flag(
        0.0, "Weight of a second loss: the cosine distance between student's and teacher's embeddings. 0: off."
    )
    replay_probability: float = flag(
        0.5, "Probability that a step rehearses instead of learning from the Improvement-Set."
    )
    contrastive_batch_size: int | None = flag(
        None,
        "Pairs that the loss compares, over all processes: a multiple of the pairs that they hold at a time. "
        "Larger batches are embedded in parts, twice (gradient caching).",
    )
    sync_batch_norm: bool = flag(True, "Let batch norms see the batch of all processes.")
    random_gain_db: float = flag(0.0, "Change each clip's level by up to this many dB.")
    mixup_alpha: float = flag(0.0, "Mix clips and their targets by Beta(α, α). 0: off.")
    time_mask: int = flag(0, "SpecAugment: mask two stripes of up to this many frames.")
    frequency_mask: int = flag(0, "SpecAugment: mask two stripes of up to this many mel bins.")
    spectrogram_cache: str | None = flag(
        None,
        "Folder that keeps the clips' spectrograms, so that each clip is decoded and analysed once. It takes "
        "35 kB per second of audio at the paper's rate. Crops then begin at whole frames.",
    )
    freeze_audio_encoder: bool = flag(False, "Train only the audio projection, not the audio tower.")
    freeze_text_encoder: bool = flag(False, "Train only the text projection, not the text tower.")
    freeze_batch_norm: bool = flag(False, "Keep the batch norms' first mean and variance; train their weights.")
    layer_wise_lr_decay: float = flag(
        1.0, "Multiply each layer's learning rate by this, from the top layer down, in (0, 1]."
    )
    ema_decay: float | None = flag(
        None, "End with a moving average of the weights, which keeps this share at each step."
    )
    start_share: float = flag(
        0.0,
        "Share of the starting weights in the final ones (WiSE-FT). With few pairs, a mixture is often better than "
        "the starting or the trained weights.",
    )
    validation_fraction: float = flag(
        0.0, "Hold out this share of the captioned recordings. Retrieval on them selects the checkpoint."
    )

    def __post_init__(self):
        if self.validation_fraction > 0 and self.eval_strategy == "no":
            if self.save_strategy is None:  # the best checkpoint must be saved when it is evaluated
                self.save_steps = self.save_steps or self.eval_steps
                self.save_strategy = "epoch" if self.save_steps is None else "steps"
            self.eval_strategy, self.load_best_model_at_end = self.save_strategy, True
            self.eval_steps = self.eval_steps or self.save_steps
            self.metric_for_best_model = self.metric_for_best_model or "recall"
        super().__post_init__()
        if (self.soft_label_temperature is not None) != (self.soft_label_normalization == "softmax"):
            raise ValueError("--soft_label_temperature is for --soft_label_normalization softmax, which needs it")
        if self.spectrogram_cache and self.mixup_alpha:
            raise ValueError("--mixup_alpha mixes waveforms, and --spectrogram_cache keeps none: give one of them")
        if self.per_device_train_batch_size < 2:
            raise ValueError("--per_device_train_batch_size must be at least 2: one pair has no negatives")
        self._set_contrastive_batch()

    def check_start(self, init: str) -> None:
        """Raises InputError if a new model should keep a share of its random weights."""
        if self.start_share and init == "fresh":
            raise InputError("--start_share keeps a share of what the start knew, and --init fresh knows nothing")

    def _set_contrastive_batch(self) -> None:
        if self.contrastive_batch_size is None:
            return
        at_once = self.train_batch_size * self.world_size
        parts = self.contrastive_batch_size // at_once
        if parts * at_once != self.contrastive_batch_size or parts == 0:
            raise ValueError(
                f"--contrastive_batch_size must be a multiple of the {at_once} pairs that all processes hold at a "
                f"time (--per_device_train_batch_size), got {self.contrastive_batch_size}"
            )
        if self.gradient_accumulation_steps not in (1, parts):
            raise ValueError(
                "--gradient_accumulation_steps follows from --contrastive_batch_size: give one of them. "
                "Accumulation alone adds no negatives"
            )
        self.gradient_accumulation_steps = parts

    @property
    def pairs_in_loss(self) -> int:
        """How many pairs are compared with each other, over all processes."""
        return self.contrastive_batch_size or self.train_batch_size * self.world_size

    @property
    def caches_gradients(self) -> bool:
        """Whether the loss compares more pairs than are embedded at a time."""
        return self.contrastive_batch_size is not None and self.gradient_accumulation_steps > 1


@dataclass
class TeacherArguments(LeakageArguments):
    title: ClassVar[str] = "Data"
    ranges: ClassVar[dict[str, Range]] = {"subset_fraction": Range(0, 1, above=True)}

    corpus: list[str] | None = flag(
        None, "Captioned audio: NAME[:FOLDS]=PATH, a folder, a csv or a Hub id. Takes several.", several=True
    )
    task: list[str] | None = flag(None, "Evaluation sets. Their clips are left out of the training.", several=True)
    init: str = flag(
        "fresh",
        "Start from a checkpoint (folder or Hub id) of this package or of transformers' CLAP, or fresh: from "
        "a new model, which --text_model, --audio_weights, --base_channels … describe.",
    )
    subset_fraction: float = flag(1.0, "Train on this share of the pairs.")

    def __post_init__(self):
        super().__post_init__()
        self.corpus = self.corpus or [demo.NAME]


@dataclass
class StudentArguments(LeakageArguments):
    title: ClassVar[str] = "Data and strategy"
    ranges: ClassVar[dict[str, Range]] = {"retain_order_weight": Range(0, 1000, above=True)}

    strategy: str = flag(help="How the pairs were curated.", choices=[*STRATEGIES, "none"])
    teacher: str | None = flag(None, f"{TEACHER_HELP} Default: the one that curated the set.")
    trust_remote_code: bool = flag(False, TRUST_HELP)
    improvement_set: str | None = flag(None, "The pairs that curate.py made: a folder or Hub id.")
    replay: list[str] | None = flag(
        None,
        "Corpora to rehearse, instead of the Improvement-Set's own. With --strategy none: the corpora to "
        "train on, instead of the teacher's.",
        several=True,
    )
    task: list[str] | None = flag(
        None,
        "Evaluation sets for teacher and student: NAME[:FOLDS]=PATH. Their clips are never trained on.",
        several=True,
    )
    init: str = flag(
        "teacher",
        "Start from the teacher, from a checkpoint (folder or Hub id), or fresh: from a new model, which "
        "--text_model, --audio_weights, --base_channels … describe.",
    )

    retain_order: bool | None = flag(
        None,
        "Keep what the start knows of the order of sounds, by soft targets of scenes. Default: where it knows any.",
    )
    retain_order_weight: float = flag(3.0, "Weight of these soft targets.")

    def __post_init__(self):
        super().__post_init__()
        if self.trust_remote_code and self.teacher is None:
            raise ValueError("--trust_remote_code lets the code of a --teacher that you name run: name it")
