"""A new model: its towers' sizes, the text tower's weights, the tokenizer."""

import re
from collections import Counter
from dataclasses import dataclass, field
from string import ascii_lowercase

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from ..configuration_clap_student import ClapStudentConfig
from ..errors import InputError
from ..feature_extraction_clap_student import ClapStudentFeatureExtractor
from ..modeling_clap_student import ClapStudentModel
from ..processing_clap_student import ClapStudentProcessor


SCRATCH = "scratch"
_SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                   "mask_token": "[MASK]"}  # fmt: skip


@dataclass
class ModelArguments:
    """The sizes of a new model. The defaults are the paper's."""

    text_model: str = field(
        default="bert-base-uncased",
        metadata={
            "help": "BERT whose weights and tokenizer the text tower starts from: a Hub id or a folder; "
            f"'{SCRATCH}' for a small one with its own vocabulary, trained from nothing."
        },
    )
    base_channels: int = field(default=64, metadata={"help": "Channels of CNN14's first block; 64 is the paper's."})
    hop_length: int = field(default=320, metadata={"help": "Samples between two frames; 320 is the paper's."})
    projection_dim: int = field(default=1024, metadata={"help": "Size of the joint embedding space."})
    dropout: float = field(default=1.0, metadata={"help": "Factor on the paper's dropout rates; 0 for none."})


def new_model(args: ModelArguments, captions: list[str]) -> tuple[ClapStudentModel, ClapStudentProcessor]:
    """Makes a model with random audio weights and the chosen text tower, and its processor.

    Args:
        args: the sizes.
        captions: from which the `scratch` vocabulary is made.

    Raises:
        InputError: a text model that can't be loaded or is no BERT.
    """
    if args.text_model == SCRATCH:
        tokenizer, text_weights = scratch_tokenizer(captions), None
        text_config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=128,
            # BERT's 0.02 suits its 768 channels; here it would make all texts alike at first, and learning slow.
            initializer_range=128**-0.5,
            hidden_dropout_prob=0.1 * args.dropout,
            attention_probs_dropout_prob=0.1 * args.dropout,
        )
    else:
        text_weights, tokenizer = load_text_tower(args.text_model)
        text_config = text_weights.config
    config = ClapStudentConfig(
        text_config=text_config.to_dict(),
        audio_config={
            "base_channels": args.base_channels,
            "hop_length": args.hop_length,
            "block_dropout": 0.2 * args.dropout,
            "hidden_dropout": 0.5 * args.dropout,
        },
        projection_dim=args.projection_dim,
        projection_dropout=0.5 * args.dropout,
    )
    model = ClapStudentModel(config)
    if text_weights is not None:
        model.text_model.load_state_dict(text_weights.state_dict())
    extractor = ClapStudentFeatureExtractor(sampling_rate=config.audio_config.sampling_rate)
    return model, ClapStudentProcessor(extractor, tokenizer)


def load_text_tower(name: str) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """Loads a BERT without pooler, and its tokenizer.

    Raises:
        InputError: not to be had, or of another architecture.
    """
    try:
        kind = AutoConfig.from_pretrained(name).model_type
        if kind != "bert":
            raise InputError(f"the text model {name} is a {kind!r} model: the text tower is a BERT")
        return BertModel.from_pretrained(name, add_pooling_layer=False), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"can't load the text model {name}: {str(error).splitlines()[0]}") from error


def scratch_tokenizer(captions: list[str], vocab_size: int = 4000) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer of BERT's kind that knows the captions' commonest words, and all letters.

    The vocabulary is the same for the same captions: that of tokenizers' own trainer differs from run to run.
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


__all__ = ["SCRATCH", "ModelArguments", "load_text_tower", "new_model", "scratch_tokenizer"]
