"""The built-in corpus: its classes and captions, its parts, and that nothing but the sound gives a class away."""

from collections import Counter

import numpy as np
import pytest

from modeling_clap_student.errors import InputError
from modeling_clap_student.soundscapes import corpus as soundscapes
from modeling_clap_student.soundscapes.corpus import (
    TEST_CLASSES,
    captioned_clips,
    holds_event,
    labelled_clips,
    pool_clips,
    render,
)
from modeling_clap_student.soundscapes.sounds import SOUND_CLASSES
from modeling_clap_student.soundscapes.synthesis import Draw


PARTS = ("train", "pool", "test")


def address(part: str, number: int) -> str:
    return f"soundscapes://{part}/{number}"


def nearest_centroid_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Each clip goes to the class whose other clips' mean is nearest, in units of the features' spread."""
    features = (features - features.mean(axis=0)) / features.std(axis=0).clip(1e-9)
    right = 0
    for i, own in enumerate(labels):
        others = np.arange(len(labels)) != i
        distance = {
            label: np.linalg.norm(features[others & (labels == label)].mean(axis=0) - features[i])
            for label in np.unique(labels)
        }
        right += min(distance, key=distance.get) == own
    return right / len(labels)


def test_classes_and_captions():
    """Guards against captions that name no class for sure, or that a search for class names would find all of."""
    assert len(SOUND_CLASSES) >= 30 and set(TEST_CLASSES) <= set(SOUND_CLASSES)
    for name, kind in SOUND_CLASSES.items():
        assert kind.name == name and len(kind.captions) >= 6
        assert any(name in caption for caption in kind.captions)
        assert any(name not in caption for caption in kind.captions), name
    counts = Counter(caption.lower() for kind in SOUND_CLASSES.values() for caption in kind.captions)
    assert counts.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", SOUND_CLASSES)
def test_every_class_sounds(name):
    """Guards against a generator that fails, is silent or overflows for some of its parameters."""
    events = [
        SOUND_CLASSES[name].synthesize(Draw(np.random.default_rng([seed, 5]), extent))
        for seed, extent in enumerate([(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.4, 1.0)])
    ]
    for event in events:
        assert event.ndim == 1 and len(event) > 2000 and np.isfinite(event).all() and np.abs(event).max() > 1e-3
    assert not np.array_equal(events[0], events[1])


@pytest.mark.parametrize("part", PARTS)
def test_clips_are_waveforms_in_range(part):
    """Guards against clips of another length or type, and levels that clip."""
    for number in range(12):
        clip = render(address(part, number))
        assert clip.shape == (220500,) and clip.dtype == np.float32
        assert np.isfinite(clip).all() and 0.09 < np.abs(clip).max() <= 1


def test_clips_are_pure_functions_of_their_address():
    """Guards against clips that depend on the order of calls, on what is cached, or on a caller's changes."""
    first = {part: render(address(part, 17)) for part in PARTS}
    again = render(address("pool", 17))
    again[:] = 0
    np.testing.assert_array_equal(render(address("pool", 17)), first["pool"])
    soundscapes._render_16_bit.cache_clear()
    np.random.seed(5)
    for part in reversed(PARTS):
        np.testing.assert_array_equal(render(address(part, 17)), first[part])


@pytest.mark.parametrize(
    ("part", "number", "positions", "values"),
    [
        ("train", 7, [70862, 101055, 106553, 126339, 152601], [-0.1086, -0.1335, 0.1103, 0.1072, 0.1041]),
        ("pool", 17, [30032, 71840, 100120, 148729, 218879], [0.1142, 0.1867, 0.1288, -0.1098, -0.1037]),
        ("test", 3, [6806, 20600, 40039, 75716, 97482], [0.1049, 0.2141, -0.12, -0.2299, 0.1013]),
    ],
)
def test_clips_stay_as_they_are(part, number, positions, values):
    """Guards against changes, or platforms, that alter the corpus and with it every number measured on it."""
    np.testing.assert_allclose(render(address(part, number))[positions], values, rtol=0, atol=2e-3)


def test_no_two_clips_are_drawn_alike():
    """Guards against test clips that are heard in training: the parts' random states, then waveforms, are compared."""
    states = {
        soundscapes._plan(part, number)[0].rng.bit_generator.state["state"]["state"]
        for part, clips in zip(PARTS, (captioned_clips(), pool_clips(), labelled_clips()), strict=True)
        for number in range(len(clips))
    }
    assert len(states) == len(captioned_clips()) + len(pool_clips()) + len(labelled_clips())
    waveforms = {render(address(part, number)).tobytes() for part in PARTS for number in range(40)}
    assert len(waveforms) == 3 * 40


def test_domains_overlap_in_part():
    """Guards against a test that equals the training domain, or one that shares nothing with it."""
    train, pool, test = (soundscapes._plan(part, 0)[0].extent for part in PARTS)
    assert train[0] < test[0] < train[1] < test[1]
    assert pool[0] <= train[0] and pool[1] >= test[1]
    draws = {e: [Draw(np.random.default_rng(i), e).log(100, 1000) for i in range(300)] for e in (train, test)}
    assert min(draws[train]) < min(draws[test]) < max(draws[train]) < max(draws[test])


def test_the_domain_is_balanced():
    """Guards against a test of few clips, or one where a constant answer does well."""
    rows = labelled_clips()
    counts = Counter(label for _, _, label in rows)
    assert set(counts) == set(TEST_CLASSES) and len(counts) == 10
    assert len(rows) >= 500 and len(set(counts.values())) == 1
    assert len({clip for clip, _, _ in rows}) == len({name for _, name, _ in rows}) == len(rows)


def test_training_captions_fit_their_clips():
    """Guards against captions of another clip's event, and classes or captions that never occur."""
    rows = captioned_clips()
    assert all(holds_event(clip, caption) is True for clip, _, caption in rows)
    counts = Counter(name for _, _, c in rows for name, kind in SOUND_CLASSES.items() if c in kind.captions)
    assert set(counts) == set(SOUND_CLASSES) and max(counts.values()) - min(counts.values()) <= 1
    assert len({caption for _, _, caption in rows}) > 0.9 * sum(len(k.captions) for k in SOUND_CLASSES.values())


def test_training_labels_fit_their_captions():
    """Guards against class names of other clips than the captions are of."""
    for (clip, name, label), (captioned, _, caption) in zip(labelled_clips("train"), captioned_clips(), strict=True):
        assert clip == captioned == f"soundscapes://{name}" and caption in SOUND_CLASSES[label].captions


def test_level_and_length_do_not_tell_the_class():
    """Guards against an accuracy that a level meter would reach; the spectrum shows that this can fail."""
    rows = labelled_clips()[:200]
    labels = np.array([label for _, _, label in rows])
    level_and_length, spectrum = [], []
    for clip, _, _ in rows:
        waveform = render(clip)
        peak = np.abs(waveform).max()
        level_and_length.append([peak, len(waveform)])
        power = np.abs(np.fft.rfft(waveform / peak)) ** 2
        spectrum.append([np.log(band.sum() + 1e-9) for band in np.array_split(power, 12)])
    # Chance is 0.1 with a standard deviation of 0.021.
    assert nearest_centroid_accuracy(np.array(level_and_length), labels) < 0.18
    assert nearest_centroid_accuracy(np.array(spectrum), labels) > 0.4
    peaks = np.array(level_and_length)[:, 0]
    assert peaks.min() < 0.15 and peaks.max() > 0.85


def test_clips_in_the_wild_hold_one_to_three_events():
    """Guards against a pool as tidy as the training clips."""
    one_caption_each = [kind.captions[0] for kind in SOUND_CLASSES.values()]
    clips = [clip for clip, _ in pool_clips()[:600]]
    counts = Counter(sum(holds_event(clip, caption) for caption in one_caption_each) for clip in clips)
    assert set(counts) == {1, 2, 3}
    assert [counts[n] / len(clips) for n in (1, 2, 3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.08)


def test_holds_event_agrees_with_the_labels():
    """Guards against a judgement that calls every pair right, or judges pairs that it can't."""
    clip, _, label = labelled_clips()[0]
    for name, kind in SOUND_CLASSES.items():
        assert {holds_event(clip, caption) for caption in kind.captions} == {name == label}
    assert holds_event(clip, "somebody else's words") is None
    assert holds_event("/clips/a.wav", SOUND_CLASSES[label].captions[0]) is None


@pytest.mark.parametrize(
    "end", ["train/1200", "train/-1", "train/", "train/1/2", "train/a", "other/1", "train/1.5", ""]
)
def test_addresses_of_no_clip_are_refused(end):
    """Guards against clips past the end of a part, and misspelt addresses that give some other clip."""
    with pytest.raises(InputError, match="no clip of the soundscapes corpus"):
        render("soundscapes://" + end)


@pytest.mark.parametrize(
    ("reader", "parts", "words"),
    [
        (captioned_clips, ("pool",), "no captions"),
        (captioned_clips, ("test",), "no captions"),
        (labelled_clips, ("pool",), "no labels"),
        (pool_clips, ("other",), "take one of train, pool, test"),
        (pool_clips, ("pool", "train"), "take one of train, pool, test"),
    ],
)
def test_parts_without_words_are_refused(reader, parts, words):
    """Guards against the pool's hidden events being handed out as captions or labels."""
    with pytest.raises(InputError, match=words):
        reader(*parts)
