"""`run_temporal.py` as a user types it: the stages on a handful of files, what they leave, and every wrong input."""

import json
import shutil
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from conftest import FAST, SMALL, settle, tiny_clap, tiny_model, write_tone
from safetensors.torch import load_file
from test_commands import check_failure
from transformers import AutoModel, AutoProcessor, ClapModel

from modeling_clap_student import ClapStudentModel, ClapStudentProcessor, InputError
from modeling_clap_student.checkpoints.conversion import convert_msclap_checkpoint
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import temporal as run_temporal
from modeling_clap_student.hub_clap_student import commit_folder
from modeling_clap_student.training import run
from modeling_clap_student.training.record import RecordMixin


sys.path.insert(0, str(Path(__file__).parent / "reference"))
import recipe


PITCHES = {"low_hum": 150, "tone": 500, "whistle": 1500, "hiss": 5000}
SCORES = {"accuracy_1a", "order", "selection"}
QUICK = [
    "--max_steps", "2", "--per_device_train_batch_size", "2", "--validation_scenes", "4", "--disable_tqdm", "true",
    "--word_steps", "2", "--eval_steps", "2", "--save_steps", "2", "--warmup_steps", "0",
]  # fmt: skip


def save(folder: Path, model, processor) -> str:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a tiny checkpoint, clips to train on and clips to validate on."""
    folder = tmp_path_factory.mktemp("made")
    model, processor = tiny_model()
    save(folder / "model", settle(model), processor)
    for (place, shift), name, number in product({"train": 0, "valid": 5}.items(), PITCHES, range(2)):
        write_tone(folder / place / name / f"{number}.wav", PITCHES[name] + 11 * number + shift, seconds=1.0 + number)
    return folder


@pytest.fixture
def files(made) -> list:
    """Flags that name the clips."""
    return ["--clips", made / "train", "--validation_clips", made / "valid"]


@pytest.fixture
def inputs(made, files) -> list:
    """Flags that name the model too, and make the run a quick one."""
    return ["--model", made / "model", *files, *QUICK]


def results_of(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())


def same_weights(one: str | Path, other: str | Path) -> bool:
    mine, theirs = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def check_saved(folder: str | Path) -> ClapStudentModel:
    """A checkpoint that hears whole scenes, whatever loads it."""
    model = AutoModel.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    assert type(model) is ClapStudentModel and type(processor) is ClapStudentProcessor
    assert processor.feature_extractor.window_seconds == model.processor.feature_extractor.window_seconds == 10
    assert processor.feature_extractor.window_samples == 441000
    vectors = model.eval().encode_text(["a low hum before a whistle", "a whistle before a low hum"])
    assert vectors.isfinite().all() and not torch.equal(vectors[0], vectors[1])
    return model


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        ("a", ["--doubles", "concat", "--num_scenes", "3"]),
        ("b", []),
        ("joint", ["--freeze_audio_encoder", "true"]),
        ("b", ["--hold_out_connectives", "true", "--position_captions", "0", "--name_captions", "0"]),
        ("b", ["--max_sounds", "3"]),
        ("b", ["--freeze_audio_encoder", "true", "--freeze_text_encoder", "true"]),
        (
            "b",
            [
                *("--frozen_pooling", "true", "--paraphrase_from", "1", "--prompted", "false"),
                *("--retention_weight", "0", "--position_captions", "0", "--name_captions", "0"),
            ],
        ),
        ("b", ["--overlays", "false", "--alpha_same", "0", "--alpha_cross", "0.5", "--reverse_weight", "0.5"]),
        ("b", ["--construction", "authors", "--alpha_same_overlay", "0", "--held_out_classes", "low_hum", "hiss"]),
    ],
)
def test_a_stage_from_files_to_a_model(command, made, inputs, stage, flags, capsys):
    """Guards against an arm that can't be run, and an artefact that nothing can load."""
    if "--held_out_classes" in flags:  # the other two may not be heard together
        flags[flags.index("low_hum")] = "tone"
    assert command(run_temporal, "--stage", stage, *inputs, *flags, "--output_dir", "out") == 0
    results = results_of("out")
    assert set(results) == {
        "stage", "before", "after", "steps", "num_clips", "num_validation", "num_skipped", "seconds", "seed",
        "num_threads",
    }  # fmt: skip
    assert (results["stage"], results["steps"], results["num_clips"], results["num_validation"]) == (stage, 2, 8, 8)
    for scores in (results["before"], results["after"]):
        assert set(scores) == SCORES and all(0 <= value <= 1 for value in scores.values())
        better = max(0.0, scores["order"] - 0.5)
        assert scores["selection"] == pytest.approx((scores["accuracy_1a"] * better) ** 0.5)
    assert "Validation" in capsys.readouterr().out
    model = check_saved("out")
    frozen_pooling = "--frozen_pooling" in flags
    assert model.config.audio_config.temporal_pooling == ("mean_max" if frozen_pooling else "attention")
    record = model.config.record
    assert record["stage"] == stage and record["start"]["name"] == "model"
    assert record["hyperparameters"]["frozen_pooling"] is frozen_pooling
    said = {"after", "then", "followed by"}
    is_paraphrased = stage != "a" and not {"--hold_out_connectives", "--frozen_pooling"} & {*flags}
    assert set(record["connectives"]) & said == (said if is_paraphrased else set())
    assert record["class_names"] == sorted({name.replace("_", " ") for name in PITCHES if name not in flags})
    assert ("while" in record["connectives"]) is (stage != "a" and "--overlays" not in flags)
    assert "TeminAL" in Path("out/README.md").read_text()
    assert not same_weights("out", made / "model")


@pytest.mark.slow
def test_both_stages(command, made, inputs, capsys):
    """Guards against a stage B that starts from the base again, or keeps what stage A made of single sounds, and
    against a stage A trained twice, one of other flags that is reused, and a stage B that starts anew, after each has
    broken off."""
    flags = ["--stage", "ab", *inputs, "--save_steps", "1", "--eval_steps", "1", "--output_dir"]
    pushed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordMixin, "init_hf_repo", lambda trainer, *_, **__: pushed.append(trainer.args.output_dir))
        patch.setattr(run, "push_if_asked", lambda args: pushed.append(args.push_to_hub))
        assert command(run_temporal, *flags, "whole", "--push_to_hub", "--hub_model_id", "me/whole") == 0
    assert pushed == [False, "whole", True]  # stage A is no repository of its own, nor what the user's holds at first
    assert results_of("whole/stage_a")["stage"] == "a" and results_of("whole")["stage"] == "b"
    # Stage B gives this tokenizer words of order, so that captions of order are read otherwise before it begins.
    before, after = results_of("whole")["before"], results_of("whole/stage_a")["after"]
    assert before["accuracy_1a"] == after["accuracy_1a"] and set(before) == set(after)
    model, first = check_saved("whole"), check_saved("whole/stage_a")
    assert model.config.record["start"]["name"] == "whole/stage_a" and not same_weights("whole", "whole/stage_a")
    assert model.config.record["before"]["stage"] == "a" and first.config.record["before"] is None
    told = json.loads(Path("whole/arguments.json").read_text())
    assert told["stage"] == "b" and told["base"] == str(made / "model") and told["model"] == "whole/stage_a"
    check_failure(command(run_temporal, *flags, "whole"), capsys, "whole holds a trained model already")
    for broken in ("out/stage_a", "out"):
        resume = ["--resume_from_checkpoint"] if Path("out").exists() else []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modeling_clap_student.temporal.trainer.stop_at_bad_loss", breaks_off_in(broken))
            check_failure(command(run_temporal, *flags, "out", *resume), capsys, "the light went out")
        assert [path.name for path in Path(broken).glob("checkpoint-*")] == ["checkpoint-1"]
    others = ["--resume_from_checkpoint", "--doubles", "concat"]
    told = "out/stage_a is of another run: doubles was 'mixed' and is 'concat': name another --output_dir"
    check_failure(command(run_temporal, *flags, "out", *others), capsys, told)
    assert command(run_temporal, *flags, "out", "--resume_from_checkpoint", "--logging_steps", "7") == 0
    assert "reusing stage A in out/stage_a" in capsys.readouterr().out
    assert same_weights("out/stage_a", "whole/stage_a") and same_weights("out", "whole")


def test_checkpoints_of_stage_a_stay_at_home(tmp_path, monkeypatch):
    """Guards against gigabytes of optimiser state that go to the Hub with a model."""
    for name in ("config.json", "checkpoint-2/config.json", "stage_a/config.json", "stage_a/checkpoint-2/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    sent = []
    monkeypatch.setattr(
        "huggingface_hub.HfApi.create_commit", lambda api, repo, operations, **_: sent.extend(operations)
    )
    commit_folder(tmp_path, "me/model", "Upload")
    assert [operation.path_in_repo for operation in sent] == ["config.json", "stage_a/config.json"]


def breaks_off_in(folder: str):
    """In the place of the check of the loss: what ends a run in this folder at its second step."""

    def check(loss, audio_ids, step, run_dir):
        if step == 2 and run_dir == folder:
            raise InputError("the light went out")

    return check


def test_a_file_of_arguments_repeats_a_run(command, made, inputs):
    """Guards against a flag that is not written down, and a run that its seed does not fix."""
    flags = ["--overlays", "false", "--alpha_cross", "0.25", "--held_out_classes", "tone", "--seed", "3"]
    assert command(run_temporal, "--stage", "b", *inputs, *flags, "--output_dir", "one") == 0
    assert command(run_temporal, "--config", "one/arguments.json", "--output_dir", "two") == 0
    one, two = (json.loads(Path(name, "arguments.json").read_text()) for name in ("one", "two"))
    assert one.pop("output_dir") == "one" and two.pop("output_dir") == "two" and one == two
    assert (one["overlays"], one["alpha_cross"], one["held_out_classes"], one["seed"]) == (False, 0.25, ["tone"], 3)
    assert same_weights("one", "two")
    assert results_of("one")["after"] == results_of("two")["after"]


def test_validation_clips_are_held_out_where_none_are_named(command, made, inputs, capsys):
    """Guards against a checkpoint that is selected by clips that were trained on."""
    many = Path("many")
    for name, number in product(PITCHES, range(12)):
        write_tone(many / name / f"{number}.wav", PITCHES[name] + 3 * number, seconds=0.6)
    rest = ["--model", made / "model", "--clips", many, *QUICK]
    assert command(run_temporal, "--stage", "b", *rest, "--max_steps", "1", "--output_dir", "out") == 0
    results = results_of("out")
    assert results["num_clips"] + results["num_validation"] == 48 and 1 < results["num_validation"] < 16


def test_clips_of_evaluation_sets_and_of_validation_are_left_out(command, made, inputs, capsys):
    """Guards against scores on clips that were trained on."""
    shutil.copytree(made / "train", "train")
    for name in PITCHES:
        shutil.copy(made / "valid" / name / "0.wav", Path("train", name, "valid.wav"))
    write_tone(Path("test/low_hum/a.wav"), 333)
    write_tone(Path("test/tone/a.wav"), 444)
    shutil.copy("test/tone/a.wav", "train/tone/test.wav")
    flags = ["--model", made / "model", "--clips", "train", "--validation_clips", made / "valid", "--task", "test"]
    assert command(run_temporal, "--stage", "b", *flags, "--dry_run") == 0
    assert "8 clips of 4 classes to train on, 8 to validate on" in capsys.readouterr().out


@pytest.mark.slow
def test_a_student_starts_from_it_and_it_from_a_student(command, inputs, files, captioned_folder):
    """Guards against checkpoints that only the command that made them can read."""
    assert command(run_temporal, "--stage", "b", *inputs, "--output_dir", "first") == 0
    rest = ["--strategy", "none", "--replay", captioned_folder, *FAST]
    assert command(run_student, *rest, "--teacher", "first", "--output_dir", "student") == 0
    check_saved("student")
    fresh = ["--teacher", "first", "--init", "fresh", *SMALL, "--output_dir", "fresh"]
    assert command(run_student, *rest, *fresh) == 0
    for name in ("student", "fresh"):
        flags = ["--model", name, *files, *QUICK, "--output_dir", f"on_{name}"]
        assert command(run_temporal, "--stage", "b", *flags) == 0
        model = check_saved(f"on_{name}")
        assert model.config.audio_config.temporal_pooling == "attention"
    assert load_checkpoint("on_student")[0].config.record["before"]["start"]["name"] == "first"


def small_clap(path: Path) -> Path:
    """A CLAP 2022 file whose towers are narrow: one channel in sixteen, and as few word pieces."""
    front_end = ("spectrogram_extractor", "logmel_extractor", "bn0")
    shapes = {
        name: shape if any(part in name for part in front_end) else tuple(s // 16 if s > 16 else s for s in shape)
        for name, shape in recipe.clap_shapes().items()
    }
    weights = {name: torch.as_tensor(value) for name, value in recipe.random_weights(shapes).items()}
    torch.save({"model": weights}, path)
    return path


def test_it_starts_from_a_converted_checkpoint(command, inputs, files, tmp_path):
    """Guards against a checkpoint without a record, of other front-end numbers, that post-training can't take."""
    tiny_model()[1].tokenizer.save_pretrained(tmp_path / "tokenizer")
    convert_msclap_checkpoint(small_clap(tmp_path / "clap.pth"), "converted", str(tmp_path / "tokenizer"))
    flags = ["--model", "converted", *files, *QUICK, "--max_steps", "1", "--output_dir", "out"]
    assert command(run_temporal, "--stage", "b", *flags, "--freeze_audio_encoder", "true") == 0
    model, before = check_saved("out"), load_checkpoint("converted")[0]
    assert model.config.audio_config.hop_length == before.config.audio_config.hop_length == 320
    for name, value in before.audio_model.blocks.state_dict().items():
        assert torch.equal(model.audio_model.blocks.state_dict()[name], value)
    assert "Converted from" in model.config.record["before"]["origin"]


def test_wrong_inputs(command, made, inputs, files, capsys, tmp_path):
    """Guards against tracebacks, empty folders, and mistakes that are found out after the training."""
    clap, model = tiny_clap(tmp_path / "clap"), ["--model", made / "model"]
    write_tone(Path("single/tone/a.wav"), 500)
    write_tone(Path("single/tone/b.wav"), 600)
    for name in ("hum", "tone"):  # which no training hears together
        for number in range(2):
            write_tone(Path("held_out") / name / f"{number}.wav", 100 + 30 * len(name) + number)
    wrong = {
        "--clips is missing": model,
        "--model is missing": files,
        "single names 1 class": [*model, "--clips", "single", "--validation_clips", made / "valid"],
        "not one pair of the 2 classes is seen": [*model, "--clips", "held_out", *files[2:]],
        "--held_out_classes 'purr' is no class of": [*inputs, "--held_out_classes", "tone", "purr"],
        "at least 2 classes, and there are 1": [*inputs, "--held_out_classes", "tone", "hiss", "whistle"],
        "hears windows of 2 s, and a scene lasts 10 s": ["--model", clap, *files, *QUICK],
        "can teach, and can't be trained": ["--model", f"st:{clap}", *files, *QUICK],
        "hears or reads differently": [*inputs, "--base", clap],
        "no such checkpoint folder: ./gone": ["--model", "./gone", *files, *QUICK],
        "no such file or folder": [*model, "--clips", "nowhere/at/all", *files[2:]],
        "needs three classes that may be heard together, and there are 2": [
            *inputs,
            "--held_out_classes",
            "tone",
            "hiss",
            "--max_sounds",
            "3",
        ],
        "--max_sounds must lie in [2, 3], got 4": [*inputs, "--max_sounds", "4"],
        "--alpha_same must lie in [0, 100], got -1": [*inputs, "--alpha_same", "-1"],
    }
    before = set(tmp_path.rglob("*"))
    for stage in ("b", "ab"):
        for words, flags in wrong.items():
            code = command(run_temporal, "--stage", stage, *flags, "--output_dir", "runs/out")
            check_failure(code, capsys, words)
            new = set(tmp_path.rglob("*")) - before
            assert all(path.is_relative_to(tmp_path / "outputs") for path in new), words  # fingerprints are kept
    assert command(run_temporal, "--stage", "c", *inputs) == 2
    assert command(run_temporal, *inputs) == 2


def test_a_base_of_other_sizes_is_refused(command, inputs, capsys):
    """Guards against a retention term between vectors of two spaces, or a base that reads other tokens."""
    from modeling_clap_student.checkpoints.initialization import SCRATCH, ModelArguments, new_model

    for number, (size, captions) in enumerate(((16, ["hum"]), (32, ["other words altogether"]))):
        sizes = ModelArguments(text_model=SCRATCH, base_channels=2, hop_length=1024, projection_dim=size)
        save(Path(f"base{number}"), *new_model(sizes, captions))
        flags = ["--stage", "b", *inputs, "--base", f"base{number}", "--output_dir", "out"]
        check_failure(command(run_temporal, *flags), capsys, f"--base base{number} hears or reads differently")
        assert not Path("out").exists()


@pytest.mark.parametrize("stage", ["b", "ab"])
def test_used_folders_are_refused_before_anything_is_trained(command, made, inputs, stage, capsys):
    """Guards against a model that is overwritten, and a stage A that is trained for a stage B that may not start."""
    shutil.copytree(made / "model", "used")
    before = sorted(Path("used").rglob("*"))
    flags = ["--stage", stage, *inputs, "--output_dir", "used"]
    check_failure(command(run_temporal, *flags), capsys, "used holds a trained model already", "--output_dir")
    assert sorted(Path("used").rglob("*")) == before and same_weights("used", made / "model")


@pytest.mark.parametrize("stage", ["b", "ab", "joint"])
def test_dry_run_counts_and_writes_nothing(command, inputs, tmp_path, stage, capsys):
    """Guards against hours spent before a wrong path is seen."""
    assert command(run_temporal, "--stage", stage, *inputs, "--dry_run") == 0
    said = capsys.readouterr().out
    assert "8 clips of 4 classes to train on, 8 to validate on" in said and "What is there" in said
    assert not list(tmp_path.iterdir())


def test_a_bad_clip_is_skipped_counted_and_listed(command, made, files, capsys):
    """Guards against one corrupt clip that ends the training, or vanishes unseen."""
    shutil.copytree(made / "train", "train")
    (Path("train") / "tone" / "0.wav").write_bytes(b"RIFF" + bytes(100))
    flags = ["--model", made / "model", "--clips", "train", *files[2:], *QUICK, "--per_device_train_batch_size", "6"]
    assert command(run_temporal, "--stage", "b", *flags, "--output_dir", "out") == 0
    assert results_of("out")["num_skipped"] == 1 and "tone/0.wav" in Path("out/skipped.csv").read_text()
    assert "skipped 1 clip" in capsys.readouterr().out


def test_transformers_clap_is_trained_with_its_own_pooling(command, tmp_path, files, capsys):
    """Guards against post-training that knows CNN14 alone, and one that promises what its pooling can't learn."""
    clap = tiny_clap(tmp_path / "clap", seconds=10)
    for stage, flags in (("a", []), ("b", ["--freeze_audio_encoder", "true", "--freeze_text_encoder", "true"])):
        assert (
            command(run_temporal, "--stage", stage, "--model", clap, *files, *QUICK, *flags, "--output_dir", stage)
            == 0
        )
        assert "pools over time in its own way" in capsys.readouterr().out
        assert set(results_of(stage)["after"]) == SCORES and not same_weights(stage, clap)
        assert type(AutoModel.from_pretrained(stage)) is ClapModel
    frozen = ("audio_model.audio_encoder.", "text_model.")
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (clap, "b"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(frozen)} <= same and "logit_scale_t" not in same
    short = tiny_clap(tmp_path / "short")
    check_failure(command(run_temporal, "--stage", "b", "--model", short, *files, *QUICK), capsys, "windows of 2 s")


def test_a_text_tower_too_short_for_three_sounds_is_told(command, files, tmp_path, capsys):
    """Guards against captions of three sounds whose end, and with it their order, is cut."""
    model, processor = tiny_model()
    processor.tokenizer.model_max_length = 12
    save(tmp_path / "short", settle(model), processor)
    flags = ["--model", "short", *files, *QUICK, "--max_sounds", "3", "--output_dir", "out"]
    check_failure(command(run_temporal, "--stage", "b", *flags), capsys, "tokens, and short reads 12", "three sounds")
    assert not Path("out").exists()
