"""transformers' own CLAP as a teacher: another rate, another feature extractor, another tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, FAST, SMALL, numbers, tiny_clap
from transformers import ClapFeatureExtractor, ClapModel

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.checkpoints.embedding import embed_texts
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.decoding import decode_clip
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.encoding_clap_student import embed_windows
from modeling_clap_student.losses import soft_contrastive_loss, soft_targets
from modeling_clap_student.resampling_clap_student import resample


@pytest.fixture(params=["rand_trunc", "fusion"])
def clap_folder(request, tmp_path) -> str:
    """The tiny ClapModel as transformers saves it."""
    return tiny_clap(tmp_path / "clap", request.param)


@torch.no_grad()
def test_windows_are_fixed_and_embed_as_in_transformers(clap_folder):
    """Guards against the random crops of its feature extractor, and another embedding than the model's own."""
    model, processor = load_checkpoint(clap_folder)
    plain = ClapModel.from_pretrained(clap_folder).eval()
    extractor = ClapFeatureExtractor.from_pretrained(clap_folder)
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 48000 * 5).astype(np.float32)
    windows = processor.feature_extractor.windows(waveform)
    assert len(windows) == 3 and np.array_equal(windows, processor.feature_extractor.windows(waveform))
    for window, start in zip(windows, (0, 96000, 144000), strict=True):
        part = waveform[start : start + 96000]
        inputs = extractor(part, sampling_rate=48000, return_tensors="pt")
        expected = plain.get_audio_features(inputs["input_features"], is_longer=torch.zeros(1, 1, dtype=torch.bool))
        got = model.get_audio_features(torch.from_numpy(window)[None])
        torch.testing.assert_close(got.pooler_output, expected.pooler_output)


def test_for_inference_changes_its_dtype_alone(clap_folder):
    """Guards against a teacher in bfloat16 that gets float32 inputs, and one that is changed in place."""
    model, processor = load_checkpoint(clap_folder)
    assert for_inference(model) is model
    half = for_inference(model, "bfloat16")
    assert half.dtype == torch.bfloat16 and model.dtype == torch.float32
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 48000 * 5).astype(np.float32)
    windows = [processor.feature_extractor.windows(waveform)]
    audio = [embed_windows(each, windows, batch_size=4) for each in (model, half)]
    text = [torch.from_numpy(embed_texts(each, processor, CAPTIONS)) for each in (model, half)]
    for full, rounded in (audio, text):
        assert torch.nn.functional.cosine_similarity(full, rounded).min() > 0.99


def test_soft_labels_come_from_its_own_hearing(clap_folder, tiny, captioned_folder, tmp_path):
    """Guards against a teacher that gets the student's rate, spectrogram or tokens, or other crops."""
    teacher, teacher_processor = load_checkpoint(clap_folder)
    student, processor = tiny
    corpus = read_corpora([str(captioned_folder)])
    collator = ClapCollator(processor, SkippedClips(tmp_path / "skipped.csv"), teacher_processor)
    args = ClapStudentTrainingArguments(output_dir=str(tmp_path / "o"), soft_label_weight=0.4, report_to="none")
    trainer = ClapStudentTrainer(
        model=student, args=args, train_dataset=corpus, teacher=teacher, data_collator=collator
    )
    rows = [corpus[i] for i in (0, 3, 6, 9)]
    batch = collator(rows)
    with torch.no_grad():
        got = trainer.compute_loss(student.eval(), dict(batch))
        ours = student(batch["input_ids"], batch["input_values"], batch["attention_mask"])
        # the clips last 1 s: what stands in the crop, zeros and all, is what both hear
        crops = [resample(crop, 44100, 48000) for crop in batch["input_values"].numpy()]
        audio, counts = [], []
        for crop in crops:
            windows = torch.from_numpy(teacher_processor.feature_extractor.windows(crop))
            embeds = teacher.get_audio_features(windows).pooler_output
            audio.append(torch.nn.functional.normalize(embeds.mean(dim=0), dim=0))
            counts.append(len(windows))
        tokens = teacher_processor.tokenizer([row["caption"] for row in rows], padding=True, return_tensors="pt")
        text = teacher.get_text_features(**tokens).pooler_output
        assert counts == [3] * 4  # 5 s in windows of 2 s
    targets = [soft_targets(e @ e.T, 0.4) for e in (torch.stack(audio), text)]
    torch.testing.assert_close(got, soft_contrastive_loss(ours.logits_per_audio, *targets))
    assert len(decode_clip(rows[0]["audio"], 48000)) == 48000


def test_a_teacher_that_hears_otherwise_needs_its_processor(clap_folder, tiny, captioned_folder, tmp_path):
    """Guards against a spectrogram of the student's fed to another architecture."""
    collator = ClapCollator(tiny[1], SkippedClips(tmp_path / "skipped.csv"))
    args = ClapStudentTrainingArguments(output_dir=str(tmp_path / "o"))
    with pytest.raises(InputError, match=r"'clap' teacher .* teacher_processor"):
        ClapStudentTrainer(
            model=tiny[0],
            args=args,
            train_dataset=read_corpora([str(captioned_folder)]),
            teacher=load_checkpoint(clap_folder)[0],
            data_collator=collator,
        )


@pytest.mark.parametrize("clap_folder", ["rand_trunc"], indirect=True)
def test_the_chain_with_it_as_teacher(
    command,
    clap_folder,
    tiny_folder,
    captioned_folder,
    pool_folder,
    labelled_folder,
    capsys,
):
    """Guards against curation, soft labels or evaluation that only know checkpoints of this package."""
    files = ["--captions", captioned_folder, "--audio", pool_folder, "--labels", labelled_folder]
    made = ["--strategy", "ads", "--teacher", clap_folder, *files, *numbers("ads"), "--output_dir", "set"]
    assert command(curate, *made) == 0
    flags = ["--strategy", "ads", "--improvement_set", "set", "--task", labelled_folder, *FAST]
    assert command(run_student, *flags, "--init", "fresh", *SMALL, "--output_dir", "fresh") == 0
    assert command(run_student, *flags, "--init", tiny_folder, "--output_dir", "from_tiny") == 0
    for name in ("fresh", "from_tiny"):
        results = json.loads(Path(name, "results.json").read_text())
        assert results["num_pairs"] == 8 and results["teacher_accuracy"] is not None
        assert json.loads(Path(name, "config.json").read_text())["record"]["teacher"]["name"] == Path(clap_folder).name
    assert command(run_eval, "--model", clap_folder, "--task", labelled_folder) == 0
    capsys.readouterr()
    assert command(run_student, *flags, "--base_channels", "4", "--output_dir", "copy") == 1
    assert "go with a new model" in capsys.readouterr().err
