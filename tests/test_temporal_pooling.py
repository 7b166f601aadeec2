"""Pooling over time: the same as CLAP's at first, and able to hear order then.

Guards against a head that changes a converted checkpoint at its first step, that is blind to order, that is garbage
after `from_pretrained`, or that the faster copy for inference leaves out.
"""

import copy

import numpy as np
import pytest
import torch
from conftest import RATE, settle, tones

from modeling_clap_student import ClapStudentModel
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.configuration_clap_student import ClapStudentAudioConfig
from modeling_clap_student.temporal.trainer import choose_what_learns, learning_rates, order_aware
from modeling_clap_student.temporal_pooling_clap_student import MeanMaxPooling, OrderAwarePooling


def woken(model):
    """The model with a head that does something."""
    generator = torch.Generator().manual_seed(5)
    output = model.audio_model.pooling.output
    output.data = torch.randn(output.shape, generator=generator) * 0.3
    return model


@pytest.fixture
def aware(tiny):
    model, processor = tiny
    return order_aware(settle(model), processor, "attention").eval()


def test_starts_as_exactly_the_old_pooling(tiny):
    model, processor = tiny
    settle(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    aware = order_aware(model, processor, "attention").eval()
    clips = tones(3, 10 * RATE)
    assert torch.equal(aware.get_audio_features(clips).pooler_output, model.get_audio_features(clips).pooler_output)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert aware.processor.feature_extractor.window_samples == 10 * RATE
    assert processor.feature_extractor.window_samples == 5 * RATE
    assert model.config.audio_config.temporal_pooling == "mean_max"


def test_old_pooling_is_blind_to_the_order_of_frames_and_the_new_one_is_not():
    config = ClapStudentAudioConfig(base_channels=2, temporal_pooling="attention", temporal_hidden_size=16)
    torch.manual_seed(0)
    pooling = OrderAwarePooling(config)
    torch.nn.init.normal_(pooling.output)
    frames = torch.randn(2, 9, config.hidden_size)
    turned = frames.flip(1)
    assert torch.allclose(MeanMaxPooling()(frames), MeanMaxPooling()(turned), atol=1e-6)
    assert (pooling(frames) - pooling(turned)).abs().max() > 1e-2


def test_attention_equals_its_definition_in_float64():
    """Guards against heads that are cut along the wrong axis."""
    config = ClapStudentAudioConfig(base_channels=2, temporal_pooling="attention", temporal_hidden_size=8)
    torch.manual_seed(1)
    pooling = OrderAwarePooling(config).double()
    hidden = torch.randn(1, 5, 8, dtype=torch.float64)
    found = pooling._attention(hidden, torch.ones(1, 5))[0]
    query, key, value = (pooling.query_key_value(hidden)[0].detach().numpy()[:, i * 8 : i * 8 + 8] for i in range(3))
    heads = []
    for head in range(4):
        columns = slice(head * 2, head * 2 + 2)
        scores = query[:, columns] @ key[:, columns].T / np.sqrt(2)
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        heads.append(weights @ value[:, columns])
    expected = pooling.attention_output(torch.from_numpy(np.concatenate(heads, axis=1)))
    assert torch.allclose(found, expected, atol=1e-12)


def test_places_tell_every_frame_from_every_other():
    pooling = OrderAwarePooling(ClapStudentAudioConfig(base_channels=2, temporal_hidden_size=8))
    for length in (1, 7, 300):
        places = pooling._places(torch.ones(1, length))[0]
        apart = torch.cdist(places.double(), places.double()) + 10 * torch.eye(length)
        assert apart.min() > 1e-2


def test_text_of_the_same_words_in_another_order(aware):
    """Guards against padding that counts, and a head that reads no order."""
    torch.nn.init.normal_(aware.text_pooling.output, std=0.1)
    states = torch.randn(1, 6, aware.config.text_config.hidden_size)
    padded = torch.cat([states, torch.randn(1, 3, states.shape[2])], dim=1)
    mask = torch.tensor([[1] * 6 + [0] * 3])
    whole = aware.text_pooling(states, None)
    assert torch.allclose(aware.text_pooling(padded, mask), whole, atol=1e-6)
    turned = torch.cat([states[:, :1], states[:, 1:].flip(1)], dim=1)
    assert (aware.text_pooling(turned, None) - whole).abs().max() > 1e-2


def test_texts_start_as_they_were(tiny):
    model, processor = tiny
    aware = order_aware(model, processor, "attention").eval()
    texts = ["a low hum", "this is a sound of hiss"]
    assert torch.equal(aware.encode_text(texts), model.encode_text(texts))
    assert not torch.equal(aware.text_pooling.place.weight, torch.zeros(()))


def test_saved_and_loaded(aware, tmp_path):
    woken(aware).save_pretrained(tmp_path)
    loaded, report = ClapStudentModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    clips = tones(2, 10 * RATE)
    same = loaded.eval().get_audio_features(clips).pooler_output
    assert torch.equal(same, aware.get_audio_features(clips).pooler_output)


def test_a_head_that_a_checkpoint_lacks_starts_at_nothing(tiny, tmp_path):
    """`from_pretrained` of an old checkpoint with another pooling: on the meta device nothing may stay garbage."""
    model = settle(tiny[0])
    model.save_pretrained(tmp_path)
    config = copy.deepcopy(model.config)
    config.audio_config.temporal_pooling = config.text_pooling = "attention"
    loaded = ClapStudentModel.from_pretrained(tmp_path, config=config).eval()
    assert all(value.isfinite().all() for value in loaded.state_dict().values())
    clips = tones(2, 5 * RATE)
    assert torch.equal(loaded.get_audio_features(clips).pooler_output, model.get_audio_features(clips).pooler_output)


def test_the_copy_for_inference_hears_order_too(aware):
    woken(aware)
    clips = tones(4, 10 * RATE)
    slow, fast = (m.get_audio_features(clips).pooler_output for m in (aware, for_inference(aware)))
    assert torch.allclose(slow, fast, atol=1e-5)
    turned = for_inference(aware).get_audio_features(torch.cat([clips[:, 5 * RATE :], clips[:, : 5 * RATE]], dim=1))
    assert (turned.pooler_output - fast).abs().max() > 0


def test_what_learns(aware):
    choose_what_learns(aware, frozen_pooling=False, freeze_audio_encoder=True)
    learns = {name for name, parameter in aware.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("audio_model.blocks", "audio_model.bn0")) for name in learns)
    assert {"audio_model.pooling.output", "text_pooling.output", "audio_model.fc1.weight", "logit_scale"} <= learns
    assert any(name.startswith("text_model.") for name in learns)
    choose_what_learns(aware, False, True, freeze_text_encoder=True)
    assert not any(p.requires_grad for p in aware.text_model.parameters()) and aware.text_pooling.output.requires_grad
    rates = learning_rates(aware, 1.0, 0.1)
    assert rates["audio_model.pooling.place.bias"] == rates["text_projection.linear1.weight"] == 1.0
    assert rates["audio_model.blocks.0.conv1.weight"] == rates["text_model.embeddings.word_embeddings.weight"] == 0.1


def test_the_authors_choice_of_what_learns(tiny):
    model, processor = tiny
    aware = order_aware(model, processor, "mean_max")
    choose_what_learns(aware, frozen_pooling=True, freeze_audio_encoder=False)
    learns = {name for name, parameter in aware.named_parameters() if parameter.requires_grad}
    last = model.config.text_config.num_hidden_layers - 1
    parts = ("audio_model.fc1.", "audio_projection.", "text_projection.", f"text_model.encoder.layer.{last}.")
    assert learns == {name for name, _ in aware.named_parameters() if name.startswith(parts)}


@pytest.mark.parametrize("wrong", [{"temporal_pooling": "max"}, {"temporal_hidden_size": 6}])
def test_wrong_configs_are_refused(wrong):
    with pytest.raises(ValueError, match="temporal_"):
        ClapStudentAudioConfig(**wrong)
