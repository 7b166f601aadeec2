"""Which checkpoint a run ends with: held-out recordings choose it, labelled clips only where they are asked to."""

import json
from pathlib import Path

import pytest
import torch
from conftest import FAST, SMALL
from safetensors.torch import load_file

from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.leakage import split_validation


VALIDATED = ["--validation_fraction", "0.4", "--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2"]


def history(folder: str, key: str) -> dict[int, float]:
    """Scores by step, from the newest checkpoint."""
    newest = max(Path(folder).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    log = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry[key] for entry in log if key in entry}


def test_the_best_checkpoint_on_held_out_recordings_is_kept(command, captioned_folder, capsys):
    """Guards against the last checkpoint instead of the best, and against held-out clips that are trained on."""
    flags = ["--corpus", captioned_folder, "--output_dir", "t", *SMALL, *FAST, *VALIDATED]
    assert command(run_teacher, *flags, "--save_total_limit", "9", "--learning_rate", "0.01") == 0
    train, held_out = split_validation(read_corpora([str(captioned_folder)]), 0.4)
    assert f"{len(train)} pairs to learn from, {len(held_out)} held out" in capsys.readouterr().out
    recalls = history("t", "eval_recall")
    assert sorted(recalls) == [2, 4, 6] and {"eval_loss", "eval_text_to_audio_R@5"} <= set(last_scores("t"))
    best = max(recalls, key=recalls.get)
    kept, chosen = (load_file(Path("t", name, "model.safetensors")) for name in (".", f"checkpoint-{best}"))
    assert all(torch.equal(kept[name], value) for name, value in chosen.items())
    results, record = (json.loads(Path("t", name).read_text()) for name in ("results.json", "config.json"))
    assert results["num_pairs"] == len(train) and results["num_validation"] == len(held_out)
    assert record["record"]["selected_by"] == f"recall on {len(held_out)} held-out pairs"


def last_scores(folder: str) -> dict:
    newest = max(Path(folder).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    log = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return next(entry for entry in reversed(log) if "eval_loss" in entry)


@pytest.mark.parametrize("asked", [False, True])
def test_labelled_clips_select_only_where_they_are_asked_to(command, captioned_folder, labelled_folder, asked):
    """Guards against an evaluation set that chooses the checkpoint unseen, and a card that does not say it did."""
    assert command(run_teacher, "--corpus", captioned_folder, "--output_dir", "t", *SMALL, *FAST) == 0
    flags = ["--strategy", "none", "--teacher", "t", "--output_dir", "s", *FAST, *VALIDATED, "--task", labelled_folder]
    extra = ["--metric_for_best_model", "accuracy"] if asked else []
    assert command(run_student, *flags, *extra) == 0
    assert ("eval_accuracy" in last_scores("s")) is asked
    assert ("zero-shot accuracy on" in Path("s/README.md").read_text()) is asked
    assert json.loads(Path("s/results.json").read_text())["student_accuracy"] is not None  # reported either way


def test_what_can_not_be_selected_by_is_refused(command, captioned_folder, capsys):
    """Guards against a traceback, or a flag without effect."""
    assert command(run_teacher, "--corpus", captioned_folder, "--output_dir", "t", *SMALL, *FAST) == 0
    flags = ["--strategy", "none", "--teacher", "t", "--output_dir", "s", *FAST]
    assert command(run_student, *flags, "--metric_for_best_model", "accuracy") == 1
    assert "needs --task, labelled clips, and --validation_fraction" in capsys.readouterr().err
    assert command(run_student, *flags, "--validation_fraction", "0.0001") == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not Path("s").exists()


def test_an_averaged_model_is_what_is_validated(command, captioned_folder):
    """Guards against scores of other weights than the run ends with."""
    flags = ["--corpus", captioned_folder, "--output_dir", "t", *SMALL, *FAST, *VALIDATED, "--save_total_limit", "9"]
    assert command(run_teacher, *flags, "--ema_decay", "0.5", "--learning_rate", "0.01") == 0
    recalls = history("t", "eval_recall")
    best = max(recalls, key=recalls.get)
    average = load_file(Path("t", f"checkpoint-{best}", "moving_average.safetensors"))
    kept = load_file(Path("t/model.safetensors"))
    assert all(torch.equal(average[f"module.{name}"], value) for name, value in kept.items())
