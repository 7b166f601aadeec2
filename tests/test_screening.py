"""What is kept out of a pool: copies of evaluation clips, poor recordings, copies of each other; and the messages."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import FAST, SMALL, check_failure
from datasets import Dataset

from modeling_clap_student import ClapStudentModel, InputError, curate
from modeling_clap_student.commands import curate as curate_command
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.curation.arguments import CurateArguments
from modeling_clap_student.curation.embedding_store import StoredVectors
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.curation.screening import PoolScreen
from modeling_clap_student.data import decoding, sound_store
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sound_store import SoundStore


RATE = 22050
LABELS = ["hum", "whistle"]


def recording(number, seconds=1.0, rate=RATE):
    """Different noise for each number, in bursts."""
    rng, size = np.random.default_rng(number), int(seconds * rate)
    bursts = np.repeat(rng.uniform(0.2, 2, 20), -(-size // 20))[:size]
    return (rng.normal(0, 0.05, size) * bursts).astype(np.float32)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture
def pool(tmp_path):
    """Six recordings, three of them the same: as they are, as mp3 at half the level, as ogg without its beginning."""
    for number in range(4):
        write(tmp_path / "pool" / f"{number}.wav", recording(number))
    write(tmp_path / "pool" / "4.mp3", recording(1) / 2)
    write(tmp_path / "pool" / "5.ogg", recording(1)[round(0.1 * RATE) :])
    return tmp_path / "pool"


@pytest.fixture
def teacher(tiny_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return ClapStudentModel.from_pretrained(tiny_folder)


def curated(teacher, pool, captioned_folder, **options):
    settings = {"strategy": "du", "captions": str(captioned_folder), "num_pairs": 1000} | options
    return curate(teacher, audio=str(pool), progress=False, **settings)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def clips_of(improvement):
    return {Path(name).name for name in improvement.pairs["audio_id"]}


def test_copies_are_reported_and_dropped(teacher, pool, captioned_folder, tmp_path):
    """Guards against a report that drops, a drop that keeps none of a group, and copies that are looked for though
    nobody wants it."""
    report = curated(teacher, pool, captioned_folder)
    assert clips_of(report) == {"0.wav", "1.wav", "2.wav", "3.wav", "4.mp3", "5.ogg"}
    assert report.provenance["near_duplicates"] == {"groups": 1, "clips": 3, "dropped": 0}
    report.save("set")
    rows = rows_of("set/duplicates.csv")
    assert {row["from"] for row in rows} == {"pool"}
    assert [(row["audio_id"], row["group"], row["kept"], row["by"]) for row in rows] == [
        (f"pool/{name}", "1", "yes", "sound") for name in ("1.wav", "4.mp3", "5.ogg")]  # fmt: skip
    assert all(0.3 <= float(row["similarity"]) <= 1 for row in rows)
    assert "The same recordings under other bytes" in Path("set/report.html").read_text()
    report.save("set")  # with these lists it is a set, and moved aside
    drop = curated(teacher, pool, captioned_folder, near_duplicates="drop")
    assert drop.provenance["near_duplicates"]["dropped"] == 2
    assert len(clips_of(drop)) == 4 and len(clips_of(drop) & {"1.wav", "4.mp3", "5.ogg"}) == 1
    copies = [pair for pair in report.pairs if Path(pair["audio_id"]).name[0] in "145"]
    best = max((pair["similarity"], pair["audio_id"]) for pair in copies)
    assert Path(best[1]).name in clips_of(drop)
    kept = curated(teacher, pool, captioned_folder, near_duplicates="keep")
    assert "near_duplicates" not in kept.provenance and len(clips_of(kept)) == 6


def evaluation_set(folder):
    """The same sounds as recordings 1 of the pool and 7 of the captions, under other bytes; and others."""
    for name in ("dog/1.flac", "rain/7.ogg", "dog/20.wav", "rain/21.wav"):
        write(folder / name, recording(int(Path(name).stem)) * 0.4)
    return folder


@pytest.fixture
def captions(tmp_path):
    lines = ["file_name,caption"]
    for number in range(6, 12):
        write(tmp_path / "captions" / f"{number}.wav", recording(number))
        lines.append(f"{number}.wav,{('a low hum', 'a high whistle')[number % 2]} {number}")
    (tmp_path / "captions" / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "captions"


def test_evaluation_clips_are_kept_out(pool, captions, tmp_path, command, capsys):
    """Guards against an evaluation clip, encoded anew, in what a teacher, a curation and a student learn from."""
    evaluated = evaluation_set(tmp_path / "eval")
    made = ["--output_dir", "teacher", *SMALL, *FAST]
    assert command(run_teacher, "--corpus", captions, "--task", evaluated, *made) == 0
    assert "1 of 6 rows left out: it sounds like a clip of the evaluation set" in capsys.readouterr().out
    flags = ["--strategy", "du", "--teacher", "teacher", "--captions", captions, "--audio", pool, "--num_pairs", 99]
    assert command(curate_command, *flags, "--output_dir", "all", "--task", evaluated, "--allow_near_duplicates") == 0
    assert "it sounds like" not in capsys.readouterr().out
    assert command(curate_command, *flags, "--output_dir", "set", "--task", evaluated) == 0
    said = capsys.readouterr().out
    assert "3 of 6 clips left out: it sounds like a clip of the evaluation set" in said
    assert "1 of 6 rows left out: it sounds like a clip of the evaluation set (for instance captions/7.wav)" in said
    pairs, replay, made_by = load_improvement_set("set")
    assert {Path(name).name for name in pairs["audio_id"]} == {"0.wav", "2.wav", "3.wav"}
    assert len(replay) == 5 and made_by["evaluation_copies"] == 3
    student = ["--strategy", "du", "--teacher", "teacher", "--improvement_set", "all", "--task", evaluated, *FAST]
    assert command(run_student, *student, "--output_dir", "student") == 0
    said = capsys.readouterr().out
    assert "it sounds like a clip of the evaluation set" in said
    assert "all (replay): 1 of 6 rows left out: it sounds like" in said


def test_copies_of_captioned_clips(teacher, pool, captions, tmp_path):
    """Guards against a pool that holds what the captions were written for, and against captioned clips that are
    dropped or called copies of themselves."""
    write(pool / "copy.ogg", recording(8) / 3)
    shutil.copy(captions / "9.wav", pool)
    write(captions / "again.flac", recording(10))
    with open(captions / "metadata.csv", "a") as file:
        file.write("again.flac,the same\n")
    evaluated = str(evaluation_set(tmp_path / "eval"))
    made = curated(teacher, pool, captions, task=[evaluated], near_duplicates="drop")
    made.save("set")
    groups = {}
    for row in rows_of("set/duplicates.csv"):
        groups.setdefault(row["group"], set()).add((row["audio_id"], row["from"], row["kept"]))
    assert sorted(groups.values(), key=min) == [
        {("captions/10.wav", "captions", "yes"), ("captions/again.flac", "captions", "yes")},
        {("captions/8.wav", "captions", "yes"), ("pool/copy.ogg", "pool", "no")},
        {("captions/9.wav", "captions", "yes"), ("pool/9.wav", "pool", "no")},
    ]
    assert made.provenance["near_duplicates"] == {"groups": 3, "clips": 6, "dropped": 2}
    assert clips_of(made) == {"0.wav", "2.wav", "3.wav"}
    both = curated(teacher, captions, captions)  # one folder is both
    assert both.provenance["near_duplicates"] == {"groups": 1, "clips": 2, "dropped": 0}


def test_a_clip_is_decoded_once(teacher, pool, captioned_folder, monkeypatch):
    """Guards against a pool that is read again for its fingerprints, and in the second run again."""
    opened = []
    real = decoding.open_clip
    monkeypatch.setattr(decoding, "open_clip", lambda audio, rate: opened.append(audio["path"]) or real(audio, rate))
    first = curated(teacher, pool, captioned_folder)
    assert sorted(Path(path).name for path in opened if "/pool/" in path) == [
        "0.wav", "1.wav", "2.wav", "3.wav", "4.mp3", "5.ogg"]  # fmt: skip
    opened.clear()
    again = curated(teacher, pool, captioned_folder)
    assert again.provenance["near_duplicates"] == first.provenance["near_duplicates"]
    assert not [path for path in opened if "/pool/" in path]
    shutil.rmtree("outputs/fingerprints")
    monkeypatch.setattr(sound_store, "hear_clip", lambda audio: opened.append("heard") or decoding.hear_clip(audio))
    assert (
        curated(teacher, pool, captioned_folder).provenance["near_duplicates"] == first.provenance["near_duplicates"]
    )
    assert opened.count("heard") == 6


def test_a_stream_is_screened(teacher, pool, captioned_folder):
    """Guards against clips without a file, which nobody can listen to again."""
    audio = [{"path": file.name, "bytes": file.read_bytes()} for file in sorted(pool.iterdir())]
    Path("stream").mkdir()
    Dataset.from_dict({"audio": audio, "audio_id": [clip["path"] for clip in audio]}).to_parquet("stream/0.parquet")
    options = {"near_duplicates": "drop", "min_seconds": 0.95, "max_skipped_fraction": 1.0}
    made = curated(teacher, "stream=stream", captioned_folder, **options)
    assert made.provenance["below_quality"] == {"min_seconds": 1}
    assert made.provenance["near_duplicates"] == {"groups": 1, "clips": 2, "dropped": 1}
    assert len(clips_of(made)) == 4


def test_fingerprints_of_other_settings(teacher, pool, captioned_folder, monkeypatch):
    """Guards against comparing what can't be compared."""
    curated(teacher, pool, captioned_folder)
    monkeypatch.setitem(sound_store._ABOUT["fingerprints"], "bands", 17)
    with pytest.raises(InputError, match="outputs/fingerprints holds no fingerprints, or those of another version"):
        curated(teacher, pool, captioned_folder)


def test_poor_recordings_are_counted_and_dropped(teacher, pool, captioned_folder, tmp_path):
    """Guards against limits that are not kept, a fault that nobody hears of, and a drop that counts as damage."""
    loud = np.clip(recording(30) * 40, -1, 1)
    write(pool / "clipped.wav", loud)
    write(pool / "silent.wav", np.zeros(RATE, np.float32))
    write(pool / "offset.wav", recording(31) + 0.2)
    time = np.arange(RATE) / RATE
    write(pool / "narrow.wav", 0.3 * np.sin(2 * np.pi * 500 * time).astype(np.float32))
    made = curated(teacher, pool, captioned_folder, max_skipped_fraction=0.0)
    assert made.provenance["quality"] == {"constant": 1, "clipped": 1, "narrow": 1, "DC": 1, "short": 10}
    made.save("set")
    assert {row["audio_id"]: row["faults"] for row in rows_of("set/quality.csv")}["pool/narrow.wav"] == "narrow short"
    page = Path("set/report.html").read_text()
    assert "Poor recordings" in page and "clipped.wav" in page
    limits = {"max_silence": 0.5, "max_clipping": 0.01, "min_bandwidth_hz": 4000, "max_offset": 0.1}
    dropped = curated(teacher, pool, captioned_folder, max_skipped_fraction=0.0, **limits)
    assert clips_of(made) - clips_of(dropped) == {"clipped.wav", "silent.wav", "offset.wav", "narrow.wav"}
    reasons = dict(csv.reader(dropped.folder.joinpath("skipped.csv").open()))
    assert reasons["pool/silent.wav"] == "silence 1, --max_silence 0.5; bandwidth 0 Hz, --min_bandwidth_hz 4000"
    with pytest.raises(InputError, match="no clip of the pool is good enough: of 10, --min_seconds 9 drops 10"):
        curated(teacher, pool, captioned_folder, min_seconds=9)


def test_wrong_flags(tiny_folder, captioned_folder, pool, command, capsys):
    """Guards against flags that do nothing, or anything."""
    flags = ["--teacher", tiny_folder, "--captions", captioned_folder, "--strategy"]
    check_failure(
        command(curate_command, *flags, "du", "--audio", pool, "--deduplicate", 1.5), capsys, "--deduplicate"
    )
    check_failure(command(curate_command, *flags, "du", "--audio", pool, "--max_silence", 2), capsys, "--max_silence")
    code = command(curate_command, *flags, "ds", "--labels", "x.txt", "--near_duplicates", "drop")
    check_failure(code, capsys, "--near_duplicates is for pools: ds has none")


def test_deduplication_is_greedy_from_the_best(tmp_path):
    """Guards against chains that drop what is like nothing that stays, and a choice that is not the best pair's.

    The reference looks at one clip after the other, in float64.
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 16))
    embeds = centres[rng.integers(12, size=300)] + 0.08 * rng.normal(size=(300, 16))
    embeds = (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).astype(np.float32)
    texts = rng.normal(size=(5, 16)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    embeds.tofile(tmp_path / "x.vectors")
    stored = StoredVectors([tmp_path / "x.vectors"], [0, 300], np.arange(300), 16, np.arange(300).astype("S16"))
    args = CurateArguments(strategy="du", teacher="t", captions=["c"], audio=["a"], deduplicate=0.98)
    clips = Dataset.from_dict({"audio_id": [f"clip {row}" for row in range(300)]})
    screen = PoolScreen(args, clips, stored, None, tmp_path, SkippedClips(tmp_path / "skipped.csv"))
    result = screen.run(None, texts, 5.0)
    kept, exact = [], embeds.astype(float)
    for row in sorted(range(300), key=lambda row: -(embeds[row] @ texts.T).max()):
        if all(exact[row] @ exact[other] < 0.98 for other in kept):
            kept.append(row)
    assert result.rows.tolist() == sorted(kept) and 12 <= len(kept) < 250
    assert result.counts["semantic_duplicates"]["dropped"] == 300 - len(kept)
    rows = rows_of(tmp_path / "duplicates.csv")
    assert {row["by"] for row in rows} == {"embedding"}
    assert sum(row["kept"] == "no" for row in rows) == 300 - len(kept)
    assert all(float(row["similarity"]) >= 0.98 for row in rows if row["kept"] == "no")


@pytest.mark.parametrize("lost", [8, 3])
def test_a_store_survives_a_killed_process(tmp_path, lost):
    """Guards against half a fingerprint that counts as one, and against clips that can't be read being tried again."""
    for number in range(3):
        write(tmp_path / "pool" / f"{number}.wav", recording(number))
    (tmp_path / "pool" / "broken.wav").write_text("no audio")
    files = sorted((tmp_path / "pool").iterdir())
    clips = Dataset.from_dict(
        {"audio": [{"path": str(file), "bytes": None} for file in files], "audio_id": [file.name for file in files]}
    )
    whole = SoundStore(tmp_path / "store").hear(clips, "hearing")
    assert whole.heard.tolist() == [True, True, True, False]
    assert len(whole.postings(0, 99)[0]) > 100 and whole.quality(1).seconds == pytest.approx(1)
    (data,) = (tmp_path / "store").glob("*.data")
    (index,) = (tmp_path / "store").glob("*.index")
    data.write_bytes(data.read_bytes()[:-lost])
    index.write_bytes(index.read_bytes() + b"\0" * 5)
    store = SoundStore(tmp_path / "store")
    again = store.hear(clips, "hearing")
    assert again.heard.tolist() == [True, True, True, False]
    assert all(np.array_equal(again.cells(row), whole.cells(row)) for row in range(3))
    assert len(list((tmp_path / "store").glob("*.index"))) == 2
