"""Conversion: Microsoft's CLAP 2022 and PANNs' Cnn14 give the reference's own numbers, and wrong files are named.

The golden values were recorded from the reference implementation, see `reference/record_msclap.py`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import CAPTIONS
from transformers import AutoModel, AutoProcessor

from modeling_clap_student import (
    ClapStudentAudioModel,
    ClapStudentConfig,
    ClapStudentFeatureExtractor,
    ClapStudentModel,
    ClapStudentProcessor,
    InputError,
)
from modeling_clap_student.checkpoints.conversion import (
    convert_msclap_checkpoint,
    convert_panns_checkpoint,
    load_audio_tower,
    read_state_dict,
)
from modeling_clap_student.checkpoints.initialization import ModelArguments, new_model, scratch_tokenizer
from modeling_clap_student.commands.convert import main


sys.path.insert(0, str(Path(__file__).parent / "reference"))
import recipe


GOLDEN = np.load(Path(__file__).parent / "reference" / "msclap_golden.npz")
INPUTS = recipe.inputs()
TEXTS = recipe.token_batches()
PANNS = {"panns_32k": recipe.PANNS_32K_FRONT_END, "panns_16k": recipe.PANNS_16K_FRONT_END}


def save_checkpoint(path: Path, weights: dict, **rest) -> Path:
    """A `.pth` file as training scripts leave it."""
    torch.save({"model": {key: torch.as_tensor(value) for key, value in weights.items()}, **rest}, path)
    return path


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    scratch_tokenizer(CAPTIONS).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clap(tmp_path_factory, tokenizer_folder) -> ClapStudentModel:
    """CLAP 2022 in its true size, converted and loaded again."""
    folder = tmp_path_factory.mktemp("clap")
    weights = recipe.random_weights(recipe.clap_shapes(position_ids=True))
    checkpoint = save_checkpoint(folder / "CLAP_weights_2022.pth", weights)
    done = convert_msclap_checkpoint(checkpoint, folder / "converted", tokenizer_folder)
    checkpoint.unlink()
    assert done.mel_sampling_rate == 44100 and done.last_mel_bin == 325
    assert "caption_encoder.base.embeddings.position_ids" in done.ignored
    return AutoModel.from_pretrained(folder / "converted")


@torch.no_grad()
@pytest.mark.slow
def test_clap_2022_has_the_references_front_end(clap):
    """Guards against another window, mel scale, padding or floor: decibels of the reference, bin by bin.

    Both are float32: far below the loudest bin of a frame, the reference itself is off by a hundredth of a decibel
    from its own float64 values, which are the ones compared with; within 60 dB of it, 1e-3 dB is the bar.
    """
    for name, waveform in INPUTS.items():
        log_mel = clap.audio_model.log_mel(torch.from_numpy(waveform)[None])[0].numpy()
        error = np.abs(recipe.thin_log_mel(log_mel) - GOLDEN[f"log_mel_float64/{name}"])
        assert (error <= recipe.thin_log_mel(recipe.log_mel_tolerance(log_mel))).all(), name
        loud = recipe.thin_log_mel(log_mel) > recipe.thin_log_mel(
            np.broadcast_to(log_mel.max(axis=1, keepdims=True) - 60, log_mel.shape)
        )
        assert error[loud].max(initial=0) <= 1e-3, name


@torch.no_grad()
def test_clap_2022_has_the_references_embeddings_and_logits(clap):
    """Guards against any step of the towers or heads that is not the reference's: 0.3, 5 and 7 s, silence, full-scale
    noise, a pure tone."""
    audio = [clap.get_audio_features(torch.from_numpy(x)[None]).pooler_output for x in INPUTS.values()]
    text = [
        clap.get_text_features(**{k: torch.from_numpy(v) for k, v in tokens.items()}).pooler_output for tokens in TEXTS
    ]
    audio, text = torch.cat(audio), torch.cat(text)
    np.testing.assert_allclose(recipe.thin_embeds(audio.numpy()), GOLDEN["audio_embeds"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(recipe.thin_embeds(text.numpy()), GOLDEN["text_embeds"], atol=1e-5, rtol=0)
    logits = (clap.logit_scale.exp() * audio @ text.T).numpy()
    np.testing.assert_allclose(logits, GOLDEN["logits_per_audio"], atol=1e-4, rtol=0)


def test_short_clips_are_read_as_the_reference_reads_them(clap, tmp_path):
    """Guards against zero padding where the reference repeats a clip."""
    soundfile.write(tmp_path / "short.wav", INPUTS["0.3 s"], 44100, subtype="FLOAT")
    embeds = clap.encode_audio(tmp_path / "short.wav", batch_size=1).numpy()
    np.testing.assert_allclose(recipe.thin_embeds(embeds), GOLDEN["loader_embeds"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PANNS)
@pytest.mark.slow
def test_panns_towers_give_panns_embeddings(name, tmp_path):
    """Guards against a front end of another rate: the 32 and the 16 kHz file bring their own STFT and mel matrix."""
    front_end = PANNS[name]
    weights = recipe.random_weights(recipe.cnn14_shapes(front_end), front_end)
    sampler = {"indexes": np.arange(5), "pointer": 3}  # as in files of PANNs' training
    checkpoint = save_checkpoint(tmp_path / "Cnn14.pth", weights, iteration=600000, sampler=sampler)
    done = convert_panns_checkpoint(checkpoint, tmp_path / "tower")
    assert done.mel_sampling_rate == front_end["sampling_rate"]
    assert done.last_mel_bin == {32000: 447, 16000: 255}[front_end["sampling_rate"]]
    tower = AutoModel.from_pretrained(tmp_path / "tower")
    assert type(tower) is ClapStudentAudioModel and tower.config.hop_length == front_end["hop_length"]
    with torch.no_grad():
        embeds = [tower(torch.from_numpy(INPUTS[n])[None]).pooler_output for n in ("5 s", "tone")]
    embeds, golden = recipe.thin_embeds(torch.cat(embeds).numpy()), GOLDEN[name]
    length = np.linalg.norm(golden, axis=-1, keepdims=True)  # these are not normalised
    np.testing.assert_allclose(embeds / length, golden / length, atol=1e-5, rtol=0)


# Small files of the same layouts, for what does not depend on size.


def rename(key: str) -> str:
    """Our key -> CLAP 2022's, by hand."""
    for ours, theirs in (
        ("audio_model.front_end.mel_filters", "audio_encoder.base.logmel_extractor.melW"),
        ("audio_model.blocks.5.", "audio_encoder.base.conv_block6."),
        ("audio_model.blocks.4.", "audio_encoder.base.conv_block5."),
        ("audio_model.blocks.3.", "audio_encoder.base.conv_block4."),
        ("audio_model.blocks.2.", "audio_encoder.base.conv_block3."),
        ("audio_model.blocks.1.", "audio_encoder.base.conv_block2."),
        ("audio_model.blocks.0.", "audio_encoder.base.conv_block1."),
        ("audio_model.", "audio_encoder.base."),
        ("audio_projection.", "audio_encoder.projection."),
        ("text_model.", "caption_encoder.base."),
        ("text_projection.", "caption_encoder.projection."),
    ):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def small_clap() -> tuple[ClapStudentModel, dict]:
    """A narrow model with the 32 kHz mel matrix, and its weights under CLAP 2022's names."""
    torch.manual_seed(0)
    config = ClapStudentConfig(
        audio_config={"base_channels": 2, "mel_sampling_rate": 32000},
        text_config={"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
                     "intermediate_size": 32},
        projection_dim=16,
    )  # fmt: skip
    model = ClapStudentModel(config).eval()
    model.audio_model.front_end.window.copy_(torch.from_numpy(recipe.stft_kernel(1024, imaginary=False)[0, 0]))
    weights = {rename(key): value for key, value in model.state_dict().items() if not key.endswith("window")}
    for part in ("real", "imag"):
        kernel = torch.from_numpy(recipe.stft_kernel(1024, part == "imag"))
        weights[f"audio_encoder.base.spectrogram_extractor.stft.conv_{part}.weight"] = kernel
    weights["audio_encoder.base.fc_audioset.weight"] = torch.zeros(527, 64)
    weights["caption_encoder.base.pooler.dense.bias"] = torch.zeros(64)
    return model, weights


def small_panns() -> dict:
    prefix = "audio_encoder.base."
    return {key.removeprefix(prefix): v for key, v in small_clap()[1].items() if key.startswith(prefix)}


def test_the_mel_matrix_is_kept_as_found(tmp_path, tokenizer_folder, capsys, monkeypatch):
    """Guards against a matrix computed anew: a CLAP file with PANNs' 32 kHz matrix, or one that nobody knows."""
    model, weights = small_clap()
    key = "audio_encoder.base.logmel_extractor.melW"
    known = convert_msclap_checkpoint(save_checkpoint(tmp_path / "a.pth", weights), tmp_path / "a", tokenizer_folder)
    assert known.mel_sampling_rate == 32000 and known.last_mel_bin == 447
    weights[key] = weights[key] * 1.5
    checkpoint = save_checkpoint(tmp_path / "b.pth", weights)
    monkeypatch.setattr(sys, "argv", ["conversion", str(checkpoint), "--output_dir", str(tmp_path / "b"),
                                      "--tokenizer", tokenizer_folder])  # fmt: skip
    main()
    assert "unknown rate (last bin 447), kept as found" in capsys.readouterr().out
    loaded = ClapStudentModel.from_pretrained(tmp_path / "b")
    assert torch.equal(loaded.audio_model.front_end.mel_filters, weights[key])
    assert loaded.config.audio_config.sampling_rate == 44100
    again = ClapStudentModel.from_pretrained(tmp_path / "a")
    waveform = torch.rand(1, 44100) - 0.5
    with torch.no_grad():
        ours, theirs = (m.get_audio_features(waveform).pooler_output for m in (model, again))
    assert torch.equal(ours, theirs)
    assert AutoProcessor.from_pretrained(tmp_path / "a").tokenizer.model_max_length == 100


@pytest.mark.parametrize("layout", ["bare", "state_dict", "module"])
def test_state_dicts_are_found_where_scripts_put_them(tmp_path, layout):
    """Guards against checkpoints of DataParallel, of Lightning or without wrapping, as the paper's own are."""
    weights = {"conv_block1.conv1.weight": torch.ones(2)}
    content = {
        "bare": weights,
        "state_dict": {"state_dict": weights, "epoch": 3},
        "module": {"model": {f"module.{key}": value for key, value in weights.items()}},
    }[layout]
    torch.save(content, tmp_path / "x.pth")
    assert list(read_state_dict(tmp_path / "x.pth")) == list(weights)


class Surprise:
    """What a pickle can hide."""

    def __reduce__(self):
        return (print, ("executed",))


def break_weights(weights: dict, how: str) -> dict:
    conv = "audio_encoder.base.conv_block2.conv1.weight"
    stft = "audio_encoder.base.spectrogram_extractor.stft.conv_real.weight"
    mel = "audio_encoder.base.logmel_extractor.melW"
    changes = {
        "mel": {mel: torch.zeros(513, 64)},
        "flat": {mel: torch.ones(513)},
        "short": {stft: weights[stft][:257]},
        "nan": {conv: torch.full((4, 2, 3, 3), torch.nan)},
        "missing": {conv: None},
        "unexpected": {"audio_encoder.base.extra.weight": torch.ones(1)},
        "shape": {conv: torch.ones(4, 2, 5, 5), "logit_scale": torch.ones(3)},
        "stft": {stft: weights[stft].flip(2).roll(5, 2)},
        "layers": {"caption_encoder.base.embeddings.word_embeddings.weight": None},
    }[how]
    return {key: value for key, value in (weights | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", ["conv_block2.conv1.weight is missing"]),
        ("unexpected", ["audio_encoder.base.extra.weight is unexpected"]),
        ("shape", ["conv_block2.conv1.weight is (4, 2, 5, 5) and not (4, 2, 3, 3)", "logit_scale is (3,) and not ()"]),
        ("stft", ["no windowed Fourier transform"]),
        ("mel", ["no mel matrix"]),
        ("flat", ["no mel matrix", "(513,)"]),
        ("short", ["conv_real.weight is (257, 1, 1024) and not (513, 1, 1024)"]),
        ("nan", ["conv_block2.conv1.weight holds NaN"]),
        ("layers", ["lacks caption_encoder.base.embeddings.word_embeddings.weight"]),
    ],
)
def test_files_that_do_not_fit_are_named_key_by_key(tmp_path, tokenizer_folder, how, words):
    """Guards against weights left random, or dropped, without a word."""
    checkpoint = save_checkpoint(tmp_path / "x.pth", break_weights(small_clap()[1], how))
    with pytest.raises(InputError) as error:
        convert_msclap_checkpoint(checkpoint, tmp_path / "out", tokenizer_folder)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_wrong_files_are_called_what_they_are(tmp_path, tokenizer_folder):
    """Guards against a PANNs file taken for CLAP's, a file that would run code, and a folder written over."""
    panns = save_checkpoint(tmp_path / "Cnn14.pth", small_panns())
    with pytest.raises(InputError, match=r"is a PANNs Cnn14 checkpoint .* and not a CLAP 2022 .*convert_panns"):
        convert_msclap_checkpoint(panns, tmp_path / "out", tokenizer_folder)
    clap = save_checkpoint(tmp_path / "clap.pth", small_clap()[1])
    with pytest.raises(InputError, match=r"is a CLAP 2022 checkpoint .* and not a PANNs"):
        convert_panns_checkpoint(clap, tmp_path / "out")
    with pytest.raises(InputError, match=r"unknown layout .*'audio_branch"):
        convert_panns_checkpoint(
            save_checkpoint(tmp_path / "l.pth", {"audio_branch.x": torch.ones(1)}), tmp_path / "o"
        )
    torch.save({"model": Surprise()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="no checkpoint of tensors alone"):
        convert_panns_checkpoint(tmp_path / "evil.pth", tmp_path / "out")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(InputError, match="no checkpoint of tensors alone"):
        read_state_dict(tmp_path / "text.pth")
    for name, content in (("empty", b""), ("cut", panns.read_bytes()[:5000]), ("zip", b"PK" + bytes(100))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="no checkpoint of tensors alone") as error:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no state dict"):
        read_state_dict(save_checkpoint(tmp_path / "int.pth", {1: torch.ones(1)}))
    with pytest.raises(InputError, match="no such checkpoint file"):
        read_state_dict(tmp_path / "gone.pth")
    with pytest.raises(InputError, match="can't load the tokenizer"):
        convert_msclap_checkpoint(clap, tmp_path / "out", str(tmp_path / "no_tokenizer"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        convert_panns_checkpoint(panns, tmp_path / "taken")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["panns", "clap", "folder", "converted"])
def test_a_new_model_starts_from_audio_weights(tmp_path, tokenizer_folder, source):
    """Guards against `--audio_weights` that leaves the tower random, or gives it another mel matrix."""
    original, weights = small_clap()
    if source == "folder":
        original.processor = ClapStudentProcessor(ClapStudentFeatureExtractor(), scratch_tokenizer(CAPTIONS))
        original.save_pretrained(tmp_path / "x")
    elif source == "converted":
        convert_panns_checkpoint(save_checkpoint(tmp_path / "p.pth", small_panns()), tmp_path / "x")
    else:
        save_checkpoint(tmp_path / "x", small_panns() if source == "panns" else weights)
    args = ModelArguments(text_model="scratch", audio_weights=str(tmp_path / "x"), base_channels=2, projection_dim=8)
    model, _ = new_model(args, CAPTIONS)
    theirs = original.audio_model.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.audio_model.state_dict().items())
    assert model.config.audio_config.sampling_rate == 44100  # the paper's rate, with the 32 kHz matrix of the file
    assert model.config.audio_config.mel_sampling_rate == 32000
    with pytest.raises(InputError, match="2 channels: give --base_channels"):
        new_model(ModelArguments(text_model="scratch", audio_weights=str(tmp_path / "x")), CAPTIONS)


def test_the_tower_of_a_clap_file_is_the_same_as_its_own(tmp_path):
    """Guards against `--audio_weights` that reads a CLAP file differently from a PANNs file with the same weights."""
    a = load_audio_tower(save_checkpoint(tmp_path / "a.pth", small_clap()[1])).state_dict()
    b = load_audio_tower(save_checkpoint(tmp_path / "b.pth", small_panns())).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_half_precision_files_convert(tmp_path):
    """Guards against a file that was saved in float16 to save room."""
    weights = {key: value.half() if value.is_floating_point() else value for key, value in small_panns().items()}
    tower = load_audio_tower(save_checkpoint(tmp_path / "half.pth", weights))
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}


def test_a_converted_tower_brings_its_extractor(tmp_path):
    """Guards against a tower at 32 kHz whose extractor cuts clips at 44.1 kHz."""
    convert_panns_checkpoint(save_checkpoint(tmp_path / "p.pth", small_panns()), tmp_path / "tower")
    extractor = ClapStudentFeatureExtractor.from_pretrained(tmp_path / "tower")
    assert extractor.sampling_rate == 32000 and extractor.window_samples == 320000
    card = (tmp_path / "tower" / "README.md").read_text()
    assert "sha256" in card and "It knows no words" in card and "finds clips by words" not in card
