"""Recordings cut into windows: where windows lie, what is read of a file, and that a window equals the cut part."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, numbers, write_tone
from datasets import Audio, Dataset, load_dataset
from test_commands import check_failure

from modeling_clap_student import InputError, curate
from modeling_clap_student.audio_clap_student import AudioFile
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.commands import curate as curate_command
from modeling_clap_student.commands import student as student_command
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.data.decoding import ClipReader, decode_clip, decode_crop, encoded_audio, open_clip
from modeling_clap_student.data.files import locate
from modeling_clap_student.data.identity import clip_keys
from modeling_clap_student.data.leakage import LeakageFilter, split_validation
from modeling_clap_student.data.parts import _OpenFiles
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.data.spectrograms import SpectrogramCache
from modeling_clap_student.data.windows import WindowPlaces, Windows, cut_pool, iter_windows, window_spans
from modeling_clap_student.encoding_clap_student import embed_windows
from modeling_clap_student.errors import ClipError
from modeling_clap_student.windows_clap_student import part_name, split_part


def clip(path, data=None) -> dict:
    return {"bytes": data, "path": str(path)}


@pytest.fixture
def recordings(tmp_path) -> Path:
    """A folder of a recording of 7 s, one of exactly 2 s, and one of 1 s."""
    folder, rate = tmp_path / "recordings", 11025
    rng = np.random.default_rng(0)
    for name, seconds in (("long.wav", 7), ("two.flac", 2), ("short.wav", 1)):
        folder.mkdir(exist_ok=True)
        steps = np.repeat(rng.uniform(200, 4000, seconds), rate)  # another tone each second
        samples = 0.3 * np.sin(2 * np.pi * np.cumsum(steps) / rate) + 0.02 * rng.normal(size=len(steps))
        soundfile.write(folder / name, samples, rate)
    return folder


def cut_by_hand(path: Path, row: dict) -> np.ndarray:
    """The samples of a file between a row's times, at its own rate."""
    samples, rate = soundfile.read(path, dtype="float32")
    return samples[round(row["start"] * rate) : round(row["end"] * rate)]


def test_where_windows_lie():
    """Guards against a remainder that nobody hears, against drift, and against samples that are not what was meant."""
    assert list(Windows(2).bounds(70, 10)) == [(0, 20), (20, 40), (40, 60), (50, 70)]
    assert list(Windows(2).bounds(60, 10)) == [(0, 20), (20, 40), (40, 60)]
    assert list(Windows(2, 1).bounds(45, 10)) == [(0, 20), (10, 30), (20, 40), (25, 45)]
    assert list(Windows(2).bounds(20, 10)) == list(Windows(2).bounds(20, 10)) == [(0, 20)]
    assert list(Windows(3).bounds(20, 10)) == [(0, 20)]
    rate, hour = 11025, list(Windows(0.2, 0.1).bounds(3600 * 11025, 11025))
    assert len(hour) == 35_999 and {stop - start for start, stop in hour} == {2205}
    assert all(abs(start / rate - 0.1 * number) <= 0.5 / rate + 1e-9 for number, (start, _) in enumerate(hour))
    for start, stop in hour[::997]:
        path, (begin, end) = split_part("a b#c.wav" + part_name(start / rate, stop / rate))
        assert path == "a b#c.wav" and (round(begin * rate), round(end * rate)) == (start, stop)


@pytest.mark.parametrize(
    "name", ["x.wav", "x#t=1.wav", "x.wav#t=1,", "x.wav#t=1,2\n", "x#t=-1,2", "x#t=1,2#y", "", f"x#t={'9' * 400},1"]
)
def test_names_that_are_no_parts(name):
    assert split_part(name) == (name, None)


@pytest.mark.parametrize(
    ("window", "hop", "words"),
    [(0, None, "at least 0.01"), (-2, None, "at least"), (float("nan"), None, "at least"), ("5", None, "a number"),
     (True, None, "a number"), (2, 0, "the hop"), (2, -1, "the hop"), (2, 3, "passes over"), (2, float("inf"), "hop")],
)  # fmt: skip
def test_windows_that_mean_nothing(window, hop, words):
    with pytest.raises(InputError, match=words):
        Windows(window, hop)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "opus"])
def test_a_part_is_the_cut(tmp_path, kind):
    """Guards against a part that hears its neighbours, is a sample off, or depends on what was read before."""
    rate = 48000 if kind == "opus" else 44100
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 12 * rate).astype(np.float32)
    path = tmp_path / f"r.{kind}"
    with soundfile.SoundFile(path, "w", rate, 1, format="OGG" if kind == "opus" else None,
                             subtype="OPUS" if kind == "opus" else None) as file:  # fmt: skip
        for start in range(0, len(noise), 4096):
            file.write(noise[start : start + 4096])
    with AudioFile(path) as file:
        whole = file.read(0, file.frames)
    spans = [(2.5 * n, 2.5 * n + 5) for n in (0, 1, 2, 0, 2)] + [(1 / 3, 0.7), (11.5, 12)]
    for begin, end in spans:
        part = clip(str(path) + part_name(begin, end))
        cut = whole[round(begin * rate) : round(end * rate)]
        soundfile.write(tmp_path / "cut.wav", cut, rate, subtype="FLOAT")
        for wanted in (rate, 16000):
            assert np.array_equal(decode_clip(part, wanted), decode_clip(clip(tmp_path / "cut.wav"), wanted))
        in_memory = decode_clip({**part, "bytes": path.read_bytes()}, 16000)
        assert np.array_equal(in_memory, decode_clip(part, 16000))


def test_recordings_stay_open_from_one_part_to_the_next(tmp_path, monkeypatch):
    """Guards against finding each window of an mp3 anew, which takes hours for ten, and ever more open files."""
    opened, init = [], AudioFile.__init__
    monkeypatch.setattr(AudioFile, "__init__", lambda self, source: opened.append(source) or init(self, source))
    path = write_tone(tmp_path / "r.wav", 300, seconds=6)
    for n in range(5):
        decode_clip(clip(str(path) + part_name(n, n + 1)), 8000)
    assert len(opened) == 1
    before = decode_clip(clip(f"{path}#t=2,3"), 8000)
    write_tone(path, 700, seconds=7)
    assert not np.array_equal(before, decode_clip(clip(f"{path}#t=2,3"), 8000)) and len(opened) == 2
    with open_clip(clip(f"{path}#t=0,1"), 8000) as one, open_clip(clip(f"{path}#t=1,2"), 8000) as other:
        assert one.source._source is not other.source._source
    files = _OpenFiles()
    for n in range(40):
        files.keep((str(n),), AudioFile(str(path)))
    assert len(files._idle) == 16 and files.take(("0",), 0) is None and files.take(("39",), 0) is not None
    for n in range(5):
        files.keep((bytes([n]),), AudioFile(str(path)))
    assert sum(isinstance(key[0], bytes) for key, _ in files._idle) == 1


def test_parts_that_are_not_there(tmp_path):
    path = write_tone(tmp_path / "r.wav", 300, seconds=2)
    for span in ("5,6", "2,3", "1,1", "1.5,1"):
        with pytest.raises(ClipError, match="has no part from"):
            decode_clip(clip(f"{path}#t={span}"), 8000)
    assert len(decode_clip(clip(f"{path}#t=1,9"), 8000)) == 8000
    with pytest.raises(ClipError, match="no such file"):
        decode_clip(clip(tmp_path / "gone.wav#t=1,2"), 8000)
    skipped = SkippedClips(tmp_path / "skipped.csv")
    rows = [{"audio": clip(f"{path}#t=5,6"), "audio_id": "x#t=5,6"}, {"audio": clip(f"{path}#t=1,2"), "audio_id": "y"}]
    bad, good = ClipReader(8000, skipped).read(rows)
    assert bad is None and len(good) == 8000 and "has no part" in skipped.read()["x#t=5,6"]


def test_only_the_part_is_read(tmp_path, monkeypatch):
    """Guards against training that decodes ten hours for five seconds."""
    path = write_tone(tmp_path / "r.flac", 300, seconds=60)
    read = []
    original = AudioFile._decode
    monkeypatch.setattr(AudioFile, "_decode", lambda self, count: read.append(count) or original(self, count))
    crop = decode_crop(clip(f"{path}#t=30,34"), 44100, 2 * 44100, draw=3)
    assert sum(read) == 2 * 44100
    whole = decode_clip(clip(path), 44100)
    assert np.array_equal(crop, whole[30 * 44100 + 3 :][: 2 * 44100])
    assert len({decode_crop(clip(f"{path}#t=30,34"), 44100, 4 * 44100, d).tobytes() for d in range(5)}) == 1


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_what_is_cut_out_is_what_was_read(tmp_path, channels, subtype):
    """Guards against a pushed clip that differs from the one that was paired."""
    samples = np.random.default_rng(2).uniform(-1, 1, (30000, channels)) * (1.5 if subtype == "FLOAT" else 1)
    soundfile.write(tmp_path / "r.wav", samples, 22050, subtype=subtype)
    part = clip(f"{tmp_path}/r.wav#t=0.25,1")
    out = encoded_audio(part)
    assert np.array_equal(decode_clip(clip("", out["bytes"]), 22050), decode_clip(part, 22050))
    exact = subtype == "PCM_16" and channels < 3
    assert out["path"] == "r_0.25-1" + (".flac" if exact or (subtype == "PCM_24" and channels == 1) else ".wav")
    assert exact == (out["path"].endswith(".flac") and len(out["bytes"]) < 3 * 16538 + 9000) or subtype == "PCM_24"


def test_keys_tell_parts_apart(recordings):
    """Guards against one window's embedding in another's place, and the whole's in a part's."""
    path, data = recordings / "long.wav", (recordings / "long.wav").read_bytes()
    clips = [
        clip(f"{path}{part}", content) for content in (None, data) for part in ("", "#t=0,2", "#t=1,3", "#t=0,2.5")
    ]
    keys = clip_keys({"audio": one, "audio_id": "x"} for one in clips)
    assert len(set(keys.tolist())) == 8
    again = clip_keys({"audio": one, "audio_id": "other"} for one in [*clips, clip("other name#t=0,2", bytes(data))])
    assert np.array_equal(again[:8], keys) and again[8] == keys[5]
    (plain,) = clip_keys([{"audio": clip(path), "audio_id": "x"}])
    assert plain == keys[0]


def test_a_table_of_windows(recordings):
    pool = cut_pool(read_pools(str(recordings)), Windows(2, 1))
    rows = {row["audio_id"]: row for row in pool}
    ids = ["recordings/long.wav" + part_name(n, n + 2) for n in range(6)]
    assert [*rows] == [*ids, "recordings/short.wav", "recordings/two.flac"]
    for n, name in enumerate(ids):
        assert (rows[name]["start"], rows[name]["end"]) == (n, n + 2)
        assert rows[name]["audio"] == clip(str(recordings / "long.wav") + part_name(n, n + 2))
        assert rows[name]["source"] == "recordings"
    assert rows["recordings/short.wav"]["audio"] == clip(recordings / "short.wav")
    assert (rows["recordings/short.wav"]["start"], rows["recordings/short.wav"]["end"]) == (0, 1)
    again = cut_pool(pool, Windows(1))  # of parts, parts
    assert [row["audio"]["path"] for row in again][:3] == [
        f"{recordings}/long.wav#t={part}" for part in ("0,1", "1,2", "1,2")
    ]
    with open_clip(again[3]["audio"], 11025) as part:
        assert (again[3]["start"], again[3]["end"], part.length) == (2, 3, 11025)


def test_windows_of_a_table_are_rows_as_they_are_asked_for(recordings):
    """Guards against shares of several processes that lack a window, and copies of a recording's bytes."""
    pool = read_pools(str(recordings))
    contents = [Path(audio["path"]).read_bytes() for audio in pool["audio"]] + [None]
    audio = [*(clip(f"{n}.wav", data) for n, data in enumerate(contents[:3])), None]
    inside = Dataset.from_dict({"audio": audio, "audio_id": list("abcd")}).cast_column("audio", Audio(decode=False))
    spans = window_spans(inside, Windows(2, 1))
    assert [len(of_clip) for of_clip in spans] == [6, 1, 1, 1] and spans[3] == [None]
    rows = list(iter_windows(inside, spans, 0, 9))
    assert len({id(row["audio"]["bytes"]) for row in rows[:6]}) == 1 and rows[8]["audio"] is None
    assert [row["audio_id"] for row in rows] == [*("a" + part_name(n, n + 2) for n in range(6)), "b", "c", "d"]
    assert rows[2] == {"audio": clip("0.wav#t=2,4", contents[0]), "audio_id": "a#t=2,4", "start": 2, "end": 4}
    for cut in (1, 5, 6, 7):
        assert [*iter_windows(inside, spans, 0, cut), *iter_windows(inside, spans, cut, 9)] == rows
    table = cut_pool(pool, Windows(2, 1))
    assert [(row["start"], row["end"]) for row in table] == [(row["start"], row["end"]) for row in rows[:8]]


def test_windows_longer_than_every_clip(recordings):
    (recordings / "broken.wav").write_text("no audio")
    pool = read_pools(str(recordings))
    assert len(cut_pool(pool, Windows(7))) == 4
    with pytest.raises(InputError, match=r"--window_seconds 8 is longer than every clip of the pool: .* 7 s"):
        cut_pool(pool, Windows(8))
    third = cut_pool(pool.select([1]), Windows(7 + 1e-5))  # less than a sample
    assert len(third) == 1


def test_places():
    ids = ["a#t=0,2", "a#t=2,4", "a#t=3,5", "b#t=0,2", "c", "a#t=8,10"]
    places = {"start": [0.0, 2, 3, 0, None, 8], "end": [2.0, 4, 5, 2, None, 10]}
    places = WindowPlaces(Dataset.from_dict({"audio_id": ids} | places))
    assert [places.touching(row).tolist() for row in range(6)] == [[0, 1], [0, 1, 2], [1, 2], [3], [4], [5]]
    overlapping = [(a, b) for a in range(6) for b in range(6) if a < b and places.overlap(a, b)]
    assert overlapping == [(1, 2)]


def test_files_of_parts_are_found(tmp_path):
    write_tone(tmp_path / "é.wav", 300)
    paths = [f"{tmp_path}/e\u0301.wav#t=0,1", f"{tmp_path}/gone.wav#t=0,1"]
    assert locate(paths) == [f"{tmp_path}/é.wav#t=0,1", None]


def test_evaluation_clips_are_kept_out_of_windows(recordings):
    """Guards against a test clip that is learnt from because only a part of its file is named."""
    pool = read_pools(str(recordings))
    cut = cut_pool(pool, Windows(2, 1))
    held_out = pool.select([0])
    kept = LeakageFilter([held_out]).drop_from(cut, "x", ExclusionLog())
    assert {row["audio_id"] for row in kept} == {"recordings/short.wav", "recordings/two.flac"}


def test_validation_holds_out_recordings_not_windows():
    ids = [f"r{n}.wav#t={t},{t + 1}" for n in range(40) for t in range(5)]
    table = Dataset.from_dict({"audio_id": ids, "caption": ["x"] * len(ids)})
    parts = [{name.split("#")[0] for name in part["audio_id"]} for part in split_validation(table, 0.3)]
    assert not parts[0] & parts[1] and len(parts[1]) > 3


def test_spectrograms_of_parts(tiny, recordings, tmp_path):
    model, processor = tiny
    rate = processor.feature_extractor.sampling_rate
    cache = SpectrogramCache(tmp_path / "cache", model.front_end, rate)
    part = {"audio": clip(f"{recordings}/long.wav#t=3,5"), "audio_id": "x"}
    soundfile.write(tmp_path / "cut.wav", soundfile.read(recordings / "long.wav")[0][3 * 11025 : 5 * 11025], 11025)
    cut = {"audio": clip(tmp_path / "cut.wav"), "audio_id": "y"}
    assert np.array_equal(cache.crop(part, rate, 7), cache.crop(cut, rate, 7))
    assert not np.array_equal(
        cache.crop(part, rate, 7), cache.crop({**part, "audio": clip(recordings / "long.wav")}, rate, 7)
    )


@pytest.fixture
def files(monkeypatch, tmp_path, captioned_folder, recordings):
    monkeypatch.chdir(tmp_path)
    return {"captions": str(captioned_folder), "audio": str(recordings)}


LABELS = ["low_hum", "high_whistle"]
WINDOWED = ["--window_seconds", "2", "--hop_seconds", "1"]


def test_the_set_has_windows(command, files, tiny_folder, labelled_folder, recordings, capsys):
    """Guards against pairs of the wrong part, and against a set that no later command can use."""
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", files["captions"], "--labels",
             labelled_folder, "--audio", files["audio"], *numbers("ads"), *WINDOWED]  # fmt: skip
    assert command(curate_command, *flags, "--output_dir", "set") == 0
    pairs, replay, facts = load_improvement_set("set")
    assert pairs.column_names[-2:] == ["start", "end"] and pairs.column_names == replay.column_names
    assert set(replay["start"]) == {None} and not any("#" in audio["path"] for audio in replay["audio"])
    assert facts["window_seconds"] == 2 and facts["hop_seconds"] == 1
    model = load_checkpoint(str(tiny_folder))[0]
    of_long = [row for row in pairs if "long" in row["audio_id"]]
    for row in of_long:
        assert row["audio_id"] == "recordings/long.wav" + part_name(row["start"], row["end"])
        soundfile.write("cut.wav", cut_by_hand(recordings / "long.wav", row), 11025)
        cosine = model.encode_audio("cut.wav") @ model.encode_text(row["caption"]).T
        assert cosine.item() == pytest.approx(row["similarity"], abs=1e-5)
        assert (model.encode_audio([row["audio"]]) == model.encode_audio("cut.wav")).all()
    assert len({row["start"] for row in of_long}) > 1
    streamed = {row["audio_id"]: row["audio"] for row in load_improvement_set("stream=set")[0]}
    for row in pairs:
        assert np.array_equal(decode_clip(streamed[row["audio_id"]], 8000), decode_clip(row["audio"], 8000))
    made = json.loads(Path("set/provenance.json").read_text())["arguments"]
    assert "`start` and `end` say which" in Path("set/README.md").read_text()
    assert (made["window_seconds"], made["hop_seconds"]) == (2, 1)
    assert command(curate_command, "--remake", "set", "--output_dir", "again") == 0
    file = "data/train-00000-of-00001.parquet"
    assert Path("again", file).read_bytes() == Path("set", file).read_bytes()
    assert command(curate_command, *flags, "--output_dir", "inside", "--embed_audio", "true") == 0
    inside = load_dataset("inside", split="train").cast_column("audio", Audio(decode=False))
    for mine, theirs in zip(pairs, inside, strict=True):
        assert {k: v for k, v in mine.items() if k != "audio"} == {k: v for k, v in theirs.items() if k != "audio"}
        assert np.array_equal(decode_clip(mine["audio"], 11025), decode_clip(theirs["audio"], 11025))
        assert "#" not in theirs["audio"]["path"] and theirs["audio"]["bytes"]
    for name in ("set", "inside"):
        flags = ["--strategy", "ads", "--teacher", tiny_folder, "--improvement_set", name, "--max_steps", "2"]
        flags += ["--per_device_train_batch_size", "4", "--disable_tqdm", "true", "--spectrogram_cache", "spectra"]
        assert command(student_command, *flags, "--output_dir", f"student_{name}") == 0, capsys.readouterr().err


@pytest.mark.parametrize("streamed", [False, True])
def test_the_report_maps_long_recordings(files, tiny_folder, recordings, tmp_path, streamed):
    """Guards against maps of other windows or probabilities than `classify` gives."""
    model, labels = load_checkpoint(str(tiny_folder))[0], ["high whistle", "low hum"]
    audio, long = files["audio"], recordings / "long.wav"
    if streamed:
        audio = Dataset.from_dict({"audio": [clip("long.wav", long.read_bytes())]}).cast_column(
            "audio", Audio(decode=False)
        )
    options = {"labels": LABELS, "window_seconds": 2, "hop_seconds": 1, "num_captions": 3, "num_pairs": 8}
    made = curate(str(tiny_folder), strategy="ads", captions=files["captions"], audio=audio, **options)
    (one,) = made.facts["window_maps"]  # the others have a window each
    (asked,) = model.classify([str(long)], labels, prompt="this is a sound of {}", windows=2, hop=1)
    assert len(asked) == 6
    for row, other in zip(one.rows, asked, strict=True):
        assert row == pytest.approx(other, abs=1e-5) and list(row) == list(other)
    made.write_report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Long recordings" in page and (f'alt="Log-mel spectrogram of {one.recording}"' in page) is not streamed


def test_without_windows_nothing_changes(command, files, tiny_folder):
    """Guards against columns and facts that nobody asked for."""
    made = curate(str(tiny_folder), strategy="du", **files, num_pairs=5)
    assert not {"start", "end"} & set(made.pairs.column_names)
    assert not {"window_seconds", "hop_seconds"} & (made.provenance.keys() | made.provenance["arguments"].keys())


@pytest.mark.parametrize("streamed", [True, False])
def test_audio_inside_a_table_becomes_a_stream_of_windows(files, tiny_folder, recordings, streamed):
    """Guards against copies of a whole recording for each of its windows."""
    clips = sorted(map(str, recordings.glob("*.*")))
    table = Dataset.from_dict({"audio": [clip(Path(name).name, Path(name).read_bytes()) for name in clips]})
    table = table.cast_column("audio", Audio(decode=False))
    options = {"strategy": "du", "captions": files["captions"], "num_pairs": 12, "window_seconds": 2, "hop_seconds": 1}
    if streamed:
        table.to_parquet("stream/data.parquet")
    made = curate(str(tiny_folder), audio="stream=stream" if streamed else table, **options)
    by_file = curate(str(tiny_folder), audio=files["audio"], **options)
    assert len(made.pairs) == 12 and np.allclose(sorted(made.pairs["similarity"]), sorted(by_file.pairs["similarity"]))
    assert sorted(made.pairs["start"]) == sorted(by_file.pairs["start"])
    for row in made.pairs:
        if "#t=" in row["audio_id"]:
            assert np.array_equal(decode_clip(row["audio"], 11025), cut_by_hand(recordings / "long.wav", row))
    made.save("kept")
    assert load_dataset("kept", split="train").column_names == [*made.pairs.column_names]
    with pytest.raises(InputError, match="longer than every clip"):
        curate(str(tiny_folder), audio="stream=stream" if streamed else table, **options | {"window_seconds": 9})


def test_copies_among_windows(files, tiny_folder, recordings, tmp_path):
    """Guards against neighbours that are taken for copies of each other, and copies that are not seen any more."""
    rng, rate = np.random.default_rng(3), 16000

    def music(seconds):
        notes = np.repeat(rng.uniform(300, 5000, (3, seconds * 8)), rate // 8, axis=1)
        return 0.2 * np.sin(2 * np.pi * np.cumsum(notes, axis=1) / rate).sum(axis=0) + 0.001 * rng.normal(
            size=seconds * rate
        )

    folder = tmp_path / "music"
    folder.mkdir()
    first, second = music(20), music(21)  # the last window of 21 s begins 1 s after the one before
    soundfile.write(folder / "a.wav", first, rate)
    soundfile.write(folder / "b.wav", second, rate)
    soundfile.write(folder / "copy.flac", 0.5 * first[int(0.2 * rate) :], rate)
    options = {"strategy": "du", "captions": files["captions"], "audio": str(folder), "num_pairs": 10}
    options |= {"window_seconds": 5, "hop_seconds": 2.5, "near_duplicates": "drop"}
    made = curate(str(tiny_folder), **options)
    copies = made.provenance["near_duplicates"]
    assert copies["groups"] >= 6 and copies["dropped"] == copies["groups"] and copies["clips"] == 2 * copies["groups"]
    listed = (made.folder / "duplicates.csv").read_text()
    assert "a.wav#t=" in listed and "copy.flac#t=" in listed and "b.wav" not in listed
    # An evaluation clip that lies across two windows side by side takes both out, and no others.
    test = tmp_path / "test"
    (test / "one").mkdir(parents=True)
    (test / "two").mkdir()
    soundfile.write(test / "one" / "x.flac", second[int(7.4 * rate) : int(12.4 * rate)], rate)
    write_tone(test / "two" / "y.wav", 300)
    options |= {"hop_seconds": 5.0, "near_duplicates": "keep", "task": [str(test)], "num_pairs": 40}
    made = curate(str(tiny_folder), **options)
    of_b = {row["start"] for row in made.pairs if "b.wav" in row["audio_id"]}
    assert not {5.0, 10.0} & of_b and made.provenance["evaluation_copies"] in (3, 4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--window_seconds", "0"], ["--window_seconds must be at least 0.01, got 0"]),
        (["--window_seconds", "-5"], ["--window_seconds must be at least"]),
        (["--window_seconds", "2", "--hop_seconds", "0"], ["--hop_seconds must be at least 0.01"]),
        (["--window_seconds", "2", "--hop_seconds", "3"], ["--hop_seconds 3 passes over", "give less"]),
        (["--hop_seconds", "2"], ["give --window_seconds too"]),
        (["--window_seconds", "30"], ["--window_seconds 30 is longer than every clip of the pool", "7 s"]),
        (["--window_seconds", "2", "--strategy", "ds", "--labels", "labels.txt"], ["captioned clips can't be cut"]),
    ],
)
def test_wrong_windows(command, files, tiny_folder, flags, words, capsys):
    Path("labels.txt").write_text("low hum\nhigh whistle\n")
    given = ["--strategy", "du", "--teacher", tiny_folder, "--captions", files["captions"], "--audio", files["audio"]]
    check_failure(command(curate_command, *given, *flags), capsys, *words)
    assert not Path("outputs/improvement_set_du").exists()


# What ten minutes cost beside ten seconds, in a process of its own.
_MEMORY = """
import sys, tracemalloc
import numpy as np, soundfile
from modeling_clap_student.data.decoding import ClipReader
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.windows import Windows, cut_pool
from modeling_clap_student.checkpoints.embedding import iter_clips
from modeling_clap_student.checkpoints.loading import load_checkpoint

folder, seconds, teacher = sys.argv[1], int(sys.argv[2]), sys.argv[3]
block = (np.random.default_rng(0).normal(size=44100) * 3000).astype(np.int16)
with soundfile.SoundFile(f"{folder}/r.flac", "w", 44100, 1) as file:
    for _ in range(seconds):
        file.write(block)
model, processor = load_checkpoint(teacher)
pool = cut_pool(read_pools(folder), Windows(5, 2.5))
skipped = SkippedClips(f"{folder}/skipped.csv")
next(iter_clips(model.eval(), processor, [pool[0]], skipped, 8))
tracemalloc.start()
count = sum(vector is not None for _, vector, _ in iter_clips(model, processor, iter(pool), skipped, 8))
print(count, tracemalloc.get_traced_memory()[1] / 2**20)
"""


def test_a_long_recording_takes_no_more_memory_than_a_short_one(tmp_path, tiny_folder):
    """Guards against a recording that is held as a whole: ten minutes in float32 are 101 MiB."""
    peaks = {}
    for seconds in (60, 600):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        code = [sys.executable, "-c", _MEMORY, folder, str(seconds), tiny_folder]
        run = subprocess.run(list(map(str, code)), capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stderr
        count, peak = run.stdout.split()[-2:]
        assert int(count) == (seconds - 5) / 2.5 + 1
        peaks[seconds] = float(peak)
    assert peaks[600] < peaks[60] + 5 and peaks[600] < 60, peaks


def test_embeddings_of_windows_are_those_of_the_cuts(tiny, recordings, tmp_path):
    """Guards against a vector that depends on the window before it: equal to the bit, in any company."""
    model, processor = tiny
    reader = ClipReader(processor.feature_extractor.sampling_rate, SkippedClips(tmp_path / "skipped.csv"))
    rows = list(cut_pool(read_pools(str(recordings)), Windows(2, 1)))
    windows = embed_windows(model, reader.read_windows(rows, processor.feature_extractor), 4)
    samples = soundfile.read(recordings / "long.wav", dtype="float32")[0]
    for n in range(6):
        soundfile.write(tmp_path / f"{n}.wav", samples[n * 11025 : (n + 2) * 11025], 11025, subtype="PCM_16")
    model.processor = processor
    cuts = model.encode_audio([str(tmp_path / f"{n}.wav") for n in range(6)], batch_size=4)
    assert (windows[:6] == cuts).all() and len({row.numpy().tobytes() for row in cuts}) == 6
