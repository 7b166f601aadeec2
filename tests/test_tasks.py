"""What a model is evaluated on, from what a user types."""

from pathlib import Path

import pytest

from modeling_clap_student.data.benchmarks import Benchmark, CaptionedSet, read_task, short_name
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.errors import InputError


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(spec: object) -> Benchmark | CaptionedSet:
    return read_task(str(spec), ExclusionLog())


@pytest.fixture
def clotho(tmp_path) -> Path:
    header = "file_name," + ",".join(f"caption_{n}" for n in range(1, 6))
    for part in ("development", "evaluation"):
        rows = [f"{part}{n}.wav," + ",".join(f"{part} {n} {k}" for k in range(5)) for n in range(2)]
        put(tmp_path / "clotho" / f"clotho_captions_{part}.csv", "\n".join([header, *rows]) + "\n")
        for n in range(2):
            put(tmp_path / "clotho" / part / f"{part}{n}.wav")
    return tmp_path / "clotho"


def test_captioned_corpora_are_for_retrieval_on_the_part_that_others_use(clotho, tmp_path):
    """Guards against a score on what the model was trained on."""
    for spec in (clotho, f"clotho={clotho}", f"retrieval={clotho}", f"retrieval=clotho={clotho}"):
        task = read(spec)
        assert isinstance(task, CaptionedSet) and task.layout == "clotho" and task.name == str(spec)
        assert len(task.pairs) == 10 and all(name.startswith("clotho/evaluation/") for name in task.pairs["audio_id"])
    assert read(f"clotho:development={clotho}").pairs[0]["audio_id"].startswith("clotho/development/")
    for part in ("train", "test"):
        put(tmp_path / "caps" / f"{part}.csv", f"audiocap_id,youtube_id,start_time,caption\n1,{part:a<11},0,{part}\n")
        put(tmp_path / "caps" / f"{part:a<11}.wav")
    assert read(tmp_path / "caps").pairs["caption"][:] == ["test"]


def test_a_set_with_labels_is_classified_unless_asked_otherwise(tmp_path):
    """Guards against captions of a labelled set that can't be reached, and against a set taken for the other kind."""
    rows = "file_name,label,caption\na.wav,dog,a dog barks\nb.wav,cat,a cat purrs\n"
    folder = put(tmp_path / "own" / "metadata.csv", rows).parent
    for name in ("a.wav", "b.wav"):
        put(folder / name)
    assert isinstance(read(folder), Benchmark)
    for spec in (f"retrieval={folder}", f"{folder}#caption=caption"):
        assert read(spec).pairs["caption"][:] == ["a dog barks", "a cat purrs"]
    assert isinstance(read(f"{folder}#label=caption"), Benchmark)
    assert isinstance(read("soundscapes"), Benchmark) and isinstance(read("retrieval=soundscapes"), CaptionedSet)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("retrieval=nowhere/at/all", "no such file or folder: 'nowhere/at/all'"),
        ("retrieval=urbansound8k=.", "unknown name 'urbansound8k' for an evaluation set"),
        ("birdsong=.", "unknown name 'birdsong' for an evaluation set"),
    ],
)
def test_tasks_that_are_none(spec, words):
    """Guards against a name that is silently taken for another."""
    with pytest.raises(InputError, match=words):
        read(spec)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("esc50:4,5=/data/ESC-50", "esc50:4,5"),
        ("/data/mine/", "mine"),
        ("retrieval=clotho=/data/Clotho", "retrieval clotho"),
        ("hub:test=me/data#audio=file,label=kind", "hub:test data"),
        ("soundscapes", "soundscapes"),
    ],
)
def test_short_names(spec, name):
    """Guards against tables too wide to read, and parts that look the same."""
    assert short_name(spec) == name
