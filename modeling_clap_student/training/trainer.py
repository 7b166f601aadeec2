"""The Trainer: contrastive for the teacher, soft labels and replay for the student."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate.utils import broadcast
from datasets import Dataset, IterableDataset, concatenate_datasets
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from ..checkpoints.loading import as_checkpoint, as_student
from ..data.corpora import as_pairs, as_sets
from ..data.replay import DrawnRows, ReplaySampler
from ..data.streams import as_stream
from ..errors import InputError
from ..utils.memory import keep_freed_memory
from ..version import __version__
from .arguments import ClapStudentTrainingArguments
from .augmentation import masked, mixed
from .checkpointing import CheckpointingMixin, stop_at_bad_loss
from .distillation import Distillation
from .distributed import fit_for_sharding, make_whole, synchronise
from .frozen_teacher import FrozenTeacher, same_front_end
from .gradient_cache import cache_gradients
from .hearing import check_alike, make_collator
from .objective import global_loss
from .optimization import FinalWeights, freeze, parameter_groups
from .record import RecordMixin, hyperparameters, model_source
from .streaming import StreamingMixin, check_steps, mixed_stream
from .validation import PairValidation, ValidatingMixin


_PAIR_COLUMNS = ["audio", "audio_id", "caption"]


def _count(data: Dataset | IterableDataset) -> int | None:
    return len(data) if isinstance(data, Dataset) else None


def _check_arguments(args) -> None:
    if not isinstance(args, ClapStudentTrainingArguments):
        raise InputError(f"args must be ClapStudentTrainingArguments(…), and these are {type(args).__name__}")


class _TellEpoch(TrainerCallback):
    """Tells the sampler its epoch. With several processes, `Trainer` does not do that when a run is resumed."""

    sampler: ReplaySampler | None = None

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        if self.sampler is not None:
            self.sampler.set_epoch(state.global_step // self.sampler.num_steps)


class ClapStudentTrainer(StreamingMixin, CheckpointingMixin, RecordMixin, ValidatingMixin, Trainer):
    """`transformers.Trainer` whose `compute_loss` is the soft-label objective over the batch of all processes.

    Without a teacher, or with `soft_label_weight=0`, the objective is the plain contrastive loss.

    Examples:
        >>> trainer = ClapStudentTrainer(student, ClapStudentTrainingArguments("out"), improvement, teacher=teacher)
        >>> trainer.train()

    Args:
        model: a `ClapStudentModel`, transformers' `ClapModel`, the name of a checkpoint, or a pair of a model and its
            processor.
        args: `ClapStudentTrainingArguments`.
        train_dataset: pairs of audio and captions: a table as `as_pairs` takes it, or a stream, which needs
            `args.max_steps` and is saved every `args.save_steps`; or an object with `pairs` and `replay` (or None),
            such as an Improvement-Set.
        replay_dataset: further pairs; a step is drawn from them with `args.replay_probability`. A table or a stream.
        teacher: a `ClapStudentModel`, transformers' `ClapModel`, another model that can teach, the name of a
            checkpoint, or a pair of a model and its processor. With your own `data_collator`, it must take the same
            inputs as the student, or the collator must know its processor.
        validation: scores the model at each evaluation. It is called with the model, and names the score that selects
            checkpoints, like `evaluation.validation.Validation`.
        record: content of the model card that the Trainer does not know: `origin`, `datasets`, ….
        column_mapping: for columns with other names, theirs -> ours: `{"file": "audio", "text": "caption"}`.
        eval_dataset: a table, or a dict of tables, for the loss and the recall of retrieval.
        retention: a further term of the loss, for what the student should keep. It is called with the model, the
            spectrograms of a batch's crops and the number of the step.
        compute_metrics: further scores, computed from `predictions`, the unit vectors of clips and captions, and
            `label_ids`, the row of each caption's clip.
        processing_class: by default the model's own processor.
        data_collator: by default a `ClapCollator`, which lists clips that can't be read in
            `args.output_dir/skipped.csv`, and stops the training when they are more than a tenth.

    Raises:
        InputError: another kind of model or arguments, data that can't be trained on, several GPUs without a launcher,
            or a teacher with another sampling rate or vocabulary whose processor the collator does not know.
    """

    args: ClapStudentTrainingArguments
    model: Any  # a student, perhaps wrapped
    data_collator: Any
    processing_class: Any
    validation: Any

    def __init__(
        self,
        model,
        args: ClapStudentTrainingArguments,
        train_dataset,
        replay_dataset: Dataset | IterableDataset | None = None,
        teacher: Any = None,
        validation: Callable[[nn.Module], dict[str, float]] | None = None,
        record: dict | None = None,
        column_mapping: Mapping[str, str] | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class=None,
        data_collator: Callable[[list[dict]], dict] | None = None,
        retention: Callable[[nn.Module, Tensor, int], Tensor] | None = None,
        **kwargs,
    ):
        _check_arguments(args)
        model = model if processing_class is None else (model, processing_class)
        model, processing_class = as_student(model, needs_processor=data_collator is None)
        args.refuse_data_parallel()
        self.column_mapping = column_mapping
        train_dataset, replay_dataset = as_sets(train_dataset, replay_dataset, column_mapping)
        eval_dataset = self._evaluable(eval_dataset)
        if teacher is None and args.distillation_weight:
            raise InputError("--distillation_weight draws a student to its teacher, and there is no teacher")
        taught = teacher is not None and max(args.soft_label_weight, args.distillation_weight) > 0
        self.list_of_skipped = None
        if data_collator is None:
            teacher, teacher_processor = as_checkpoint(teacher) if taught else (None, None)
            data_collator = make_collator(model, processing_class, args, teacher_processor)
            self.list_of_skipped = data_collator.reader.skipped
        sets: list[Any] = [data for data in (train_dataset, replay_dataset) if data is not None]
        self.num_curated, self.num_replay = (
            _count(train_dataset),
            0 if replay_dataset is None else _count(replay_dataset),
        )
        if any(isinstance(data, IterableDataset) for data in sets):
            check_steps(args)
            sets = [as_stream(data) if isinstance(data, Dataset) else data for data in sets]
            train_dataset = mixed_stream(args, *sets)
        else:
            train_dataset = DrawnRows(concatenate_datasets([data.select_columns(_PAIR_COLUMNS) for data in sets]))
        if args.world_size > 1 and args.sync_batch_norm and not args.freeze_batch_norm:
            model = synchronise(model.to(args.device))
        self.validation = validation
        self.frozen = freeze(model, args.freeze_audio_encoder, args.freeze_text_encoder, args.freeze_batch_norm)
        if args.device.type == "cpu":
            keep_freed_memory()
        # Channels-last convolutions are about a third faster on CPUs, and use tensor cores on GPUs.
        super().__init__(
            model=model.to(memory_format=torch.channels_last),
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset if validation is None else getattr(validation, "pairs", None),
            processing_class=processing_class,
            data_collator=data_collator,
            **kwargs,
        )
        needs_whole_weights = bool(args.ema_decay or args.start_share)
        fit_for_sharding(model, self.accelerator, needs_whole_weights)
        self.model_accepts_loss_kwargs = False  # the loss is a mean: Trainer divides by accumulation steps
        self.teacher = self._frozen(teacher) if taught and teacher is not None else None
        self.distillation = self._make_distillation()
        self._epochs = _TellEpoch()
        self.add_callback(self._epochs)
        self.final_weights = None
        if needs_whole_weights:
            self.final_weights = FinalWeights(self.model, args.ema_decay, args.start_share)
            self.add_callback(self.final_weights)
        self.retention = retention
        if retention is not None and self.is_fsdp_enabled:
            raise InputError("--retain_order needs the whole model in each process: not with FSDP")
        self.facts = record or {}
        self._chunks: list[dict] | None = None
        self._logged = (time.perf_counter(), 0)

    def _make_distillation(self) -> Distillation | None:
        args = self.args
        if self.teacher is None or not args.distillation_weight:
            return None
        dims = self.model.config.projection_dim, self.teacher.model.config.projection_dim
        if dims[0] != dims[1] and args.caches_gradients:
            raise InputError(
                f"--distillation_weight and --contrastive_batch_size don't go together for embeddings of {dims[0]} "
                f"and {dims[1]} dimensions"
            )
        distillation = Distillation(args.distillation_weight, *dims, args.seed, args.device)
        self.add_callback(distillation)
        return distillation

    def _frozen(self, teacher: nn.Module) -> FrozenTeacher:
        """The teacher, on the student's device. Also notes whether one spectrogram is enough for both."""
        its_processor = getattr(self.data_collator, "teacher_processor", None)
        if its_processor is None:
            check_alike(teacher, self.model)
        # A flag or the launcher may have asked for autocast.
        dtype = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32
        self.shared_front_end = same_front_end(teacher, self.model)
        if not self.shared_front_end and getattr(self.data_collator, "spectrograms", None) is not None:
            raise InputError("--spectrogram_cache keeps the student's spectrograms, and the teacher's are others")
        tokenizer = (its_processor or self.processing_class).tokenizer
        return FrozenTeacher(teacher.to(self.args.device), tokenizer, dtype)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """As `Trainer.train`. The model's record is then that of this training.

        Args:
            resume_from_checkpoint: a checkpoint's folder; True or "last" for the newest whole one.

        Raises:
            InputError: no checkpoint to resume from, or a checkpoint of another run.
        """
        model, trainer_args = self.accelerator.unwrap_model(self.model), self.args
        soft = self.teacher is not None
        model.config.record = {
            "version": __version__,
            "license": trainer_args.license,
            "origin": "Trained on pairs of audio and text.",
            "objective": "contrastive, with the teacher's soft labels" if soft else "contrastive",
            "start": model_source(model),
            "teacher": model_source(self.teacher.model) if soft else None,
            **self.facts,
            "num_pairs": self.num_curated,
            "num_replay": self.num_replay,
            "world_size": trainer_args.world_size,
            "selected_by": self._selection(),
            "num_threads": torch.get_num_threads(),
            "mixed_precision": self.accelerator.mixed_precision,  # a launcher may have asked for it
            "hyperparameters": hyperparameters(trainer_args),
        }
        if resume_from_checkpoint:
            resume_from_checkpoint = self.checkpoint_to_resume(resume_from_checkpoint)
        self._logged = (time.perf_counter(), self.state.global_step)
        with self.list_of_skipped.listing() if self.list_of_skipped else nullcontext():
            result = super().train(resume_from_checkpoint or None, *args, **kwargs)
        make_whole(model)
        # Each process's batch norms may have seen other clips. The main process's are saved, and evaluated next.
        for buffer in model.buffers():
            broadcast(buffer)
        return result

    def _selection(self) -> str | None:
        """For the card: the score that selected the checkpoint."""
        metric = self.args.metric_for_best_model
        if not self.args.load_best_model_at_end:
            return None
        return f"{metric} on held-out pairs" if self.validation is None else self.validation.selects_by(metric)

    def _evaluable(self, data, name: str = "eval_dataset"):
        """Converts a value of `eval_dataset` to our columns."""
        if isinstance(data, dict):
            return {part: self._evaluable(table, f"{name} {part}") for part, table in data.items()}
        if isinstance(data, IterableDataset):
            raise InputError(f"{name} is a stream, and clips are ranked among all of them: give a table")
        return None if data is None else as_pairs(data, self.column_mapping, name)

    def validation_on(self, dataset: Dataset) -> PairValidation:
        """Returns the object that scores the model on a dataset of any kind that `eval_dataset` takes."""
        if dataset is None:
            raise InputError("there is nothing to evaluate on: give an eval_dataset")
        if dataset is not self.eval_dataset:
            dataset = self._evaluable(dataset)
        skipped, args = self.data_collator.reader.skipped, self.args
        options = {"compute_metrics": self.compute_metrics, "progress": not args.disable_tqdm}
        return PairValidation(self.processing_class, dataset, skipped, args.pairs_in_loss, **options)

    def _get_train_sampler(self, train_dataset=None) -> ReplaySampler:
        args = self.args
        assert self.num_curated is not None and self.num_replay is not None  # streams have their own sampling
        self._epochs.sampler = ReplaySampler(
            self.num_curated,
            self.num_replay,
            args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
            args.replay_probability,
            args.seed if args.data_seed is None else args.data_seed,
        )
        return self._epochs.sampler

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`. With `layer_wise_lr_decay`, deeper layers learn more slowly."""
        args, model = self.args, self.model if model is None else model
        is_new = self.optimizer is None
        if is_new and args.layer_wise_lr_decay < 1:
            decayed = set(self.get_decay_parameter_names(model))
            groups = parameter_groups(model, args.learning_rate, args.weight_decay, decayed, args.layer_wise_lr_decay)
            optimizer, options = self.get_optimizer_cls_and_kwargs(args, model)
            self.optimizer = optimizer(groups, **options)
        super().create_optimizer(model)
        optimizer = self.optimizer
        assert optimizer is not None
        if self.distillation is not None and is_new:
            self.distillation.add_to(optimizer, args.learning_rate)
        return optimizer

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As `Trainer.get_batch_samples`. Also keeps the parts of a batch whose gradients are cached."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._chunks = batches if self.args.caches_gradients else None
        return batches, count

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """As `Trainer.training_step`. Before the first part of a cached batch, all its parts are embedded."""
        if self._chunks is not None:
            self._embed_chunks(model, self._chunks)
            self._chunks = None
        return super().training_step(model, inputs, num_items_in_batch)

    def _embed_chunks(self, model, chunks: list[dict]) -> None:
        """Replaces each chunk's batch by the data that the second pass needs."""
        self._train_mode(model)
        clips = [audio_id for chunk in chunks for audio_id in chunk["audio_id"]]
        prepared = [self._prepared(self._prepare_inputs(chunk)) for chunk in chunks]
        inputs_of_chunks, facts = [inputs for inputs, _ in prepared], [fact for _, fact in prepared]
        scale, loss_of = self.accelerator.unwrap_model(model).logit_scales, self._loss()
        cached = cache_gradients(model, inputs_of_chunks, facts, scale, loss_of)
        stop_at_bad_loss(cached[0].loss, clips, self.state.global_step + 1, str(self.args.output_dir))
        for chunk, inputs, gradient in zip(chunks, inputs_of_chunks, cached, strict=True):
            chunk.clear()
            chunk |= inputs | {"cached": gradient}

    def _train_mode(self, model) -> None:
        model.train()
        for module in self.frozen:
            module.eval()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The objective over the global batch, `global_loss`. Teacher and student get exactly the same crops."""
        inputs, student = dict(inputs), self.accelerator.unwrap_model(model)
        if model.training:
            self._train_mode(model)
        if cached := inputs.pop("cached", None):
            with cached.same_randomness():
                outputs = model(**inputs)
            loss = cached.surrogate(outputs.audio_embeds, outputs.text_embeds, student.logit_scales)
        else:
            clips = inputs["audio_id"]
            inputs, facts = self._prepared(inputs)
            outputs = model(**inputs)
            loss = self._loss()(outputs.audio_embeds, outputs.text_embeds, student.logit_scales, facts)
            stop_at_bad_loss(loss, clips, self.state.global_step + 1, str(self.args.output_dir))
        if self.retention is not None and model.training:
            loss = loss + self.retention(student, inputs["input_features"], self.state.global_step)
        return (loss, outputs) if return_outputs else loss

    def _loss(self) -> Callable[..., Tensor]:
        return partial(global_loss, args=self.args, distillation=self.distillation)

    @torch.no_grad()
    def _prepared(self, batch: dict) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The student's inputs from a batch, and the facts about its pairs that the objective needs."""
        args, student = self.args, self.accelerator.unwrap_model(self.model)
        facts = {name: batch[name] for name in ("audio_key", "caption_key")}
        waveforms = mixture = batch.get("input_values")
        if args.mixup_alpha and waveforms is not None:
            mixture, mixing = mixed(waveforms, args.mixup_alpha)
            facts |= mixing
        spectrograms = batch["input_features"] if mixture is None else student.log_mel(mixture)
        if self.teacher is not None:
            if "teacher_audio" in batch:
                audio = batch["teacher_audio"]
            elif self.shared_front_end and mixture is waveforms:
                audio = {"input_features": spectrograms}
            else:
                audio = {"input_features": self.teacher.model.log_mel(waveforms)}
            facts["teacher_audio"] = self.teacher.embed_audio(audio, batch.get("teacher_windows"))
            facts["teacher_text"] = self.teacher.embed_texts(batch["caption"])
        if args.time_mask or args.frequency_mask:
            spectrograms = masked(spectrograms, args.time_mask, args.frequency_mask)
        text = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return {"input_features": spectrograms, **text}, facts

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `Trainer.log`. Also gives the pairs per second since the last call."""
        if "loss" in logs:
            args, (then, step) = self.args, self._logged
            self._logged = (time.perf_counter(), self.state.global_step)
            pairs = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
            logs["samples_per_second"] = round(pairs * (self._logged[1] - step) / (self._logged[0] - then), 2)
        super().log(logs, start_time)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        for part in (self.final_weights, self.distillation):
            if part is not None and self.args.should_save:
                part.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        for part in (self.final_weights, self.distillation):
            if part is not None and checkpoint is not None:
                part.load(checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.final_weights is not None and self.state.best_model_checkpoint is not None:
            self.final_weights.load(self.state.best_model_checkpoint)

    def weights_to_score(self) -> AbstractContextManager:
        """The weights that a training would end with now."""
        return nullcontext() if self.final_weights is None else self.final_weights.in_place()
