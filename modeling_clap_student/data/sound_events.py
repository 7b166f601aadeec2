"""Everyday sounds, synthesised: a parametric generator and paraphrased captions for each class.

Each generator draws its parameters from a `Draw`, whose `extent` says which part of every range may be used. A corpus
with the extent (0, 0.5) and one with (0.3, 1) therefore hold the same classes recorded "elsewhere": they overlap in
part. Only uniform draws and elementary functions are used, so that a seed gives the same clip on any platform, to
within rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


SAMPLING_RATE = 44100
# Durations are multiples of this many samples (1/30 s), for which FFTs are quick.
GRAIN = 1470
TWO_PI = np.float32(2 * np.pi)


@dataclass
class Draw:
    """Random parameters of one event.

    Attributes:
        rng: the clip's own generator.
        extent: the part of each parameter's range that is used, within [0, 1].
    """

    rng: np.random.Generator
    extent: tuple[float, float] = (0.0, 1.0)

    def __call__(self, low: float, high: float) -> float:
        """Uniform on the part of [low, high] that the extent allows."""
        return low + (high - low) * self.rng.uniform(*self.extent)

    def log(self, low: float, high: float) -> float:
        """The same on a logarithmic scale: for frequencies and rates."""
        return float(low * (high / low) ** self.rng.uniform(*self.extent))

    def any(self, low: float, high: float) -> float:
        """Uniform on the whole of [low, high], whatever the extent: for what does not tell recordings apart."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def samples(self, shortest: float, longest: float) -> int:
        """A duration in samples, from seconds."""
        return GRAIN * max(1, round(self.any(shortest, longest) * SAMPLING_RATE / GRAIN))

    def noise(self, n: int) -> np.ndarray:
        return self.rng.random(n, dtype=np.float32) - np.float32(0.5)


# ---- building blocks, all (samples,) float32


def seconds(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32) / np.float32(SAMPLING_RATE)


def phase(frequency, n: int) -> np.ndarray:
    """The running phase, in turns within [0, 1), of a constant or changing frequency in Hz."""
    if np.ndim(frequency) == 0:
        turns = np.arange(n) * (frequency / SAMPLING_RATE)
    else:
        turns = np.cumsum(frequency, dtype=np.float64) / SAMPLING_RATE
    return (turns - np.floor(turns)).astype(np.float32)


def tone(frequency, n: int) -> np.ndarray:
    return np.sin(TWO_PI * phase(frequency, n))


def harmonics(frequency, n: int, count: int, tilt: float) -> np.ndarray:
    """A buzz: `count` harmonics that fall as k**-tilt, by the recurrence of sin(kθ)."""
    angle = TWO_PI * phase(frequency, n)
    twice_cos, previous, current = 2 * np.cos(angle), np.zeros(n, np.float32), np.sin(angle)
    total = current.copy()
    for k in range(2, count + 1):
        previous, current = current, twice_cos * current - previous
        total += np.float32(k**-tilt) * current
    return total


def _pass_gain(n: int, low: float, high: float, steep: bool) -> np.ndarray:
    frequency = np.arange(n // 2 + 1, dtype=np.float32) * np.float32(SAMPLING_RATE / n)
    frequency[0] = np.float32(SAMPLING_RATE / n / 4)
    below, above = np.square(np.float32(low) / frequency), np.square(frequency / np.float32(high))
    if steep:
        below, above = np.square(below), np.square(above)
    return 1 / ((1 + below) * (1 + above))


def band(signal: np.ndarray, low: float, high: float, steep: bool = True) -> np.ndarray:
    """Keeps low…high Hz, with slopes of 24 dB an octave, or 12 if not `steep`."""
    return np.fft.irfft(np.fft.rfft(signal) * _pass_gain(len(signal), low, high, steep), len(signal))


def hiss(d: Draw, n: int, low: float, high: float, steep: bool = True) -> np.ndarray:
    """Noise between low and high Hz: `band` of white noise, whose spectrum is drawn directly."""
    spectrum = (d.rng.random(2 * (n // 2 + 1), dtype=np.float32) - np.float32(0.5)).view(np.complex64)
    return np.fft.irfft(spectrum * _pass_gain(n, low, high, steep), n) * np.float32(np.sqrt(n / 2))


def decay(n: int, time: float, attack: float = 0.002) -> np.ndarray:
    """An envelope that rises in `attack` and falls by e in `time` seconds."""
    t = seconds(n)
    return np.minimum(t / np.float32(attack), 1) * np.exp(-t / np.float32(time))


def arch(n: int, sharpness: float = 1.0) -> np.ndarray:
    """An envelope that swells and fades."""
    return np.sin(np.linspace(0, np.pi, n, dtype=np.float32)).clip(0) ** np.float32(sharpness)


def wobble(d: Draw, n: int, rate: float) -> np.ndarray:
    """A slow random curve within [0, 1] with about `rate` bends a second."""
    knots = max(3, int(n / SAMPLING_RATE * rate) + 2)
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), d.rng.random(knots)).astype(np.float32)


def repeat(d: Draw, n: int, make: Callable[[], np.ndarray], gap: float, jitter: float = 0.1) -> np.ndarray:
    """Plays `make()` again and again, `gap` seconds apart give or take `jitter` of it, within n samples."""
    out = np.zeros(n, np.float32)
    start = 0
    while start < n:
        piece = make()[: n - start]
        out[start : start + len(piece)] += piece * np.float32(d.any(0.7, 1))
        start += max(1, int(gap * SAMPLING_RATE * d.any(1 - jitter, 1 + jitter)))
    return out


def impulses(d: Draw, n: int, density: float) -> np.ndarray:
    """Random clicks of random size, `density` a second."""
    out = np.zeros(n, np.float32)
    number = max(1, int(n / SAMPLING_RATE * density))
    out[d.rng.integers(0, n, number)] = d.rng.random(number, dtype=np.float32) ** 3 * np.sign(d.noise(number))
    return out


def strike(d: Draw, n: int, partials: list[float], time: float) -> np.ndarray:
    """Struck metal or glass: decaying partials in Hz, the higher the shorter."""
    out = np.zeros(n, np.float32)
    for frequency in partials:
        out += tone(frequency, n) * decay(n, time * (partials[0] / frequency) ** 0.7) * np.float32(d.any(0.4, 1))
    return out


def voice(f0: np.ndarray, n: int, formants: tuple[float, float], count: int = 14) -> np.ndarray:
    """A throat: a buzz through two resonances."""
    buzz = harmonics(f0, n, count, 0.6)
    return band(buzz, formants[0] * 0.7, formants[0] * 1.3) + 0.6 * band(buzz, formants[1] * 0.8, formants[1] * 1.2)


# ---- the classes


@dataclass(frozen=True)
class SoundClass:
    """One kind of sound.

    Attributes:
        name: the class name, words.
        synthesize: draws one event, (samples,) float32 of any level.
        captions: ways to say it; some hold the name, some do not.
    """

    name: str
    synthesize: Callable[[Draw], np.ndarray]
    captions: tuple[str, ...] = field(repr=False)


SOUND_CLASSES: dict[str, SoundClass] = {}


def sound(name: str, *captions: str):
    """Registers a generator under its class name and captions, and two plain ones that every class has."""
    plain = (f"this is the sound of {name}", f"a recording of {name}")

    def register(synthesize):
        SOUND_CLASSES[name] = SoundClass(name, synthesize, captions + plain)
        return synthesize

    return register


@sound(
    "siren",
    "a siren wails", "the siren of an ambulance rises and falls", "an emergency vehicle rushes by", "a police siren howls",
    "an ambulance on its way", "a fire truck with its siren on", "a warning signal sweeps up and down",
)  # fmt: skip
def _siren(d):
    n = d.samples(2.5, 4.5)
    sweep = 1 + d(0.15, 0.5) * np.sin(TWO_PI * phase(d.log(0.3, 4), n))
    return harmonics(d.log(500, 1200) * sweep, n, 6, d(1.8, 0.8))


@sound(
    "car horn",
    "a car horn honks", "a driver honks the horn", "a car horn in traffic", "somebody beeps at another driver",
    "an impatient driver on the road", "loud honking in the street", "a vehicle toots twice",
)  # fmt: skip
def _car_horn(d):
    f0, ratio, tilt = d.log(280, 560), d.any(1.2, 1.3), d(1.0, 0.4)
    def honk():
        n = d.samples(0.2, 0.9)
        return (harmonics(f0, n, 10, tilt) + harmonics(f0 * ratio, n, 10, tilt)) * arch(n, 0.15)
    return repeat(d, d.samples(1, 2.5), honk, d(0.5, 1.2))  # fmt: skip


@sound(
    "engine",
    "an engine idles", "a car engine runs", "the engine of a truck hums", "a motor rumbles in neutral",
    "a vehicle stands with its motor on", "a diesel throbs steadily", "an engine turns over",
)  # fmt: skip
def _engine(d):
    n = d.samples(3, 4.8)
    speed = d.log(24, 80) * (1 + d.any(0, 0.15) * wobble(d, n, 1.5))
    return harmonics(speed, n, 20, d(1.2, 0.5)) * (1 + 0.5 * tone(speed / 2, n)) + d(0.2, 1.2) * hiss(d, n, 60, 900)


@sound(
    "helicopter",
    "a helicopter flies over", "the rotor of a helicopter", "a helicopter hovers", "blades chop through the air",
    "rotor blades beat overhead", "a chopper passes above", "an aircraft hovers with beating blades",
)  # fmt: skip
def _helicopter(d):
    n = d.samples(3, 4.8)
    beat = phase(d.log(8, 22), n)
    return hiss(d, n, 30, d.log(250, 1400)) * (np.exp(-beat * d(8, 3)) + 0.1) * (0.5 + 0.5 * wobble(d, n, 0.5))


@sound(
    "airplane",
    "an airplane passes overhead", "a jet airplane takes off", "a plane crosses the sky", "a jet roars far up",
    "an airliner climbs away", "an airplane flies by", "turbines roar over the roofs",
)  # fmt: skip
def _airplane(d):
    n = d.samples(3.5, 4.9)
    glide = np.linspace(1.2, 0.8, n, dtype=np.float32)
    return (hiss(d, n, 80, d.log(500, 3000), False) * 4 + d(0.05, 0.3) * tone(d.log(900, 3000) * glide, n)) * arch(n, 0.7)


@sound(
    "train",
    "a train rolls by", "a train on its rails", "the train clatters past", "wheels clack over rail joints",
    "a locomotive pulls its cars", "railway cars pass a crossing", "steel wheels on a track",
)  # fmt: skip
def _train(d):
    n = d.samples(3.5, 4.9)
    length, low = d.samples(0.08, 0.1), d.log(150, 600)
    def clack():
        one = hiss(d, length, low, low * 6) * decay(length, 0.03)
        return np.concatenate([one, np.zeros(int(SAMPLING_RATE * 0.06), np.float32), one])
    return repeat(d, n, clack, d.log(0.7, 0.35), 0.02) * 3 + hiss(d, n, 40, 300)  # fmt: skip


@sound(
    "rain",
    "rain falls", "rain patters on a roof", "heavy rain outside", "drops fall on the leaves",
    "a steady downpour", "water pours from the clouds", "it rains on the pavement",
)  # fmt: skip
def _rain(d):
    n = d.samples(4, 5)
    drops = impulses(d, n, d.log(400, 6000)) * 6
    return band(drops + d(0.2, 0.7) * d.noise(n), d.log(2500, 500), d.log(14000, 6000), False)


@sound(
    "thunder",
    "thunder rolls", "thunder claps nearby", "distant thunder", "a storm rumbles",
    "lightning strikes far away", "a deep rumble from the sky", "the sky growls before the storm",
)  # fmt: skip
def _thunder(d):
    n = d.samples(2.5, 4.5)
    rumble = hiss(d, n, 25, d.log(90, 500)) * wobble(d, n, 6) * 3
    return (rumble + d(0.6, 0.1) * hiss(d, n, 300, 3000) * decay(n, 0.15)) * decay(n, d(0.7, 2), 0.02)


@sound(
    "wind",
    "wind blows", "strong wind howls", "the wind whistles around the house", "a gust sweeps over the field",
    "a breeze in the open", "air rushes and moans", "a gale at night",
)  # fmt: skip
def _wind(d):
    n = d.samples(4, 5)
    low = d.log(120, 500)
    gusts = hiss(d, n, low, low * d(3, 1.5)) * (0.2 + wobble(d, n, 1.5))
    return gusts * 4 + hiss(d, n, 40, 200) * wobble(d, n, 1)


@sound(
    "sea waves",
    "sea waves break on the shore", "waves roll onto the beach", "the surf of the sea", "the ocean washes over sand",
    "water rushes up the beach and back", "sea waves crash", "breakers at the coast",
)  # fmt: skip
def _sea_waves(d):
    n = d.samples(4.5, 5)
    swell = 0.5 + 0.5 * np.sin(TWO_PI * (phase(d.log(0.2, 0.55), n) + np.float32(d.any(0, 1))))
    return hiss(d, n, d(100, 400), d.log(1200, 6000), False) * (0.08 + swell**2)


@sound(
    "stream",
    "a stream flows", "a small stream gurgles", "a brook runs over stones", "water trickles in the woods",
    "a stream bubbles along", "water babbles between rocks", "a creek in the forest",
)  # fmt: skip
def _stream(d):
    n = d.samples(4, 5)
    center, length = d.log(450, 1600), 2 * GRAIN
    window = arch(length) * decay(length, 0.02)
    def bubble():
        f = center * d.any(0.5, 2)
        return tone(np.linspace(f, f * 1.4, length, dtype=np.float32), length) * window
    return repeat(d, n, bubble, d.log(0.05, 0.02), 0.9) + d(0.1, 0.5) * hiss(d, n, 400, 5000, False)  # fmt: skip


@sound(
    "fire",
    "a fire crackles", "fire burns in a fireplace", "logs burn and pop", "a campfire at night",
    "wood snaps in the flames", "the crackling of a fire", "embers hiss and spit",
)  # fmt: skip
def _fire(d):
    n = d.samples(4, 5)
    snaps = band(impulses(d, n, d.log(10, 120)), d.log(600, 2500), 12000, False) * 30
    return snaps + d(0.5, 2) * hiss(d, n, 30, 300) * (0.4 + 0.6 * wobble(d, n, 6))


@sound(
    "church bell",
    "a church bell rings", "church bells toll", "the bell of a church strikes", "a heavy bell tolls from the tower",
    "the tower calls to the service", "bronze rings over the village", "a slow deep ringing of metal",
)  # fmt: skip
def _church_bell(d):
    n, f0 = d.samples(3.5, 5), d.log(160, 640)
    partials = [f0 * r for r in (0.5, 1, 1.19, 1.5, 2, 2.52, 3.01, 4.1)]
    stroke = strike(d, n, partials, d(2.5, 1))
    return repeat(d, n, lambda: stroke, d(2.2, 1.1), 0.05)


@sound(
    "bicycle bell",
    "a bicycle bell rings", "a cyclist rings the bell", "the bell of a bike", "a bright ding from a handlebar",
    "a cyclist asks for the way", "a bicycle bell dings twice", "a small bell on the cycle path",
)  # fmt: skip
def _bicycle_bell(d):
    f0, length = d.log(1700, 4200), d.samples(0.4, 0.6)
    ring = strike(d, length, [f0, f0 * 1.51, f0 * 2.3], d(0.3, 0.12))
    def trill():
        return repeat(d, d.samples(0.5, 0.8), lambda: ring, d(0.06, 0.12), 0.05)
    return repeat(d, d.samples(1, 3), trill, d.any(0.7, 1.4))  # fmt: skip


@sound(
    "clock",
    "a clock ticks", "the clock on the wall", "an old clock ticks slowly", "seconds go by with a click",
    "a steady tick tock", "a pendulum swings in a quiet room", "a wall clock counts the time",
)  # fmt: skip
def _clock(d):
    n, f0 = d.samples(3.5, 5), d.log(1400, 5000)
    length = 2 * GRAIN
    def tick():
        return strike(d, length, [f0 * d.any(0.9, 1.1), f0 * 1.7], 0.008) + 0.4 * d.noise(length) * decay(length, 0.003)
    return repeat(d, n, tick, d.log(0.9, 0.3), 0.01)  # fmt: skip


@sound(
    "alarm clock",
    "an alarm clock beeps", "the alarm clock goes off", "an alarm beeps beside the bed", "an electronic beep again and again",
    "a wake up call in the morning", "an alarm clock rings to wake someone", "shrill beeps repeat",
)  # fmt: skip
def _alarm_clock(d):
    n, f0, burst = d.samples(3, 4.5), d.log(900, 3400), d.count(2, 4)
    on = (phase(d(6, 10), n) < 0.5) & (phase(d(1.4, 0.9), n) < 0.2 * burst)
    return np.sign(tone(f0, n)) * on + 0.3 * tone(2 * f0, n) * on


@sound(
    "telephone",
    "a telephone rings", "the telephone is ringing", "an old telephone in the hall", "somebody is calling",
    "a phone waits to be picked up", "a ring tone in the office", "a telephone rings twice and stops",
)  # fmt: skip
def _telephone(d):
    n, f0 = d.samples(3, 4.8), d.log(420, 1500)
    trill = tone(f0, n) + tone(f0 * 1.26, n) + 0.4 * tone(f0 * 3.1, n)
    return trill * (0.55 + 0.45 * tone(d.log(14, 30), n)) * (phase(d.log(0.4, 0.9), n) < 0.55)


@sound(
    "door knock",
    "a knock on the door", "somebody knocks on a door", "knocking at a wooden door", "a visitor raps with the knuckles",
    "three knocks on wood", "a door knock", "someone wants to be let in",
)  # fmt: skip
def _door_knock(d):
    f0, length = d.log(90, 380), 5 * GRAIN
    def knock():
        return strike(d, length, [f0, f0 * 2.2, f0 * 3.7], d(0.05, 0.02)) + hiss(d, length, 200, 2500) * decay(length, 0.01)
    return repeat(d, d.samples(0.7, 2), knock, d(0.35, 0.14), 0.08)  # fmt: skip


@sound(
    "footsteps",
    "footsteps on the floor", "footsteps come closer", "somebody walks along a corridor", "a person walks by",
    "heels on the pavement", "someone strolls over gravel", "steps of shoes, one after another",
)  # fmt: skip
def _footsteps(d):
    n, high, grit = d.samples(3, 4.8), d.log(400, 3500), d(0.1, 1)
    length = 6 * GRAIN
    def step():
        heel = hiss(d, length, 50, high) * decay(length, 0.03)
        return heel * 3 + grit * hiss(d, length, 1500, 7000) * arch(length, 2)
    return repeat(d, n, step, d(0.75, 0.38), 0.06)  # fmt: skip


@sound(
    "dog",
    "a dog barks", "a dog barks at a stranger", "the dog next door", "loud barking in the yard",
    "a hound guards the gate", "a puppy yaps", "a dog bays and barks",
)  # fmt: skip
def _dog(d):
    f0, formant = d.log(220, 720), d.log(700, 1500)
    def bark():
        n = d.samples(0.12, 0.3)
        glide = f0 * np.linspace(1.3, 0.8, n, dtype=np.float32)
        return (voice(glide, n, (formant, formant * 2.1)) + 0.8 * hiss(d, n, 500, 4000)) * arch(n, 0.6)
    return repeat(d, d.samples(1.2, 3.5), bark, d(0.65, 0.3), 0.3)  # fmt: skip


@sound(
    "cat",
    "a cat meows", "the cat wants food", "a hungry cat meows", "a kitten cries for its mother",
    "mewing at the door", "a cat calls", "a house pet whines softly",
)  # fmt: skip
def _cat(d):
    f0, formant = d.log(330, 950), d.log(900, 2000)
    def meow():
        n = d.samples(0.5, 1.1)
        return voice(f0 * (1 + 0.3 * arch(n, 0.8)), n, (formant, formant * 2)) * arch(n, 0.7)
    return repeat(d, d.samples(1, 3.5), meow, d(1.5, 0.9), 0.2)  # fmt: skip


@sound(
    "bird",
    "a bird sings", "birds chirp in a tree", "a small bird chirps", "tweets from the garden",
    "songbirds at dawn", "twittering in the hedge", "a bird trills its song",
)  # fmt: skip
def _bird(d):
    f0, spread, length = d.log(2000, 6500), d(0.15, 0.5), d.samples(0.06, 0.2)
    def chirp():
        sweep = f0 * (1 + spread * d.any(-1, 1) * np.linspace(-1, 1, length, dtype=np.float32))
        return tone(sweep * (1 + 0.05 * tone(d.any(20, 45), length)), length) * arch(length)
    return repeat(d, d.samples(2, 4.5), chirp, d(0.35, 0.12), 0.5)  # fmt: skip


@sound(
    "crow",
    "a crow caws", "crows caw in the trees", "a crow calls from the roof", "a raven croaks",
    "harsh caws over a field", "a black bird cries hoarsely", "a crow in the distance",
)  # fmt: skip
def _crow(d):
    f0, rough = d.log(300, 700), d(60, 110)
    def caw():
        n = d.samples(0.3, 0.55)
        buzz = harmonics(f0 * np.linspace(1.1, 0.9, n, dtype=np.float32), n, 12, 0.3)
        return band(buzz * (1 + tone(rough, n)) + 1.5 * d.noise(n), 800, 3500) * arch(n, 0.5)
    return repeat(d, d.samples(1.5, 3.5), caw, d(0.9, 0.6), 0.2)  # fmt: skip


@sound(
    "cricket",
    "a cricket chirps", "crickets on a summer night", "a cricket in the grass", "insects sing in the meadow",
    "a steady chirr after sunset", "a warm evening full of insects", "crickets chirp without pause",
)  # fmt: skip
def _cricket(d):
    n = d.samples(3.5, 5)
    return tone(d.log(3000, 6800), n) * (phase(d.log(22, 60), n) < 0.5) * (phase(d.log(1.2, 4), n) < d.any(0.4, 0.7))


@sound(
    "frog",
    "a frog croaks", "frogs croak at the pond", "a frog by the water", "croaking from the swamp",
    "a toad calls at night", "amphibians in the reeds", "a frog gives a short croak",
)  # fmt: skip
def _frog(d):
    f0, rate = d.log(250, 1100), d.log(28, 85)
    def croak():
        n = d.samples(0.2, 0.55)
        return tone(f0, n) * np.exp(-5 * phase(rate, n)) * arch(n, 0.5)
    return repeat(d, d.samples(1.5, 4), croak, d(0.9, 0.5), 0.2)  # fmt: skip


@sound(
    "cow",
    "a cow moos", "a cow moos in the barn", "cattle low in the field", "a cow on the pasture",
    "a farm animal calls deeply", "a long low bellow", "the herd waits to be milked",
)  # fmt: skip
def _cow(d):
    f0, formant = d.log(85, 230), d.log(280, 650)
    def moo():
        n = d.samples(1, 2)
        return voice(f0 * (0.85 + 0.25 * arch(n)), n, (formant, formant * 2.5), 18) * arch(n, 0.5)
    return repeat(d, d.samples(1.5, 4), moo, 2.2, 0.2)  # fmt: skip


@sound(
    "sheep",
    "a sheep bleats", "sheep bleat on the hill", "a lamb cries", "the flock calls",
    "a trembling baa", "a goat or a sheep on a farm", "bleating from the meadow",
)  # fmt: skip
def _sheep(d):
    f0, formant, tremble = d.log(240, 620), d.log(700, 1400), d(6, 11)
    def bleat():
        n = d.samples(0.6, 1.2)
        return voice(f0 * (1 + 0.05 * tone(tremble, n)), n, (formant, formant * 2)) * (0.6 + 0.4 * tone(tremble, n)) * arch(n, 0.4)
    return repeat(d, d.samples(1, 3.5), bleat, d(1.6, 1), 0.2)  # fmt: skip


@sound(
    "bee",
    "a bee buzzes", "bees buzz around a flower", "a bee flies past the ear", "a fly hums against the window",
    "an insect circles about", "a swarm at the hive", "wings whirr close by",
)  # fmt: skip
def _bee(d):
    n = d.samples(2.5, 4.8)
    return harmonics(d.log(110, 340) * (0.9 + 0.2 * wobble(d, n, 4)), n, 14, d(1, 0.4)) * (0.15 + wobble(d, n, 2))


@sound(
    "breaking glass",
    "breaking glass", "the sound of breaking glass", "a window shatters", "a bottle smashes on the floor",
    "splinters rain down", "a glass falls and breaks", "a pane goes to pieces",
)  # fmt: skip
def _breaking_glass(d):
    n = d.samples(1, 2)
    out = hiss(d, n, d.log(1500, 4500), 16000) * decay(n, d(0.12, 0.05)) * 4
    length, low = 4 * GRAIN, d.log(2300, 5500)
    for _ in range(d.count(15, 35)):
        start = int((n - length) * d.any(0, 1) ** 2)
        out[start : start + length] += 0.4 * tone(low * d.any(0.8, 2), length) * decay(length, 0.03)
    return out


@sound(
    "keyboard typing",
    "keyboard typing", "typing on a computer keyboard", "somebody types a letter", "fingers tap the keys",
    "an office worker at the computer", "fast typing", "keys click irregularly",
)  # fmt: skip
def _keyboard_typing(d):
    f0, length = d.log(1100, 4500), 2 * GRAIN
    def key():
        return hiss(d, length, f0 * d.any(0.6, 1), f0 * 3, False) * decay(length, d.any(0.004, 0.012))
    return repeat(d, d.samples(3, 4.8), key, d(0.22, 0.09), 0.7)  # fmt: skip


@sound(
    "vacuum cleaner",
    "a vacuum cleaner runs", "someone uses a vacuum cleaner", "the carpet is being cleaned", "a household machine sucks up dust",
    "a vacuum cleaner in the next room", "a loud whirring while tidying up", "hoovering the floor",
)  # fmt: skip
def _vacuum_cleaner(d):
    n = d.samples(4, 5)
    motor = harmonics(d.log(90, 280) * (1 + 0.01 * wobble(d, n, 2)), n, 16, d(1, 0.5))
    return d(0.4, 0.15) * motor + hiss(d, n, 200, d.log(2500, 9000), False) * d.any(1.5, 3)


@sound(
    "jackhammer",
    "a jackhammer breaks the pavement", "a jackhammer at work", "road work with a jackhammer", "workers drill into concrete",
    "a construction site in the street", "rapid pounding on stone", "a pneumatic drill rattles",
)  # fmt: skip
def _jackhammer(d):
    n = d.samples(2.5, 4.8)
    beat = phase(d.log(9, 30), n)
    return hiss(d, n, 100, d.log(1500, 6000), False) * np.exp(-beat * d(9, 4)) * 3 + 0.3 * harmonics(d.log(40, 90), n, 10, 0.5)


@sound(
    "chainsaw",
    "a chainsaw cuts wood", "a chainsaw revs up", "somebody fells a tree", "a lumberjack at work in the forest",
    "a power saw howls", "a chainsaw in the distance", "trees are being cut down",
)  # fmt: skip
def _chainsaw(d):
    n = d.samples(3, 4.8)
    speed = d.log(65, 170) * (0.7 + 0.6 * wobble(d, n, 1.5))
    return harmonics(speed, n, 24, d(0.5, 0.1)) + d(1, 3) * hiss(d, n, 800, 6000) * (1 + tone(speed, n)) / 2


@sound(
    "applause",
    "applause", "the audience gives applause", "people clap their hands", "a crowd claps after the concert",
    "clapping in a hall", "warm applause for the speaker", "hundreds of hands",
)  # fmt: skip
def _applause(d):
    n = d.samples(3, 4.8)
    return band(impulses(d, n, d.log(60, 700)), d.log(600, 1400), d.log(2000, 4500)) * 10 * (0.4 + 0.6 * arch(n, 0.5))


@sound(
    "whistling",
    "whistling", "somebody is whistling a tune", "a man whistles a melody", "a happy walker with a tune",
    "a clear melody from the lips", "whistling in a stairwell", "someone pipes a song",
)  # fmt: skip
def _whistling(d):
    n, base = d.samples(2.5, 4.5), d.log(750, 2400)
    notes = 2.0 ** (np.round(wobble(d, n, d(2, 4)) * 7) / 12)
    smooth = np.convolve(notes, np.full(1200, 1 / 1200), mode="same")
    return tone(base * smooth * (1 + 0.01 * tone(5.5, n)), n) * arch(n, 0.2) + 0.05 * d.noise(n)


@sound(
    "gunshot",
    "a gunshot", "gunshots in the distance", "somebody fires a gun", "a rifle is fired",
    "a hunter shoots", "a single shot rings out", "a pistol goes off",
)  # fmt: skip
def _gunshot(d):
    n, high, time = d.samples(1.5, 3.5), d.log(1200, 7000), d(0.1, 0.4)
    def shot():
        length = 30 * GRAIN
        return hiss(d, length, 60, high, False) * decay(length, time, 0.001)
    return repeat(d, n, shot, d(1.3, 0.5), 0.3)  # fmt: skip


@sound(
    "hammer",
    "a hammer strikes metal", "somebody hammers a nail", "a hammer hits an anvil", "a smith works in the forge",
    "metal is beaten", "nails are driven into a board", "blow after blow of a hammer",
)  # fmt: skip
def _hammer(d):
    f0, length = d.log(650, 2800), 15 * GRAIN
    partials = [f0 * r for r in (1, 1.47, 2.09, 2.83, 3.9)]
    def blow():
        return strike(d, length, partials, d(0.15, 0.05)) + 2 * hiss(d, length, 200, 4000) * decay(length, 0.008)
    return repeat(d, d.samples(2, 4.5), blow, d(0.85, 0.4), 0.1)  # fmt: skip


@sound(
    "laughter",
    "laughter", "a person laughs", "laughter in the room", "someone giggles at a joke",
    "ha ha ha", "a cheerful person chuckles", "people are amused",
)  # fmt: skip
def _laughter(d):
    f0, formant, rate = d.log(140, 420), d.log(600, 1100), d(4, 6.5)
    def ha():
        n = d.samples(0.1, 0.16)
        return (voice(f0 * np.linspace(1.15, 0.95, n, dtype=np.float32), n, (formant, formant * 2)) + 0.3 * hiss(d, n, 800, 4000)) * arch(n)
    return repeat(d, d.samples(1, 3), ha, 1 / rate, 0.15)  # fmt: skip


@sound(
    "crying baby",
    "a crying baby", "a baby cries", "an infant screams for milk", "a newborn is upset",
    "a crying baby in a cradle", "a little child sobs", "parents comfort their wailing child",
)  # fmt: skip
def _crying_baby(d):
    f0, formant = d.log(320, 700), d.log(1000, 1900)
    def cry():
        n = d.samples(0.7, 1.3)
        return voice(f0 * (1 + 0.2 * arch(n, 0.5) + 0.02 * tone(6, n)), n, (formant, formant * 2.4)) * arch(n, 0.4)
    return repeat(d, d.samples(2.5, 4.5), cry, d(1.5, 1), 0.15)  # fmt: skip


@sound(
    "cough",
    "a cough", "a person coughs", "somebody clears the throat", "a patient with a cold",
    "coughing in the waiting room", "a sick man hacks", "a dry cough",
)  # fmt: skip
def _cough(d):
    low = d.log(350, 900)
    def burst():
        n = d.samples(0.15, 0.3)
        return hiss(d, n, low, low * 5) * decay(n, d.any(0.05, 0.1), 0.01) * 2 + 0.3 * harmonics(d.any(110, 180), n, 8, 1) * decay(n, 0.05)
    return repeat(d, d.samples(0.8, 2.5), burst, d(0.6, 0.3), 0.3)  # fmt: skip


__all__ = ["SAMPLING_RATE", "SOUND_CLASSES", "Draw", "SoundClass", "hiss"]
