"""Decodes damaged files and prints the outcome, one json line per file; test_decoding_fuzz runs it as a process.

    python tests/fuzz_decoding.py FIRST STOP FOLDER

Mutation number n is the same each time: python tests/fuzz_decoding.py n n+1 FOLDER repeats it.
"""

import faulthandler
import io
import json
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from modeling_clap_student.data.decoding import decode_clip, decode_crop
from modeling_clap_student.errors import ClipError


RATE, SIZE = 44100, 4410
FORMATS = ("wav", "flac", "ogg", "mp3")
SECONDS = 10.0  # a file may take, before it counts as a hang


@cache
def whole_file(suffix: str, variant: int) -> bytes:
    """A small valid file: mono or stereo, of several rates and sample types."""
    rate = (44100, 16000, 48000, 22050)[variant % 4]
    channels = 1 + variant // 4 % 2
    subtype = ("PCM_16", "FLOAT", "PCM_U8")[variant % 3] if suffix == "wav" else None
    rng = np.random.default_rng(variant)
    time = np.arange(int(0.6 * rate)) / rate
    samples = 0.3 * np.sin(2 * np.pi * 500 * time)[:, None] + 0.05 * rng.normal(size=(time.size, channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=suffix.upper(), subtype=subtype)
    return file.getvalue()


def mutate(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One of several kinds of damage."""
    kind = rng.choice(["flips", "header", "numbers", "cut", "insertion", "deletion", "splice", "noise"])
    out = bytearray(data)
    place = int(rng.integers(len(out)))
    if kind == "flips":
        for position in rng.integers(len(out), size=rng.integers(1, 20)):
            out[position] ^= 1 << rng.integers(8)
    elif kind == "header":
        for position in rng.integers(min(128, len(out)), size=rng.integers(1, 6)):
            out[position] = rng.integers(256)
    elif kind == "numbers":
        # Sizes, rates, counts of channels and samples lie here: the extremes are what code forgets.
        at = int(rng.integers(min(96, len(out) - 8)))
        number = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 44101][rng.integers(8)]
        out[at : at + 4] = number.to_bytes(4, ["little", "big"][rng.integers(2)])
    elif kind == "cut":
        del out[place:]
    elif kind == "insertion":
        out[place:place] = rng.bytes(rng.integers(1, 4096))
    elif kind == "deletion":
        del out[place : place + int(rng.integers(1, 4096))]
    elif kind == "splice":
        other = whole_file(FORMATS[rng.integers(4)], int(rng.integers(12)))
        out[place:] = other[int(rng.integers(len(other))) :]
    else:
        keep = int(rng.choice([0, 4, 12, 48]))
        out[keep:] = rng.bytes(rng.integers(0, 20000))
    return str(kind), bytes(out)


def attempt(work) -> str:
    """How a decoder takes it."""
    try:
        samples = work()
    except ClipError as error:
        return str(error)
    assert samples.dtype == np.float32 and samples.ndim == 1 and samples.size
    return "decoded" if np.isfinite(samples).all() else "NOT FINITE"


def main(first: int, stop: int, folder: Path) -> None:
    faulthandler.enable()
    for number in range(first, stop):
        rng = np.random.default_rng([77, number])
        suffix = FORMATS[number % 4]
        kind, data = mutate(whole_file(suffix, number // 4 % 12), rng)
        if number % 5 == 0:
            path = folder / f"{number}.{FORMATS[number // 5 % 4]}"  # the name may well be wrong
            path.write_bytes(data)
            audio = {"path": str(path), "bytes": None}
        else:
            audio = {"path": None, "bytes": data}
        print(json.dumps({"number": number, "format": suffix, "kind": kind}), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.perf_counter()
        whole = attempt(lambda audio=audio: decode_clip(audio, RATE))
        draw = int(rng.integers(2**32))
        crop = attempt(lambda audio=audio, draw=draw: decode_crop(audio, RATE, SIZE, draw))
        faulthandler.cancel_dump_traceback_later()
        seconds = time.perf_counter() - start
        print(json.dumps({"number": number, "whole": whole, "crop": crop, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
