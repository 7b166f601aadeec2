"""Processor of the CLAP student: its feature extractor and its tokenizer in one object."""

import warnings

from transformers import BatchEncoding, ProcessorMixin


# Microsoft's CLAP reads so many tokens of a text, and was trained so.
MAX_TEXT_LENGTH = 100


class ClapStudentProcessor(ProcessorMixin):
    """Called with `text=` and / or `audio=`, returns what `ClapStudentModel` takes.

    Texts are padded to the longest, and cut after 100 tokens with a warning.

    Args:
        feature_extractor: a `ClapStudentFeatureExtractor`.
        tokenizer: a BERT tokenizer.
    """

    def __init__(self, feature_extractor, tokenizer, **kwargs):
        super().__init__(feature_extractor, tokenizer, **kwargs)

    def __call__(self, *args, **kwargs):
        text_kwargs = {"padding": True, "truncation": True, "max_length": MAX_TEXT_LENGTH}
        text_kwargs |= kwargs.pop("text_kwargs", {})
        text_kwargs |= {name: kwargs.pop(name) for name in list(text_kwargs) if name in kwargs}
        if not text_kwargs["truncation"]:
            del text_kwargs["max_length"]
        inputs = super().__call__(*args, text_kwargs=text_kwargs, **kwargs)
        if "input_ids" in inputs and text_kwargs["truncation"]:
            _warn_if_cut(inputs["input_ids"], text_kwargs["max_length"])
        return inputs


def tokenize(tokenizer, texts: list[str]) -> BatchEncoding:
    """Texts to padded tensors, at most 100 tokens each, or fewer where the tokenizer's model takes fewer.

    Warns if a text may have been cut.
    """
    length = min(MAX_TEXT_LENGTH, tokenizer.model_max_length)
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    _warn_if_cut(tokens["input_ids"], length)
    return tokens


def _warn_if_cut(input_ids, length: int) -> None:
    if len(input_ids) == 0:
        return
    rows = [input_ids] if isinstance(input_ids[0], int) else input_ids  # a single text is a flat list
    if max(map(len, rows)) >= length:
        warnings.warn(f"a text fills all {length} tokens: what goes beyond is cut", stacklevel=3)


ClapStudentProcessor.register_for_auto_class()

__all__ = ["MAX_TEXT_LENGTH", "ClapStudentProcessor", "tokenize"]
