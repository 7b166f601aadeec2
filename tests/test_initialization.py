"""New models: the text tower's weights, and a vocabulary that repeats."""

import pytest
import torch
from conftest import CAPTIONS, tiny_arguments
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.initialization import new_model, scratch_tokenizer


def test_a_local_bert_starts_the_text_tower(tmp_path):
    """Guards against a text tower that keeps its random weights, or reads with another tokenizer."""
    tokenizer = scratch_tokenizer(CAPTIONS)
    bert = BertModel(BertConfig(vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    arguments = tiny_arguments()
    arguments.text_model = str(tmp_path / "bert")
    model, processor = new_model(arguments, CAPTIONS)
    ours, theirs = model.text_model.state_dict(), bert.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours) and len(ours) > 10
    assert model.config.text_config.hidden_size == 8
    assert processor.tokenizer(CAPTIONS).input_ids == tokenizer(CAPTIONS).input_ids


def test_other_text_models_are_refused(tmp_path):
    """Guards against a decoder whose first token would stand for [CLS], and against a traceback for a wrong path."""
    GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9)).save_pretrained(tmp_path / "gpt2")
    for name, words in ((tmp_path / "gpt2", "'gpt2'"), (tmp_path / "gone", "can't load the text model")):
        arguments = tiny_arguments()
        arguments.text_model = str(name)
        with pytest.raises(InputError, match=words):
            new_model(arguments, CAPTIONS)


def test_the_vocabulary_repeats_and_knows_every_word():
    """Guards against token ids that change from run to run, and against unknown words in a prompt."""
    first, second = scratch_tokenizer(CAPTIONS), scratch_tokenizer(CAPTIONS)
    assert first.get_vocab() == second.get_vocab()
    assert first.tokenize("a High whistle") == ["a", "high", "whistle"]
    assert first.unk_token not in first.tokenize("a quiet zebra")
    assert first("hum").input_ids[0] == first.cls_token_id
