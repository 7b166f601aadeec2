"""What a student may hear instead of a clip: levels, mixtures, masks."""

import sys

import numpy as np
import pytest
import torch
from conftest import RATE, tiny_model, write_tone

from modeling_clap_student import InputError
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.losses import soft_targets
from modeling_clap_student.training.arguments import ClapStudentTrainingArguments
from modeling_clap_student.training.augmentation import masked, mixed
from modeling_clap_student.training.objective import global_loss, mixing_matrix


def unit(rows, seed):
    values = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=1)


def test_gain_follows_from_the_draw_alone(tmp_path):
    """Guards against a level that a resumed run draws anew, and against one beyond what was asked for."""
    path = write_tone(tmp_path / "a.wav", 440, seconds=5)
    rows = [{"audio": {"path": str(path), "bytes": None}, "audio_id": "a", "caption": "a low hum", "draw": draw}
            for draw in range(40)]  # fmt: skip
    processor = tiny_model()[1]
    plain = ClapCollator(processor, SkippedClips(tmp_path / "s.csv"))(rows)["input_values"]
    loud = [
        ClapCollator(processor, SkippedClips(tmp_path / "s.csv"), random_gain_db=6.0)(some)["input_values"]
        for some in (rows, rows[::-1])
    ]
    assert torch.equal(loud[0], loud[1].flip(0))
    decibels = 20 * (loud[0] / plain).nanmedian(dim=1).values.log10()
    assert decibels.abs().max() <= 6 and decibels.min() < -3 and decibels.max() > 3


def test_mixtures_are_what_their_shares_say():
    """Guards against partners that are not those whose targets are mixed in."""
    torch.manual_seed(0)
    waveforms = torch.randn(5, 100)
    heard, facts = mixed(waveforms, 0.4)
    share, partner = facts["own_share"], facts["partner"]
    assert (share >= 0.5).all() and sorted(partner.tolist()) == list(range(5)) and (partner != torch.arange(5)).all()
    for row in range(5):
        expected = share[row] * waveforms[row] + (1 - share[row]) * waveforms[partner[row]]
        torch.testing.assert_close(heard[row], expected)
    torch.testing.assert_close(mixing_matrix(partner, share) @ waveforms, heard)


@pytest.mark.parametrize("soft", [False, True])
def test_mixed_targets(soft, tmp_path):
    """Guards against targets that are mixed for one direction alone, or transposed: against loops in float64."""
    args = ClapStudentTrainingArguments(output_dir=str(tmp_path), soft_label_weight=0.3)
    audio, text, scale = unit(4, 0), unit(4, 1), torch.tensor(1.3, dtype=torch.float64)
    partner, share = torch.tensor([3, 0, 1, 2]), torch.full((4,), 0.7, dtype=torch.float64)
    facts = {"audio_key": torch.arange(4), "caption_key": torch.tensor([5, 6, 5, 7]), "partner": partner,
             "own_share": share}  # fmt: skip
    positives = torch.eye(4, dtype=torch.bool)
    positives[0, 2] = positives[2, 0] = True
    plain = [soft_targets(torch.eye(4, dtype=torch.float64), 0.0, positives=positives)] * 2
    if soft:
        facts |= {"teacher_audio": unit(4, 2), "teacher_text": unit(4, 3)}
        plain = [
            soft_targets(facts[name] @ facts[name].T, 0.3, positives=positives)
            for name in ("teacher_audio", "teacher_text")
        ]
    logits = (scale.exp() * audio @ text.T).tolist()
    total = 0.0
    for i in range(4):
        row, column = np.array(logits[i]), np.array([logits[j][i] for j in range(4)])
        # What clip i sounds like; and where caption i sounds: in its own mixture and in that which holds its clip.
        of_audio = 0.7 * plain[0][i].numpy() + 0.3 * plain[0][partner[i]].numpy()
        of_text = np.array([0.7 * plain[1][i, j] + 0.3 * plain[1][i, partner[j]] for j in range(4)])
        for values, target in ((row, of_audio), (column, of_text)):
            assert target.sum() == pytest.approx(1)
            log_softmax = values - np.log(np.exp(values).sum())
            total += sum(t * (np.log(t) - p) for t, p in zip(target, log_softmax, strict=True) if t > 0) / 8
    assert global_loss(audio, text, scale, facts, args).item() == pytest.approx(total, rel=1e-6)


def test_masks_are_stripes_of_the_clips_own_mean():
    """Guards against stripes that are too wide, along the wrong axis, the same for all clips, or of silence."""
    torch.manual_seed(0)
    spectrograms = torch.randn(6, 200, 64) - 40
    out = masked(spectrograms, most_frames=30, most_bins=0)
    changed = out != spectrograms
    frames = changed.all(dim=2)
    assert torch.equal(frames, changed.any(dim=2))  # whole frames
    assert (frames.sum(dim=1) <= 60).all() and frames.any() and len({tuple(row.tolist()) for row in frames}) > 1
    means = spectrograms.mean(dim=(1, 2))
    for clip, stripe in enumerate(frames):
        torch.testing.assert_close(out[clip][stripe], means[clip].expand(int(stripe.sum()), 64))
    bins = masked(spectrograms, most_frames=0, most_bins=8) != spectrograms
    assert torch.equal(bins.all(dim=1), bins.any(dim=1)) and (bins.all(dim=1).sum(dim=1) <= 16).all()


def test_masks_without_torchaudio_are_refused(monkeypatch):
    """Guards against a traceback where torchaudio was built for another CUDA."""
    monkeypatch.setitem(sys.modules, "torchaudio.functional", None)
    with pytest.raises(InputError, match="--time_mask and --frequency_mask need torchaudio"):
        masked(torch.zeros(1, 40, 8), 4, 4)


def test_the_teacher_hears_clips_unmixed_and_unmasked(tiny, captioned_folder, tmp_path):
    """Guards against soft labels of mixtures, whose targets would then be mixed twice."""
    from test_training import batch_of, make_trainer

    teacher = tiny_model()[0]
    trainer = make_trainer(
        tiny, captioned_folder, tmp_path, teacher=teacher, mixup_alpha=1.0, time_mask=40, frequency_mask=8
    )
    batch = batch_of(trainer, [0, 3, 6, 9])
    inputs, facts = trainer._prepared(dict(batch))
    with torch.no_grad():
        expected = teacher.eval().get_audio_features(batch["input_values"]).pooler_output
    torch.testing.assert_close(facts["teacher_audio"], expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(inputs["input_features"], trainer.model.audio_model.log_mel(batch["input_values"]))
    assert batch["input_values"].shape == (4, 5 * RATE)
