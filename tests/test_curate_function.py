"""Curation from Python: the command's very pairs, from names, lists and tables; saved, pushed, judged; wrong input."""

import json
from pathlib import Path

import pytest
from conftest import numbers
from datasets import Audio, Dataset

from modeling_clap_student import ClapStudentModel, InputError, curate
from modeling_clap_student.commands import curate as curate_command
from modeling_clap_student.curation.improvement_set import load_improvement_set


LABELS = ["low_hum", "high_whistle"]


def options(strategy: str) -> dict:
    flags = numbers(strategy)
    return dict(zip((flag.lstrip("-") for flag in flags[::2]), flags[1::2], strict=True))


@pytest.fixture
def files(monkeypatch, tmp_path, captioned_folder, pool_folder):
    monkeypatch.chdir(tmp_path)
    return {"captions": str(captioned_folder), "audio": str(pool_folder)}


@pytest.mark.parametrize("strategy", ["du", "ds", "ads"])
def test_the_commands_own_pairs(command, files, tiny_folder, labelled_folder, strategy, capsys):
    """Guards against two ways to curate that come to two sets."""
    labels = [] if strategy == "du" else ["--labels", labelled_folder]
    flags = ["--strategy", strategy, "--teacher", tiny_folder, "--captions", files["captions"], *labels]
    assert command(curate_command, *flags, "--audio", files["audio"], *numbers(strategy), "--output_dir", "set") == 0
    pairs, replay, facts = load_improvement_set("set")
    capsys.readouterr()
    labels = {} if strategy == "du" else {"labels": str(labelled_folder)}
    made = curate(str(tiny_folder), strategy=strategy, **files, **labels, **options(strategy))
    assert capsys.readouterr().out == ""
    curate(
        str(tiny_folder),
        strategy=strategy,
        **files,
        **labels,
        **options(strategy),
        embedding_store="new",
        progress=False,
    )
    assert capsys.readouterr() == ("", "")
    assert made.pairs.to_pandas().equals(pairs.to_pandas())
    assert (made.replay is None) == (replay is None)
    assert replay is None or made.replay.to_pandas().equals(replay.to_pandas())
    assert {k: v for k, v in made.provenance.items() if k != "arguments"} == {
        k: v for k, v in facts.items() if k != "arguments"
    }
    made.save("again")
    assert (
        Path("again/data/train-00000-of-00001.parquet").read_bytes()
        == next(Path("set/data").glob("train-*")).read_bytes()
    )
    assert Path("again/report.html").exists() and json.loads(Path("again/provenance.json").read_text())


def test_lists_and_tables(files, tiny, tmp_path):
    """Guards against data at hand in Python that must first be written to files."""
    model, processor = tiny
    model.processor = processor
    clips = sorted(map(str, Path(files["audio"]).glob("*.flac")))
    texts = ["a low hum", "a high whistle", "soft hiss", "a steady tone"]
    listed = curate(model, strategy="ads", captions=texts, audio=clips, labels=LABELS, num_captions=3, num_pairs=8)
    assert len(listed.pairs) == 8 and listed.replay is None
    assert {audio["path"] for audio in listed.pairs["audio"]} <= set(clips)
    pool = Dataset.from_dict({"audio": clips}).cast_column("audio", Audio())
    said = Dataset.from_dict({"caption": texts, "audio": clips[:4]}).cast_column("audio", Audio(decode=False))
    tables = curate(model, strategy="ads", captions=said, audio=pool, labels=LABELS, num_captions=3, num_pairs=8)
    columns = ["caption", "similarity", "label"]
    assert tables.pairs.select_columns(columns).to_list() == listed.pairs.select_columns(columns).to_list()
    assert len(tables.replay) == 3
    tables.save(tmp_path / "set", embed_audio=True)
    pairs, replay, _ = load_improvement_set(tmp_path / "set")
    assert all(audio["bytes"] for audio in [*pairs["audio"], *replay["audio"]])


def test_a_stream(files, tiny_folder):
    """Guards against pairs of a stream that have no audio."""
    Dataset.from_dict({"audio": sorted(map(str, Path(files["audio"]).glob("*.flac")))}).cast_column(
        "audio", Audio(decode=False)
    ).to_parquet("stream/data.parquet")
    made = curate(
        ClapStudentModel.from_pretrained(tiny_folder), strategy="du", captions=files["captions"],
        audio="stream=stream", num_pairs=5, allow_outside_paths=True,
    )  # fmt: skip
    assert len(made.pairs) == 5 and all(audio["bytes"] for audio in made.pairs["audio"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ["dog"]}, "labels names 1 class: at least 2"),
        ({"labels": []}, "names 0 classes"),
        ({"labels": ["dog", 3]}, "3 is no class name"),
        ({"captions": [". . .", "!"]}, "no caption with a word"),
        ({"captions": Dataset.from_dict({"words": ["a dog"]})}, r"no column audio: its columns are words"),
        ({"audio": Dataset.from_dict({"sound": ["x.wav"]})}, r"no column audio: its columns are sound"),
        ({"audio": Dataset.from_dict({"audio": []})}, "holds no clips"),
        ({"audio": "nowhere/at_all/x"}, "no such file or folder"),
        ({"audio": ["gone.wav"]}, "no such file or folder"),
        ({"strategy": "best"}, "strategy"),
        ({"num_pairs": 0}, "num_pairs must be at least 1"),
        ({"pairs": 3}, "pairs"),
        ({"teacher": 3}, "can't be used here"),
        ({"teacher": "./gone"}, "no such checkpoint"),
    ],
)
def test_wrong_input(files, tiny_folder, changes, words):
    """Guards against a traceback of some library where a line would do."""
    given = {"teacher": str(tiny_folder), "strategy": "ads", "labels": LABELS, "num_captions": 2, "num_pairs": 3}
    given |= files | changes
    with pytest.raises(InputError, match=words):
        curate(given.pop("teacher"), **given)
