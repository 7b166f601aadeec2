"""Uses any transformers model with `get_audio_features`, `get_text_features` and a processor as a teacher."""

import inspect
from collections.abc import Hashable
from types import SimpleNamespace

import numpy as np
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
)

from ..errors import InputError
from ..hub_clap_student import cached_commit
from ..processing_clap_student import longest_text, tokenize
from .foreign import ForeignModel, Origin, find_windows, first_line, refuse_damaged


_METHODS = ("get_audio_features", "get_text_features")
_OUTPUTS = ("pooler_output", "audio_embeds", "text_embeds")


class AutoAudioTextModel(ForeignModel):
    """The model's feature extractor prepares the clips, and its tokenizer the texts."""

    def __init__(self, inner: PreTrainedModel, origin: Origin, processor):
        own = processor.feature_extractor
        windows = find_windows([own], origin, {"extractor": own.to_dict(), "class": type(own).__name__})
        self.feature_extractor = own
        super().__init__(inner, origin, windows, processor.tokenizer)

    def embed_samples(self, clips: list[np.ndarray]) -> Tensor:
        rate = self.processor.feature_extractor.sampling_rate
        return self._ask("get_audio_features", self.feature_extractor(clips, sampling_rate=rate, return_tensors="pt"))

    def embed_strings(self, texts: list[str]) -> Tensor:
        return self._ask("get_text_features", tokenize(self.processor.tokenizer, texts))

    def text_length(self, text: str) -> Hashable:
        tokenizer = self.processor.tokenizer
        return len(tokenizer(text, truncation=True, max_length=longest_text(tokenizer))["input_ids"])

    def _ask(self, method: str, inputs) -> Tensor:
        """Calls one of the model's own methods with the inputs that it accepts."""
        method = getattr(self.inner, method)
        takes = inspect.signature(method).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        outputs = method(**{n: v.to(self.device) for n, v in inputs.items() if n in takes or takes_all})
        if isinstance(outputs, Tensor):
            return outputs
        candidates = (getattr(outputs, name, None) for name in _OUTPUTS)
        return next((vectors for vectors in candidates if vectors is not None), outputs)


def load_auto_model(name: str, repository: str, revision: str | None, trust: bool) -> AutoAudioTextModel:
    """Loads a checkpoint that is neither this package's nor transformers' CLAP.

    Args:
        name: as the user gave it.
        repository, revision: the two parts of the name.
        trust: whether code in the checkpoint may run.

    Raises:
        InputError: it can't teach. Errors of transformers pass through.
    """
    options = {"revision": revision, "trust_remote_code": trust}
    config = AutoConfig.from_pretrained(repository, **options)
    brings_code = "AutoModel" in (getattr(config, "auto_map", None) or {})
    if not brings_code and not _can_teach(MODEL_MAPPING.get(type(config), None)):
        raise _no_teacher(name, config.model_type)
    model, report = AutoModel.from_pretrained(repository, output_loading_info=True, **options)
    if not _can_teach(model):
        raise _no_teacher(name, config.model_type)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"the weights in {name} do not fit its config: {'; '.join(missing[:3])} missing")
    refuse_damaged(model, name)
    processor = _load_processor(name, repository, options)
    origin = Origin(name, config.model_type, cached_commit(repository, revision))
    return AutoAudioTextModel(model.eval(), origin, processor)


def as_teacher(model: nn.Module, processor, trust: bool = False) -> AutoAudioTextModel:
    """Wraps a loaded model and its processor. Without a processor, loads the one from the model's origin."""
    config = model.config
    name, revision = getattr(config, "_name_or_path", ""), getattr(config, "_commit_hash", None)
    origin = Origin(name, config.model_type, revision)
    if processor is None and not name:
        raise InputError(f"{origin} has no known origin: give the pair (model, processor)")
    if processor is None:
        processor = _load_processor(name, name, {"revision": revision, "trust_remote_code": trust})
    return AutoAudioTextModel(model, origin, processor)


def is_auto_model(model) -> bool:
    """Whether it has the methods that such a model needs."""
    return isinstance(model, PreTrainedModel) and _can_teach(model)


def _can_teach(model) -> bool:
    return all(hasattr(model, method) for method in _METHODS)


def _no_teacher(name: str, kind: str) -> InputError:
    return InputError(
        f"{name} is a {kind!r} checkpoint, and a 'clap_student' or 'clap' one is needed, or another with "
        f"{' and '.join(_METHODS)}"
    )


def _load_processor(name: str, repository: str, options: dict) -> SimpleNamespace:
    """Its feature extractor and its tokenizer, from one processor or from separate files."""
    parts = {}
    try:
        whole = AutoProcessor.from_pretrained(repository, **options)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise
        whole = None
    for part, loader in (("feature_extractor", AutoFeatureExtractor), ("tokenizer", AutoTokenizer)):
        parts[part] = getattr(whole, part, None)
        if parts[part] is None:
            try:
                parts[part] = loader.from_pretrained(repository, **options)
            except Exception as error:  # transformers and tokenizers raise dozens of unrelated types
                raise InputError(f"{name} has no {part.replace('_', ' ')}: {first_line(error)}") from error
    return SimpleNamespace(**parts)
