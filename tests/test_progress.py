"""What a command tells of a new model and of a training: what is made, how long it takes, and what to do offline."""

from types import SimpleNamespace

import pytest
import torch
from conftest import FAST, SMALL, check_failure, tiny_model
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError

from modeling_clap_student.checkpoints import hub_access
from modeling_clap_student.checkpoints.hub_access import ask_hub, within_reach
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.configuration_clap_student import ClapStudentAudioConfig
from modeling_clap_student.errors import InputError
from modeling_clap_student.modeling_clap_student import ClapStudentAudioModel
from modeling_clap_student.training import progress
from modeling_clap_student.utils.console import in_words


def test_without_a_network_the_first_command_ends_in_one_line(command, captioned_folder, capsys):
    """Guards against half a minute of retries, and an error that names no way out."""
    code = command(run_teacher, "--corpus", captioned_folder, "--output_dir", "teacher", *FAST)
    captured = capsys.readouterr()
    told = (
        f"a CNN14 of {sum(w.numel() for w in ClapStudentAudioModel(ClapStudentAudioConfig()).parameters()) / 1e6:.3g}"
    )
    assert told in captured.out and "--base_channels 8 --text_model scratch" in captured.out
    assert code == 1 and captured.err.count("\n") == 1, captured.err
    assert all(word in captured.err for word in ("bert-base-uncased", "--text_model FOLDER", "--text_model scratch"))


def test_a_teacher_that_is_out_of_reach_ends_in_one_line(command, captioned_folder, pool_folder, capsys):
    flags = ["--captions", captioned_folder, "--audio", pool_folder, "--num_pairs", 3]
    code = command(curate, "--strategy", "du", "--teacher", "laion/clap-htsat-unfused", *flags)
    check_failure(code, capsys, "can't download laion/clap-htsat-unfused", "does not answer")


def answer(monkeypatch, result):
    def model_info(self, repository, **options):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(HfApi, "model_info", model_info)


def siblings(**sizes):
    files = [SimpleNamespace(rfilename=name.replace("__", "."), size=size) for name, size in sizes.items()]
    return SimpleNamespace(siblings=files)


def test_the_size_of_a_download_is_that_of_the_weights_alone(monkeypatch):
    """Guards against counting each framework's copy of the same weights."""
    answer(monkeypatch, siblings(model__safetensors=440_000_000, pytorch_model__bin=441_000_000, tf_model__h5=1))
    assert str(ask_hub("some/bert")) == "a download of 440 MB"
    answer(monkeypatch, siblings(pytorch_model__bin=441_000_000, config__json=1))
    assert ask_hub("some/bert").download_bytes == 441_000_000


def test_what_is_cached_is_taken_without_asking_for_each_file(monkeypatch):
    """Guards against minutes of retries for a model that is there, and against a switch that stays."""
    monkeypatch.setattr(hub_access, "try_to_load_from_cache", lambda *_, **__: "/cache/model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    answer(monkeypatch, ConnectionError("no network"))
    with within_reach("some/bert") as found:
        assert constants.HF_HUB_OFFLINE and str(found) == "in the cache"
    assert not constants.HF_HUB_OFFLINE


def test_a_model_that_does_not_exist_is_left_to_the_loader(monkeypatch):
    """Guards against blaming the network for a mistyped name."""
    response = SimpleNamespace(headers={}, request=None, status_code=404)
    answer(monkeypatch, RepositoryNotFoundError("404", response=response))
    assert ask_hub("some/bret").answers


def test_a_training_tells_what_it_trains_and_its_losses(command, captioned_folder, capsys):
    """Guards against dicts on the screen, and a run whose length nobody knows."""
    flags = ["--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, "--max_steps", 2, "--logging_steps", 1]
    assert command(run_teacher, *flags, "--per_device_train_batch_size", 4) == 0
    out = capsys.readouterr().out
    assert "12 pairs to learn from" in out and "in the text tower; 2 steps of 4 pairs" in out
    assert "step 1 of 2: loss " in out and "step 2 of 2: loss " in out and "{'" not in out


def test_the_estimate_is_what_is_left_at_the_measured_pace(monkeypatch, capsys):
    """Guards against an estimate of the warm-up, of steps that are over, or said again and again."""
    clock = iter([100.0, *(110.0 + 2 * n for n in range(100))])  # a first step of 10 s, then 2 s each
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    state = SimpleNamespace(max_steps=2000, global_step=0, is_world_process_zero=True)
    args = SimpleNamespace(metric_for_best_model=None)
    told = progress.TrainingProgress(pairs=4)
    next(clock)
    model, _ = tiny_model()
    told.on_train_begin(args, state, None, model=model)
    for _ in range(20):
        state.global_step += 1
        told.on_step_end(args, state, None)
    told.on_train_end(args, state, None)
    out = capsys.readouterr().out
    assert out.count("to go on this machine") == 1 and f"about {in_words(1994 * 2)} to go" in out  # after step 6
    assert f"training: {sum(w.numel() for w in model.audio_model.parameters()) / 1e6:.3g} million weights" in out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (120, "2 minutes"), (5000, "83 minutes"), (7200, "2 hours"), (259200, "3 days")],
)
def test_durations(seconds, words):
    assert in_words(seconds) == words


def test_nothing_is_said_of_a_small_model_where_it_is_one():
    """Guards against an offer of what the user has."""
    from conftest import CAPTIONS, tiny_arguments

    from modeling_clap_student.checkpoints.initialization import new_model

    torch.manual_seed(0)
    said = []
    new_model(tiny_arguments(), CAPTIONS, said.append)
    assert len(said) == 1 and "a small BERT from random weights" in said[0] and "For a small model" not in said[0]
    arguments = tiny_arguments()
    arguments.text_model = "./gone"
    with pytest.raises(InputError, match="no such folder"):
        new_model(arguments, CAPTIONS)
