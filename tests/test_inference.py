"""The copy that embeds faster: the model's own vectors, and a model that stays as it was."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import CAPTIONS, settle, tones, write_tone
from transformers import BertConfig

from modeling_clap_student import ClapStudentConfig, ClapStudentModel
from modeling_clap_student.checkpoints.embedding import embed_clips, embed_texts
from modeling_clap_student.checkpoints.inference import WinogradConv, for_inference
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


def uneven(model: ClapStudentModel) -> ClapStudentModel:
    """Batch norms that have learnt something: a gain, a shift or an epsilon that is lost would show."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5, generator)
    return settle(model)


def check_audio(model: ClapStudentModel, waveforms: torch.Tensor) -> None:
    """float32 within 1e-5, bfloat16 within a cosine of 0.999, and both nearer than any other clip."""
    with torch.no_grad():
        expected = model.get_audio_features(waveforms).pooler_output
        full = for_inference(model).get_audio_features(waveforms).pooler_output
        half = for_inference(model, "bfloat16").get_audio_features(waveforms).pooler_output
    assert full.dtype == half.dtype == torch.float32
    others = (expected @ expected.T).fill_diagonal_(0).max()
    cosine = F.cosine_similarity(half, expected).min()
    difference = (full - expected).abs().max()
    print(f"float32 differs by {difference:.1e}, bfloat16 has cosine {cosine:.6f}, other clips {others:.4f}")
    torch.testing.assert_close(full, expected, atol=1e-5, rtol=0)
    assert cosine >= 0.999
    assert ((half @ expected.T).argmax(dim=1) == torch.arange(len(waveforms))).all()


@pytest.mark.parametrize("samples", [33000, 60000, 5 * 44100])
def test_a_small_tower_gives_the_models_embeddings(tiny, samples):
    """Guards against a batch norm folded wrongly, padding that it changes, and tiles cut off at the edges."""
    check_audio(uneven(tiny[0]), tones(4, samples))


@pytest.mark.slow
def test_the_towers_true_size_gives_the_models_embeddings():
    """Guards against errors that add up over 2048 channels: CLAP 2022's audio tower, 5 s."""
    torch.manual_seed(0)
    model = ClapStudentModel(ClapStudentConfig(text_config=BertConfig(num_hidden_layers=0)))
    check_audio(settle(model), tones(4, 5 * 44100))


@torch.no_grad()
def test_a_spectrogram_will_do(tiny):
    """Guards against a copy that takes fewer inputs than the model, or others than the model takes."""
    model = settle(tiny[0])
    fast, waveforms = for_inference(model), tones(2, 60000)
    log_mel = model.audio_model.log_mel(waveforms)
    torch.testing.assert_close(fast.audio_model.log_mel(waveforms), log_mel, atol=1e-3, rtol=0)
    expected = model.get_audio_features(waveforms).pooler_output
    got = fast.get_audio_features(input_features=log_mel).pooler_output
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="samples are too few"):
        fast.get_audio_features(waveforms[:, :1000])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_embedding_does_not_depend_on_its_neighbours(tiny, pool_folder, tmp_path, dtype):
    """Guards against sums whose order depends on the batch: equal to the bit."""
    write_tone(pool_folder / "long.wav", 700, seconds=12)  # three windows
    fast, processor = for_inference(settle(tiny[0]), dtype), tiny[1]
    skipped = SkippedClips(tmp_path / "skipped.csv")
    table = read_pools([str(pool_folder)])
    together, rows = embed_clips(fast, processor, table, skipped, batch_size=5)
    for vector, row in zip(together, rows, strict=True):
        alone, _ = embed_clips(fast, processor, table.select([row]), skipped, batch_size=5)
        assert np.array_equal(alone[0], vector)
    reverse, _ = embed_clips(fast, processor, table.select(rows[::-1]), skipped, batch_size=5)
    assert np.array_equal(reverse[::-1], together)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_model_stays_as_it_was(tiny, tmp_path, dtype):
    """Guards against folding in place, a copy that shares memory, and one saved as if it were a checkpoint."""
    model = settle(tiny[0]).train()
    before = copy.deepcopy(model.state_dict())
    fast = for_inference(model, dtype)
    with torch.no_grad():
        for tensor in [*fast.parameters(), *fast.buffers()]:
            tensor.zero_()
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)
    with pytest.raises(TypeError, match="save the model that it was made of"):
        fast.save_pretrained(tmp_path)


def test_texts_embed_as_before(tiny):
    """Guards against a text tower left out of the copy, or of the dtype."""
    model, processor = tiny
    expected = embed_texts(model, processor, CAPTIONS)
    assert np.array_equal(embed_texts(for_inference(model), processor, CAPTIONS), expected)
    fast = for_inference(model, torch.bfloat16)
    assert fast.text_model.dtype == torch.bfloat16
    half = embed_texts(fast, processor, CAPTIONS)
    assert half.dtype == np.float32 and ((half * expected).sum(axis=1) > 0.999).all()


def test_another_dtype_is_an_error(tiny):
    """Guards against float16, whose range CNN14's sums exceed."""
    with pytest.raises(ValueError, match="float32, bfloat16, not"):
        for_inference(tiny[0], torch.float16)


@pytest.mark.parametrize("tile", [(2, 2), (4, 2), (2, 4), (4, 4)])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 2), (8, 5)])
def test_winograd_is_the_convolution(tile, height, width):
    """Guards against a wrong matrix, axes changed over, and images that tiles do not divide."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 3, 3, 3, generator=generator), torch.randn(5, generator=generator)
    image = torch.randn(2, 3, height, width, generator=generator).double()
    expected = F.conv2d(image, weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(WinogradConv(weight, bias, tile, torch.float64)(image), expected)
