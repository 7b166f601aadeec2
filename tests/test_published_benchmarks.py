"""Evaluation sets, each from a tiny copy of its published layout, ugly parts included."""

from pathlib import Path

import pytest

from modeling_clap_student.data.benchmarks import Benchmark, read_benchmark, read_labels
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.errors import InputError


DEVELOPMENT = (
    "audio/b020_90_100.wav\tbeach\tb020\naudio/a001_0_10.wav\tcafe/restaurant\ta001\naudio/c1_0_10.wav\tcity_center\n"
)
EVALUATION = "audio/1.wav\tbeach\naudio/2.wav\tcafe/restaurant\n"
NAMES = {"development": ("b020_90_100.wav", "a001_0_10.wav", "c1_0_10.wav"), "evaluation": ("1.wav", "2.wav")}


def put(path: Path, text: str = "", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def read(spec: object, **options) -> tuple[Benchmark, dict[str, int]]:
    """The evaluation set, and reason -> number of clips left out."""
    exclusions = ExclusionLog(**options)
    benchmark = read_benchmark(str(spec), exclusions)
    assert benchmark.clips.column_names[:5] == ["audio", "audio_id", "source", "origin_id", "label"]
    assert benchmark.clips.column_names[5:] in ([], ["fold"])
    return benchmark, {reason: count for (_, reason), count in exclusions.counts.items()}


def labels(benchmark: Benchmark) -> dict[str, str]:
    """File name -> label."""
    assert all(Path(audio["path"]).is_file() for audio in benchmark.clips["audio"])
    return {Path(row["audio"]["path"]).name: row["label"] for row in benchmark.clips}


# TUT Acoustic Scenes 2017


def tut17(root: Path, development: str, evaluation: str, table: str = "evaluation_setup/evaluate.txt") -> Path:
    """Both sets, in these folders; the evaluation set's labels in this file."""
    put(root / development / "meta.txt", DEVELOPMENT)
    first, second, _ = DEVELOPMENT.splitlines()
    for number, train, test in ((1, first, second), (2, second, first)):
        put(root / development / "evaluation_setup" / f"fold{number}_train.txt", train)
        put(root / development / "evaluation_setup" / f"fold{number}_evaluate.txt", "\t".join(test.split("\t")[:2]))
    put(root / evaluation / "evaluation_setup" / "test.txt", "audio/1.wav\naudio/2.wav\n")
    put(root / evaluation / table, EVALUATION)
    for part, folder in (("development", development), ("evaluation", evaluation)):
        for name in NAMES[part]:
            put(root / folder / "audio" / name)
    return root


SIDE_BY_SIDE = ("TUT-acoustic-scenes-2017-development", "TUT-acoustic-scenes-2017-evaluation")


@pytest.mark.parametrize(
    ("development", "evaluation", "table"),
    [
        (*SIDE_BY_SIDE, "evaluation_setup/evaluate.txt"),
        (*SIDE_BY_SIDE, "meta.txt"),  # what DCASE's tools make of it
        ("development", "evaluation", "meta.txt"),
        (".", ".", "evaluation_setup/evaluate.txt"),  # all archives in one folder
    ],
)
def test_tut17(tmp_path, development, evaluation, table):
    """Guards against 4680 clips instead of 6300, a slash in a label taken for a path, and labels with underscores."""
    root = tut17(tmp_path / "tut", development, evaluation, table)
    benchmark, left_out = read(root)
    assert benchmark.layout == "tut17" and not left_out
    assert benchmark.class_names == ["beach", "cafe restaurant", "city center"]
    assert labels(benchmark) == {
        "b020_90_100.wav": "beach",
        "a001_0_10.wav": "cafe restaurant",
        "c1_0_10.wav": "city center",
        "1.wav": "beach",
        "2.wav": "cafe restaurant",
    }
    # The third clip is in no fold's list, the last two are of the evaluation set.
    assert benchmark.clips["fold"][:] == ["2", "1", None, None, None] and benchmark.folds == ["1", "2"]
    assert len(set(benchmark.clips["audio_id"])) == 5
    assert sorted(labels(read(f"tut17:evaluation={root}")[0])) == sorted(NAMES["evaluation"])
    assert sorted(labels(read(f"tut17:development={root}")[0])) == sorted(NAMES["development"])
    assert len(read_pools([str(root)])) == 5
    with pytest.raises(InputError, match="no part test: its parts are development, evaluation"):
        read(f"tut17:test={root}")


def test_tut17_one_set_alone(tmp_path):
    """Guards against a half that some have by itself not being read, or passing for the other."""
    root = tut17(tmp_path, *SIDE_BY_SIDE)
    for part, folder in zip(NAMES, SIDE_BY_SIDE, strict=True):
        assert sorted(labels(read(root / folder)[0])) == sorted(NAMES[part])
        assert len(read(f"tut17:{part}={root / folder}")[0].clips) == len(NAMES[part])
    with pytest.raises(InputError, match="has no evaluation part"):
        read(f"tut17:evaluation={root / SIDE_BY_SIDE[0]}")


def test_tut17_ugly_tables(tmp_path):
    """Guards against Windows' line ends and byte-order marks in labels, and missing or repeated clips in the score."""
    root = tut17(tmp_path, *SIDE_BY_SIDE)
    table = root / SIDE_BY_SIDE[0] / "meta.txt"
    put(
        table,
        DEVELOPMENT.replace("\n", "\r\n") + "audio/c1_0_10.wav\tcity_center\r\n\r\naudio/gone.wav\ttram\r\n",
        "utf-8-sig",
    )
    benchmark, left_out = read(root)
    assert len(benchmark.clips) == 5 and left_out == {"no such audio file": 1, "the same clip again": 1}
    assert "tram" in benchmark.class_names  # still a candidate
    put(table, "audio/a.wav\tstreet\t0.0\t2.5\tcar passing by\n")  # another set of the same authors
    with pytest.raises(InputError, match="line 1 is no audio file, tab, scene"):
        read(root)


# One's own clips


def test_a_folder_a_class(tmp_path):
    """Guards against a set in the commonest layout of all that needs a table first."""
    for file in (
        "sea_waves/1.wav",
        "sea_waves/deep/2.flac",
        "Hund, groß/3.ogg",
        "Hund, groß/notes.txt",
        "loose.wav",
        "empty/x.txt",
    ):
        put(tmp_path / "own" / file)
    benchmark, left_out = read(tmp_path / "own")
    assert benchmark.layout == "folder" and benchmark.class_names == ["Hund, groß", "sea waves"]
    assert labels(benchmark) == {"1.wav": "sea waves", "2.flac": "sea waves", "3.ogg": "Hund, groß"}
    assert left_out == {"in no class's folder": 1}
    assert read_labels(str(tmp_path / "own")) == (["Hund, groß", "sea waves"], "folder")


@pytest.mark.parametrize(
    ("text", "encoding", "spec"),
    [
        ("file_name,label\na.wav,dog\nsub/b.wav,cafe/bar\n", "utf-8", "{}"),
        ('path,class\r\na.wav,dog\r\n"sub/b.wav","cafe/bar"\r\n', "utf-8-sig", "{}"),
        ("category,filename,note\ndog,a.wav,\ncafe/bar,sub/b.wav,x\n", "utf-8", "csv={}"),
        ("clip,kind\na.wav,dog\nsub/b.wav,cafe/bar\n", "utf-8", "{}#audio=clip,label=kind"),
    ],
)
def test_a_csv_of_labels(tmp_path, text, encoding, spec):
    """Guards against a list with its columns under other names, line ends and marks."""
    path = put(tmp_path / "list.csv", text, encoding)
    put(tmp_path / "a.wav")
    put(tmp_path / "sub" / "b.wav")
    assert labels(read(spec.format(path))[0]) == {"a.wav": "dog", "b.wav": "cafe bar"}


def test_a_csv_names_files_anywhere(tmp_path):
    """Guards against absolute paths that are looked up beside the csv, and rows that are lost without a word."""
    put(tmp_path / "audio" / "ä, ö.wav")
    rows = f'"{tmp_path}/audio/ä, ö.wav",dog\n"{tmp_path}/audio/ä, ö.wav",dog\naudio/gone.wav,cat\n'
    path = put(tmp_path / "lists" / "list.csv", "file_name,label\n" + rows)
    benchmark, left_out = read(path, allow_outside_paths=True)
    assert labels(benchmark) == {"ä, ö.wav": "dog"} and benchmark.class_names == ["cat", "dog"]
    assert left_out == {"no such audio file": 1, "the same clip again": 1}


@pytest.mark.parametrize(
    ("files", "spec", "words"),
    [
        ({"own/a.wav": ""}, "own", "audio files, but no folder for each class"),
        ({"own/dog/a.txt": ""}, "own", "holds no audio files"),
        ({"own/dog/a.wav": ""}, "own", "names 1 class:"),
        ({"l.csv": "file_name,caption\na.wav,rain\n"}, "l.csv", r"no column label: .*#label=COLUMN"),
        ({"l.csv": "name,label\na.wav,rain\n"}, "l.csv", r"no column file_name: .*#audio=COLUMN"),
        ({"l.csv": "file_name,label\na.wav,dog\nb.wav,\n"}, "l.csv", "1 of 2 rows have no label"),
        ({"l.csv": "file_name,label\na.wav,dog\nb.wav,cat\n"}, "l.csv", "lists 2 clips, but not one of their files"),
        ({"l.csv": "file_name,label\n"}, "l.csv", "holds no rows"),
        ({"l.csv": "file_name,label\na.wav,dog\n"}, "tut17=l.csv", "laid out as 'csv', not as 'tut17' .*meta.txt"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, monkeypatch, files, spec, words):
    """Guards against tracebacks, and scores on nothing, where a set is not what it should be."""
    for name, text in files.items():
        put(tmp_path / name, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        read(spec)


def test_labels_need_no_audio(tmp_path):
    """Guards against class names that can't be had from a set whose audio lies elsewhere."""
    put(tmp_path / "esc" / "meta" / "esc50.csv", "filename,fold,category\n1.wav,1,dog\n2.wav,1,sea_waves\n")
    assert read_labels(str(tmp_path / "esc")) == (["dog", "sea waves"], "esc50")


# The real ones


def test_real_esc50_and_urbansound8k(real_data):
    """Guards against real metadata that the readers trip over: every clip there, and its recording known."""
    for name, count, classes in (("esc10", 400, 10), ("esc50_extra", 192, 8), ("urbansound8k", 1761, 10)):
        benchmark, left_out = read(real_data / name)
        assert len(benchmark.clips) == count and len(benchmark.class_names) == classes and not left_out
        origins = benchmark.clips["origin_id"][:]
        assert all(origin.startswith("freesound:") and origin[10:].isdigit() for origin in origins)
    pool = read_pools([str(real_data / "wild")])
    assert len(pool) == len(list((real_data / "wild").iterdir())) and set(pool["origin_id"]) == {None}
