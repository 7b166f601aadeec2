"""Evaluation sets and lists of class names."""

from pathlib import Path

import pytest
from datasets import Audio, ClassLabel, Dataset

from modeling_clap_student.data.benchmarks import read_benchmark, read_labels
from modeling_clap_student.errors import InputError
from modeling_clap_student.soundscapes.corpus import TEST_CLASSES
from modeling_clap_student.soundscapes.sounds import SOUND_CLASSES


def put(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return str(path)


def touch(root: Path, *files: str) -> None:
    """Empty files: that they are there is all that matters here."""
    for file in files:
        put(root / file, "")


@pytest.fixture
def esc50(tmp_path) -> Path:
    touch(tmp_path / "esc" / "audio", "1.wav", "2.wav", "3.wav", "4.wav")
    rows = "1.wav,1,sea_waves\n2.wav,1,dog\n3.wav,2,dog\n4.wav,3,cat\n"
    put(tmp_path / "esc" / "meta" / "esc50.csv", "filename,fold,category\n" + rows)
    return tmp_path / "esc"


def test_esc50(esc50):
    """Guards against class names with underscores, candidates in the file's order, and labels of other clips."""
    benchmark = read_benchmark(str(esc50))
    assert benchmark.layout == "esc50"
    assert benchmark.class_names == ["cat", "dog", "sea waves"]
    assert benchmark.clips.column_names == ["audio", "audio_id", "source", "origin_id", "label", "fold"]
    assert benchmark.clips["fold"][:] == ["1", "1", "2", "3"]
    assert [(Path(row["audio"]["path"]).name, row["label"]) for row in benchmark.clips] == [
        ("1.wav", "sea waves"),
        ("2.wav", "dog"),
        ("3.wav", "dog"),
        ("4.wav", "cat"),
    ]
    assert benchmark.clips[0]["audio"]["path"] == f"{esc50}/audio/1.wav"


def test_folds_of_ones_own(tmp_path):
    """Guards against folds that a user wrote down being lost, and a column of them where nobody did."""
    for name, text in (("with", "file_name,label,fold\na.wav,dog,1\nb.wav,cat,2\n"), ("without", "file_name,label\n")):
        touch(tmp_path / name, "a.wav", "b.wav")
        put(tmp_path / name / "metadata.csv", text if name == "with" else text + "a.wav,dog\nb.wav,cat\n")
    assert read_benchmark(str(tmp_path / "with")).clips["fold"][:] == ["1", "2"]
    assert "fold" not in read_benchmark(str(tmp_path / "without")).clips.column_names


def hub_dataset(folder: Path, labels: list, splits: tuple[str, ...], names: list[str] | None = None) -> Path:
    """A labelled dataset as the Hub has it: Parquet files with the audio inside."""
    clips = [{"bytes": bytes([n]), "path": f"{n}.wav"} for n in range(len(labels))]
    table = Dataset.from_dict({"sound": clips, "kind": labels, "fold": range(len(labels))})
    table = table.cast_column("sound", Audio(decode=False))
    if names:
        table = table.cast_column("kind", ClassLabel(names=names))
    for split in splits:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_labelled_hub_dataset(tmp_path):
    """Guards against numbers in the place of class names, clips of the training split, and audio that is lost."""
    columns = "#audio=sound,label=kind"
    both = hub_dataset(tmp_path / "both", [1, 0, 1], ("train", "test"), names=["sea_waves", "dog"])
    benchmark = read_benchmark(f"hub={both}{columns}")
    assert benchmark.layout == "hub" and benchmark.class_names == ["dog", "sea waves"]
    assert benchmark.clips["label"][:] == ["dog", "sea waves", "dog"] and benchmark.clips["fold"][:] == ["0", "1", "2"]
    assert [clip["bytes"] for clip in benchmark.clips["audio"]] == [b"\0", b"\1", b"\2"]
    assert len(read_benchmark(f"hub:train={both}{columns}").clips) == 3
    assert read_labels(f"{both}{columns}") == (["dog", "sea waves"], "hub")
    alone = hub_dataset(tmp_path / "alone", ["sea_waves", "dog"], ("train",))
    assert read_benchmark(f"{alone}{columns}").clips["label"][:] == ["sea waves", "dog"]


def test_hub_datasets_that_do_not_tell_what_to_evaluate_on(tmp_path):
    """Guards against a guess among splits, and clips without a label that count as a class."""
    two = hub_dataset(tmp_path / "two", ["a", "b"], ("train", "validation"))
    with pytest.raises(InputError, match="splits train, validation: say which, hub:train="):
        read_benchmark(f"hub={two}#audio=sound,label=kind")
    with pytest.raises(InputError, match=r"no column label: .*#label=COLUMN"):
        read_benchmark(f"hub:train={two}#audio=sound")
    blank = hub_dataset(tmp_path / "blank", [0, -1, 1], ("test",), names=["a", "b"])
    with pytest.raises(InputError, match="1 of 3 rows have no kind"):
        read_benchmark(f"hub={blank}#audio=sound,label=kind")


def test_esc50_folds(esc50):
    """Guards against folds that were trained on being evaluated."""
    benchmark = read_benchmark(f"esc50:2,3={esc50}")
    assert benchmark.clips["audio_id"][:] == ["esc/3.wav", "esc/4.wav"]
    assert benchmark.class_names == ["cat", "dog"]


@pytest.mark.parametrize("column", ["class", "class_name"])
def test_urbansound8k(tmp_path, column):
    """Guards against the published name of the label column, or the one of common copies, not being read."""
    rows = "1-3.wav,1,air_conditioner\n2-1.wav,10,siren\n"
    touch(tmp_path / "us8k" / "audio", "fold1/1-3.wav", "fold10/2-1.wav")
    put(tmp_path / "us8k" / "metadata" / "UrbanSound8K.csv", f"slice_file_name,fold,{column}\n" + rows)
    benchmark = read_benchmark(str(tmp_path / "us8k"))
    assert benchmark.layout == "urbansound8k" and benchmark.class_names == ["air conditioner", "siren"]
    assert benchmark.clips["label"][:] == ["air conditioner", "siren"]
    assert benchmark.clips[1]["audio"]["path"] == f"{tmp_path}/us8k/audio/fold10/2-1.wav"
    with pytest.raises(InputError, match="names 1 class:"):
        read_benchmark(f"urbansound8k:10={tmp_path / 'us8k'}")


def test_urbansound8k_without_labels(tmp_path):
    """Guards against a KeyError where the label column has a third name."""
    put(tmp_path / "us8k" / "metadata" / "UrbanSound8K.csv", "slice_file_name,fold,kind\n1-3.wav,1,siren\n")
    with pytest.raises(InputError, match="no column class"):
        read_benchmark(str(tmp_path / "us8k"))


def test_audiofolder(tmp_path):
    """Guards against a user's own labelled clips that need ESC-50's layout."""
    touch(tmp_path / "own", "a.wav", "b.wav")
    put(tmp_path / "own" / "metadata.csv", "file_name,label\na.wav,cafe/bar\nb.wav,dog\n")
    benchmark = read_benchmark(str(tmp_path / "own"))
    assert benchmark.class_names == ["cafe bar", "dog"]
    assert benchmark.clips[0]["audio"]["path"] == f"{tmp_path}/own/a.wav"
    put(tmp_path / "own" / "metadata.csv", "file_name,caption\na.wav,a dog\n")
    with pytest.raises(InputError, match="no column label"):
        read_benchmark(str(tmp_path / "own"))


def test_soundscapes():
    """Guards against the built-in evaluation being another part of its corpus."""
    benchmark = read_benchmark("soundscapes")
    assert benchmark.class_names == sorted(TEST_CLASSES)
    assert all(audio["path"].startswith("soundscapes://test/") for audio in benchmark.clips["audio"])
    with pytest.raises(InputError, match="has no labels"):
        read_benchmark("soundscapes:pool")


def test_soundscapes_to_train_on():
    """Guards against training clips of the ten test classes alone, clips of the test among them, and shared ids."""
    benchmark = read_benchmark("soundscapes:train")
    assert benchmark.class_names == sorted(SOUND_CLASSES) and set(TEST_CLASSES) < set(benchmark.class_names)
    assert all(audio["path"].startswith("soundscapes://train/") for audio in benchmark.clips["audio"])
    assert not set(benchmark.clips["audio_id"]) & set(read_benchmark("soundscapes").clips["audio_id"])


def test_labels_of_an_evaluation_set(esc50):
    """Guards against class names that differ from those which are evaluated."""
    assert read_labels(str(esc50)) == (["cat", "dog", "sea waves"], "esc50")
    assert read_labels("soundscapes") == (sorted(TEST_CLASSES), "soundscapes")


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("l.txt", "sea_waves\ncafe/bar\n", "utf-8"),
        ("l.txt", "\r\n cafe/bar \r\n\r\nsea_waves\r\nsea waves", "utf-8-sig"),
        ("l.csv", "label,note\nsea_waves,x\ncafe/bar,\nsea_waves,y\n", "utf-8-sig"),
        ("l.jsonl", '{"label": "sea_waves"}\n{"label": "cafe/bar"}\n', "utf-8"),
    ],
)
def test_labels_of_a_list(tmp_path, name, text, encoding):
    """Guards against blank lines, repeats and byte-order marks that become classes."""
    assert read_labels(put(tmp_path / name, text, encoding)) == (["cafe bar", "sea waves"], None)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("one.txt", "dog\ndog\n", "names 1 class: at least 2"),
        ("none.txt", "\n", "names 0 classes: at least 2"),
        ("other.csv", "name\ndog\ncat\n", "no column label: its columns are name"),
        ("empty.csv", "label\n", "holds no rows"),
    ],
)
def test_lists_without_two_labels_are_refused(tmp_path, name, text, words):
    """Guards against a domain of one class, for which every caption is nearest to it."""
    with pytest.raises(InputError, match=words):
        read_labels(put(tmp_path / name, text))


def test_missing_lists_are_named(tmp_path):
    """Guards against a mistyped path being looked up on the Hub."""
    with pytest.raises(InputError, match="no such file or folder"):
        read_labels(str(tmp_path / "gone.txt"))


CLASSES = {"dog/a.wav": "", "cat/b.wav": ""}


@pytest.mark.parametrize("read", [read_benchmark, read_labels])
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no audio files: put each class's files in a folder of its name"),
        ({"a.wav": "", "b.wav": ""}, "holds audio files, but no folder for each class: put"),
        ({"train/dog/a.wav": "", "train/cat/b.wav": ""}, "names 1 class: at least 2 are needed, not 'train' alone"),
        ({"train/dog/a.wav": "", "Test/cat/b.wav": ""}, "holds the splits Test, train, no classes: give .*own/Test"),
        (CLASSES | {"metadata.csv": "file_name,caption\ndog/a.wav,x\n"}, "no column label.* Then say folder=.*own"),
        (CLASSES | {"metadata.csv": ""}, "metadata.csv holds no rows. Or is each .* Then say folder=.*own"),
        (CLASSES | {"metadata.jsonl": "{x"}, "metadata.jsonl is no readable jsonl file: .* Then say folder=.*own"),
        ({"a.wav": "", "metadata.csv": "file_name\na.wav\n"}, "no column label: its columns are file_name.*#label="),
        ({"a.wav": "", "metadata.csv": "file_name,label\na.wav,dog,x\n"}, "row 1 does not fit the header"),
        ({"a.wav": "", "metadata.csv": "file_name,label\na.wav,\n"}, "metadata.csv: 1 of 1 rows have no label"),
    ],
)
def test_a_folder_that_is_no_evaluation_set(tmp_path, read, files, words):
    """Guards against splits taken for classes, and an error that does not tell what the folder should look like."""
    (tmp_path / "own").mkdir()
    for name, text in files.items():
        put(tmp_path / "own" / name, text)
    with pytest.raises(InputError, match=words) as error:
        read(str(tmp_path / "own"))
    assert "\n" not in str(error.value)


def test_folders_of_classes_whatever_the_metadata_says(tmp_path):
    """Guards against an error whose advice does not help."""
    for name, text in (CLASSES | {"metadata.csv": "file_name,caption\ndog/a.wav,x\n"}).items():
        put(tmp_path / "own" / name, text)
    assert read_benchmark(f"folder={tmp_path / 'own'}").class_names == ["cat", "dog"]
