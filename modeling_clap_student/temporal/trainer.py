"""Makes a CLAP that can hear the order of sounds, and trains it by TeminAL's stages."""

import copy
import math
from collections.abc import Callable

import torch
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer

from ..checkpoints.inference import for_inference
from ..checkpoints.protocol import AudioTextModel, AudioTextProcessor
from ..errors import InputError
from ..losses import temporal_contrastive_loss
from ..modeling_clap_student import ClapStudentModel
from ..training.checkpointing import CheckpointingMixin, stop_at_bad_loss
from ..training.frozen_teacher import FrozenTeacher
from ..training.objective import gather, row_counts
from ..training.optimization import batch_norms, groups_by_rate
from ..training.record import RecordMixin, hyperparameters, model_source
from ..training.validation import ValidatingMixin
from ..utils.memory import keep_freed_memory
from ..version import __version__
from .collation import AGAIN
from .scenes import SECONDS


def order_aware(model: AudioTextModel, processor: AudioTextProcessor, pooling: str) -> AudioTextModel:
    """A copy of a model whose poolings, of frames and of tokens, may tell order, and which hears whole scenes at once.

    Its vectors are the model's own at first, for windows of the same length: what a new pooling adds starts at 0. Its
    processor's windows are as long as a scene. A model that has only its own pooling is copied as it is.

    Args:
        pooling: `attention`, or `mean_max` to leave the poolings as they are.

    Raises:
        InputError: a model with its own pooling alone, whose windows are not as long as a scene.
    """
    if not model.poolings:
        extractor = processor.feature_extractor
        if extractor.window_samples != SECONDS * extractor.sampling_rate:
            seconds = extractor.window_samples / extractor.sampling_rate
            raise InputError(f"this model hears windows of {seconds:g} s, and a scene lasts {SECONDS:g} s")
        return copy.deepcopy(model)
    config = copy.deepcopy(model.config)
    if pooling == "attention":
        config.audio_config.temporal_pooling = config.text_pooling = pooling
    aware = ClapStudentModel(config)
    missing = aware.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert all(name.startswith(_POOLINGS) for name in missing), missing
    aware.processor = copy.deepcopy(processor)
    aware.processor.feature_extractor.window_seconds = SECONDS
    return aware.train(model.training)


_POOLINGS = ("audio_model.pooling.", "text_pooling.")


def learning_rates(model: nn.Module, learning_rate: float, encoder_learning_rate: float) -> dict[str, float]:
    """Name of each parameter -> its learning rate: what lies above the towers' layers learns at the full one."""
    return {
        name: encoder_learning_rate if name.startswith(model.encoders) else learning_rate
        for name, _ in model.named_parameters()
    }


def choose_what_learns(
    model: AudioTextModel, frozen_pooling: bool, freeze_audio_encoder: bool, freeze_text_encoder: bool = False
) -> None:
    """Stops weights from learning, in a model where all learn.

    `frozen_pooling` is the authors' choice: only what lies behind the pooling learns (`fc1`, the projections), and the
    text tower's last layer.
    """
    frozen = [name for name in model.encoders if name.startswith("audio_model.")] if freeze_audio_encoder else []
    frozen += ["text_model."] if freeze_text_encoder else []
    for weight in model.unused_parameters():
        weight.requires_grad_(False)
    last = f"text_model.encoder.layer.{model.config.text_config.num_hidden_layers - 1}."
    for name, parameter in model.named_parameters():
        if frozen_pooling:
            behind = not name.startswith((*model.encoders, *_POOLINGS, "logit_scale"))
            parameter.requires_grad_(behind or name.startswith(last))
        elif name.startswith(tuple(frozen)):
            parameter.requires_grad_(False)


_TEXTS_AT_ONCE, _LENGTH_STEP = 8, 16
_MOST_TEXT_BYTES = 2**30  # of what is kept


class CaptionReader:
    """What a frozen text tower, a `BertModel` in eval mode, makes of captions' tokens: each caption is read once.

    The tower always sees as many captions, padded to a length that follows from each one's own, so that a caption gets
    the same states, to the bit, in whatever company and whether or not a run was interrupted.
    """

    def __init__(self, tower: nn.Module):
        self.tower = tower
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._bytes = 0

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(texts, tokens) of both, padded at the end -> (texts, tokens, hidden size) float32, 0 for the padding."""
        texts = [
            tuple(row[:count])
            for row, count in zip(input_ids.tolist(), attention_mask.sum(dim=1).tolist(), strict=True)
        ]
        states = {text: self._kept[text] for text in texts if text in self._kept}
        states |= self._read([text for text in dict.fromkeys(texts) if text not in states])
        padded = torch.zeros(*input_ids.shape, self.tower.config.hidden_size, device=input_ids.device)
        for row, text in enumerate(texts):
            padded[row, : len(text)] = states[text]
        return padded

    def _read(self, texts: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for text in texts:
            by_length.setdefault(-(-len(text) // _LENGTH_STEP) * _LENGTH_STEP, []).append(text)
        states = {}
        for length, group in by_length.items():
            for start in range(0, len(group), _TEXTS_AT_ONCE):
                chunk = group[start : start + _TEXTS_AT_ONCE]
                filled = chunk + chunk[:1] * (_TEXTS_AT_ONCE - len(chunk))
                states |= zip(chunk, self._states(filled, length), strict=False)
        for text, state in states.items():
            if self._bytes + state.nbytes <= _MOST_TEXT_BYTES:
                self._kept[text] = state
                self._bytes += state.nbytes
        return states

    def _states(self, texts: list[tuple[int, ...]], length: int) -> list[Tensor]:
        length = min(length, self.tower.config.max_position_embeddings)
        device = self.tower.device
        ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts], device=device)
        lengths = torch.tensor([[len(text)] for text in texts], device=device)
        mask = (torch.arange(length, device=device) < lengths).long()
        states = self.tower(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return [state[: len(text)].clone() for state, text in zip(states, texts, strict=True)]


class SceneNumbers(Dataset):
    """The numbers of a run's `count` scenes, in its order; behind the last distinct one, the first is heard again."""

    def __init__(self, count: int, distinct: int):
        self.count, self.distinct = count, distinct

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> dict:
        return {"number": place % self.distinct, "visit": place // self.distinct, "progress": place / self.count}


class TemporalTrainer(CheckpointingMixin, RecordMixin, ValidatingMixin, Trainer):
    """`transformers.Trainer` whose `compute_loss` is L_A or L_B, or both, over the batch of all processes.

    To it comes the retention term, λ · mean ‖z − z₀‖² over single sounds and their prompts, where z₀ is what the base
    model makes of them. Batch norms keep the base's statistics.

    Args:
        model: a `ClapStudentModel`, as `order_aware` makes it.
        args: `TemporalTrainingArguments`.
        base: the model before its post-training.
        validation: scores the model at each evaluation.
        record: what the model card shall tell: `origin`, `stage`, `connectives`, ….
        kwargs: as for `Trainer`; `data_collator` is a `SceneCollator`.
    """

    def __init__(
        self,
        model,
        args,
        base: nn.Module | None = None,
        validation: Callable[[nn.Module], dict[str, float]] | None = None,
        record: dict | None = None,
        **kwargs,
    ):
        args.refuse_data_parallel()
        choose_what_learns(model, args.frozen_pooling, args.freeze_audio_encoder, args.freeze_text_encoder)
        if args.device.type == "cpu":
            keep_freed_memory()
        self.validation = validation
        at_once = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        super().__init__(
            model=model.to(memory_format=torch.channels_last),
            args=args,
            train_dataset=SceneNumbers(args.max_steps * at_once, args.num_scenes),
            eval_dataset=validation and SceneNumbers(args.validation_scenes, args.validation_scenes),
            **kwargs,
        )
        self.model_accepts_loss_kwargs = False  # the loss is a mean: Trainer divides it among accumulation steps
        dtype = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32
        self.base = None
        if base is not None and args.retention_weight > 0:
            own = getattr(base, "processor", None) or self.processing_class  # a word may be new to the model
            self.base = FrozenTeacher(base.to(args.device), own.tokenizer, dtype)
        self.read = None
        if model.poolings:  # what lies below them can be kept where it does not learn
            if not learns(model.audio_model.bn0, model.audio_model.blocks) and same_convolutions(model, base):
                self._listen_once(for_inference(model.to(args.device), dtype).audio_model)
            if not learns(model.text_model):
                self.read = CaptionReader(for_inference(model.to(args.device), dtype).text_model)
        self.facts = record or {}

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """As `Trainer.train`; from here on the model's record is that of this training."""
        model = self.accelerator.unwrap_model(self.model)
        model.config.record = {
            "version": __version__,
            "license": self.args.license,
            "objective": "temporal contrastive" + (", with retention" if self.base is not None else ""),
            "start": model_source(model),
            **self.facts,
            "world_size": self.args.world_size,
            "num_threads": torch.get_num_threads(),
            "mixed_precision": self.accelerator.mixed_precision,
            "hyperparameters": hyperparameters(self.args),
        }
        if resume_from_checkpoint:
            resume_from_checkpoint = self.checkpoint_to_resume(resume_from_checkpoint)
        result = super().train(resume_from_checkpoint or None, *args, **kwargs)
        for buffer in model.buffers():
            broadcast(buffer)
        return result

    def _listen_once(self, tower: nn.Module) -> None:
        """Scenes go through convolutions that do not learn once, with a faster copy of them, and are kept."""
        if self.args.dataloader_num_workers:
            raise InputError(
                "--dataloader_num_workers is useless with --freeze_audio_encoder: each scene is heard once, and kept"
            )

        @torch.no_grad()
        def listen(waveforms: Tensor) -> Tensor:
            return tower.frames(tower.log_mel(waveforms.to(self.args.device))).cpu()

        self.data_collator.listen = listen

    def _get_train_sampler(self, train_dataset=None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`; the towers' layers learn at their own rate."""
        args, model = self.args, self.model if model is None else model
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(model))
            rates = learning_rates(model, args.learning_rate, args.encoder_learning_rate)
            optimizer, options = self.get_optimizer_cls_and_kwargs(args, model)
            self.optimizer = optimizer(groups_by_rate(model, rates, args.weight_decay, decayed), **options)
        return super().create_optimizer(model)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The stages' losses over the global batch, and the retention term over its single sounds."""
        if model.training:
            self._train_mode(model)
        unwrapped = self.accelerator.unwrap_model(model)
        features = {name: inputs[name] for name in (*_AUDIO, "input_ids", "attention_mask") if name in inputs}
        if self.read is not None:
            features["token_states"] = self.read(features.pop("input_ids"), features["attention_mask"])
        outputs = model(**features)
        audio, text = outputs.audio_embeds, outputs.text_embeds
        loss = temporal_objective(
            audio, text, unwrapped.logit_scales.mean(), inputs["keys"], inputs["facts"], inputs["parts"], self.args
        )
        if self.base is not None and inputs["num_single"]:
            loss = loss + self.args.retention_weight * self._drift(audio, text, inputs)
        stop_at_bad_loss(loss, inputs["audio_id"], self.state.global_step + 1, self.args.output_dir)
        return (loss, outputs) if return_outputs else loss

    def _drift(self, audio: Tensor, text: Tensor, inputs: dict) -> Tensor:
        """How far single sounds and prompts have moved, mean ‖z − z₀‖², of this process: DDP takes the mean of all."""
        size = inputs["num_single"]
        sounds = self.base.embed_audio({name: inputs[name][-size:] for name in _AUDIO if name in inputs})
        prompts = self.base.embed_texts(inputs["prompts"])
        drift = (audio[-size:] - sounds).square().sum(dim=1) + (text[-size:] - prompts).square().sum(dim=1)
        return drift.mean() / 2

    def _train_mode(self, model) -> None:
        """Batch norms stay as they are."""
        model.train()
        for norm in batch_norms(model):
            norm.eval()


_AUDIO = ("input_values", "input_frames")


def learns(*modules: nn.Module) -> bool:
    return any(weight.requires_grad for module in modules for weight in module.parameters())


def same_convolutions(model: nn.Module, base: nn.Module | None) -> bool:
    """Whether the convolutions of both give the same frames; they do where there is no base."""
    if base is None:
        return True
    ours, theirs = (
        {name: value for name, value in weights.items() if not name.startswith(("pooling.", "fc1."))}
        for weights in (model.audio_model.state_dict(), base.audio_model.state_dict())
    )
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours)


def temporal_objective(
    audio_embeds: Tensor,
    text_embeds: Tensor,
    logit_scale: Tensor,
    keys: Tensor,
    facts: Tensor,
    parts: list[tuple[str, int, int]],
    args,
) -> Tensor:
    """The sum of the stages' losses over the scenes of all processes; the same in each of them.

    Other captions of scenes (`again`) are compared with the scenes, and with what the method's captions of them say, a
    target that does not give way: the words are learnt from these, with none of the audio's errors.

    Args:
        audio_embeds, text_embeds: (N, dim) and (M, dim) normalised, of this process, block by block.
        logit_scale: scalar, its logarithm; it acts within [0, log 100].
        keys, facts, parts: as `SceneCollator` gives them.
    """
    scale = logit_scale.clamp(0, math.log(100)).exp()
    total = audio_embeds.new_zeros((), dtype=torch.float32)
    heard, said = slice(0, 0), slice(0, 0)  # the rows of a part, in what is heard and in captions
    for stage, num_blocks, scenes in parts:
        rows, counts = num_blocks * scenes, row_counts(scenes, audio_embeds.device)
        told = slice(said.start, said.start + rows)
        said = slice(said.stop, said.stop + rows)
        start = heard.start if stage == AGAIN else heard.stop
        heard = slice(start, start + rows)
        sources = [audio_embeds[heard]] + ([text_embeds[told].detach()] if stage == AGAIN else [])
        text, key, true, *sources = (
            torch.cat([gather(block, counts) for block in of_part.tensor_split(num_blocks)])
            for of_part in (text_embeds[said], keys[said], facts[heard], *sources)
        )
        # Stage A's negatives are all alike.
        weights = {} if stage == "a" else args.loss_weights(num_blocks)
        for source in sources:
            # In bfloat16 a logit of 15 comes in steps of 1/16: coarser than what two orders differ by at first.
            with torch.autocast(source.device.type, enabled=False):
                exact = torch.promote_types(source.dtype, torch.float32)
                logits = scale.to(exact) * source.to(exact) @ text.to(exact).T
            total = total + temporal_contrastive_loss(logits, num_blocks, keys=key, facts=true, **weights)
    return total
