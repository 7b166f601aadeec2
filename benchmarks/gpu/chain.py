"""A whole chain, small: a teacher, pairs, a student, its scores, the order of sounds, and back to the processor."""

import sys
from pathlib import Path

import numpy as np
import torch
from embedding import write_clips
from gpu.record import Record, Setting

from modeling_clap_student import (
    ClapStudentModel,
    ClapStudentTrainer,
    ClapStudentTrainingArguments,
    curate,
    evaluate_zero_shot,
)
from modeling_clap_student.checkpoints.arguments import ModelArguments
from modeling_clap_student.checkpoints.initialization import new_model
from modeling_clap_student.commands import temporal
from modeling_clap_student.data.corpora import read_corpora


KINDS = ["a dog barks", "rain on a roof", "a bell rings", "wind in trees"]


def write_folders(folder: Path, count: int) -> None:
    """Clips with captions, clips without, clips with labels, and more clips with labels; at four rates."""
    columns = {"captioned": "caption", "pool": None, "labelled": "label", "held_out": "label"}
    for (name, column), rate in zip(columns.items(), (44100, 48000, 32000, 22050), strict=True):
        (folder / name).mkdir(parents=True)
        write_clips(folder / name, count, rate, "wav")
        if column:
            lines = [f"{number:05}.wav,{KINDS[number % len(KINDS)]}" for number in range(count)]
            (folder / name / "metadata.csv").write_text("\n".join([f"file_name,{column}", *lines]))


def run_chain(record: Record, setting: Setting) -> None:
    """A whole chain, small."""
    folder, steps = setting.folder / "chain", setting.size(8, 1)
    write_folders(folder, setting.size(24, 8))
    sizes = ModelArguments(text_model="scratch", base_channels=setting.size(16, 2), hop_length=1024, projection_dim=32)
    model, processor = new_model(sizes, KINDS)
    options = {"max_steps": steps, "per_device_train_batch_size": 4, "disable_tqdm": True, "save_strategy": "no",
               "bf16": setting.device == "cuda", "dataloader_num_workers": setting.size(2, 0)}  # fmt: skip

    def trained(name: str, model, **data) -> ClapStudentModel:
        trainer = ClapStudentTrainer(model, ClapStudentTrainingArguments(str(folder / name), **options), **data)
        loss = trainer.train().training_loss
        record.check(f"{name}: loss is finite", float(np.isfinite(loss)), at_least=1)
        record.check(f"{name}: on the device", float(trainer.model.device.type == setting.device), at_least=1)
        trainer.save_model()
        return trainer.model

    model.processor = processor
    teacher = trained("teacher", model, train_dataset=read_corpora([str(folder / "captioned")]))
    improvement = curate(teacher, strategy="ads", captions=str(folder / "captioned"), audio=str(folder / "pool"),
                         labels=KINDS, num_captions=4, num_pairs=16, progress=False)  # fmt: skip
    record.check("pairs", len(improvement.pairs), at_least=16)
    improvement.save(folder / "pairs")
    student = trained("student", str(folder / "teacher"), train_dataset=improvement, teacher=str(folder / "teacher"))
    result = evaluate_zero_shot(student, str(folder / "labelled"), baseline=teacher, progress=False)
    record.check("accuracy is a share", float(0 <= result.accuracy <= 1), at_least=1)
    files = sorted(map(str, (folder / "labelled").glob("*.wav")))[:4]
    saved = ClapStudentModel.from_pretrained(folder / "student").encode_audio(files)
    apart = (student.encode_audio(files) - saved).abs().max()
    record.check("saved, and read on the processor: largest difference", apart, at_most=1e-2)
    learn_order(folder, steps)
    aware = ClapStudentModel.from_pretrained(folder / "aware").encode_audio(files[:1])
    record.check("an order-aware model: numbers that are not finite", int((~torch.isfinite(aware)).sum()), at_most=0)


def learn_order(folder: Path, steps: int) -> None:
    """Runs `run_temporal.py` as a user types it."""
    before = sys.argv
    flags = {"stage": "b", "model": folder / "student", "clips": folder / "labelled", "output_dir": folder / "aware",
             "validation_clips": folder / "held_out", "validation_scenes": 8, "max_steps": steps, "warmup_steps": 0,
             "per_device_train_batch_size": 2, "word_steps": 20, "disable_tqdm": "true"}  # fmt: skip
    sys.argv = ["temporal", *(str(part) for name, value in flags.items() for part in (f"--{name}", value))]
    try:
        temporal.main()
    finally:
        sys.argv = before
