"""run_eval.py as a user types it: every kind of task, several models, what it leaves, every wrong input."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError, astuple
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, save_models, tiny_clap, without_threads, write_tone
from test_commands import check_failure
from transformers import ClapModel, ClapProcessor

from modeling_clap_student import ClapStudentModel, InputError, evaluate_zero_shot
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.data.benchmarks import Benchmark, read_benchmark
from modeling_clap_student.data.decoding import ClipReader
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.evaluation.paper import PAPER_CLIPS, in_paper
from modeling_clap_student.evaluation.report import score_tables
from modeling_clap_student.evaluation.statistics import mcnemar, score_row, wilson_interval
from modeling_clap_student.evaluation.zero_shot import zero_shot


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A folder of three that differ in their audio projection."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_models(folder, ("old", "one", "two"))
    return folder


@pytest.fixture
def models(checkpoints, tmp_path) -> None:
    """`old`, `one` and `two`, where the commands run."""
    shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def esc50(tmp_path) -> Path:
    """12 clips of 3 classes in 3 folds."""
    rows = ["filename,fold,category"]
    for number in range(12):
        write_tone(tmp_path / "esc" / "audio" / f"{number}.wav", 150 * (number + 1))
        rows.append(f"{number}.wav,{number % 3 + 1},{('low_hum', 'whistle', 'hiss')[number // 4]}")
    (tmp_path / "esc" / "meta").mkdir()
    (tmp_path / "esc" / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "esc"


def read(name: str) -> dict | list:
    return json.loads(Path("eval", name).read_text())


def test_one_model_leaves_all_that_its_number_needs(command, models, esc50, capsys):
    """Guards against a number that can't be made again: from the file alone it is, clip by clip."""
    spec = f"esc50={esc50}"
    assert command(run_eval, "--model", "one", "--task", spec, "--output_dir", "eval", "--plot_embeddings") == 0
    said = capsys.readouterr().out
    rows = {row["metric"]: row for row in read("results.json")}
    assert list(rows) == ["accuracy", "macro_accuracy", "mAP"]
    details = read("details.json")
    (task,), (result,) = details["tasks"], details["results"]
    right = np.array(result["predictions"]) == np.array(task["labels"])
    assert rows["accuracy"]["value"] == right.mean() and rows["accuracy"]["n"] == 12
    assert (rows["accuracy"]["low"], rows["accuracy"]["high"]) == wilson_interval(int(right.sum()), 12)
    assert task["fold_of_clip"] == [str(number % 3 + 1) for number in range(12)] and task["dataset"]["name"] == spec
    by_fold = {fold: right[np.array(task["fold_of_clip"]) == fold].mean() for fold in "123"}
    assert result["fold_accuracy"] == pytest.approx(by_fold)
    by_class = {name: right[np.array(task["labels"]) == name].mean() for name in ("hiss", "low hum", "whistle")}
    assert result["class_accuracy"] == pytest.approx(by_class)
    assert rows["macro_accuracy"]["value"] == pytest.approx(np.mean(list(by_class.values())))
    assert details["prompts"] == ["this is a sound of {}"]
    assert task["classes"]["low hum"] == ["this is a sound of low hum"]
    assert {"torch", "transformers"} <= set(details["packages"]) and details["dtype"] == "float32"
    assert len(details["models"][0]["fingerprint"]) == 32 and details["models"][0]["sampling_rate"] == 44100
    made = rows["accuracy"]["provenance"]
    assert [name for name, row in rows.items() if "provenance" in row] == ["accuracy"]
    assert made["model"] == details["models"][0] and made["model"]["model"] == "one"
    assert made["task"]["dataset"]["name"] == spec and made["task"]["classes"] == task["classes"]
    assert made["task"]["folds"] == ["1", "2", "3"]
    assert made["prompts"] == details["prompts"] and made["packages"] == details["packages"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())
    for pair in result["most_confused"]:
        places = [task["audio_ids"].index(clip) for clip in pair["clips"]]
        assert all(task["labels"][place] == pair["label"] for place in places)
        assert all(result["predictions"][place] == pair["predicted"] for place in places)
        assert pair["paths"] == [str(esc50 / "audio" / Path(clip).name) for clip in pair["clips"]]
    (entry,) = yaml.safe_load(Path("eval/model_index.yaml").read_text())["model-index"]
    assert entry["name"] == "one" and entry["results"][0]["metrics"][0]["value"] == pytest.approx(
        right.mean(), abs=1e-4
    )
    words = Path("eval/results.md").read_text()
    assert "| one |" in words and "fold 3" in words and "low hum" in words and "paper" not in words
    assert "Accuracy, %" in said and "Macro accuracy" in said
    assert {"confusion_esc50.png", "embeddings_esc50.png"} <= {file.name for file in Path("eval").iterdir()}
    assert not list(Path("eval").glob(".partial-*"))


def test_several_models_and_a_baseline(command, models, labelled_folder, captioned_folder, esc50):
    """Guards against scores under another model's name, and a difference that its own predictions don't bear out."""
    tasks = ["--task", esc50, labelled_folder, f"retrieval={captioned_folder}"]
    flags = ["--model", "one", "two", "--baseline", "old", "--output_dir", "eval", "--plot_embeddings"]
    assert command(run_eval, *flags, *tasks) == 0
    rows, details = read("results.json"), read("details.json")
    assert list(dict.fromkeys(row["model"] for row in rows)) == ["old", "one", "two", "mean of 2"]
    assert list(dict.fromkeys(row["task"] for row in rows)) == [str(task) for task in tasks[1:]]
    labels = details["tasks"][0]["labels"]
    right = {
        result["model"]: np.array([a == b for a, b in zip(result["predictions"], labels, strict=True)])
        for result in details["results"]
        if result["task"] == str(esc50)
    }
    found = {row["model"]: row for row in rows if row["task"] == str(esc50) and row["metric"] == "accuracy"}
    for name in ("one", "two"):
        assert found[name]["value"] == right[name].mean()
        assert found[name]["difference"] == pytest.approx(right[name].mean() - right["old"].mean())
        assert found[name]["mcnemar_p"] == mcnemar(right[name], right["old"])
    assert [(row["model"], row["task"]) for row in rows if "provenance" in row] == [
        (model, str(task)) for task in tasks[1:] for model in ("old", "one", "two")
    ]
    values = [right[name].mean() for name in ("one", "two")]
    assert found["mean of 2"]["value"] == pytest.approx(np.mean(values))
    assert found["mean of 2"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    recall = [row for row in rows if row["metric"] == "text_to_audio_R@5" and row["model"] == "one"]
    ranks = next(r["ranks"] for r in details["results"] if r["model"] == "one" and "ranks" in r)
    best = np.array(ranks["text_to_audio"]["best_rank"])
    assert recall[0]["value"] == (best <= 5).mean() and recall[0]["n"] == 12
    assert len(details["tasks"][2]["captions"]) == 12
    words = Path("eval/results.md").read_text()
    assert "Difference from old" in words and " ± " in words and "retrieval captioned" in words
    assert {file.stem for file in Path("eval").glob("*.png")} == {
        "confusion_esc", "confusion_labelled", "embeddings_esc", "embeddings_labelled"
    }  # fmt: skip
    repeated = ["--config", "eval/arguments.json", "--task", labelled_folder, "--plot_embeddings", "false"]
    assert command(run_eval, *repeated, "--output_dir", "again") == 0
    again = json.loads(Path("again/results.json").read_text())
    assert again == [row for row in rows if row["task"] == str(labelled_folder)]


def test_from_python_the_numbers_are_the_same(command, models, labelled_folder, capsys):
    """Guards against other prompts, intervals or clips from Python than on the command line."""
    (labelled_folder / "1.wav").write_text("broken")
    prompts = ["a {}", "soft {}"]
    flags = ["--model", "one", "--baseline", "old", "--task", labelled_folder, "--prompt", *prompts]
    assert command(run_eval, *flags, "--output_dir", "eval") == 0
    row = next(row for row in read("results.json") if (row["model"], row["metric"]) == ("one", "accuracy"))
    capsys.readouterr()
    model = ClapStudentModel.from_pretrained("one")
    with pytest.warns(UserWarning, match=r"1 clips of .* can't be read: labelled/1\.wav"):
        result = evaluate_zero_shot(model, labelled_folder, baseline="old", prompt=prompts, progress=False)
    assert capsys.readouterr() == ("", "")
    assert (result.accuracy, *result.interval, result.n) == (row["value"], row["low"], row["high"], row["n"])
    names = ("difference", "difference_low", "difference_high", "mcnemar_p")
    assert astuple(result.difference) == tuple(row[name] for name in names)
    details = next(of for of in read("details.json")["results"] if of["model"] == "one")
    assert result.by_class == details["class_accuracy"] and result.predictions == details["predictions"]
    with pytest.raises(FrozenInstanceError):
        result.accuracy = 1.0


def test_any_clap_is_evaluated_from_python(tiny_folder, labelled_folder, tmp_path, capsys):
    """Guards against transformers' own CLAP with a random window of each clip, and one without its processor."""
    name = tiny_clap(tmp_path / "clap")
    benchmark = read_benchmark(str(labelled_folder))
    expected = evaluate_zero_shot(name, benchmark)
    assert "evaluating on" in capsys.readouterr().err
    model, processor = ClapModel.from_pretrained(name), ClapProcessor.from_pretrained(name)
    for given in (model, (model, processor)):
        result = evaluate_zero_shot(given, benchmark, baseline=str(tiny_folder), progress=False)
        assert np.array_equal(result.clip_embeds, expected.clip_embeds) and result.by_class == expected.by_class
    assert type(model) is ClapModel and expected.difference is None
    bare = ClapModel(model.config)
    bare.config.name_or_path = bare.name_or_path = ""
    for given, words in (
        (bare, "has no known origin"),
        (model.text_model, "can't be used here"),
        ("gone/", "no such checkpoint"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate_zero_shot(given, benchmark)
    for task, words in (("birdsong=.", "unknown name"), (f"retrieval={labelled_folder}", "unknown name")):
        with pytest.raises(InputError, match=words):
            evaluate_zero_shot(name, task)


def test_models_together_score_as_each_alone(command, models, captioned_folder, esc50, monkeypatch):
    """Guards against one model's clips with another's texts, and a clip that is read once a model."""
    tasks, opened = ["--task", esc50, f"retrieval={captioned_folder}"], []
    read_windows = ClipReader.read_windows
    monkeypatch.setattr(
        ClipReader, "read_windows", lambda self, rows, *a: opened.extend(rows) or read_windows(self, rows, *a)
    )
    assert command(run_eval, "--model", "one", "two", "old", *tasks, "--output_dir", "eval") == 0
    read_together, opened[:] = len(opened), []
    together = {name: [of for of in read("details.json")["results"] if of["model"] == name] for name in ("one", "two")}
    fingerprints = [row["provenance"]["model"]["fingerprint"] for row in read("results.json") if "provenance" in row][
        :3
    ]
    assert fingerprints == [of["fingerprint"] for of in read("details.json")["models"]] and len(set(fingerprints)) == 3
    for name in ("one", "two"):
        assert command(run_eval, "--model", name, *tasks, "--output_dir", f"eval/{name}") == 0
        alone = read(f"{name}/details.json")["results"]
        assert alone == together[name]
    assert len(opened) == 2 * read_together
    for mine, other in zip(together["one"], together["two"], strict=True):
        assert mine | {"model": ""} != other | {"model": ""}


def test_prompts_change_what_is_embedded(command, models, labelled_folder):
    """Guards against flags that are read and then forgotten."""
    Path("words.yaml").write_text("low hum: [hum, tone]\nhigh_whistle: whistle\n")
    flags = ["--model", "one", "--task", labelled_folder, "--prompt", "a {}", "soft {}"]
    assert command(run_eval, *flags, "--class_descriptions", "words.yaml", "--output_dir", "eval") == 0
    details = read("details.json")
    assert details["prompts"] == ["a {}", "soft {}"]
    assert details["tasks"][0]["classes"]["low hum"] == ["a hum", "a tone", "soft hum", "soft tone"]
    assert details["tasks"][0]["classes"]["high whistle"] == ["a whistle", "soft whistle"]


@pytest.mark.slow
def test_two_processes_find_what_one_does(command, models, esc50, captioned_folder, tmp_path):
    """Guards against clips of one process alone being scored, and files written by both."""
    tasks = ["--model", "one", "--baseline", "old", "--task", str(esc50), f"retrieval={captioned_folder}"]
    assert command(run_eval, *tasks, "--output_dir", "eval") == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, ROOT / "run_eval.py", *tasks, "--output_dir", "both"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert without_threads(json.loads(Path("both/results.json").read_text())) == without_threads(read("results.json"))
    assert json.loads(Path("both/details.json").read_text())["results"] == read("details.json")["results"]
    assert sorted(file.name for file in Path("both").iterdir()) == sorted(file.name for file in Path("eval").iterdir())


def test_a_clip_that_can_t_be_read_is_no_prediction(command, models, labelled_folder):
    """Guards against predictions that move up a row, where details.json stands for the clips."""
    (labelled_folder / "1.wav").write_text("broken")
    assert command(run_eval, "--model", "one", "two", "--task", labelled_folder, "--output_dir", "eval") == 0
    predictions = [result["predictions"] for result in read("details.json")["results"]]
    assert all(of[1] is None and None not in of[2:] for of in predictions)
    assert [row["n"] for row in read("results.json") if row["metric"] == "accuracy"] == [5, 5, 5]
    assert Path("eval/skipped.csv").read_text().count("\n") >= 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "one", "one"], ["--model one is given twice"]),
        (["--baseline", "one"], ["--model one is given twice"]),
        (["--task", "labelled"], ["--task labelled is given twice"]),
        (["--prompt", "a sound"], ["'a sound' has no {}"]),
        (["--class_descriptions", "gone.yaml"], ["gone.yaml"]),
        (["--class_descriptions", "cat.yaml"], ["describes classes that no task has: cat"]),
        (["--class_descriptions", "hum.yaml"], ["missing are: high whistle"]),
        (["--baseline", "./gone"], ["no such checkpoint folder: ./gone"]),
        (["--task", "birdsong=."], ["unknown name 'birdsong'", "clotho", "esc50"]),
        (["--task", "retrieval=nowhere/at/all"], ["no such file or folder"]),
    ],
)
def test_wrong_evaluations(command, models, labelled_folder, capsys, flags, words):
    """Guards against a slip that is found out after the embedding, or leaves a folder behind."""
    Path("cat.yaml").write_text("low hum: hum\nhigh whistle: whistle\ncat: cat\n")
    Path("hum.yaml").write_text("low hum: hum\n")
    check_failure(
        command(run_eval, "--model", "one", "--task", "labelled", "--output_dir", "eval", *flags), capsys, *words
    )
    assert not Path("eval").exists()


def test_descriptions_need_classes(command, models, captioned_folder, capsys):
    """Guards against descriptions that nothing reads."""
    Path("cat.yaml").write_text("cat: cat\n")
    flags = ["--model", "one", "--task", f"retrieval={captioned_folder}", "--class_descriptions", "cat.yaml"]
    check_failure(command(run_eval, *flags, "--output_dir", "eval"), capsys, "no --task has any")


def test_the_paper_s_numbers_stand_beside_the_same_set_alone(esc50):
    """Guards against the paper's 50 classes beside a fold, or beside ESC-10, which is laid out alike."""
    part = read_benchmark(str(esc50))
    assert not in_paper(part)
    assert PAPER_CLIPS == {"esc50": 2000, "urbansound8k": 8732, "tut17": 6300}
    whole = Benchmark("esc50=/data/ESC-50", "esc50", part.clips.select([0] * 2000), part.class_names)
    rows = [
        score_row(task.name, metric, 0.851, 2000, (0.8, 0.9)) | {"model": "mine"}
        for task in (whole, part)
        for metric in ("accuracy", "macro_accuracy", "mAP")
    ]
    accuracy, macro, _ = score_tables(rows, [whole, part])
    assert accuracy.columns == ["model", "esc50", "esc"]
    assert accuracy.rows[0] == ["mine", "85.1 (80.0 – 90.0)", "85.1 (80.0 – 90.0)"]
    assert ["paper: teacher", "81.9 ± 0.9", "–"] in accuracy.rows and len(accuracy.rows) == 12
    assert len(macro.rows) == 1


def test_defaults_of_zero_shot_are_those_of_the_command(command, models, labelled_folder, tmp_path):
    """Guards against an accuracy in training that is not the one of run_eval.py."""
    from modeling_clap_student.checkpoints.loading import load_checkpoint

    assert command(run_eval, "--model", "one", "--task", labelled_folder, "--output_dir", "eval") == 0
    result = zero_shot(
        *load_checkpoint("one"), read_benchmark(str(labelled_folder)), SkippedClips(tmp_path / "skipped.csv")
    )
    assert read("results.json")[0]["value"] == result.accuracy
    assert read("details.json")["results"][0]["predictions"] == result.predictions
