"""Captioned corpora in every layout a user may have, and the errors for others."""

import json
from pathlib import Path

import pytest
from datasets import Dataset

from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.sources import ExclusionLog, Source
from modeling_clap_student.data.tables import CAPTION_COLUMNS as COLUMNS
from modeling_clap_student.data.tables import clip_table
from modeling_clap_student.errors import InputError


HEADER = "file_name,caption\n"


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Writes a text file as it stands, line ends included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def folder_with(tmp_path: Path, text: str, name: str = "metadata.csv", **options) -> str:
    """An audiofolder with that metadata; its clips, which no reader opens, are empty files."""
    put(tmp_path / "set" / name, text, **options)
    for clip in ("a.wav", "b.wav", "näme, ü.wav"):
        (tmp_path / "set" / clip).touch()
    return str(tmp_path / "set")


def names(table: Dataset) -> list[str]:
    return [Path(audio["path"]).name for audio in table["audio"]]


def test_audiofolder_with_csv(tmp_path):
    """Guards against wrong columns, wrong paths, and ids that depend on the machine."""
    spec = folder_with(tmp_path, HEADER + "a.wav,a dog barks\nb.wav,rain\n")
    table = read_corpora([spec])
    assert table.column_names == list(COLUMNS)
    assert table["caption"][:] == ["a dog barks", "rain"]
    assert [audio["path"] for audio in table["audio"]] == [f"{Path(spec).resolve()}/{n}.wav" for n in "ab"]
    assert table["audio_id"][:] == ["set/a.wav", "set/b.wav"] and set(table["source"]) == {"set"}


def test_audiofolder_with_jsonl(tmp_path):
    """Guards against the second form of the audiofolder convention being missed."""
    rows = [{"file_name": "a.wav", "caption": 'a "dog", ü'}, {"file_name": "b.wav", "caption": None}]
    table = read_corpora([folder_with(tmp_path, "\n".join(map(json.dumps, rows)) + "\n\n", "metadata.jsonl")])
    assert table["caption"][:] == ['a "dog", ü'] and names(table) == ["a.wav"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (HEADER + "a.wav,a dog barks\n", "utf-8-sig"),
        ((HEADER + "a.wav,a dog barks\n").replace("\n", "\r\n"), "utf-8"),
        (HEADER + 'a.wav,"a  dog\nbarks "', "utf-8"),
        ("caption,file_name,more\na dog barks,a.wav,1\n", "utf-8"),
    ],
    ids=["byte-order mark", "CRLF", "line break within quotes", "other order and columns"],
)
def test_ways_to_write_a_csv(tmp_path, text, encoding):
    """Guards against columns lost to a byte-order mark, and captions with blanks or returns at their ends."""
    table = read_corpora([folder_with(tmp_path, text, encoding=encoding)])
    assert table["caption"][:] == ["a dog barks"] and names(table) == ["a.wav"]


def test_quotes_commas_and_other_scripts(tmp_path):
    """Guards against captions cut at a comma and file names in the wrong encoding."""
    table = read_corpora([folder_with(tmp_path, HEADER + '"näme, ü.wav","a man says ""hé"", then rain"\n')])
    assert table["caption"][:] == ['a man says "hé", then rain']
    assert names(table) == ["näme, ü.wav"] and Path(table[0]["audio"]["path"]).exists()


def test_several_captions_a_clip(tmp_path):
    """Guards against Clotho's five captions being read as one, and their clip as five."""
    text = "file_name,caption_1,caption_2,caption_3\na.wav,one,two,three\nb.wav,four,,five\n"
    table = read_corpora([str(put(tmp_path / "clotho.csv", text).parent / "clotho.csv")], needs_audio=False)
    assert table["caption"][:] == ["one", "two", "three", "four", "five"]
    assert table["audio_id"][:] == ["clotho/a.wav"] * 3 + ["clotho/b.wav"] * 2


def test_caption_id_is_no_caption(tmp_path):
    """Guards against a column of identifiers being read as further captions."""
    table = read_corpora([folder_with(tmp_path, "file_name,caption,caption_id\na.wav,a dog barks,77\n")])
    assert table["caption"][:] == ["a dog barks"]


def test_captions_without_audio(tmp_path):
    """Guards against a list of texts that passes where audio is needed, or fails where it is not."""
    spec = str(put(tmp_path / "texts.csv", "audiocap_id,caption\n5,a dog barks\n6,rain\n"))
    table = read_corpora([spec], needs_audio=False)
    assert table["audio"][:] == [None, None] and table["audio_id"][:] == ["texts/0", "texts/1"]
    with pytest.raises(InputError, match="not one of its audio files"):
        read_corpora([spec], needs_audio=True)


def test_files_missing_everywhere_are_refused(tmp_path):
    """Guards against training that starts on a list whose audio lies elsewhere, and then skips every clip."""
    spec = str(put(tmp_path / "texts.csv", HEADER + "a.wav,a dog barks\n"))
    assert len(read_corpora([spec], needs_audio=False)) == 1
    with pytest.raises(InputError):
        read_corpora([spec], needs_audio=True)


def test_texts_and_clips_join(tmp_path):
    """Guards against columns of different types when a corpus has no audio."""
    texts = str(put(tmp_path / "texts.csv", "caption\nwind\n"))
    table = read_corpora([texts, folder_with(tmp_path, HEADER + "a.wav,rain\n")], needs_audio=False)
    assert table["caption"][:] == ["wind", "rain"] and [a is None for a in table["audio"]] == [True, False]
    assert table["source"][:] == ["texts", "set"]


def esc50(tmp_path: Path) -> Path:
    """ESC-50's layout with titles as their authors typed them, three clips in as many folds."""
    root = tmp_path / "ESC"
    put(root / "meta" / "esc50.csv", "filename,fold,target,category\n1.wav,1,0,dog\n2.wav,2,1,rain\n3.wav,3,1,rain\n")
    titles = "1.wav,rose_bark.wav\n2.wav,1000000007.aif\n3.wav,Rain_Falling02.wav\n"
    put(root / "meta" / "captions.csv", HEADER + titles)
    (root / "audio").mkdir()
    for number in (1, 2, 3):
        (root / "audio" / f"{number}.wav").touch()
    return root


def test_esc50_with_titles(tmp_path):
    """Guards against raw file names as captions, titles without words, and class names as captions."""
    root = esc50(tmp_path)
    for spec in (str(root), f"esc50={root}"):
        table = read_corpora([spec])
        assert table["caption"][:] == ["rose bark", "rain falling"]
        assert [a["path"] for a in table["audio"]] == [f"{root}/audio/{n}.wav" for n in (1, 3)]


def test_esc50_folds(tmp_path):
    """Guards against folds kept for evaluation that leak into training."""
    root = esc50(tmp_path)
    assert names(read_corpora([f"esc50:1,2={root}"])) == ["1.wav"]
    assert names(read_corpora([f"esc50:3={root}"])) == ["3.wav"]
    with pytest.raises(InputError, match="no caption"):
        read_corpora([f"esc50:9={root}"])


def test_esc50_without_titles(tmp_path):
    """Guards against class labels serving as captions where titles are missing."""
    root = esc50(tmp_path)
    (root / "meta" / "captions.csv").unlink()
    with pytest.raises(InputError, match=r"captions\.csv is missing"):
        read_corpora([str(root)])


def test_empty_captions_are_dropped(tmp_path):
    """Guards against blank captions, which match every sound a little."""
    table = read_corpora([folder_with(tmp_path, HEADER + 'a.wav,\na.wav,"  "\na.wav\nb.wav,rain\n')])
    assert table["caption"][:] == ["rain"]
    with pytest.raises(InputError, match="no caption"):
        read_corpora([str(put(tmp_path / "empty.csv", HEADER + "a.wav,\n"))])


def test_captions_that_differ_in_case_share_an_id(tmp_path):
    """Guards against equal captions of two corpora that count as negatives of each other."""
    text = HEADER + "a.wav,A Dog barks\nb.wav,a dog  barks\na.wav,a dog barked\n"
    first, second, third = read_corpora([folder_with(tmp_path, text)])["caption_id"]
    assert first == second != third


def test_soundscapes_need_no_path():
    """Guards against the built-in corpus losing its clips' addresses."""
    table = read_corpora(["soundscapes"])
    assert len(table) == len(set(table["audio_id"])) >= 1000
    assert table[5]["audio"]["path"] == "soundscapes://train/5"
    assert read_corpora(["soundscapes:train"])["caption"][:] == table["caption"][:]


@pytest.mark.parametrize("place", ["train-0.parquet", "data/train-00000-of-00001.parquet"])
@pytest.mark.parametrize("kept", [["audio", "caption"], list(COLUMNS)], ids=["bare", "all columns"])
def test_parquet_folders_read_back(tmp_path, monkeypatch, place, kept):
    """Guards against artefacts that the next command can't read, and ids that get lost on the way."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    clips = [put(tmp_path / f"{number}.wav", "") for number in range(3)]
    captions, ids = ("Rain", "a dog", "rain"), [clip.stem for clip in clips]
    source = Source("x", "folder", "x")
    written = clip_table(source, clips, ids, caption=captions, caption_id=[c[:2] for c in captions]).select_columns(
        kept
    )
    written.to_parquet(tmp_path / "set" / place)
    with pytest.raises(InputError, match=r"none of its 3 files lies in .*set \(--allow_outside_paths"):
        read_corpora([str(tmp_path / "set")])
    table = read_corpora([str(tmp_path / "set")], exclusions=ExclusionLog(allow_outside_paths=True))
    assert table.column_names == list(COLUMNS)
    assert table["caption"][:] == ["Rain", "a dog", "rain"]
    assert [a["path"] for a in table["audio"]] == [str(clip) for clip in clips]
    assert len(set(table["audio_id"])) == 3
    if kept == list(COLUMNS):
        assert all(table[column][:] == written[column][:] for column in kept)
    else:
        assert table["caption_id"][0] == table["caption_id"][2] != table["caption_id"][1]


def test_parquet_folder_without_captions(tmp_path, monkeypatch):
    """Guards against a pool given as a corpus failing with a traceback."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    clip = put(tmp_path / "set" / "a.wav", "")
    clip_table(Source("x", "folder", "x"), [clip], ["a"]).to_parquet(tmp_path / "set" / "a.parquet")
    with pytest.raises(InputError, match="no column caption"):
        read_corpora([str(tmp_path / "set")])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nonsense", "soundscapes"),
        ("nonsense={tmp}", "unknown name 'nonsense'.*audiofolder.* esc50.* hub.* soundscapes"),
        ("esc50", "esc50=PATH"),
        ("esc50={tmp}/gone", "no such file or folder"),
        ("{tmp}/gone", "no such file or folder"),
        ("./gone/there", "no such file or folder"),
        ("{tmp}", "no metadata.csv"),
        ("{tmp}/bad.csv", "no column caption: its columns are file_name, text"),
        ("{tmp}/header.csv", "holds no rows"),
        ("{tmp}/latin.csv", "no readable csv"),
        ("{tmp}/bad.jsonl", "no readable jsonl"),
        ("{tmp}/folder", "no column file_name"),
        ("{tmp}/clip.wav", "laid out as 'wav'"),
        ("soundscapes:pool", "has no captions"),
        ("soundscapes:nonsense", "no part"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path, spec, words):
    """Guards against tracebacks, and messages that don't say what would work."""
    put(tmp_path / "bad.csv", "file_name,text\na.wav,rain\n")
    put(tmp_path / "header.csv", HEADER)
    put(tmp_path / "latin.csv", "caption\nkäse\n", encoding="latin-1")
    put(tmp_path / "bad.jsonl", '{"caption": "rain"\n')
    put(tmp_path / "folder" / "metadata.csv", "caption\nrain\n")
    (tmp_path / "clip.wav").touch()
    with pytest.raises(InputError, match=words):
        read_corpora([spec.format(tmp=tmp_path)], needs_audio=False)
