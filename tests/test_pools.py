"""Pools of audio without text."""

from pathlib import Path

import pytest
from conftest import write_tone

from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import Source
from modeling_clap_student.data.tables import POOL_COLUMNS as COLUMNS
from modeling_clap_student.data.tables import clip_table
from modeling_clap_student.errors import InputError


def touch(root: Path, *files: str) -> Path:
    """Empty files, which no reader of pools opens."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_folders_are_searched_and_sorted(tmp_path):
    """Guards against nested clips that are missed, other files taken for clips, and an order left to the disk."""
    root = touch(
        tmp_path / "pool", "b.wav", "a/z.FLAC", "a/ü, ö.ogg", "c.mp3", "notes.txt", "cover.jpg", "wav", "d.json"
    )
    (root / "folder.wav").mkdir()
    table = read_pools([str(root)])
    assert table.column_names == list(COLUMNS)
    assert table["audio_id"][:] == ["pool/a/z.FLAC", "pool/a/ü, ö.ogg", "pool/b.wav", "pool/c.mp3"]
    assert all(Path(audio["path"]).is_file() and audio["bytes"] is None for audio in table["audio"])
    assert set(table["source"]) == {"pool"}


def test_metadata_beside_a_pool_is_not_read(tmp_path):
    """Guards against captions or labels of a pool that reach the method."""
    root = touch(tmp_path / "pool", "a.wav", "b.wav")
    (root / "metadata.csv").write_text("file_name,caption,label\na.wav,a dog,dog\n")
    table = read_pools([str(root)])
    assert table.column_names == list(COLUMNS) and len(table) == 2


def test_esc50_folds_without_labels(tmp_path):
    """Guards against labels in the pool, and evaluation folds that leak into it."""
    files = [f"audio/{number}.wav" for number in (1, 2, 3)]
    metadata = touch(tmp_path / "esc", "meta/esc50.csv", *files) / "meta" / "esc50.csv"
    metadata.write_text("filename,fold,category\n1.wav,1,dog\n2.wav,2,rain\n3.wav,3,cat\n")
    assert len(read_pools([str(tmp_path / "esc")])) == 3
    table = read_pools([f"esc50:1,3={tmp_path / 'esc'}"])
    assert table.column_names == list(COLUMNS)
    assert [a["path"] for a in table["audio"]] == [f"{tmp_path}/esc/audio/{n}.wav" for n in (1, 3)]
    with pytest.raises(InputError, match="holds no clips"):
        read_pools([f"esc50:7={tmp_path / 'esc'}"])


@pytest.mark.parametrize("column", ["class", "class_name"])
def test_urbansound8k_folds_without_labels(tmp_path, column):
    """Guards against labels in the pool and clips looked up outside of their fold's folder."""
    files = ["audio/fold1/1-3.wav", "audio/fold10/2-1.wav"]
    metadata = touch(tmp_path / "us8k", "metadata/UrbanSound8K.csv", *files) / "metadata" / "UrbanSound8K.csv"
    metadata.write_text(f"slice_file_name,fold,{column}\n1-3.wav,1,dog_bark\n2-1.wav,10,siren\n")
    table = read_pools([str(tmp_path / "us8k")])
    assert table.column_names == list(COLUMNS)
    assert [a["path"] for a in table["audio"]] == [
        f"{tmp_path}/us8k/audio/fold1/1-3.wav",
        f"{tmp_path}/us8k/audio/fold10/2-1.wav",
    ]
    assert read_pools([f"urbansound8k:1={tmp_path / 'us8k'}"])["audio_id"][:] == ["us8k/fold1/1-3.wav"]


def test_soundscapes_pool_has_no_labels():
    """Guards against the built-in pool being another part, or holding its events' names."""
    table = read_pools(["soundscapes"])
    assert table.column_names == list(COLUMNS) and len(table) >= 1000
    assert all(audio["path"].startswith("soundscapes://pool/") for audio in table["audio"])


def test_parquet_pools_lose_their_other_columns(tmp_path, monkeypatch):
    """Guards against captions of a data set that is used as a pool."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    root = touch(tmp_path / "set", "0.wav", "1.wav")
    table = clip_table(Source("x", "folder", "x"), [root / f"{n}.wav" for n in range(2)], ["0", "1"])
    table.add_column("label", ["dog", "cat"]).to_parquet(root / "train.parquet")
    read = read_pools([str(root)])
    assert read.column_names == list(COLUMNS) and read["audio_id"][:] == ["x/0", "x/1"]


def test_pools_join(tmp_path):
    """Guards against all but one of several pools being dropped."""
    specs = [str(touch(tmp_path / name, f"{name}.wav")) for name in ("one", "two")]
    assert read_pools(specs)["audio_id"][:] == ["one/one.wav", "two/two.wav"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{tmp}", "holds no audio files"),
        ("{tmp}/gone", "no such file or folder"),
        (
            "nonsense={tmp}",
            "known are audiofolder, audioset, esc50, folder, hub, soundscapes, stream, tut17",
        ),
        ("soundscapes:nonsense", "no part 'nonsense'"),
        ("{tmp}/notes.csv", "laid out as 'csv'"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path, spec, words):
    """Guards against an empty pool that only fails after the teacher has been loaded, and against tracebacks."""
    touch(tmp_path, "notes.csv")
    with pytest.raises(InputError, match=words):
        read_pools([spec.format(tmp=tmp_path)])


def test_folders_of_one_name_are_told_apart(tmp_path):
    """Guards against clips of two folders `audio` that share their ids, and so count as one clip."""
    for parent in ("a", "b"):
        write_tone(tmp_path / parent / "audio" / "1.wav", 300)
    pool = read_pools([str(tmp_path / "a" / "audio"), str(tmp_path / "b" / "audio")])
    assert pool["audio_id"][:] == ["a/audio/1.wav", "b/audio/1.wav"]
    assert read_pools([str(tmp_path / "a" / "audio")])["audio_id"][:] == ["audio/1.wav"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"file_name,freesound_id\na.wav,7,8\n"])
def test_metadata_that_can_not_be_read_is_told(tmp_path, capsys, content):
    """Guards against recordings that are to be left out and are not, without a word."""
    write_tone(tmp_path / "p" / "a.wav", 300)
    (tmp_path / "p" / "metadata.csv").write_bytes(content)
    assert read_pools(str(tmp_path / "p"))["origin_id"] == [None]
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("caution: ") == 1 and "metadata.csv" in told and "recordings of its clips are unknown" in told
