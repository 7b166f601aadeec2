"""Opens checkpoints of this package, of transformers' CLAP, and of other models that can teach."""

from contextlib import nullcontext
from pathlib import Path

from huggingface_hub import HfApi
from transformers import AutoConfig, ClapModel

from ..data.sources import ST, split_revision
from ..errors import InputError
from ..hub_clap_student import cached_commit, commit_folder
from ..modeling_clap_student import ClapStudentAudioModel, ClapStudentModel
from ..utils.console import say
from . import auto, sentence_transformers
from .clap import (
    WindowedClapFeatureExtractor,
    WindowedClapModel,
    WindowedClapProcessor,
    check_windows,
    windowed,
    windowing,
)
from .foreign import ForeignModel, first_line
from .hub_access import is_hub_id, within_reach


_MODELS = {"clap_student": ClapStudentModel, "clap": WindowedClapModel}  # model type -> class


def load_checkpoint(name: str | Path, kinds: tuple[str, ...] | None = None, trust_remote_code: bool = False):
    """Loads a model, in eval mode, and its processor.

    Args:
        name: a folder that `save_pretrained` or a command of this package wrote; a Hub id, with a revision or without,
            `someone/model@v1`; a checkpoint of transformers' own CLAP, or of another transformers model with
            `get_audio_features` and `get_text_features`; or `st:` and a folder or Hub id of a `SentenceTransformer`.
        kinds: model types of this package, or `clap`. By default, any model that can teach.
        trust_remote_code: whether code in the checkpoint may run.

    Returns:
        a `ClapStudentModel` and its `ClapStudentProcessor`; or a `WindowedClapModel` and its processor; or a
        `ClapStudentAudioModel` and None; or a `ForeignModel` and its processor.
    """
    repository, revision = split_revision(name)
    place = repository.removeprefix(ST)
    try:
        if not place:
            raise InputError(f"{name} names no model: give a folder or a Hub id behind st:")
        if not is_hub_id(place) and not Path(place).is_dir():
            raise InputError(f"no such checkpoint folder: {place} (run_teacher.py makes one)")
        with nullcontext() if Path(place).is_dir() else within_reach(place, revision, ", and it is not in the cache"):
            return _load(str(name), repository, revision, kinds, trust_remote_code)
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"can't load a checkpoint from {name}: a file is nested too deeply") from error
    except Exception as error:  # transformers, safetensors, tokenizers and torch raise dozens of unrelated types
        raise InputError(f"can't load a checkpoint from {name}: {first_line(error)}") from error


def _load(name: str, repository: str, revision: str | None, kinds: tuple[str, ...] | None, trust: bool) -> tuple:
    kind = _kind_of(repository, revision)
    if kind not in (kinds or _MODELS):
        if kinds:
            needed = " or ".join(map(repr, kinds))
            raise InputError(f"{name} is a {kind!r} checkpoint, and a {needed} one is needed")
        return _load_foreign(name, kind, repository.removeprefix(ST), revision, trust)
    if kind == "clap_student_audio_model":
        return _load_model(ClapStudentAudioModel, repository, revision), None
    model = _load_model(_MODELS[kind], repository, revision)
    if model._processor is None:
        raise InputError(f"{name} has no processor: {_missing_part(kind, repository, revision)}")
    if kind == "clap":
        try:
            check_windows(model.processor.feature_extractor, model.config.audio_config)
        except InputError as error:
            raise InputError(f"can't use {name}: {error}") from error
    tokens, vocab_size = len(model.processor.tokenizer), model.config.text_config.vocab_size
    if tokens > vocab_size:
        raise InputError(
            f"the tokenizer in {name} is of another model: it has {tokens} tokens, and the model has {vocab_size}"
        )
    return model, model.processor


_CODE = "code of its own"  # the kind of checkpoint that transformers does not know


def _kind_of(repository: str, revision: str | None) -> str:
    if repository.startswith(ST):
        return sentence_transformers.KIND
    try:
        return AutoConfig.from_pretrained(repository, revision=revision, trust_remote_code=False).model_type
    except ValueError as error:
        if "trust_remote_code" in str(error):
            return _CODE
        raise


def _load_foreign(name: str, kind: str, place: str, revision: str | None, trust: bool) -> tuple:
    load = auto.load_auto_model
    if kind == sentence_transformers.KIND:
        load = sentence_transformers.load_sentence_transformer
    if trust:
        say(f"{name}: code in this checkpoint may run (--trust_remote_code)")
    try:
        model = load(name, place, revision, trust)
    except Exception as error:
        if trust or "trust_remote_code" not in str(error):
            raise
        raise InputError(
            f"{name} needs the code in the checkpoint: read it, then give --trust_remote_code true to run it"
        ) from error
    return model, model.processor


def as_checkpoint(model, needs_processor: bool = True, trust_remote_code: bool = False):
    """Returns what `load_checkpoint` returns, for anything that a user may have.

    `model` is a `ClapStudentModel`, transformers' own `ClapModel`, another model that can teach, the name of a
    checkpoint, or a pair of a model and its processor. The processor of a single model is loaded from the model's
    origin. The result shares the model's weights. With `needs_processor=False`, one of our models may come without a
    processor.
    """
    model, processor = model if isinstance(model, tuple) else (model, None)
    if isinstance(model, (str, Path)):
        return load_checkpoint(model, trust_remote_code=trust_remote_code)
    if isinstance(model, ClapStudentModel):
        processor = processor or model._processor
        if processor is None and needs_processor:
            raise InputError("this model came without a processor: set model.processor")
        return model, processor
    if isinstance(model, ClapModel):
        own = windowing(processor) if processor else getattr(model, "_processor", None)
        processor = own or _processor_of(model)
        return windowed(model, processor), processor
    if sentence_transformers.is_sentence_transformer(model):
        model = sentence_transformers.as_teacher(model)
    elif auto.is_auto_model(model):
        model = auto.as_teacher(model, processor, trust_remote_code)
    if isinstance(model, ForeignModel):
        return model, model.processor
    raise InputError(
        f"a {type(model).__name__} can't be used here: give a ClapStudentModel, a ClapModel of "
        "transformers, another with get_audio_features and get_text_features, a SentenceTransformer, or the name of a "
        "checkpoint"
    )


def as_student(model, needs_processor: bool = True):
    """Returns what `as_checkpoint` returns, for a model that can be trained.

    Raises:
        InputError: the model can't be trained.
    """
    model, processor = as_checkpoint(model, needs_processor)
    if isinstance(model, ForeignModel):
        raise InputError(
            f"{model.origin} can teach, and can't be trained: start from another checkpoint, or from a new model "
            "(--init fresh); --distillation_weight 1 draws that to its teacher"
        )
    return model, processor


def classify(model, audio, labels: list[str], **options) -> list[dict[str, float]] | list[list[dict[str, float]]]:
    """Says which of some sounds each clip holds, without any training on them.

    Args:
        model: as for `as_checkpoint`.
        audio, labels, options: as for `ClapStudentModel.classify`.

    Returns:
        for each clip, label -> probability; with `windows`, the same for each of its parts.

    Raises:
        InputError: a model, clips or labels that can't be used.
    """
    return as_checkpoint(model)[0].classify(audio, labels, **options)


def _processor_of(model: ClapModel) -> WindowedClapProcessor:
    name = model.name_or_path
    if not name:
        raise InputError("this ClapModel has no known origin: give the pair (model, processor)")
    try:
        return WindowedClapModel.read_processor(name, revision=getattr(model.config, "_commit_hash", None))
    except Exception as error:  # transformers and tokenizers raise dozens of unrelated types
        raise InputError(f"can't load the processor of {name}: {first_line(error)}") from error


def _load_model(model_class, name: str, revision: str | None):
    """`from_pretrained`, but it refuses weights that `from_pretrained` would fill with random numbers."""
    model, report = model_class.from_pretrained(
        name, revision=revision, output_loading_info=True, ignore_mismatched_sizes=True
    )
    # Some versions of transformers write these numbers into checkpoints; others compute them again.
    constants = ("position_ids", "token_type_ids", "relative_position_index")
    problems = [f"{key} is {tuple(theirs)} and not {tuple(ours)}" for key, theirs, ours in report["mismatched_keys"]]
    problems += [f"{key} is missing" for key in report["missing_keys"] if not key.endswith(constants)]
    problems += [f"{key} is unknown" for key in report["unexpected_keys"] if not key.endswith(constants)]
    if problems:
        remainder = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(f"the weights in {name} do not fit its config: {'; '.join(sorted(problems)[:3])}{remainder}")
    for key, value in model.state_dict().items():
        if not value.isfinite().all():
            raise InputError(f"the weights in {name} hold NaN or infinite values: {key} does")
    model.config._commit_hash = cached_commit(name, revision)
    return model.eval()


def _missing_part(kind: str, name: str, revision: str | None) -> str:
    if kind == "clap_student":
        return "processor_config.json and tokenizer.json are missing"
    try:
        WindowedClapFeatureExtractor.from_pretrained(name, revision=revision or "main")
    except Exception:  # a damaged file may raise anything
        return "no feature extractor: preprocessor_config.json or processor_config.json is missing or damaged"
    return "no tokenizer: tokenizer.json is missing"


def push_folder(
    folder: Path | str, repo_id: str, private: bool | None = None, repo_type: str = "model", token: str | None = None
) -> str:
    """Uploads a finished folder in one commit. Returns its address."""
    api = HfApi(token=token)
    try:
        sdk = "gradio" if repo_type == "space" else None
        repo = api.create_repo(repo_id, private=private, repo_type=repo_type, exist_ok=True, space_sdk=sdk)
        repo_id = repo.repo_id
        commit_folder(folder, repo_id, "Upload", token, repo_type=repo_type)
    except Exception as error:  # the client's own errors, and those of whichever HTTP library it uses
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"can't push to {repo_id}: {reason}. What was made is whole; run the same command again to push it"
        ) from error
    return f"{api.endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo_id}"
