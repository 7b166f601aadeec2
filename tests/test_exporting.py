"""Graphs of the towers: compiled, exported, as ONNX. The reference is the eager model."""

import sys

import pytest
import torch
from conftest import settle, tiny_model, tones
from torch.export import Dim

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.exporting import AudioTower, TextTower, export_onnx
from modeling_clap_student.commands import export
from modeling_clap_student.temporal.trainer import order_aware


TEXTS = ["hum", "a steady tone", "this is a sound of hiss", "a high whistle", "soft hiss"]


@pytest.fixture(scope="module", params=["mean_max", "attention"])
def settled(request):
    model, processor = tiny_model()
    model = order_aware(settle(model), processor, request.param).eval()
    if request.param == "attention":
        torch.nn.init.normal_(model.audio_model.pooling.output, std=0.1)  # what it adds is nothing at first
    return model, processor


@pytest.fixture(scope="module")
def graphs(settled, tmp_path_factory):
    """onnxruntime's functions of the audio and the text graph."""
    import onnxruntime

    def function(path):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda **inputs: torch.from_numpy(session.run(None, {k: v.numpy() for k, v in inputs.items()})[0])

    return [function(path) for path in export_onnx(settled[0], tmp_path_factory.mktemp("onnx"))]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def tokens_of(processor, texts):
    tokens = processor.tokenizer(texts, padding=True, return_tensors="pt")
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def close(atol):
    return {"atol": atol, "rtol": 0}


def test_towers_compile_without_graph_breaks(settled):
    """Guards against Python in the towers that a compiler can't follow. Needs no C++ compiler: inductor is not run."""
    model, processor = settled
    audio, text = (
        torch.compile(tower, fullgraph=True, backend="aot_eager")
        for tower in (model.get_audio_features, model.get_text_features)
    )
    waveforms, tokens = tones(2, 60000), tokens_of(processor, TEXTS)
    expected = model.get_audio_features(waveforms).pooler_output
    assert (expected[0] - expected[1]).abs().max() > 0.1  # else the comparisons of this file would say nothing
    torch.testing.assert_close(audio(waveforms).pooler_output, expected, **close(1e-5))
    with torch.autocast("cpu", torch.bfloat16):
        log_mel = torch.compile(model.audio_model.log_mel, fullgraph=True, backend="aot_eager")(waveforms)
    torch.testing.assert_close(log_mel, model.audio_model.log_mel(waveforms), **close(1e-5))
    torch.testing.assert_close(text(**tokens).pooler_output, TextTower(model)(**tokens), **close(1e-5))


def test_towers_export_with_any_batch(settled):
    """Guards against a batch size or a number of tokens that is frozen into torch's graph."""
    model, processor = settled
    audio, text = AudioTower(model).eval(), TextTower(model).eval()
    texts, tokens = Dim("texts"), Dim("tokens", max=model.config.text_config.max_position_embeddings)
    audio_graph = torch.export.export(audio, (tones(2, 60000),), dynamic_shapes=({0: Dim("windows")},)).module()
    text_graph = torch.export.export(
        text, (), tokens_of(processor, TEXTS[:2]), dynamic_shapes=[{0: texts, 1: tokens}] * 2
    ).module()
    for count in (1, 2, 5):
        waveforms, inputs = tones(count, 60000), tokens_of(processor, TEXTS[:count])
        torch.testing.assert_close(audio_graph(waveforms), audio(waveforms), **close(1e-5))
        torch.testing.assert_close(text_graph(**inputs), text(**inputs), **close(1e-5))


@pytest.mark.parametrize(
    ("count", "samples"),
    [
        pytest.param(1, 31744, id="shortest"),
        pytest.param(2, 33333, id="one frame"),
        pytest.param(1, 65536, id="whole hops"),
        pytest.param(5, 220500, id="five seconds"),
    ],
)
@pytest.mark.slow
def test_onnx_audio_graph_is_the_tower(settled, graphs, count, samples):
    """Guards against another spectrogram, or a batch or length frozen at those of the export's example."""
    waveforms = tones(count, samples)
    waveforms[-1, samples // 2 :] = 0  # silence too
    embeds = graphs[0](input_values=waveforms)
    torch.testing.assert_close(embeds, AudioTower(settled[0])(waveforms), **close(1e-4))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_onnx_text_graph_is_the_tower(settled, graphs, count):
    """Guards against a mask that was mixed up with the ids, or that the graph takes for all ones."""
    tokens = tokens_of(settled[1], TEXTS[:count])
    assert count == 1 or not tokens["attention_mask"].all()
    torch.testing.assert_close(graphs[1](**tokens), TextTower(settled[0])(**tokens), **close(1e-4))


def test_export_leaves_the_model_as_it_is(tiny, tmp_path, monkeypatch):
    """Guards against a model under training that comes back in eval mode, float32 or on another device."""
    model = tiny[0].bfloat16().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    written = []
    monkeypatch.setattr(
        "modeling_clap_student.checkpoints.exporting._write",
        lambda path, tower, *_: written.append(tower.model) or path,
    )
    assert export_onnx(model, tmp_path) == (tmp_path / "audio_tower.onnx", tmp_path / "text_tower.onnx")
    assert not written[0].training and written[0].dtype == torch.float32
    assert model.training and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(value.dtype == before[key].dtype for key, value in model.state_dict().items())


@pytest.mark.slow
def test_command_writes_both_graphs(command, tiny_folder, tmp_path, capsys):
    """Guards against a command that can't be typed, half-written files, and a summary without the graphs' inputs."""
    assert command(export, "--model", tiny_folder, "--output_dir", "graphs") == 0
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == ["audio_tower.onnx", "text_tower.onnx"]
    said = capsys.readouterr().out
    assert "44100 Hz, 31744 or more" in said and "input_ids, attention_mask" in said


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_package_is_named(tiny, tmp_path, monkeypatch, package):
    """Guards against a traceback from inside torch where one line says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{package} missing: pip install onnx onnxscript"):
        export_onnx(tiny[0], tmp_path / "graphs")
    assert not (tmp_path / "graphs").exists()
