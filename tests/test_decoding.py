"""Reading clips: formats, channels, rates, and every kind of broken file."""

import io
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modeling_clap_student.audio_clap_student import AudioFile
from modeling_clap_student.data.decoding import ClipReader, decode_clip, decode_crop
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.errors import ClipError
from modeling_clap_student.feature_extraction_clap_student import ClapStudentFeatureExtractor
from modeling_clap_student.soundscapes.corpus import render


RATE = 44100


def tone(frequency: float = 1000, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options) -> dict:
    """Writes a file and returns it in datasets' undecoded form."""
    soundfile.write(path, samples, rate, **options)
    return {"path": str(path), "bytes": None}


def peak_frequency(samples: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


def cut(audio: dict, share: float) -> dict:
    """The file, without its end."""
    path = Path(audio["path"])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return audio


def test_channels_are_averaged(tmp_path):
    """Guards against stereo concatenated to twice the length, or its second channel dropped."""
    left, right = tone(400), tone(700)
    clip = decode_clip(write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"), RATE)
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_resampling_keeps_pitch_and_duration(tmp_path, rate):
    """Guards against a file's rate being ignored, which shifts the pitch and the length."""
    clip = decode_clip(write(tmp_path / "a.wav", tone(rate=rate), rate), RATE)
    assert clip.shape == (RATE // 2,) and clip.dtype == np.float32
    assert peak_frequency(clip, RATE) == pytest.approx(1000, abs=2)
    np.testing.assert_allclose(clip[2000:-2000], tone()[2000:-2000], atol=5e-3)


def test_downsampling_removes_what_does_not_fit(tmp_path):
    """Guards against tones above half of the new rate that fold back into the spectrum."""
    clip = decode_clip(write(tmp_path / "a.wav", tone(1000) + tone(15000)), 16000)
    assert len(clip) == 8000
    assert np.abs(clip[500:-500] - tone(1000, rate=16000)[500:-500]).max() < 0.02


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("form", ["path", "bytes"])
def test_formats_are_read_from_paths_and_from_bytes(tmp_path, suffix, form):
    """Guards against a format, or clips embedded in Parquet, that would need FFmpeg."""
    audio = write(tmp_path / f"a.{suffix}", tone())
    if form == "bytes":
        audio = {"path": "not there", "bytes": Path(audio["path"]).read_bytes()}
    clip = decode_clip(audio, RATE)
    assert len(clip) == pytest.approx(RATE // 2, abs=2400)  # mp3 pads to whole frames
    assert peak_frequency(clip, RATE) == pytest.approx(1000, abs=5)
    assert np.abs(clip).max() == pytest.approx(0.5, abs=0.05)


def test_missing_files_are_named(tmp_path):
    """Guards against a traceback for a clip that is gone, has no path, or is a folder."""
    for path in (str(tmp_path / "gone.wav"), None, str(tmp_path)):
        with pytest.raises(ClipError, match="no such file"):
            decode_clip({"path": path, "bytes": None}, RATE)


@pytest.mark.parametrize("content", [b"this is a text", b"", bytes(4000)])
def test_files_that_are_no_audio_are_refused(tmp_path, content):
    """Guards against soundfile's own exception, or raw bytes taken for samples."""
    path = tmp_path / "text.wav"
    path.write_bytes(content)
    for audio in ({"path": str(path), "bytes": None}, {"path": None, "bytes": content}):
        with pytest.raises(ClipError, match="not decodable"):
            decode_clip(audio, RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_clips_without_samples_are_refused(tmp_path, suffix):
    """Guards against an empty clip that later fails in a division or a convolution."""
    with pytest.raises(ClipError):
        decode_clip(write(tmp_path / f"a.{suffix}", np.zeros(0)), RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    """Guards against half a download that passes as a shorter clip."""
    noise = 0.1 * np.random.default_rng(0).normal(size=RATE)
    with pytest.raises(ClipError):
        decode_clip(cut(write(tmp_path / f"a.{suffix}", noise), share), RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    """Guards against one NaN that turns a whole batch's loss into NaN."""
    samples = tone()
    samples[100] = value
    with pytest.raises(ClipError, match="NaN or infinite"):
        decode_clip(write(tmp_path / "a.wav", samples, subtype="FLOAT"), RATE)


def test_addresses_of_soundscapes_are_synthesised():
    """Guards against the built-in corpus being looked up on disk, or not resampled."""
    address = "soundscapes://train/3"
    np.testing.assert_array_equal(decode_clip({"path": address, "bytes": None}, 44100), render(address))
    assert decode_clip({"path": address, "bytes": None}, 22050).shape == (110250,)


@pytest.fixture
def rows(tmp_path) -> list[dict]:
    """A good clip, a broken one, one that is missing, another good one."""
    (tmp_path / "text.wav").write_text("no audio")
    audio = [
        write(tmp_path / "low.wav", tone(400)),
        {"path": str(tmp_path / "text.wav"), "bytes": None},
        {"path": str(tmp_path / "gone.wav"), "bytes": None},
        write(tmp_path / "high.wav", tone(2000)),
    ]
    names = ("low", 'a, "quoted" näme', "gone", "high")
    return [{"audio": a, "audio_id": name} for a, name in zip(audio, names, strict=True)]


def test_reader_skips_and_lists_bad_clips(rows, tmp_path):
    """Guards against a run that one bad file stops, and clips dropped in silence or out of order."""
    skipped = SkippedClips(tmp_path / "skipped.csv")
    assert skipped.read() == {}
    clips = ClipReader(RATE, skipped).read(rows)
    assert [clip is None for clip in clips] == [False, True, True, False]
    assert [peak_frequency(clips[i], RATE) for i in (0, 3)] == pytest.approx([400, 2000], abs=2)
    reasons = skipped.read()
    assert set(reasons) == {'a, "quoted" näme', "gone"}
    assert reasons["gone"] == "no such file" and reasons['a, "quoted" näme'].startswith("not decodable")


def test_reader_travels_to_worker_processes(rows, tmp_path):
    """Guards against a reader whose threads can't be pickled once it was used."""
    reader = ClipReader(RATE, SkippedClips(tmp_path / "skipped.csv"))
    first = reader.read(rows[:1])[0]
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read(rows[:1])[0], first)
    assert copy.read(rows[2:3]) == [None] and set(reader.skipped.read()) == {"gone"}


def test_audio_without_path_key_but_with_bytes_is_read():
    """Guards against a lookup of the path where bytes are enough."""
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format="WAV")
    assert len(decode_clip({"bytes": file.getvalue()}, RATE)) == RATE // 2


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_crops_equal_those_of_the_whole_clip(tmp_path, suffix, rate):
    """Guards against crops that lie elsewhere than asked, or hear silence where the clip goes on."""
    noise = 0.2 * np.random.default_rng(rate).normal(size=int(3.3 * rate))
    audio = write(tmp_path / f"a.{suffix}", noise, rate)
    whole, size = decode_clip(audio, RATE), 20000
    last = len(whole) - size
    as_bytes = {"path": None, "bytes": Path(audio["path"]).read_bytes()}
    for start in [0, 1, 2, last - 2, last - 1, last, *np.linspace(0, last, 20).astype(int).tolist()]:
        crop = decode_crop(audio if start % 2 else as_bytes, RATE, size, start)
        assert crop.dtype == np.float32
        np.testing.assert_allclose(crop, whole[start : start + size], atol=1e-5)


def test_crops_of_long_files_read_little(tmp_path, monkeypatch):
    """Guards against a crop that decodes its whole file, in each format that can be entered anywhere."""
    decoded = []
    decode = AudioFile._decode
    monkeypatch.setattr(AudioFile, "_decode", lambda file, count: decoded.append(count) or decode(file, count))
    noise = 0.1 * np.random.default_rng(0).normal(size=40 * 16000)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        audio = write(tmp_path / f"a.{suffix}", noise, 16000)
        for draw in (0, 10**6, 10**6 + 777, 10**9):
            decoded.clear()
            decode_crop(audio, RATE, 5 * RATE, draw)
            assert sum(decoded) < 5 * 16000 + 20000


def test_short_clips_lie_at_the_drawn_place_in_zeros(tmp_path):
    """Guards against short clips that are stretched, repeated or always at the start."""
    audio = write(tmp_path / "a.wav", np.full(10, 0.5), subtype="FLOAT")
    for draw in (0, 3, 20, 21, 10**9):
        crop = decode_crop(audio, RATE, 30, draw)
        assert np.flatnonzero(crop).tolist() == list(range(draw % 21, draw % 21 + 10))


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.35])
@pytest.mark.parametrize("rate", [RATE, 48000])
def test_windows_are_those_that_the_extractor_makes_of_the_whole_clip(tmp_path, seconds, rate):
    """Guards against windows that change because a file is read in pieces."""
    audio = write(tmp_path / "a.wav", tone(seconds=seconds, rate=rate), rate)
    extractor = ClapStudentFeatureExtractor(sampling_rate=RATE, window_seconds=0.1)
    reader = ClipReader(RATE, SkippedClips(tmp_path / "s.csv"))
    (clip,) = reader.read_windows([{"audio": audio, "audio_id": "a"}], extractor)
    expected = extractor.windows(decode_clip(audio, RATE))
    np.testing.assert_allclose(np.stack(list(clip)), expected, atol=0 if rate == RATE else 1e-6)
    assert clip.error is None


def test_an_hour_is_read_in_little_memory(tmp_path):
    """Guards against a long recording that is held whole."""
    rate = 8000
    with soundfile.SoundFile(tmp_path / "a.flac", "w", rate, 1) as file:
        for _ in range(60):
            file.write(np.zeros(60 * rate, np.int16))
    extractor = ClapStudentFeatureExtractor(sampling_rate=rate)
    audio = {"path": str(tmp_path / "a.flac"), "bytes": None}
    tracemalloc.start()
    reader = ClipReader(rate, SkippedClips(tmp_path / "s.csv"))
    (clip,) = reader.read_windows([{"audio": audio, "audio_id": "a"}], extractor)
    assert sum(window.shape == (5 * rate,) for window in clip) == 720
    assert tracemalloc.get_traced_memory()[1] < 20e6  # the hour takes 115e6
    tracemalloc.stop()


def test_damage_far_inside_a_long_clip_is_reported(tmp_path):
    """Guards against a clip that ends early in silence, when its first windows were good."""
    samples = 0.1 * np.random.default_rng(0).normal(size=20 * RATE).astype(np.float32)
    samples[-100] = np.nan
    audio = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    extractor = ClapStudentFeatureExtractor(sampling_rate=RATE, window_seconds=1)
    skipped = SkippedClips(tmp_path / "s.csv")
    (clip,) = ClipReader(RATE, skipped).read_windows([{"audio": audio, "audio_id": "a"}], extractor)
    assert len(list(clip)) == 19 and clip.error is not None
    assert skipped.read() == {"a": "holds NaN or infinite samples"}
