"""Command lines that can't work: one line that names the flag, exit code 1 or 2, nothing written, no traceback."""

import math
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
from conftest import FAST, SMALL

from modeling_clap_student.checkpoints.initialization import ModelArguments
from modeling_clap_student.commands import convert, curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands import temporal as run_temporal
from modeling_clap_student.commands.export import ExportArguments
from modeling_clap_student.curation.arguments import CurateArguments
from modeling_clap_student.evaluation.arguments import EvalArguments
from modeling_clap_student.temporal.arguments import TemporalArguments, TemporalTrainingArguments
from modeling_clap_student.training.arguments import (
    ClapStudentTrainingArguments,
    StudentArguments,
    TeacherArguments,
)
from modeling_clap_student.utils.arguments import CheckedArguments


ARGUMENTS = (
    ClapStudentTrainingArguments,
    TemporalTrainingArguments,
    ModelArguments,
    ExportArguments,
    CurateArguments,
    EvalArguments,
    StudentArguments,
    TeacherArguments,
    TemporalArguments,
)


def refused(code: int, capsys, *words: str) -> None:
    """One line on stderr that has these words, and no traceback."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert code in (1, 2) and len(lines) == 1 and "Traceback" not in error, error
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_every_number_has_a_range(kind):
    """Guards against a new flag whose nonsense is found out by a library, or not at all."""
    hints = get_type_hints(kind)
    ranges = {name: allowed for base in kind.__mro__ for name, allowed in vars(base).get("ranges", {}).items()}
    numbers = [
        field.name
        for field in fields(kind)
        if field.init and {int, float} & {hints[field.name], *_parts(hints[field.name])}
    ]
    assert issubclass(kind, CheckedArguments)
    assert sorted(set(numbers) - set(ranges)) == []
    for name in numbers:
        assert math.nan not in ranges[name] and math.inf not in ranges[name] and -1e9 not in ranges[name]


def _parts(hint) -> tuple:
    return getattr(hint, "__args__", ())


WRONG = [
    ("--seed", "-1"),
    ("--seed", str(2**40)),
    ("--per_device_train_batch_size", "0"),
    ("--per_device_train_batch_size", "1"),
    ("--learning_rate", "-1"),
    ("--learning_rate", "nan"),
    ("--learning_rate", "inf"),
    ("--base_channels", "0"),
    ("--base_channels", "-4"),
    ("--hop_length", "0"),
    ("--hop_length", "-1"),
    ("--hop_length", "1000000"),
    ("--hop_length", "16000"),
    ("--projection_dim", "0"),
    ("--sampling_rate", "0"),
    ("--sampling_rate", "-1"),
    ("--sampling_rate", "10"),
    ("--dropout", "5"),
    ("--dropout", "-1"),
    ("--dropout", "nan"),
    ("--gradient_accumulation_steps", "0"),
    ("--gradient_accumulation_steps", "-1"),
    ("--contrastive_batch_size", "-4"),
    ("--contrastive_batch_size", "0"),
    ("--dataloader_num_workers", "-1"),
    ("--dataloader_prefetch_factor", "2"),
    ("--soft_label_temperature", "0"),
    ("--soft_label_temperature", "-1"),
    ("--remove_unused_columns", "true"),
    ("--report_to", "nonsense"),
    ("--report_to", "neptune"),
    ("--num_train_epochs", "0"),
    ("--num_train_epochs", "-1"),
    ("--max_steps", "0"),
    ("--max_steps", "-5"),
    ("--max_grad_norm", "nan"),
    ("--max_grad_norm", "-1"),
    ("--warmup_steps", "-1"),
    ("--weight_decay", "-1"),
    ("--adam_beta1", "1"),
    ("--adam_beta2", "nan"),
    ("--save_steps", "0"),
    ("--logging_steps", "0"),
    ("--save_total_limit", "-1"),
    ("--ema_decay", "1"),
    ("--subset_fraction", "0"),
    ("--subset_fraction", "nan"),
    ("--max_skipped_fraction", "-0.1"),
    ("--lr_scheduler_type", "nonsense"),
    ("--optim", "nonsense"),
    ("--save_strategy", "nonsense"),
    ("--eval_strategy", "nonsense"),
    ("--hub_strategy", "nonsense"),
    ("--logging_strategy", "nonsense"),
    ("--lr_scheduler_kwargs", "{"),
    ("--optim_args", "nonsense"),
    ("--accelerator_config", "{}x"),
    ("--deepspeed", "gone.json"),
    ("--fsdp", "nonsense"),
    ("--debug", "nonsense"),
    ("--tf32", "true"),
    ("--load_best_model_at_end", "true"),
    ("--liger_kernel_config", "{"),
    ("--ddp_backend", "nonsense"),
    ("--neftune_noise_alpha", "-1"),
    ("--parallelism_config", "nonsense"),
]


@pytest.mark.parametrize(("flag", "value"), WRONG, ids=[f"{flag}={value}" for flag, value in WRONG])
def test_values_that_no_training_can_have(command, captioned_folder, capsys, flag, value):
    """Guards against a traceback, and against a training that takes nonsense for something else."""
    flags = ["--corpus", captioned_folder, "--output_dir", "out", *SMALL, *FAST]
    code = command(run_teacher, *flags, flag, value)
    refused(code, capsys, flag.lstrip("-") if code == 1 else "")
    assert not Path("out").exists()


WRONG_ELSEWHERE = {
    curate: [
        ("--batch_size", "0"), ("--batch_size", "-3"), ("--seed", "-1"), ("--seed", str(2**40)),
        ("--precision", "nan"), ("--num_pairs", "0"), ("--num_captions", "-1"), ("--pair_threshold", "nan"),
        ("--caption_threshold", "nan"),
        ("--pair_quantile", "nan"), ("--caption_quantile", "2"), ("--max_pairs", "-1"), ("--csls_neighbours", "0"),
        ("--max_skipped_fraction", "nan"), ("--dtype", "float16"), ("--pair_threshold", "much"),
        *((flag, "") for flag in ("--audio", "--captions", "--labels", "--teacher", "--output_dir", "--task",
                                  "--exclude", "--embedding_store", "--push_to_hub", "--remake")),
    ],
    run_eval: [
        ("--batch_size", "0"), ("--seed", "-1"), ("--zste_scenes", "-4"), ("--dtype", "int8"),
        *((flag, "") for flag in ("--model", "--task", "--output_dir", "--baseline", "--output_json", "--prompt",
                                  "--class_descriptions", "--zste_manifest")),
    ],
    run_student: [
        ("--seed", "-1"), ("--replay_probability", "nan"), ("--soft_label_weight", "2"), ("--strategy", ""),
        ("--num_train_epochs", "-1"), ("--max_steps", "0"), ("--mixup_alpha", "-1"),
        *((flag, "") for flag in ("--teacher", "--improvement_set", "--replay", "--task", "--init", "--output_dir",
                                  "--spectrogram_cache", "--text_model", "--audio_weights")),
    ],
    run_temporal: [
        ("--seed", "-1"), ("--paraphrase_from", "nan"), ("--max_steps", "0"), ("--num_scenes", "1"),
        ("--alpha_same", "nan"), ("--encoder_learning_rate", "-1"), ("--retention_weight", "inf"),
        ("--eval_steps", "0"),
        ("--validation_scenes", "-1"), ("--max_grad_norm", "nan"),
        *((flag, "") for flag in ("--model", "--base", "--clips", "--validation_clips", "--task",
                                  "--held_out_classes", "--output_dir")),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "flag", "value"),
    [(module, *pair) for module, pairs in WRONG_ELSEWHERE.items() for pair in pairs],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_values_that_no_command_can_have(command, tmp_path, capsys, module, flag, value):
    """Guards against the current folder that is curated where a variable of a shell script was empty."""
    needed = {
        curate: ["--strategy", "ads", "--teacher", "t", "--captions", "c", "--audio", "a", "--labels", "l"],
        run_eval: ["--model", "t"],
        run_student: ["--strategy", "ads", "--improvement_set", "i"],
        run_temporal: ["--stage", "b", "--model", "t", "--clips", "c"],
    }[module]
    before = sorted(tmp_path.iterdir())
    refused(command(module, *needed, flag, value), capsys, flag.lstrip("-"))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("flags", [["", "--output_dir", "x"], ["x.pth", "--output_dir", ""]])
def test_empty_values_of_a_conversion(command, capsys, flags):
    """Guards against weights written into the current folder."""
    refused(command(convert, *flags), capsys, "is empty")


@pytest.mark.parametrize(
    "flags",
    [
        ["--hub_tokne", "SECRETSECRET"],
        ["--hub_tokne=SECRETSECRET"],
        ["--push_to_hub_token", "SECRETSECRET"],
        ["--hub_token", "x", "SECRETSECRET"],
        ["SECRETSECRET"],
        ["--hub_token=x", "--hub_tokens", "SECRETSECRET", "SECRETSECRET"],
    ],
)
@pytest.mark.parametrize("module", [run_teacher, run_student, convert])
def test_what_belongs_to_no_flag_is_not_repeated(command, capsys, module, flags):
    """Guards against a token in the log of a cluster for a slip of the finger."""
    needed = {run_teacher: [], run_student: ["--strategy", "ads"], convert: ["x.pth", "--output_dir", "y"]}[module]
    assert command(module, *needed, *flags) == 2
    shown = "".join(capsys.readouterr())
    assert "SECRETSECRET" not in shown and len(shown.splitlines()) == 1


def test_a_slip_is_told_the_right_name(command, capsys):
    """Guards against a line that says what is wrong and not what is right."""
    refused(command(run_teacher, "--hub_tokne", "x"), capsys, "no flag is called --hub_tokne; is it --hub_token?")


def test_a_token_of_a_wrong_kind_in_a_file(command, tmp_path, capsys):
    """Guards against a token that is shown because it stood in a list."""
    (tmp_path / "run.yaml").write_text("hub_token: [SECRETSECRET]\n")
    code = command(run_teacher, "--config", "run.yaml")
    assert code == 1 and "hub_token must be text" in (error := capsys.readouterr().err) and "SECRET" not in error
