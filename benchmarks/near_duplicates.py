"""How fast near-duplicates are found, with how much memory, and how many of them.

    python benchmarks/near_duplicates.py --clips 100000
    python benchmarks/near_duplicates.py --clips 0 --data DATA_DIR     # real recordings

The first command measures the time for the fingerprint of a 5-s clip. It searches a pool of synthetic clips for copies
of each other and of 2000 evaluation clips; 2 % of the pool are copies with changes as from a codec. The second makes
copies of each real clip. It counts how many are found, and how many pairs of recordings with different names.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from modeling_clap_student.audio_clap_student import Samples
from modeling_clap_student.data.fingerprints import NUM_BANDS, make_fingerprint
from modeling_clap_student.data.listening import Sound, listen
from modeling_clap_student.data.near_duplicates import groups_of, pairs_between, pairs_within
from modeling_clap_student.data.quality import Quality
from modeling_clap_student.data.sound_store import SoundStore


FRAMES, COPY_OF = 500, 50  # 5 s; every fiftieth clip is a copy of another


def made_up_powers(number: int) -> np.ndarray:
    """(frames, bands): coloured noise with events; for a copy, an earlier clip's powers changed by about half a dB."""
    is_copy = number % COPY_OF == COPY_OF - 1
    rng = np.random.default_rng(number - 7 if is_copy else number)
    colour = np.exp(np.cumsum(rng.normal(0, 0.5, NUM_BANDS)))
    course = np.exp(np.repeat(rng.normal(0, 1, 25), FRAMES // 25))[:, None]
    powers = colour * smooth(course * rng.gamma(1.0, 1.0, (FRAMES, NUM_BANDS)))
    if is_copy:
        powers = powers * np.exp(smooth(np.random.default_rng(number).normal(0, 0.3, powers.shape)))
    return powers.astype(np.float32)


def smooth(values: np.ndarray) -> np.ndarray:
    """Smooths over time, like overlapping windows of 80 ms."""
    window = np.hanning(10)[1:-1] / np.hanning(10).sum()
    padded = np.pad(values, ((4, 3), (0, 0)), mode="reflect")
    return sum(weight * padded[start : start + len(values)] for start, weight in enumerate(window))


def peak_memory() -> float:
    """GiB, the peak of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_one() -> None:
    samples = Samples(np.random.default_rng(0).normal(0, 0.1, 220_500).astype(np.float32), 44100)
    listen(samples)
    start = time.process_time()
    for _ in range(100):
        listen(samples)
    print(f"fingerprint and quality of 5 s at 44.1 kHz: {(time.process_time() - start) * 10:.1f} ms of one core")


def search(num_clips: int) -> None:
    quality = Quality(5, 0, 0, 7000, 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        store = SoundStore(folder)
        for number in range(num_clips):
            store.add(b"%016d" % number, Sound(make_fingerprint(made_up_powers(number)), quality))
        store.settle()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(f"{num_clips} clips: {size / 2**20:.0f} MiB on disk, {size / num_clips:.0f} bytes per clip")
        sounds = store.sounds(np.array([b"%016d" % number for number in range(num_clips)], "S16"))
        before, start, cpu_start = peak_memory(), time.perf_counter(), time.process_time()
        pairs = pairs_within(sounds)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        expected = {(number - 7, number) for number in range(COPY_OF - 1, num_clips, COPY_OF)}
        found = {(pair.row, pair.other) for pair in pairs}
        print(
            f"within the pool: {seconds:.1f} s ({cpu_seconds:.1f} s of a core), "
            f"peak {peak_memory():.2f} GiB ({before:.2f} before); "
            f"{len(found & expected)} of {len(expected)} copies found, {len(found - expected)} false, "
            f"{len(groups_of(pairs))} groups"
        )
        evaluation = store.sounds(np.array([b"%016d" % number for number in range(0, num_clips, 50)][:2000], "S16"))
        start = time.perf_counter()
        pairs = pairs_between(sounds, evaluation)
        print(f"with {len(evaluation)} evaluation clips: {time.perf_counter() - start:.1f} s, {len(pairs)} found")


def count_on_real_data(folder: Path) -> None:
    from test_near_duplicates import COPIES, Table, fingerprint, read_esc

    for name in ("esc50_16k", "esc10"):
        rows, clips = read_esc(folder / name)
        table = Table([fingerprint(*clip) for clip in clips])
        for kind, copy in COPIES.items():
            pairs = pairs_between(Table([fingerprint(*copy(*clip)) for clip in clips]), table)
            found = {pair.row for pair in pairs if pair.row == pair.other}
            print(f"{name}, {kind}: {len(found)} of {len(clips)} found ({len(found) / len(clips):.2%})", flush=True)
        pairs = pairs_within(table)
        different = [pair for pair in pairs if rows[pair.row]["src_file"] != rows[pair.other]["src_file"]]
        total = len(rows) * (len(rows) - 1) // 2
        share = 1e4 * len(different) / total
        print(f"{name}: {len(different)} of {total} pairs of other recordings ({share:.2f} of 10 000)")
        for pair in different:
            print(f"  {rows[pair.row]['filename']} {rows[pair.other]['filename']} {pair.score:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100_000, help="Made-up clips to search; 0: none.")
    parser.add_argument("--data", type=Path, help="Folder with esc50_16k and esc10, in ESC-50's layout.")
    args = parser.parse_args()
    measure_one()
    if args.clips:
        search(args.clips)
    if args.data:
        count_on_real_data(args.data)


if __name__ == "__main__":
    main()
