"""The published captioned corpora, each from a tiny copy of its own layout, ugly parts included."""

import csv
import json
import unicodedata
from pathlib import Path

import pytest
from datasets import Audio, Dataset

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.commands.command_line import LAYOUTS, serves_as
from modeling_clap_student.data import benchmarks, corpora, pools
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.published import PUBLISHED
from modeling_clap_student.data.sources import ExclusionLog, dataset_source
from modeling_clap_student.data.tables import CAPTION_COLUMNS
from modeling_clap_student.data.texts import shorten, strip_html
from modeling_clap_student.errors import InputError


def put(path: Path, text: str = "", encoding: str = "utf-8") -> Path:
    """Writes a text file as it stands, line ends included; empty files stand for clips, which no reader opens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def read(spec: str, **options) -> tuple[Dataset, dict[str, int]]:
    """The table, and reason -> number of rows left out."""
    exclusions = ExclusionLog()
    table = read_corpora([str(spec)], exclusions=exclusions, **options)
    assert table.column_names == list(CAPTION_COLUMNS)
    return table, {reason: count for (_, reason), count in exclusions.counts.items()}


def files(table: Dataset, root: Path) -> list[str | None]:
    return [audio and str(Path(audio["path"]).relative_to(root)) for audio in table["audio"]]


# FSD50K


FSD_TITLES = {
    "63": {"title": "LBS_FX DOG Bark001.wav", "description": 'A <b>dog</b> &quot;Rex&quot;.<br />\r\nSee <a href="http://x.y">this</a>'},
    "64": {"title": "1000000007.aif", "description": "Rain, on a tin roof &amp;amp; a car: http://example.org/a?b=1"},
    "65": {"title": "Glockenspiel_Größe.flac", "description": ""},
    "66": {"title": "rain", "description": "Rain on leaves."},
    "67": {"title": "0001.wav", "description": "<p></p>"},
    "99": {"title": "eval clip", "description": "must not be trained on"},
}  # fmt: skip


@pytest.fixture
def fsd50k(tmp_path) -> Path:
    root = tmp_path / "FSD50K"
    header = "fname,labels,mids,split\r\n"
    rows = [("63", "train"), ("64", "val"), ("65", "train"), ("66", "train"), ("67", "train"), ("68", "train")]
    lines = [f'{name},"Bark,Dog,Animal","/m/05tny_,/m/0bt9lr,/m/0jbk",{split}\r\n' for name, split in rows]
    put(root / "FSD50K.ground_truth" / "dev.csv", header + "".join(lines), encoding="utf-8-sig")
    put(root / "FSD50K.ground_truth" / "eval.csv", 'fname,labels,mids\n99,"Bark,Dog","/m/05tny_,/m/0bt9lr"\n')
    put(root / "FSD50K.ground_truth" / "vocabulary.csv", "0,Bark,/m/05tny_\n")
    info = {name: text | {"tags": ["a"], "license": "…", "uploader": "x"} for name, text in FSD_TITLES.items()}
    put(root / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", json.dumps({n: info[n] for n in info if n != "99"}))
    put(root / "FSD50K.metadata" / "eval_clips_info_FSD50K.json", json.dumps({"99": info["99"]}))
    for name in ("63", "64", "65"):
        put(root / "FSD50K.dev_audio" / f"{name}.wav")
    put(root / "FSD50K.eval_audio" / "99.wav")
    return root


def test_fsd50k_captions(fsd50k):
    """Guards against tags, entities, links and file names in captions, and against a repeated title."""
    table, left_out = read(f"fsd50k={fsd50k}", needs_audio=False)
    assert table["caption"][:] == [
        'lbs fx dog bark. A dog "Rex". See this',
        "Rain, on a tin roof & a car:",
        "glockenspiel größe",
        "Rain on leaves.",
    ]
    assert left_out == {"no word in the caption": 2}  # 67 says nothing, 68 has no entry
    assert table["origin_id"][:] == [f"freesound:{name}" for name in (63, 64, 65, 66)]


def test_fsd50k_missing_files(fsd50k):
    """Guards against clips that are not there ending up in training, or dropping out unseen."""
    table, left_out = read(fsd50k)
    assert files(table, fsd50k) == [f"FSD50K.dev_audio/{name}.wav" for name in (63, 64, 65)]
    assert left_out["no such audio file"] == 1


@pytest.mark.parametrize(
    ("parts", "names"),
    [("", [63, 64, 65]), (":dev", [63, 64, 65]), (":train", [63, 65]), (":val", [64]), (":eval", [99]),
     (":val,eval", [64, 99])],
)  # fmt: skip
def test_fsd50k_parts(fsd50k, parts, names):
    """Guards against evaluation clips read by default, and a split column that is not heeded."""
    table, _ = read(f"fsd50k{parts}={fsd50k}")
    assert table["audio_id"][:] == [f"FSD50K/{name}" for name in names]


def test_fsd50k_without_its_metadata(fsd50k):
    """Guards against a traceback where one of the five archives was not unpacked."""
    (fsd50k / "FSD50K.metadata" / "dev_clips_info_FSD50K.json").unlink()
    with pytest.raises(InputError, match=r"dev_clips_info_FSD50K\.json is missing"):
        read(fsd50k)
    with pytest.raises(InputError, match="no part test: its parts are train, val, dev, eval"):
        read(f"fsd50k:test={fsd50k}")


def test_long_descriptions_are_cut_at_a_sentence():
    """Guards against captions that the tokenizer cuts in the middle, and ones lost for want of a full stop."""
    assert shorten("One two. Three four (five.) Six seven eight", 6) == "One two. Three four (five.)"
    assert shorten("one two three four", 3) == "one two three"
    assert shorten(" one  two ", 3) == "one two"


def test_html_that_is_none():
    """Guards against text that is lost because it has a < in it."""
    assert (
        strip_html("below 5 < 6 kHz, I <3 it &lt;br&gt;&amp;quot;rain&amp;quot;") == 'below 5 < 6 kHz, I <3 it "rain"'
    )


# Clotho


def clotho_list(names: list[str], captions: int = 5) -> str:
    """A list in Clotho's format: five captions a clip, with commas and quotes."""
    header = ",".join(["file_name", *(f"caption_{n}" for n in range(1, captions + 1))])
    texts = ",".join(f'"{n}: a man says ""hé"", then rain"' for n in range(1, captions + 1))
    return "\n".join([header, *(f'"{name}",{texts}' for name in names)]) + "\n"


CLOTHO_NAMES = [" Ambience Birds.wav", "Café, ouvert.wav"]


@pytest.fixture(params=["{part}", "clotho_audio_{part}", "clotho_audio_{part}/{part}", "clotho_audio_files/{part}"])
def clotho(tmp_path, request) -> Path:
    root = tmp_path / "clotho"
    csv_folder = root / "clotho_csv_files" if "files" in request.param else root
    for part in ("development", "validation", "evaluation"):
        put(csv_folder / f"clotho_captions_{part}.csv", clotho_list([f"{part}.wav", *CLOTHO_NAMES]))
        for name in (f"{part}.wav", *CLOTHO_NAMES):
            put(root / request.param.format(part=part) / name)
    metadata = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
    metadata += '"Café, ouvert.wav",a;b,327673,https://freesound.org/people/x/sounds/327673,"[1, 2]",Zoë,cc\n'
    metadata += " Ambience Birds.wav,a,Not found,,,x,cc\n"
    put(csv_folder / "clotho_metadata_development.csv", metadata, encoding="latin-1")
    return root


def test_clotho(clotho):
    """Guards against one of the ways in which the archives unpack being missed, captions cut at commas, five captions
    read as five clips, names with a blank before them, and metadata that is not UTF-8."""
    table, left_out = read(clotho)
    assert len(table) == 15 and not left_out
    assert table["caption"][:5] == [f'{n}: a man says "hé", then rain' for n in range(1, 6)]
    names = ["development.wav", *CLOTHO_NAMES]
    assert table["audio_id"][:] == [f"clotho/development/{name}" for name in names for _ in range(5)]
    assert all(Path(audio["path"]).is_file() for audio in table["audio"])
    assert table["origin_id"][:] == [None] * 10 + ["freesound:327673"] * 5


def test_clotho_parts(clotho):
    """Guards against evaluation or validation clips that are read without being asked for, and names that two splits
    share making one clip of two."""
    parts = {id.split("/")[1] for id in read(clotho)[0]["audio_id"]}
    assert parts == {"development"}
    table, _ = read(f"clotho:validation,evaluation={clotho}")
    assert len(table) == 30 and len(table.unique("audio_id")) == 6
    with pytest.raises(InputError, match="no part test"):
        read(f"clotho:test={clotho}")


def test_clotho_without_a_list(tmp_path):
    """Guards against a traceback, or the evaluation split in place of the development one."""
    put(tmp_path / "clotho_captions_evaluation.csv", clotho_list(["a.wav"]))
    with pytest.raises(InputError, match=r"clotho_captions_development\.csv is missing.*clotho:evaluation=PATH"):
        read(tmp_path)


@pytest.mark.parametrize(("listed", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_written_otherwise(tmp_path, listed, written):
    """Guards against a corpus that was unpacked on a Mac losing every clip with an accent in its name."""
    put(tmp_path / "clotho_captions_development.csv", clotho_list([unicodedata.normalize(listed, "naïve é.wav")]))
    there = put(tmp_path / "development" / unicodedata.normalize(written, "naïve é.wav"))
    put(tmp_path / "development" / "other.wav")
    table, left_out = read(tmp_path)
    assert {audio["path"] for audio in table["audio"]} == {str(there)} and not left_out


# AudioCaps


AUDIOCAPS_IDS = ["r1nicOVtvkQ", "-0Gj8-vB1q4", "_5_12_34567", "YbcdefghijY"]
SCHEMES = [
    "{id}.wav",
    "{id}_{start}.flac",
    "{id}_{start}.000_{end}.000.wav",
    "{id}_{start}000_{end}000.mp3",
    "Y{id}.ogg",
    "Y{id}_{start}.wav",
    "{row}.wav",
]


def audiocaps_list(ids: list[str], first: int = 100) -> str:
    header = "audiocap_id,youtube_id,start_time,caption\n"
    return header + "".join(f'{first + n},{id},{30 * n},"{n}: bells, ""ding"""\r\n' for n, id in enumerate(ids))


def audiocaps(root: Path, scheme: str, folder: str, csv_name: str = "{}.csv") -> Path:
    put(root / csv_name.format("train"), audiocaps_list(AUDIOCAPS_IDS), encoding="utf-8-sig")
    for number, name in enumerate(AUDIOCAPS_IDS):
        clip = scheme.format(id=name, start=30 * number, end=30 * number + 10, row=100 + number)
        put(root / folder / clip)
        put(root / folder / f"._{clip}")  # of macOS
    return root


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("folder", ["audio", "train", "", "audio/train"])
def test_audiocaps_names(tmp_path, scheme, folder):
    """Guards against ids cut at a - or _, a Y that belongs to the id, and downloads in another folder or naming."""
    root = audiocaps(tmp_path / "ac", scheme, folder)
    table, left_out = read(root)
    assert len(table) == 4 and not left_out
    assert table["audio_id"][:] == [f"ac/{name}" for name in AUDIOCAPS_IDS]
    assert table["origin_id"][:] == [f"youtube:{name}" for name in AUDIOCAPS_IDS]
    assert all(
        name in path or str(100 + n) in path
        for n, (name, path) in enumerate(zip(AUDIOCAPS_IDS, files(table, root), strict=True))
    )
    assert not any("._" in path for path in files(table, root))


def test_audiocaps_parts_and_missing_clips(tmp_path):
    """Guards against test captions read by default, videos that are gone counting as clips, and captions that were
    given twice to a clip."""
    root = audiocaps(tmp_path / "ac", "{id}.wav", "audio", "audiocaps_{}.csv")
    put(root / "audiocaps_test.csv", audiocaps_list([AUDIOCAPS_IDS[0], "goneXgoneXX"] * 2).replace("2: ", "0: "))
    assert len(read(root)[0]) == 4
    table, left_out = read(f"audiocaps:test={root}")
    assert table["caption"][:] == ['0: bells, "ding"']
    assert left_out == {"the same caption of the same clip": 1, "no such audio file": 2}
    texts, left_out = read(f"audiocaps:test={root}", needs_audio=False)
    assert len(texts) == 3 and files(texts, root).count(None) == 2 and "no such audio file" not in left_out
    with pytest.raises(InputError, match=r"val\.csv is missing"):
        read(f"audiocaps:val={root}")


def test_audiocaps_in_formats_that_can_not_be_read(tmp_path):
    """Guards against m4a files, which nothing here decodes, being listed and then skipped one by one."""
    root = audiocaps(tmp_path / "ac", "{id}.m4a", "audio")
    with pytest.raises(InputError, match="not one of its audio files"):
        read(root)


def test_any_train_csv_is_not_audiocaps(tmp_path):
    """Guards against somebody's own train.csv being taken for AudioCaps'."""
    put(tmp_path / "train.csv", "file_name,caption\na.wav,rain\n")
    with pytest.raises(InputError, match=r"no metadata\.csv"):
        read(tmp_path)
    with pytest.raises(InputError, match="laid out as 'folder', not as 'audiocaps'"):
        read(f"audiocaps={tmp_path}")


def test_two_corpora_in_one_folder(tmp_path):
    """Guards against one of two corpora being read in silence, and against neither when it is named."""
    root = audiocaps(tmp_path, "{id}.wav", "audio", "audiocaps_{}.csv")
    put(root / "clotho_captions_development.csv", clotho_list(["a.wav"]))
    with pytest.raises(InputError, match="holds audiocaps and clotho: say which, audiocaps="):
        read(root)
    assert len(read(f"audiocaps={root}")[0]) == 4
    assert len(read(f"clotho={root}", needs_audio=False)[0]) == 5


# MACS


MACS = """files:
- filename: airport-barcelona-0-0-a.wav
  annotations:
  - annotator_id: 68
    sentence: "adults talking: far off, and \\"steps\\""
    tags: [adults_talking, footsteps]
  - annotator_id: 69
    sentence: no
    tags: []
  - annotator_id: 70
    sentence: 'Adults  talking: far off, and "steps"'
    tags: [adults_talking]
- filename: park-paris-1-2-a.wav
  annotations:
  - {annotator_id: 68, sentence: birds — é, tags: [birds_singing]}
- filename: tram-wien-1-2-a.wav
  annotations:
  - {annotator_id: 68, sentence: a tram, tags: []}
"""


@pytest.mark.parametrize("folder", ["TAU-urban-acoustic-scenes-2019-development/audio", "audio", "."])
def test_macs(tmp_path, folder):
    """Guards against captions that YAML takes for booleans, several captions a clip, and audio in another place."""
    put(tmp_path / "MACS.yaml", MACS)
    for name in ("airport-barcelona-0-0-a.wav", "park-paris-1-2-a.wav"):
        put(tmp_path / folder / name)
    table, left_out = read(tmp_path)
    assert table["caption"][:] == ['adults talking: far off, and "steps"', "no", "birds — é"]
    assert len(table.unique("audio_id")) == 2 and set(table["origin_id"]) == {None}
    assert left_out == {"the same caption of the same clip": 1, "no such audio file": 1}


@pytest.mark.parametrize("text", ["files: [a", "- a", "files:\n- name: a", "files: 5"])
def test_macs_that_is_none(tmp_path, text):
    """Guards against tracebacks, and against a file that runs code."""
    put(tmp_path / "MACS.yaml", text)
    with pytest.raises(InputError, match="is not laid out as files"):
        read(tmp_path)


def test_yaml_runs_nothing(tmp_path):
    """Guards against a list of captions that runs code."""
    put(tmp_path / "MACS.yaml", f"files: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    with pytest.raises(InputError):
        read(tmp_path)
    assert not (tmp_path / "made").exists()


# WavCaps


WAVCAPS = {
    "AudioSet_SL/as_final.json": [{"id": "YYb0RFKhbpFJ.wav", "caption": "Wind, and a man.", "duration": 10.0}],
    "BBC_Sound_Effects/bbc_final.json": [{"id": "NHU05051125", "caption": "Birds.", "description": "…"}],
    "FreeSound/fsd_final.json": [{"id": "2219", "caption": "A dog “barks”.", "file_name": "a.wav", "duration": 3.1},
                                 {"id": 2220, "caption": "Rain.", "duration": 1.0}],
    "SoundBible/sb_final.json": [{"id": "2219", "caption": "An airplane is landing.", "duration": 14.1}],
}  # fmt: skip


def wavcaps(root: Path, folder: str) -> Path:
    for path, entries in WAVCAPS.items():
        part = Path(path).parent.name
        put(root / "json_files" / path, json.dumps({"num_captions_per_audio": 1, "data": entries}))
        for entry in entries[:1]:
            put(root / folder.format(part=part) / f"{str(entry['id']).removesuffix('.wav')}.flac")
    put(
        root / "json_files" / "FreeSound" / "fsd_final_2s.json",
        json.dumps({"data": WAVCAPS["FreeSound/fsd_final.json"]}),
    )
    put(root / "json_files" / "blacklist" / "blacklist_exclude_all_ac.json", "{}")
    return root


@pytest.mark.parametrize(
    "folder",
    [
        "Zip_files/{part}/mnt/fast/nobackup/scratch4weeks/xm00178/WavCaps/data/waveforms/{part}_flac",
        "mnt/fast/nobackup/scratch4weeks/xm00178/WavCaps/data/waveforms/{part}_flac",
        "Waveforms/{part}_flac",
        "Audio/{part}",
        "{part}",
    ],
)
def test_wavcaps(tmp_path, folder):
    """Guards against a layout that is missed, the shorter of FreeSound's lists read too, and one id that two sources
    share giving a clip another's caption."""
    root = wavcaps(tmp_path / "WavCaps", folder)
    table, left_out = read(root)
    got = dict(
        zip(table["audio_id"], zip(table["caption"], table["origin_id"], files(table, root), strict=True), strict=True)
    )
    assert left_out == {"no such audio file": 1} and len(got) == len(table) == 4
    assert got["WavCaps/AudioSet_SL/YYb0RFKhbpFJ"][:2] == ("Wind, and a man.", "youtube:Yb0RFKhbpFJ")
    assert got["WavCaps/FreeSound/2219"][:2] == ("A dog “barks”.", "freesound:2219")
    assert got["WavCaps/SoundBible/2219"][:2] == ("An airplane is landing.", None)
    assert got["WavCaps/BBC_Sound_Effects/NHU05051125"][1] is None
    assert all(Path(id).parent.name in path for id, (_, _, path) in got.items())


def test_wavcaps_parts(tmp_path):
    """Guards against parts that can't be read alone, and a missing list that is passed over."""
    root = wavcaps(tmp_path / "WavCaps", "{part}")
    table, _ = read(f"wavcaps:FreeSound,SoundBible={root}", needs_audio=False)
    assert len(table) == 3
    put(root / "json_files" / "SoundBible" / "sb_final.json", json.dumps(WAVCAPS["SoundBible/sb_final.json"]))
    assert len(read(f"wavcaps:SoundBible={root}")[0]) == 1  # a bare list, as it was published first
    put(root / "json_files" / "SoundBible" / "sb_final.json", '{"data": [{"id": 1}]}')
    with pytest.raises(InputError, match="is not laid out as"):
        read(f"wavcaps:SoundBible={root}")
    (root / "json_files" / "SoundBible" / "sb_final.json").unlink()
    with pytest.raises(InputError, match="is missing"):
        read(root)


# One's own files, with columns of other names


def test_columns_of_a_csv_can_be_named(tmp_path):
    """Guards against a list that is refused because its columns have other names, with no word on what to do."""
    path = put(tmp_path / "list.csv", "path,text,captions_id\na.wav,rain,1\ngone.wav,wind,2\n")
    put(tmp_path / "a.wav")
    with pytest.raises(InputError, match=r"no column caption: .*path, text, captions_id.*list\.csv#caption=COLUMN"):
        read(path)
    table, left_out = read(f"{path}#audio=path,caption=text")
    assert table["caption"][:] == ["rain"] and left_out == {"no such audio file": 1}
    assert len(read(f"csv={path}#caption=text", needs_audio=False)[0]) == 2
    with pytest.raises(InputError, match="no column sound"):
        read(f"{path}#audio=sound,caption=text")


def test_captions_in_a_list(tmp_path):
    """Guards against the list of a jsonl being read as one caption with brackets."""
    rows = [{"file_name": "a.wav", "captions": ["rain", "a downpour"]}, {"file_name": "b.wav", "captions": []}]
    table, _ = read(put(tmp_path / "list.jsonl", "\n".join(map(json.dumps, rows))), needs_audio=False)
    assert table["caption"][:] == ["rain", "a downpour"] and len(table.unique("audio_id")) == 1


@pytest.mark.parametrize("spec", ["{path}#", "{path}#text", "{path}#label=a", "{path}#caption="])
def test_columns_said_wrongly(tmp_path, spec):
    """Guards against a slip in the notation being read as something else."""
    path = put(tmp_path / "list.csv", "file_name,caption\na.wav,rain\n")
    with pytest.raises(InputError, match="#audio=COLUMN,caption=COLUMN"):
        read(spec.format(path=path), needs_audio=False)
    with pytest.raises(InputError, match="has columns of its own"):
        read("soundscapes#caption=text")
    for reader in (pools.read_pools, lambda specs: benchmarks.read_benchmark(*specs)):
        with pytest.raises(InputError, match="has columns of its own"):
            reader([f"{tmp_path}#audio=sound"])


def test_a_path_with_a_hash(tmp_path):
    """Guards against a path that holds a # being cut there."""
    path = put(tmp_path / "take #2" / "list.csv", "file_name,caption\na.wav,rain\n")
    for spec in (path, f"csv={path}", f"{path}#caption=caption"):
        assert len(read(spec, needs_audio=False)[0]) == 1


def hub_dataset(folder: Path, columns: dict[str, list], splits: tuple[str, ...] = ("train",)) -> Path:
    """A dataset as the Hub has it: Parquet files with the audio inside."""
    clips = [{"bytes": bytes([n]), "path": f"{n}.wav"} for n in range(2)]
    table = Dataset.from_dict({"sound": clips, **columns}).cast_column("sound", Audio(decode=False))
    for split in splits:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(
    ("columns", "named", "captions"),
    [
        ({"text": ["rain", "wind"]}, ",caption=text", ["rain", "wind"]),
        ({"caption_1": ["rain", "wind"], "caption_2": ["wet", ""]}, "", ["rain", "wind", "wet"]),
        ({"captions": [["rain", "wet"], ["wind"]]}, "", ["rain", "wind", "wet"]),
    ],
)
def test_columns_of_a_hub_dataset(tmp_path, monkeypatch, columns, named, captions):
    """Guards against datasets of others that can't be used for the names of their columns, or lose captions."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = hub_dataset(tmp_path / "set", columns)
    with pytest.raises(InputError, match=r"no column audio: .*#audio=COLUMN"):
        read(folder)
    table, _ = read(f"{folder}#audio=sound{named}")
    assert table["caption"][:] == captions
    held = {"set/0": b"\0", "set/1": b"\1"}
    assert all(held[Path(r["audio_id"]).parent.name + "/" + r["audio_id"][-1]] == r["audio"]["bytes"] for r in table)
    assert len(table.unique("audio_id")) == 2


def test_splits_of_a_hub_dataset(tmp_path, monkeypatch):
    """Guards against a test split that is trained on without being asked for, or can't be reached."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = hub_dataset(tmp_path / "set", {"caption": ["rain", "wind"]}, ("train", "test"))
    assert len(read(f"hub={folder}#audio=sound")[0]) == 2
    assert len(read(f"hub:train,test={folder}#audio=sound")[0]) == 4
    with pytest.raises(InputError, match="can't load"):
        read(f"hub:nonsense={folder}#audio=sound")


@pytest.mark.parametrize(
    "spec", ["me/data", "hub:train=me/data", "me/data@v1#audio=file,caption=text", "hub=me/data#audio=a"]
)
def test_hub_ids_with_parts_and_columns(spec):
    """Guards against an id that is taken for a path because of what stands around it, here and in the model card."""
    with pytest.raises(InputError, match="can't load the dataset me/data"):
        read(spec)
    assert dataset_source(spec) == {"name": spec, "revision": None}  # offline
    assert dataset_source("esc50=some/path") == {"name": "esc50=some/path", "revision": None}


# What all have in common


def test_origins_of_evaluation_sets(tmp_path):
    """Guards against clips of one Freesound recording that no longer tell it, in an evaluation set and elsewhere."""
    esc = "filename,fold,category,src_file\n1-17-A-0.wav,1,dog,17\n1-18-A-1.wav,1,rain,18\n"
    put(tmp_path / "esc" / "meta" / "esc50.csv", esc)
    urban = "slice_file_name,fsID,fold,classID,class\n17-3-0-0.wav,17,1,3,dog_bark\n19-4-0-0.wav,19,1,4,drilling\n"
    put(tmp_path / "us" / "metadata" / "UrbanSound8K.csv", urban)
    for clip in (
        "esc/audio/1-17-A-0.wav",
        "esc/audio/1-18-A-1.wav",
        "us/audio/fold1/17-3-0-0.wav",
        "us/audio/fold1/19-4-0-0.wav",
    ):
        put(tmp_path / clip)
    assert benchmarks.read_benchmark(str(tmp_path / "esc")).clips["origin_id"][:] == ["freesound:17", "freesound:18"]
    assert benchmarks.read_benchmark(str(tmp_path / "us")).clips["origin_id"][:] == ["freesound:17", "freesound:19"]


def test_what_is_left_out_is_said(tmp_path, command, capsys):
    """Guards against a run on half a corpus that looks like one on the whole."""
    put(tmp_path / "set" / "metadata.csv", 'file_name,caption\na.wav,rain\na.wav,Rain\ngone.wav,wind\na.wav,"?"\n')
    put(tmp_path / "set" / "a.wav")
    assert command(run_teacher, "--corpus", "set", "--dry_run") == 0
    said = capsys.readouterr().out
    assert "1 of 4 rows left out: no word in the caption" in said
    assert "1 of 3 rows left out: the same caption of the same clip" in said
    assert "1 of 2 rows left out: no such audio file (for instance set/gone.wav)" in said


def test_folders_are_listed_once(tmp_path, monkeypatch):
    """Guards against a question to the file system a row: at a million rows on a network disk, an hour."""
    rows = "".join(f"{n}.wav,clip {n}\n" for n in range(300))
    put(tmp_path / "set" / "metadata.csv", "file_name,caption\n" + rows)
    for n in range(299):
        put(tmp_path / "set" / f"{n}.wav")
    asked = []
    monkeypatch.setattr("os.path.isfile", lambda path: asked.append(path))
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: asked.append(self) or False)
    assert len(read(tmp_path / "set")[0]) == 299
    assert len(asked) < 5


@pytest.mark.parametrize("module", [run_teacher, curate, run_eval])
def test_list_corpora(module, command, capsys, monkeypatch):
    """Guards against a list that asks for other flags first, or lacks a corpus that can be named."""
    monkeypatch.setenv("COLUMNS", "300")
    assert command(module, "--list_corpora") == 0
    said = capsys.readouterr().out
    for corpus in PUBLISHED.values():
        assert all(text in said for text in (corpus.name, corpus.title, corpus.size, corpus.address))
        assert serves_as(corpus).split(", ")[-1] in said


def test_every_layout_is_listed():
    """Guards against a layout that can be read but is not listed."""
    readers = {*corpora.READERS, *pools.READERS, *benchmarks.READERS}
    assert readers == {*PUBLISHED, *LAYOUTS}


# The published files themselves, where they are at hand


def independent_count(path: Path, clip: str) -> tuple[int, int]:
    """Captions, and those that differ for a clip, by the csv module alone."""
    with open(path, newline="", encoding="utf-8") as file:
        pairs = [
            (row[clip], " ".join(text.lower().split()))
            for row in csv.DictReader(file)
            for column, text in row.items()
            if column.startswith("caption")
        ]
    return len(pairs), len(set(pairs))


@pytest.mark.parametrize("part", ["development", "evaluation"])
def test_real_clotho(real_data, part):
    """Guards against captions of the published list that are lost or doubled."""
    table, left_out = read(f"clotho:{part}={real_data}/captions", needs_audio=False)
    total, different = independent_count(real_data / "captions" / f"clotho_captions_{part}.csv", "file_name")
    assert (len(table), sum(left_out.values())) == (different, total - different)
    assert len(table.unique("audio_id")) == total // 5 == {"development": 2893, "evaluation": 1045}[part]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_real_audiocaps(real_data, part):
    """Guards against captions of the published list that are lost or doubled."""
    table, left_out = read(f"audiocaps:{part}={real_data}/captions", needs_audio=False)
    total, different = independent_count(real_data / "captions" / f"audiocaps_{part}.csv", "youtube_id")
    assert (len(table), sum(left_out.values())) == (different, total - different)
    assert total == {"train": 49838, "val": 2475, "test": 4875}[part]
    assert len(table.unique("audio_id")) == {"train": 49838, "val": 495, "test": 975}[part]
    assert all(origin.startswith("youtube:") and len(origin) == 19 for origin in table["origin_id"])
