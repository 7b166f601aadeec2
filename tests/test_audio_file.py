"""Parts of files: to the bit what decoding from the start gives, in every format, from paths and from bytes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from modeling_clap_student.audio_clap_student import AudioFile
from modeling_clap_student.errors import ClipError


FORMATS = ["wav", "flac", "ogg", "mp3"]


def write(path: Path, seconds: float, rate: int, channels: int = 1, **options) -> Path:
    """A file that sounds different at each place, so that a sample's shift shows."""
    rng = np.random.default_rng(int(10 * seconds) + rate + channels)
    time = np.arange(int(seconds * rate)) / rate
    samples = 0.3 * np.sin(2 * np.pi * (200 + 30 * time) * time) + 0.1 * rng.normal(size=time.size)
    soundfile.write(path, np.outer(samples, 1 - 0.5 * np.arange(channels) / channels), rate, **options)
    return path


def whole(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)


def places(length: int, size: int, count: int) -> list[int]:
    """The first and the last ones, many near the end, and some anywhere."""
    last = length - size
    some = [np.linspace(first, last, count).astype(int).tolist() for first in (0, max(0, last - 12000))]
    return sorted({0, 1, last - 1, last, *some[0], *some[1]})


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_parts_equal_the_whole(tmp_path, suffix, rate, channels):
    """Guards against seeking that lands elsewhere: libsndfile's does on an Ogg file's last page, and its mp3 decoder
    starts a frame without the bits that lie in the frames before it."""
    path = write(tmp_path / f"a.{suffix}", 7.3, rate, channels)
    expected = whole(path)
    for start in places(len(expected), 1500, 25):
        with AudioFile(path) as file:
            assert (file.rate, file.frames) == (rate, len(expected))
            np.testing.assert_allclose(file.read(start, start + 1500), expected[start : start + 1500], atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.99])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_parts_of_mp3_files_of_all_bit_rates_equal_the_whole(tmp_path, rate, level, capfd):
    """Guards against a step back that is too short for the smallest frames: 8 kbit/s need 14 of them."""
    path = write(tmp_path / "a.mp3", 12, rate, bitrate_mode="CONSTANT", compression_level=level)
    expected = whole(path)
    for start in places(len(expected), 1500, 25):
        with AudioFile(path) as file:
            np.testing.assert_allclose(file.read(start, start + 1500), expected[start : start + 1500], atol=1e-6)
    capfd.readouterr()  # mpg123 remarks on such frames


@pytest.mark.parametrize("quiet", [True, False])
def test_parts_of_ogg_files_with_long_pages_equal_the_whole(tmp_path, quiet):
    """Guards against pages of several seconds, as quiet recordings have."""
    time = np.arange(20 * 8000) / 8000
    soundfile.write(tmp_path / "a.ogg", (1e-3 if quiet else 0.5) * np.sin(2 * np.pi * 300 * time), 8000)
    expected = whole(tmp_path / "a.ogg")
    for start in places(len(expected), 1500, 60):
        with AudioFile(tmp_path / "a.ogg") as file:
            np.testing.assert_array_equal(file.read(start, start + 1500), expected[start : start + 1500])


@pytest.mark.parametrize(
    "options",
    [
        {"file": "a.wav", "subtype": "PCM_U8"},
        {"file": "a.wav", "subtype": "FLOAT"},
        {"file": "a.wav", "subtype": "IMA_ADPCM"},
        {"file": "a.aiff"},
        {"file": "a.opus", "format": "OGG", "subtype": "OPUS"},
    ],
)
def test_parts_of_rarer_kinds_equal_the_whole(tmp_path, options):
    """Guards against seeking in formats where nobody checked it."""
    path = tmp_path / options.pop("file")
    write(path, 3, 48000, **options)
    expected = whole(path)
    for start in places(len(expected), 1500, 10):
        with AudioFile(path) as file:
            np.testing.assert_array_equal(file.read(start, start + 1500), expected[start : start + 1500])


@pytest.mark.parametrize("suffix", FORMATS)
def test_reads_one_after_the_other_equal_the_whole(tmp_path, suffix):
    """Guards against a seam between two reads, and a last window that goes back into the one before."""
    path = write(tmp_path / f"a.{suffix}", 3, 22050)
    expected = whole(path)
    data = path.read_bytes()
    with AudioFile(data) as file:
        starts = [*range(0, file.frames - 3000, 2990), file.frames - 3000, 5, file.frames - 3000]
        for start in starts:
            np.testing.assert_allclose(file.read(start, start + 3000), expected[start : start + 3000], atol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_cut_files_are_told_though_only_their_start_is_read(tmp_path, suffix, share, as_bytes):
    """Guards against half a download that passes, because the crop lies in the half that is there."""
    path = write(tmp_path / f"a.{suffix}", 8, 44100)
    with AudioFile(path) as file:
        file.read(0, 1000)
        file.check_end()  # a whole file passes
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ClipError), AudioFile(path.read_bytes() if as_bytes else path) as file:
        file.read(0, 1000)
        file.check_end()


def test_a_tag_before_an_mp3_file_changes_nothing(tmp_path):
    """Guards against a cover picture that hides, or counts as, the music."""
    data = write(tmp_path / "a.mp3", 3, 44100).read_bytes()
    tag = b"ID3\x04\x00\x00\x00\x00\x20\x00" + bytes(4096)
    for cut, is_whole in ((len(data), True), (len(data) // 2, False)):
        with AudioFile(tag + data[:cut]) as file:
            file.read(0, 1000)
            if is_whole:
                file.check_end()
            else:
                with pytest.raises(ClipError, match="truncated"):
                    file.check_end()


def test_files_are_what_they_hold(tmp_path):
    """Guards against trust in a name: a flac file named .wav, and soundfile's question for a rate at .raw."""
    flac = write(tmp_path / "a.flac", 0.5, 44100)
    expected = whole(flac)
    for name in ("a.wav", "a.raw", "a", "a.jpg"):
        (tmp_path / name).write_bytes(flac.read_bytes())
        with AudioFile(tmp_path / name) as file:
            np.testing.assert_array_equal(file.read(0, file.frames), expected)


@pytest.mark.parametrize(
    ("channels", "rate", "subtype"), [(8, 44100, "PCM_16"), (1, 96000, "PCM_U8"), (2, 192000, "FLOAT")]
)
def test_unusual_files_are_read(tmp_path, channels, rate, subtype):
    """Guards against eight channels, eight bits or 96 kHz that end a run."""
    path = write(tmp_path / "a.wav", 0.3, rate, channels, subtype=subtype)
    with AudioFile(path) as file:
        np.testing.assert_allclose(file.read(0, file.frames), whole(path), atol=1e-6)


@pytest.mark.parametrize("rate", [7, 2**30])
def test_absurd_rates_are_refused(tmp_path, rate):
    """Guards against filters and arrays of many gigabytes that a damaged header asks for."""
    data = bytearray(write(tmp_path / "a.wav", 0.3, 44100).read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(ClipError, match="sampling rate"), AudioFile(bytes(data)):
        pass


def test_absurdly_long_files_are_refused_and_hours_are_not(tmp_path):
    """Guards against a header that promises a year, and against a limit that a day's recording meets."""
    data = bytearray(write(tmp_path / "a.flac", 0.3, 8000).read_bytes())
    for hours, reason in ((23, "truncated"), (25, "longer than 24 hours")):
        data[22:26] = (hours * 3600 * 8000).to_bytes(4, "big")  # STREAMINFO's number of samples
        with pytest.raises(ClipError, match=reason), AudioFile(bytes(data)) as file:
            file.read(0, 1000)
            file.check_end()


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e20])
def test_samples_that_no_loss_survives_are_refused(tmp_path, value):
    """Guards against NaN, and numbers whose square is infinite, wherever in what is read they lie."""
    samples = np.zeros(5000, np.float32)
    samples[4000] = value
    soundfile.write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    with AudioFile(tmp_path / "a.wav") as file:
        file.read(0, 1000)
        with pytest.raises(ClipError, match="samples"):
            file.read(1000, 5000)


def test_files_are_closed(tmp_path):
    """Guards against a run that ends after a thousand clips with too many open files."""
    path = write(tmp_path / "a.wav", 0.1, 44100)
    (tmp_path / "text.wav").write_text("no audio")
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        with AudioFile(path) as file:
            file.read(0, 10)
        with pytest.raises(ClipError):
            AudioFile(tmp_path / "text.wav")
    after = len(list(Path("/proc/self/fd").iterdir())) if before else 0
    assert after <= before + 1
