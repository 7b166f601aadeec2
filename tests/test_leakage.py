"""Evaluation clips in what is trained on or curated from: found by content and by recording, left out, counted."""

import shutil
from pathlib import Path

import pytest
from conftest import FAST, SMALL, write_tone
from datasets import Dataset

from modeling_clap_student import InputError
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.data.benchmarks import evaluation_clips, task_clips
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.leakage import SAME_CONTENT, SAME_RECORDING, LeakageFilter
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def reasons(exclusions: ExclusionLog) -> dict[str, int]:
    return {reason: count for (_, reason), count in exclusions.counts.items()}


@pytest.fixture
def freesound(tmp_path) -> Path:
    """FSD50K, ESC-50 and UrbanSound8K, which all cut recordings 7 and 8 of Freesound, each encoded on its own."""
    rows = ["fname,labels,mids,split"]
    info = {}
    for number in (7, 8, 9, 10):
        write_tone(tmp_path / "fsd" / "FSD50K.dev_audio" / f"{number}.wav", 100 * number)
        rows.append(f"{number},x,y,train")
        info[str(number)] = f'"{number}": {{"title": "hum {number}.wav", "description": "A hum of some kind"}}'
    put(tmp_path / "fsd" / "FSD50K.ground_truth" / "dev.csv", "\n".join(rows) + "\n")
    put(tmp_path / "fsd" / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", "{" + ",".join(info.values()) + "}")
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number, category in ((7, "dog"), (11, "rain")):
        write_tone(tmp_path / "esc" / "audio" / f"1-{number}-A-0.wav", 100 * number, seconds=0.5)
        lines.append(f"1-{number}-A-0.wav,1,0,{category},True,{number},A")
    put(tmp_path / "esc" / "meta" / "esc50.csv", "\n".join(lines) + "\n")
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for number, category in ((8, "siren"), (12, "drilling")):
        write_tone(tmp_path / "us" / "audio" / "fold1" / f"{number}-0-0-0.wav", 100 * number, seconds=0.4)
        lines.append(f"{number}-0-0-0.wav,{number},0,1,1,1,0,{category}")
    put(tmp_path / "us" / "metadata" / "UrbanSound8K.csv", "\n".join(lines) + "\n")
    return tmp_path


def test_recordings_of_freesound_in_three_corpora(freesound):
    """Guards against a teacher trained on FSD50K that is then tested on other cuts of the same recordings."""
    leakage = LeakageFilter([evaluation_clips(str(freesound / name)) for name in ("esc", "us")])
    exclusions = ExclusionLog()
    corpus = read_corpora([str(freesound / "fsd")], exclusions=exclusions, leakage=leakage)
    assert sorted(corpus["origin_id"]) == ["freesound:10", "freesound:9"]
    assert reasons(exclusions) == {SAME_RECORDING: 2}
    pool = read_pools([str(freesound / "us")], leakage=LeakageFilter([evaluation_clips(str(freesound / "esc"))]))
    assert len(pool) == 2


def test_evaluation_clips_whose_files_are_gone_count(freesound):
    """Guards against an evaluation set that is on another disk, and leaks for that."""
    shutil.rmtree(freesound / "esc" / "audio")
    leakage = LeakageFilter([evaluation_clips(str(freesound / "esc"))])
    assert len(read_corpora([str(freesound / "fsd")], leakage=leakage)) == 3


@pytest.fixture
def evaluated(tmp_path) -> Path:
    """One folder per class."""
    for number in range(4):
        write_tone(tmp_path / "eval" / ("dog", "rain")[number % 2] / f"{number}.wav", 300 + number)
    return tmp_path / "eval"


def test_content_is_compared_where_nothing_is_named(tmp_path, evaluated):
    """Guards against copies under other names, in other folders; and against leaving out what only has their size."""
    pool = tmp_path / "pool"
    write_tone(pool / "own.wav", 999)  # as long as the evaluation clips
    write_tone(pool / "long.wav", 300, seconds=2)
    pool.joinpath("sub").mkdir()
    shutil.copy(evaluated / "dog" / "2.wav", pool / "sub" / "renamed.wav")
    exclusions = ExclusionLog()
    kept = read_pools([str(pool)], exclusions, LeakageFilter([evaluation_clips(str(evaluated))]))
    assert sorted(Path(a["path"]).name for a in kept["audio"]) == ["long.wav", "own.wav"]
    assert reasons(exclusions) == {SAME_CONTENT: 1}
    with pytest.raises(InputError, match="holds no clips that are not left out"):
        read_pools([str(evaluated)], leakage=LeakageFilter([evaluation_clips(str(evaluated))]))


def test_only_files_of_an_equal_size_are_opened(tmp_path, evaluated, monkeypatch):
    """Guards against reading a pool of terabytes before the first clip is embedded."""
    for number in range(20):
        write_tone(tmp_path / "pool" / f"{number}.wav", 300, seconds=2)
    opened = []
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self))
    leakage = LeakageFilter([evaluation_clips(str(evaluated))])
    assert len(leakage.drop_from(read_pools([str(tmp_path / "pool")]), "pool", ExclusionLog())) == 20 and not opened


def test_bytes_in_a_table_are_clips_like_any(tmp_path, evaluated):
    """Guards against pushed Improvement-Sets, whose audio has no file, and clips that stand in many pairs."""
    held = (evaluated / "dog" / "0.wav").read_bytes()
    other = write_tone(tmp_path / "x.wav", 5)
    audio = [{"bytes": held, "path": None}, {"bytes": None, "path": str(other)}, {"bytes": None, "path": None}]
    table = Dataset.from_dict({"audio": audio * 3, "audio_id": [*"abc"] * 3})
    kept = LeakageFilter([evaluation_clips(str(evaluated))]).drop_from(table, "set", ExclusionLog())
    assert kept["audio_id"][:] == [*"bc"] * 3


def test_label_lists_are_no_evaluation_sets(tmp_path, evaluated):
    """Guards against an error where the labels are a list of names."""
    assert evaluation_clips(str(put(tmp_path / "labels.txt", "dog\nrain\n"))) is None
    assert evaluation_clips(str(put(tmp_path / "labels.csv", "label\ndog\nrain\n"))) is None
    assert len(evaluation_clips(str(put(tmp_path / "e.csv", "file_name,label\na.wav,dog\nb.wav,rain\n")))) == 2
    assert len(evaluation_clips(str(evaluated))) == 4
    with pytest.raises(InputError, match="lists class names, but no clips: --task needs an evaluation set"):
        task_clips([str(evaluated), str(tmp_path / "labels.txt")])


def test_commands_keep_evaluation_clips_out(captioned_folder, pool_folder, evaluated, tmp_path, command, capsys):
    """Guards against a flag that does nothing: teacher, curation and student, each with a copy to find."""
    shutil.copy(captioned_folder / "3.wav", evaluated / "dog" / "copy.wav")
    shutil.copy(pool_folder / "4.flac", evaluated / "dog" / "copy.flac")
    teacher, pairs = tmp_path / "teacher", tmp_path / "pairs"
    flags = ["--corpus", captioned_folder, "--output_dir", teacher, *SMALL, *FAST]
    assert command(run_teacher, *flags, "--task", evaluated) == 0
    assert "1 of 12 rows left out: the same clip is in the evaluation set" in capsys.readouterr().out
    flags = ["--teacher", teacher, "--captions", captioned_folder, "--audio", pool_folder, "--num_pairs", 12]
    flags += ["--strategy", "ads", "--num_captions", 4, "--output_dir", pairs, "--max_skipped_fraction", 1]
    assert command(curate, *flags, "--labels", evaluated) == 0
    said = capsys.readouterr().out
    assert "1 of 12 rows left out: the same clip" in said and "1 of 7 rows left out: the same clip" in said
    shutil.copy(pool_folder / "5.flac", evaluated / "rain" / "late.flac")
    flags = ["--strategy", "ads", "--improvement_set", pairs, "--task", evaluated, "--dry_run"]
    assert command(run_student, *flags) == 0
    assert "rows left out: the same clip is in the evaluation set" in capsys.readouterr().out
