"""Processor of the CLAP student: its feature extractor and its tokenizer in one object."""

from transformers import ProcessorMixin


class ClapStudentProcessor(ProcessorMixin):
    """Called with `text=` and / or `audio=`, returns what `ClapStudentModel` takes.

    Args:
        feature_extractor: a `ClapStudentFeatureExtractor`.
        tokenizer: a BERT tokenizer.
    """

    def __init__(self, feature_extractor, tokenizer, **kwargs):
        super().__init__(feature_extractor, tokenizer, **kwargs)


__all__ = ["ClapStudentProcessor"]
