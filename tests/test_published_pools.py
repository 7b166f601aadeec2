"""AudioSet as people have it on disk, and folders of any size: each from a tiny copy of the layout."""

import os
import tracemalloc
from pathlib import Path

import pytest
from datasets import Dataset

from modeling_clap_student.commands import curate
from modeling_clap_student.data.files import list_audio
from modeling_clap_student.data.leakage import LeakageFilter, read_origins
from modeling_clap_student.data.naming import detect_layout
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.data.tables import POOL_COLUMNS
from modeling_clap_student.errors import InputError


# As published, but for the fourth, a row given twice. Ids begin with - and _, and hold both.
SEGMENTS = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=5, num_segs=5, num_unique_labels=527, num_positive_labels=9\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
    '---1_cCGK4M, 0.000, 10.000, "/m/01g50p,/m/0284vy3,/m/06d_3,/m/07jdr"\n'
    '_2vXJYlDwXk, 30.000, 40.000, "/m/04rlf"\n'
    'YabcDEF_-12, 420.000, 430.000, "/m/09x0r"\n'
    '_2vXJYlDwXk, 30.000, 40.000, "/m/04rlf"\n'
    'gone-_56789, 21.000, 31.000, "/m/09x0r,/t/dd00088"\n'
)
VIDEOS = ["---1_cCGK4M", "YabcDEF_-12", "_2vXJYlDwXk"]


def put(path: Path, text: str = "", encoding: str = "utf-8") -> Path:
    """Writes a text file as it stands, line ends included; empty files stand for clips, which no reader opens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def read(spec: object, **options) -> tuple[Dataset, dict[str, int]]:
    """The table, and reason -> number of clips left out."""
    exclusions = ExclusionLog()
    table = read_pools([str(spec)], exclusions, **options)
    assert table.column_names == list(POOL_COLUMNS)
    return table, {reason: count for (_, reason), count in exclusions.counts.items()}


def videos(table: Dataset) -> list[str]:
    assert all(Path(audio["path"]).is_file() and audio["bytes"] is None for audio in table["audio"])
    return sorted(origin.removeprefix("youtube:") for origin in table["origin_id"])


@pytest.mark.parametrize(
    "name",
    [
        "{}.wav",
        "Y{}.wav",
        "{}_30.000_40.000.flac",
        "{}_30.000.ogg",
        "{}_30000_40000.flac",
        "Y{}_30_40.mp3",
        "{}_30.0-40.0.ogg",
        "{}_30.WAV",
    ],
)
@pytest.mark.parametrize(
    ("folder", "table"),
    [
        ("audio/unbalanced_train", "unbalanced_train_segments.csv"),
        (
            "audios/unbalanced_train_segments/unbalanced_train_segments_part07",
            "metadata/unbalanced_train_segments.csv",
        ),
        ("unbalanced_train/unbalanced_train_segments_part40", "unbalanced_train_segments.csv"),
        ("unbalanced_train_segments", "csv/unbalanced_train_segments.csv"),
        ("wav", "unbalanced_train_segments.csv"),
        (".", "unbalanced_train_segments.csv"),
    ],
)
def test_audioset_under_each_name_in_each_folder(tmp_path, folder, table, name):
    """Guards against a download that can't be used: ids split at a _, a Y taken for their first letter."""
    put(tmp_path / table, SEGMENTS)
    for video in VIDEOS:
        put(tmp_path / folder / name.format(video))
    pool, left_out = read(tmp_path)
    assert detect_layout(tmp_path) == "audioset"
    assert videos(pool) == VIDEOS
    assert left_out == {"a row of the csv without a file": 1, "a row of the csv that stands there twice": 1}
    assert len(read(f"audioset={tmp_path}")[0]) == 3


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda text: text.replace("\n", "\r\n"), "utf-8"),
        (lambda text: text, "utf-8-sig"),
        (lambda text: text[text.index("YTID") :], "utf-8-sig"),  # as some copies: a header instead of the comments
        (lambda text: "YTID,start_seconds\n" + text[text.index("---1") :].replace(", ", ","), "utf-8"),
        (lambda text: text.replace("---1_cCGK4M", '"---1_cCGK4M"').rstrip("\n"), "utf-8"),
    ],
)  # fmt: skip
def test_audioset_csv_in_its_variants(tmp_path, change, encoding):
    """Guards against line ends, byte-order marks, missing comments and quotes of copies of the csv."""
    put(tmp_path / "unbalanced_train_segments.csv", change(SEGMENTS), encoding)
    for video in VIDEOS:
        put(tmp_path / f"Y{video}.wav")
    pool, left_out = read(tmp_path)
    assert videos(pool) == VIDEOS and left_out["a row of the csv without a file"] == 1


def test_audioset_parts_do_not_mix(tmp_path):
    """Guards against clips of the evaluation part in the pool, from a folder that holds everything."""
    put(tmp_path / "unbalanced_train_segments.csv", SEGMENTS)
    put(tmp_path / "eval_segments.csv", '# x\n--4gqARaEJE, 0.000, 10.000, "/m/068hy"\n')
    for video in (*VIDEOS, "--4gqARaEJE", "nobodyKnows"):
        put(tmp_path / "wavs" / f"{video}.wav")
    put(tmp_path / "wavs" / "intro.wav")
    put(tmp_path / "eval_segments" / f"Y{VIDEOS[0]}.wav")  # another part's folder is not looked into
    pool, left_out = read(tmp_path)
    assert videos(pool) == VIDEOS and left_out["not in the csv of the part"] == 2
    assert left_out["not named after a video"] == 1
    assert videos(read(f"audioset:eval={tmp_path}")[0]) == ["--4gqARaEJE"]
    assert len(read(f"audioset:eval,unbalanced_train={tmp_path}")[0]) == 4
    with pytest.raises(InputError, match="no part test: its parts are unbalanced_train, balanced_train, eval"):
        read(f"audioset:test={tmp_path}")


def test_audioset_copies_of_one_video(tmp_path):
    """Guards against a clip that downloaders put into the folder of each of its labels."""
    put(tmp_path / "unbalanced_train_segments.csv", SEGMENTS)
    for folder in ("Speech", "Dog, Größe", "Music"):
        put(tmp_path / folder / "_2vXJYlDwXk_30.0-40.0.ogg")
    pool, left_out = read(tmp_path)
    assert pool["audio_id"][:] == [f"{tmp_path.name}/Dog, Größe/_2vXJYlDwXk_30.0-40.0.ogg"]
    assert left_out["another file of the same video"] == 2


def test_audioset_without_its_csv(tmp_path):
    """Guards against a flat folder of unknown parts being used, and a part's own folder being refused."""
    for part, video in zip(("unbal_train", "eval"), VIDEOS, strict=False):
        put(tmp_path / "audio" / part / f"{video}.flac")
    assert videos(read(tmp_path)[0]) == VIDEOS[:1] and videos(read(f"audioset:eval={tmp_path}")[0]) == VIDEOS[1:2]
    put(tmp_path / "flat" / "eval_segments.csv", SEGMENTS)
    put(tmp_path / "flat" / f"{VIDEOS[0]}.wav")
    with pytest.raises(InputError, match=r"neither unbalanced_train_segments\.csv nor audio in a folder"):
        read(tmp_path / "flat")


def test_audioset_labels_are_not_even_read(tmp_path):
    """Guards against labels of the pool that reach the method: megabytes of them, broken ones too, leave no trace."""
    rows = "".join(f'{number:011d}, 0.000, 10.000, "{"/m/09x0r," * 100}\udcff"\n' for number in range(20_000))
    table = put(tmp_path / "unbalanced_train_segments.csv")
    table.write_bytes(rows.encode("utf-8", "surrogateescape"))
    put(tmp_path / "00000000007.wav")
    tracemalloc.start()
    pool, _ = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) > 18e6 and peak < 5e6
    assert videos(pool) == ["00000000007"] and not any("/m/" in str(value) for value in pool[0].values())


def test_fifty_thousand_names_stay_no_objects(tmp_path, monkeypatch):
    """Guards against an object a file: the names of a large pool must go to arrow as they come."""

    class Entry:
        def __init__(self, number):
            self.name = f"Y{number:011d}_a_rather_long_name_of_a_recording.wav"

        def is_file(self):
            return True

        def is_symlink(self):
            return False

    class Listing:
        def __enter__(self):
            return map(Entry, range(50_000))

        def __exit__(self, *_):
            pass

    scandir = os.scandir
    monkeypatch.setattr(
        "os.scandir", lambda path: Listing() if str(path).rstrip("/") == str(tmp_path) else scandir(path)
    )
    monkeypatch.setattr("modeling_clap_student.data.files._CHUNK", 1000)
    tracemalloc.start()
    pool, left_out = read(f"folder={tmp_path}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pool) == 50_000 and not left_out
    assert peak < 3e6  # as dicts they take 30e6; arrow's own memory is not counted here
    assert pool[3]["audio"]["path"] == f"{tmp_path}/Y00000000003_a_rather_long_name_of_a_recording.wav"


def test_listings_are_ordered_and_end(tmp_path):
    """Guards against hidden files, links in circles, doubles through links, and an order left to the disk."""
    for file in ("b/ü.wav", "b/Z.wav", "a.wav", "._a.wav", ".cache/x.wav", "b.wav/c.wav"):
        put(tmp_path / "pool" / file)
    put(tmp_path / "other" / "d.wav")
    (tmp_path / "pool" / "b" / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool" / "again").symlink_to(tmp_path / "pool" / "b")
    (tmp_path / "pool" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "pool" / "twice").symlink_to(tmp_path / "other")
    (tmp_path / "pool" / "dangling.wav").symlink_to(tmp_path / "gone.wav")
    found = list_audio(tmp_path / "pool").to_pylist()
    assert found == ["a.wav", "b.wav/c.wav", "b/Z.wav", "b/ü.wav", "linked/d.wav"]


def test_names_that_are_no_text(tmp_path):
    """Guards against one file name in an old encoding that ends the reading of a million."""
    put(tmp_path / "pool" / "a.wav")
    with open(os.fsencode(tmp_path / "pool") + b"/gr\xf6\xdfe.wav", "w"):
        pass
    assert read(tmp_path / "pool")[0]["audio_id"][:] == ["pool/a.wav"]


def test_a_list_that_names_more_than_is_there(tmp_path):
    """Guards against rows without a file, and rows given twice, that are embedded, or lost without a word."""
    header, row = "filename,fold,target,category,src_file\r\n", "{0}.wav,1,0,dog,{0}\r\n"
    put(tmp_path / "esc" / "meta" / "esc50.csv", header + "".join(row.format(n) for n in (1, 2, 2, 3)))
    for number in (1, 2):
        put(tmp_path / "esc" / "audio" / f"{number}.wav")
    pool, left_out = read(tmp_path / "esc")
    assert pool["origin_id"][:] == ["freesound:1", "freesound:2"]
    assert left_out == {"no such audio file": 1, "the same clip again": 1}
    for number in (1, 2):
        (tmp_path / "esc" / "audio" / f"{number}.wav").unlink()
    with pytest.raises(InputError, match="lists 4 clips, but not one of their files is there"):
        read(tmp_path / "esc")


# Recordings that are kept out


@pytest.fixture
def audioset(tmp_path) -> Path:
    put(tmp_path / "as" / "unbalanced_train_segments.csv", SEGMENTS)
    for video in VIDEOS:
        put(tmp_path / "as" / f"Y{video}.wav")
    return tmp_path / "as"


AUDIOCAPS = 'audiocap_id,youtube_id,start_time,caption\n1,---1_cCGK4M,30,"Rain, ""hard"""\n2,Zzzzzzzzzz_,0,A dog\n'


def test_audiocaps_is_kept_out_of_audioset(tmp_path, audioset):
    """Guards against the teacher's training clips in its pool, by the corpus's folder or by its csv alone."""
    put(tmp_path / "caps" / "train.csv", AUDIOCAPS)
    for spec in (f"audiocaps={tmp_path / 'caps'}", tmp_path / "caps" / "train.csv"):
        origins = read_origins([str(spec)])
        assert origins == {"youtube:---1_cCGK4M", "youtube:Zzzzzzzzzz_"}
        pool, left_out = read(audioset, leakage=LeakageFilter(origins=origins))
        assert videos(pool) == VIDEOS[1:] and left_out["its recording is to be left out"] == 1


def test_freesound_evaluation_sets_are_kept_out(tmp_path):
    """Guards against clips of one Freesound recording in the pool and in the evaluation set."""
    put(tmp_path / "us" / "metadata" / "UrbanSound8K.csv", "slice_file_name,fsID,fold,class\n7-1.wav,7,1,siren\n")
    put(
        tmp_path / "esc" / "meta" / "esc50.csv",
        "filename,fold,category,src_file\n1-7-A.wav,1,dog,7\n1-8-A.wav,1,dog,8\n",
    )
    for name in ("1-7-A.wav", "1-8-A.wav"):
        put(tmp_path / "esc" / "audio" / name)
    pool, _ = read(tmp_path / "esc", leakage=LeakageFilter(origins=read_origins([str(tmp_path / "us")])))
    assert pool["origin_id"][:] == ["freesound:8"]


def test_what_tells_no_recording_can_not_be_kept_out(tmp_path, audioset):
    """Guards against --exclude with a list that says nothing, and a pool that is emptied, without a word."""
    with pytest.raises(InputError, match="does not tell its recordings: it needs a column origin_id, youtube_id"):
        read_origins([str(put(tmp_path / "list.csv", "file_name,caption\na.wav,rain\n"))])
    with pytest.raises(InputError, match="laid out as 'folder'"):
        read_origins([str(tmp_path)])
    everything = frozenset(f"youtube:{video}" for video in VIDEOS)
    with pytest.raises(InputError, match="holds no clips that are not left out"):
        read(audioset, leakage=LeakageFilter(origins=everything))


def test_exclusions_are_said(tmp_path, audioset, captioned_folder, tiny_folder, command, capsys):
    """Guards against a flag of curate.py that does nothing, or does it without a word."""
    put(tmp_path / "audiocaps_train.csv", AUDIOCAPS)
    put(tmp_path / "plain" / "a.wav")
    flags = ["--strategy", "du", "--teacher", tiny_folder, "--captions", captioned_folder, "--dry_run"]
    flags += ["--audio", audioset, tmp_path / "plain", "--exclude", tmp_path / "audiocaps_train.csv"]
    assert command(curate, *flags) == 0
    said = capsys.readouterr().out
    assert "1 of 3 rows left out: its recording is to be left out" in said and "3 clips in the pool" in said
    assert "1 of 5 rows left out: a row of the csv without a file (for instance gone-_56789)" in said
    assert "1 clips of the pool name no recording" in said
