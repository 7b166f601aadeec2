"""What keeps a model's knowledge of order while it learns something else."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FAST, check_failure, numbers, settle, tiny_model

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.commands import curate, student
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.temporal.retention import OrderRetention, knows_order
from modeling_clap_student.temporal.trainer import order_aware


NAMES = ["hum", "whistle", "hiss", "tone"]


def taught_model():
    """A model whose poolings tell order, as if it had learnt to, and its processor."""
    model = order_aware(*tiny_model(), "attention")
    settle(model)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for pooling in (model.audio_model.pooling, model.text_pooling):
            pooling.output.copy_(torch.randn(pooling.output.shape, generator=generator))
    model.config.record = {"class_names": NAMES, "connectives": ["before", "while"], "hold_out_connectives": False}
    return model, model.processor


@pytest.fixture
def taught():
    return taught_model()


def crops(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 40, 64, generator=torch.Generator().manual_seed(5))


def test_who_knows_order(taught):
    """Guards against a term that is on where there is nothing to keep, or off where there is."""
    fresh = tiny_model()
    assert not knows_order(fresh[0]) and not knows_order(order_aware(*fresh, "attention"))
    assert knows_order(taught[0]) and not knows_order(torch.nn.Linear(2, 2))


def test_it_is_nothing_at_first_and_grows_with_the_distance(taught):
    """Guards against a term that pulls elsewhere than to the start, and one without a gradient for a tower."""
    model, processor = taught
    retention = OrderRetention(model, processor.tokenizer, NAMES, 10.0, False, seed=3)
    moved = copy.deepcopy(model).train()
    assert retention(moved, crops(), 0).item() == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        for tower in (moved.audio_projection, moved.text_projection):
            for weight in tower.parameters():
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    statistics = {name: value.clone() for name, value in moved.named_buffers()}
    loss = retention(moved, crops(), 0)
    loss.backward()
    assert loss > 0.01
    for name in ("audio_projection", "text_projection", "audio_model.pooling", "text_pooling"):
        assert any(weight.grad.abs().sum() > 0 for weight in moved.get_submodule(name).parameters()), name
    assert moved.training and all(module.training for module in moved.modules())
    assert all(torch.equal(value, statistics[name]) for name, value in moved.named_buffers())
    once, again, other = (retention(moved, crops(), step).item() for step in (4, 4, 5))
    assert once == again != other


def test_scenes_have_the_beginning_of_one_crop_and_the_end_of_another(taught):
    """Guards against a scene of one crop, and the half of a batch that no scene is made of."""
    spectrograms = torch.arange(6.0)[:, None, None].expand(6, 50, 3)
    scenes = OrderRetention._scenes(spectrograms, 4, np.random.default_rng(0))
    assert scenes.shape == (4, 50, 3)
    for scene in scenes[..., 0]:
        first, last = scene[0].item(), scene[-1].item()
        border = int((scene == first).sum())
        assert first != last and 17 <= border <= 33
        assert scene.tolist() == [first] * border + [last] * (50 - border)


def test_captions_name_two_sounds_in_both_orders(taught):
    """Guards against captions of other sounds than were taught, or of one order alone."""
    retention = OrderRetention(*taught[:1], taught[1].tokenizer, NAMES, 1.0, False, seed=0)
    captions = retention._captions(30, np.random.default_rng(0))
    assert len(captions) == 60 and len(set(captions)) > 40
    for forward, reverse in zip(captions[::2], captions[1::2], strict=True):
        one, other = ([name for name in NAMES if name in caption] for caption in (forward, reverse))
        assert sorted(one) == sorted(other) and len(one) == 2 and forward != reverse
    with pytest.raises(InputError, match="needs two sounds to say an order of, and knows 1"):
        OrderRetention(taught[0], taught[1].tokenizer, ["hum"], 1.0, False, seed=0)


def drift_after_training(folder, tmp_path, weight: float | None) -> float:
    model, processor = taught_model()
    start = copy.deepcopy(model)
    arguments = {
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
    }
    trainer = ClapStudentTrainer(
        model,
        ClapStudentTrainingArguments(str(tmp_path / "out"), save_strategy="no", disable_tqdm=True, **arguments),
        read_corpora([str(folder)]),
        data_collator=ClapCollator(processor, SkippedClips(tmp_path / "skipped.csv")),
        processing_class=processor,
        retention=weight and OrderRetention(model, processor.tokenizer, NAMES, weight, False, seed=0),
    )
    trainer.train()
    judge = OrderRetention(start, processor.tokenizer, NAMES, 1.0, False, seed=99)
    with torch.no_grad():
        return judge(model.eval(), crops(), 0).item()


def test_a_student_that_keeps_order_stays_nearer_to_its_start(captioned_folder, tmp_path):
    """Guards against an option that does nothing: the same training with and without it."""
    kept, lost = (drift_after_training(captioned_folder, tmp_path, weight) for weight in (30.0, None))
    assert kept < 0.7 * lost


@pytest.fixture
def chain(command, tiny_folder, captioned_folder, pool_folder, labelled_folder):
    """Flags of a student on a small Improvement-Set."""
    flags = ["--strategy", "du", "--teacher", "tiny", "--captions", "captioned", "--audio", "pool"]
    assert command(curate, *flags, *numbers("du"), "--output_dir", "set") == 0
    return ["--strategy", "du", "--improvement_set", "set", *FAST]


def test_the_command_keeps_order_where_there_is_some(command, chain, capsys):
    """Guards against an option that is off by default, one that is silent, and words that the next test can't know."""
    model, processor = taught_model()
    model.save_pretrained("taught")
    processor.save_pretrained("taught")
    assert command(student, *chain, "--init", "taught", "--output_dir", "kept") == 0
    assert "it is kept, with 4 names of sounds" in capsys.readouterr().out
    record = json.loads(Path("kept/config.json").read_text())["record"]
    assert record["connectives"] == ["before", "while"] and record["class_names"] == NAMES
    assert command(student, *chain, "--init", "taught", "--retain_order", "false", "--output_dir", "lost") == 0
    assert "it is kept" not in capsys.readouterr().out
    assert Path("kept/model.safetensors").read_bytes() != Path("lost/model.safetensors").read_bytes()


def test_order_that_nobody_knows_is_not_kept(command, chain, capsys):
    """Guards against a promise that is not held, and against a term on every student."""
    assert command(student, *chain, "--output_dir", "plain") == 0
    assert "it is kept" not in capsys.readouterr().out
    told = "--retain_order: --init teacher knows nothing of the order of sounds: run_temporal.py teaches it"
    check_failure(command(student, *chain, "--retain_order", "true", "--output_dir", "out"), capsys, told)
