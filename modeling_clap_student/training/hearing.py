"""What a student and its teacher hear and read of a batch: the same, or each its own version."""

import atexit
from pathlib import Path

from accelerate import PartialState

from ..data.collation import ClapCollator
from ..data.leakage import LeakageFilter
from ..data.skipping import ReadingArguments, SkippedClips
from ..data.spectrograms import spectrogram_cache
from ..errors import InputError
from ..utils.outputs import SKIPPED, make_folder
from .arguments import ClapStudentTrainingArguments


def check_alike(teacher, student) -> None:
    """Raises InputError if one batch can't serve both: another kind of model, rate or vocabulary."""
    theirs, ours = teacher.config, student.config
    if theirs.model_type != ours.model_type:
        raise InputError(
            f"a {theirs.model_type!r} teacher hears and reads differently: give its processor to the collator, "
            "ClapCollator(…, teacher_processor=…)"
        )
    rates = [getattr(config.audio_config, "sampling_rate", None) for config in (theirs, ours)]
    if rates[0] != rates[1]:
        raise InputError(f"the teacher hears {rates[0]} Hz and the student {rates[1]} Hz: they must see the same crop")
    if theirs.text_config.vocab_size != ours.text_config.vocab_size:
        raise InputError(
            f"the teacher's vocabulary has {theirs.text_config.vocab_size} tokens and the student's "
            f"{ours.text_config.vocab_size}: they must read the same tokens"
        )


def _hear_alike(first, second) -> bool:
    """Whether two models' processors have one rate, windows of one length, and the same tokens."""
    extractors = first.feature_extractor, second.feature_extractor
    if type(extractors[0]) is not type(extractors[1]):
        return False
    if any(
        getattr(extractors[0], name) != getattr(extractors[1], name) for name in ("sampling_rate", "window_samples")
    ):
        return False
    return first.tokenizer.get_vocab() == second.tokenizer.get_vocab()


def make_collator(
    model,
    processor,
    args: ClapStudentTrainingArguments,
    teacher_processor=None,
    skipped: SkippedClips | None = None,
    leakage: LeakageFilter | None = None,
) -> ClapCollator:
    """Makes crops for a model, and for a teacher with other inputs. Lists the clips that can't be read."""
    if skipped is None:
        make_folder(Path(args.output_dir))
        skipped = SkippedClips(Path(args.output_dir, SKIPPED), ReadingArguments.max_skipped_fraction)
        if PartialState().is_local_main_process:
            atexit.register(skipped.close)  # also when a training fails
    if teacher_processor is not None and _hear_alike(teacher_processor, processor):
        teacher_processor = None
    spectrograms = spectrogram_cache(args.spectrogram_cache, model)
    return ClapCollator(processor, skipped, teacher_processor, leakage, args.random_gain_db, spectrograms)
