"""The model: front end, towers, saving, Auto classes."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, BertConfig, pipeline

from modeling_clap_student import (
    ClapStudentAudioConfig,
    ClapStudentAudioModel,
    ClapStudentConfig,
    ClapStudentFeatureExtractor,
    ClapStudentModel,
    ClapStudentProcessor,
)


def slaney_hz(mel: float) -> float:
    """Slaney's mel scale: linear below 1 kHz, then logarithmic."""
    return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)


def reference_log_mel(waveform: np.ndarray, config: ClapStudentAudioConfig) -> np.ndarray:
    """(frames, mel bins) in float64: frame by frame, filter by filter."""
    half = config.n_fft // 2
    padded = np.pad(waveform.astype(np.float64), half, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    starts = range(0, len(padded) - config.n_fft + 1, config.hop_length)
    power = np.array([np.abs(np.fft.rfft(window * padded[s : s + config.n_fft])) ** 2 for s in starts])

    def slaney_mel(hz):
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    mels = np.linspace(slaney_mel(config.min_frequency), slaney_mel(config.max_frequency), config.num_mel_bins + 2)
    edges = [slaney_hz(m) for m in mels]
    bins = np.arange(half + 1) * config.sampling_rate / config.n_fft
    filters = np.zeros((half + 1, config.num_mel_bins))
    for k in range(config.num_mel_bins):
        low, center, high = edges[k : k + 3]
        rise, fall = (bins - low) / (center - low), (high - bins) / (high - center)
        filters[:, k] = np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)
    return 10 * np.log10(np.maximum(power @ filters, 1e-10))


@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
def test_front_end_matches_an_independent_float64_reference(kind):
    """Guards against a wrong window, padding, mel scale, norm, power or floor: other weights would hear noise."""
    config = ClapStudentAudioConfig(base_channels=2)
    model = ClapStudentAudioModel(config)
    n = 22050
    waveform = {
        "noise": np.random.default_rng(0).uniform(-1, 1, n),
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * np.arange(n) / 44100),
        "silence": np.zeros(n),
    }[kind].astype(np.float32)
    got = model.log_mel(torch.from_numpy(waveform)[None])[0].numpy()
    expected = reference_log_mel(waveform, config)
    assert got.shape == expected.shape
    audible = expected > expected.max() - 80  # further down, the rounding of the loudest bin in float32 decides
    np.testing.assert_allclose(got[audible], expected[audible], atol=1e-3)
    np.testing.assert_allclose(got[~audible], expected[~audible], atol=0.5)


def test_default_sizes_are_clap_2022s():
    """Guards against sizes that Microsoft's weights would not fit."""
    config = ClapStudentAudioConfig()
    assert config.block_channels == [64, 128, 256, 512, 1024, 2048] and config.hidden_size == 2048
    model = ClapStudentAudioModel(ClapStudentAudioConfig(base_channels=2)).eval()
    assert model.log_mel(torch.zeros(1, 220500)).shape == (1, 690, 64)
    assert model.front_end.mel_filters.nonzero()[:, 0].max() == 325
    assert model.min_samples == 9920
    assert model(torch.zeros(1, 220500)).last_hidden_state.shape == (1, 21, 64)
    assert ClapStudentConfig().text_config.vocab_size == BertConfig().vocab_size
    assert ClapStudentConfig().logit_scale_init_value == pytest.approx(2.6593, abs=1e-4)


def test_tower_matches_a_plain_float64_computation():
    """Guards against a wrong order of pooling, mean and maximum: every step is written out again here."""
    torch.manual_seed(1)
    model = ClapStudentAudioModel(ClapStudentAudioConfig(base_channels=2)).double().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    features = torch.randn(2, 64, 64, dtype=torch.float64)

    def norm(x, bn):
        shape = (1, -1, 1, 1)
        x = (x - bn.running_mean.view(shape)) / torch.sqrt(bn.running_var.view(shape) + 1e-5)
        return x * bn.weight.view(shape) + bn.bias.view(shape)

    x = norm(features.permute(0, 2, 1)[..., None], model.bn0).permute(0, 3, 2, 1)
    for number, block in enumerate(model.blocks):
        for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
            columns = torch.nn.functional.unfold(x, 3, padding=1)
            x = (conv.weight.flatten(1) @ columns).view(2, -1, *x.shape[2:])
            x = norm(x, bn).clamp(min=0)
        if number < 5:
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    frames = x.mean(dim=3)
    pooled = frames.max(dim=2).values + frames.mean(dim=2)
    expected = (pooled @ model.fc1.weight.T + model.fc1.bias).clamp(min=0)
    torch.testing.assert_close(model(input_features=features).pooler_output, expected, atol=1e-10, rtol=0)


def test_saved_and_loaded_is_the_same_to_the_bit(tiny, tiny_folder):
    """Guards against buffers that the meta device leaves as garbage, and initialisation over loaded weights."""
    model, _ = tiny
    model.audio_model.front_end.mel_filters.mul_(1.5)  # as a converted checkpoint's own matrix
    model.save_pretrained(tiny_folder)
    for loaded in (ClapStudentModel.from_pretrained(tiny_folder), AutoModel.from_pretrained(tiny_folder)):
        assert type(loaded) is ClapStudentModel
        ours, theirs = model.state_dict(), loaded.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"low_cpu_mem_usage": True}, {"device_map": "cpu"}])
def test_every_buffer_survives_saving_in_every_precision(tiny, tiny_folder, tmp_path, dtype, options):
    """Guards against buffers that a path through the meta device fills anew, or that lose precision twice."""
    model, _ = tiny
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.add_(torch.rand_like(buffer) if buffer.is_floating_point() else 3)
    model.save_pretrained(tiny_folder)
    first = ClapStudentModel.from_pretrained(tiny_folder, dtype=dtype, **options)
    for key, value in model.state_dict().items():
        kept = torch.float32 if "front_end" in key or not value.is_floating_point() else dtype
        assert torch.equal(first.state_dict()[key].float(), value.to(kept).float()), key
    first.save_pretrained(tmp_path / "again")
    again = ClapStudentModel.from_pretrained(tmp_path / "again", dtype="auto", **options)
    assert again.dtype == dtype
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    assert {key: value.dtype for key, value in first.state_dict().items()} == {
        key: value.dtype for key, value in again.state_dict().items()
    }
    assert torch.equal(again.encode_text("hum"), first.encode_text("hum"))


def test_auto_classes_know_every_part(tiny_folder):
    """Guards against a class that is saved but not registered."""
    assert type(AutoConfig.from_pretrained(tiny_folder)) is ClapStudentConfig
    assert type(AutoFeatureExtractor.from_pretrained(tiny_folder)) is ClapStudentFeatureExtractor
    assert type(AutoProcessor.from_pretrained(tiny_folder)) is ClapStudentProcessor
    audio = AutoModel.from_config(ClapStudentAudioConfig(base_channels=2))
    assert type(audio) is ClapStudentAudioModel


def test_outputs_are_claps(tiny):
    """Guards against missing fields, embeddings that are not unit vectors, and logits of another scale."""
    model, processor = tiny
    audio = [np.random.default_rng(i).uniform(-0.5, 0.5, 220500).astype(np.float32) for i in range(2)]
    inputs = processor(
        text=["a low hum", "hiss", "a high whistle"],
        audio=audio,
        sampling_rate=44100,
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        outputs = model(**inputs)
        features = model.get_audio_features(inputs["input_values"], inputs["num_windows"]).pooler_output
    assert outputs.loss is None
    assert outputs.logits_per_audio.shape == (2, 3) and torch.equal(
        outputs.logits_per_text, outputs.logits_per_audio.T
    )
    torch.testing.assert_close(outputs.audio_embeds.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(outputs.text_embeds.norm(dim=1), torch.ones(3))
    expected = outputs.audio_embeds @ outputs.text_embeds.T / 0.07
    torch.testing.assert_close(outputs.logits_per_audio, expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(features, outputs.audio_embeds)


def test_return_loss_is_the_contrastive_loss(tiny):
    """Guards against a loss that a plain Trainer could not use."""
    model, processor = tiny
    audio = [np.random.default_rng(i).uniform(-0.5, 0.5, 50000).astype(np.float32) for i in range(2)]
    inputs = processor(text=["a low hum", "hiss"], audio=audio, sampling_rate=44100, return_tensors="pt", padding=True)
    outputs = model(**inputs, return_loss=True)
    rows, columns = outputs.logits_per_audio, outputs.logits_per_text
    target = torch.arange(2)
    expected = (
        torch.nn.functional.cross_entropy(rows, target) + torch.nn.functional.cross_entropy(columns, target)
    ) / 2
    torch.testing.assert_close(outputs.loss, expected)


def test_windows_of_a_long_clip_are_averaged(tiny):
    """Guards against long clips cut to their first seconds, or windows of one clip leaking into another."""
    model, _ = tiny
    windows = torch.rand(3, 220500) - 0.5
    with torch.no_grad():
        single = model.get_audio_features(windows).pooler_output
        joined = model.get_audio_features(windows, torch.tensor([1, 2])).pooler_output
    torch.testing.assert_close(joined[0], single[0])
    torch.testing.assert_close(joined[1], torch.nn.functional.normalize(single[1] + single[2], dim=0))


def test_spectrogram_input_equals_waveform_input(tiny):
    """Guards against teacher and student seeing different spectrograms when they share one."""
    model, _ = tiny
    waveform = torch.rand(2, 220500) - 0.5
    with torch.no_grad():
        shared = model.get_audio_features(input_features=model.audio_model.log_mel(waveform)).pooler_output
        assert torch.equal(shared, model.get_audio_features(waveform).pooler_output)


def test_front_end_stays_float32_in_bfloat16(tiny, tiny_folder):
    """Guards against a spectrogram in half precision, which CPUs refuse and towers can't use."""
    model = ClapStudentModel.from_pretrained(tiny_folder, dtype=torch.bfloat16).eval()
    waveform = torch.rand(1, 220500) - 0.5
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        log_mel = model.audio_model.log_mel(waveform)
        assert log_mel.dtype == torch.float32
        assert torch.equal(log_mel, tiny[0].audio_model.log_mel(waveform))
        assert model.get_audio_features(waveform).pooler_output.isfinite().all()


@pytest.mark.parametrize(
    ("waveform", "words"), [(torch.zeros(220500), "batch, samples"), (torch.zeros(1, 5000), "too few")]
)
def test_wrong_waveforms_are_named(tiny, waveform, words):
    """Guards against a traceback from inside a convolution."""
    with pytest.raises(ValueError, match=words):
        tiny[0].get_audio_features(waveform)


def test_zero_shot_pipeline_runs(tiny_folder):
    """Guards against a model that transformers' own pipeline can't feed."""
    classify = pipeline("zero-shot-audio-classification", model=str(tiny_folder))
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 100000).astype(np.float32)
    scores = classify(audio, candidate_labels=["hum", "hiss"])
    assert {s["label"] for s in scores} == {"hum", "hiss"}
    assert sum(s["score"] for s in scores) == pytest.approx(1, abs=1e-5)
