"""The feature extractor: fixed windows of any mono waveform, and refusals of everything else."""

import numpy as np
import pytest
import torch

from modeling_clap_student.feature_extraction_clap_student import ClapStudentFeatureExtractor


RATE = 1000  # so that a window is 5000 samples


def extractor(**options) -> ClapStudentFeatureExtractor:
    return ClapStudentFeatureExtractor(sampling_rate=RATE, **options)


def ramp(size: int) -> np.ndarray:
    """No two samples are equal, so each one's place is known."""
    return np.linspace(-1, 1, size, dtype=np.float32)


def values(clips, **options) -> np.ndarray:
    return extractor(**options)(clips, sampling_rate=RATE)["input_values"]


def test_defaults_are_claps():
    """Guards against windows that Microsoft's weights were not trained on."""
    default = ClapStudentFeatureExtractor()
    assert (default.sampling_rate, default.window_samples, default.short_clips) == (44100, 220500, "repeat")


def test_short_clips_are_repeated():
    """Guards against silence after a short clip, which CLAP never saw."""
    clip = ramp(2100)
    np.testing.assert_array_equal(values(clip), [np.concatenate([clip, clip, clip[:800]])])
    np.testing.assert_array_equal(values(ramp(1) + 0.5), np.full((1, 5000), -0.5, np.float32))


def test_short_clips_are_filled_with_zeros_on_demand():
    """Guards against an option without effect."""
    clip = ramp(2100)
    np.testing.assert_array_equal(values(clip, short_clips="zero"), [np.pad(clip, (0, 2900))])


def test_clips_of_one_window_stay_as_they_are():
    """Guards against a second window of no new sample."""
    np.testing.assert_array_equal(values(ramp(5000)), ramp(5000)[None])
    np.testing.assert_array_equal(values(ramp(10000)), ramp(10000).reshape(2, 5000))


@pytest.mark.parametrize(("size", "starts"), [(5001, [0, 1]), (12000, [0, 5000, 7000]), (14999, [0, 5000, 9999])])
def test_long_clips_give_windows_up_to_their_end(size, starts):
    """Guards against a clip's end that is cut off, or a last window that is mostly padding."""
    clip = ramp(size)
    features = extractor()(clip, sampling_rate=RATE)
    np.testing.assert_array_equal(features["input_values"], [clip[start : start + 5000] for start in starts])
    assert features["num_windows"].tolist() == [len(starts)]


def test_batches_hold_their_clips_in_order():
    """Guards against windows of one clip counted for another, and a clip that depends on its neighbours."""
    clips = [ramp(12000), ramp(300), ramp(5000) / 2]
    features = extractor()(clips, sampling_rate=RATE)
    assert features["num_windows"].tolist() == [3, 1, 1]
    np.testing.assert_array_equal(features["input_values"], np.concatenate([values(clip) for clip in clips]))


@pytest.mark.parametrize("single", [ramp(300), ramp(300).tolist(), torch.from_numpy(ramp(300))])
def test_one_clip_needs_no_list(single):
    """Guards against a list of samples being taken for a batch of clips."""
    features = extractor()(single, sampling_rate=RATE)
    assert features["input_values"].shape == (1, 5000) and features["num_windows"].tolist() == [1]
    np.testing.assert_array_equal(features["input_values"], values([ramp(300)]))


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_types_of_the_output(dtype):
    """Guards against double precision that doubles the memory, and types the model refuses."""
    features = extractor()([ramp(5000).astype(dtype)], sampling_rate=RATE)
    assert features["input_values"].dtype == np.float32 and features["num_windows"].dtype == np.int64
    features = extractor()([ramp(5000).astype(dtype)], sampling_rate=RATE, return_tensors="pt")
    assert features["input_values"].dtype == torch.float32 and features["num_windows"].dtype == torch.int64


def test_the_clip_given_is_left_alone():
    """Guards against a caller's array that changes under its hands."""
    clip = ramp(300)
    features = extractor()(clip, sampling_rate=RATE)
    features["input_values"][:] = 0
    np.testing.assert_array_equal(clip, ramp(300))


def test_the_sampling_rate_must_be_said_and_fit():
    """Guards against audio of another rate, which passes in silence elsewhere and is heard at another pitch."""
    with pytest.raises(ValueError, match="sampling_rate=1000"):
        extractor()(ramp(300))
    with pytest.raises(ValueError, match=r"16000 Hz.*1000 Hz"):
        extractor()(ramp(300), sampling_rate=16000)


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.zeros((300, 2)), "mono waveform.*(300, 2)"),
        (np.zeros((2, 300)), "mono waveform"),
        (np.zeros(0), "no samples"),
        (np.array([0, np.nan]), "NaN or infinite"),
        (np.array([0, -np.inf]), "NaN or infinite"),
    ],
    ids=["samples by channels", "channels by samples", "empty", "NaN", "infinite"],
)
def test_unfit_clips_are_refused(clip, words):
    """Guards against a bad clip that spoils embeddings unseen, alone or beside a good one."""
    for clips in (clip, [ramp(300), clip]):
        with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
            extractor()(clips, sampling_rate=RATE)


def test_unknown_treatment_of_short_clips_is_refused():
    """Guards against a misspelt option that falls back to another one."""
    with pytest.raises(ValueError, match="'repeat' or 'zero', not 'zeros'"):
        extractor(short_clips="zeros")


def test_saved_and_loaded_cuts_alike(tmp_path):
    """Guards against a checkpoint that forgets how its audio is cut."""
    extractor(window_seconds=2.5, short_clips="zero").save_pretrained(tmp_path)
    loaded = ClapStudentFeatureExtractor.from_pretrained(tmp_path)
    assert (loaded.sampling_rate, loaded.window_seconds, loaded.short_clips) == (RATE, 2.5, "zero")
    np.testing.assert_array_equal(
        loaded(ramp(2000), sampling_rate=RATE)["input_values"], [np.pad(ramp(2000), (0, 500))]
    )
