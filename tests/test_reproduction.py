"""The reproduction's protocols: their steps, and the audio tower that is pretrained for them."""

import csv
import importlib
import json
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_clap, write_tone
from transformers import ClapFeatureExtractor, ClapModel

from modeling_clap_student.checkpoints.arguments import ModelArguments
from modeling_clap_student.checkpoints.initialization import SCRATCH, new_model
from modeling_clap_student.commands import curate, student, teacher
from modeling_clap_student.commands.command_line import parse_arguments
from modeling_clap_student.data import decoding
from modeling_clap_student.errors import InputError
from modeling_clap_student.evaluation.arguments import EvalArguments


REPRODUCTION = ROOT / "benchmarks" / "reproduction"
TYPES = {
    "run_teacher.py": teacher._TYPES,
    "curate.py": (curate.CurateArguments,),
    "run_student.py": student._TYPES,
    "run_eval.py": (EvalArguments,),
}


@pytest.fixture
def module(monkeypatch):
    """Imports a file of the reproduction."""
    monkeypatch.syspath_prepend(str(REPRODUCTION))
    return importlib.import_module


def put_esc50(folder, folds: dict[int, list[int]]) -> None:
    """Clips of two classes: fold -> the numbers of their recordings."""
    numbers = [(fold, number) for fold, numbers in folds.items() for number in numbers]
    rows = [(f"{fold}-{number}-A-0.wav", fold, ("dog", "rain")[number % 2], number) for fold, number in numbers]
    (folder / "meta").mkdir(parents=True)
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "fold", "category", "src_file"), *rows])
    for name, *_, number in rows:
        write_tone(folder / "audio" / name, number)


@pytest.fixture
def recordings(tmp_path):
    """A folder like that of the real recordings. Freesound's 301 and 302 are evaluated, and 301 turns up elsewhere."""
    data = tmp_path / "data"
    put_esc50(data / "esc50_16k", {1: [101, 102], 2: [201, 301], 3: [301, 302]})
    put_esc50(data / "esc50_extra", {1: [111], 3: [302, 303]})
    put_esc50(data / "esc10", {fold: [fold * 100 + 1, fold * 100 + 2] for fold in (1, 2, 3, 4, 5)})
    for name, number in (("captioned_sfx", 901), ("wild", 902)):
        write_tone(data / name / f"{number}.wav", number, seconds=7)
    rows = [("slice_file_name", "fsID", "fold", "class")]
    for fold, number in ((1, 601), (1, 301), (1, 702), (2, 701), (2, 702)):
        rows.append((f"{number}-0-0-0.wav", number, fold, ("siren", "dog_bark")[number % 2]))
        write_tone(data / "urbansound8k" / "audio" / f"fold{fold}" / rows[-1][0], number)
    (data / "urbansound8k" / "metadata").mkdir()
    with open(data / "urbansound8k" / "metadata" / "UrbanSound8K.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return data


class Stub:
    """An encoder that tells a clip's coarse spectrum."""

    sampling_rate, dim = 44100, 8

    def __call__(self, waveforms):
        spectrum = torch.fft.rfft(waveforms).abs()[:, :8000].unflatten(1, (8, 1000)).mean(dim=2)
        return torch.nn.functional.normalize(spectrum, dim=-1)


@pytest.fixture
def pretraining(module, recordings, tmp_path, monkeypatch):
    """(the module, a function that runs it in an output folder, the files that it opens)."""
    pretrain, mixtures = module("pretrain"), module("mixtures")
    monkeypatch.setattr(pretrain, "HELD_OUT", 4)
    monkeypatch.setattr(mixtures, "_CHUNK", 8)
    monkeypatch.setattr(mixtures, "_BATCH", 4)
    opened, open_clip = [], decoding.open_clip

    def noted(audio, rate):
        opened.append(audio["path"])
        return open_clip(audio, rate)

    monkeypatch.setattr(decoding, "open_clip", noted)

    def run(name: str, *flags: str):
        sizes = ["--base_channels", "2", "--mixtures", "24", "--epochs", "2", "--batch_size", "5"]
        args = pretrain.parse([str(recordings), "--output_dir", str(tmp_path / name), *sizes, *flags])
        pretrain.pretrain(args, Stub)
        return tmp_path / name

    return pretrain, run, opened


def test_pretraining_hears_no_recording_that_is_evaluated(module, recordings):
    """Guards against copies of evaluated recordings under another name, and folds that later checks are made on."""
    clips = module("mixtures").read_heard(str(recordings))
    heard = {path for audio in clips["audio"] if not (path := audio["path"]).startswith("soundscapes://")}
    folders = ("captioned_sfx", "wild", "urbansound8k", "esc50_16k", "esc50_extra", "esc10")
    numbers = {name: sorted(p.split("/")[-1] for p in heard if f"/{name}/" in p) for name in folders}
    assert numbers == {
        "captioned_sfx": ["901.wav"],
        "wild": ["902.wav"],
        "urbansound8k": ["601-0-0-0.wav"],
        "esc50_16k": ["1-101-A-0.wav", "1-102-A-0.wav", "2-201-A-0.wav"],
        "esc50_extra": ["1-111-A-0.wav"],
        "esc10": ["1-101-A-0.wav", "1-102-A-0.wav", "2-201-A-0.wav", "2-202-A-0.wav"],
    }
    assert set(clips.column_names) & {"caption", "label"} == set()


def test_a_pretrained_tower_starts_a_teacher(pretraining, recordings):
    """Guards against a tower that --audio_weights refuses, and one that learned or kept nothing."""
    pretrain, run, opened = pretraining
    folder = run("out")
    evaluated = ("/3-", "/4-", "/5-", "/fold2/", "-301-", "/301-", "/702-")
    heard = [path for path in opened[:-10] if not path.startswith("soundscapes://")]  # the last ones are the probe's
    assert heard and not [path for path in heard if any(part in path for part in evaluated)]
    weights = {"base_channels": 2, "hop_length": 640, "projection_dim": 16, "text_model": SCRATCH}
    model, _ = new_model(ModelArguments(audio_weights=str(folder / "tower"), **weights), ["a dog"])
    fresh = pretrain.new_tower(pretrain.parse(["data", "--base_channels", "2"]))
    kept = torch.load(folder / "checkpoint.pt", weights_only=True)["tower"]
    for key, value in model.audio_model.state_dict().items():
        assert torch.equal(value, kept[key])
    assert not torch.equal(model.audio_model.fc1.weight, fresh.fc1.weight)
    results = json.loads((folder / "results.json").read_text())
    assert [(row["fold"], row["n"]) for row in results["probe"]] == [(str(fold), 2) for fold in range(1, 6)]
    assert 0 <= results["held_out"] < 2


@pytest.mark.parametrize("flag", ["base_channels", "hop_length", "epochs", "batch_size", "learning_rate"])
def test_sizes_that_mean_nothing(module, capsys, flag):
    """Guards against a division by nothing after an hour."""
    with pytest.raises(SystemExit):
        module("pretrain").parse(["data", f"--{flag}", "0"])
    assert f"--{flag} must be above 0, got 0" in capsys.readouterr().err


def test_a_model_of_our_own_is_no_clap_model(pretraining, tiny_folder):
    """Guards against a tower that is called as another kind."""
    _, run, _ = pretraining
    with pytest.raises(InputError, match=f"{tiny_folder} is no ClapModel"):
        run("out", "--model", str(tiny_folder))


def test_a_clap_model_is_pretrained(pretraining, tmp_path):
    """Guards against a tower that learned nothing, and text weights that changed on the way."""
    _, run, _ = pretraining
    clap = tiny_clap(tmp_path / "clap", seconds=5)
    with pytest.raises(InputError, match="the encoder needs 44100 Hz, and the tower 48000"):
        run("out", "--model", clap)
    ClapFeatureExtractor(sampling_rate=44100, max_length_s=5, truncation="rand_trunc").save_pretrained(clap)
    folder = run("right", "--model", clap)
    before, after = (ClapModel.from_pretrained(name).state_dict() for name in (clap, folder / "tower"))
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed and all(key.startswith("audio_model.") for key in changed)
    assert ClapFeatureExtractor.from_pretrained(folder / "tower").sampling_rate == 44100
    results = json.loads((folder / "results.json").read_text())
    assert len(results["probe"]) == 5 and results["settings"]["model"] == clap


@pytest.mark.slow
def test_an_interrupted_pretraining_goes_on(pretraining, monkeypatch):
    """Guards against steps that are lost or done twice, and mixtures that are made again."""
    pretrain, run, opened = pretraining
    whole = run("whole")
    cosines, calls = pretrain.cosines, []

    def interrupted(*parts):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return cosines(*parts)

    monkeypatch.setattr(pretrain, "cosines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("broken", "--checkpoint_minutes", "0")
    assert torch.load(whole.parent / "broken" / "checkpoint.pt", weights_only=True)["step"] == 3
    opened.clear()
    broken = run("broken")
    assert len(calls) == 4 + 5 + 1 and len(opened) == 10  # 8 steps and what is held out; the probe's clips
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, broken)]
    assert states[0]["step"] == states[1]["step"] == 8
    for key, value in states[0]["tower"].items():
        assert torch.equal(value, states[1]["tower"][key]), key


def test_a_pretraining_with_other_flags_does_not_go_on(pretraining):
    """Guards against a training that is half of one kind."""
    _, run, _ = pretraining
    run("out")
    with pytest.raises(InputError, match="other flags: give another --output_dir"):
        run("out", "--epochs", "3")
    with pytest.raises(InputError, match="another seed: give another --output_dir"):
        run("out", "--seed", "1")


def test_mixtures_sound_as_the_tower_and_the_encoder_hear_them(module, recordings, tmp_path, monkeypatch):
    """Guards against targets of other mixtures than the features, and levels that differ from a gain of the sound."""
    pretrain, mixtures = module("pretrain"), module("mixtures")
    monkeypatch.setattr(mixtures, "_CHUNK", 8)
    monkeypatch.setattr(mixtures, "_BATCH", 4)
    tower = pretrain.new_tower(pretrain.parse(["data", "--base_channels", "2"]))
    made = mixtures.Mixtures(tmp_path / "mixtures", mixtures.read_heard(str(recordings)), 0, 5, 44100, 640)
    made.make(Stub(), tower.log_mel)
    waveforms = torch.from_numpy(np.stack([made.waveform(number) for number in (4, 1)]))
    assert torch.allclose(waveforms.abs().amax(dim=1), torch.ones(2))
    features, targets = made.read(np.array([4, 1]))
    assert torch.allclose(targets, Stub()(waveforms), atol=1e-6)
    assert (features - tower.log_mel(waveforms)).abs().max() < 0.07  # dB, of 16 bits
    quiet = (tower.log_mel(waveforms) - 20).clamp(min=pretrain.FLOOR)
    assert torch.allclose(quiet, tower.log_mel(waveforms / 10), atol=1e-3)


def test_the_encoder_hears_blocks_whatever_their_level(module):
    """Guards against filters that hear nothing, levels that matter, and clips shorter than a block."""
    encoder = module("encoder").Encoder(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9600, 4)))
    assert torch.allclose(encoder.mel_filters.sum(dim=0), torch.ones(96))
    waveforms = torch.rand(2, 5 * 44100, generator=torch.Generator().manual_seed(0)) - 0.5
    assert torch.allclose(encoder(waveforms), encoder(0.1 * waveforms), atol=1e-5)
    frames = encoder.spectrograms(waveforms)
    assert frames.shape == (2, 216, 96)
    expected = torch.stack([encoder.blocks(frames[:, start : start + 100]) for start in (0, 116)]).mean(dim=0)
    assert torch.allclose(encoder(waveforms), torch.nn.functional.normalize(expected, dim=-1), atol=1e-5)
    assert encoder(waveforms[:, :20000]).shape == (2, 4)


@pytest.fixture
def planned(module, recordings, tmp_path, monkeypatch, capsys):
    """What run.py would run: a function of its flags -> {seed: {step: (script, flags)}}."""

    def plan(*flags: str) -> dict:
        command = ["run.py", str(recordings), "--dry_run", "--bf16", "false", "--output_dir", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", [*command, *flags])
        module("run").main()
        steps: dict[str, dict] = {}
        for line in capsys.readouterr().out.splitlines():
            if line.startswith("seed-"):
                seed, name, script, *rest = line.split()
                steps.setdefault(seed, {})[name] = (script, rest)
        return steps

    return plan


def test_the_second_protocol_is_as_it_was(planned):
    """Guards against a step that the published tables had no part in, or had and lost."""
    steps = planned()
    assert {seed: len(of) for seed, of in steps.items()} == {"seed-0": 56, "seed-1": 56, "seed-2": 56}
    assert not any("eval" in name or "05" in name.replace("beta05", "") for name in steps["seed-0"])


FROZEN = {"keeps": ("true", "true"), "learns": ("false", "false"), "students": ("true", "false")}


@pytest.mark.parametrize("text", FROZEN)
def test_the_third_protocol_s_steps_can_be_run(planned, text):
    """Guards against flags that a command refuses, steps before what they need, and evaluated clips in training."""
    steps = planned("--protocol", "3", "--audio_weights", "tower", "--text", text)
    assert list(steps) == [f"seed-{seed}" for seed in range(5)]
    assert set(steps["seed-4"]) < set(steps["seed-0"]) and "ads_sl03_esc50" in steps["seed-4"]
    made: list[str] = []
    for name, (script, flags) in steps["seed-0"].items():
        parsed = parse_arguments(TYPES[script], "", flags)
        for flag, value in pairwise(flags):
            if flag in ("--teacher", "--improvement_set", "--model"):
                assert value.rpartition("/")[2] in made, name
        if script == "run_teacher.py":
            assert parsed[1].audio_weights.endswith("/tower")
        if script in ("run_teacher.py", "curate.py") or "none" in flags:
            assert [spec.split("=")[0] for spec in parsed[0].task] == ["esc50:3", "urbansound8k:2"]
        if script in ("run_teacher.py", "run_student.py"):
            wanted = FROZEN[text][script == "run_student.py"]
            assert flags[flags.index("--freeze_text_encoder") + 1] == wanted
        made.append(name)


def test_the_pool_s_labels_alone_rank_options(planned):
    """Guards against an option that is chosen on what is reported."""
    steps = planned("--protocol", "3", "--audio_weights", "tower", "--tables", "options", "--seeds", "100")
    assert set(planned("--protocol", "3", "--audio_weights", "tower", "--seeds", "7")) == {"seed-7"}
    scored = {flag for script, flags in steps["seed-100"].values() if script == "run_eval.py" for flag in flags}
    assert {flag.split("=")[0] for flag in scored if "=" in flag} == {"esc50:2", "urbansound8k:1"}


def test_what_is_scored_is_not_trained_again(module, tmp_path):
    """Guards against weights that must be kept for ever, and a teacher whose weights are gone."""
    steps, grid, protocols = module("steps"), module("grid"), module("protocols")
    plan, _ = grid.grid(protocols.PROTOCOLS["3"], ["2"])

    def finish(*names: str) -> None:
        for name in names:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "results.json").write_text("{}")

    def left() -> set[str]:
        return {step.name for step in steps.unfinished(plan, tmp_path)}

    assert left() == {step.name for step in plan}
    finish("sl", "eval_esc50_sl", "eval_urbansound8k_sl")
    assert not {"sl", "eval_esc50_sl", "eval_urbansound8k_sl"} & left() and "teacher" in left()
    finish("teacher")
    assert "teacher" in left()  # the others need its weights
    (tmp_path / "teacher" / "model.safetensors").write_text("")
    assert "teacher" not in left()
    (tmp_path / "sl" / "model.safetensors").write_text("")
    steps.drop_weights(plan, tmp_path)
    assert (tmp_path / "teacher" / "model.safetensors").exists()
    assert not (tmp_path / "sl").exists()  # what is left there would be in the way of training it again
    finish(*(step.name for step in plan if step.script == "run_eval.py"))
    assert left() == set()


def test_a_seed_below_its_teacher_is_shown(module):
    """Guards against a mean that hides a seed."""
    tables, grid = module("tables"), module("grid")
    labels = np.array(["a"] * 4, dtype=object)

    def seed(right: int):
        models = {"teacher": "aabb", "better": "a" * right + "b" * (4 - right)}
        by_model = {name: np.array(list(said), dtype=object) for name, said in models.items()}
        return {"set": tables.Predictions(["a", "b"], labels, by_model)}

    row = grid.Row("seeds", "ADS+SL", {"set": "better"}, {"set": "teacher"})
    (text,) = tables.tables_of([row], [seed(4), seed(1)])
    assert "set (n = 4)" in text and "62.5 ± 53.0" in text and "by seed +50.0, -25.0" in text
    assert "by seed" not in tables.tables_of([SimpleNamespace(**{**vars(row), "table": "2"})], [seed(4)])[0]


@pytest.mark.parametrize(
    ("jobs", "set_before", "expected"), [(1, None, "none"), (2, None, "1"), (2, "3", "3"), (1, "3", "3")]
)
def test_threads_of_several_steps_at_a_time(module, tmp_path, monkeypatch, jobs, set_before, expected):
    """Guards against trainings that wait for each other's threads, and a user's number that is not taken."""
    steps = module("steps")
    (tmp_path / "tell.py").write_text("import os; print(os.environ.get('OMP_NUM_THREADS', 'none'))")
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    monkeypatch.setattr(steps, "flags_of", lambda *_: [])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_before:
        monkeypatch.setenv("OMP_NUM_THREADS", set_before)
    steps.run_step(steps.Step("told", "tell.py", []), SimpleNamespace(jobs=jobs), None, tmp_path, "")
    assert (tmp_path / "logs" / "told.txt").read_text().split() == [expected]
