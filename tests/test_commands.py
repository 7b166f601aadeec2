"""The commands as a user types them: the chain on a handful of files, and every wrong input."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, ROOT, SMALL, check_failure, numbers, with_bfloat16, without_bfloat16, write_tone
from transformers import AutoModel, AutoProcessor

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.training.sources import random_subset
from modeling_clap_student.utils.precision import NO_BFLOAT16


@pytest.fixture
def teacher(command, captioned_folder):
    assert command(run_teacher, "--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST) == 0
    return "teacher"


@pytest.fixture
def files(captioned_folder, pool_folder, labelled_folder):
    return ["--captions", captioned_folder, "--audio", pool_folder, "--labels", labelled_folder]


@pytest.mark.parametrize("strategy", ["du", "ds", "ads", "none"])
def test_the_chain_from_files_to_results(command, teacher, files, labelled_folder, strategy, capsys):
    """Guards against an artefact that the next command can't take as it is."""
    flags = ["--strategy", strategy, "--teacher", teacher, "--task", labelled_folder, "--output_dir", "student"]
    if strategy != "none":
        made = ["--strategy", strategy, "--teacher", teacher, *files, *numbers(strategy), "--output_dir", "set"]
        assert command(curate, *made) == 0
        flags += ["--improvement_set", "set"]
    assert command(run_student, *flags, *FAST) == 0
    results = json.loads(Path("student/results.json").read_text())
    assert 0 <= results["student_accuracy"] <= 1 and 0 <= results["teacher_accuracy"] <= 1
    assert results["num_clips"] == 6 and results["pair_precision"] is None and results["seed"] == 0
    assert results["num_pairs"] == {"du": 8, "ds": 9, "ads": 8, "none": 12}[strategy] and results["seconds"] > 0
    assert "student" in capsys.readouterr().out
    assert command(run_eval, "--model", "student", "--task", labelled_folder, "--output_json", "scores.json") == 0
    score, *others = json.loads(Path("scores.json").read_text())
    assert score["metric"] == "accuracy" and [row["metric"] for row in others] == ["macro_accuracy", "mAP"]
    assert set(score) == {"task", "metric", "value", "n", "low", "high", "model", "provenance"}
    assert score["value"] == results["student_accuracy"] and score["n"] == 6


def test_a_second_run_reuses_the_student(command, teacher, files, labelled_folder, capsys):
    """Guards against minutes of training for a result that is there, and against reuse under other arguments."""
    made = ["--strategy", "ads", "--teacher", teacher, *files, *numbers("ads"), "--output_dir", "set"]
    assert command(curate, *made) == 0
    flags = [
        "--strategy",
        "ads",
        "--improvement_set",
        "set",
        "--output_dir",
        "student",
        *FAST,
    ]  # teacher: from the set
    for reused in (False, True):
        assert command(run_student, *flags) == 0
        assert ("reusing the student" in capsys.readouterr().out) is reused
    assert command(run_student, *flags, "--soft_label_weight", "0") == 1
    assert "student holds a trained model already" in capsys.readouterr().err
    assert command(curate, *made[:-4], "--num_pairs", 5, *made[-2:]) == 0  # another set under the same name
    assert command(run_student, *flags) == 1
    assert "reusing the student" not in capsys.readouterr().out


def test_a_bad_clip_among_good_ones_is_skipped_counted_and_listed(command, captioned_folder, capsys):
    """Guards against one corrupt clip that ends the training, or vanishes unseen."""
    (captioned_folder / "3.wav").write_bytes(b"RIFF" + bytes(100))
    flags = ["--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST, "--max_steps", "6"]
    assert command(run_teacher, *flags) == 0
    assert json.loads(Path("teacher/results.json").read_text())["num_skipped"] == 1
    assert "captioned/3.wav" in Path("teacher/skipped.csv").read_text()
    assert "skipped 1 clip" in capsys.readouterr().out


def test_too_many_bad_clips_end_a_command_in_one_line(command, teacher, labelled_folder, capsys):
    """Guards against an accuracy on the tenth of a test set that could be read."""
    for number in range(20):
        (labelled_folder / f"bad{number}.wav").write_text("no audio")
        with open(labelled_folder / "metadata.csv", "a") as file:
            file.write(f"bad{number}.wav,low_hum\n")
    flags = ["--model", teacher, "--task", labelled_folder, "--output_dir", "eval"]
    code = command(run_eval, *flags)
    check_failure(code, capsys, "--max_skipped_fraction is 0.1; for instance labelled/bad")
    assert not Path("eval").exists()
    assert command(run_eval, *flags, "--max_skipped_fraction", "0.8") == 0
    assert command(run_eval, *flags, "--max_skipped_fraction", "8") == 1


def test_skipped_clips_are_those_of_this_run(command, teacher, labelled_folder):
    """Guards against bad clips of an earlier run, since mended, that are reported again."""
    whole = (labelled_folder / "0.wav").read_bytes()
    for content, listed in ((b"broken", True), (whole, False)):
        (labelled_folder / "0.wav").write_bytes(content)
        assert command(run_eval, "--model", teacher, "--task", labelled_folder, "--output_dir", "eval") == 0
        assert Path("eval/skipped.csv").exists() is listed


def test_half_precision_is_asked_for_and_written_down(command, teacher, files, labelled_folder, tmp_path, monkeypatch):
    """Guards against a flag that one of the commands does not pass on."""
    with_bfloat16(tmp_path, monkeypatch)
    made = ["--strategy", "ads", "--teacher", teacher, *files, *numbers("ads"), "--output_dir", "set"]
    assert command(curate, *made, "--dtype", "bfloat16") == 0
    assert json.loads(Path("set/provenance.json").read_text())["dtype"] == "bfloat16"
    assert command(run_eval, "--model", teacher, "--task", labelled_folder, "--dtype", "bfloat16") == 0
    assert json.loads(Path("outputs/eval/results.json").read_text())[0]["provenance"]["dtype"] == "bfloat16"
    assert command(run_eval, "--model", teacher, "--task", labelled_folder, "--dtype", "float16") == 2


@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
def test_a_processor_without_bfloat16_computes_in_float32(
    command, teacher, files, labelled_folder, tmp_path, monkeypatch, capsys, asked
):
    """Guards against a run that takes 38 times as long and says nothing, and files that tell what was asked for."""
    without_bfloat16(tmp_path, monkeypatch)
    made = ["--strategy", "ads", "--teacher", teacher, *files, *numbers("ads"), "--output_dir", "set"]
    assert command(curate, *made, "--dtype", asked) == 0
    assert capsys.readouterr().out.count(NO_BFLOAT16) == (asked == "bfloat16")
    assert command(run_eval, "--model", teacher, "--task", labelled_folder, "--dtype", asked) == 0
    assert capsys.readouterr().out.count(NO_BFLOAT16) == (asked == "bfloat16")
    told = [
        json.loads(Path("set/provenance.json").read_text())["dtype"],
        json.loads(Path("set/provenance.json").read_text())["arguments"]["dtype"],
        json.loads(Path("set/arguments.json").read_text())["dtype"],
        json.loads(next(Path("outputs/embeddings").glob("*/store.json")).read_text())["dtype"],
        json.loads(Path("outputs/eval/arguments.json").read_text())["dtype"],
        json.loads(Path("outputs/eval/results.json").read_text())[0]["provenance"]["dtype"],
    ]
    assert told == ["float32"] * len(told)


def test_dry_run_counts_and_writes_nothing(command, captioned_folder, capsys):
    """Guards against hours spent before a wrong path is seen."""
    assert command(run_teacher, "--corpus", captioned_folder, "--output_dir", "teacher", "--dry_run") == 0
    assert "12 pairs" in capsys.readouterr().out
    assert not Path("teacher").exists()


def test_subsets_are_nested(captioned_folder):
    """Guards against a 10 % teacher that saw clips the 50 % one did not."""
    from modeling_clap_student.data.corpora import read_corpora

    corpus = read_corpora([str(captioned_folder)])
    parts = [set(random_subset(corpus, f, seed=1)["audio_id"]) for f in (0.25, 0.5, 1.0)]
    assert [len(p) for p in parts] == [3, 6, 12] and parts[0] < parts[1] < parts[2]


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ("nowhere/at_all/x", ["no such file or folder", "nowhere"]),
        ("birdsong", ["birdsong", "soundscapes"]),
        ("esc99=.", ["unknown name 'esc99'", "esc50"]),
        ("empty", ["metadata.csv", "captions are needed"]),
        ("columns", ["no column caption", "file_name"]),
        ("undecodable", ["no clip of a whole batch", "a.wav"]),
    ],
)
def test_wrong_corpora(command, tmp_path, capsys, corpus, words):
    """Guards against tracebacks and half-written folders when the data is not what it should be."""
    (tmp_path / "empty").mkdir()
    for name, text in (("columns", "file_name,text\na.wav,x\n"), ("undecodable", "file_name,caption\na.wav,x\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.csv").write_text(text)
        (tmp_path / name / "a.wav").write_text("not audio")
    code = command(run_teacher, "--corpus", corpus, "--output_dir", "teacher", *SMALL, *FAST)
    check_failure(code, capsys, *words)
    assert not Path("teacher").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--pair_threshold", "1.5"], ["[-1, 1]", "1.5"]),
        (["--pair_threshold", "0.5", "--num_pairs", "3"], ["--pair_threshold", "one of"]),
        (["--max_captions_per_clip", "0"], ["--max_captions_per_clip must be at least 1"]),
        (["--csls_neighbours", "2"], ["--csls_neighbours changes the scale", "--num_pairs"]),
        (["--csls_neighbours", "99", "--num_pairs", "3"], ["99 neighbours"]),
        (["--contrast_labels", "true"], ["--contrast_labels changes the scale", "--num_pairs"]),
        (["--contrast_labels", "true", "--csls_neighbours", "2", "--num_pairs", "3"], ["both correct for hubs"]),
        (["--balance_labels", "true", "--pair_threshold", "0"], ["--balance_labels is for ads", "--num_pairs"]),
        (["--max_pairs", "2", "--num_pairs", "5"], ["5 pairs", "raise max_pairs"]),
        (["--audio", "empty"], ["no audio files"]),
        (["--audio", "broken"], ["none of the 1 clips"]),
        (["--labels", "one.txt"], ["at least 2"]),
        (["--labels", "gone.txt"], ["no such file"]),
        (["--teacher", "./gone"], ["no such checkpoint"]),
        (["--teacher", "outputs/not/there"], ["no such checkpoint", "run_teacher.py"]),
        (["--teacher", "bert"], ["'bert' checkpoint", "clap_student"]),
        (
            ["--num_captions", "4", "--pair_threshold", "0.9999"],
            ["no pair reached", "highest similarity", "--num_pairs"],
        ),
    ],
)
def test_wrong_curation(command, teacher, files, tmp_path, capsys, flags, words):
    """Guards against thresholds, pools, labels and teachers that can't work being found out late or not at all."""
    from transformers import BertConfig, BertModel

    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.wav").write_text("not audio")
    (tmp_path / "one.txt").write_text("dog\n")
    if "bert" in flags:
        BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)).save_pretrained(
            "bert"
        )
    rest = dict(zip(files[::2], files[1::2], strict=True)) | {"--teacher": teacher}
    if ("--pair_threshold" in flags and "--num_captions" not in flags) or flags[0] != "--num_captions":
        rest["--num_captions"] = 3
    rest |= dict(zip(flags[::2], flags[1::2], strict=True))
    capsys.readouterr()
    code = command(curate, "--strategy", "ads", "--output_dir", "set", *(x for pair in rest.items() for x in pair))
    check_failure(code, capsys, *words)
    assert not Path("set").exists() and not list(Path().glob(".partial-*"))


def test_limits_on_pairs_are_kept_and_recorded(command, teacher, files):
    """Guards against flags that never reach the matching, or are missing from what the set says about itself."""
    made = ["--strategy", "du", "--teacher", teacher, *files, "--pair_threshold", "-1", "--output_dir"]
    assert command(curate, *made, "one", "--max_captions_per_clip", 1) == 0
    pairs, _, facts = load_improvement_set("one")
    assert len(pairs) == facts["num_pairs"] == facts["num_clips"] and facts["max_captions_per_clip"] == 1
    assert command(curate, *made, "two", "--csls_neighbours", 2, "--max_clips_per_caption", 2) == 0
    pairs, _, facts = load_improvement_set("two")
    assert max(Counter(pairs["caption_id"]).values()) <= 2 and facts["csls_neighbours"] == 2
    assert all(-1.001 <= similarity <= 1.001 for similarity in pairs["similarity"])


def test_clips_are_ranked_by_the_probability_of_the_label(command, teacher, files):
    """Guards against a flag that never reaches the matching, another ranking, and a set that is not made again."""
    Path("names.txt").write_text("dog\nrain on a roof\nengine of a car")
    rest = dict(zip(files[::2], files[1::2], strict=True)) | {"--labels": "names.txt", "--num_captions": 6}
    made = ["--strategy", "ads", "--teacher", teacher, *(x for pair in rest.items() for x in pair)]
    assert command(curate, *made, "--pair_threshold", -1, "--output_dir", "all") == 0
    assert command(curate, *made, "--contrast_labels", "true", "--num_pairs", 9, "--output_dir", "few") == 0
    few, _, facts = load_improvement_set("few")
    assert facts["contrast_labels"] is True and len(few) == facts["num_pairs"]
    every, _, _ = load_improvement_set("all")
    model, names = AutoModel.from_pretrained(teacher), Path("names.txt").read_text().split("\n")
    model.processor = AutoProcessor.from_pretrained(teacher)
    path_of = {row["audio_id"]: row["audio"]["path"] for row in every}
    clips = sorted(path_of)
    labels = model.encode_text([f"this is a sound of {name}" for name in names]).double().numpy()
    scale = model.logit_scale.exp().item()
    nearness = (
        np.log(
            np.exp(scale * model.encode_audio([path_of[clip] for clip in clips]).double().numpy() @ labels.T).sum(
                axis=1
            )
        )
        / scale
    )
    of_clip = dict(zip(clips, nearness, strict=True))
    score = {(row["audio_id"], row["caption"]): row["similarity"] - of_clip[row["audio_id"]] for row in every}
    best = sorted(score, key=score.get, reverse=True)[: len(few)]
    assert {(row["audio_id"], row["caption"]) for row in few} == set(best)
    assert command(curate, "--remake", "few", "--output_dir", "again") == 0
    assert load_improvement_set("again")[0]["similarity"] == few["similarity"]


def test_labels_share_the_pairs(command, teacher, files):
    """Guards against a flag that never reaches the matching, and a set that can't be made again with it."""
    Path("names.txt").write_text("dog\na cat meows\nrain on a roof\nlow tone\nclock\nengine of a car")
    made = ["--strategy", "ads", "--teacher", teacher, *files[:-1], "names.txt", "--num_captions", 6, "--num_pairs", 6]
    assert command(curate, *made, "--balance_labels", "true", "--output_dir", "even") == 0
    pairs, _, facts = load_improvement_set("even")
    counts = Counter(pairs["label"])
    assert len(counts) > 1 and set(counts.values()) == {round(6 / len(counts))}
    assert command(curate, "--remake", "even", "--output_dir", "again") == 0
    again, _, others = load_improvement_set("again")
    assert again["audio_id"][:] == pairs["audio_id"][:] and others["arguments"] == facts["arguments"]


def test_a_disk_that_is_full_when_the_set_is_written(command, teacher, files, capsys, monkeypatch):
    """Guards against a traceback after hours of work, and half a set; the next run finds the embeddings."""
    made = ["--strategy", "du", "--teacher", teacher, *files, "--num_pairs", 3, "--output_dir", "set"]

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("modeling_clap_student.curation.improvement_set.ParquetWriter", full)
        check_failure(command(curate, *made), capsys, "can't write", "set", "No space left on device")
    assert not Path("set").exists() and not list(Path().glob(".partial-*"))
    assert command(curate, *made) == 0


def test_lines_of_a_label_file_that_count_for_nothing(command, teacher, files, capsys):
    """Guards against a class that silently counts twice, or a blank one that every caption is near to."""
    Path("labels.txt").write_text("low hum\n\nhigh whistle\nlow_hum\n")
    made = ["--strategy", "ads", "--teacher", teacher, *files[:4], "--labels", "labels.txt", "--dry_run"]
    assert command(curate, *made) == 0
    said = capsys.readouterr().out
    assert "1 of 4 rows left out: a blank line (for instance line 2)" in said and "2 labels" in said
    assert "1 of 4 rows left out: a class name that stands there twice (for instance low_hum)" in said


def test_curation_keeps_its_hands_off_other_folders(command, teacher, files, capsys):
    """Guards against a user's folder replaced by an Improvement-Set."""
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    made = ["--strategy", "du", "--teacher", teacher, *files, "--num_pairs", 3, "--output_dir", "mine"]
    check_failure(command(curate, *made), capsys, "mine", "--output_dir")
    assert Path("mine/thesis.txt").read_text() == "years of work"


def test_students_need_their_parts(command, teacher, labelled_folder, capsys):
    """Guards against a student trained on nothing, or on another strategy's pairs."""
    code = command(run_student, "--strategy", "ads", "--teacher", teacher, "--output_dir", "s")
    check_failure(code, capsys, "--improvement_set is missing", "curate.py")
    code = command(run_student, "--strategy", "ads", "--improvement_set", labelled_folder, "--output_dir", "s")
    check_failure(code, capsys, "no Improvement-Set", "curate.py")
    flags = ["--strategy", "none", "--teacher", teacher, "--output_dir", "./teacher"]
    check_failure(command(run_student, *flags), capsys, "teacher's own folder")
    code = command(run_eval, "--model", "teacher", "--task", "esc50")
    check_failure(code, capsys, "esc50", "PATH")
    assert not Path("s").exists()


def test_an_unknown_strategy_lists_the_known_ones(command, capsys):
    """Guards against a guess at what was meant."""
    assert command(run_student, "--strategy", "best") == 2
    error = capsys.readouterr().err
    assert all(name in error for name in ("du", "ds", "ads", "none"))


def test_long_stereo_and_other_rates_go_through(command, captioned_folder):
    """Guards against files that are not exactly 5 s of mono at 44.1 kHz."""
    write_tone(captioned_folder / "0.wav", 400, seconds=7, rate=16000)
    flags = ["--corpus", captioned_folder, "--output_dir", "teacher", *SMALL, *FAST]
    assert command(run_teacher, *flags) == 0
    assert json.loads(Path("teacher/results.json").read_text())["num_skipped"] == 0


@pytest.mark.slow
def test_scripts_start_as_programs(tmp_path):
    """Guards against a script that only works when imported, or whose error is a traceback."""
    done = subprocess.run(
        [sys.executable, ROOT / "run_teacher.py", "--corpus", "nowhere/x/y"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: no such file")
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", [run_teacher, curate, run_student, run_eval])
def test_a_file_in_the_place_of_the_output_folder(
    module, captioned_folder, pool_folder, labelled_folder, tiny_folder, tmp_path, command, capsys
):
    """Guards against a traceback, and a file of the user's that is lost."""
    (tmp_path / "taken").write_text("mine")
    flags = {
        run_teacher: ["--corpus", captioned_folder, *SMALL, *FAST],
        curate: ["--strategy", "du", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder],
        run_student: ["--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder, *FAST],
        run_eval: ["--model", tiny_folder, "--task", labelled_folder],
    }[module]
    for place in ("taken", "taken/below"):
        assert command(module, *flags, "--output_dir", tmp_path / place) == 1
        assert "error: " in capsys.readouterr().err and (tmp_path / "taken").read_text() == "mine"
