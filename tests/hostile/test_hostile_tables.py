"""Tables, lists and settings that hold what nobody expects: each is one line, or rows left out and counted."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_tone

from modeling_clap_student.commands.command_line import parse_arguments
from modeling_clap_student.data.benchmarks import evaluation_clips, read_benchmark, read_labels
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import ReadingArguments
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.data.texts import LONGEST_TEXT, TOO_LONG
from modeling_clap_student.errors import InputError
from modeling_clap_student.evaluation.zero_shot import read_descriptions
from modeling_clap_student.utils.arguments import read_config


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def one_line(call, *words: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text and len(text) < 1500 and all(word in text for word in words), text


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_tone(tmp_path / "c" / "a.wav", 500, seconds=0.1)


# YAML and JSON

BOMB = 'a: &a ["x","x","x","x","x","x","x","x","x"]\n' + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("read", [lambda path: read_config(path, [ReadingArguments]), read_descriptions])
def test_aliases_of_aliases(tmp_path, read):
    """Guards against 400 bytes that stand for gigabytes."""
    path, start = put(tmp_path / "bomb.yaml", BOMB), time.perf_counter()
    one_line(lambda: read(path), "bomb.yaml", "aliases are not taken", "*a")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("suffix", ["yaml", "json"])
@pytest.mark.parametrize("read", [lambda path: read_config(path, [ReadingArguments]), read_descriptions])
def test_nesting_without_an_end(tmp_path, suffix, read):
    """Guards against the interpreter's own limit, and a parser that is the slower the deeper it is."""
    path = put(tmp_path / f"deep.{suffix}", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    one_line(lambda: read(path), "deep")


def test_configs_still_say_what_they_said(tmp_path):
    """Guards against a loader that takes numbers for texts."""
    path = put(tmp_path / "c.yaml", "max_skipped_fraction: 0.5\nallow_outside_paths: true\n")
    (args,) = parse_arguments((ReadingArguments,), "", ["--config", str(path)])
    assert (args.max_skipped_fraction, args.allow_outside_paths) == (0.5, True)


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"dog": {"a": 1}}', '{"dog": [1]}', '{"dog": null}', '{"dog": "\\ud800"}']
)
def test_descriptions_of_wrong_types(tmp_path, text):
    """Guards against a traceback of what should be texts."""
    one_line(lambda: read_descriptions(put(tmp_path / "d.json", text)), "d.json")


# Lists


@pytest.mark.parametrize("row", [
    {"file_name": "a.wav", "caption": "\ud800 rain"}, {"file_name": "\ud800.wav", "caption": "rain"},
    {"file_name": "a.wav", "caption": {"a": 1}}, {"file_name": "a.wav", "caption": [["x"]]},
    {"file_name": ["a.wav"], "caption": "rain"}, {"file_name": {}, "caption": "rain"}, [1], 7,
])  # fmt: skip
def test_captions_of_wrong_types(clip, row):
    """Guards against a mapping that is trained on as a text, and a traceback of half a surrogate pair."""
    one_line(
        lambda: read_corpora([str(put(clip.parent / "metadata.jsonl", json.dumps(row)).parent)]), str(clip.parent)
    )


@pytest.mark.parametrize("label", [["dog"], {"a": 1}, "\ud800", "x" * (LONGEST_TEXT + 1)])
def test_labels_of_wrong_types(clip, label):
    """The same table, with class names or clips, and a plain list of names."""
    rows = [{"file_name": "a.wav", "label": label}, {"file_name": "b.wav", "label": "rain"}]
    path = put(clip.parent / "list.jsonl", "\n".join(map(json.dumps, rows)))
    for read in (read_benchmark, evaluation_clips, read_labels):
        one_line(lambda read=read: read(str(path)), "list.jsonl")


def test_deeply_nested_rows(clip):
    """Guards against the interpreter's own limit."""
    path = put(clip.parent / "list.jsonl", '{"caption": ' + "[" * 100_000)
    one_line(lambda: read_corpora([str(path)]), "list.jsonl", "nested too deeply")


def test_nul_bytes(clip):
    """Guards against a name that the operating system does not take."""
    path, exclusions = (
        put(clip.parent / "list.csv", b"file_name,caption,label\na.wav,rain,x\nb\0.wav,wind,y\n"),
        ExclusionLog(),
    )
    try:
        table = read_corpora([str(path)], exclusions=exclusions)
        assert table["caption"][:] == ["rain"] and len(exclusions.counts) == 1
        assert len(read_benchmark(str(path)).clips) == 1
    except InputError as error:  # what the csv reader of Python 3.10 says
        assert "NUL" in str(error)


@pytest.mark.parametrize("kind", ["list.jsonl", "train.parquet"])
def test_texts_of_ten_megabytes(clip, kind):
    """Guards against minutes and gigabytes for one caption; the csv reader refuses it in a line."""
    rows = [{"caption": "x " * 5_000_000}, {"caption": "rain"}]
    rows = [{"file_name": "a.wav", **row} for row in rows]
    if kind == "list.jsonl":
        path = put(clip.parent / kind, "\n".join(map(json.dumps, rows)))
    else:
        path = clip.parent
        audio = {"audio": {"bytes": clip.read_bytes(), "path": None}}
        pq.write_table(pa.Table.from_pylist([{**audio, "caption": row["caption"]} for row in rows]), path / kind)
    exclusions, start = ExclusionLog(), time.perf_counter()
    assert read_corpora([str(path)], exclusions=exclusions)["caption"][:] == ["rain"]
    assert exclusions.counts == {(str(path), TOO_LONG): 1} and len(exclusions.lines[0]) < 600
    assert time.perf_counter() - start < 20


def test_paths_of_thousands_of_letters(clip):
    """Guards against a traceback of the operating system's limit, in a table and as a user's own word."""
    long = "x/" * 2250 + "a.wav"
    path, exclusions = (
        put(clip.parent / "list.csv", f"file_name,caption\na.wav,rain\n{long},wind\n{'y' * 4500},x\n"),
        ExclusionLog(),
    )
    assert len(read_corpora([str(path)], exclusions=exclusions)) == 1 and len(exclusions.counts) >= 1
    for spec in (long, "y" * 4500, f"esc50={'y' * 4500}", f"{'y' * 4500}#audio=x", f"hub={long}", "~nobody_here/x"):
        for read in (lambda spec: read_corpora([spec]), lambda spec: read_pools([spec]), read_benchmark, read_labels):
            one_line(lambda read=read, spec=spec: read(spec))


# Parquet

AUDIO = pa.array([{"bytes": b"RIFF", "path": "a.wav"}] * 2)
TEXTS = pa.array(["dog", "rain"])


@pytest.mark.parametrize("name", ["audio", "caption", "label", "audio_id", "source"])
@pytest.mark.parametrize("values", [
    pa.array([1, 2]), pa.array([{"a": 1}] * 2), pa.array([["a"], ["b"]]), pa.nulls(2), pa.array([b"\xff", b"\xfe"]),
    pa.array([1.5, float("nan")]), pa.array([True, False]), pa.array([[[1]]] * 2),
], ids=lambda values: str(values.type).split("<")[0])  # fmt: skip
def test_columns_of_wrong_types(tmp_path, name, values):
    """Guards against a traceback from arrow or datasets: one line that names the folder, or rows left out."""
    table = pa.table(
        {"audio": AUDIO, "caption": TEXTS, "label": TEXTS, "audio_id": TEXTS, "source": TEXTS} | {name: values}
    )
    folder = tmp_path / "set"
    folder.mkdir()
    pq.write_table(table, folder / "train.parquet")
    for read in (
        lambda spec: read_corpora([spec]),
        lambda spec: read_pools([spec]),
        lambda spec: read_benchmark(spec),
    ):
        try:
            read(str(folder))
        except InputError as error:
            assert "\n" not in str(error) and str(folder) in str(error)


def test_captions_that_are_no_texts_are_refused(tmp_path):
    """Guards against `{'a': 1}` as a caption."""
    for number, values in enumerate((pa.array([1, 2]), pa.array([{"a": 1}] * 2), pa.array([[1]] * 2))):
        folder = tmp_path / str(number)
        folder.mkdir()
        pq.write_table(pa.table({"audio": AUDIO, "caption": values}), folder / "train.parquet")
        one_line(lambda folder=folder: read_corpora([str(folder)]), str(folder), "caption", "text")


# Published corpora


@pytest.mark.parametrize("content", ["[]", "7", '{"1": []}', '{"1": {"title": 7}}', '{"1": {"description": ["x"]}}',
                                     '{"1": {"title": "\\ud800"}}', "[" * 100_000])  # fmt: skip
def test_fsd50k_of_wrong_types(tmp_path, content):
    """Guards against a json that is a list where a mapping is meant."""
    put(tmp_path / "FSD50K.ground_truth" / "dev.csv", "fname,split\n1,train\n")
    put(tmp_path / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", content)
    one_line(lambda: read_corpora([str(tmp_path)], needs_audio=False), str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[7]",
        '[{"id": [], "caption": "x"}]',
        '[{"id": "1", "caption": {"a": 1}}]',
        '[{"id": "1", "caption": [7]}]',
        '{"data": 7}',
        '[{"id": "1", "caption": "\\ud800"}]',
    ],
)
def test_wavcaps_of_wrong_types(tmp_path, content):
    """The same of another."""
    put(tmp_path / "json_files" / "SoundBible" / "sb_final.json", content)
    one_line(lambda: read_corpora([f"wavcaps:SoundBible={tmp_path}"], needs_audio=False), str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "files: 7",
        "files: [{filename: [a], annotations: [{sentence: x}]}]",
        "files: &a [*a]",
        "files: [{filename: a, annotations: [{sentence: [x]}]}]",
    ],
)
def test_macs_of_wrong_types(tmp_path, content):
    """The same of a yaml."""
    put(tmp_path / "MACS.yaml", content)
    one_line(lambda: read_corpora([str(tmp_path)], needs_audio=False), str(tmp_path))


# Names


@pytest.mark.parametrize("form", ["{}", "folder={}", "webdataset={}"])
def test_folders_that_look_like_columns(tmp_path, form, clip):
    """Guards against a folder that can't be named for what it is called: a path that exists wins."""
    folder = tmp_path / "pool#audio=x"
    clip.parent.rename(folder)
    if form.startswith("webdataset"):
        one_line(lambda: read_pools([form.format(folder)]), "no tar archive")
        return
    assert len(read_pools([form.format(folder)])) == 1


def test_parquet_folders_that_look_like_columns(tmp_path, clip, monkeypatch):
    """The same with a part, as a stream, and relative to where one is, where it looks like a Hub id."""
    folder = tmp_path / "me" / "pool#audio=x"
    folder.mkdir(parents=True)
    row = {"audio": {"bytes": clip.read_bytes(), "path": None}, "caption": "rain"}
    pq.write_table(pa.Table.from_pylist([row]), folder / "train.parquet")
    monkeypatch.chdir(tmp_path)
    for spec in (folder, f"hub={folder}", f"hub:train={folder}", "me/pool#audio=x", "./me/pool#audio=x"):
        assert len(read_pools([str(spec)])) == len(read_corpora([str(spec)])) == 1
    for spec in (f"stream={folder}", f"stream:train={folder}", "stream=me/pool#audio=x"):
        assert len(list(read_pools([spec]))) == 1
