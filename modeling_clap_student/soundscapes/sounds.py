"""Everyday sounds: a parametric generator for each class.

Each generator draws its parameters from a `Draw`. Its `extent` says which part of every range may be used. So a corpus
with the extent (0, 0.5) and one with (0.3, 1) hold the same classes recorded "elsewhere": they overlap in part. Only
uniform draws and elementary functions are used, so that a seed gives the same clip on any platform, up to rounding.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .synthesis import (
    GRAIN,
    SAMPLING_RATE,
    TWO_PI,
    Draw,
    arch,
    band,
    decay,
    harmonics,
    hiss,
    impulses,
    phase,
    repeat,
    strike,
    tone,
    voice,
    wobble,
)


# Captions for each class. Some contain the class name, some do not.
_CAPTIONS: dict[str, list[str]] = json.loads(Path(__file__).with_name("captions.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class SoundClass:
    """One kind of sound: its name in words, a function that draws an event of any level, and its captions."""

    name: str
    synthesize: Callable[[Draw], np.ndarray]
    captions: tuple[str, ...]


SOUND_CLASSES: dict[str, SoundClass] = {}


def sound(name: str):
    """Registers a generator under its class name, with the class's captions and two plain ones that every class
    has."""

    def register(synthesize):
        captions = (*_CAPTIONS[name], f"this is the sound of {name}", f"a recording of {name}")
        SOUND_CLASSES[name] = SoundClass(name, synthesize, captions)
        return synthesize

    return register


@sound("siren")
def _siren(d):
    n = d.samples(2.5, 4.5)
    sweep = 1 + d(0.15, 0.5) * np.sin(TWO_PI * phase(d.log(0.3, 4), n))
    return harmonics(d.log(500, 1200) * sweep, n, 6, d(1.8, 0.8))


@sound("car horn")
def _car_horn(d):
    f0, ratio, tilt = d.log(280, 560), d.any(1.2, 1.3), d(1.0, 0.4)

    def honk():
        n = d.samples(0.2, 0.9)
        return (harmonics(f0, n, 10, tilt) + harmonics(f0 * ratio, n, 10, tilt)) * arch(n, 0.15)

    return repeat(d, d.samples(1, 2.5), honk, d(0.5, 1.2))


@sound("engine")
def _engine(d):
    n = d.samples(3, 4.8)
    speed = d.log(24, 80) * (1 + d.any(0, 0.15) * wobble(d, n, 1.5))
    return harmonics(speed, n, 20, d(1.2, 0.5)) * (1 + 0.5 * tone(speed / 2, n)) + d(0.2, 1.2) * hiss(d, n, 60, 900)


@sound("helicopter")
def _helicopter(d):
    n = d.samples(3, 4.8)
    beat = phase(d.log(8, 22), n)
    return hiss(d, n, 30, d.log(250, 1400)) * (np.exp(-beat * d(8, 3)) + 0.1) * (0.5 + 0.5 * wobble(d, n, 0.5))


@sound("airplane")
def _airplane(d):
    n = d.samples(3.5, 4.9)
    glide = np.linspace(1.2, 0.8, n, dtype=np.float32)
    roar = hiss(d, n, 80, d.log(500, 3000), False) * 4
    return (roar + d(0.05, 0.3) * tone(d.log(900, 3000) * glide, n)) * arch(n, 0.7)


@sound("train")
def _train(d):
    n = d.samples(3.5, 4.9)
    length, low = d.samples(0.08, 0.1), d.log(150, 600)

    def clack():
        wheel = hiss(d, length, low, low * 6) * decay(length, 0.03)
        return np.concatenate([wheel, np.zeros(int(SAMPLING_RATE * 0.06), np.float32), wheel])

    return repeat(d, n, clack, d.log(0.7, 0.35), 0.02) * 3 + hiss(d, n, 40, 300)


@sound("rain")
def _rain(d):
    n = d.samples(4, 5)
    drops = impulses(d, n, d.log(400, 6000)) * 6
    return band(drops + d(0.2, 0.7) * d.noise(n), d.log(2500, 500), d.log(14000, 6000), False)


@sound("thunder")
def _thunder(d):
    n = d.samples(2.5, 4.5)
    rumble = hiss(d, n, 25, d.log(90, 500)) * wobble(d, n, 6) * 3
    return (rumble + d(0.6, 0.1) * hiss(d, n, 300, 3000) * decay(n, 0.15)) * decay(n, d(0.7, 2), 0.02)


@sound("wind")
def _wind(d):
    n = d.samples(4, 5)
    low = d.log(120, 500)
    gusts = hiss(d, n, low, low * d(3, 1.5)) * (0.2 + wobble(d, n, 1.5))
    return gusts * 4 + hiss(d, n, 40, 200) * wobble(d, n, 1)


@sound("sea waves")
def _sea_waves(d):
    n = d.samples(4.5, 5)
    swell = 0.5 + 0.5 * np.sin(TWO_PI * (phase(d.log(0.2, 0.55), n) + np.float32(d.any(0, 1))))
    return hiss(d, n, d(100, 400), d.log(1200, 6000), False) * (0.08 + swell**2)


@sound("stream")
def _stream(d):
    n = d.samples(4, 5)
    center, length = d.log(450, 1600), 2 * GRAIN
    window = arch(length) * decay(length, 0.02)

    def bubble():
        f = center * d.any(0.5, 2)
        return tone(np.linspace(f, f * 1.4, length, dtype=np.float32), length) * window

    return repeat(d, n, bubble, d.log(0.05, 0.02), 0.9) + d(0.1, 0.5) * hiss(d, n, 400, 5000, False)


@sound("fire")
def _fire(d):
    n = d.samples(4, 5)
    snaps = band(impulses(d, n, d.log(10, 120)), d.log(600, 2500), 12000, False) * 30
    return snaps + d(0.5, 2) * hiss(d, n, 30, 300) * (0.4 + 0.6 * wobble(d, n, 6))


@sound("church bell")
def _church_bell(d):
    n, f0 = d.samples(3.5, 5), d.log(160, 640)
    stroke = strike(d, n, [f0 * r for r in (0.5, 1, 1.19, 1.5, 2, 2.52, 3.01, 4.1)], d(2.5, 1))
    return repeat(d, n, lambda: stroke, d(2.2, 1.1), 0.05)


@sound("bicycle bell")
def _bicycle_bell(d):
    f0, length = d.log(1700, 4200), d.samples(0.4, 0.6)
    ring = strike(d, length, [f0, f0 * 1.51, f0 * 2.3], d(0.3, 0.12))

    def trill():
        return repeat(d, d.samples(0.5, 0.8), lambda: ring, d(0.06, 0.12), 0.05)

    return repeat(d, d.samples(1, 3), trill, d.any(0.7, 1.4))


@sound("clock")
def _clock(d):
    n, f0 = d.samples(3.5, 5), d.log(1400, 5000)
    length = 2 * GRAIN

    def tick():
        ring = strike(d, length, [f0 * d.any(0.9, 1.1), f0 * 1.7], 0.008)
        return ring + 0.4 * d.noise(length) * decay(length, 0.003)

    return repeat(d, n, tick, d.log(0.9, 0.3), 0.01)


@sound("alarm clock")
def _alarm_clock(d):
    n, f0, burst = d.samples(3, 4.5), d.log(900, 3400), d.count(2, 4)
    on = (phase(d(6, 10), n) < 0.5) & (phase(d(1.4, 0.9), n) < 0.2 * burst)
    return np.sign(tone(f0, n)) * on + 0.3 * tone(2 * f0, n) * on


@sound("telephone")
def _telephone(d):
    n, f0 = d.samples(3, 4.8), d.log(420, 1500)
    trill = tone(f0, n) + tone(f0 * 1.26, n) + 0.4 * tone(f0 * 3.1, n)
    return trill * (0.55 + 0.45 * tone(d.log(14, 30), n)) * (phase(d.log(0.4, 0.9), n) < 0.55)


@sound("door knock")
def _door_knock(d):
    f0, length = d.log(90, 380), 5 * GRAIN

    def knock():
        wood = strike(d, length, [f0, f0 * 2.2, f0 * 3.7], d(0.05, 0.02))
        return wood + hiss(d, length, 200, 2500) * decay(length, 0.01)

    return repeat(d, d.samples(0.7, 2), knock, d(0.35, 0.14), 0.08)


@sound("footsteps")
def _footsteps(d):
    n, high, grit = d.samples(3, 4.8), d.log(400, 3500), d(0.1, 1)
    length = 6 * GRAIN

    def step():
        heel = hiss(d, length, 50, high) * decay(length, 0.03)
        return heel * 3 + grit * hiss(d, length, 1500, 7000) * arch(length, 2)

    return repeat(d, n, step, d(0.75, 0.38), 0.06)


@sound("dog")
def _dog(d):
    f0, formant = d.log(220, 720), d.log(700, 1500)

    def bark():
        n = d.samples(0.12, 0.3)
        glide = f0 * np.linspace(1.3, 0.8, n, dtype=np.float32)
        return (voice(glide, n, (formant, formant * 2.1)) + 0.8 * hiss(d, n, 500, 4000)) * arch(n, 0.6)

    return repeat(d, d.samples(1.2, 3.5), bark, d(0.65, 0.3), 0.3)


@sound("cat")
def _cat(d):
    f0, formant = d.log(330, 950), d.log(900, 2000)

    def meow():
        n = d.samples(0.5, 1.1)
        return voice(f0 * (1 + 0.3 * arch(n, 0.8)), n, (formant, formant * 2)) * arch(n, 0.7)

    return repeat(d, d.samples(1, 3.5), meow, d(1.5, 0.9), 0.2)


@sound("bird")
def _bird(d):
    f0, spread, length = d.log(2000, 6500), d(0.15, 0.5), d.samples(0.06, 0.2)

    def chirp():
        sweep = f0 * (1 + spread * d.any(-1, 1) * np.linspace(-1, 1, length, dtype=np.float32))
        return tone(sweep * (1 + 0.05 * tone(d.any(20, 45), length)), length) * arch(length)

    return repeat(d, d.samples(2, 4.5), chirp, d(0.35, 0.12), 0.5)


@sound("crow")
def _crow(d):
    f0, rough = d.log(300, 700), d(60, 110)

    def caw():
        n = d.samples(0.3, 0.55)
        buzz = harmonics(f0 * np.linspace(1.1, 0.9, n, dtype=np.float32), n, 12, 0.3)
        return band(buzz * (1 + tone(rough, n)) + 1.5 * d.noise(n), 800, 3500) * arch(n, 0.5)

    return repeat(d, d.samples(1.5, 3.5), caw, d(0.9, 0.6), 0.2)


@sound("cricket")
def _cricket(d):
    n = d.samples(3.5, 5)
    return tone(d.log(3000, 6800), n) * (phase(d.log(22, 60), n) < 0.5) * (phase(d.log(1.2, 4), n) < d.any(0.4, 0.7))


@sound("frog")
def _frog(d):
    f0, rate = d.log(250, 1100), d.log(28, 85)

    def croak():
        n = d.samples(0.2, 0.55)
        return tone(f0, n) * np.exp(-5 * phase(rate, n)) * arch(n, 0.5)

    return repeat(d, d.samples(1.5, 4), croak, d(0.9, 0.5), 0.2)


@sound("cow")
def _cow(d):
    f0, formant = d.log(85, 230), d.log(280, 650)

    def moo():
        n = d.samples(1, 2)
        return voice(f0 * (0.85 + 0.25 * arch(n)), n, (formant, formant * 2.5), 18) * arch(n, 0.5)

    return repeat(d, d.samples(1.5, 4), moo, 2.2, 0.2)


@sound("sheep")
def _sheep(d):
    f0, formant, tremble = d.log(240, 620), d.log(700, 1400), d(6, 11)

    def bleat():
        n = d.samples(0.6, 1.2)
        throat = voice(f0 * (1 + 0.05 * tone(tremble, n)), n, (formant, formant * 2))
        return throat * (0.6 + 0.4 * tone(tremble, n)) * arch(n, 0.4)

    return repeat(d, d.samples(1, 3.5), bleat, d(1.6, 1), 0.2)


@sound("bee")
def _bee(d):
    n = d.samples(2.5, 4.8)
    return harmonics(d.log(110, 340) * (0.9 + 0.2 * wobble(d, n, 4)), n, 14, d(1, 0.4)) * (0.15 + wobble(d, n, 2))


@sound("breaking glass")
def _breaking_glass(d):
    n = d.samples(1, 2)
    out = hiss(d, n, d.log(1500, 4500), 16000) * decay(n, d(0.12, 0.05)) * 4
    length, low = 4 * GRAIN, d.log(2300, 5500)
    for _ in range(d.count(15, 35)):
        start = int((n - length) * d.any(0, 1) ** 2)
        out[start : start + length] += 0.4 * tone(low * d.any(0.8, 2), length) * decay(length, 0.03)
    return out


@sound("keyboard typing")
def _keyboard_typing(d):
    f0, length = d.log(1100, 4500), 2 * GRAIN

    def key():
        return hiss(d, length, f0 * d.any(0.6, 1), f0 * 3, False) * decay(length, d.any(0.004, 0.012))

    return repeat(d, d.samples(3, 4.8), key, d(0.22, 0.09), 0.7)


@sound("vacuum cleaner")
def _vacuum_cleaner(d):
    n = d.samples(4, 5)
    motor = harmonics(d.log(90, 280) * (1 + 0.01 * wobble(d, n, 2)), n, 16, d(1, 0.5))
    return d(0.4, 0.15) * motor + hiss(d, n, 200, d.log(2500, 9000), False) * d.any(1.5, 3)


@sound("jackhammer")
def _jackhammer(d):
    n = d.samples(2.5, 4.8)
    beat = phase(d.log(9, 30), n)
    blows = hiss(d, n, 100, d.log(1500, 6000), False) * np.exp(-beat * d(9, 4)) * 3
    return blows + 0.3 * harmonics(d.log(40, 90), n, 10, 0.5)


@sound("chainsaw")
def _chainsaw(d):
    n = d.samples(3, 4.8)
    speed = d.log(65, 170) * (0.7 + 0.6 * wobble(d, n, 1.5))
    return harmonics(speed, n, 24, d(0.5, 0.1)) + d(1, 3) * hiss(d, n, 800, 6000) * (1 + tone(speed, n)) / 2


@sound("applause")
def _applause(d):
    n = d.samples(3, 4.8)
    return band(impulses(d, n, d.log(60, 700)), d.log(600, 1400), d.log(2000, 4500)) * 10 * (0.4 + 0.6 * arch(n, 0.5))


@sound("whistling")
def _whistling(d):
    n, base = d.samples(2.5, 4.5), d.log(750, 2400)
    notes = 2.0 ** (np.round(wobble(d, n, d(2, 4)) * 7) / 12)
    smooth = np.convolve(notes, np.full(1200, 1 / 1200), mode="same")
    return tone(base * smooth * (1 + 0.01 * tone(5.5, n)), n) * arch(n, 0.2) + 0.05 * d.noise(n)


@sound("gunshot")
def _gunshot(d):
    n, high, time = d.samples(1.5, 3.5), d.log(1200, 7000), d(0.1, 0.4)

    def shot():
        length = 30 * GRAIN
        return hiss(d, length, 60, high, False) * decay(length, time, 0.001)

    return repeat(d, n, shot, d(1.3, 0.5), 0.3)


@sound("hammer")
def _hammer(d):
    f0, length = d.log(650, 2800), 15 * GRAIN
    partials = [f0 * r for r in (1, 1.47, 2.09, 2.83, 3.9)]

    def blow():
        return strike(d, length, partials, d(0.15, 0.05)) + 2 * hiss(d, length, 200, 4000) * decay(length, 0.008)

    return repeat(d, d.samples(2, 4.5), blow, d(0.85, 0.4), 0.1)


@sound("laughter")
def _laughter(d):
    f0, formant, rate = d.log(140, 420), d.log(600, 1100), d(4, 6.5)

    def ha():
        n = d.samples(0.1, 0.16)
        throat = voice(f0 * np.linspace(1.15, 0.95, n, dtype=np.float32), n, (formant, formant * 2))
        return (throat + 0.3 * hiss(d, n, 800, 4000)) * arch(n)

    return repeat(d, d.samples(1, 3), ha, 1 / rate, 0.15)


@sound("crying baby")
def _crying_baby(d):
    f0, formant = d.log(320, 700), d.log(1000, 1900)

    def cry():
        n = d.samples(0.7, 1.3)
        return voice(f0 * (1 + 0.2 * arch(n, 0.5) + 0.02 * tone(6, n)), n, (formant, formant * 2.4)) * arch(n, 0.4)

    return repeat(d, d.samples(2.5, 4.5), cry, d(1.5, 1), 0.15)


@sound("cough")
def _cough(d):
    low = d.log(350, 900)

    def burst():
        n = d.samples(0.15, 0.3)
        breath = hiss(d, n, low, low * 5) * decay(n, d.any(0.05, 0.1), 0.01) * 2
        return breath + 0.3 * harmonics(d.any(110, 180), n, 8, 1) * decay(n, 0.05)

    return repeat(d, d.samples(0.8, 2.5), burst, d(0.6, 0.3), 0.3)
