"""Words for an order that a small vocabulary lacks, and would spell out letter by letter."""

import re
from collections.abc import Iterable

import torch
from tokenizers import AddedToken

from ..modeling_clap_student import ClapStudentModel


def add_words(model: ClapStudentModel, phrases: Iterable[str], seed: int) -> list[str]:
    """Gives a model's tokenizer the words of some phrases that it spells out by letters, and a random vector to each.

    A vocabulary made from a few captions lacks "followed"; those of BERT have whole words, and nothing is added.

    Returns:
        the words added.
    """
    tokenizer, tower = model.processor.tokenizer, model.text_model
    words = sorted({word for phrase in phrases for word in re.findall(r"\w+", phrase.lower())})
    new = [word for word in words if len(word) > 1 and _is_spelled(tokenizer.tokenize(word))]
    if not new:
        return []
    known = tower.get_input_embeddings().weight.detach()
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in new])
    tower.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.text_config.vocab_size = len(tokenizer)
    generator = torch.Generator().manual_seed(seed)
    vectors = known.std() * torch.randn(len(new), known.shape[1], generator=generator)
    with torch.no_grad():
        tower.get_input_embeddings().weight[-len(new) :] = vectors.to(known)
    return new


def _is_spelled(pieces: list[str]) -> bool:
    return all(len(piece.removeprefix("##")) == 1 for piece in pieces)
