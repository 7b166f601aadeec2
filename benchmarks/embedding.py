"""How fast clips on disk become embeddings, through the full CNN14 of CLAP 2022, and where time goes.

    python benchmarks/embedding.py [--clips 64] [--rounds 5] [--format flac] [--rate 44100] [--device cpu]

`embed_clips` uses the copy that `for_inference` makes, in float32 and, if the processor has it, in bfloat16. It is
compared with the reference encoder in float32. That has torchlibrosa's spectrogram, a Fourier transform by convolution
(the real one if installed, else the same convolutions with the same weights), convolutions and batch norms as
published, and whole files read by soundfile and torchaudio, in threads, in the same batches. All have the same random
weights, and batch norms that have seen the clips. The contestants take turns in each round, so a busy machine slows
all alike. Medians of the rounds. The clips, 5 s of tones in noise, are written to a temporary folder.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
import torchaudio
from timing import interleaved, machine
from torch import nn
from transformers import BertConfig

from modeling_clap_student import ClapStudentConfig, ClapStudentFeatureExtractor, ClapStudentModel
from modeling_clap_student.checkpoints.embedding import embed_clips
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.data.decoding import open_clip
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.utils.precision import DTYPES, supports_bfloat16


SECONDS, BATCH = 5, 32
GFLOP_A_CLIP = 27.6


class ConvolutionalLogMel(nn.Module):
    """torchlibrosa's front end: the Fourier transform as two convolutions, then the mel matrix and decibels."""

    def __init__(self, window: torch.Tensor, mel_filters: torch.Tensor, hop: int):
        super().__init__()
        size = len(window)
        turns = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) % size
        angles = 2 * torch.pi * turns.double() / size
        self.hop, self.size = hop, size
        self.register_buffer("real", (angles.cos() * window).float().unsqueeze(1))
        self.register_buffer("imaginary", (-angles.sin() * window).float().unsqueeze(1))
        self.register_buffer("mel_filters", mel_filters)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        padded = F.pad(waveforms.unsqueeze(1), (self.size // 2, self.size // 2), mode="reflect")
        power = sum(F.conv1d(padded, part, stride=self.hop).square() for part in (self.real, self.imaginary))
        return 10 * torch.log10((power.transpose(1, 2) @ self.mel_filters).clamp(min=1e-10))


class TorchlibrosaLogMel(nn.Module):
    """The real one, with this package's window and mel matrix."""

    def __init__(self, window: torch.Tensor, mel_filters: torch.Tensor, hop: int):
        super().__init__()
        from torchlibrosa.stft import LogmelFilterBank, Spectrogram

        size, bins = len(window), mel_filters.shape[1]
        self.spectrogram = Spectrogram(size, hop, size, "hann", True, "reflect", freeze_parameters=True)
        self.log_mel = LogmelFilterBank(44100, size, bins, 50, 14000, amin=1e-10, top_db=None)
        self.log_mel.melW.data.copy_(mel_filters)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return self.log_mel(self.spectrogram(waveforms)).squeeze(1)


class ReferenceEncoder:
    """Embeds files as the reference implementation does, in float32."""

    def __init__(self, model: ClapStudentModel, rate: int):
        front_end = model.audio_model.front_end
        log_mel = TorchlibrosaLogMel if has_torchlibrosa() else ConvolutionalLogMel
        hop = front_end.config.hop_length
        self.model, self.rate = model, front_end.config.sampling_rate
        self.log_mel = log_mel(front_end.window.cpu(), front_end.mel_filters.cpu(), hop).to(model.device)
        self.resample = torchaudio.transforms.Resample(rate, self.rate)
        self.threads = ThreadPoolExecutor(torch.get_num_threads())

    def decode(self, path: str) -> torch.Tensor:
        """The whole file, (samples,)."""
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
        return self.resample(torch.from_numpy(samples.mean(axis=1)))

    @torch.no_grad()
    def __call__(self, paths: list[str]) -> np.ndarray:
        embeds = []
        for start in range(0, len(paths), BATCH):
            waveforms = torch.stack(list(self.threads.map(self.decode, paths[start : start + BATCH])))
            features = self.log_mel(waveforms.to(self.model.device))
            embeds.append(self.model.get_audio_features(input_features=features).pooler_output.cpu())
        return torch.cat(embeds).numpy()


def has_torchlibrosa() -> bool:
    return find_spec("torchlibrosa") is not None and find_spec("librosa") is not None


class Processor:
    """The parts of a processor that `embed_clips` needs."""

    feature_extractor = ClapStudentFeatureExtractor()


def build_model(device: str) -> ClapStudentModel:
    """CLAP 2022's audio tower with random weights; the text tower has no layers."""
    torch.manual_seed(0)
    return ClapStudentModel(ClapStudentConfig(text_config=BertConfig(num_hidden_layers=0))).to(device).eval()


@torch.no_grad()
def settle(model: ClapStudentModel, waveforms: torch.Tensor) -> None:
    """Lets the batch norms see audio. With the batch norms of a new model, all clips have almost equal embeddings."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    model.get_audio_features(waveforms.to(model.device))
    model.eval()


def write_clips(folder: Path, count: int, rate: int, suffix: str) -> None:
    """Writes clips with two tones in noise, which come and go."""
    rng = np.random.default_rng(0)
    time_ = np.arange(SECONDS * rate) / rate
    for number in range(count):
        low, high = rng.uniform(100, 1000), rng.uniform(1000, 6000)
        swell = np.sin(np.pi * rng.uniform(0.5, 4) * time_) ** 2
        clip = swell * np.sin(2 * np.pi * low * time_) + (1 - swell) * np.sin(2 * np.pi * high * time_)
        clip = rng.uniform(0.05, 0.4) * (clip + rng.uniform(0.01, 1) * rng.normal(size=len(time_)))
        soundfile.write(folder / f"{number:05}.{suffix}", clip.clip(-1, 1), rate, subtype="PCM_16")


def compare(contestants: dict[str, Callable], count: int, rounds: int, device: str) -> None:
    """Clips per second from files, and how near the embeddings are to the reference's."""
    expected = contestants["reference"]()
    times = interleaved(contestants, rounds, device)
    print("| encoder | clips per second | × reference (range over rounds) | largest difference | lowest cosine |")
    print("|---|---|---|---|---|")
    for name, work in contestants.items():
        got = work()
        ratios = [theirs / ours for ours, theirs in zip(times[name], times["reference"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        cosine = (got * expected).sum(axis=1).min()
        rate = count / statistics.median(times[name])
        print(f"| {name} | {rate:.1f} | {spread} | {abs(got - expected).max():.1e} | {cosine:.6f} |", flush=True)


def read_whole(paths: list[str], rate: int) -> None:
    """Decodes, and resamples if `rate` differs from the files'; one thread."""
    for path in paths:
        with open_clip({"path": path, "bytes": None}, rate) as clip:
            clip.read(0, clip.length)


@torch.inference_mode()
def break_down(paths: list[str], rate: int, model, encoders: dict, reference, rounds: int, device: str) -> None:
    """Milliseconds per clip for each part."""
    own_rate = Processor.feature_extractor.sampling_rate
    paths = paths[:BATCH]
    waveforms = torch.stack([reference.decode(path) for path in paths]).to(device)
    log_mel = model.audio_model.log_mel(waveforms)
    full = encoders["ours, float32"].audio_model
    works = {
        "decode, one thread": lambda: read_whole(paths, rate),
        "decode and resample, one thread": lambda: read_whole(paths, own_rate),
        "front end, reference": lambda: reference.log_mel(waveforms),
        "front end, the model": lambda: model.audio_model.log_mel(waveforms),
        "front end, for inference": lambda: full.log_mel(waveforms),
        "tower, reference": lambda: model.audio_model(input_features=log_mel),
    }
    floors = {}
    for dtype in dtypes(device):
        tower = encoders[f"ours, {dtype}"].audio_model
        works[f"tower, {dtype}"] = lambda tower=tower: tower(input_features=log_mel)
        floors |= floor_works(dtype, device)
    times = {name: statistics.median(seconds) for name, seconds in interleaved(works | floors, rounds, device).items()}
    print("\n| part | ms per clip |\n|---|---|")
    for name in works:
        print(f"| {name} | {1000 * times[name] / len(paths):.2f} |")
    flop = {"matmul": 2 * 4096**3, "conv": 2 * 9 * 256**2 * BATCH * 172 * 16}
    for dtype in dtypes(device):
        for what, work in flop.items():
            speed = work / times[f"{what} {dtype}"] / 1e9
            print(f"| floor of a direct tower, {dtype}: {GFLOP_A_CLIP} GFLOP at the {what}'s {speed:.0f} GFLOP/s | "
                  f"{1000 * GFLOP_A_CLIP / speed:.2f} |")  # fmt: skip


def floor_works(dtype: str, device: str) -> dict:
    """A product and a convolution as large as the tower's. They show how fast the tower could be."""
    kind = {"device": device, "dtype": getattr(torch, dtype)}
    matrix = torch.randn(4096, 4096, **kind)
    image = torch.randn(BATCH, 256, 172, 16, **kind).to(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, **kind).to(memory_format=torch.channels_last)
    return {
        f"matmul {dtype}": lambda: matrix @ matrix,
        f"conv {dtype}": lambda: F.conv2d(image, kernel, padding=1),
    }


def dtypes(device: str) -> list[str]:
    """float32, and bfloat16 if the processor has instructions for it."""
    return [dtype for dtype in DTYPES if dtype == "float32" or supports_bfloat16(device)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", default="flac", choices=["flac", "wav"])
    parser.add_argument("--rate", type=int, default=44100, help="of the files, Hz")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, help="of torch; by default one a core")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    kind = "torchlibrosa's" if has_torchlibrosa() else "not installed, the same convolutions"
    print(f"{machine(args.device)}, torch {torch.__version__}; front end of the reference: {kind}")
    print(f"{args.clips} {args.format} files of {SECONDS} s at {args.rate} Hz; median of {args.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "clips"
        folder.mkdir()
        write_clips(folder, args.clips, args.rate, args.format)
        table = read_pools([str(folder)])
        paths = [audio["path"] for audio in table["audio"]]
        model = build_model(args.device)
        reference = ReferenceEncoder(model, args.rate)
        settle(model, torch.stack([reference.decode(path) for path in paths[:8]]))
        encoders = {f"ours, {dtype}": for_inference(model, dtype) for dtype in dtypes(args.device)}

        def embed(encoder) -> np.ndarray:
            with tempfile.TemporaryDirectory() as folder:
                return embed_clips(encoder, Processor, table, SkippedClips(Path(folder) / "skipped.csv"), BATCH)[0]

        contestants = {"reference": lambda: reference(paths)}
        contestants |= {title: lambda encoder=encoder: embed(encoder) for title, encoder in encoders.items()}
        compare(contestants, args.clips, args.rounds, args.device)
        break_down(paths, args.rate, model, encoders, reference, args.rounds, args.device)


if __name__ == "__main__":
    main()
