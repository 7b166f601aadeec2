"""Words that a small vocabulary lacks: what is added, to what, and that nothing else changes."""

import copy

import torch
from conftest import tiny_model

from modeling_clap_student.temporal.vocabulary import add_words


def vectors(model, texts):
    return model.encode_text(texts)


def test_words_that_are_spelled_out_become_words_and_others_stay(tmp_path):
    """Guards against a tokenizer that cuts words within words, new words that all are alike, and texts without them
    that embed otherwise than before."""
    model, processor = tiny_model()
    before, size = copy.deepcopy(model), len(processor.tokenizer)
    old = ["this is a sound of hum", "soft hiss"]
    assert processor.tokenizer.tokenize("followed") == [*"f", *(f"##{letter}" for letter in "ollowed")]
    assert add_words(model, ["followed by", "is followed by", "a low hum", "first … then …"], seed=1) == [
        "by", "first", "followed", "then"
    ]  # fmt: skip
    tokenizer = model.processor.tokenizer
    assert len(tokenizer) == size + 4 == model.config.text_config.vocab_size
    assert tokenizer.tokenize("hum followed by hiss") == ["hum", "followed", "by", "hiss"]
    assert "followed" not in tokenizer.tokenize("unfollowed") and tokenizer.tokenize("First") == ["first"]
    torch.testing.assert_close(vectors(model, old), vectors(before, old))
    weight = model.text_model.get_input_embeddings().weight
    assert weight.requires_grad and len({tuple(row.tolist()) for row in weight[-4:]}) == 4
    assert add_words(model, ["then"], seed=1) == []
    model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    said = ["hum followed by hiss", "hum then hiss"]
    torch.testing.assert_close(vectors(again, said), vectors(model, said))
