"""Uses any `SentenceTransformer` that embeds audio and text as a teacher."""

import os
import sys
from collections.abc import Hashable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from transformers import FeatureExtractionMixin, PreTrainedTokenizerBase

from ..data.sources import ST
from ..errors import InputError
from ..hub_clap_student import cached_commit
from .foreign import ForeignModel, NoTokenizer, Origin, find_windows, first_line, refuse_damaged


KIND = "sentence_transformers"


class SentenceTransformerModel(ForeignModel):
    """Clips and texts are embedded by the model's own `encode`."""

    def embed_samples(self, clips: list[np.ndarray]) -> Tensor:
        rate = self.processor.feature_extractor.sampling_rate
        return self._encode([{"array": clip, "sampling_rate": rate} for clip in clips])

    def embed_strings(self, texts: list[str]) -> Tensor:
        return self._encode([_as_text(text) for text in texts])

    def text_length(self, text: str) -> Hashable:
        prompt = self.inner.prompts.get(self.inner.default_prompt_name)
        features = self.inner.preprocess([_as_text(text)], prompt=prompt)
        return tuple(sorted((name, tuple(part.shape)) for name, part in features.items() if isinstance(part, Tensor)))

    def _encode(self, items: list) -> Tensor:
        vectors = self.inner.encode(
            items, batch_size=len(items), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )
        return torch.from_numpy(vectors)


def _as_text(text: str) -> str | dict[str, str]:
    """Marks a caption as text, even if it is an address or a file's path. The library would open those as audio."""
    from sentence_transformers.base.modality import infer_modality

    return text if infer_modality(text) == "text" else {"text": text}


def load_sentence_transformer(name: str, place: str, revision: str | None, trust: bool) -> SentenceTransformerModel:
    """Loads a model that embeds audio and text.

    Args:
        name: as the user gave it, with `st:`.
        place, revision: a folder or Hub id, and its revision.
        trust: whether code in the checkpoint may run.

    Raises:
        InputError: sentence-transformers is missing, or the model can't teach. Errors of the library pass through.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            f"{name} needs sentence-transformers ({first_line(error)}): pip install 'modeling_clap_student[st]'"
        ) from error
    model = SentenceTransformer(place, device="cpu", revision=revision, trust_remote_code=trust)
    refuse_damaged(model.eval(), name)
    cache = os.getenv("SENTENCE_TRANSFORMERS_HOME")
    commits = (cached_commit(place, revision, cache, file) for file in ("modules.json", "config.json"))
    commit = next(filter(None, commits), None)
    return _teaching(model, Origin(name, KIND, commit))


def is_sentence_transformer(model) -> bool:
    """Checked without importing the library, which takes seconds."""
    library = sys.modules.get("sentence_transformers")
    return library is not None and isinstance(model, library.SentenceTransformer)


def as_teacher(model) -> SentenceTransformerModel:
    """Wraps a `SentenceTransformer` that a user has loaded. The weights are shared."""
    loaded = getattr(model.transformers_model, "name_or_path", "")
    config = getattr(model, "config", None)
    return _teaching(model, Origin(f"{ST}{loaded}" if loaded else "", KIND, getattr(config, "_commit_hash", None)))


def _teaching(model, origin: Origin) -> SentenceTransformerModel:
    missing = [modality for modality in ("audio", "text") if not model.supports(modality)]
    if missing:
        raise InputError(f"{origin} embeds no {missing[0]}: a teacher embeds audio and text")
    extractor = find_windows(_owners(model), origin, _settings(model))
    tokenizer = getattr(model[0], "tokenizer", None)
    is_usual = isinstance(tokenizer, PreTrainedTokenizerBase)
    return SentenceTransformerModel(model, origin, extractor, tokenizer if is_usual else NoTokenizer())


def _owners(model: nn.Module) -> Iterator:
    """The objects that may know how the model hears, the most specific first."""
    modules = list(model.modules())
    for module in modules:
        processor = getattr(module, "processor", None)
        yield from (getattr(processor, "feature_extractor", None), getattr(module, "feature_extractor", None))
        yield from (processor, module)
    for module in modules:
        config = getattr(module, "config", None)
        yield from (config, getattr(config, "audio_config", None))


def _settings(model) -> dict:
    """Everything beside the weights that its vectors depend on, as far as its modules say."""
    modules = [(type(module).__name__, getattr(module, "get_config_dict", dict)()) for module in model]
    extractors = {id(owner): owner.to_dict() for owner in _owners(model) if isinstance(owner, FeatureExtractionMixin)}
    return {
        "modules": modules,
        "extractors": list(extractors.values()),
        "prompt": model.prompts.get(model.default_prompt_name),
        "longest_text": model.max_seq_length,
        "dimensions": model.truncate_dim,
    }
