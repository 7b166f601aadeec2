"""What temporal post-training starts from: a model, and labelled clips to make scenes of."""

from datasets import Dataset, concatenate_datasets

from ..checkpoints.embedding import first_too_long
from ..checkpoints.loading import as_student
from ..checkpoints.protocol import AudioTextModel
from ..data.benchmarks import read_benchmark, task_clips
from ..data.leakage import LeakageFilter, evaluation_sounds, split_validation
from ..data.sources import ExclusionLog, report_exclusions
from ..errors import InputError
from ..processing_clap_student import label_text
from ..utils.console import say
from .arguments import TemporalArguments, TemporalTrainingArguments
from .scenes import Deck
from .trainer import order_aware


# Task 3C, 1000 scenes: `benchmarks/any_clap.py --order`, and docs/temporal.md.
_OWN_POOLING = "a small HTSAT told 51 % of orders after stage B, a guess tells 50 %, this package's pooling 94 %"
_LOOKED_AT = 100  # scenes that are asked for a third sound
_COLUMNS = ["audio", "audio_id", "source", "origin_id", "label"]


def read_clips(args: TemporalArguments) -> tuple[Dataset, Dataset]:
    """Labelled clips to train on and to validate on; neither are those of the evaluation sets."""
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    tasks = task_clips(args.task)
    leakage = LeakageFilter(tasks, sounds=evaluation_sounds(args, tasks))
    if args.validation_clips:
        validation = read_benchmark(args.validation_clips, exclusions).clips
        validation = leakage.drop_from(validation, args.validation_clips, exclusions)
        tasks = [*tasks, validation]
        leakage = LeakageFilter(tasks, sounds=evaluation_sounds(args, tasks))
    tables = [leakage.drop_from(read_benchmark(spec, exclusions).clips, spec, exclusions) for spec in args.clips]
    clips = concatenate_datasets([table.select_columns(_COLUMNS) for table in tables])
    if len(clips) == 0:
        raise InputError(f"{place_of(args, 'training')} holds no clips: all of them are in an evaluation set")
    if not args.validation_clips:
        try:
            clips, validation = split_validation(clips, 0.1)
        except InputError as error:
            raise InputError(
                f"{place_of(args, 'training')} is too small to hold out {place_of(args, 'validation')}"
            ) from error
    report_exclusions(exclusions)
    unknown = {label_text(name) for name in args.held_out_classes} - set(clips["label"])
    if unknown:
        raise InputError(f"--held_out_classes {sorted(unknown)[0]!r} is no class of {', '.join(args.clips)}")
    return clips, validation


def check_three_sounds(args: TemporalArguments, deck: Deck, model: AudioTextModel, processor, narrator) -> None:
    """An InputError where scenes of three sounds can't be made of the clips, or not be read."""
    if all(deck.third(scene) is None for scene in deck.scenes(_LOOKED_AT)):
        raise InputError(
            f"--max_sounds 3 needs three classes that may be heard together, and there are {len(deck.class_names)} "
            f"classes in {place_of(args, 'training')}"
        )
    if too_long := first_too_long(model, processor, narrator.longest(deck.class_names)):
        text, tokens, positions = too_long
        raise InputError(
            f"--max_sounds 3: {text!r} has {tokens} tokens, and {args.model} reads {positions}: it can't tell three "
            "sounds"
        )


def place_of(args: TemporalArguments, use: str) -> str:
    """What the clips to train or to validate on are, for errors: the flag that others are named with."""
    filtered = " without the clips of --task" if args.task else ""
    if use == "training":
        return f"--clips {' '.join(args.clips)}{filtered}"
    if args.validation_clips:
        return f"--validation_clips {args.validation_clips}{filtered}"
    return (
        f"the tenth of {' '.join(args.clips)}{filtered} that is held out to validate on (name clips for that with "
        "--validation_clips)"
    )


def read_model(args: TemporalArguments, training_args: TemporalTrainingArguments) -> tuple:
    """The model to train, its processor, and the model before, whose single sounds are kept."""
    start, processor = as_student(args.model)
    if not start.poolings:
        say(f"{args.model} pools over time in its own way, and hardly hears order: {_OWN_POOLING}")
    pooling = "mean_max" if training_args.frozen_pooling else "attention"
    model = order_aware(start, processor, pooling)
    model.config._name_or_path, model.config._commit_hash = args.model, start.config._commit_hash
    base = start if args.base is None else as_student(args.base)[0]
    if type(base) is not type(start) or _senses(base) != _senses(start):
        raise InputError(f"--base {args.base} hears or reads differently from {args.model}: it must be of its kind")
    return model, model.processor, base


def _senses(model: AudioTextModel) -> tuple:
    """What two models must share to take the same inputs to one space."""
    processor = model.processor
    return processor.feature_extractor.sampling_rate, len(processor.tokenizer), model.config.projection_dim
