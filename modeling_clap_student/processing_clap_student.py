"""Processor of the CLAP student: its feature extractor and its tokenizer in one object."""

from transformers import ProcessorMixin

from .feature_extraction_clap_student import ClapStudentFeatureExtractor


class ClapStudentProcessor(ProcessorMixin):
    """Called with `text=` and / or `audio=`, returns what `ClapStudentModel` takes.

    Args:
        feature_extractor: a `ClapStudentFeatureExtractor`.
        tokenizer: a BERT tokenizer.
    """

    feature_extractor_class = "ClapStudentFeatureExtractor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, feature_extractor, tokenizer, **kwargs):
        super().__init__(feature_extractor, tokenizer, **kwargs)

    @staticmethod
    def get_possibly_dynamic_module(module_name):
        # transformers would also search its video mapping, which can't be searched without torchvision.
        if module_name == ClapStudentFeatureExtractor.__name__:
            return ClapStudentFeatureExtractor
        return ProcessorMixin.get_possibly_dynamic_module(module_name)


__all__ = ["ClapStudentProcessor"]
