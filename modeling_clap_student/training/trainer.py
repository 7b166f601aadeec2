"""The Trainer: contrastive for the teacher, soft labels and replay for the student."""

from pathlib import Path

import torch
from datasets import Dataset, IterableDataset, concatenate_datasets
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import Trainer
from transformers.trainer_utils import IntervalStrategy

from ..data.mixing import MixedStream
from ..data.replay import DrawnRows, ReplaySampler
from ..data.streams import as_stream
from ..encoding_clap_student import average_windows
from ..errors import InputError
from ..hub_clap_student import fingerprint
from ..losses import contrastive_loss, soft_contrastive_loss, soft_targets
from ..model_card_clap_student import model_card
from ..modeling_clap_student import ClapStudentModel
from ..version import __version__
from .gather import gather
from .record import hyperparameters, model_source
from .sharding import fit_for_sharding, make_whole


_PAIR_COLUMNS = ["audio", "audio_id", "caption"]
_STREAM_COLUMNS = [*_PAIR_COLUMNS, "origin_id"]  # by which evaluation clips are known


def check_steps(args) -> None:
    """A stream has no length.

    Raises:
        InputError: nothing says when to stop, or when to save.
    """
    if args.max_steps <= 0:
        raise InputError("--max_steps is missing: a stream can't be counted, so that no epoch ends the training")
    if args.save_strategy == "epoch":
        args.save_strategy = IntervalStrategy.STEPS


def _count(data: Dataset | IterableDataset) -> int | None:
    return len(data) if isinstance(data, Dataset) else None


class FrozenTeacher:
    """A teacher that gives embeddings and nothing else.

    It is no `nn.Module`, so that no student can adopt it into its state dict, its `.train()` or its optimiser.

    Args:
        model: any CLAP with `get_audio_features` and `get_text_features`; is frozen and put into eval mode.
    """

    def __init__(self, model: nn.Module):
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, audio: dict[str, Tensor], text: dict[str, Tensor], num_windows: Tensor | None = None):
        """Embeds a batch, in eval mode whatever anyone did to the model in between.

        Args:
            audio, text: arguments of `get_audio_features` and `get_text_features`.
            num_windows: (clips,) consecutive windows of each clip; one each by default.

        Returns:
            (clips, dim) and (texts, dim), float32, normalised.
        """
        model = self.model.eval()
        audio_embeds = model.get_audio_features(**audio).pooler_output.float()
        if num_windows is not None:
            audio_embeds = average_windows(audio_embeds, num_windows)
        return audio_embeds, model.get_text_features(**text).pooler_output.float()

    def to(self, device: torch.device) -> "FrozenTeacher":
        self.model.to(device)
        return self

    def shares_front_end(self, student: nn.Module) -> bool:
        """Whether both make the same spectrogram, to the bit, so that one is enough."""
        if not isinstance(self.model, ClapStudentModel):
            return False
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
        train_dataset: pairs with `audio`, `audio_id` and `caption`: a table, or a stream, which needs
            `args.max_steps` and is saved every `args.save_steps`.
        replay_dataset: further pairs, from which a step is drawn with `args.replay_probability`: a table or a stream.
        teacher: a model with the student's tokenizer and sampling rate; any CLAP where the collator knows its
            processor.
        record: what the model card shall tell beside what the Trainer knows: `origin`, `datasets`, ….

    Raises:
        InputError: several GPUs without a launcher, or a teacher of another sampling rate or vocabulary whose
            processor the collator does not know.
    """

    def __init__(
        self,
        model,
        args,
        train_dataset: Dataset | IterableDataset,
        replay_dataset: Dataset | IterableDataset | None = None,
        teacher: nn.Module | None = None,
        record: dict | None = None,
        **kwargs,
    ):
        if args.n_gpu > 1:
            # DataParallel would compute the loss with each GPU's own negatives, and say nothing.
            raise InputError(
                f"{args.n_gpu} GPUs without a launcher would not share negatives: start with "
                f"`accelerate launch --num_processes {args.n_gpu} …` or set CUDA_VISIBLE_DEVICES=0"
            )
        sets = [data for data in (train_dataset, replay_dataset) if data is not None]
        self.num_curated, self.num_replay = (
            _count(train_dataset),
            0 if replay_dataset is None else _count(replay_dataset),
        )
        if any(isinstance(data, IterableDataset) for data in sets):
            check_steps(args)
            sets = [as_stream(data) if isinstance(data, Dataset) else data for data in sets]
            train_dataset = self._mixed(args, *(stream.select_columns(_STREAM_COLUMNS) for stream in sets))
        else:
            train_dataset = DrawnRows(concatenate_datasets([data.select_columns(_PAIR_COLUMNS) for data in sets]))
        self._stream_loader: StatefulDataLoader | None = None
        # Channels-last convolutions are about a third faster on CPUs and use tensor cores on GPUs.
        super().__init__(
            model=model.to(memory_format=torch.channels_last), args=args, train_dataset=train_dataset, **kwargs
        )
        fit_for_sharding(model, self.accelerator)
        self.model_accepts_loss_kwargs = False  # the loss is a mean: Trainer divides it among accumulation steps
        self.teacher = None
        self.shared_front_end = True
        if teacher is not None and args.soft_label_weight > 0:
            if getattr(self.data_collator, "teacher_processor", None) is None:
                self._check_teacher(teacher, model)
            self.teacher = FrozenTeacher(teacher.to(memory_format=torch.channels_last)).to(args.device)
            self.shared_front_end = self.teacher.shares_front_end(model)

        self.facts = record or {}

    @staticmethod
    def _mixed(args, curated: IterableDataset, replay: IterableDataset | None = None) -> MixedStream:
        # Where a resumed run goes on is told by the stream's own state, not by reading all up to there once more.
        args.ignore_data_skip = True
        return MixedStream(
            curated,
            replay,
            args.train_batch_size,
            args.gradient_accumulation_steps,
            args.replay_probability,
            args.seed if args.data_seed is None else args.data_seed,
            args.process_index,
            args.world_size,
        )

    def get_train_dataloader(self) -> DataLoader:
        """As `Trainer.get_train_dataloader`; a stream is shared among processes and workers here, by its shards."""
        if not isinstance(self.train_dataset, MixedStream):
            return super().get_train_dataloader()
        self._stream_loader = StatefulDataLoader(
            self.train_dataset,
            batch_size=None,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            # Of its own: starting a loader draws a number, and a resumed run, which starts one more, would go on with
            # other dropout.
            generator=torch.Generator().manual_seed(self.args.seed),
        )
        return self._stream_loader

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self._stream_loader is not None:
            torch.save(self._stream_loader.state_dict(), self._stream_state(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if self._stream_loader is not None and checkpoint is not None:
            self._stream_loader.load_state_dict(torch.load(self._stream_state(checkpoint), weights_only=True))

    def _stream_state(self, folder: str) -> Path:
        return Path(folder, f"stream_state_{self.args.process_index}.pth")

    def train(self, *args, **kwargs):
        """As `Trainer.train`; from here on the model's record is that of this training.

        Raises:
            InputError: nothing to resume from.
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
            "mixed_precision": self.accelerator.mixed_precision,  # which a launcher may have asked for
            "hyperparameters": hyperparameters(trainer_args),
        }
        try:
            result = super().train(*args, **kwargs)
            make_whole(model)
            return result
        except ValueError as error:
            if "checkpoint" not in str(error) or isinstance(error, InputError):
                raise
            raise InputError(f"can't resume: {str(error).splitlines()[0]}") from error

    def init_hf_repo(self, *args, **kwargs) -> None:
        """As `Trainer.init_hf_repo`: the Hub repository is made before the training that it is for.

        Raises:
            InputError: no right to, or no connection.
        """
        try:
            super().init_hf_repo(*args, **kwargs)
        except Exception as error:  # the client's own errors, and those of whichever HTTP library it uses
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"can't make the Hub repository {self.args.hub_model_id}: {reason}") from error

    def create_model_card(self, model_name: str | None = None, license: str | None = None, **kwargs) -> None:
        """Writes README.md into the output folder from the model's record.

        Args:
            license: instead of the one in the arguments.
            model_name, kwargs: as in `Trainer`; the record tells better.
        """
        if self.is_world_process_zero():
            model, folder = self.accelerator.unwrap_model(self.model), Path(self.args.output_dir)
            record = {**(getattr(model.config, "record", None) or {}), "fingerprint": fingerprint(model)}
            model.config.record = record | ({"license": license} if license else {})
            model.config.save_pretrained(folder)
            model_card(self.args.hub_model_id or str(folder), model.config).save(folder / "README.md")

    @staticmethod
    def _check_teacher(teacher, student) -> None:
        theirs, ours = teacher.config, student.config
        if theirs.model_type != ours.model_type:
            raise InputError(
                f"a {theirs.model_type!r} teacher hears and reads otherwise: give its processor to the collator, "
                "ClapCollator(…, teacher_processor=…)"
            )
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
        own = {name: inputs.pop(name) for name in list(inputs) if name.startswith("teacher_")}
        input_values, text = inputs.pop("input_values"), inputs
        student = self.accelerator.unwrap_model(model)
        audio = {"input_features": student.audio_model.log_mel(input_values)}
        outputs = model(**audio, **text)
        logits_per_audio = student.logit_scale.exp() * gather(outputs.audio_embeds) @ gather(outputs.text_embeds).T
        if self.teacher is None:
            loss = contrastive_loss(logits_per_audio.float(), positives)
        else:
            if own:
                embeds = self.teacher(own["teacher_audio"], own["teacher_text"], own["teacher_windows"])
            else:
                embeds = self.teacher(audio if self.shared_front_end else {"input_values": input_values}, text)
            loss = soft_contrastive_loss(logits_per_audio.float(), *self._targets(*embeds, positives))
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def _positives(audio_key: Tensor, caption_key: Tensor) -> Tensor:
        """(B, B) bool over the global batch: the same clip, or the same caption."""
        audio_key, caption_key = gather(audio_key), gather(caption_key)
        return (audio_key[:, None] == audio_key) | (caption_key[:, None] == caption_key)

    def _targets(self, audio_embeds: Tensor, text_embeds: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        args = self.args

        def rows(embeds: Tensor) -> Tensor:
            embeds = gather(embeds)
            return soft_targets(
                embeds @ embeds.T,
                args.soft_label_weight,
                args.soft_label_normalization,
                args.soft_label_temperature,
                positives,
            )

        return rows(audio_embeds), rows(text_embeds)


__all__ = ["ClapStudentTrainer", "FrozenTeacher", "check_steps"]
