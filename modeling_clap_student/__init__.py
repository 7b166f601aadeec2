"""Audio-text models that improve without labels: teacher, curation, student."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor

from .configuration_clap_student import ClapStudentAudioConfig, ClapStudentConfig
from .errors import ClipError, InputError
from .evaluation.zero_shot import evaluate_zero_shot
from .feature_extraction_clap_student import ClapStudentFeatureExtractor
from .modeling_clap_student import ClapStudentAudioModel, ClapStudentModel
from .processing_clap_student import ClapStudentProcessor
from .training.arguments import ClapStudentTrainingArguments
from .training.trainer import ClapStudentTrainer
from .version import __version__


AutoConfig.register("clap_student", ClapStudentConfig)
AutoConfig.register("clap_student_audio_model", ClapStudentAudioConfig)
AutoModel.register(ClapStudentConfig, ClapStudentModel)
AutoModel.register(ClapStudentAudioConfig, ClapStudentAudioModel)
AutoFeatureExtractor.register(ClapStudentConfig, ClapStudentFeatureExtractor)
AutoProcessor.register(ClapStudentConfig, ClapStudentProcessor)

__all__ = [
    "ClapStudentAudioConfig",
    "ClapStudentAudioModel",
    "ClapStudentConfig",
    "ClapStudentFeatureExtractor",
    "ClapStudentModel",
    "ClapStudentProcessor",
    "ClapStudentTrainer",
    "ClapStudentTrainingArguments",
    "ClipError",
    "InputError",
    "__version__",
    "evaluate_zero_shot",
]
