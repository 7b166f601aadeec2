"""Tests that others wrote, in the formats that they are published in, as a user names them; and every wrong input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, check_failure, save_models, settle, tiny_clap, tiny_model, write_tone
from datasets import Audio, Dataset
from hub_server import HubServer, run_python

from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.data.benchmarks import short_name
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.errors import InputError
from modeling_clap_student.evaluation.statistics import mcnemar
from modeling_clap_student.evaluation.zste.compositions import Composer
from modeling_clap_student.evaluation.zste.published import PublishedTest, evaluate_published
from modeling_clap_student.evaluation.zste.reading import read_published


def read(spec: object, log: ExclusionLog | None = None) -> PublishedTest:
    return read_published(str(spec), log or ExclusionLog())


def write_csv(path: Path, rows: list[list], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# CompA


@pytest.fixture
def compa(tmp_path) -> Path:
    """Both parts as their archives unpack; `1.wav` is in both."""
    root = tmp_path / "CompA"
    header = [f"{name}_{kind}" for kind in ("caption", "file") for name in ("pair", "reversed_pair", "triplet")]
    rows = [[f"hum {n} then hiss", f"hiss then hum {n}", "-", f"{n}.wav", f"{n}_rev.wav", "-"] for n in range(4)]
    rows[3][2], rows[3][5] = "hum and hiss", "3_trip.wav"
    write_csv(root / "CompA_order_benchmark.csv", [header, *rows])
    header = [f"{name}_{kind}" for kind in ("caption", "file", "file.1") for name in ("pair", "reversed_pair")]
    rows = [
        [f"a loud {n} and a soft hum", f"a soft {n} and a loud hum", f"v{n}", f"w{n}", f"{n}.wav", f"r{n}.wav"]
        for n in range(3)
    ]
    write_csv(root / "CompA Attribute" / "Compa-Attribute.csv", [header, *rows])
    for n in range(4):
        for place, name in enumerate((f"{n}.wav", f"{n}_rev.wav")):
            write_tone(root / "CompA_order_files" / name, 200 + 100 * n + 20 * place)
    for n in range(3):
        for place, name in enumerate((f"{n}.wav", f"r{n}.wav")):
            write_tone(root / "CompA Attribute" / "CompA_attribute_files" / name, 1200 + 100 * n + 20 * place)
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "._CompA_order_benchmark.csv").write_bytes(b"\x00\x05\x16\x07")
    return root


def names(test: PublishedTest, part: str) -> list[list[str]]:
    ids = test.clips["audio_id"]
    return [[ids[number] for number in pair] for pair in test.parts[part].recordings.tolist()]


def test_compa_is_read_as_it_is_published(compa):
    """Guards against the recordings of the other part, which have the same names, and videos taken for files."""
    for spec in (f"zste=compa={compa}", f"zste=compa:{compa}", f"zste=compa:order,attribute={compa}"):
        test = read(spec)
        assert (test.name, test.layout, test.place) == (spec, "compa", str(compa)) and len(test.clips) == 14
        assert set(test.parts) == {"order", "attribute"}
        files = [f"compa/CompA_order_files/{name}" for name in ("2.wav", "2_rev.wav")]
        assert len(names(test, "order")) == 4 and names(test, "order")[2] == files
        files = [f"compa/CompA Attribute/CompA_attribute_files/{name}" for name in ("1.wav", "r1.wav")]
        assert len(names(test, "attribute")) == 3 and names(test, "attribute")[1] == files
        captions = [test.texts[number] for number in test.parts["attribute"].texts[1]]
        assert captions == ["a loud 1 and a soft hum", "a soft 1 and a loud hum"]
        paths = {clip["audio_id"]: clip["audio"]["path"] for clip in test.clips}
        assert all(Path(path).samefile(compa / i.removeprefix("compa/")) for i, path in paths.items())


def test_one_part_of_compa(compa, tmp_path):
    """Guards against parts that were not asked for, and a csv alone whose name says nothing."""
    assert set(read(f"zste=compa:attribute={compa}").parts) == {"attribute"}
    assert set(read(f"zste=compa={compa}/CompA_order_benchmark.csv").parts) == {"order"}
    (compa / "CompA_order_benchmark.csv").rename(compa / "list.csv")
    assert set(read(f"zste=compa:order={compa}/list.csv").parts) == {"order"}
    assert set(read(f"zste=compa={compa}/list.csv").parts) == {"all"}
    (compa / "CompA_order_files").rename(compa / "files")
    (compa / "CompA Attribute" / "Compa-Attribute.csv").unlink()
    (compa / "CompA Attribute").rename(compa / "others")
    assert set(read(f"zste=compa:order={compa}").parts) == {"order"}


def test_pairs_without_a_recording_or_a_caption_are_counted(compa):
    """Guards against a pair that is half another's."""
    (compa / "CompA_order_files" / "2_rev.wav").unlink()
    table = compa / "CompA_order_benchmark.csv"
    table.write_text(table.read_text().replace("hum 1 then hiss", "--"))
    log = ExclusionLog()
    test = read(f"zste=compa:order={compa}", log)
    assert [pair[0][-5:] for pair in names(test, "order")] == ["0.wav", "3.wav"]
    assert sorted(log.counts.items()) == [
        ((f"zste=compa:order={compa}", "a caption or a recording is missing"), 2),
        ((f"zste=compa:order={compa}", "no such audio file"), 1),
    ]


def test_files_elsewhere_are_not_read(compa, tmp_path):
    """Guards against a downloaded list that names a file of the user's own."""
    secret = write_tone(tmp_path / "secret.wav", 100)
    table = compa / "CompA_order_benchmark.csv"
    table.write_text(table.read_text().replace(",0.wav,", f",{secret},").replace(",1.wav,", ",../secret.wav,"))
    (compa / "CompA_order_files" / "2.wav").unlink()
    (compa / "CompA_order_files" / "2.wav").symlink_to(secret)
    log = ExclusionLog()
    test = read(f"zste=compa:order={compa}", log)
    assert len(names(test, "order")) == 1 and not any("secret" in clip["audio"]["path"] for clip in test.clips)
    assert log.counts[f"zste=compa:order={compa}", "a caption or a recording is missing"] == 3
    assert len(names(read(f"zste=compa:order={compa}", ExclusionLog(allow_outside_paths=True)), "order")) == 4


# ReasonAudio


def clip(folder: Path, name: str, number: int) -> str:
    write_tone(folder / name, 150 + 70 * number)
    return name


@pytest.fixture
def reasonaudio(tmp_path) -> Path:
    """Recordings that all parts look among, two parts with queries and judgements of their own, in several formats."""
    root = tmp_path / "ReasonAudio"
    corpus = [{"_id": n, "audio": clip(root / "audio", f"mix_{n}.wav", n), "text": None} for n in range(8)]
    write_jsonl(root / "corpus.jsonl", corpus)
    queries = [{"_id": n, "audio": None, "text": f"the order of {n}"} for n in range(3)]
    Dataset.from_list(queries).to_parquet(str(root / "queries_order.parquet"))
    judged = [["query-id", "corpus-id", "score"], [0, 4, 1], [0, 5, 1], [1, 0, 1], [2, 7, 0], [2, 6, 1]]
    write_csv(root / "Order" / "qrels.tsv", judged, "\t")
    write_csv(root / "Negation" / "queries.csv", [["_id", "audio", "text"], [0, "", "a hum without a hiss"]])
    write_csv(root / "Negation" / "qrels" / "test.csv", [["query-id", "corpus-id", "score"], [0, 3, 1], [9, 1, 1]])
    (root / "README.md").write_text("# ReasonAudio\n")
    return root


def asked(test: PublishedTest, part: str) -> dict[str, list[str]]:
    ids, search = test.clips["audio_id"], test.parts[part]
    own = [[Path(ids[number]).stem for number in numbers] for numbers in search.own]
    return dict(zip([test.texts[number] for number in search.texts], own, strict=True))


def test_reasonaudio_is_read_as_it_is_published(reasonaudio):
    """Guards against judgements of one part for the queries of another, whose ids are the same."""
    for spec in (f"zste=reasonaudio={reasonaudio}", f"zste=reasonaudio:{reasonaudio}"):
        test = read(spec)
        assert set(test.parts) == {"order", "negation"} and len(test.clips) == 8
        assert asked(test, "order") == {
            "the order of 0": ["mix_4", "mix_5"], "the order of 1": ["mix_0"], "the order of 2": ["mix_6"],
        }  # fmt: skip
        assert asked(test, "negation") == {"a hum without a hiss": ["mix_3"]}
        assert all(len(part.recordings) == 8 for part in test.parts.values())
    assert set(read(f"zste=reasonaudio:order={reasonaudio}").parts) == {"order"}


def test_rows_with_both_belong_together(tmp_path):
    """Guards against one text on two recordings that is right about one alone."""
    rows = [["_id", "audio", "text"]]
    rows += [[n, clip(tmp_path / "set" / "Overlap", f"{n}.wav", n), f"hum {n // 2}"] for n in range(4)]
    rows += [[4, clip(tmp_path / "set" / "Overlap", "4.wav", 4), ""], [5, "gone.wav", "hum 5"]]
    write_csv(tmp_path / "set" / "Overlap" / "table.csv", rows)
    log = ExclusionLog()
    test = read(f"zste=reasonaudio={tmp_path}/set", log)
    assert asked(test, "overlap") == {"hum 0": ["0", "1"], "hum 1": ["2", "3"]}
    assert len(test.parts["overlap"].recordings) == 5
    assert sorted(reason for _, reason in log.counts) == ["a text without its recording", "no such audio file"]


def test_audio_that_lies_in_the_table(tmp_path):
    """Guards against rows of another table, which have the same numbers."""
    for part, start in (("Duration", 0), ("Mix", 10)):
        files = [str(write_tone(tmp_path / "wav" / f"{start + n}.wav", 300 + 50 * (start + n))) for n in range(3)]
        rows = {"_id": [0, 1, 2], "audio": [*files[:2], None], "text": [f"{part} 0", None, f"{part} 2"]}
        table = Dataset.from_dict(rows).cast_column("audio", Audio(decode=False))
        table = table.map(lambda row: {"audio": row["audio"] and {"bytes": Path(row["audio"]["path"]).read_bytes()}})
        (tmp_path / "set" / part).mkdir(parents=True)
        table.to_parquet(str(tmp_path / "set" / part / "test-00000-of-00001.parquet"))
    log = ExclusionLog()
    test = read(f"zste=reasonaudio={tmp_path}/set", log)
    assert len(test.clips) == 4 and sum(log.counts.values()) == 2
    for part, start in (("duration", 0), ("mix", 10)):
        (own,) = test.parts[part].own
        assert test.clips[int(own[0])]["audio"]["bytes"] == (tmp_path / "wav" / f"{start}.wav").read_bytes()
        assert len(test.parts[part].recordings) == 2


def test_equal_ids_belong_together_where_there_is_nothing_else(tmp_path):
    """Guards against the numbers of queries taken for those of ten thousand recordings."""
    root = tmp_path / "Order"
    write_csv(root / "queries.csv", [["_id", "text"], ["a", "first"], ["b", "second"]])
    clips = [[key, clip(root, f"{key}.wav", n)] for n, key in enumerate("ab")]
    write_csv(root / "corpus.csv", [["_id", "audio"], *clips])
    assert asked(read(f"zste=reasonaudio={root}"), "order") == {"first": ["a"], "second": ["b"]}
    write_csv(root / "corpus.csv", [["_id", "audio"], *clips, ["c", clip(root, "c.wav", 2)]])
    with pytest.raises(InputError, match="nothing says which audio order's texts mean"):
        read(f"zste=reasonaudio={root}")


@pytest.mark.slow
def test_a_hub_dataset_and_its_files(reasonaudio):
    """Guards against tables that are read from the Hub without the files beside them, and a part known by its name."""
    (reasonaudio / "queries_order.parquet").rename(reasonaudio / "queries.parquet")
    (reasonaudio / "Order" / "qrels.tsv").rename(reasonaudio / "qrels.tsv")
    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from huggingface_hub import create_repo, upload_folder
        from modeling_clap_student.data.sources import ExclusionLog
        from modeling_clap_student.errors import InputError
        from modeling_clap_student.evaluation.zste.reading import read_published

        create_repo("me/Order", repo_type="dataset")
        commit = upload_folder(repo_id="me/Order", folder_path={str(reasonaudio)!r}, repo_type="dataset").oid
        for name in ("me/Order", f"me/Order@{{commit}}"):
            test = read_published(f"zste=reasonaudio:order={{name}}", ExclusionLog())
            print(test.place == name, list(test.parts), len(test.clips), len(test.parts["order"].texts))
        try:
            read_published("zste=reasonaudio=me/Gone", ExclusionLog())
        except InputError as error:
            print(error)
    """
    with HubServer() as server:
        said = run_python(code, server, token="hf_me_secret").stdout.splitlines()
    assert said[:2] == ["True ['order'] 8 3"] * 2 and "can't load the dataset me/Gone" in said[2] and len(said) == 3


# AudioTime


def described(first: str, second: str, caption: object) -> dict:
    return {"event": {first: [[1.0, 3.0]], second: [[4.0, 5.5], [6.0, 9.0]]}, "caption": caption}


@pytest.fixture
def audiotime(tmp_path) -> Path:
    root = tmp_path / "AudioTime"
    ordering = {
        "syn_1": described("Dog", "Rain on surface", "A dog barks, followed by rain."),
        "syn_2": described("Rain on surface", "Dog", ["Rain falls, then a dog barks twice.", "Yes."]),
        "syn_3": described("Dog", "Music", "A dog barks, followed by music."),
        "syn_4": described("Dog", "Dog, bark", "A dog barks, followed by a dog."),
        "syn_5": described("Dog", "Rain", "…"),
        "syn_6": {"event": {"Dog": [[3, 1]], "Rain": [[5, 6]]}, "caption": "A dog barks, then rain."},
    }
    frequency = {"syn_1": {"event": {"Dog": [0.5, 1.5], "Rain": [4.0]}, "caption": "A dog barks twice, then rain."}}
    duration = {"syn_1": {"event": {"Dog": [1.092], "Rain": [5.1]}, "caption": "A dog barked for 1.092 seconds."}}
    for folder, part, items in (
        ("test/test500_ordering", "ordering", ordering),
        ("test/test500_frequency", "frequency", frequency),
        ("test/test500_duration", "duration", duration),
        ("train/train5000_ordering", "ordering", {"syn_1": described("Dog", "Rain", "learnt by heart")}),
    ):
        path = root / folder / f"{part}_captions.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(items))
    for number, name in enumerate(("dog", "rain", "hen")):
        for take in range(2):
            write_tone(tmp_path / "clips" / name / f"{take}.wav", 170 * (2 * number + take + 1), seconds=1.3)
    return root


def test_audiotime_is_read_as_it_is_published(audiotime, tmp_path):
    """Guards against captions that were trained on, sounds of no class, and questions without an answer."""
    log = ExclusionLog()
    spec = f"zste=audiotime={audiotime}#clips={tmp_path}/clips"
    test = read(spec, log)
    assert {part: len(choice.texts) for part, choice in test.parts.items()} == {"ordering": 2, "frequency": 1}
    assert test.texts == [
        "A dog barks, followed by rain.", "Rain falls, then a dog barks twice.", "A dog barks twice, then rain.",
    ] and test.place == str(audiotime)  # fmt: skip
    labels = [[sound.label for sound in composition.sounds] for composition in test.compositions]
    assert labels == [["dog", "rain", "rain"], ["rain", "dog", "dog"], ["dog", "dog", "rain"]]
    assert test.parts["frequency"].recordings.tolist() == [[4, 5]]
    assert test.facts["unmapped"] == {"Music": 1} and test.facts["labels"]["Rain on surface"] == "rain"
    assert log.counts == {
        (f"{spec} (ordering)", "an event without a class among the clips"): 1,
        (f"{spec} (ordering)", "no word in the caption"): 1,
        (f"{spec} (ordering)", "events without onsets within a minute"): 1,
        (f"{spec} (ordering)", "the same order forward and reversed"): 1,
        (f"{spec} (duration)", "events without onsets within a minute"): 1,
    }
    assert any("Music" in line for line in log.lines)
    assert read(spec.replace("audiotime=", "audiotime:")).compositions == test.compositions


def test_the_built_in_clips_serve_where_none_are_named(audiotime):
    """Guards against a task that can't be typed as short as the others."""
    test = read(f"zste=audiotime:ordering={audiotime}/test/test500_ordering/ordering_captions.json")
    assert set(test.parts) == {"ordering"} and test.facts["clips"] == "soundscapes"
    assert all(sound.clip.startswith("soundscapes/") for made in test.compositions for sound in made.sounds)


def test_a_mapping_takes_the_place_of_equal_words(audiotime, tmp_path):
    """Guards against a file that is read and not used."""
    mapping = write_csv(tmp_path / "map.csv", [["event", "label"], ["Dog", "hen"], ["Music", "rain"]])
    test = read(f"zste=audiotime:ordering={audiotime}#mapping={mapping},clips={tmp_path}/clips")
    assert [[sound.label for sound in made.sounds] for made in test.compositions] == [["hen", "rain", "rain"]]
    assert test.facts["unmapped"] == {"Rain on surface": 2, "Rain": 2, "Dog, bark": 1}


# As tasks


def test_answers_are_those_of_the_recordings_that_are_named(compa, audiotime, tmp_path):
    """Guards against the reversed recording in the place of the other, and clips in another order than their rows."""
    model, processor = tiny_model()
    settle(model)
    skipped = SkippedClips(tmp_path / "skipped.csv")

    def nearer(text: str, *recordings) -> bool:
        sounds = model.encode_audio(list(recordings), sampling_rate=44100).numpy()
        first, second = sounds @ model.encode_text([text]).numpy()[0]
        return bool(first > second)

    test = read(f"zste=audiotime={audiotime}#clips={tmp_path}/clips")
    answers = evaluate_published({"": (model, processor)}, test, skipped)[""].answers
    composer = Composer(test.clips, 44100, skipped)
    right = [nearer(made.caption, *composer.render(made)) for made in test.compositions]
    assert [*answers["ordering/accuracy"].values, *answers["frequency/accuracy"].values] == right
    answers = evaluate_published({"": (model, processor)}, read(f"zste=compa={compa}"), skipped)[""].answers
    folder = compa / "CompA_order_files"
    files = [(folder / f"{n}.wav", folder / f"{n}_rev.wav") for n in range(4)]
    right = [
        nearer(f"hum {n} then hiss", *pair) and nearer(f"hiss then hum {n}", *pair[::-1])
        for n, pair in enumerate(files)
    ]
    assert answers["order/audio"].values.tolist() == right


@pytest.fixture
def models(tmp_path) -> None:
    save_models(tmp_path, ("one", "two"))


def test_one_run_leaves_every_score(command, models, compa, reasonaudio, audiotime, tmp_path, capsys):
    """Guards against a test that has no place in a table, a difference or a json file."""
    (compa / "CompA_order_files" / "3.wav").write_text("this is no audio")
    soundfile.write(tmp_path / "clips" / "hen" / "0.wav", np.zeros(4000), 16000)
    clap = tiny_clap(tmp_path / "clap")
    tasks = ["zste=compa=CompA", "zste=reasonaudio=ReasonAudio", "zste=audiotime=AudioTime#clips=clips"]
    flags = ["--model", "one", clap, "--baseline", "two", "--task", *tasks, "--output_dir", "eval"]
    assert command(run_eval, *flags) == 0
    said = capsys.readouterr().out
    rows = json.loads(Path("eval/results.json").read_text())
    found = {(row["task"], row["metric"]): row for row in rows if row["model"] == "one"}
    groups = {"text": 1 / 4, "audio": 1 / 4, "group": 1 / 6}
    expected = {
        **{(tasks[0], f"order/{m}"): (3, chance) for m, chance in groups.items()},
        **{(tasks[0], f"attribute/{m}"): (3, chance) for m, chance in groups.items()},
        **{(tasks[2], f"{part}/accuracy"): (n, 1 / 2) for part, n in (("ordering", 2), ("frequency", 1))},
        (tasks[1], "negation/R@1"): (1, 1 / 8),
        (tasks[1], "order/R@5"): (3, (5 / 8 * 2 + 1 - 3 / 28) / 3),
    }
    for key, (n, chance) in expected.items():
        row = found[key]
        assert row["n"] == n and row["chance"] == pytest.approx(chance), key
        assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9 and row["baseline"] == "two", key
    details = json.loads(Path("eval/details.json").read_text())
    answers = {(r["model"], r["task"]): r["answers"] for r in details["results"]}
    one, two = (answers[model, tasks[0]]["order/text"] for model in ("one", "two"))
    assert one["items"] == [0, 1, 2]
    row = found[tasks[0], "order/text"]
    assert row["value"] == np.mean(one["values"]) and row["mcnemar_p"] == mcnemar(one["values"], two["values"])
    made = details["tasks"][2]["compositions"][1]
    assert made["id"] == "ordering/syn_2" and [sound["label"] for sound in made["sounds"]] == ["rain", "dog", "dog"]
    captions = [details["tasks"][1]["captions"][n] for n in details["tasks"][1]["caption_of_item"]["negation"]]
    assert captions == ["a hum without a hiss"]
    assert details["tasks"][2]["unmapped"] == {"Music": 1} and details["tasks"][0]["dataset"]["name"] == "CompA"
    words = Path("eval/results.md").read_text()
    assert all(part in words for part in ("order group", "negation R@1", "ordering accuracy", "other captions"))
    for text in (said, words):
        assert all(
            part in text for part in ("zste compa CompA", "zste reasonaudio", "audiotime", "Difference from two")
        )
    assert "Music" in said and "3.wav" in said
    assert "order/group" in Path("eval/model_index.yaml").read_text()
    again = [row | {"provenance": None} for row in rows]
    assert command(run_eval, *flags) == 0
    assert [row | {"provenance": None} for row in json.loads(Path("eval/results.json").read_text())] == again


def test_a_dry_run_counts(command, models, compa, capsys):
    """Guards against an evaluation that embeds before one sees what is there."""
    flags = ["--model", "one", "--task", "zste=compa=CompA", "--output_dir", "eval", "--dry_run"]
    assert command(run_eval, *flags) == 0
    assert "4 of order" in " ".join(capsys.readouterr().out.split()) and not Path("eval").exists()


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("zste=compa", ["no such file or folder", "zste=compa=PATH"]),
        ("zste=compa=", ["no such file or folder"]),
        ("zste=compa=nowhere", ["'nowhere'"]),
        ("zste=compa:order", ["'order'", "zste=compa:PART=PATH"]),
        ("zste=compa:tempo=CompA", ["no part tempo", "order, attribute"]),
        ("zste=compa=ReasonAudio", ["a csv with the columns pair_caption"]),
        ("zste=compa:attribute=CompA/CompA_order_benchmark.csv", ["nothing of attribute"]),
        ("zste=compa=bare", ["not one of their files is there", "0.wav"]),
        ("zste=compa=twice", ["both are order"]),
        ("zste=reasonaudio=CompA", ["tables with the columns _id, audio, text"]),
        ("zste=reasonaudio:mix=ReasonAudio", ["nothing of mix"]),
        ("zste=reasonaudio=no/where", ["no/where"]),
        ("zste=reasonaudio=lost", ["lists 1 clips, but not one of their files is there", "gone.wav"]),
        ("zste=reasonaudio=judged", ["qrels.csv is no readable table of judgements"]),
        ("zste=reasonaudio=broken", ["test.parquet is no readable parquet file"]),
        ("zste=reasonaudio=double", ["two rows have the _id 0"]),
        ("zste=audiotime=CompA", ["json files"]),
        ("zste=audiotime=AudioTime#clips=nowhere", ["nowhere"]),
        ("zste=audiotime=AudioTime#mapping=nowhere.csv,clips=clips", ["nowhere.csv is missing"]),
        ("zste=audiotime=AudioTime#mapping=wrong.csv,clips=clips", ["'cat' is no class"]),
        ("zste=audiotime:duration=AudioTime#clips=clips", ["none of the captions", "without onsets"]),
        ("zste=audiotime=AudioTime#clips=others", ["none of the captions", "without a class", "Dog", "Music"]),
    ],
)
def test_wrong_inputs(command, compa, reasonaudio, audiotime, tmp_path, capsys, task, words):
    """Guards against hours, or a traceback, before one line that says what is wrong."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "order.csv").write_text((compa / "CompA_order_benchmark.csv").read_text())
    for name in ("order_1.csv", "order_2.csv"):
        (tmp_path / "twice").mkdir(exist_ok=True)
        (tmp_path / "twice" / name).write_text((compa / "CompA_order_benchmark.csv").read_text())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "test.parquet").write_text("no parquet")
    write_csv(tmp_path / "double" / "order.csv", [["_id", "text"], [0, "one"], [0, "two"]])
    write_csv(tmp_path / "lost" / "order.csv", [["_id", "audio", "text"], [0, "gone.wav", "one"]])
    write_csv(tmp_path / "judged" / "qrels.csv", [["query-id", "corpus-id", "score"], [0, 0, "much"]])
    write_csv(tmp_path / "wrong.csv", [["event", "label"], ["Dog", "cat"]])
    for name in ("violin", "flute"):
        write_tone(tmp_path / "others" / name / "0.wav", 400)
    check_failure(command(run_eval, "--model", "none", "--task", task, "--output_dir", "eval"), capsys, *words)
    assert not Path("eval").exists()


def test_a_manifest_is_for_scenes_alone(command, compa, capsys):
    """Guards against a manifest that is silently not used."""
    flags = ["--model", "none", "--zste_manifest", "scenes.csv", "--output_dir", "eval"]
    code = command(run_eval, *flags, "--task", "zste=compa=CompA")
    check_failure(code, capsys, "--zste_manifest needs one --task zste=")


def test_short_names():
    """Guards against a table that is called after a path."""
    assert short_name("zste=compa:order=/data/CompA") == "zste compa:order CompA"
    for spec in (
        "=/data/AudioTime#clips=esc50:5=/data/ESC-50",
        ":/data/AudioTime#mapping=a.csv,clips=b",
        ":AudioTime",
    ):
        assert short_name(f"zste=audiotime{spec}") == "zste audiotime AudioTime"
    assert short_name("zste=reasonaudio:order,mix=me/Set") == "zste reasonaudio:order,mix Set"
    assert short_name("zste=compa") == "zste compa"
