"""Processor of the CLAP student: its feature extractor and its tokenizer in one object."""

import re
import warnings

from transformers import BatchEncoding, ProcessorMixin


# Microsoft's CLAP was trained with texts of at most this many tokens.
MAX_TEXT_LENGTH = 100


class ClapStudentProcessor(ProcessorMixin):
    """Takes `text=`, `audio=` or both, and returns the inputs of `ClapStudentModel`.

    Texts are padded to the longest one, and cut after 100 tokens with a warning.

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
            _warn_if_cut(_most_tokens(inputs["input_ids"]), text_kwargs["max_length"])
        return inputs


def label_text(label: str) -> str:
    """A class name as words: underscores and slashes become blanks."""
    return " ".join(re.sub(r"[_/]", " ", label).split())


def longest_text(tokenizer) -> int:
    """The most tokens of a text: 100, or fewer where the tokenizer's model takes fewer."""
    return min(MAX_TEXT_LENGTH, tokenizer.model_max_length)


def tokenize(tokenizer, texts: list[str], length: int | None = None) -> BatchEncoding:
    """Texts to tensors, padded to the longest of them, or to `length` tokens.

    Warns if a text may have been cut.
    """
    longest = longest_text(tokenizer)
    padding, max_length = (True, longest) if length is None else ("max_length", length)
    tokens = tokenizer(texts, padding=padding, truncation=True, max_length=max_length, return_tensors="pt")
    _warn_if_cut(int(tokens["attention_mask"].sum(dim=1).max()), longest)
    return tokens


def _most_tokens(input_ids) -> int:
    if len(input_ids) == 0:
        return 0
    rows = [input_ids] if isinstance(input_ids[0], int) else input_ids  # a single text is a flat list
    return max(map(len, rows))


def _warn_if_cut(tokens: int, length: int) -> None:
    if tokens >= length:
        warnings.warn(f"a text fills all {length} tokens: what goes beyond is cut", stacklevel=3)


ClapStudentProcessor.register_for_auto_class()

__all__ = ["MAX_TEXT_LENGTH", "ClapStudentProcessor", "label_text", "longest_text", "tokenize"]
