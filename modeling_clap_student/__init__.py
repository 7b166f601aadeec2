"""Audio-text models that improve without labels: teacher, curation, student.

Importing the package costs next to nothing: each name is loaded at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import ClipError, InputError
from .utils.registration import register_auto_classes
from .version import __version__


if TYPE_CHECKING:  # for editors and type checkers, which don't run `__getattr__`
    from .checkpoints.loading import classify
    from .configuration_clap_student import ClapStudentAudioConfig, ClapStudentConfig
    from .curation.curate import curate
    from .evaluation.zero_shot import evaluate_zero_shot
    from .feature_extraction_clap_student import ClapStudentFeatureExtractor
    from .modeling_clap_student import ClapStudentAudioModel, ClapStudentModel
    from .processing_clap_student import ClapStudentProcessor
    from .training.arguments import ClapStudentTrainingArguments
    from .training.trainer import ClapStudentTrainer
    from .utils.window_plot import plot_windows


# Name -> the module that defines it.
_MODULES = {
    "ClapStudentAudioConfig": "configuration_clap_student",
    "ClapStudentAudioModel": "modeling_clap_student",
    "ClapStudentConfig": "configuration_clap_student",
    "ClapStudentFeatureExtractor": "feature_extraction_clap_student",
    "ClapStudentModel": "modeling_clap_student",
    "ClapStudentProcessor": "processing_clap_student",
    "ClapStudentTrainer": "training.trainer",
    "ClapStudentTrainingArguments": "training.arguments",
    "classify": "checkpoints.loading",
    "curate": "curation.curate",
    "evaluate_zero_shot": "evaluation.zero_shot",
    "plot_windows": "utils.window_plot",
}

__all__ = [*_MODULES, "ClipError", "InputError", "__version__"]


def __getattr__(name: str):
    if name in ("conversion", "losses"):  # modules with functions for everybody
        return import_module(f".{name}", __name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_auto_classes()
