"""What int8 would give: the audio tower in int8 by ONNX Runtime, beside the faster copy in float32 and bfloat16.

    python benchmarks/int8.py [--rounds 3]                                            (speed, at the paper's size)
    python benchmarks/int8.py --model TEACHER --clips FOLDER --captions FILE.txt      (how many pairs stay the same)

The tower, its batch norms folded, is quantised statically: weights per channel, activations after calibration on some
of the clips. The first block may stay in float32, whose inputs are decibels. Speed is that of the tower alone, on one
thread, 8 clips of 5 s at a time, random weights: processor seconds, the least of the rounds. The pairs are the most
similar thousandth of all. FILE.txt has a caption on each line.
Needs `pip install -e '.[onnx]' onnxruntime`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from embedding import build_model, settle
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from timing import machine
from torch import nn

from modeling_clap_student.checkpoints.embedding import embed_clips, embed_texts
from modeling_clap_student.checkpoints.inference import InferenceConvBlock, for_inference
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


BATCH, SECONDS, CALIBRATION = 8, 5, 64
KEPT = 1e-3


class DirectTower(nn.Module):
    """The faster copy's convolutions without Winograd's, which quantisation does not know."""

    def __init__(self, tower, fast):
        super().__init__()
        self.blocks = nn.ModuleList(InferenceConvBlock(block, torch.float32, None) for block in tower.blocks)
        self.scale, self.shift = fast.scale, fast.shift

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        images = (features * self.scale + self.shift).unsqueeze(1)
        for block in self.blocks:
            images = F.relu(block.conv2(F.relu(block.conv1(images))))
            images = F.avg_pool2d(images, block.pool) if block.pool > 1 else images
        return images.mean(dim=3).transpose(1, 2)


class Batches(CalibrationDataReader):
    def __init__(self, batches: list[torch.Tensor]):
        self.batches = iter(batches)

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"features": batch.numpy()}


def quantised(tower, fast, batches: list[torch.Tensor], folder: Path, leave: int):
    """`fast.frames` in int8, except for the first `leave` convolutions."""
    whole, ready, small = (str(folder / name) for name in ("whole.onnx", "ready.onnx", "int8.onnx"))
    axes = {"features": {0: "batch"}, "frames": {0: "batch"}}
    names = {"input_names": ["features"], "output_names": ["frames"], "dynamic_axes": axes}
    torch.onnx.export(DirectTower(tower, fast).eval(), (batches[0],), whole, dynamo=False, opset_version=17, **names)
    quant_pre_process(whole, ready)
    convolutions = [node.name for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
    kind = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    left_out = {"nodes_to_exclude": convolutions[:leave]}
    quantize_static(ready, small, Batches(batches), quant_format=QuantFormat.QDQ, **kind, **left_out)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    return lambda features: torch.from_numpy(session.run(None, {"features": features.numpy()})[0])


@torch.inference_mode()
def speed(rounds: int, folder: Path) -> None:
    """Milliseconds of the processor for a clip."""
    model = build_model("cpu")
    waveforms = torch.randn(3 * BATCH, 44100 * SECONDS) / 10
    settle(model, waveforms[:BATCH])
    fast = {dtype: for_inference(model, dtype).audio_model for dtype in ("float32", "bfloat16")}
    calibration, features = fast["float32"].log_mel(waveforms).split([2 * BATCH, BATCH])
    works = {dtype: tower.frames for dtype, tower in fast.items()}
    for leave in (0, 2):
        frames = quantised(model.audio_model, fast["float32"], calibration.split(BATCH), folder, leave)
        works["int8" if not leave else "int8, first block in float32"] = frames
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work(features)
            times[name].append(time.process_time() - start)
    print("| tower | CPU ms a clip | × bfloat16 |\n|---|---|---|")
    for name, seconds in times.items():
        ratio = min(times["bfloat16"]) / min(seconds)
        print(f"| {name} | {1000 * min(seconds) / BATCH:.1f} | {ratio:.2f} |", flush=True)


def agreement(args, folder: Path) -> None:
    """Cosines with the float32 vectors, and the share of the pairs that stay."""
    model, processor = load_checkpoint(args.model)
    texts = embed_texts(for_inference(model), processor, Path(args.captions).read_text().splitlines())
    pool = read_pools([args.clips])

    def embed(encoder, clips=pool) -> np.ndarray:
        return embed_clips(encoder, processor, clips, SkippedClips(folder / "skipped.csv"), description=None)[0]

    def best(vectors: np.ndarray) -> set[int]:
        scores = (vectors @ texts.T).ravel()
        return set(np.argsort(-scores, kind="stable")[: max(1, int(KEPT * len(scores)))].tolist())

    fast = for_inference(model)
    expected = embed(fast)
    found = {"bfloat16": embed(for_inference(model, "bfloat16"))}
    tower, batches = fast.audio_model, []
    tower.frames = lambda features: batches.append(features) or type(tower).frames(tower, features)
    embed(fast, pool.select(range(0, len(pool), max(1, len(pool) // CALIBRATION))))
    for leave in (0, 2):
        tower.frames = quantised(model.audio_model, tower, batches, folder, leave)
        found["int8" if not leave else "int8, first block in float32"] = embed(fast)
    print(f"\n{len(pool)} clips, {len(texts)} captions\n\n| vectors | least cosine | mean | pairs that stay |")
    print("|---|---|---|---|")
    for name, vectors in found.items():
        cosines = (vectors * expected).sum(axis=1)
        stays = len(best(vectors) & best(expected)) / len(best(expected))
        print(f"| {name} | {cosines.min():.5f} | {cosines.mean():.5f} | {100 * stays:.1f} % |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="A teacher; then pairs are compared instead of speeds.")
    parser.add_argument("--clips", help="Folder of audio files.")
    parser.add_argument("--captions", help="Text file.")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{machine('cpu')}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        agreement(args, Path(folder)) if args.model else speed(args.rounds, Path(folder))


if __name__ == "__main__":
    main()
