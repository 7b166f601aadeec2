"""Scenes of two sounds: how they are drawn, what their waveforms hold, and that a manifest brings them back."""

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset

from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.errors import ClipError, InputError
from modeling_clap_student.temporal.preparation import (
    PreparedClips,
    a_weighting,
    excerpt,
    loudness,
    mix,
    set_level,
    trim_silence,
)
from modeling_clap_student.temporal.scenes import (
    Deck,
    Scene,
    SceneRenderer,
    is_held_out,
    read_manifest,
    write_manifest,
)


RATE = 8000
SIZE = 10 * RATE
FADE = 160  # 20 ms
NAMES = [f"sound {number}" for number in range(12)]


def table(waveforms: dict[str, np.ndarray], folder: Path, rate: int = RATE) -> Dataset:
    """Clips as float wav files; an id is `CLASS/NUMBER`."""
    rows = []
    for number, (audio_id, waveform) in enumerate(waveforms.items()):
        soundfile.write(folder / f"{number}.wav", waveform, rate, subtype="FLOAT")
        audio = {"path": str(folder / f"{number}.wav"), "bytes": None}
        rows.append({"audio": audio, "audio_id": audio_id, "label": audio_id.split("/")[0]})
    return Dataset.from_list(rows)


def names_only(classes: list[str], clips_each: int = 3) -> Dataset:
    ids = [f"{name}/{number}" for name in classes for number in range(clips_each)]
    return Dataset.from_dict({"audio_id": ids, "label": [name.split("/")[0] for name in ids]})


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def tone(frequency: float, seconds: float, level: float = 0.5, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def scene(clip_a: str = "dog/0", clip_b: str = "rain/0", border: float = 4.2, seed: int = 5) -> Scene:
    return Scene(0, clip_a, clip_b, clip_a.split("/")[0], clip_b.split("/")[0], border, seed, True)


@pytest.fixture
def skipped(tmp_path) -> SkippedClips:
    return SkippedClips(tmp_path / "skipped.csv")


@pytest.fixture
def two_clips(tmp_path) -> Dataset:
    """A loud long noise between silences, and a soft short tone."""
    silence = np.zeros(RATE, np.float32)
    dog = np.concatenate([silence, noise(8, 0.2), silence])
    return table({"dog/0": dog, "rain/0": tone(440, 1.3, 0.01)}, tmp_path)


# Which classes are heard together.


def test_held_out_pairs_depend_on_the_names_alone():
    """Guards against a pair that is held out in one corpus, order or spelling and trained on in another."""
    pairs = list(combinations([f"class {n}" for n in range(200)], 2))
    held_out = [is_held_out(a, b) for a, b in pairs]
    # 19,900 coins: a standard deviation of 0.28 %.
    assert np.mean(held_out) == pytest.approx(0.2, abs=0.012)
    assert held_out == [is_held_out(b, a) for a, b in pairs]
    assert held_out == [is_held_out(a.upper(), b.replace(" ", "_")) for a, b in pairs]
    others = [is_held_out(a, b, seed=1) for a, b in pairs]
    assert np.mean(np.logical_and(held_out, others)) == pytest.approx(0.04, abs=0.007)
    assert not any(is_held_out(a, b, fraction=0) for a, b in pairs)
    assert all(is_held_out(a, b, fraction=1) for a, b in pairs)
    wider = [is_held_out(a, b, fraction=0.5) for a, b in pairs]
    assert all(not small or large for small, large in zip(held_out, wider, strict=True))


def test_held_out_pairs_stay_as_they_are():
    """Guards against a change of the hash, which would let trained models be tested on pairs that they heard."""
    names = ["dog", "rain", "siren", "sea waves", "church bells", "engine"]
    assert [pair for pair in combinations(names, 2) if is_held_out(*pair)] == [
        ("dog", "siren"),
        ("siren", "church bells"),
    ]


def test_class_pairs_are_equally_likely():
    """Guards against classes of many clips that are heard more often: chi-square over 66 pairs, both orders, clips."""
    clips = Dataset.from_list([*names_only(NAMES[1:]), *names_only(NAMES[:1], clips_each=40)])
    scenes = Deck(clips, seed=3).scenes(13200)
    pairs = Counter(frozenset((s.class_a, s.class_b)) for s in scenes)
    assert len(pairs) == 66 and all(len(pair) == 2 for pair in pairs)
    # 65 degrees of freedom: mean 65, standard deviation 11.4; 1 in 1000 lies above 106.
    assert sum((count - 200) ** 2 / 200 for count in pairs.values()) < 106
    assert sum(s.class_a < s.class_b for s in scenes) / len(scenes) == pytest.approx(0.5, abs=0.015)
    for side in ("a", "b"):
        drawn = Counter(getattr(s, f"clip_{side}") for s in scenes if getattr(s, f"class_{side}") == NAMES[0])
        assert len(drawn) == 40 and max(drawn.values()) < 3 * min(drawn.values())


def test_scenes_are_drawn_within_their_ranges():
    """Guards against clips of another class, one clip twice, and borders that tell a relation."""
    scenes = Deck(names_only(NAMES), seed=0).scenes(3000)
    for drawn in scenes:
        assert drawn.clip_a.startswith(drawn.class_a + "/") and drawn.clip_b.startswith(drawn.class_b + "/")
        assert drawn.class_a != drawn.class_b and 3.5 <= drawn.border <= 6.5
        assert drawn.seen_pair is not is_held_out(drawn.class_a, drawn.class_b)
    borders = np.array([drawn.border for drawn in scenes])
    assert np.histogram(borders, 6, (3.5, 6.5))[0].min() > 400  # of 500 expected
    assert len({drawn.seed for drawn in scenes}) == 3000 and [drawn.id for drawn in scenes] == list(range(3000))


def test_a_scene_is_a_function_of_clips_seed_and_number():
    """Guards against scenes that depend on what was drawn before, on the order of rows, or not on the seed."""
    clips = names_only(NAMES)
    one, two = Deck(clips, seed=7), Deck(clips.select(list(range(len(clips)))[::-1]), seed=7)
    assert [two.scene(number) for number in (9, 2, 9)] == [one.scenes(10)[number] for number in (9, 2, 9)]
    assert one.scene(3) != replace(Deck(clips, seed=8).scene(3), id=3)


def test_held_out_pairs_are_never_drawn_for_training():
    """Guards against unseen pairs that training hears, seen ones among the unseen, and classes left out."""
    clips = names_only(NAMES)
    held_out = {frozenset(pair) for pair in combinations(NAMES, 2) if is_held_out(*pair)}
    assert 3 < len(held_out) < 30
    drawn = {
        pairs: {frozenset((s.class_a, s.class_b)) for s in Deck(clips, 1, pairs).scenes(2000)}
        for pairs in ("all", "seen", "unseen")
    }
    assert drawn["unseen"] == held_out
    assert drawn["seen"] == drawn["all"] - held_out and len(drawn["all"]) == 66
    deck = Deck(clips, 1, without={"sound_3", "sound 5"})
    assert deck.class_names == sorted(set(NAMES) - {"sound 3", "sound 5"})
    assert {name for s in deck.scenes(500) for name in (s.class_a, s.class_b)} == set(deck.class_names)


def test_clips_that_make_no_scenes_are_refused():
    """Guards against an endless search for a pair, or a scene of one class."""
    with pytest.raises(InputError, match="at least 2 classes, and there are 1"):
        Deck(names_only(NAMES[:3]), 0, without=NAMES[:2])
    pair = next(pair for pair in combinations(NAMES, 2) if not is_held_out(*pair))
    with pytest.raises(InputError, match="not one pair of the 2 classes is unseen"):
        Deck(names_only(list(pair)), 0, "unseen")
    with pytest.raises(ValueError, match="unknown pairs"):
        Deck(names_only(NAMES), 0, "held out")


# What a scene sounds like.


def test_forward_and_reverse_hold_the_same_samples(two_clips, skipped):
    """Guards against anything but the order that tells the two apart: one is the other with its parts exchanged."""
    renderer = SceneRenderer(two_clips, RATE, skipped)
    forward, reverse = (renderer.render(scene(border=4.2), relation) for relation in ("forward", "reverse"))
    border = round(4.2 * RATE)
    assert forward.shape == reverse.shape == (SIZE,) and forward.dtype == reverse.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([forward[border:], forward[:border]]), reverse)
    np.testing.assert_array_equal(np.sort(forward), np.sort(reverse))


def test_parts_are_of_their_clips_at_one_level(two_clips, skipped):
    """Guards against silence that is kept, unequal levels, and parts of the other clip: 20 dB lie between these."""
    forward = SceneRenderer(two_clips, RATE, skipped).render(scene(border=4.2), "forward")
    border = round(4.2 * RATE)
    # Where nothing fades, a part is its clip times a factor: correlation finds the place, the tone's phase its period.
    inner = forward[FADE : border - FADE].astype(np.float64)
    source = noise(8, 0.2).astype(np.float64)
    spectrum = np.fft.rfft(source, 2 * len(source)) * np.fft.rfft(inner, 2 * len(source)).conj()
    place = int(np.argmax(np.fft.irfft(spectrum)[: len(source)]))
    part = source[place : place + len(inner)]
    np.testing.assert_allclose(inner, part * (inner @ part / (part @ part)), atol=1e-6)
    whole = source[place - FADE : place - FADE + border]
    gain = inner @ part / (part @ part)
    assert 20 * np.log10(gain * np.sqrt(np.mean(whole**2))) == pytest.approx(-26, abs=1e-3)
    looped = np.resize(trim_silence(tone(440, 1.3, 0.01), RATE), SIZE - border).astype(np.float64)
    looped *= 10 ** (-26 / 20) / np.sqrt(np.mean(looped**2))
    np.testing.assert_allclose(forward[border + FADE : -FADE], looped[FADE:-FADE], atol=1e-6)


def test_both_parts_fade_at_their_ends(two_clips, skipped):
    """Guards against a click at the border, in either order: the tone's ends against a ramp of 20 ms."""
    forward = SceneRenderer(two_clips, RATE, skipped).render(scene(border=4.2), "forward")
    part = forward[round(4.2 * RATE) :]
    level = 10 ** (-26 / 20)
    plain = np.resize(trim_silence(tone(440, 1.3, 0.01), RATE), len(part))
    plain = plain * (level / np.sqrt(np.mean(plain.astype(np.float64) ** 2)))
    ramp = (np.arange(FADE) + 0.5) / FADE
    np.testing.assert_allclose(part[:FADE], plain[:FADE] * ramp, atol=1e-6)
    np.testing.assert_allclose(part[-FADE:], plain[-FADE:] * ramp[::-1], atol=1e-6)


def test_level_of_what_is_prepared():
    """Guards against a level that is off, or a peak beyond 0.99: a click every second can't be as loud as noise."""
    for waveform in (noise(4, 0.001), tone(100, 4, 0.9), noise(0.6, 30)):
        level = np.sqrt(np.mean(set_level(waveform).astype(np.float64) ** 2))
        assert 20 * np.log10(level) == pytest.approx(-26, abs=1e-3)
    clicks = np.zeros(4 * RATE, np.float32)
    clicks[::RATE] = 0.2
    assert np.abs(set_level(clicks)).max() == pytest.approx(0.99, abs=1e-6)


def test_silence_is_cut_away_but_half_a_second_stays():
    """Guards against pauses that tell which sound is first, and clips that buzz as they are looped."""
    sound = np.zeros(3 * RATE, np.float32)
    sound[5000:15000] = 0.5
    sound[4000:16000] += np.float32(0.5 * 0.9e-3)  # -60.9 dB of the peak
    sound[3000] = sound[18000] = 0.5 * 1.2e-3  # -58 dB
    peak = np.abs(sound).max()
    np.testing.assert_array_equal(trim_silence(sound, RATE), sound[3000:18001] / peak)
    click = np.zeros(3 * RATE, np.float32)
    for place, start in ((9000, 9000), (0, 0), (3 * RATE - 1, 3 * RATE - RATE // 2)):
        click[:] = 0
        click[place] = -0.3
        np.testing.assert_array_equal(trim_silence(click, RATE), click[start : start + RATE // 2] / np.float32(0.3))
    assert len(trim_silence(click[-100:], RATE)) == 100
    with pytest.raises(ClipError, match="is silent"):
        trim_silence(np.zeros(RATE, np.float32), RATE)


def test_excerpts_are_audible_and_everywhere():
    """Guards against parts that are the pause between two sounds, places never drawn, and parts past the end."""
    barks = np.zeros(5 * RATE, np.float32)
    barks[:2000] = barks[-2000:] = 1
    parts = [excerpt(barks, 2 * RATE, [seed, 0]) for seed in range(200)]
    assert all(len(part) == 2 * RATE and part.sum() > 0 for part in parts)
    first = sum(part[:2000].sum() > 0 and part[-1] == 0 for part in parts)
    assert 60 < first < 140
    numbers = np.arange(1, 4001, dtype=np.float32)
    starts = [int(excerpt(numbers, 1000, [seed])[0]) for seed in range(300)]
    assert min(starts) < 800 and max(starts) > 2990 and all(1 <= start <= 3001 for start in starts)
    np.testing.assert_array_equal(excerpt(numbers, 1000, [5]), excerpt(numbers, 1000, [5]))
    np.testing.assert_array_equal(excerpt(numbers[:3], 8, [0]), [1, 2, 3, 1, 2, 3, 1, 2])


def test_overlay_is_both_parts_equally_loud(tmp_path, skipped):
    """Guards against an overlay where one sound drowns the other, or that is louder than the concatenations."""
    clips = table({"dog/0": noise(6, 0.3, 1), "rain/0": noise(7, 0.01, 2)}, tmp_path)
    renderer = SceneRenderer(clips, RATE, skipped)
    forward, overlay = renderer.render(scene(), "forward"), renderer.render(scene(), "overlay")
    border = round(4.2 * RATE)
    parts = [np.resize(part, SIZE).astype(np.float64) for part in (forward[:border], forward[border:])]
    weights, residual, *_ = np.linalg.lstsq(np.stack(parts, axis=1), overlay.astype(np.float64), rcond=None)
    assert residual.item() < 1e-8 and np.hypot(*weights) == pytest.approx(1, abs=1e-5)
    assert weights[0] == pytest.approx(weights[1], rel=0.1)  # noises alike: their loudest frames differ little
    power = [np.mean(waveform.astype(np.float64) ** 2) for waveform in (forward, overlay)]
    assert power[0] == pytest.approx(power[1], rel=0.02)


def test_overlay_raises_what_the_ear_hears_less(tmp_path, skipped):
    """Guards against levels by power, or of the other sound: 100 Hz is 19.1 dB below 1 kHz to the ear."""
    clips = table({"hum/0": tone(100, 10), "beep/0": tone(1000, 10)}, tmp_path)
    overlay = SceneRenderer(clips, RATE, skipped).render(scene("hum/0", "beep/0", border=5.0), "overlay")
    spectrum = np.abs(np.fft.rfft(overlay[RATE // 2 : RATE // 2 + 4 * RATE] * np.hanning(4 * RATE)))
    assert 20 * np.log10(spectrum[400] / spectrum[4000]) == pytest.approx(19.1, abs=0.4)


def test_parts_of_two_clips_are_drawn_apart(tmp_path, skipped):
    """Guards against one place for both parts, and against a place that the seed does not choose."""
    clips = table({"dog/0": noise(9), "rain/0": noise(9)}, tmp_path)
    renderer = SceneRenderer(clips, RATE, skipped)
    scenes = [renderer.render(scene(border=5.0, seed=seed), "forward") for seed in range(4)]
    parts = {half.tobytes() for waveform in scenes for half in np.split(waveform, 2)}
    assert len(parts) == 8


def test_mix_is_the_formula():
    """Guards against the louder sound being the one that is raised, and against shares mixed up."""
    first, second = noise(1, seed=1).astype(np.float64), noise(1, seed=2).astype(np.float64)
    for share, difference in ((0.5, 0), (0.5, 6.0), (0.5, -20.0), (0.3, 3.0)):
        t = 1 / (1 + 10 ** (difference / 20) * (1 - share) / share)
        expected = (t * first + (1 - t) * second) / (t**2 + (1 - t) ** 2) ** 0.5
        np.testing.assert_allclose(mix(first, second, difference - 30, -30, share), expected, rtol=1e-5, atol=1e-7)
    loud, soft = tone(1000, 1, 0.5), tone(1500, 1, 0.05)
    mixed = mix(loud, soft, 0.0, -20.0).astype(np.float64)
    heard = [abs(mixed @ wave.astype(np.float64)) / np.linalg.norm(wave) for wave in (loud, soft)]
    assert heard[0] == pytest.approx(heard[1], rel=1e-3)


def test_a_weighting_has_the_standards_values():
    """Guards against another curve: values of IEC 61672-1's table, which has them to 0.1 dB for thirds of octaves."""
    thirds = np.array([-17, -15, -12, -10, -7, -3, 0, 3, 6, 9, 10, 12])  # 20, 31.5, 63, 100 … 8000, 10000, 16000 Hz
    expected = [-50.5, -39.4, -26.2, -19.1, -10.9, -3.2, 0.0, 1.2, 1.0, -1.1, -2.5, -6.6]
    np.testing.assert_allclose(a_weighting(1000 * 10 ** (thirds / 10)), expected, atol=0.051)
    assert np.isneginf(a_weighting(np.array([0.0])))[0]


@pytest.mark.parametrize("rate", [8000, 44100])
def test_loudness_of_tones(rate):
    """Guards against frames, windows or weights that change a level: a tone's is its power, weighted by its pitch."""
    for frequency, weight in ((1000, 0.0), (100, -19.1), (2000, 1.2)):
        level = loudness(tone(frequency, 1, 0.5, rate), rate)
        assert level == pytest.approx(10 * np.log10(0.5**2 / 2) + weight, abs=0.3)
    burst = np.zeros(2 * rate, np.float32)
    burst[rate : rate + rate // 2] = tone(1000, 0.5, 0.5, rate)
    assert loudness(burst, rate) == pytest.approx(10 * np.log10(0.5**2 / 2), abs=0.1)  # the loudest frame counts
    for silence in (0.2, 1, 1.07):  # the tone is in the last frames alone, also where they don't fill up
        late = np.concatenate([np.zeros(round(silence * rate), np.float32), tone(1000, 0.3, 0.5, rate)])
        assert loudness(late, rate) == pytest.approx(10 * np.log10(0.5**2 / 2), abs=0.1)
    assert loudness(np.zeros(rate, np.float32), rate) == -100


def test_gain_of_the_second_sound(two_clips, skipped):
    """Guards against a gain on the first, or on one clip in both orders, and against waveforms beyond full scale."""
    renderer = SceneRenderer(two_clips, RATE, skipped)
    for relation, border in (("forward", 4.2), ("reverse", 5.8)):
        plain, border = renderer.render(scene(border=4.2), relation), round(border * RATE)
        for gain in (-6, 6):
            louder = renderer.render(scene(border=4.2), relation, gain)
            np.testing.assert_allclose(louder[:border], plain[:border], rtol=1e-6)
            np.testing.assert_allclose(louder[border:], plain[border:] * 10 ** (gain / 20), rtol=1e-5)
    loudest = renderer.render(scene(border=4.2), "reverse", 40)
    assert np.abs(loudest).max() == pytest.approx(0.99, abs=1e-6)
    ratio = np.linalg.norm(loudest[border:]) / np.linalg.norm(loudest[:border])
    assert ratio == pytest.approx(100 * np.linalg.norm(plain[border:]) / np.linalg.norm(plain[:border]), rel=1e-4)
    with pytest.raises(ValueError, match="two sounds at once have no second one"):
        renderer.render(scene(), "overlay", 6)
    with pytest.raises(ValueError, match="unknown relation"):
        renderer.render(scene(), "while")


def test_the_authors_construction(tmp_path, skipped):
    """Guards against clips that are trimmed, levelled or faded where the comparison is with those who do not."""
    dog, rain = np.concatenate([np.zeros(900, np.float32), noise(6, 0.3, 1)]), noise(2, 0.05, 2)
    renderer = SceneRenderer(table({"dog/0": dog, "rain/0": rain}, tmp_path), RATE, skipped, "authors")
    a, b = dog[: 5 * RATE], np.concatenate([rain, rain, rain])[: 5 * RATE]
    np.testing.assert_array_equal(renderer.render(scene(), "forward"), np.concatenate([a, b]))
    np.testing.assert_array_equal(renderer.render(scene(), "reverse"), np.concatenate([b, a]))
    total = np.minimum(np.maximum(a + b, -1), 1)
    assert np.abs(a + b).max() > 1
    np.testing.assert_array_equal(renderer.render(scene(), "overlay"), np.concatenate([total, total]))
    np.testing.assert_array_equal(renderer.single("rain/0"), np.concatenate([rain] * 5))
    with pytest.raises(ValueError, match="unknown construction"):
        SceneRenderer(table({"dog/0": dog}, tmp_path), RATE, skipped, "theirs")


def test_single_clips(two_clips, skipped):
    """Guards against single sounds of another level or length than scenes, and against one part of a long clip."""
    renderer = SceneRenderer(two_clips, RATE, skipped)
    for audio_id in ("dog/0", "rain/0"):
        clip = renderer.single(audio_id)
        assert clip.shape == (SIZE,) and clip.dtype == np.float32
        assert 10 * np.log10(np.mean(clip.astype(np.float64) ** 2)) == pytest.approx(-26, abs=1e-3)
        assert np.abs(clip[:RATE]).max() > 0.01  # no silence in front
    np.testing.assert_array_equal(renderer.single("dog/0"), renderer.single("dog/0"))


def test_clips_as_they_are(tmp_path, skipped):
    """Guards against retention of sounds that no evaluation hears: trimmed, or at another level."""
    quiet, long = np.concatenate([np.zeros(RATE), noise(1, 0.01)]).astype(np.float32), noise(20)
    renderer = SceneRenderer(table({"dog/0": quiet, "rain/0": long}, tmp_path), RATE, skipped)
    np.testing.assert_allclose(renderer.original("dog/0"), np.resize(quiet, SIZE), atol=1e-4)
    for seed in (0, 12345, 10**9):
        start = seed % (len(long) - SIZE + 1)
        np.testing.assert_allclose(renderer.original("rain/0", seed), long[start : start + SIZE], atol=1e-4)
    with pytest.raises(InputError, match="no clip 'cat/7'"):
        renderer.original("cat/7")


def test_single_parts_of_a_long_clip(tmp_path, skipped):
    """Guards against always hearing the beginning of a clip longer than a scene."""
    renderer = SceneRenderer(table({"rain/0": noise(14)}, tmp_path), RATE, skipped)
    assert len({renderer.single("rain/0", seed).tobytes() for seed in range(8)}) == 8


@pytest.mark.parametrize("construction", ["ours", "authors"])
def test_renderers_agree(two_clips, tmp_path, skipped, construction):
    """Guards against waveforms that depend on calls before, on the memory's size, on threads, or on a pickled copy."""
    jobs = [(scene(seed=seed), relation) for seed in range(6) for relation in ("forward", "overlay")]
    fresh = [SceneRenderer(two_clips, RATE, skipped, construction).render(*job) for job in jobs]
    renderer = SceneRenderer(two_clips, RATE, skipped, construction)
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda job: renderer.render(*job), jobs * 3))
    for one, other in zip(fresh * 3, together, strict=True):
        np.testing.assert_array_equal(one, other)
        other[:] = 0  # what is handed out is the caller's
    copy = pickle.loads(pickle.dumps(renderer))
    np.testing.assert_array_equal(copy.render(*jobs[3]), renderer.render(*jobs[3]))
    assert renderer.render(*jobs[3]).any()


def test_memory_is_bounded(tmp_path, skipped, monkeypatch):
    """Guards against a corpus that is kept whole, and clips that are decoded each time though there is room."""
    from modeling_clap_student.temporal import preparation

    reads = []
    decode = preparation.decode_clip
    monkeypatch.setattr(preparation, "decode_clip", lambda audio, rate: reads.append(1) or decode(audio, rate))
    clips = table({f"dog/{n}": noise(1, seed=n) for n in range(5)}, tmp_path)
    memory = PreparedClips(clips, RATE, skipped, None, most_bytes=3 * 4 * RATE)
    for number in (0, 1, 2, 0, 2, 0, 1, 0):
        assert memory[f"dog/{number}"].nbytes == 4 * RATE
    assert len(reads) == 3
    memory["dog/3"]  # in the place of 2, which was asked for longest ago
    memory["dog/0"], memory["dog/1"], memory["dog/3"]
    assert len(reads) == 4
    memory["dog/2"]
    assert len(reads) == 5
    with pytest.raises(ValueError, match="read-only"):
        memory["dog/0"][0] = 1


def test_bad_clips_are_listed_once(tmp_path, skipped):
    """Guards against a run that ends at a broken file or a silent one, and a list that grows at each epoch."""
    silent = np.zeros(RATE, np.float32)
    clips = table({"dog/0": noise(1), "rain/0": noise(1), "wind/0": silent, "bird/0": noise(2)}, tmp_path)
    Path(clips[1]["audio"]["path"]).write_text("this is not audio")
    renderer = SceneRenderer(clips, RATE, skipped)
    for _ in range(3):
        for bad in ("rain/0", "wind/0"):
            with pytest.raises(ClipError):
                renderer.render(scene("dog/0", bad), "forward")
    with pytest.raises(ClipError):
        renderer.single("rain/0")
    assert set(skipped.read()) == {"rain/0", "wind/0"} and "silent" in skipped.read()["wind/0"]
    assert len(skipped.path.read_text().splitlines()) == 2
    assert renderer.render(scene("dog/0", "bird/0"), "reverse").any()


def test_clips_of_another_corpus_are_an_error(two_clips, skipped):
    """Guards against a manifest made for other clips that is tested on what happens to be there."""
    renderer = SceneRenderer(two_clips, RATE, skipped)
    with pytest.raises(InputError, match="no clip 'cat/7' among the 2 given"):
        renderer.render(scene("dog/0", "cat/7"), "forward")
    with pytest.raises(InputError, match="no clip 'cat/7'"):
        renderer.single("cat/7")
    assert skipped.read() == {}


def test_built_in_clips_make_scenes(skipped):
    """Guards against scenes that need files: the package's own corpus, at the rate of its models."""
    clips = read_benchmark("soundscapes:train").clips
    deck, renderer = Deck(clips, 0, "seen"), SceneRenderer(clips, 44100, skipped)
    assert len(deck.class_names) == 40
    for relation in ("forward", "overlay"):
        waveform = renderer.render(deck.scene(1), relation)
        assert waveform.shape == (441000,) and np.isfinite(waveform).all() and 0.05 < np.abs(waveform).max() <= 0.99


# Manifests.


def test_a_manifest_brings_scenes_back(tmp_path):
    """Guards against borders that are rounded, ids or names with commas, quotes or accents that change, and flags."""
    scenes = [*Deck(names_only(NAMES), 5).scenes(300), replace(scene('a, "b"/é.wav', "c\nd/1.wav"), id=-7)]
    write_manifest(tmp_path / "new" / "test.csv", scenes)
    assert read_manifest(tmp_path / "new" / "test.csv") == scenes
    assert {drawn.seen_pair for drawn in scenes} == {True, False}
    header = (tmp_path / "new" / "test.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "id,clip_a,clip_b,class_a,class_b,border,seed,seen_pair"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["test.csv"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0,a,b,A,B,five,1,True", "row 1 has an invalid value: .*five"),
        ("x,a,b,A,B,5.0,1,True", "row 1 has an invalid value"),
        ("0,a,b,A,B,5.0,1,maybe", "row 1 has an invalid value"),
        ("0,a,b,A,B,10.0,1,True", "row 1 is no scene"),
        ("0,a,b,A,B,nan,1,True", "row 1 is no scene"),
        ("0,a,,A,B,5.0,1,True", "row 1 is no scene"),
        ("0,a,b,A,B,5.0,-1,True", "row 1 is no scene"),
        ("", "holds no rows"),
    ],
)
def test_manifests_that_hold_no_scenes_are_refused(tmp_path, row, words):
    """Guards against a damaged or edited manifest that fails late, or is tested as something else."""
    path = tmp_path / "test.csv"
    path.write_text(f"id,clip_a,clip_b,class_a,class_b,border,seed,seen_pair\n{row}\n")
    with pytest.raises(InputError, match=words):
        read_manifest(path)
    path.write_text("id,clip_a,clip_b\n0,a,b\n")
    with pytest.raises(InputError, match="no column class_a"):
        read_manifest(path)
    with pytest.raises(InputError, match="is missing"):
        read_manifest(tmp_path / "gone.csv")
