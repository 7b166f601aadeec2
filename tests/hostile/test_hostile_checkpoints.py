"""Checkpoints: of others, damaged, of a run that is over, with other threads, with weights that are no numbers."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL, check_failure
from safetensors.torch import load_file, save_file
from test_streamed_training import shards, tones  # noqa: F401
from test_temporal_command import made  # noqa: F401
from test_training import make_trainer

from modeling_clap_student import ClapStudentModel, ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands import temporal as run_temporal
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.training.checkpointing import whole_checkpoints


SAVES = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, "logging_steps": 1}
STEPS = ["--max_steps", "4", "--per_device_train_batch_size", "4", "--disable_tqdm", "true"]  # 3 steps are an epoch
EVERY = ["--save_strategy", "steps", "--save_steps", "2"]


def weights(folder) -> bytes:
    return Path(folder, "model.safetensors").read_bytes()


def foreign(folder: Path, step: int) -> Path:
    (folder / f"checkpoint-{step}").mkdir(parents=True)
    (folder / f"checkpoint-{step}" / "model.bin").write_text("another program's")
    return folder / f"checkpoint-{step}" / "model.bin"


def test_checkpoints_of_other_programs(tiny, captioned_folder, tmp_path):
    """Guards against folders that are taken away, or gone on from, because of their name."""
    out = tmp_path / "out"
    theirs = [foreign(out, step) for step in (1, 500)]
    (out / "checkpoint-7").mkdir()
    make_trainer(tiny, captioned_folder, tmp_path, max_steps=6, **SAVES).train()
    assert [path.name for path in whole_checkpoints(out)] == ["checkpoint-6"]
    (out / "checkpoint-8").mkdir()  # a crash while it was written
    (out / "checkpoint-8" / "run.json").write_text('{"unfinished": true}')
    (out / "checkpoint-8" / "optimizer.pt").write_text("half")
    trainer = make_trainer(tiny, captioned_folder, tmp_path, max_steps=9, **SAVES)
    assert trainer.train("last").global_step == 9
    assert [path.name for path in whole_checkpoints(out)] == ["checkpoint-9"]
    assert not (out / "checkpoint-8").exists() and (out / "checkpoint-7").exists()
    assert all(file.read_text() == "another program's" for file in theirs)
    with pytest.raises(InputError, match="checkpoint-500 is no whole checkpoint of this package"):
        make_trainer(tiny, captioned_folder, tmp_path, max_steps=9, **SAVES).train(str(out / "checkpoint-500"))


def test_the_best_checkpoint_leaves_others_alone(tiny, captioned_folder, tmp_path):
    """Guards against a training that tidies up at its end."""
    theirs = foreign(tmp_path / "out", 500)
    trainer = validated(tiny, captioned_folder, tmp_path)
    trainer.train()
    assert theirs.exists() and trainer.state.best_model_checkpoint


def test_another_programs_folder_in_the_way(tiny, captioned_folder, tmp_path):
    """Guards against a checkpoint that is written into another program's folder."""
    theirs = foreign(tmp_path / "out", 4)
    trainer = make_trainer(tiny, captioned_folder, tmp_path, max_steps=6, **SAVES)
    with pytest.raises(InputError, match=r"can't save .*checkpoint-4.*last whole checkpoint is .*checkpoint-2"):
        trainer.train()
    assert [path.name for path in theirs.parent.iterdir()] == ["model.bin"]


class EarlyIsBest:
    """A validation by which the first checkpoint is the best."""

    def __init__(self, pairs):
        self.pairs, self.calls = pairs, 0

    def __call__(self, model) -> dict:
        self.calls += 1
        return {"score": -self.calls}

    def selects_by(self, metric: str) -> str:
        return metric


def validated(tiny, captioned_folder, tmp_path, **options):
    """A trainer whose first checkpoint is its best."""
    model, processor = tiny
    pairs = read_corpora([str(captioned_folder)])
    options |= {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "disable_tqdm": True}
    options |= {"metric_for_best_model": "score", "greater_is_better": True, "per_device_train_batch_size": 4}
    return ClapStudentTrainer(
        model=model,
        args=ClapStudentTrainingArguments(str(tmp_path / "out"), **{**SAVES, "max_steps": 4, **options}),
        train_dataset=pairs,
        validation=EarlyIsBest(pairs),
        data_collator=ClapCollator(processor, SkippedClips(tmp_path / "skipped.csv")),
        processing_class=processor,
    )


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"best": True}, {"best": True, "ema_decay": 0.5}])
def test_a_run_that_is_over_stays_over(captioned_folder, tmp_path, options, capsys):
    """Guards against one step more, and other weights, when a finished run is resumed, here within an epoch."""
    from conftest import tiny_model

    best = options.get("best")
    options = {name: value for name, value in options.items() if name != "best"}

    def trainer(**more):
        if best:
            return validated(tiny_model(), captioned_folder, tmp_path, **options, **more)
        return make_trainer(tiny_model(), captioned_folder, tmp_path, **{**SAVES, "max_steps": 4, **options, **more})

    whole = trainer()
    whole.train()
    whole.save_model()
    expected = weights(tmp_path / "out")
    assert (weights(tmp_path / "out" / "checkpoint-4") == expected) is (not best and "ema_decay" not in options)
    (tmp_path / "out").rename(tmp_path / "elsewhere")  # and no path of before is of use
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "out")
    shutil.rmtree(tmp_path / "elsewhere")
    (tmp_path / "out" / "model.safetensors").unlink()
    again = trainer()
    again.compute_loss = None
    result = again.train("last")
    again.save_model()
    assert weights(tmp_path / "out") == expected and result.global_step == 4 and result.training_loss > 0
    assert "the run had ended at step 4" in capsys.readouterr().out
    assert trainer(max_steps=5).train("last").global_step == 5


@pytest.mark.parametrize("kind", ["teacher", "student", "stream", "temporal"])
@pytest.mark.slow
def test_a_finished_run_is_resumed(kind, command, captioned_folder, shards, made, tiny_folder, capsys):  # noqa: F811
    """Guards against other weights after a kill between the last step and the end, with every command."""
    from_tiny = ["--strategy", "none", "--teacher", tiny_folder, "--replay"]
    module, flags = {
        "teacher": (run_teacher, ["--corpus", captioned_folder, *SMALL, "--ema_decay", "0.9"]),
        "student": (run_student, [*from_tiny, captioned_folder, "--validation_fraction", "0.3"]),
        "stream": (run_student, [*from_tiny, shards]),
        "temporal": (
            run_temporal,
            [
                "--stage",
                "b",
                "--model",
                made / "model",
                "--clips",
                made / "train",
                "--validation_clips",
                made / "valid",
            ],
        ),
    }[kind]
    flags = [*flags, *STEPS, *EVERY, "--learning_rate", "1e-2", "--output_dir", "run"]
    if kind == "temporal":
        flags += [
            "--validation_scenes",
            "4",
            "--word_steps",
            "2",
            "--eval_steps",
            "2",
            "--per_device_train_batch_size",
            "2",
        ]
    assert command(module, *flags) == 0, capsys.readouterr().err
    expected = weights("run")
    assert json.loads(Path("run/results.json").read_text())["num_threads"] == torch.get_num_threads()
    for missing in (["model.safetensors", "results.json"], ["results.json"], []):
        for name in missing:
            Path("run", name).unlink()
        capsys.readouterr()
        assert command(module, *flags, "--resume_from_checkpoint") == 0
        said = capsys.readouterr().out
        assert "had ended at step 4" in said or (kind == "student" and not missing and "reusing the student" in said)
        assert weights("run") == expected and Path("run/results.json").exists()


@pytest.mark.slow
def test_a_finished_run_of_two_processes(captioned_folder, tmp_path):
    """Guards against processes that do not agree that a run is over."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    flags = ["--corpus", captioned_folder, *SMALL, *STEPS, *EVERY, "--per_device_train_batch_size", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for more in ([], ["--resume_from_checkpoint"]):
        done = subprocess.run(
            [*launch, ROOT / "run_teacher.py", *flags, "--output_dir", "run", *more],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-1500:]
        if not more:
            expected = weights(tmp_path / "run")
            for name in ("model.safetensors", "results.json"):
                (tmp_path / "run" / name).unlink()
    assert weights(tmp_path / "run") == expected and done.stdout.count("had ended at step 4") == 1


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


DAMAGES = {
    "garbage": lambda file: file.write_bytes(b"\x00garbage" * 40),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "gone": lambda file: file.unlink(),
    "nested": lambda file: file.write_text("[" * 200_000),
    "list": lambda file: file.write_text("[1, 2]"),
    "pickle": lambda file: file.write_bytes(pickle.dumps(Bomb())),
    "torch pickle": lambda file: torch.save(Bomb(), file),
    "foreign": lambda file: torch.save({"a": torch.zeros(2)}, file),
    "foreign tensors": lambda file: save_file({"a": torch.zeros(2)}, file),
}


RUN = ["--strategy", "none", "--teacher", "tiny", "--replay", "shards", *STEPS, *EVERY, "--ema_decay", "0.9"]
RUN += ["--output_dir", "run"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where a run on a stream is kept from test to test, with all that a checkpoint can hold."""
    return tmp_path_factory.mktemp("kept")


@pytest.mark.parametrize(
    "name",
    [
        *("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "run.json", "stream_state_0.pth"),
        *("moving_average.safetensors", "model.safetensors"),
    ],
)
@pytest.mark.slow
def test_damaged_files_of_a_checkpoint(name, command, kept, shards, tiny_folder, capsys):  # noqa: F811
    """Guards against a traceback, a run that goes on without its state, and code in a file that is executed."""
    if not (kept / "run").exists():
        assert command(run_student, *RUN) == 0
        shutil.copytree("run", kept / "run")
    for kind, damage in DAMAGES.items():
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(kept / "run", "run")
        damage(Path("run/checkpoint-4", name))
        flags = [*RUN, "--max_steps", "5", "--resume_from_checkpoint", "run/checkpoint-4"]
        capsys.readouterr()
        code = command(run_student, *flags)
        assert not Path("exploded").exists()
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        assert code == 1 and len(lines) == 1 and "Traceback" not in error, (kind, error[-2000:])
        assert "checkpoint-4" in lines[0], (kind, lines)
        assert weights("run") == weights(kept / "run")


def test_optimiser_states_of_other_shapes(tiny, captioned_folder, tmp_path):
    """Guards against moments of another model, which torch takes and fails on a step later."""
    make_trainer(tiny, captioned_folder, tmp_path, max_steps=2, **SAVES).train()
    file = tmp_path / "out" / "checkpoint-2" / "optimizer.pt"
    state = torch.load(file, weights_only=True)
    for moments in state["state"].values():
        moments["exp_avg"] = torch.zeros(3)
    torch.save(state, file)
    with pytest.raises(InputError, match=r"optimizer.pt is no readable state.*other shapes"):
        make_trainer(tiny, captioned_folder, tmp_path, max_steps=4, **SAVES).train("last")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("model.safetensors", ["garbage", "cut", "empty", "gone", "pickle", "torch pickle", "foreign tensors"]),
        ("tokenizer.json", ["garbage", "cut", "empty", "nested", "list"]),
        ("config.json", ["garbage", "cut", "empty", "gone", "nested", "list"]),
        ("processor_config.json", ["garbage", "cut", "empty", "nested", "list"]),
        ("tokenizer_config.json", ["garbage", "cut", "nested", "list"]),
        ("pytorch_model.bin", ["garbage", "empty", "pickle", "torch pickle", "foreign"]),
    ],
)
def test_damaged_files_of_a_model(name, kinds, command, tiny_folder, labelled_folder, tmp_path, capsys):
    """Guards against a traceback, and code in a file that is executed."""
    for kind in kinds:
        shutil.rmtree("broken", ignore_errors=True)
        shutil.copytree(tiny_folder, "broken")
        if name == "pytorch_model.bin":
            Path("broken/model.safetensors").unlink()
        DAMAGES[kind](Path("broken", name))
        capsys.readouterr()
        code = command(run_eval, "--model", "broken", "--task", labelled_folder, "--output_dir", "eval")
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        assert code == 1 and len(lines) == 1 and "broken" in lines[0], (kind, error[-2000:])
        assert not Path("exploded").exists() and not Path("eval").exists()


def test_the_tokenizer_of_a_larger_model(tiny_folder):
    """Guards against tokens that the text tower has no vector for."""
    from modeling_clap_student.checkpoints.initialization import scratch_tokenizer

    scratch_tokenizer([f"word{number} other{number}" for number in range(900)]).save_pretrained(tiny_folder)
    with pytest.raises(InputError, match=r"tokenizer in .*tiny is of another model"):
        load_checkpoint(tiny_folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value, command, tiny_folder, labelled_folder, captioned_folder, tiny, capsys):
    """Guards against the score of a model that says nothing, and pairs made with it."""
    values = load_file(tiny_folder / "model.safetensors")
    values["audio_projection.linear1.weight"][0, 0] = value
    save_file(values, tiny_folder / "model.safetensors", {"format": "pt"})
    words = ["weights in", "NaN or infinite", "audio_projection.linear1.weight"]
    code = command(run_eval, "--model", tiny_folder, "--task", labelled_folder, "--output_dir", "eval")
    check_failure(code, capsys, *words)
    flags = ["--strategy", "ds", "--teacher", tiny_folder, "--captions", captioned_folder, "--labels", labelled_folder]
    check_failure(command(curate, *flags, "--output_dir", "set"), capsys, *words)
    model = ClapStudentModel.from_pretrained(tiny_folder)  # as without this package
    with pytest.raises(InputError, match="embedding of a clip is not finite"):
        model.encode_audio(torch.randn(44100).clamp(-1, 1).numpy(), sampling_rate=44100)
    with torch.no_grad():
        model.text_projection.linear1.weight[0, 0] = value
    with pytest.raises(InputError, match="embedding of a text is not finite"):
        model.encode_text("a low hum")


def test_another_number_of_threads_is_told(tiny, captioned_folder, tmp_path, capsys):
    """Guards against a promise of equal bits that another number of threads breaks without a word."""
    threads = torch.get_num_threads()
    make_trainer(tiny, captioned_folder, tmp_path, max_steps=2, **SAVES).train()
    try:
        torch.set_num_threads(threads + 1)
        trainer = make_trainer(tiny, captioned_folder, tmp_path, max_steps=4, **SAVES)
        capsys.readouterr()
        assert trainer.train("last").global_step == 4
    finally:
        torch.set_num_threads(threads)
    assert f"resumed with {threads + 1} threads instead of {threads}" in " ".join(capsys.readouterr().out.split())
    assert trainer.model.config.record["num_threads"] == threads + 1


def test_the_number_of_threads_is_written_down(command, tiny_folder, labelled_folder, captioned_folder, pool_folder):
    """Guards against numbers that can't be made again because nobody knows the threads."""
    files = ["--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder, "--num_pairs", 3]
    assert command(curate, "--strategy", "du", *files, "--output_dir", "set") == 0
    assert json.loads(Path("set/provenance.json").read_text())["num_threads"] == torch.get_num_threads()
    assert command(run_eval, "--model", tiny_folder, "--task", labelled_folder, "--output_dir", "eval") == 0
    assert json.loads(Path("eval/details.json").read_text())["num_threads"] == torch.get_num_threads()
