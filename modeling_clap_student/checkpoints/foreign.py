"""Audio-text models of other libraries. They can teach and be evaluated, but not be trained.

Clips reach them as samples and texts as strings; their own code does the rest. A clip gets the same vector, to the
bit, whatever is beside it: it is never padded to its neighbours' length. On a CPU it is embedded alone, because in a
batch its place may change the last bits. Elsewhere all batches have one size, filled up with repeats.
"""

import copy
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..classification_clap_student import ClassifyingMixin
from ..encoding_clap_student import embed_in_groups
from ..errors import InputError


DEFAULT_SECONDS = 10.0  # the window where the model does not say
_SHORTEST, _LONGEST = 0.1, 600.0  # seconds; an attribute with another value is not a window
_CUTS = "in a tokenizer.json, a truncation cuts clips as well as texts: set it to null"


@dataclass
class SampleWindows:
    """Cuts clips into windows of samples. The last one ends where the clip ends.

    Attributes:
        sampling_rate: Hz.
        window_samples: samples in a window.
        settings: everything else that decides how the model embeds a clip or a text.
    """

    sampling_rate: int
    window_samples: int
    settings: dict = field(default_factory=dict)
    model_input_names = ("values",)

    def windows(self, waveform: np.ndarray) -> np.ndarray:
        """(samples,) -> (windows, window_samples) float32. After the end of a shorter clip comes NaN."""
        size = self.window_samples
        starts = [*range(0, len(waveform) - size, size), max(0, len(waveform) - size)]
        windows = np.full((len(starts), size), np.nan, np.float32)
        for window, start in zip(windows, starts, strict=True):
            part = waveform[start : start + size]
            window[: len(part)] = part
        return windows

    def to_json_string(self) -> str:
        """Everything that an embedding depends on."""
        own = {"sampling_rate": self.sampling_rate, "window_samples": self.window_samples}
        return json.dumps(own | self.settings, sort_keys=True, default=str)


class NoTokenizer:
    """Stands in for the tokenizer of a model that has none like transformers'."""

    model_max_length = 10**9

    def get_vocab(self) -> dict:
        return {}


@dataclass
class Origin:
    """Where a model came from: the name that the user gave, the kind of model, and the Hub's commit."""

    name: str
    kind: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.name or f"this {self.kind} model"


class ForeignModel(ClassifyingMixin, nn.Module):
    """A model of another library, with the interface in `checkpoints.protocol`. Subclasses say how it embeds.

    Args:
        inner: the model. It is not changed; a model in half precision is copied.
        origin: where it came from.
        extractor: cuts its windows.
        tokenizer: its own, for code that needs the vocabulary.

    Raises:
        InputError: it fails, is random, does not hear its whole window, or has two embedding spaces.
    """

    def __init__(self, inner: nn.Module, origin: Origin, extractor: SampleWindows, tokenizer):
        super().__init__()
        self.inner, self.origin = _in_float32(inner), origin
        self.dtype = torch.float32
        self.processor = SimpleNamespace(feature_extractor=extractor, tokenizer=tokenizer)
        self.config = SimpleNamespace(
            model_type=origin.kind, _name_or_path=origin.name, _commit_hash=origin.revision, projection_dim=None
        )
        was_training = inner.training
        self.eval()
        self.config.projection_dim = self._probe()
        self.train(was_training)

    def embed_samples(self, clips: list[np.ndarray]) -> Tensor:
        """Clips of one length, (samples,) float32 each, to (clips, dim)."""
        raise NotImplementedError

    def embed_strings(self, texts: list[str]) -> Tensor:
        """Texts of one `text_length` to (texts, dim)."""
        raise NotImplementedError

    def text_length(self, text: str) -> Hashable:
        """Equal for texts that can be embedded together without padding."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of the factor of the cosines."""
        for name, weight in self.inner.named_parameters():
            if name.rpartition(".")[2] in ("logit_scale", "logit_scale_a") and weight.numel() == 1:
                return weight.reshape(())
        raise InputError(
            f"{self.origin} does not tell its logit scale, so no probability can be computed: curate "
            "with --pair_threshold as a cosine, --pair_quantile or --num_pairs, and without --contrast_labels"
        )

    def num_parameters(self) -> int:
        return sum(weight.numel() for weight in self.parameters())

    def computing_in(self, dtype: torch.dtype) -> "ForeignModel":
        """A copy that computes in another dtype; its weights stay float32."""
        other = copy.deepcopy(self)
        other.dtype = dtype
        return other

    @torch.no_grad()
    def get_audio_features(self, values: Tensor) -> BaseModelOutputWithPooling:
        """(windows, samples) as `SampleWindows` makes them -> `pooler_output` (windows, dim), unit vectors.

        Shorter clips are batched with clips of their own length. There may be many lengths, so batches are smaller.
        """
        rows = values.float().cpu().numpy()
        clips = [row[: len(row) - np.isnan(row).sum()] for row in rows]
        by_length = defaultdict(list)
        for place, clip in enumerate(clips):
            by_length[len(clip)].append(place)
        embeds = torch.empty(len(rows), self.config.projection_dim, device=values.device)
        for length, places in by_length.items():
            size = self._at_once(len(rows) if length == rows.shape[1] else 8)
            for first in range(0, len(places), size):
                batch = places[first : first + size]
                filled = batch + [batch[0]] * (size - len(batch))
                embeds[batch] = self._clip_vectors([clips[place] for place in filled])[: len(batch)].to(embeds)
        return BaseModelOutputWithPooling(pooler_output=embeds)

    def embed_texts(self, texts: list[str], description: str | None = None) -> Tensor:
        """Embeds each distinct text once: (texts, dim) float32 unit vectors on the CPU."""

        def by_length(texts: list[str]) -> dict[Hashable, list[str]]:
            groups = defaultdict(list)
            for text in texts:
                groups[self.text_length(text)].append(text)
            return groups

        def embed(texts: list[str], length: Hashable) -> Tensor:
            return self._vectors(self.embed_strings, texts, f"a text such as {texts[0][:60]!r}")

        return embed_in_groups(texts, by_length, embed, self._at_once(32), description)

    def encode_text(self, texts, batch_size: int | None = None, show_progress_bar: bool | None = None) -> Tensor:
        """As `ClapStudentModel.encode_text`. The model chooses how many texts it embeds at a time."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        was_training = self.training
        self.eval()
        embeds = self.embed_texts(texts, "texts" if show_progress_bar else None)
        self.train(was_training)
        return embeds

    def _at_once(self, count: int) -> int:
        return 1 if self.device.type == "cpu" else count

    def _clip_vectors(self, clips: list[np.ndarray]) -> Tensor:
        seconds = len(clips[0]) / self.processor.feature_extractor.sampling_rate
        return self._vectors(self.embed_samples, clips, f"a clip of {seconds:.3g} s")

    @torch.no_grad()
    def _vectors(self, embed: Callable[[list], Tensor], items: list, what: str) -> Tensor:
        """(items, dim) float32 unit vectors."""
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                vectors = embed(items)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # another library, or code from the Hub, may raise anything
            raise InputError(f"{self.origin} can't embed {what}: {first_line(error)}") from error
        if not isinstance(vectors, Tensor) or vectors.dim() != 2 or len(vectors) != len(items):
            shape = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise InputError(f"{self.origin} makes {shape} of {len(items)} times {what}, and not a vector of each")
        return F.normalize(vectors.float(), dim=-1)

    def _probe(self) -> int:
        """The length of its embeddings. Refuses a model that would embed something other than its input."""
        extractor = self.processor.feature_extractor
        size, seconds = extractor.window_samples, extractor.window_samples / extractor.sampling_rate
        clip = np.random.default_rng(0).uniform(-0.5, 0.5, size).astype(np.float32)
        half = np.where(np.arange(size) < size // 2, clip, 0).astype(np.float32)
        first, again, of_half = (self._clip_vectors([heard])[0] for heard in (clip, clip, half))
        text = self._vectors(self.embed_strings, ["a sound"], "a text")[0]
        if len(first) != len(text):
            raise InputError(
                f"{self.origin} makes {len(first)} numbers of a clip and {len(text)} of a text: a teacher needs one "
                "space for both"
            )
        if (first - again).abs().max() > 1e-4:
            raise InputError(f"{self.origin} gives the same clip another vector each time ({_CUTS})")
        if (first - of_half).abs().max() < 1e-7:
            raise InputError(f"{self.origin} hears only a part of a window of {seconds:.3g} s ({_CUTS})")
        return len(first)


def _in_float32(inner: nn.Module) -> nn.Module:
    halved = any(weight.is_floating_point() and weight.dtype != torch.float32 for weight in inner.parameters())
    return copy.deepcopy(inner).float() if halved else inner


def first_line(error: Exception) -> str:
    """An error's message, short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def refuse_damaged(model: nn.Module, name: str) -> None:
    """Raises an InputError if a weight is not finite."""
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise InputError(f"the weights in {name} hold NaN or infinite values: {key} does")


def find_windows(owners: Iterable[Any], name: object, settings: dict) -> SampleWindows:
    """The sampling rate and the window, from the first object that has them.

    Args:
        owners: feature extractors, processors, modules, configs.
        name: the model's, for the error.
        settings: for `SampleWindows`.

    Raises:
        InputError: no object has a sampling rate, or one fuses random parts.
    """
    for owner in owners:
        rate = getattr(owner, "sampling_rate", None)
        if isinstance(rate, int) and rate > 0:
            if getattr(owner, "truncation", None) == "fusion":
                raise InputError(f"{name} draws at random which clip is fused: name the checkpoint without st:")
            return SampleWindows(rate, _window_samples(owner, rate), settings)
    raise InputError(f"{name} does not tell its sampling rate: its feature extractor needs a sampling_rate")


def _window_samples(owner: Any, rate: int) -> int:
    in_samples = [getattr(owner, name, None) for name in ("window_samples", "nb_max_samples", "n_samples")]
    names = ("max_length_s", "window_seconds", "chunk_length_s", "chunk_length")
    in_seconds = [getattr(owner, name, None) for name in names]
    lengths = [number / rate for number in in_samples if isinstance(number, (int, float))] + in_seconds
    for seconds in lengths:
        if isinstance(seconds, (int, float)) and _SHORTEST <= seconds <= _LONGEST:
            return round(seconds * rate)
    return round(DEFAULT_SECONDS * rate)
