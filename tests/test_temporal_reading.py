"""Captions that are read once by a frozen text tower: the same states as the tower's own, and fewer calls."""

import pytest
import torch
from conftest import CAPTIONS

from modeling_clap_student.processing_clap_student import tokenize
from modeling_clap_student.temporal import trainer as reading
from modeling_clap_student.temporal.trainer import CaptionReader


@pytest.fixture
def texts() -> list[str]:
    return [" ".join(CAPTIONS[: 1 + number % 4] * (1 + number % 3)) for number in range(12)]


def test_states_are_the_towers_own(tiny, texts):
    """Guards against states that pads have touched, stand in another row, or lose their tail."""
    model, processor = tiny
    tokens = tokenize(processor.tokenizer, texts)
    with torch.no_grad():
        expected = model.text_model(**tokens).last_hidden_state
    states = CaptionReader(model.text_model)(tokens["input_ids"], tokens["attention_mask"])
    there = tokens["attention_mask"].bool()
    torch.testing.assert_close(states[there], expected[there], rtol=1e-5, atol=1e-5)
    assert states.shape == expected.shape and not states[~there].any() and (~there).any()
    from_ids = model.get_text_features(**tokens).pooler_output
    from_states = model.get_text_features(token_states=states, attention_mask=tokens["attention_mask"]).pooler_output
    torch.testing.assert_close(from_states, from_ids, rtol=1e-5, atol=1e-5)


def test_a_caption_is_read_once_and_the_same_in_any_company(tiny, texts, monkeypatch):
    """Guards against a run that ends otherwise because it was interrupted, and a tower that reads again and again."""
    model, processor = tiny
    seen = []
    model.text_model.register_forward_pre_hook(lambda _, __, given: seen.append(given["input_ids"]), with_kwargs=True)
    tokens = tokenize(processor.tokenizer, texts)
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    reader = CaptionReader(model.text_model)
    together, calls = reader(ids, mask), len(seen)
    assert torch.equal(reader(ids.flip(0), mask.flip(0)).flip(0), together) and len(seen) == calls
    assert {len(batch) for batch in seen} == {reading._TEXTS_AT_ONCE}
    for row in range(len(texts)):
        assert torch.equal(CaptionReader(model.text_model)(ids[row : row + 1], mask[row : row + 1])[0], together[row])
    monkeypatch.setattr(reading, "_MOST_TEXT_BYTES", 0)
    forgetful = CaptionReader(model.text_model)
    assert torch.equal(forgetful(ids, mask), together) and torch.equal(forgetful(ids, mask), together)
    assert not forgetful._kept
