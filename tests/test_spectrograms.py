"""Spectrograms that are kept: the same as the front end makes of the same crop, made once, and never half a file."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import FAST, SMALL, check_failure, write_tone

from modeling_clap_student import ClapStudentConfig, InputError
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.data import decoding, spectrograms
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.spectrograms import SpectrogramCache
from modeling_clap_student.modeling_clap_student import ClapStudentAudioModel


RATE = 16000
SIZE = RATE  # a crop of a second


@pytest.fixture(params=[160, 640, 700])
def front_end(request):
    """Hops that divide n_fft / 2, and hops that do not."""
    config = ClapStudentConfig(
        audio_config={"sampling_rate": RATE, "hop_length": request.param, "base_channels": 2, "max_frequency": 8000.0}
    )
    return ClapStudentAudioModel(config.audio_config).front_end


def noise(path, seconds, rate=RATE, seed=0):
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return {"audio": {"path": str(path), "bytes": None}, "audio_id": path.name}


def analysed(front_end, waveform):
    with torch.no_grad():
        return front_end(torch.from_numpy(waveform.astype(np.float32))[None])[0].numpy()


@pytest.mark.parametrize("seconds", [0.03, 0.4, 0.999, 1.0, 1.7])
def test_a_crop_is_the_front_ends_of_the_same_samples(front_end, tmp_path, seconds):
    """Guards against frames that are shifted, a clip's place that waveforms do not allow, and edges that differ more
    than the windows that reach beyond the crop."""
    row, hop = noise(tmp_path / "a.wav", seconds), front_end.config.hop_length
    waveform = decoding.decode_clip(row["audio"], RATE)
    cache = SpectrogramCache(tmp_path / "kept", front_end, RATE)
    edge = -(-front_end.config.n_fft // (2 * hop))
    places = abs((len(waveform) // hop + 1) - (SIZE // hop + 1)) + 1
    for draw in {0, places // 2, places - 1, places}:
        place = draw % places * hop
        if len(waveform) >= SIZE:
            same = np.pad(waveform, (0, SIZE))[place : place + SIZE]
        else:
            same = np.pad(waveform, (place, SIZE))[:SIZE]
        crop = cache.crop(row, SIZE, draw)
        expected = analysed(front_end, same)
        assert crop.shape == expected.shape and crop.dtype == np.float32
        assert np.allclose(crop[edge:-edge], expected[edge:-edge], atol=2e-3)
    assert cache.silence == pytest.approx(-100)


def test_long_clips_are_analysed_in_parts(front_end, tmp_path, monkeypatch):
    """Guards against a seam between two parts, and a clip at another rate that is read as it is."""
    row = noise(tmp_path / "a.wav", 3.1, rate=22050)
    whole = SpectrogramCache(tmp_path / "whole", front_end, RATE).crop(row, 4 * RATE, 0)
    monkeypatch.setattr(spectrograms, "_FRAMES_AT_ONCE", 7)
    parts = SpectrogramCache(tmp_path / "parts", front_end, RATE).crop(row, 4 * RATE, 0)
    assert np.allclose(whole, parts, atol=2e-3)
    expected = analysed(front_end, np.pad(decoding.decode_clip(row["audio"], RATE), (0, RATE)))
    edge = -(-front_end.config.n_fft // (2 * front_end.config.hop_length))
    assert np.allclose(whole[edge:-edge], expected[: len(whole)][edge:-edge], atol=2e-3)


def test_a_clip_is_decoded_once(front_end, tmp_path, monkeypatch):
    """Guards against a cache that is never found again, and one that is found when the file or front end changed."""
    row, opened = noise(tmp_path / "a.wav", 1.2), []
    monkeypatch.setattr(spectrograms, "open_clip", lambda *of: opened.append(of) or decoding.open_clip(*of))
    for draw in (0, 5):
        SpectrogramCache(tmp_path / "kept", front_end, RATE).crop(row, SIZE, draw)
    assert len(opened) == 1
    before = SpectrogramCache(tmp_path / "kept", front_end, RATE).crop(row, SIZE, 0)
    row = noise(tmp_path / "a.wav", 1.3, seed=1)
    assert not np.allclose(SpectrogramCache(tmp_path / "kept", front_end, RATE).crop(row, SIZE, 0), before, atol=1)
    assert len(opened) == 2
    front_end.mel_filters *= 2
    SpectrogramCache(tmp_path / "kept", front_end, RATE).crop(row, SIZE, 0)
    assert len(opened) == 3
    data = {"audio": {"path": None, "bytes": (tmp_path / "a.wav").read_bytes()}, "audio_id": "b"}
    for _ in range(2):
        SpectrogramCache(tmp_path / "kept", front_end, RATE).crop(data, SIZE, 0)
    assert len(opened) == 4


def test_a_clip_that_ends_early_leaves_nothing(front_end, tmp_path, monkeypatch):
    """Guards against half a spectrogram that the next epoch takes for a whole one."""
    row = noise(tmp_path / "a.wav", 30)
    monkeypatch.setattr(spectrograms, "_FRAMES_AT_ONCE", 50)
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[: len(data) // 2])
    reader = decoding.ClipReader(RATE, SkippedClips(tmp_path / "skipped.csv"))
    assert reader.read_crops([row], SIZE, [3], SpectrogramCache(tmp_path / "kept", front_end, RATE)) == [None]
    assert list(reader.skipped.read()) == ["a.wav"]
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]


def test_batches_of_spectrograms(tiny, tmp_path):
    """Guards against a gain that is lost or that lifts silence, and a teacher that gets nothing to hear."""
    model, processor = tiny
    cache = SpectrogramCache(tmp_path / "kept", model.audio_model.front_end, model.config.audio_config.sampling_rate)
    rows = []
    for name in ("a", "b"):
        write_tone(tmp_path / f"{name}.wav", 440, seconds=0.5)
        rows.append({"audio": {"path": str(tmp_path / f"{name}.wav"), "bytes": None}, "audio_id": name,
                     "caption": name, "draw": 7})  # fmt: skip
    skipped = SkippedClips(tmp_path / "skipped.csv")
    plain = ClapCollator(processor, skipped, spectrograms=cache)(rows)
    louder = ClapCollator(processor, skipped, random_gain_db=6.0, spectrograms=cache)(rows)
    assert "input_values" not in plain and torch.equal(plain["input_ids"], louder["input_ids"])
    gain = np.random.default_rng(7).uniform(-6, 6)
    plain_crop, louder_crop = (batch["input_features"].numpy() for batch in (plain, louder))
    heard = plain_crop > cache.silence
    assert gain > 1 and heard.any() and np.allclose(louder_crop[heard], plain_crop[heard] + gain, atol=1e-4)
    assert (~heard).any() and (louder_crop[~heard] == cache.silence).all()
    assert model.get_audio_features(input_features=plain["input_features"]).pooler_output.shape[0] == 2
    with pytest.raises(InputError, match="keeps no waveforms"):
        ClapCollator(processor, skipped, processor, spectrograms=cache)


def test_the_commands_train_on_kept_spectrograms(command, captioned_folder, capsys, monkeypatch):
    """Guards against a flag that still trains on waveforms, and a student that decodes what its teacher did."""
    kept = ["--spectrogram_cache", "kept"]
    assert command(run_teacher, "--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST, *kept) == 0
    monkeypatch.setattr(spectrograms, "open_clip", None)
    monkeypatch.setattr(decoding, "decode_crop", None)
    student = ["--strategy", "none", "--teacher", "teacher", *FAST]
    assert command(run_student, *student, "--output_dir", "student", *kept) == 0
    capsys.readouterr()
    code = command(run_student, *student, "--output_dir", "mixed", "--mixup_alpha", "1", *kept)
    check_failure(code, capsys, "--mixup_alpha mixes waveforms")
    fresh = [*student, "--init", "fresh", *SMALL, *kept, "--output_dir"]  # it hears as its teacher does
    assert command(run_student, *fresh, "new") == 0
    capsys.readouterr()
    code = command(run_student, *fresh, "other", "--hop_length", "512")
    check_failure(code, capsys, "keeps the student's spectrograms, and the teacher's are others")
