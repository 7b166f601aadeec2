"""The distillation term: the student's embeddings are drawn to the teacher's."""

import numpy as np
import pytest
import torch
from conftest import tiny_clap, tiny_model
from datasets import Dataset
from safetensors.torch import load_file

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.training.distillation import Distillation


def table(count: int = 8) -> Dataset:
    rng = np.random.default_rng(0)
    clips = [{"array": rng.uniform(-0.5, 0.5, 16000), "sampling_rate": 16000} for _ in range(count)]
    return Dataset.from_dict({"audio": clips, "caption": [f"sound {n}" for n in range(count)]})


def trainer_in(folder, student, teacher, **options) -> ClapStudentTrainer:
    options = {"max_steps": 2, "save_steps": 1, "learning_rate": 1e-3} | options
    args = ClapStudentTrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        disable_tqdm=True,
        lr_scheduler_type="constant",
        save_total_limit=99,
        logging_steps=1,
        **options,
    )
    return ClapStudentTrainer(student, args, table(), teacher=teacher)


def test_it_is_the_mean_cosine_distance():
    """Guards against a sum over dimensions, one side alone, and a weight that does nothing."""
    rng = np.random.default_rng(0)
    audio, text, own_audio, own_text = rng.normal(size=(4, 5, 7))

    def distance(first, second):
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        return np.mean(1 - (first * second).sum(axis=1) / norms)

    expected = 0.7 * (distance(audio, own_audio) + distance(text, own_text)) / 2
    term = Distillation(0.7, 7, 7, 0, torch.device("cpu"))
    assert term(*map(torch.from_numpy, (audio, text, own_audio, own_text))).item() == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("dimensions", ["equal", "other"])
@pytest.mark.slow
def test_a_student_comes_nearer(dimensions, tmp_path, monkeypatch):
    """Guards against a term without a gradient, a projection that does not learn, and one that is saved."""
    folder = tiny_clap(tmp_path / "clap")
    student, distances = (folder if dimensions == "equal" else tiny_model()), []
    options = {"max_steps": 30, "save_steps": 30, "soft_label_weight": 0.0, "learning_rate": 3e-3}
    compute = Distillation.__call__

    def note(term, *embeddings):
        value = compute(term, *embeddings)
        distances.append(value.item())
        return value

    monkeypatch.setattr(Distillation, "__call__", note)
    trainer = trainer_in(tmp_path / "out", student, folder, distillation_weight=50.0, **options)
    term = trainer.distillation
    before = None if term.projection is None else term.projection.weight.clone()
    trainer.train()
    assert np.mean(distances[-5:]) < 0.5 * np.mean(distances[:5])
    assert (before is None) == (dimensions == "equal") and (before is None or not before.equal(term.projection.weight))
    trainer.save_model(str(tmp_path / "saved"))
    names = set(load_file(tmp_path / "saved" / "model.safetensors"))
    assert names == set(trainer.model.state_dict()) and not (tmp_path / "saved" / "distillation.safetensors").exists()


def test_resumed_to_the_bit(tmp_path):
    """Guards against a projection that begins anew."""
    folder = tiny_clap(tmp_path / "clap")
    trainer_in(tmp_path / "out", tiny_model(), folder, distillation_weight=1.0, max_steps=4).train()
    resumed = trainer_in(tmp_path / "out", tiny_model(), folder, distillation_weight=1.0, max_steps=4)
    projection = load_file(tmp_path / "out" / "checkpoint-4" / "distillation.safetensors")["weight"]
    weights = load_file(tmp_path / "out" / "checkpoint-4" / "model.safetensors")
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert torch.equal(resumed.distillation.projection.weight, projection)
    assert all(torch.equal(value, weights[name]) for name, value in resumed.model.state_dict().items())


def test_it_needs_the_projections_gradient(tmp_path):
    """Guards against a projection that silently never learns."""
    with pytest.raises(InputError, match="don't go together for embeddings of"):
        trainer_in(
            tmp_path / "out",
            tiny_model(),
            tiny_clap(tmp_path / "clap"),
            distillation_weight=1.0,
            contrastive_batch_size=8,
        )


def test_it_needs_a_teacher(tmp_path):
    """Guards against a flag that silently does nothing."""
    with pytest.raises(InputError, match="there is no teacher"):
        trainer_in(tmp_path / "out", tiny_model(), None, distillation_weight=1.0)
