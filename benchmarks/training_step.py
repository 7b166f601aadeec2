"""How fast a student trains at the paper's size: samples per second, where time goes, and whether clips come in time.

    python benchmarks/training_step.py [--batch_size 16] [--rounds 5] [--device cpu] [--workers 0 1 2]
    python benchmarks/training_step.py --memory 1024 64 [--base_channels 16]    (peak memory of a batch in parts)

A step is what a student does with a batch: the teacher's embeddings, the student's forward and backward, the
optimiser. `ClapStudentTrainer` in float32 and, if the processor has it, with bfloat16 autocast, is compared with a
plain recipe. There, teacher and student each have torchlibrosa's spectrogram (a Fourier transform by convolution), in
float32, with nothing shared, convolutions as published, the soft-label loss written down directly, and AdamW. CNN14
has its full width beside BERT-base, with random weights and no dropout, so that the losses can be compared. The
contestants take turns in each round; medians. The clips, 5 s of tones in noise, are 44.1 kHz FLAC files in a temporary
folder. The loader's rate is measured separately, with the requested numbers of workers.
"""

import argparse
import copy
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import Dataset
from embedding import (
    GFLOP_A_CLIP,
    ConvolutionalLogMel,
    TorchlibrosaLogMel,
    dtypes,
    has_torchlibrosa,
    settle,
    write_clips,
)
from timing import interleaved, machine, wait_for

from modeling_clap_student import (
    ClapStudentConfig,
    ClapStudentFeatureExtractor,
    ClapStudentModel,
    ClapStudentProcessor,
    ClapStudentTrainer,
    ClapStudentTrainingArguments,
)
from modeling_clap_student.checkpoints.initialization import scratch_tokenizer
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sources import Source
from modeling_clap_student.data.tables import captioned_table


WEIGHT, LEARNING_RATE = 0.3, 1e-4
WORDS = ["dog", "bark", "rain", "roof", "car", "pass", "bird", "sing", "door", "slam", "wind", "howl", "bell", "ring"]


def build_models(device: str, base_channels: int, **sizes) -> tuple[ClapStudentModel, ClapStudentModel]:
    """Student and teacher with different random weights; 64 channels are the paper's size. `sizes`: the config's."""
    config = ClapStudentConfig(audio_config={"base_channels": base_channels}, projection_dropout=0.0, **sizes)
    for part in (config.audio_config, config.text_config):
        for name in ("block_dropout", "hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"):
            if hasattr(part, name):
                setattr(part, name, 0.0)
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(ClapStudentModel(config).to(device))
    return tuple(models)


def captions(count: int) -> list[str]:
    """Different captions of 8 to 16 words."""
    return [" ".join([*WORDS[: 6 + number % 9], WORDS[number % 14], str(number)]) for number in range(count)]


class Plain:
    """A step as in the published recipe."""

    def __init__(self, student: ClapStudentModel, teacher: ClapStudentModel):
        front_end = student.audio_model.front_end
        log_mel = TorchlibrosaLogMel if has_torchlibrosa() else ConvolutionalLogMel
        self.front_ends = [
            log_mel(front_end.window.cpu(), front_end.mel_filters.cpu(), front_end.config.hop_length).to(model.device)
            for model in (student, teacher)
        ]
        self.student, self.teacher = student.train(), teacher.eval()
        self.optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE)

    def loss(self, batch: dict) -> torch.Tensor:
        text = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            theirs = self.teacher(input_features=self.front_ends[1](batch["input_values"]), **text)
        ours = self.student(input_features=self.front_ends[0](batch["input_values"]), **text)
        logits, total = ours.logits_per_audio, 0
        for scores, embeds in ((logits, theirs.audio_embeds), (logits.T, theirs.text_embeds)):
            similarity = (embeds @ embeds.T).clamp(min=0)
            targets = (1 - WEIGHT) * torch.eye(len(scores), device=scores.device)
            targets = targets + WEIGHT * similarity / similarity.sum(dim=1, keepdim=True)
            total = total + F.kl_div(scores.log_softmax(dim=1), targets, reduction="batchmean") / 2
        return total

    def step(self, batch: dict) -> float:
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Ours:
    """The same step by the Trainer."""

    def __init__(self, student, teacher, table: Dataset, processor, folder: Path, **options):
        args = ClapStudentTrainingArguments(
            output_dir=str(folder), learning_rate=LEARNING_RATE, weight_decay=0.01, save_strategy="no", **options
        )
        self.trainer = ClapStudentTrainer(
            model=student,
            args=args,
            train_dataset=table,
            teacher=teacher,
            data_collator=ClapCollator(processor, SkippedClips(folder / "skipped.csv")),
            processing_class=processor,
        )
        self.optimizer = self.trainer.create_optimizer()
        self.model, self.optimizer = self.trainer.accelerator.prepare(self.trainer.model, self.optimizer)
        self.trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps

    def step(self, batch: dict) -> float:
        loss = self.trainer.training_step(self.model, dict(batch))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def cached_step(self, chunks: list[dict]) -> float:
        """One step over several parts."""
        self.trainer._chunks = chunks
        loss = sum(self.trainer.training_step(self.model, chunk).item() for chunk in chunks)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss


def prepare(folder: Path, count: int) -> tuple[Dataset, ClapStudentProcessor]:
    (folder / "clips").mkdir(parents=True)
    write_clips(folder / "clips", count, 44100, "flac")
    paths = sorted(map(str, (folder / "clips").iterdir())) * 16
    texts = captions(len(paths))
    table = captioned_table(Source("clips", "folder", "clips"), paths, range(len(paths)), texts)
    return table, ClapStudentProcessor(ClapStudentFeatureExtractor(), scratch_tokenizer(texts))


def rows(table: Dataset, count: int) -> list[dict]:
    return [{**table[number % len(table)], "draw": number} for number in range(count)]


def on_device(batch: dict, device: str) -> dict:
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}


def compare(args, folder: Path) -> None:
    """Samples per second of each, the loss of the first step, and the parts of a step."""
    table, processor = prepare(folder, 2 * args.batch_size)
    batch = on_device(
        ClapCollator(processor, SkippedClips(folder / "s.csv"))(rows(table, args.batch_size)), args.device
    )
    student, teacher = build_models(args.device, args.base_channels)
    for model in (student, teacher):
        settle(model, batch["input_values"][:8])
    contestants = {"plain, float32": Plain(copy.deepcopy(student), teacher)}
    for dtype in dtypes(args.device):
        options = {"per_device_train_batch_size": args.batch_size, "bf16": dtype == "bfloat16"}
        contestants[f"ours, {dtype}"] = Ours(copy.deepcopy(student), teacher, table, processor, folder, **options)
    losses = {title: contestant.step(batch) for title, contestant in contestants.items()}
    works = {title: lambda one=contestant: one.step(batch) for title, contestant in contestants.items()}
    times = interleaved(works, args.rounds, args.device)
    print("| step | samples per second | × plain (range over rounds) | first loss |\n|---|---|---|---|")
    plain = times["plain, float32"]
    for title, seconds in times.items():
        ratios = [theirs / ours for ours, theirs in zip(seconds, plain, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        rate = args.batch_size / statistics.median(seconds)
        print(f"| {title} | {rate:.2f} | {spread} | {losses[title]:.6f} |", flush=True)
    break_down(contestants, batch, args)
    measure_loader(contestants["ours, float32"], args)


def break_down(contestants: dict, batch: dict, args) -> None:
    """Milliseconds per clip for a step's parts, and the floor."""
    plain = contestants["plain, float32"]
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    features = plain.student.audio_model.log_mel(batch["input_values"])
    works: dict[str, Callable] = {
        "plain: spectrogram, twice": lambda: [front_end(batch["input_values"]) for front_end in plain.front_ends],
        "plain: teacher": torch.no_grad()(lambda: plain.teacher(input_features=features, **text)),
        "plain: student forward": torch.no_grad()(lambda: plain.student(input_features=features, **text)),
        "plain: student forward and backward": lambda: (
            plain.student(input_features=features, **text).logits_per_audio.sum().backward()
        ),
        "plain: optimiser": plain.optimizer.step,
        "spectrogram, once": lambda: plain.student.audio_model.log_mel(batch["input_values"]),
    }
    for title, ours in contestants.items():
        if ours is plain:
            continue
        works |= {
            f"{title}: teacher": lambda ours=ours: (
                ours.trainer.teacher.embed_audio({"input_features": features}),
                ours.trainer.teacher.embed_texts(batch["caption"]),
            ),
            f"{title}: student forward": torch.no_grad()(
                lambda ours=ours: ours.model(input_features=features, **text)
            ),
            f"{title}: student forward and backward": lambda ours=ours: (
                ours.model(input_features=features, **text).logits_per_audio.float().sum().backward()
            ),
        }
    image = torch.randn(8, 256, 172, 16, device=args.device).to(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, device=args.device).to(memory_format=torch.channels_last)
    for dtype in dtypes(args.device):
        some, weights = image.to(getattr(torch, dtype)), kernel.to(getattr(torch, dtype))
        works[f"floor, {dtype}"] = lambda some=some, weights=weights: F.conv2d(some, weights, padding=1)
    times = {name: statistics.median(each) for name, each in interleaved(works, args.rounds, args.device).items()}
    print("\n| part | ms per clip |\n|---|---|")
    for name, seconds in times.items():
        if not name.startswith("floor"):
            print(f"| {name} | {1000 * seconds / args.batch_size:.1f} |")
    for dtype in dtypes(args.device):
        speed = 2 * 9 * 256**2 * 8 * 172 * 16 / times[f"floor, {dtype}"] / 1e9
        floor = 1000 * 4 * GFLOP_A_CLIP / speed
        print(f"| floor, {dtype}: CNN14 four times (teacher; student forward, backward twice), "
              f"{4 * GFLOP_A_CLIP:.0f} GFLOP at a convolution's {speed:.0f} GFLOP/s | {floor:.1f} |")  # fmt: skip


def measure_loader(ours: Ours, args) -> None:
    """Samples per second of the loader alone."""
    print("\n| loader | samples per second |\n|---|---|")
    for workers in args.workers:
        ours.trainer.args.dataloader_num_workers = workers
        count, start = 0, None
        for batch in ours.trainer.get_train_dataloader():
            count += len(batch["audio_id"]) if start else 0
            start = start or time.perf_counter()  # counted from the first batch on: workers start before it
        print(f"| {workers} workers | {count / (time.perf_counter() - start):.1f} |", flush=True)


def peak(count: int, parts: int, base_channels: int, device: str, results) -> None:
    """Peak memory of one step over `count` pairs in `parts` parts, MiB, and its seconds."""
    with tempfile.TemporaryDirectory() as name:
        table, processor = prepare(Path(name), 32)
        student, teacher = build_models(device, base_channels)
        options = {"per_device_train_batch_size": count // parts}
        options |= {"contrastive_batch_size": count} if parts > 1 else {}
        ours = Ours(student, teacher, table, processor, Path(name), **options)
        collate = ours.trainer.data_collator
        sizes = range(0, count, count // parts)
        some = rows(table, count)
        chunks = [on_device(collate(some[first : first + count // parts]), device) for first in sizes]
        start = time.perf_counter()
        ours.cached_step(chunks) if parts > 1 else ours.step(chunks[0])
        wait_for(device)
        seconds = time.perf_counter() - start
    if device == "cuda":
        results.put((torch.cuda.max_memory_allocated() / 2**20, seconds))
    else:
        results.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds))


def compare_memory(args) -> None:
    """A contrastive batch in parts, beside undivided batches as large as one part and two. Each in its own process."""
    count, at_once = args.memory
    context = multiprocessing.get_context("spawn")
    print("| pairs in the loss | embedded at a time | peak memory, MiB | seconds per step |\n|---|---|---|---|")
    for pairs, parts in ((at_once, 1), (2 * at_once, 1), (count, count // at_once)):
        results = context.Queue()
        process = context.Process(target=peak, args=(pairs, parts, args.base_channels, args.device, results))
        process.start()
        process.join()
        mib, seconds = results.get() if process.exitcode == 0 else (float("nan"), float("nan"))
        print(f"| {pairs} | {pairs // parts} | {mib:.0f} | {seconds:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--base_channels", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--memory", type=int, nargs=2, metavar=("PAIRS", "AT_ONCE"))
    args = parser.parse_args()
    kind = "torchlibrosa's" if has_torchlibrosa() else "not installed, the same convolutions"
    print(f"{machine(args.device)}, torch {torch.__version__}; front end of the plain recipe: {kind}\n")
    if args.memory:
        compare_memory(args)
        return
    with tempfile.TemporaryDirectory() as name:
        compare(args, Path(name))


if __name__ == "__main__":
    main()
