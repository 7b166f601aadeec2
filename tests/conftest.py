"""Tiny models and synthetic audio. No test needs a network; those that need real recordings take `real_data`."""

import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import soundfile


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="clap_student_tests_")


def pytest_unconfigure():
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


_tests = itertools.count()


def pytest_runtest_teardown():
    """A training ends with a full collection, which would take longer than all else of a tiny one."""
    if next(_tests) % 50 == 0:
        gc.collect()
        gc.freeze()


ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the commands

RATE = 44100
SMALL = ["--text_model", "scratch", "--base_channels", "2", "--hop_length", "1024", "--projection_dim", "16"]
FAST = ["--max_steps", "2", "--per_device_train_batch_size", "4", "--disable_tqdm", "true"]
CAPTIONS = ["a low hum", "a high whistle", "soft hiss", "a steady tone"]


@pytest.fixture
def real_data() -> Path:
    """The folder of real recordings."""
    folder = os.environ.get("CLAP_STUDENT_DATA")
    if not folder:
        pytest.skip("set CLAP_STUDENT_DATA to the folder of real recordings to run this test")
    return Path(folder)


def tiny_arguments():
    from modeling_clap_student.checkpoints.initialization import SCRATCH, ModelArguments

    return ModelArguments(text_model=SCRATCH, base_channels=4, hop_length=1024, projection_dim=32, dropout=0.0)


def tiny_model():
    import torch

    from modeling_clap_student.checkpoints.initialization import new_model

    torch.manual_seed(0)
    model, processor = new_model(tiny_arguments(), [*CAPTIONS, "this is a sound of hum hiss whistle tone"])
    return model.eval(), processor


@pytest.fixture
def tiny():
    """(model, processor) with random weights, in eval mode."""
    return tiny_model()


def tiny_clap(folder: Path, truncation: str = "rand_trunc", seconds: int = 2) -> str:
    """Saves transformers' own CLAP with random weights: 48 kHz, windows of 2 s unless told otherwise."""
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    from modeling_clap_student.checkpoints.initialization import scratch_tokenizer

    torch.manual_seed(3)
    tokenizer = scratch_tokenizer([*CAPTIONS, "this is a sound of hum hiss whistle tone"])
    fusion = truncation == "fusion"
    config = ClapConfig(
        text_config={"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "intermediate_size": 16, "projection_dim": 24, "pad_token_id": 0, "initializer_range": 0.3},
        audio_config={"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 1],
                      "hidden_size": 16, "projection_dim": 24, "enable_fusion": fusion, "num_classes": 2},
        projection_dim=24,
    )  # fmt: skip
    ClapModel(config).eval().save_pretrained(folder)
    ClapFeatureExtractor(max_length_s=seconds, truncation=truncation).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def settle(model):
    """Lets the batch norms see audio. Before that, all clips embed alike and a wrong spectrogram would pass unseen."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model.get_audio_features(tones(4, 5 * RATE))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def save_models(folder: Path, names: Sequence[str], records: Mapping[str, dict] = MappingProxyType({})) -> None:
    """Saves tiny models that differ in their audio projection, with what is recorded of some."""
    import torch

    for number, name in enumerate(names):
        model, processor = tiny_model()
        settle(model)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for weight in model.audio_projection.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator) * weight.abs().mean())
        if name in records:
            model.config.record = records[name]
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)


def tones(count: int, samples: int):
    """(count, samples): tones an octave apart in noise, each clip of another loudness."""
    import torch

    number = torch.arange(count)[:, None]
    time = torch.arange(samples) / RATE
    noise = torch.rand(count, samples, generator=torch.Generator().manual_seed(0)) - 0.5
    return (torch.sin(2 * torch.pi * 200 * 2**number * time) + 0.2 * noise) * 0.8 / (1 + number)


@pytest.fixture
def tiny_folder(tiny, tmp_path) -> Path:
    """The tiny model as a checkpoint."""
    model, processor = tiny
    model.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def write_tone(path: Path, frequency: float, seconds: float = 1.0, rate: int = RATE) -> Path:
    """Writes a tone with a little noise that depends on its frequency alone."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(int(frequency)).normal(size=t.size)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * t) + 0.02 * noise, rate)
    return path


def write_captioned(folder: Path) -> Path:
    """An audiofolder of 12 captioned tones."""
    lines = ["file_name,caption"]
    for number in range(12):
        write_tone(folder / f"{number}.wav", 200 * (number + 1))
        lines.append(f"{number}.wav,{CAPTIONS[number // 3]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_pool(folder: Path) -> Path:
    """A plain folder of 6 tones, and a file that is no audio at all."""
    for number in range(6):
        write_tone(folder / f"{number}.flac", 300 * (number + 1))
    (folder / "broken.wav").write_text("this is not audio")
    return folder


@pytest.fixture
def captioned_folder(tmp_path) -> Path:
    return write_captioned(tmp_path / "captioned")


@pytest.fixture
def pool_folder(tmp_path) -> Path:
    return write_pool(tmp_path / "pool")


@pytest.fixture
def labelled_folder(tmp_path) -> Path:
    """An audiofolder of 6 tones in 2 classes."""
    folder = tmp_path / "labelled"
    lines = ["file_name,label"]
    for number in range(6):
        write_tone(folder / f"{number}.wav", 250 * (number + 1) + 7)
        lines.append(f"{number}.wav,{('low_hum', 'high_whistle')[number % 2]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def run_command(module, *flags) -> int:
    """Runs a script's main with flags; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__name__, *map(str, flags)])
        try:
            module.main()
        except SystemExit as stop:
            return stop.code
    return 0


@pytest.fixture
def command(monkeypatch, tmp_path):
    """`run_command` in tmp_path."""
    monkeypatch.chdir(tmp_path)
    return run_command


# What Linux tells of processors with and without instructions for bfloat16.
WITH_BFLOAT16 = "processor\t: 0\nmodel name\t: one\nflags\t\t: fpu sse2 avx2 avx512f avx512_bf16\n"
WITHOUT_BFLOAT16 = "processor\t: 0\nmodel name\t: another\nflags\t\t: fpu sse2 avx2\n"


def with_bfloat16(folder, monkeypatch, text=WITH_BFLOAT16):
    """Has the package take this machine for one with such a processor."""
    from modeling_clap_student.utils import precision

    (folder / "cpuinfo").write_text(text)
    monkeypatch.setattr(precision, "_CPUINFO", folder / "cpuinfo")


def without_bfloat16(folder, monkeypatch):
    with_bfloat16(folder, monkeypatch, WITHOUT_BFLOAT16)


def numbers(strategy):
    """How much to curate from the folders above."""
    return {"du": ["--num_pairs", 8], "ds": ["--num_captions", 3], "ads": ["--num_captions", 3, "--num_pairs", 8]}[
        strategy
    ]


def without_threads(rows: list[dict]) -> list[dict]:
    """Rows of results.json but for the number of threads, which a launcher of several processes sets."""
    for row in rows:
        row.get("provenance", {}).pop("num_threads", None)
    return rows


def check_failure(code, capsys, *words):
    """One line on stderr, with these words, exit code 1."""
    error = capsys.readouterr().err
    assert code == 1, error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words), error
    assert "Traceback" not in error


@pytest.fixture
def browser():
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser to open a page in: none of {', '.join(names)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
