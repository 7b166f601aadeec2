"""Recordings are identified in the same way in every kind of evaluation set and corpus, by every command."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FAST, SMALL, write_tone
from datasets import Dataset

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands import temporal as run_temporal
from modeling_clap_student.curation.improvement_set import FEATURES, load_improvement_set, save_improvement_set
from modeling_clap_student.data.benchmarks import evaluation_clips
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.identity import origin_of
from modeling_clap_student.data.leakage import SAME_RECORDING, LeakageFilter
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog


COUNT = 6
TABLES = ["metadata.csv", "metadata.jsonl", "list.csv", "list.jsonl", "parquet", "arrow"]
COLUMNS = {"src_file": "{}.wav", "fsID": "{}", "freesound_id": "{}.0", "origin_id": "freesound:{}"}


def write(folder: Path, kind: str, column: str, pitch: int) -> str:
    """Clips of the recordings 100, 101 … in two classes, with captions; one column in one kind of table names them."""
    rows = []
    for number in range(COUNT):
        clip = write_tone(folder / f"{number}.wav", pitch + 10 * number, seconds=0.3)
        texts = {"caption": f"a sound {number}", "label": ("dog", "rain")[number % 2]}
        rows.append({"file_name": clip.name, **texts, column: COLUMNS[column].format(100 + number)})
    if kind.endswith("csv"):
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (folder / kind).write_text("\n".join(lines) + "\n")
    elif kind.endswith("jsonl"):
        (folder / kind).write_text("\n".join(map(json.dumps, rows)) + "\n")
    else:
        table = [
            {"audio": {"bytes": (folder / row.pop("file_name")).read_bytes(), "path": None}, **row} for row in rows
        ]
        for clip in folder.glob("*.wav"):
            clip.unlink()
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(table), folder / "train.parquet")
        else:
            Dataset.from_list(table).save_to_disk(folder)
    return str(folder / kind if kind.startswith("list") else folder)


def written_alike():
    return [
        ("freesound:123", {"freesound_id": 123}), ("freesound:123", {"fsID": 123.0}),
        ("freesound:123", {"src_file": " 123 "}), ("freesound:123", {"src_file": "123.wav"}),
        ("freesound:123", {"src_file": "000123"}), ("freesound:123", {"freesound_id": "123__someone__rain.flac"}),
        ("freesound:123", {"origin_id": " Freesound:123.0"}), ("freesound:123", {"origin_id": "", "fsID": "123"}),
        (None, {"fsID": float("nan")}), (None, {"src_file": "my recording.wav"}), (None, {"origin_id": None}),
        ("youtube:aBcDeFgHiJk", {"youtube_id": "aBcDeFgHiJk"}), ("youtube:aBcDeFgHiJk", {"ytid": "YaBcDeFgHiJk.wav"}),
        ("youtube:AbCdEfGhIjK", {"YTID": " AbCdEfGhIjK "}), ("mine:7", {"origin_id": "mine:7"}),
    ]  # fmt: skip


@pytest.mark.parametrize(("origin", "row"), written_alike())
def test_ids_are_written_alike(origin, row):
    """Guards against `123` and `123.0` that are two recordings, and ids of YouTube that differ in case and are one."""
    assert origin_of(row) == origin


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("column", COLUMNS)
def test_every_kind_of_evaluation_set_tells_its_recordings(kind, column, tmp_path):
    """Guards against a set that is read, whose column of recordings is not."""
    clips = evaluation_clips(write(tmp_path / "e", kind, column, 300))
    assert clips["origin_id"][:] == [f"freesound:{100 + number}" for number in range(COUNT)]


def leakage(folder: Path) -> LeakageFilter:
    return LeakageFilter([evaluation_clips(write(folder, "list.csv", "src_file", 300))])


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("column", ["src_file", "freesound_id", "origin_id"])
def test_every_kind_of_corpus_tells_its_recordings(kind, column, tmp_path):
    """Guards against training on other cuts of the evaluation set's recordings."""
    spec, exclusions = write(tmp_path / "c", kind, column, 900), ExclusionLog()
    with pytest.raises(ValueError, match="left out"):
        read_corpora([spec], exclusions=exclusions, leakage=leakage(tmp_path / "e"))
    assert list(exclusions.counts.values()) == [COUNT] and next(iter(exclusions.counts))[1] == SAME_RECORDING
    if not kind.startswith("list"):
        with pytest.raises(ValueError, match="holds no clips that are not left out"):
            read_pools([spec], leakage=leakage(tmp_path / "e"))
    if kind in ("parquet", "arrow"):
        pool = read_pools([f"stream={spec}"])
        assert all(leakage(tmp_path / "e").reason(row) == SAME_RECORDING for row in pool)


@pytest.mark.parametrize("field", ["origin_id", "freesound_id"])
def test_a_json_in_an_archive_tells_the_recording(field, tmp_path):
    """Guards against tar shards whose clips named no recording."""
    clip = write_tone(tmp_path / "a.wav", 500).read_bytes()
    told = {field: COLUMNS[field].format(103), "caption": "a dog"}
    (tmp_path / "t").mkdir()
    with tarfile.open(tmp_path / "t" / "x.tar", "w") as archive:
        for name, content in (("1.wav", clip), ("1.json", json.dumps(told).encode()), ("2.wav", clip[:-2])):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for stream in (read_pools([str(tmp_path / "t")]), read_corpora([str(tmp_path / "t")], streams=True)):
        assert [row["origin_id"] for row in stream] == ["freesound:103", None]


def improvement_set(folder: Path, origins: bool) -> Path:
    rows = []
    for number in range(COUNT):
        audio = {"bytes": None, "path": str(write_tone(folder.parent / "s" / f"{number}.wav", 900 + 10 * number))}
        texts = {"caption": f"sound {number}", "audio_id": f"{number}", "caption_id": f"c{number}", "source": "s"}
        rows.append({**dict.fromkeys(FEATURES), "audio": audio, **texts, "origin_id": f"freesound:{100 + number}"})
    pairs = Dataset(pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema))
    folder.mkdir()
    made = {"strategy": "ads", "teacher": "t", "num_pairs": COUNT, "seed": 0, "version": "1"}
    save_improvement_set(folder, pairs, None, made, str(folder))
    if not origins:
        file = next((folder / "data").glob("*.parquet"))
        pq.write_table(pq.read_table(file).drop_columns("origin_id").replace_schema_metadata(), file)
    return folder


@pytest.mark.parametrize("kind", ["list.csv", "parquet"])
def test_every_command_keeps_them_out(
    kind, captioned_folder, pool_folder, labelled_folder, tiny_folder, tmp_path, command, capsys
):
    """Guards against one command that reads a column that the others read: teacher, curation, student, temporal."""
    task = write(tmp_path / "task", kind, "fsID", 300)
    said = f"{COUNT} of {COUNT} rows left out: {SAME_RECORDING}"
    corpus = write(tmp_path / "corpus", "metadata.csv", "freesound_id", 900)
    for module, more in (
        (run_teacher, ["--corpus", corpus, *SMALL, *FAST]),
        (run_temporal, ["--stage", "b", "--model", tiny_folder, "--clips", corpus]),
        (curate, ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", corpus,
                  "--labels", labelled_folder]),
    ):  # fmt: skip
        command(module, *more, "--task", task, "--dry_run", "--output_dir", tmp_path / "o")
        printed = capsys.readouterr()
        assert said in printed.out or "left out" in printed.err or "evaluation set" in printed.err, printed
    made = improvement_set(tmp_path / "set", origins=True)
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--improvement_set", made, "--task", task, "--dry_run"]
    assert command(run_student, *flags) == 1
    assert "holds no clip that is not in the evaluation set" in capsys.readouterr().err


def test_older_sets_are_read_and_say_that_they_tell_no_recordings(tiny_folder, tmp_path, command, capsys):
    """Guards against older sets that are no longer accepted."""
    made = improvement_set(tmp_path / "set", origins=False)
    assert "origin_id" not in load_improvement_set(made)[0].column_names
    task = write(tmp_path / "task", "list.csv", "fsID", 300)
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--improvement_set", made, "--task", task, "--dry_run"]
    assert command(run_student, *flags) == 0
    assert capsys.readouterr().out.count("names no recordings") == 1


def test_a_curated_set_carries_its_recordings(tiny_folder, captioned_folder, tmp_path, command):
    """Guards against recordings that are known while curating, and forgotten in the set."""
    pool = write(tmp_path / "pool", "parquet", "src_file", 900)
    (tmp_path / "labels.txt").write_text("dog\nrain\n")
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool]
    flags += ["--labels", tmp_path / "labels.txt", "--num_captions", 3, "--num_pairs", 12]
    assert command(curate, *flags, "--output_dir", tmp_path / "table") == 0
    streamed = [f"stream={pool}" if flag == pool else flag for flag in flags]
    assert command(curate, *streamed, "--output_dir", tmp_path / "stream") == 0
    known = {f"freesound:{100 + number}" for number in range(COUNT)}
    for name in ("table", "stream"):
        pairs, _, _ = load_improvement_set(tmp_path / name)
        assert set(pairs["origin_id"]) <= known and len(pairs) == 12
        text = "".join(pairs["audio_id"]) + "".join(pairs["source"])
        assert str(tmp_path) not in text  # the names of this machine's folders do not travel
