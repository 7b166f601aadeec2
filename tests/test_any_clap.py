"""transformers' own CLAP as a student: trained by the same objective, saved as a plain `ClapModel`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FAST, numbers, tiny_clap, tiny_model
from datasets import Dataset
from safetensors.torch import load_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from modeling_clap_student import (
    ClapStudentTrainer,
    ClapStudentTrainingArguments,
    InputError,
    classify,
    evaluate_zero_shot,
)
from modeling_clap_student.checkpoints.loading import as_checkpoint, load_checkpoint
from modeling_clap_student.commands import curate as run_curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher


# Sizes of laion/clap-htsat-unfused, -fused and larger_clap_general.
UNFUSED = {"depths": [2, 2, 6, 2], "num_attention_heads": [4, 8, 16, 32], "hidden_size": 768}
FUSED = UNFUSED | {"enable_fusion": True, "fusion_type": "aff_2d"}
LARGER = {"depths": [2, 2, 12, 2], "patch_embeds_hidden_size": 128, "hidden_size": 1024}


@pytest.mark.parametrize("audio", [UNFUSED, FUSED, LARGER], ids=["unfused", "fused", "larger"])
@torch.no_grad()
@pytest.mark.slow
def test_true_sizes_embed_as_transformers_do(audio):
    """Guards against another spectrogram, another window, or a fusion that sets in by chance."""
    torch.manual_seed(0)
    text = {"num_hidden_layers": 2, "vocab_size": 100}  # the text tower is transformers' own code
    plain = ClapModel(ClapConfig(text_config=text, audio_config=audio)).eval()
    extractor = ClapFeatureExtractor(truncation="fusion" if "enable_fusion" in audio else "rand_trunc")
    processor = SimpleProcessor(extractor)
    model, windowing = as_checkpoint((plain, processor))
    for seconds in (1.3, 10):
        waveform = np.random.default_rng(0).uniform(-0.5, 0.5, int(48000 * seconds)).astype(np.float32)
        inputs = extractor(waveform, sampling_rate=48000, return_tensors="pt")
        expected = plain.get_audio_features(inputs["input_features"], is_longer=torch.zeros(1, 1)).pooler_output
        assert (model.encode_audio(waveform, sampling_rate=48000) - expected).abs().max() <= 1e-6
        window = waveform
        if seconds < 10:
            window = windowing.feature_extractor.fill_window(waveform, 480_000, 7)
        spectrogram = model.log_mel(torch.from_numpy(window)[None])
        assert (spectrogram - inputs["input_features"][:, 0]).abs().max() <= 1e-3  # dB
        assert (model.get_audio_features(spectrogram).pooler_output - expected).abs().max() <= 1e-6


class SimpleProcessor:
    def __init__(self, feature_extractor):
        self.feature_extractor, self.tokenizer = feature_extractor, None


@pytest.fixture(params=["rand_trunc", "fusion"])
def clap_folder(request, tmp_path) -> str:
    return tiny_clap(tmp_path / "clap", request.param)


def table(count: int = 8) -> Dataset:
    """Clips of one to three seconds, the windows being two, as arrays of another rate."""
    rng = np.random.default_rng(0)
    clips = [{"array": rng.uniform(-0.5, 0.5, 16000 * (1 + n % 3)), "sampling_rate": 16000} for n in range(count)]
    return Dataset.from_dict({"audio": clips, "caption": [f"sound {n}" for n in range(count)]})


def arguments(folder, **options) -> ClapStudentTrainingArguments:
    options = {"max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_steps": 1} | options
    return ClapStudentTrainingArguments(str(folder), disable_tqdm=True, lr_scheduler_type="constant", **options)


def brute_force_loss(model, teacher, batch, weight: float) -> torch.Tensor:
    """½ [KL(yᵃ ‖ softmax(s_a A Zᵀ)) + KL(yᵗ ‖ softmax(s_t Z Aᵀ))] in float64."""
    audio, text = model.audio_embeds.double(), model.text_embeds.double()
    scales = [scale.double().exp() for scale in (teacher["scale_a"], teacher["scale_t"])]
    eye, total = torch.eye(len(audio), dtype=torch.float64), 0
    for logits, own in ((scales[0] * audio @ text.T, teacher["audio"]), (scales[1] * text @ audio.T, teacher["text"])):
        similar = (own.double() @ own.double().T).clamp(min=0)
        targets = (1 - weight) * eye + weight * similar / similar.sum(dim=1, keepdim=True)
        total = total + (targets * (targets.log() - logits.log_softmax(dim=1))).nansum() / len(audio) / 2
    return total


def test_the_loss_has_both_directions_and_both_scales(clap_folder, tmp_path):
    """Guards against transformers' own loss, which has one direction twice, and against one scale for both."""
    clap = ClapModel.from_pretrained(clap_folder)
    with torch.no_grad():
        clap.logit_scale_a.fill_(1.0)
        clap.logit_scale_t.fill_(2.5)
    trainer = ClapStudentTrainer(clap, arguments(tmp_path / "out"), table(4), teacher=clap_folder)
    model = trainer.model.eval()
    batch = trainer.data_collator([trainer.train_dataset[row, 0] for row in range(4)])
    loss = trainer.compute_loss(model, dict(batch))
    inputs, facts = trainer._prepared(batch)
    known = {"audio": facts["teacher_audio"], "text": facts["teacher_text"]}
    known |= {"scale_a": clap.logit_scale_a, "scale_t": clap.logit_scale_t}
    expected = brute_force_loss(model(**inputs), known, batch, 0.3)
    assert abs(loss.item() - expected.item()) <= 1e-6
    gradients = torch.autograd.grad(loss, [clap.logit_scale_a, clap.logit_scale_t])
    expected = torch.autograd.grad(expected, [clap.logit_scale_a, clap.logit_scale_t])
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-7)


def test_a_step_changes_what_should_learn(clap_folder, tmp_path):
    """Guards against weights that never learn, and against windows that are fused: those weights stay."""
    clap = ClapModel.from_pretrained(clap_folder)
    before = {name: value.clone() for name, value in clap.state_dict().items()}
    ClapStudentTrainer(clap, arguments(tmp_path / "out"), table(), teacher=clap_folder).train()
    same = {name for name, value in clap.state_dict().items() if torch.equal(value, before[name])}
    constants = {name for name in same if name.endswith(("position_ids", "token_type_ids", "relative_position_index"))}
    fusing = {name for name in before if "fusion_model" in name or "mel_conv2d" in name}
    assert same - constants == fusing


@pytest.mark.parametrize(
    "options",
    [
        {"contrastive_batch_size": 8},
        {"layer_wise_lr_decay": 0.5, "ema_decay": 0.9},
        {"freeze_audio_encoder": True, "freeze_text_encoder": True},
        {"time_mask": 4, "frequency_mask": 4, "random_gain_db": 6.0},
        {"spectrogram_cache": "cache"},
        {"mixup_alpha": 0.4},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_option_trains_it(options, tmp_path, monkeypatch):
    """Guards against options that know CNN14 alone."""
    monkeypatch.chdir(tmp_path)
    folder = tiny_clap(tmp_path / "clap")
    clap = ClapModel.from_pretrained(folder)
    before = {name: value.clone() for name, value in clap.named_parameters()}
    trainer = ClapStudentTrainer(clap, arguments("out", **options), table(), teacher=folder)
    assert np.isfinite(trainer.train().training_loss)
    changed = {name.split(".")[0] for name, value in clap.named_parameters() if not torch.equal(value, before[name])}
    frozen = {"audio_model", "text_model"} if "freeze_audio_encoder" in options else set()
    every = {"audio_model", "audio_projection", "text_model", "text_projection", "logit_scale_a", "logit_scale_t"}
    assert changed == every - frozen


def test_layers_learn_the_more_slowly_the_deeper_they_lie(tmp_path):
    """Guards against all of Swin's layers at one depth."""
    from modeling_clap_student.training.optimization import layer_depths

    depths = layer_depths(ClapModel.from_pretrained(tiny_clap(tmp_path / "clap")))
    audio = "audio_model.audio_encoder."
    assert depths["logit_scale_a"] == depths["audio_projection.linear1.weight"] == 0
    assert depths[f"{audio}layers.1.blocks.0.layernorm_after.weight"] == depths[f"{audio}norm.weight"] == 1
    assert depths[f"{audio}layers.0.downsample.norm.weight"] == 2
    assert depths[f"{audio}layers.0.blocks.0.layernorm_after.weight"] == 3
    assert depths[f"{audio}patch_embed.proj.weight"] == depths[f"{audio}batch_norm.weight"] == 4
    assert depths["text_model.encoder.layer.0.output.dense.weight"] == depths["text_model.pooler.dense.weight"] == 1
    assert depths["text_model.embeddings.word_embeddings.weight"] == 2


def test_resumed_to_the_bit(tmp_path):
    """Guards against crops, dropout or states that are others after an interruption."""
    folder, weights = tiny_clap(tmp_path / "clap"), []
    for name in ("whole", "broken"):
        args = arguments(tmp_path / name, max_steps=4, save_total_limit=9)
        ClapStudentTrainer(folder, args, table(), teacher=folder).train()
        if name == "broken":
            args = arguments(tmp_path / name, max_steps=4, save_total_limit=9)
            trainer = ClapStudentTrainer(folder, args, table(), teacher=folder)
            trainer.train(resume_from_checkpoint=str(tmp_path / name / "checkpoint-2"))
            trainer.save_model(str(tmp_path / name))
            weights.append(load_file(tmp_path / name / "model.safetensors"))
        else:
            weights.append(load_file(tmp_path / name / "checkpoint-4" / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
def test_the_chain(command, clap_folder, captioned_folder, pool_folder, labelled_folder, capsys):
    """Guards against a command that improves CNN14 alone, and a student that transformers can't load by itself."""
    files = ["--captions", captioned_folder, "--audio", pool_folder, "--labels", labelled_folder]
    made = ["--strategy", "ads", "--teacher", clap_folder, *files, *numbers("ads"), "--output_dir", "set"]
    assert command(run_curate, *made) == 0
    flags = ["--strategy", "ads", "--improvement_set", "set", "--task", labelled_folder, *FAST, "--output_dir", "out"]
    assert command(run_student, *flags) == 0
    assert (
        command(run_teacher, "--init", clap_folder, "--corpus", captioned_folder, *FAST, "--output_dir", "tuned") == 0
    )
    for name in ("out", "tuned"):
        config = json.loads(Path(name, "config.json").read_text())
        assert config["architectures"] == ["ClapModel"] and config["record"]["start"]["name"] == Path(clap_folder).name
        assert 'pipeline("zero-shot-audio-classification"' in Path(name, "README.md").read_text()
        assert not list(Path(name).glob("*.py"))
        loads_without_the_package(name)
    if sys.version_info >= (3, 11):  # mteb needs it
        from mteb.models.model_implementations.clap_models import ClapZeroShotWrapper

        clap = ClapZeroShotWrapper("out", revision=None, device="cpu")  # made of transformers alone
        assert type(clap.model) is ClapModel and clap.sampling_rate == 48000
    assert command(run_eval, "--model", "out", "--baseline", clap_folder, "--task", labelled_folder) == 0
    assert command(run_teacher, "--init", clap_folder, "--base_channels", "4", "--corpus", captioned_folder) == 1
    assert "go with a new model" in capsys.readouterr().err


def loads_without_the_package(folder: str) -> None:
    code = f"""
import sys, numpy as np, torch
from transformers import AutoModel, AutoProcessor, ClapModel, pipeline
model, processor = ClapModel.from_pretrained({folder!r}).eval(), AutoProcessor.from_pretrained({folder!r})
sound = np.random.default_rng(0).uniform(-.5, .5, 48000).astype(np.float32)
inputs = processor(text=["hum", "hiss"], audio=sound, sampling_rate=48000, return_tensors="pt", padding=True)
print(type(model).__name__, type(processor).__name__, tuple(model(**inputs).logits_per_audio.shape))
classifier = pipeline("zero-shot-audio-classification", model={folder!r})
print([row["label"] for row in classifier(sound, candidate_labels=["hum", "hiss"])])
print(type(AutoModel.from_pretrained({folder!r})).__name__, "modeling_clap_student" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=Path.cwd())
    lines = done.stdout.splitlines()
    assert lines[0] == "ClapModel ClapProcessor (1, 2)" and lines[2] == "ClapModel False", done.stderr[-2000:]


def test_from_python(tmp_path, captioned_folder, pool_folder, labelled_folder):
    """Guards against a door that takes our own models alone."""
    from modeling_clap_student import curate

    folder = tiny_clap(tmp_path / "clap")
    clap = ClapModel.from_pretrained(folder)
    improvement = curate(
        clap,
        strategy="ads",
        captions=captioned_folder,
        audio=pool_folder,
        labels=["hum", "hiss"],
        num_captions=3,
        num_pairs=8,
        progress=False,
    )
    student = ClapModel.from_pretrained(folder)
    ClapStudentTrainer(student, arguments(tmp_path / "out"), improvement, teacher=clap).train()
    result = evaluate_zero_shot(student, labelled_folder, baseline=clap, progress=False)
    assert 0 <= result.accuracy <= 1 and result.difference is not None
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 30000).astype(np.float32)
    scores = classify(student, sound, ["hum", "hiss"], sampling_rate=16000)[0]
    assert set(scores) == {"hum", "hiss"} and abs(sum(scores.values()) - 1) < 1e-6
    assert classify(as_checkpoint(student), sound, ["hum", "hiss"], sampling_rate=16000)[0] == scores
    assert type(student) is ClapModel and not hasattr(student, "processor")


@pytest.mark.parametrize("student", ["ours", "clap"])
@pytest.mark.parametrize("teacher", ["ours", "clap", "fused"])
def test_every_teacher_teaches_every_student(teacher, student, tmp_path):
    """Guards against a combination that can't be trained: other rates, windows, tokens and sizes."""
    models = {"ours": tiny_model(), "clap": tiny_clap(tmp_path / "clap"), "fused": tiny_clap(tmp_path / "f", "fusion")}
    trainer = ClapStudentTrainer(
        models[student], arguments(tmp_path / "out", distillation_weight=1.0), table(), teacher=models[teacher]
    )
    alike = (teacher == "ours") == (student == "ours")  # a fused model has other filters, and hears the same crops
    assert (trainer.data_collator.teacher_processor is None) is alike
    assert trainer.shared_front_end is (teacher == student)
    before = {name: value.clone() for name, value in trainer.teacher.model.state_dict().items()}
    assert np.isfinite(trainer.train().training_loss)
    assert all(torch.equal(value, before[name]) for name, value in trainer.teacher.model.state_dict().items())


def test_a_clap_without_parts(tmp_path):
    """Guards against tracebacks where a checkpoint holds no tokenizer or no feature extractor."""
    for missing, words in (("tokenizer*", "tokenizer"), ("preprocessor_config.json", "feature extractor")):
        folder = tmp_path / words.replace(" ", "_")
        tiny_clap(folder)
        for file in folder.glob(missing):
            file.unlink()
        with pytest.raises(InputError, match=f"has no processor: no {words}"):
            load_checkpoint(folder)
    model, _ = load_checkpoint(tiny_clap(tmp_path / "fused", "fusion"))
    with pytest.raises(InputError, match="nothing that a tower made"):
        model.get_audio_features(input_frames=torch.zeros(1, 4, 16))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampling_rate": 0, "nb_max_samples": 0}, "hears 0 Hz"),
        ({"feature_size": 128}, "makes 128 mel bins, and the model takes 64"),
        ({"max_length_s": 60, "nb_max_samples": 60 * 48000}, "makes 6001 frames of a window"),
        ({"hop_length": 0}, "makes 0 frames of a window"),
        (None, "feature extractor: preprocessor_config.json or processor_config.json is missing or damaged"),
    ],
)
def test_a_feature_extractor_of_another_model(settings, words, tmp_path):
    """Guards against tracebacks hours later, from the extractor or from the tower."""
    folder = Path(tiny_clap(tmp_path / "clap"))
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps([] if settings is None else json.loads(file.read_text()) | settings))
    with pytest.raises(InputError, match=words):
        load_checkpoint(folder)
    if settings is not None and "sampling_rate" not in settings:
        with pytest.raises(InputError, match=words):
            as_checkpoint((ClapModel.from_pretrained(folder), ClapProcessor.from_pretrained(folder)))


def test_a_name_without_a_model():
    """Guards against a traceback's words."""
    with pytest.raises(InputError, match="st: names no model"):
        load_checkpoint("st:")
