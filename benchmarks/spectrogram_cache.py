"""What `--spectrogram_cache` saves: batches from files and the model's step, with and without the cache.

    python benchmarks/spectrogram_cache.py [--base_channels 8] [--hop_length 640] [--batch_size 32] [--rounds 5]

A step is a batch and the audio tower's forward and backward, with bfloat16 autocast if the processor has it. The batch
has crops of waveforms, or of cached spectrograms. Both take turns in each round; medians. The clips, 5 s of tones in
noise, are 44.1 kHz FLAC files in a temporary folder. The first epoch's cost of making the spectrograms is measured
separately.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from embedding import write_clips
from timing import interleaved, machine

from modeling_clap_student import ClapStudentConfig, ClapStudentFeatureExtractor, ClapStudentProcessor
from modeling_clap_student.checkpoints.initialization import scratch_tokenizer
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.spectrograms import SpectrogramCache
from modeling_clap_student.modeling_clap_student import ClapStudentAudioModel
from modeling_clap_student.utils.precision import supports_bfloat16


def rows(folder: Path, count: int) -> list[dict]:
    write_clips(folder, count, 44100, "flac")
    files = sorted(folder.glob("*.flac"))
    return [
        {"audio": {"path": str(file), "bytes": None}, "audio_id": file.name, "caption": "a sound", "draw": number}
        for number, file in enumerate(files)
    ]


def step(tower: ClapStudentAudioModel, batch: dict) -> None:
    audio = {name: batch[name] for name in ("input_values", "input_features") if name in batch}
    with torch.autocast("cpu", torch.bfloat16, enabled=supports_bfloat16()):
        tower(**audio).pooler_output.float().square().sum().backward()
    tower.zero_grad()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"base_channels": 8, "hop_length": 640, "batch_size": 32, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    config = ClapStudentConfig(audio_config={"base_channels": args.base_channels, "hop_length": args.hop_length})
    tower = ClapStudentAudioModel(config.audio_config).to(memory_format=torch.channels_last)
    processor = ClapStudentProcessor(ClapStudentFeatureExtractor(), scratch_tokenizer(["a sound"]))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "clips").mkdir()
        batch = rows(Path(folder) / "clips", args.batch_size)
        skipped, cache = SkippedClips(Path(folder) / "skipped.csv"), SpectrogramCache(folder, tower.front_end, 44100)
        start = time.perf_counter()
        for row in batch:
            cache.crop(row, 5 * 44100, 0)
        first = time.perf_counter() - start
        collators = {
            "waveforms": ClapCollator(processor, skipped),
            "cached spectrograms": ClapCollator(processor, skipped, spectrograms=cache),
        }
        works = {f"batch of {name}": lambda of=of: of(batch) for name, of in collators.items()}
        works |= {f"batch and step of {name}": lambda of=of: step(tower, of(batch)) for name, of in collators.items()}
        times = interleaved(works, args.rounds, "cpu")
    print(f"{machine('cpu')}, CNN14 of {args.base_channels} channels, hop {args.hop_length}\n")
    print("| | ms per clip |\n|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {1000 * statistics.median(seconds) / args.batch_size:.2f} |")
    print(f"| making the spectrograms, once | {1000 * first / args.batch_size:.2f} |")
    slow, fast = (times[f"batch and step of {name}"] for name in collators)
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    print(f"\ncached spectrograms are {spread} times as fast")


if __name__ == "__main__":
    main()
