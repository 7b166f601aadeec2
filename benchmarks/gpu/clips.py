"""From files to embeddings: clips per second in all and for each stage, and how much of the card the tower uses.

The tower's share is its floating-point operations per second, 27.6 GFLOP per clip of 5 s, divided by those of a matrix
product of the same type on this card.
"""

import copy
import statistics
from functools import cache

import torch
import torch.nn.functional as F
from datasets import Dataset
from embedding import GFLOP_A_CLIP, Processor, ReferenceEncoder
from gpu.card import kernels, matmul_rate, seconds_of
from gpu.models import clips, student_and_teacher, waveforms
from gpu.record import Record, Setting, part
from timing import interleaved

from modeling_clap_student.checkpoints.embedding import embed_clips
from modeling_clap_student.checkpoints.inference import InferenceConvBlock, for_inference
from modeling_clap_student.data.decoding import ClipReader
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


GOAL_SHARE = 0.3


def model_there(setting: Setting):
    return copy.deepcopy(student_and_teacher(setting)[0]).to(setting.device).eval()


def table_of(setting: Setting, count: int) -> Dataset:
    """A table of this many clips. Each file occurs several times, and is decoded each time."""
    table = read_pools([str(clips(setting, setting.size(256, 8))[0].parent)])
    return table.select([number % len(table) for number in range(count)])


def read_files(record: Record, setting: Setting) -> None:
    """The loader alone."""
    table, batch = table_of(setting, setting.size(2048, 8)), setting.size(128, 4)
    reader = ClipReader(Processor.feature_extractor.sampling_rate, SkippedClips(setting.folder / "read.csv"))

    def work() -> None:
        for start in range(0, len(table), batch):
            rows = list(table.select(range(start, min(start + batch, len(table)))))
            for windows in reader.read_windows(rows, Processor.feature_extractor):
                list(windows)

    rate = len(table) / seconds_of(work, setting, 3)
    record.add(f"decoded by {torch.get_num_threads()} threads", rate, "clips/s")


def embed_files(record: Record, setting: Setting) -> None:
    """From files to embeddings."""
    model, table = model_there(setting), table_of(setting, setting.size(2048, 8))
    for dtype in ("float32", "bfloat16"):
        encoder = for_inference(model, dtype)
        for size in setting.size((32, 128, 256), (4,)):
            skipped = SkippedClips(setting.folder / f"{dtype}-{size}.csv")
            work = lambda: embed_clips(encoder, Processor, table, skipped, size, None)  # noqa: B023, E731
            rate = len(table) / seconds_of(work, setting, 1)
            record.add(f"{dtype}, {size} at a time", rate, "clips/s")


def embed_plainly(record: Record, setting: Setting) -> None:
    """The reference encoder, from the same files."""
    paths = list(map(str, clips(setting, setting.size(256, 8))))
    reference = ReferenceEncoder(model_there(setting), 44100)
    record.add("float32, 32 at a time", len(paths) / seconds_of(lambda: reference(paths), setting, 1), "clips/s")


@torch.inference_mode()
def make_spectrograms(record: Record, setting: Setting) -> None:
    """Spectrograms on the device."""
    model, count = model_there(setting), setting.size(128, 4)
    encoder, heard = for_inference(model), waveforms(setting, count).to(setting.device)
    works = {"the model's": lambda: model.log_mel(heard), "the copy's": lambda: encoder.audio_model.log_mel(heard)}
    for name, seconds in interleaved(works, setting.size(5, 1), setting.device).items():
        record.add(name, count / statistics.median(seconds), "clips/s")
    host = waveforms(setting, count)
    record.add("waveforms to the device", count / seconds_of(lambda: host.to(setting.device), setting), "clips/s")


class FusedBlock(torch.nn.Module):
    """A block with biases and ReLUs fused into cuDNN's convolutions."""

    def __init__(self, block: InferenceConvBlock):
        super().__init__()
        self.block = block

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for conv in (self.block.conv1, self.block.conv2):
            images = torch.cudnn_convolution_relu(images, conv.weight, conv.bias, (1, 1), (1, 1), (1, 1), 1)
        return F.avg_pool2d(images, self.block.pool) if self.block.pool > 1 else images


@cache
def towers(setting: Setting) -> dict:
    """Audio towers with equal results, in bfloat16."""
    model = model_there(setting)
    found = {
        "the model, autocast": model.audio_model,
        "the copy for inference": for_inference(model, "bfloat16").audio_model,
    }
    if setting.device == "cuda":
        fused = for_inference(model, "bfloat16").audio_model
        fused.blocks = torch.nn.ModuleList(map(FusedBlock, fused.blocks))
        found["the copy, cuDNN's fused convolutions"] = fused
    compiled = torch.compile(for_inference(model, "bfloat16").audio_model, backend=setting.size("inductor", "eager"))
    return found | {"the copy, compiled": compiled}


@torch.inference_mode()
def run_tower(record: Record, setting: Setting, name: str, size: int) -> None:
    """The tower in bfloat16:"""
    tower, count = towers(setting)[name], setting.size(size, 2)
    heard = waveforms(setting, setting.size(128, 2)).to(setting.device)
    log_mel = model_there(setting).log_mel(heard)[:count].clone()

    def work() -> torch.Tensor:
        with torch.autocast(setting.device, torch.bfloat16, enabled=name.startswith("the model")):
            return tower(input_features=log_mel).pooler_output

    seconds, flop = seconds_of(work, setting, 10), setting.size(1e9, 1e9 / 16**2) * GFLOP_A_CLIP * count
    share = flop / seconds / matmul_rate(setting, torch.bfloat16)
    title = f"{name}, {size} at a time"
    record.add(title, count / seconds, "clips/s")
    expected = towers(setting)["the copy for inference"](input_features=log_mel).pooler_output
    cosine = F.cosine_similarity(work().float(), expected.float()).min()
    record.check(f"{title}: cosine with the copy for inference", cosine, at_least=0.999)
    record.add(f"{title}: share of the product's rate", share, at_least=GOAL_SHARE)
    if size == 128 and "model" not in name:
        record.add(f"{title}: where its time goes", kernels(work, setting))


TOWERS = ("the copy for inference", "the copy, cuDNN's fused convolutions", "the model, autocast")

if __name__ == "__main__":
    record, setting = part()
    record.attempt(read_files, setting, seconds=10)
    record.attempt(embed_files, setting, seconds=25)
    record.attempt(embed_plainly, setting, seconds=5)
    record.attempt(make_spectrograms, setting, seconds=5)
    for name in TOWERS if setting.device == "cuda" else TOWERS[::2]:
        for size in setting.size((32, 128), (128,)):
            record.attempt(run_tower, setting, name, size, seconds=4)
    record.attempt(run_tower, setting, "the copy, compiled", 128, seconds=30)
