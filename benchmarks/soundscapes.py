"""How fast the built-in corpus is synthesised, in clips (5 s, 44.1 kHz) per second, on one thread and on all cores.

    python benchmarks/soundscapes.py

Median of several rounds over fresh clips. The reference reads the same clips back from 16-bit flac files, which is
what a stored corpus would cost.
"""

import io
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import soundfile

from modeling_clap_student.data.decoding import decode_clip
from modeling_clap_student.soundscapes import corpus as soundscapes


ROUNDS, CLIPS = 5, 60


def rate(work, items, threads: int) -> float:
    """Items per second."""
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(work, items))
        return len(items) / (time.perf_counter() - start)


def as_flac(path: str) -> dict:
    file = io.BytesIO()
    soundfile.write(file, soundscapes.render(path), soundscapes.SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return {"path": None, "bytes": file.getvalue()}


def main():
    cores = os.cpu_count()
    print(f"{platform.processor() or platform.machine()}, {cores} cores; median of {ROUNDS} rounds of {CLIPS} clips")
    print(f"{'part':8} {'threads':>8} {'synthesised/s':>14} {'from flac/s':>12} {'ratio':>6}")
    for part, listing in (("train", soundscapes.captioned_clips()), ("pool", soundscapes.pool_clips())):
        paths = [row[0] for row in listing]
        for threads in (1, cores):
            made, read = [], []
            for number in range(ROUNDS):
                some = paths[number * CLIPS : (number + 1) * CLIPS]
                flac = [as_flac(path) for path in some]
                soundscapes._render_16_bit.cache_clear()
                made.append(rate(soundscapes.render, some, threads))
                read.append(rate(lambda audio: decode_clip(audio, soundscapes.SAMPLING_RATE), flac, threads))
            ours, theirs = statistics.median(made), statistics.median(read)
            print(f"{part:8} {threads:8} {ours:14.0f} {theirs:12.0f} {ours / theirs:6.2f}")


if __name__ == "__main__":
    main()
