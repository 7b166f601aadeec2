"""Makes a new model: the sizes of its towers, the text tower's weights, the tokenizer."""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from string import ascii_lowercase

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from ..configuration_clap_student import ClapStudentAudioConfig, ClapStudentConfig
from ..errors import InputError
from ..feature_extraction_clap_student import ClapStudentFeatureExtractor
from ..modeling_clap_student import ClapStudentAudioModel, ClapStudentModel
from ..processing_clap_student import ClapStudentProcessor
from ..utils.console import say
from .arguments import SCRATCH, ModelArguments
from .conversion import load_audio_tower
from .hub_access import is_hub_id, within_reach
from .loading import as_student, load_checkpoint
from .protocol import AudioTextModel, AudioTextProcessor


_SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                   "mask_token": "[MASK]"}  # fmt: skip


def new_model(
    args: ModelArguments, captions: list[str] | None, tell: Callable[[str], None] | None = None
) -> tuple[ClapStudentModel, ClapStudentProcessor]:
    """Makes a model with the chosen towers and random projections, and its processor.

    Args:
        captions: the `scratch` vocabulary is made from them; None where they are not all known.
        tell: called with a line that says what will be made, before anything is downloaded.

    Raises:
        InputError: a tower that can't be loaded or does not fit, or no captions for the vocabulary.
    """
    audio_weights = load_audio_weights(args) if args.audio_weights else None
    audio_config = _audio_config(args, audio_weights)
    if tell is not None:
        tell(_plan(args, audio_config))
    if args.text_model == SCRATCH:
        if captions is None:
            raise InputError(f"--text_model {SCRATCH} needs all captions beforehand: with a stream name a text model")
        tokenizer, text_weights = scratch_tokenizer(captions), None
        text_config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=128,
            # BERT's 0.02 suits its 768 channels. Here it would make all texts alike at first, and learning slow.
            initializer_range=128**-0.5,
            hidden_dropout_prob=0.1 * args.dropout,
            attention_probs_dropout_prob=0.1 * args.dropout,
        )
    else:
        text_weights, tokenizer = load_text_tower(args.text_model)
        text_config = text_weights.config
    config = ClapStudentConfig(
        text_config=text_config.to_dict(),
        audio_config=audio_config,
        projection_dim=args.projection_dim,
        projection_dropout=0.5 * args.dropout,
    )
    model = ClapStudentModel(config)
    if text_weights is not None:
        model.text_model.load_state_dict(text_weights.state_dict())
    if audio_weights is not None:
        model.audio_model.load_state_dict(audio_weights.state_dict())
    extractor = ClapStudentFeatureExtractor(sampling_rate=config.audio_config.sampling_rate)
    model.processor = ClapStudentProcessor(extractor, tokenizer)
    return model, model.processor


_SMALL = ("--base_channels", 8)  # an eighth of the paper's width, which trains on a CPU


def _plan(args: ModelArguments, audio_config: dict) -> str:
    """Describes the new model. If it is a large one, also says how to get a small one."""
    with torch.device("meta"):
        tower = ClapStudentAudioModel(ClapStudentAudioConfig(**audio_config))
    size = sum(weight.numel() for weight in tower.parameters()) / 1e6
    start = args.audio_weights or "random weights"
    smaller = [f"{_SMALL[0]} {_SMALL[1]}"] if args.base_channels > _SMALL[1] and not args.audio_weights else []
    smaller += [f"--text_model {SCRATCH}"] if args.text_model != SCRATCH else []
    offer = f". For a small model that trains on a CPU: {' '.join(smaller)}" if smaller else ""
    text = "a small BERT from random weights" if args.text_model == SCRATCH else args.text_model
    return f"new model: a CNN14 of {size:.3g} million weights, from {start}; for text {text}{offer}"


FRESH = "fresh"


def start_model(
    init: str, args: ModelArguments, captions: list[str] | None
) -> tuple[AudioTextModel, AudioTextProcessor]:
    """A model before training, and its processor.

    Args:
        init: the name of a checkpoint, or `fresh`.
        args, captions: for a fresh model, as `new_model` takes them.

    Raises:
        InputError: a checkpoint that can't be loaded, or arguments of a new model together with a checkpoint.
    """
    if init == FRESH:
        return new_model(args, captions, say)
    if args != ModelArguments():
        raise InputError(f"--text_model, --audio_weights and the sizes go with a new model, not with --init {init}")
    return as_student(init)


def _audio_config(args: ModelArguments, audio_weights: ClapStudentAudioModel | None) -> dict:
    """The front end comes from the weights, at the rate asked for, as in the paper: PANNs' weights at 44.1 kHz."""
    front_end = {"max_frequency": min(14000.0, args.sampling_rate / 2)}
    if audio_weights is not None:
        names = ("n_fft", "num_mel_bins", "min_frequency", "max_frequency", "mel_sampling_rate")
        front_end = {name: getattr(audio_weights.config, name) for name in names}
    return {
        **front_end,
        "sampling_rate": args.sampling_rate,
        "base_channels": args.base_channels,
        "hop_length": args.hop_length,
        "block_dropout": 0.2 * args.dropout,
        "hidden_dropout": 0.5 * args.dropout,
    }


def load_audio_weights(args: ModelArguments) -> ClapStudentAudioModel:
    """Loads the tower that `--audio_weights` names. It must have the width of `--base_channels`."""
    name = args.audio_weights
    if Path(name).is_file():
        tower = load_audio_tower(name)
    else:
        loaded = load_checkpoint(name, kinds=("clap_student", "clap_student_audio_model"))[0]
        tower = getattr(loaded, "audio_model", loaded)
    if tower.config.base_channels != args.base_channels:
        raise InputError(f"{name} has {tower.config.base_channels} channels: give --base_channels to match it")
    return tower


_NO_NETWORK = (
    f". Name a folder with a BERT, --text_model FOLDER, or train a small text tower of your captions, "
    f"--text_model {SCRATCH}"
)


def load_text_tower(name: str) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """Loads a BERT without pooler, and its tokenizer. Says first how much must be downloaded."""
    try:
        if not is_hub_id(name) and not Path(name).is_dir():
            raise InputError(f"can't load the text model {name}: no such folder")
        with nullcontext() if Path(name).is_dir() else within_reach(name, otherwise=_NO_NETWORK) as on_hub:
            if on_hub is not None:
                say(f"{name}: {on_hub}")
            kind = AutoConfig.from_pretrained(name).model_type
            if kind != "bert":
                raise InputError(f"the text model {name} is a {kind!r} model: the text tower is a BERT")
            return BertModel.from_pretrained(name, add_pooling_layer=False), AutoTokenizer.from_pretrained(name)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"can't load the text model {name}: {str(error).splitlines()[0]}") from error


def scratch_tokenizer(captions: list[str], vocab_size: int = 4000) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer like BERT's. It knows the captions' commonest words, and all letters.

    The same captions give the same vocabulary. The trainer of tokenizers gives another one in each run.
    """
    words = Counter(word for caption in captions for word in re.findall(r"\w+|[^\w\s]", caption.lower()))
    letters = sorted({letter for word in words for letter in word} | set(ascii_lowercase))
    common = sorted(words, key=lambda word: (-words[word], word))
    pieces = [*_SPECIAL_TOKENS.values(), *letters, *(f"##{letter}" for letter in letters), *common]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces[:vocab_size]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **_SPECIAL_TOKENS)
