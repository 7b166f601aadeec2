"""The Trainer: contrastive for the teacher, soft labels and replay for the student."""

import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn
from transformers import Trainer
from transformers.models.clap.modeling_clap import ClapOutput

from ..data.replay import ReplaySampler
from ..errors import InputError
from ..losses import contrastive_loss, soft_contrastive_loss, soft_targets
from .gather import gather


_PAIR_COLUMNS = ["audio", "audio_id", "caption"]


class FrozenTeacher:
    """A teacher that gives embeddings and nothing else.

    It is no `nn.Module`, so that no student can adopt it into its state dict, its `.train()` or its optimiser.

    Args:
        model: a `ClapStudentModel`; is frozen and put into eval mode.
    """

    def __init__(self, model: nn.Module):
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, **inputs: Tensor) -> ClapOutput:
        """Scores a batch, in eval mode whatever anyone did to the model in between."""
        return self.model.eval()(**inputs)

    def to(self, device: torch.device) -> "FrozenTeacher":
        self.model.to(device)
        return self

    def shares_front_end(self, student: nn.Module) -> bool:
        """Whether both make the same spectrogram, to the bit, so that one is enough."""
        mine, theirs = self.model.audio_model.front_end, student.audio_model.front_end
        return (
            mine.config.hop_length == theirs.config.hop_length
            and mine.window.shape == theirs.window.shape
            and mine.mel_filters.shape == theirs.mel_filters.shape
            and bool((mine.window == theirs.window).all() and (mine.mel_filters == theirs.mel_filters).all())
        )


class ClapStudentTrainer(Trainer):
    """`transformers.Trainer` whose `compute_loss` is the soft-label objective over the batch of all processes.

    Without a teacher, or with `soft_label_weight=0`, the objective is the plain contrastive loss.

    Args:
        train_dataset: pairs with `audio`, `audio_id` and `caption`.
        replay_dataset: further pairs, from which a step is drawn with `args.replay_probability`.
        teacher: a `ClapStudentModel` with the student's tokenizer and sampling rate.

    Raises:
        InputError: several GPUs without a launcher, or a teacher of another sampling rate or vocabulary.
    """

    def __init__(
        self,
        model,
        args,
        train_dataset: Dataset,
        replay_dataset: Dataset | None = None,
        teacher: nn.Module | None = None,
        **kwargs,
    ):
        if args.n_gpu > 1:
            # DataParallel would compute the loss with each GPU's own negatives, and say nothing.
            raise InputError(
                f"{args.n_gpu} GPUs without a launcher would not share negatives: start with "
                f"`accelerate launch --num_processes {args.n_gpu} …` or set CUDA_VISIBLE_DEVICES=0"
            )
        self.num_curated = len(train_dataset)
        self.num_replay = 0 if replay_dataset is None else len(replay_dataset)
        if replay_dataset is not None:
            train_dataset = concatenate_datasets(
                [train_dataset.select_columns(_PAIR_COLUMNS), replay_dataset.select_columns(_PAIR_COLUMNS)]
            )
        # Channels-last convolutions are about a third faster on CPUs and use tensor cores on GPUs.
        super().__init__(
            model=model.to(memory_format=torch.channels_last), args=args, train_dataset=train_dataset, **kwargs
        )
        self.model_accepts_loss_kwargs = False  # the loss is a mean: Trainer divides it among accumulation steps
        self.teacher = None
        self.shared_front_end = True
        if teacher is not None and args.soft_label_weight > 0:
            self._check_teacher(teacher, model)
            self.teacher = FrozenTeacher(teacher.to(memory_format=torch.channels_last)).to(args.device)
            self.shared_front_end = self.teacher.shares_front_end(model)

    @staticmethod
    def _check_teacher(teacher, student) -> None:
        theirs, ours = teacher.config, student.config
        if theirs.audio_config.sampling_rate != ours.audio_config.sampling_rate:
            raise InputError(
                f"the teacher hears {theirs.audio_config.sampling_rate} Hz and the student "
                f"{ours.audio_config.sampling_rate} Hz: they must see the same crop"
            )
        if theirs.text_config.vocab_size != ours.text_config.vocab_size:
            raise InputError(
                f"the teacher's vocabulary has {theirs.text_config.vocab_size} tokens and the student's "
                f"{ours.text_config.vocab_size}: they must read the same tokens"
            )

    def _get_train_sampler(self, train_dataset=None) -> ReplaySampler:
        args = self.args
        return ReplaySampler(
            self.num_curated,
            self.num_replay,
            args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
            args.replay_probability,
            args.seed if args.data_seed is None else args.data_seed,
        )

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The objective over the global batch.

        L = ½ [KL(yᵃ ‖ softmax(C)) + KL(yᵗ ‖ softmax(Cᵀ))] with yᵃ from the teacher's audio–audio and yᵗ from its
        text–text similarities of the very same crops and captions.
        """
        inputs = dict(inputs)
        positives = self._positives(inputs.pop("audio_key"), inputs.pop("caption_key"))
        teacher_inputs = dict(inputs)
        student = self.accelerator.unwrap_model(model)
        inputs["input_features"] = student.audio_model.log_mel(inputs.pop("input_values"))
        if self.shared_front_end:
            teacher_inputs["input_features"] = inputs["input_features"]
            del teacher_inputs["input_values"]

        outputs = model(**inputs)
        logits_per_audio = student.logit_scale.exp() * gather(outputs.audio_embeds) @ gather(outputs.text_embeds).T
        if self.teacher is None:
            loss = contrastive_loss(logits_per_audio.float(), positives)
        else:
            loss = soft_contrastive_loss(logits_per_audio.float(), *self._targets(teacher_inputs, positives))
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def _positives(audio_key: Tensor, caption_key: Tensor) -> Tensor:
        """(B, B) bool over the global batch: the same clip, or the same caption."""
        audio_key, caption_key = gather(audio_key), gather(caption_key)
        return (audio_key[:, None] == audio_key) | (caption_key[:, None] == caption_key)

    def _targets(self, inputs: dict[str, Tensor], positives: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.teacher(**inputs)
        args = self.args

        def rows(embeds: Tensor) -> Tensor:
            embeds = gather(embeds.float())
            return soft_targets(
                embeds @ embeds.T,
                args.soft_label_weight,
                args.soft_label_normalization,
                args.soft_label_temperature,
                positives,
            )

        return rows(outputs.audio_embeds), rows(outputs.text_embeds)


__all__ = ["ClapStudentTrainer", "FrozenTeacher"]
