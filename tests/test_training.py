"""The Trainer's objective, its frozen teacher, and gathering across processes."""

import copy
import os
import socket
import time

import pytest
import torch
from conftest import CAPTIONS, tiny_arguments
from datasets import Dataset

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.checkpoints.initialization import new_model
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sources import Source
from modeling_clap_student.data.tables import clip_table
from modeling_clap_student.losses import contrastive_loss, soft_contrastive_loss, soft_targets
from modeling_clap_student.training.objective import gather, row_counts


def make_trainer(tiny, folder, tmp_path, teacher=None, replay=None, **arguments):
    model, processor = tiny
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "save_strategy": "no", "disable_tqdm": True}
    args = ClapStudentTrainingArguments(output_dir=str(tmp_path / "out"), **{**options, **arguments})
    return ClapStudentTrainer(
        model=model,
        args=args,
        train_dataset=read_corpora([str(folder)]),
        replay_dataset=replay,
        teacher=teacher,
        data_collator=ClapCollator(processor, SkippedClips(tmp_path / "skipped.csv")),
        processing_class=processor,
    )


@pytest.fixture
def other_teacher(tiny):
    """Another model of the same shape."""
    torch.manual_seed(7)
    return new_model(tiny_arguments(), [*CAPTIONS, "this is a sound of hum hiss whistle tone"])[0]


def batch_of(trainer, rows):
    return trainer.data_collator(trainer.train_dataset.__getitems__([(i, i) for i in rows]))


def test_student_loss_is_the_soft_label_objective(tiny, captioned_folder, tmp_path, other_teacher):
    """Guards against targets from the student, from other crops, or with audio and text exchanged."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, teacher=other_teacher, soft_label_weight=0.4)
    batch = batch_of(trainer, [0, 3, 6, 1])  # rows 0 and 1 share their caption
    student = tiny[0].eval()
    inputs = {key: batch[key] for key in ("input_values", "input_ids", "attention_mask")}
    with torch.no_grad():
        got = trainer.compute_loss(student, dict(batch))
        ours, theirs = student(**inputs), other_teacher.eval()(**inputs)
        positives = torch.eye(4, dtype=torch.bool)
        positives[0, 3] = positives[3, 0] = True
        audio = soft_targets(theirs.audio_embeds @ theirs.audio_embeds.T, 0.4, positives=positives)
        text = soft_targets(theirs.text_embeds @ theirs.text_embeds.T, 0.4, positives=positives)
    torch.testing.assert_close(got, soft_contrastive_loss(ours.logits_per_audio, audio, text))
    assert abs(got - soft_contrastive_loss(ours.logits_per_audio, text, audio)) > 1e-5


@pytest.mark.parametrize("with_teacher", [False, True])
def test_without_soft_labels_the_loss_is_contrastive(tiny, captioned_folder, tmp_path, other_teacher, with_teacher):
    """Guards against a teacher that still counts at weight 0."""
    teacher = other_teacher if with_teacher else None
    trainer = make_trainer(tiny, captioned_folder, tmp_path, teacher=teacher, soft_label_weight=0.0)
    batch = batch_of(trainer, [0, 3, 6, 9])
    student = tiny[0].eval()
    with torch.no_grad():
        got = trainer.compute_loss(student, dict(batch))
        outputs = student(batch["input_ids"], batch["input_values"], batch["attention_mask"])
    torch.testing.assert_close(got, contrastive_loss(outputs.logits_per_audio))


def test_each_caption_is_embedded_once_by_the_teacher(tiny, captioned_folder, tmp_path, other_teacher):
    """Guards against a text tower that works anew at every step, and vectors that depend on their company."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, teacher=other_teacher)
    tower, seen = trainer.teacher.model.text_model, []
    tower.register_forward_hook(lambda module, inputs, output: seen.append(1))
    first = trainer.teacher.embed_texts(CAPTIONS)
    again = trainer.teacher.embed_texts([CAPTIONS[2], CAPTIONS[0], CAPTIONS[2], CAPTIONS[1]])
    assert len(seen) == 1 and torch.equal(again, first[[2, 0, 2, 1]])
    alone = make_trainer(tiny, captioned_folder, tmp_path, teacher=other_teacher)
    alone.teacher.embed_texts([CAPTIONS[1], CAPTIONS[1], CAPTIONS[3], CAPTIONS[3]])
    assert torch.equal(
        alone.teacher.embed_texts([CAPTIONS[2], CAPTIONS[1], CAPTIONS[2], CAPTIONS[2]])[:2], first[[2, 1]]
    )
    expected = other_teacher.eval().get_text_features(**tiny[1].tokenizer(CAPTIONS, padding=True, return_tensors="pt"))
    torch.testing.assert_close(first, expected.pooler_output, atol=1e-5, rtol=1e-4)


def test_pairs_a_second_are_logged(tiny, captioned_folder, tmp_path):
    """Guards against a rate of one process, or of a part of a batch."""
    trainer = make_trainer(
        tiny, captioned_folder, tmp_path, max_steps=4, logging_steps=2, gradient_accumulation_steps=3
    )
    start = time.perf_counter()
    trainer.train()
    rates = [entry["samples_per_second"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(rates) == 2
    assert 2 * 4 * 3 / min(rates) < time.perf_counter() - start  # seconds of the slower half


def test_teacher_stays_frozen_and_outside_the_student(tiny, captioned_folder, tmp_path, other_teacher):
    """Guards against a teacher that drifts (batch norm, dropout, optimiser) or is saved with the student."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, teacher=other_teacher, learning_rate=1e-2)
    before = copy.deepcopy(other_teacher.state_dict())
    keys = set(tiny[0].state_dict())
    inner = trainer.teacher.model
    then = copy.deepcopy(inner.state_dict())
    inner.train()  # as a careless callback might
    trainer.train()
    assert not inner.training and not any(p.requires_grad for p in inner.parameters())
    assert all(torch.equal(then[key], value) for key, value in inner.state_dict().items())
    assert all(torch.equal(before[key], value) for key, value in other_teacher.state_dict().items())
    assert set(trainer.model.state_dict()) == keys
    moved = trainer.model.state_dict()["audio_model.fc1.weight"]
    assert not torch.equal(moved, before["audio_model.fc1.weight"])
    trainer.save_model(tmp_path / "saved")
    assert not any("teacher" in name for name in os.listdir(tmp_path / "saved"))


def test_training_learns_the_pairs(tiny, captioned_folder, tmp_path):
    """Guards against gradients that never reach the towers."""
    trainer = make_trainer(
        tiny,
        captioned_folder,
        tmp_path,
        learning_rate=1e-3,
        num_train_epochs=30,
        soft_label_weight=0.0,
        per_device_train_batch_size=6,
    )
    batch = batch_of(trainer, [0, 3, 6, 9])
    losses = []
    for _ in range(2):
        trainer.model.eval()
        with torch.no_grad():
            losses.append(trainer.compute_loss(trainer.model, dict(batch)).item())
        if len(losses) == 1:
            trainer.train()
    assert losses[1] < 0.6 * losses[0]


def test_a_seed_repeats_a_run(captioned_folder, tmp_path):
    """Guards against randomness outside the seed: crops, order, dropout, replay."""
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        tiny = new_model(tiny_arguments(), CAPTIONS)
        replay = read_corpora([str(captioned_folder)]).select(range(6))
        trainer = make_trainer(tiny, captioned_folder, tmp_path, replay=replay, seed=3)
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_replay_draws_whole_steps(tiny, captioned_folder, tmp_path):
    """Guards against batches that mix the two sets, and against a replay set that is never drawn."""
    corpus = read_corpora([str(captioned_folder)])
    replay = corpus.map(lambda row: {"audio_id": "replay/" + row["audio_id"]})
    trainer = make_trainer(tiny, captioned_folder, tmp_path, replay=replay)
    seen = []
    trainer.data_collator = lambda rows: seen.append({row["audio_id"].startswith("replay/") for row in rows}) or {}
    trainer.args.replay_probability = 0.5
    for epoch in range(5):
        loader = trainer.get_train_dataloader()
        loader.set_epoch(epoch)
        list(loader)
    assert all(len(kinds) == 1 for kinds in seen)
    assert {True, False} == {kinds.pop() for kinds in seen}


def test_several_gpus_without_a_launcher_are_refused(tiny, captioned_folder, tmp_path, monkeypatch):
    """Guards against DataParallel, whose negatives come from one GPU alone."""
    monkeypatch.setattr(ClapStudentTrainingArguments, "n_gpu", 2)
    with pytest.raises(InputError, match="accelerate launch --num_processes 2"):
        make_trainer(tiny, captioned_folder, tmp_path)


def test_an_incompatible_teacher_is_refused(tiny, captioned_folder, tmp_path, other_teacher):
    """Guards against soft labels of another crop or other tokens."""
    other_teacher.config.audio_config.sampling_rate = 32000
    with pytest.raises(InputError, match="32000 Hz"):
        make_trainer(tiny, captioned_folder, tmp_path, teacher=other_teacher)


@pytest.mark.parametrize(
    "options",
    [
        {"soft_label_weight": 1.5},
        {"replay_probability": -0.1},
        {"soft_label_normalization": "softmax"},
        {"soft_label_temperature": 0.1},
        {"per_device_train_batch_size": 1},
        {"contrastive_batch_size": 100},
        {"contrastive_batch_size": 32},
        {"contrastive_batch_size": 256, "gradient_accumulation_steps": 2},
        {"layer_wise_lr_decay": 0.0},
        {"ema_decay": 1.5},
        {"validation_fraction": 1.0},
        {"mixup_alpha": -1.0},
    ],
)
def test_impossible_arguments_are_refused(options, tmp_path):
    """Guards against hours of training with a setting that means nothing."""
    with pytest.raises(ValueError, match="--"):
        ClapStudentTrainingArguments(output_dir=str(tmp_path), **options)


def _gradient_of_rank(rank, world, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    inputs, texts, start, expected = torch.load(folder / "problem.pt", weights_only=True)
    for border in (3, 4, 6):  # rows of the first process; the second one has the rest, none in the end
        rows = [slice(0, border), slice(border, 6)][rank]
        weight = start.clone().requires_grad_()
        audio = torch.nn.functional.normalize(inputs[rows] @ weight, dim=1)
        text = torch.nn.functional.normalize(texts[rows] @ weight, dim=1)
        counts = row_counts(len(audio), audio.device)
        assert counts == [border, 6 - border]
        loss = contrastive_loss(10 * gather(audio, counts) @ gather(text, counts).T)
        loss.backward()
        torch.distributed.all_reduce(weight.grad)
        torch.testing.assert_close(weight.grad / world, expected, atol=1e-12, rtol=1e-10)
        assert torch.equal(gather(torch.arange(6)[rows], counts), torch.arange(6))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(tmp_path):
    """Guards against local negatives (96 % off), a gather without gradient (77 % off), uneven batches."""
    torch.manual_seed(0)
    inputs, texts, weight = (torch.randn(s, dtype=torch.float64) for s in ((6, 5), (6, 5), (5, 4)))
    weight.requires_grad_()
    audio, text = (torch.nn.functional.normalize(x @ weight, dim=1) for x in (inputs, texts))
    contrastive_loss(10 * audio @ text.T).backward()
    torch.save((inputs, texts, weight.detach(), weight.grad), tmp_path / "problem.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_gradient_of_rank, (2, port, tmp_path), nprocs=2)


def test_collator_survives_a_table_from_a_list(tiny, tmp_path):
    """Guards against a collator that leans on the corpora's readers: any table with the three columns will do."""
    uris = [f"soundscapes://train/{i}" for i in range(2)]
    table = clip_table(Source("x", "folder", "x"), uris, ["0", "1"], caption=["hum", "hum"])
    assert isinstance(table, Dataset)
    batch = ClapCollator(tiny[1], SkippedClips(tmp_path / "s.csv"))([table[0], table[1]])
    assert batch["input_values"].shape == (2, 220500) and batch["input_values"].isfinite().all()


def test_a_resumed_run_ends_like_the_uninterrupted_one(captioned_folder, pool_folder, tmp_path, other_teacher):
    """Guards against other clips, crops, replay draws or dropout after an interruption: weights to the bit."""
    weights = []
    for resume in (None, str(tmp_path / "out" / "checkpoint-5")):
        torch.manual_seed(0)
        model, processor = new_model(tiny_arguments(), [*CAPTIONS, "this is a sound of hum hiss whistle tone"])
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.3
        trainer = make_trainer(
            (model, processor), captioned_folder, tmp_path, copy.deepcopy(other_teacher),
            read_corpora([str(captioned_folder)]).select(range(5)), max_steps=11, save_strategy="steps", save_steps=5,
            save_total_limit=9, gradient_accumulation_steps=2, learning_rate=1e-3,
        )  # fmt: skip
        torch.manual_seed(3 if resume is None else 4)
        trainer.train(resume_from_checkpoint=resume)
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
