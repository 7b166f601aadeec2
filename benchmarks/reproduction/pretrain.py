"""Pretrains an audio tower that knows many sounds but no words: the start of protocol 3's teachers.

    pip install --no-deps aisfx
    python benchmarks/reproduction/pretrain.py DATA_DIR [--output_dir outputs/real/pretrained] [--base_channels 8]
    python run_teacher.py --audio_weights outputs/real/pretrained/tower --base_channels 8 --hop_length 640 …
    python benchmarks/reproduction/pretrain.py DATA_DIR --model CLAP --output_dir …    # that of a `ClapModel` instead

A narrow CNN14 learns to give the embeddings of a public encoder (`encoder.py`) for all audio in the folder outside the
evaluation folds, and for the built-in soundscapes. No label and no caption is read. It hears mixtures of random crops
(`mixtures.py`), each time at another level. The loss is the mean cosine distance from the embeddings minus their mean.
(The mean alone has a cosine of 0.9 with each of them.) The linear head for it is thrown away.

The same command continues after an interruption. Mixtures are kept file by file, the training every few minutes. At
the end, a linear probe on ESC-10 shows how near the tower comes to the encoder. The tower has heard folds 1 and 2.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from encoder import load_encoder
from mixtures import Mixtures, read_heard
from torch import Tensor, nn
from transformers import ClapModel

from modeling_clap_student.checkpoints.loading import as_student
from modeling_clap_student.configuration_clap_student import ClapStudentAudioConfig
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.decoding import decode_windows
from modeling_clap_student.errors import InputError
from modeling_clap_student.feature_extraction_clap_student import ClapStudentFeatureExtractor
from modeling_clap_student.modeling_clap_student import ClapStudentAudioModel
from modeling_clap_student.utils.outputs import whole_file, whole_folder
from modeling_clap_student.utils.precision import supports_bfloat16


LOUDEST, QUIETEST = 0.0, -30.0  # dB of a mixture's peak
FLOOR = -100.0  # dB, the lower limit of the front end
HELD_OUT = 256  # mixtures that are not trained on
PROBE = "esc10"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("data", help="The folder of real recordings.")
    flags.add_argument("--output_dir", type=Path, default=Path("outputs/real/pretrained"))
    flags.add_argument("--model", help="A ClapModel whose audio tower learns, instead of a new CNN14.")
    flags.add_argument("--base_channels", type=int, default=8, help="64 is CNN14.")
    flags.add_argument("--hop_length", type=int, default=640, help="As in the protocol.")
    flags.add_argument("--mixtures", type=int, default=24576, help="45 kB each, on disk.")
    flags.add_argument("--epochs", type=int, default=16)
    flags.add_argument("--batch_size", type=int, default=64)
    flags.add_argument("--learning_rate", type=float, default=2e-3)
    flags.add_argument("--bf16", choices=["true", "false"], help="By default where the processor has it.")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--checkpoint_minutes", type=float, default=5.0)
    flags.add_argument("--dry_run", action="store_true", help="Only say what there is to do.")
    args = flags.parse_args(arguments)
    for name in ("base_channels", "hop_length", "epochs", "batch_size", "learning_rate"):
        if not 0 < getattr(args, name) < math.inf:
            flags.error(f"--{name} must be above 0, got {getattr(args, name)}")
    return args


class ClapTower(nn.Module):
    """The audio tower of a `ClapModel`. It is called like CNN14, and saved with the rest of its model."""

    def __init__(self, folder: str):
        super().__init__()
        model, processor = as_student(folder)
        if not isinstance(model, ClapModel):
            raise InputError(f"{folder} is no ClapModel: --audio_weights of run_teacher.py starts from our own towers")
        self.audio_model, self.config = model.audio_model, model.config.audio_config
        self.front_end = self.log_mel = model.front_end
        self.processor = ClapStudentFeatureExtractor(sampling_rate=processor.feature_extractor.sampling_rate)
        self.__dict__["whole"] = model  # not part of what learns

    def forward(self, waveforms: Tensor | None = None, input_features: Tensor | None = None):
        features = self.log_mel(waveforms) if input_features is None else input_features
        return self.audio_model(features[:, None])

    def save_pretrained(self, folder: Path) -> None:
        self.whole.save_pretrained(folder)
        self.whole.processor.save_pretrained(folder)


Tower = ClapStudentAudioModel | ClapTower


def new_tower(args: argparse.Namespace) -> Tower:
    torch.manual_seed(args.seed)
    if args.model is not None:
        return ClapTower(args.model)
    sizes = {"base_channels": args.base_channels, "hop_length": args.hop_length}
    tower = ClapStudentAudioModel(ClapStudentAudioConfig(**sizes, block_dropout=0.0, hidden_dropout=0.0))
    tower.processor = ClapStudentFeatureExtractor(sampling_rate=tower.config.sampling_rate)
    return tower


@dataclass
class Training:
    """A tower with its head, in training. A step depends only on its number, not on interruptions."""

    tower: Tower
    head: nn.Linear
    center: Tensor  # (dim,), the mean of the targets
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def new(cls, tower: Tower, center: Tensor, learning_rate: float) -> "Training":
        head = nn.Linear(tower.config.hidden_size, len(center))
        optimizer = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=learning_rate)
        return cls(tower, head, center, optimizer)

    def save(self, file: Path, settings: dict) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("tower", "head", "optimizer")}
        with whole_file(file) as partial, open(partial, "wb") as stream:
            torch.save({**parts, "step": self.step, "settings": settings}, stream)

    def load(self, file: Path, settings: dict) -> None:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        if kept["settings"] != settings:
            raise InputError(f"{file} is of a training with other flags: give another --output_dir")
        for name in ("tower", "head", "optimizer"):
            getattr(self, name).load_state_dict(kept[name])
        self.step = kept["step"]


def cosines(training: Training, features: Tensor, targets: Tensor) -> Tensor:
    """(mixtures,) cosines between the output of tower and head and the encoder's embeddings minus their mean."""
    embeds = training.head(training.tower(input_features=features).pooler_output)
    return F.cosine_similarity(embeds, targets - training.center, dim=-1)


def train(training: Training, mixtures: Mixtures, args: argparse.Namespace, file: Path) -> None:
    """Trains to the end, and saves the state every few minutes."""
    num_trained = mixtures.count - HELD_OUT
    per_epoch = num_trained // args.batch_size
    total, settings = per_epoch * args.epochs, settings_of(args)
    in_bfloat16 = args.bf16 == "true" or (args.bf16 is None and supports_bfloat16())
    if file.exists():
        training.load(file, settings)
        print(f"going on at step {training.step} of {total}", flush=True)
    start = kept = told = time.perf_counter()
    first, losses = training.step, []
    training.tower.train()
    while training.step < total:
        epoch, place = divmod(training.step, per_epoch)
        order = np.random.default_rng([args.seed, 1, epoch]).permutation(num_trained) + HELD_OUT
        features, targets = mixtures.read(order[place * args.batch_size : (place + 1) * args.batch_size])
        levels = np.random.default_rng([args.seed, 2, training.step]).uniform(QUIETEST, LOUDEST, len(features))
        features = (features + torch.from_numpy(levels).float()[:, None, None]).clamp(min=FLOOR)
        for group in training.optimizer.param_groups:
            group["lr"] = args.learning_rate * schedule(training.step / total)
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            loss = (1 - cosines(training, features, targets)).mean()
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        training.step += 1
        losses.append(loss.item())
        now = time.perf_counter()
        if now - told > 30 or training.step == total:
            rate = (training.step - first) / (now - start)
            left, each = (total - training.step) / rate / 60, rate * args.batch_size
            print(
                f"step {training.step}/{total}: cosine distance {np.mean(losses):.4f}, {each:.0f} mixtures/s, "
                f"{left:.0f} min left",
                flush=True,
            )
            told, losses = now, []
        if now - kept > 60 * args.checkpoint_minutes or training.step == total:
            training.save(file, settings)
            kept = now


def settings_of(args: argparse.Namespace) -> dict:
    """The settings that must be equal when a training continues."""
    names = ("model", "base_channels", "hop_length", "mixtures", "epochs", "batch_size", "learning_rate", "seed")
    return {name: getattr(args, name) for name in names}


def schedule(progress: float, warmup: float = 0.05) -> float:
    """The factor of the learning rate: linear warm-up, cosine decay."""
    if progress < warmup:
        return (progress + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.inference_mode()
def held_out(training: Training, mixtures: Mixtures) -> float:
    """The mean cosine distance on the held-out mixtures."""
    training.tower.eval()
    batches = (mixtures.read(part) for part in np.array_split(np.arange(HELD_OUT), -(-HELD_OUT // 64)))
    return float(np.mean(np.concatenate([(1 - cosines(training, *batch)).numpy() for batch in batches])))


Listener = Callable[[Tensor], Tensor]  # (clips, samples) -> (clips, dim)


def listener(tower: Tower) -> Listener:
    return lambda waveforms: tower.eval()(waveforms).pooler_output


@torch.inference_mode()
def probe(folder: Path, listeners: dict[str, Listener], extractor: ClapStudentFeatureExtractor) -> list[dict]:
    """For each fold, the accuracy on its clips of a linear model that was fitted on the other folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    clips = read_benchmark(f"esc50={folder}").clips
    embeds: dict[str, list] = {name: [] for name in listeners}
    for clip in clips:
        window = torch.from_numpy(next(decode_windows(clip["audio"], extractor)))[None]
        for name, listen in listeners.items():
            embeds[name].append(listen(window)[0].numpy())
    labels, folds, rows = np.array(clips["label"]), np.array(clips["fold"]), []
    for fold in sorted(set(folds)):
        tested = folds == fold
        row = {"fold": str(fold), "n": int(tested.sum())}
        for name, vectors in embeds.items():
            linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
            linear.fit(np.stack(vectors)[~tested], labels[~tested])
            row[name] = float(linear.score(np.stack(vectors)[tested], labels[tested]))
        rows.append(row)
    return rows


def pretrain(args: argparse.Namespace, make_encoder: Callable[[], Listener] = load_encoder) -> None:
    """Makes the mixtures, trains, saves the tower in `tower`, and writes `results.json`.

    Args:
        make_encoder: returns the encoder, (clips, samples) -> (clips, dim) unit vectors, with its `sampling_rate` and
            `dim`.

    Raises:
        InputError: unreadable data, or an output folder of another training.
    """
    if args.mixtures < HELD_OUT + args.batch_size:
        raise InputError(f"--mixtures {args.mixtures} are too few: {HELD_OUT} are held out, and a batch has more")
    tower, clips = new_tower(args), read_heard(args.data)
    rate, folder = tower.processor.sampling_rate, args.output_dir / "mixtures"
    mixtures = Mixtures(folder, clips, args.seed, args.mixtures, rate, tower.front_end.config.hop_length)
    steps = (args.mixtures - HELD_OUT) // args.batch_size * args.epochs
    print(f"{len(clips)} clips, {len(mixtures.synthetic)} of them synthetic", flush=True)
    print(f"{len(mixtures.missing())} of {mixtures.num_chunks} files of mixtures to make, {steps} steps", flush=True)
    if args.dry_run:
        return
    encoder = make_encoder()
    if encoder.sampling_rate != rate:
        raise InputError(f"the encoder needs {encoder.sampling_rate} Hz, and the tower {rate}")
    mixtures.make(encoder, tower.log_mel)
    training = Training.new(tower, mixtures.mean_target(), args.learning_rate)
    train(training, mixtures, args, args.output_dir / "checkpoint.pt")
    results = {"settings": settings_of(args), "clips": len(clips), "held_out": held_out(training, mixtures)}
    print(f"cosine distance of {HELD_OUT} mixtures that were not trained on: {results['held_out']:.4f}")
    if (Path(args.data) / PROBE / "meta").is_dir():
        towers = {"tower": listener(training.tower), "untrained": listener(new_tower(args))}
        results["probe"] = probe(Path(args.data) / PROBE, {**towers, "encoder": encoder}, tower.processor)
        for row in results["probe"]:
            print("fold {fold}, n = {n}: {tower:.1%}, encoder {encoder:.1%}, untrained {untrained:.1%}".format(**row))
    with whole_file(args.output_dir / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if not (args.output_dir / "tower").exists():
        with whole_folder(args.output_dir / "tower") as partial:
            training.tower.save_pretrained(partial)


if __name__ == "__main__":
    try:
        pretrain(parse())
    except InputError as error:
        sys.exit(str(error))
