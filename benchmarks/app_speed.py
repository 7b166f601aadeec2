"""How long one visitor of the app waits: two models classify a 5-s clip, and a search goes through 100 000 clips.

    python benchmarks/app_speed.py [--rounds 7] [--base_channels 8 64] [--minutes 30]

Models have random weights and a small text tower. One CNN14 has an eighth of the full width and the demo's hop; the
other has the full width and the paper's hop. The bars come first, then each class over time. Medians of the rounds, in
one thread. Times are the processor's: what a visitor waits where nothing else runs. The first two models also hear
recordings of `--minutes`, once.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from datasets import Dataset
from timing import machine

from modeling_clap_student.app.classify import draw, hear
from modeling_clap_student.app.models import STUDENT, TEACHER, Model
from modeling_clap_student.app.pool import Index, Pool
from modeling_clap_student.app.search import Filters, PoolSearch, Query
from modeling_clap_student.checkpoints.arguments import ModelArguments
from modeling_clap_student.checkpoints.initialization import new_model


CLASSES = "dog, rain, siren, bird, engine, church bell, footsteps, car horn, helicopter, jackhammer"
PROMPT = "this is a sound of {}"
HOPS = {8: 882, 64: 320}  # samples: the demo's and the paper's


def two_models(base_channels: int) -> list[Model]:
    sizes = {"base_channels": base_channels, "hop_length": HOPS.get(base_channels, 320), "text_model": "scratch"}
    made = [new_model(ModelArguments(**sizes), [CLASSES, PROMPT]) for _ in range(2)]
    return [
        Model(role, role, model.eval(), processor)
        for role, (model, processor) in zip((STUDENT, TEACHER), made, strict=True)
    ]


def seconds_to_hear(clip: Path, models: list[Model]) -> tuple[float, float]:
    """Seconds until the bars are drawn, and until everything is drawn."""
    start, first, heard = time.process_time(), None, None
    for heard in hear(clip, models, most_minutes=1000):
        draw(heard, models, CLASSES, PROMPT)
        first = first or time.process_time() - start
    return first, time.process_time() - start


def write_noise(path: Path, seconds: int) -> Path:
    noise = (9830 * np.random.default_rng(0).standard_normal(5 * 44100).clip(-3, 3)).astype(np.int16)
    with soundfile.SoundFile(path, "w", 44100, 1, "PCM_16") as file:
        for _ in range(seconds // 5):
            file.write(noise)
    return path


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds_to_search(model: Model, size: int, rounds: int, clips: int = 100_000) -> float:
    """The median time of a search, with a filter on names."""
    vectors = np.random.default_rng(0).normal(size=(clips, size)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"folder/{number}.wav" for number in range(clips)]
    table = Dataset.from_dict({"audio_id": names, "source": ["pool"] * clips})
    search = PoolSearch(Pool("set", table, None, {}, table), Index(model, vectors, np.arange(clips)))
    query, filters, times = Query(vectors[17], "this"), Filters(name="7.wav", least=-0.5), []
    for _ in range(rounds + 1):
        start = time.process_time()
        search.find(query, filters)
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--base_channels", type=int, nargs="+", default=[8, 64], help="64 is CNN14.")
    parser.add_argument("--minutes", type=int, nargs="*", default=[30], help="Lengths of long recordings.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        clip = write_noise(Path(folder, "clip.wav"), 5)
        for base_channels in args.base_channels:
            models = two_models(base_channels)
            times = [seconds_to_hear(clip, models) for _ in range(args.rounds + 1)][1:]
            bars, whole = (1000 * statistics.median(column) for column in zip(*times, strict=True))
            print(
                f"two models of {base_channels} channels: bars {bars:.0f} ms, with each class over time {whole:.0f} ms"
            )
            for minutes in args.minutes if base_channels == args.base_channels[0] else ():
                long, before = write_noise(Path(folder, "long.wav"), 60 * minutes), peak_mib()
                first, whole = seconds_to_hear(long, models)
                more = f"{peak_mib() - before:.0f} MiB above the peak before"
                print(f"{minutes} minutes: first answer {first:.1f} s, whole {whole:.0f} s, {more}")
    for size in (256, 1024):
        print(f"100 000 clips of {size} numbers: {1000 * seconds_to_search(models[0], size, args.rounds):.0f} ms")


if __name__ == "__main__":
    main()
