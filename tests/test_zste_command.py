"""`run_eval.py --task zste=…` as a user types it: what it leaves, twice the same, and every wrong input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, save_models, tiny_clap, without_threads, write_tone
from test_commands import check_failure

from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.data.benchmarks import short_name
from modeling_clap_student.evaluation.statistics import mcnemar, wilson_interval
from modeling_clap_student.evaluation.zste.result import MAIN_TASKS
from modeling_clap_student.evaluation.zste.tasks import CONTROLS


@pytest.fixture
def made(tmp_path) -> None:
    """A set of five classes, and the models `one`, which was trained with "before" and "then", and `two`."""
    for number, name in enumerate(("dog", "hen", "rain", "train", "clock_tick")):
        for take in range(2):
            write_tone(tmp_path / "set" / name / f"{take}.wav", 140 * (2 * number + take + 1), seconds=1.2)
    save_models(tmp_path, ("one", "two"), {"one": {"connectives": ["before", "then", "while"]}})


FLAGS = ["--task", "zste=set", "--zste_scenes", "12"]


def read(name: str) -> dict | list:
    return json.loads(Path("eval", name).read_text())


@pytest.mark.slow
def test_one_run_leaves_every_score_with_what_it_means(command, made, tmp_path, capsys):
    """Guards against a number without n, interval, chance or control, and details that do not bear it out."""
    clap = tiny_clap(tmp_path / "clap")
    models = ["--model", "one", clap, "--baseline", "two"]
    assert command(run_eval, *models, *FLAGS, "--output_dir", "eval") == 0
    said = capsys.readouterr().out
    rows, details = read("results.json"), read("details.json")
    assert {row["model"] for row in rows} == {"one", "two", clap, "mean of 2"}
    found = {row["metric"]: row for row in rows if row["model"] == "one"}
    temporal = [metric for metric in MAIN_TASKS if metric != "1A"]
    assert {"score", *MAIN_TASKS} <= set(found)
    controls = {f"{metric}/control/{control}" for metric in temporal for control in CONTROLS}
    of_two = {f"7A/control/{control}" for control in ("time_averaged", "second_softer", "second_louder")}
    assert controls - of_two <= set(found)
    for row in found.values():
        assert set(row) >= {"task", "metric", "value", "n", "low", "high", "chance", "order_blind"}
        assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, row
    assert found["1A"]["n"] == 10 and found["3C"]["n"] == 12 and found["1A"]["chance"] == 1 / 5
    assert found["4A"]["chance"] == 1 / 40 and found["2A"]["chance"] == 1 / 10 and found["5A"]["chance"] == 1 / 45
    assert found["3C/control/bag_of_words"]["value"] == 0.5
    assert found["3D/audio/control/time_averaged"]["value"] == 0.25
    assert found["3D/text/control/time_averaged"]["value"] == 0
    weighed = [
        (found[m]["value"] - found[m]["chance"]) / (1 - found[m]["chance"]) for m in ("1A", "2A", "3A", "4A", "5A")
    ]
    assert found["score"]["value"] == pytest.approx(np.mean(weighed))
    with open("eval/zste_manifest_set.csv", encoding="utf-8", newline="") as file:
        seen = np.array([row["seen_pair"] == "True" for row in csv.DictReader(file)])
    order = {result["model"]: np.array(result["order"]) for result in details["results"]}
    assert found["3C"]["value"] == order["one"].mean()
    assert (found["3C"]["low"], found["3C"]["high"]) == wilson_interval(int(order["one"].sum()), 12)
    for kind, scenes in (("seen", seen), ("unseen", ~seen)):
        assert (f"3C/{kind}" in found) == scenes.any()
        if scenes.any():
            assert found[f"3C/{kind}"]["value"] == order["one"][scenes].mean()
    assert found["3C"]["difference"] == pytest.approx(order["one"].mean() - order["two"].mean())
    assert found["3C"]["mcnemar_p"] == mcnemar(order["one"], order["two"])
    assert [found[m]["trained_on"] for m in ("3C", "6A", "6B/then", "6B/followed_by")] == [True, False, True, False]
    assert next(row for row in rows if row["model"] == clap and row["metric"] == "6A")["trained_on"] is None
    (task,) = details["tasks"]
    assert (task["manifest"], task["seed"]) == ("zste_manifest_set.csv", 0)
    assert "this is a sound of {}" in task["caption_prompts"] and "first sound is {}" in task["position_prompts"][0]
    entries = yaml.safe_load(Path("eval/model_index.yaml").read_text())["model-index"]
    metrics = [metric["type"] for result in entries[0]["results"] for metric in result["metrics"]]
    assert sorted(metrics) == sorted(["score", *MAIN_TASKS])
    words = Path("eval/results.md").read_text()
    for text in (said, words):
        assert all(
            part in text for part in ("zste set, %", "connectives", "controls", "3C order", "Difference from two")
        )
    assert "said: reverse" in words and "one: unseen" in words
    assert Path("eval/zste_set.png").stat().st_size > 10_000
    assert not list(Path("eval").glob(".partial-*"))


@pytest.mark.slow
def test_a_manifest_makes_the_run_again(command, made):
    """Guards against scenes, candidates or orders that another run draws anew."""
    assert command(run_eval, "--model", "one", *FLAGS, "--output_dir", "eval") == 0
    first = read("results.json")
    drawn = first[0]["provenance"]["task"]
    assert drawn["manifest"] == "zste_manifest_set.csv" and drawn["seed"] == 0 and drawn["num_scenes"] == 12
    Path("eval/zste_manifest_set.csv").rename("scenes.csv")
    again = ["--zste_manifest", "scenes.csv", "--zste_scenes", "99", "--task", "zste=set"]
    assert command(run_eval, "--model", "one", *again, "--output_dir", "eval") == 0
    second = read("results.json")
    assert [row | {"provenance": None} for row in second] == [row | {"provenance": None} for row in first]
    (task,) = read("details.json")["tasks"]
    assert task["manifest"] == str(Path("scenes.csv").resolve()) and task["seed"] is None
    assert Path("eval/zste_manifest_set.csv").read_text() == Path("scenes.csv").read_text()
    assert command(run_eval, "--model", "one", *FLAGS, "--output_dir", "eval", "--seed", "5") == 0
    made = read("results.json")[0]["provenance"]
    assert made["seed"] == 5 and made["task"]["seed"] == 0
    values = [[row["value"] for row in rows] for rows in (first, read("results.json"))]
    assert values[0] == values[1]


def test_beside_other_tasks(command, made, capsys):
    """Guards against results in the order of kinds and not of tasks, which then bear each other's names."""
    tasks = ["--task", "zste=set", "set", "--zste_scenes", "6"]
    assert command(run_eval, "--model", "one", "two", *tasks, "--output_dir", "eval") == 0
    rows = read("results.json")
    assert list(dict.fromkeys(row["task"] for row in rows)) == ["zste=set", "set"]
    values = {(row["model"], row["task"], row["metric"]): row["value"] for row in rows}
    for model in ("one", "two"):
        assert values[model, "zste=set", "1A"] == values[model, "set", "accuracy"]
    assert values["one", "set", "mAP"] != values["two", "set", "mAP"]
    assert [(r["model"], r["task"]) for r in read("details.json")["results"]] == [
        ("one", "zste=set"), ("one", "set"), ("two", "zste=set"), ("two", "set")
    ]  # fmt: skip
    assert {file.name for file in Path("eval").glob("*.png")} == {"zste_set.png", "confusion_set.png"}


@pytest.mark.slow
def test_two_processes_find_what_one_does(command, made, tmp_path):
    """Guards against scenes of one process alone, or in another order."""
    models = ["--model", "one", "--baseline", "two"]
    assert command(run_eval, *models, *FLAGS, "--output_dir", "eval") == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, ROOT / "run_eval.py", *models, *FLAGS, "--output_dir", "both"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert without_threads(read("results.json")) == without_threads(json.loads(Path("both/results.json").read_text()))
    assert done.stdout.count("controls") == 1


def test_a_dry_run_counts_scenes_and_leaves_nothing(command, made, capsys):
    """Guards against hours before one sees that a set has too few classes."""
    assert command(run_eval, "--model", "one", *FLAGS, "--output_dir", "eval", "--dry_run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "zste=set: 12 scenes" in said and "10 single clips of 5 classes" in said
    assert not Path("eval").exists()


def manifest(*rows: str) -> None:
    header = "id,clip_a,clip_b,class_a,class_b,border,seed,seen_pair"
    Path("scenes.csv").write_text("\n".join([header, *rows]) + "\n")


GOOD = "0,set/dog/0.wav,set/hen/0.wav,dog,hen,5.0,1,True"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([GOOD], ["2 scenes or more"]),
        ([GOOD, GOOD], ["an id of its own"]),
        ([GOOD, "1,set/dog/0.wav,set/hen/7.wav,dog,hen,5.0,1,True"], ["'set/hen/7.wav'", "lacks"]),
        ([GOOD, "1,set/dog/0.wav,set/hen/0.wav,dog,rain,5.0,1,True"], ["'hen'", "not 'rain'"]),
        ([GOOD, "1,set/dog/0.wav,set/dog/1.wav,dog,dog,5.0,1,True"], ["one class", "twice"]),
        ([GOOD, "1,set/dog/0.wav,set/hen/0.wav,dog,hen,never,1,True"], ["scenes.csv"]),
    ],
)
def test_wrong_manifests(command, made, capsys, rows, words):
    """Guards against a manifest of other clips that ends in a traceback, or in scenes that are not those named."""
    manifest(*rows)
    flags = ["--task", "zste=set", "--zste_manifest", "scenes.csv", "--output_dir", "eval"]
    check_failure(command(run_eval, "--model", "one", *flags), capsys, *words)
    assert not Path("eval").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--task", "zste=nowhere/at/all"], ["no such file or folder"]),
        (["--task", "zste=one_class"], ["at least 2"]),
        (["--task", "zste=set", "--zste_scenes", "1"], ["--zste_scenes must be at least 2"]),
        (["--task", "set", "--zste_manifest", "scenes.csv"], ["--zste_manifest needs one --task zste="]),
        (["--task", "zste=set", "--zste_manifest", "gone.csv"], ["gone.csv"]),
        (["--task", "zste=set", "zste=other/set"], ["zste_manifest_set.csv", "one after the other"]),
    ],
)
def test_wrong_flags(command, made, capsys, flags, words):
    """Guards against slips that are found out after the embedding."""
    for number in range(2):
        write_tone(Path("one_class/dog") / f"{number}.wav", 300 + number)
        write_tone(Path("other/set") / f"class {number}" / "x.wav", 300 + number)
    check_failure(command(run_eval, "--model", "one", *flags, "--output_dir", "eval"), capsys, *words)
    assert not Path("eval").exists()


def test_short_names_of_scenes():
    """Guards against a file named after a path, and folds that share a name."""
    assert short_name("zste=esc50:5=/data/ESC-50") == "zste esc50:5"
    assert short_name("zste=soundscapes") == "zste soundscapes" and short_name("zste=/data/mine") == "zste mine"
