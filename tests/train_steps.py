"""Trains the tiny model for a few steps in each of several ways and saves what came out; run by test_processes.py.

    python tests/train_steps.py FOLDER PAIRS_AT_A_TIME    (or under `accelerate launch`, `torchrun`)

FOLDER holds `captioned/`; losses, gradients of every step and weights go to FOLDER/steps-N.pt, N processes.
"""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import TrainerCallback


sys.path.insert(0, str(Path(__file__).parent))

from conftest import tiny_clap, tiny_model

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.skipping import SkippedClips


GLOBAL_BATCH = 8

WAYS = {
    "teacher": {},
    "student": {"teacher": True, "replay": True},
    "mixed": {"teacher": True, "mixup_alpha": 0.5},
    "unsynchronised": {"sync_batch_norm": False},
    "eval": {"teacher": True, "replay": True, "eval_norms": True},
    "clap": {"teacher": True, "replay": True, "clap": "rand_trunc"},
    "fused": {"teacher": True, "replay": True, "clap": "fusion"},
    "cached": {"teacher": True, "replay": True, "eval_norms": True, "contrastive_batch_size": GLOBAL_BATCH},
}


class Recorder(TrainerCallback):
    """Keeps the gradient of every step, as the optimiser sees it."""

    def __init__(self):
        self.gradients = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
        self.gradients.append({name.removeprefix("module."): grad for name, grad in grads.items()})


def load(folder: Path, clap: str | None):
    """A tiny model of ours or of transformers, without dropout: each process would draw its own."""
    model, processor = tiny_model() if clap is None else load_checkpoint(folder / clap)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    return model, processor


def train(folder: Path, pairs: int, teacher=False, replay=False, eval_norms=False, clap=None, **options) -> dict:
    model, processor = load(folder, clap)
    model.double()
    frozen = load(folder, clap)[0]
    with torch.no_grad():
        for p in frozen.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    corpus = read_corpora([str(folder / "captioned")])
    recorder = Recorder()
    args = ClapStudentTrainingArguments(
        output_dir=str(folder / "out"), max_steps=4, per_device_train_batch_size=pairs, save_strategy="no",
        disable_tqdm=True, logging_steps=1, learning_rate=1e-3, max_grad_norm=0, optim="sgd", warmup_steps=0,
        **options,
    )  # fmt: skip
    trainer = ClapStudentTrainer(
        model=model,
        args=args,
        train_dataset=corpus,
        replay_dataset=corpus.select(range(5)) if replay else None,
        teacher=frozen if teacher else None,
        data_collator=ClapCollator(processor, SkippedClips(folder / "skipped.csv")),
        processing_class=processor,
        callbacks=[recorder],
    )
    if eval_norms:
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval().train = lambda mode=True: None
    torch.manual_seed(5)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    weights = {name: value for name, value in trainer.model.state_dict().items() if value.is_floating_point()}
    return {"losses": losses, "gradients": recorder.gradients, "weights": weights}


def main(folder: Path, pairs: int) -> None:
    state = PartialState(cpu=True)
    results = {}
    if state.is_main_process:
        for clap in ("rand_trunc", "fusion"):
            tiny_clap(folder / clap, clap)
    state.wait_for_everyone()
    for way, options in WAYS.items():
        # In one process the whole batch at a time, unless that is what is to be cached.
        at_once = pairs if "contrastive_batch_size" in options else GLOBAL_BATCH // state.num_processes
        results[way] = train(folder, at_once, **options)
    if state.is_main_process:
        torch.save(results, folder / f"steps-{state.num_processes}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    PartialState().destroy_process_group()
