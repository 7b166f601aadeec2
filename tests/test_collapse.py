"""Signs that a curation or a model collapsed: shown for sets that did, and not for good sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

import curate
import run_eval
from modeling_clap_student.curation.collapse import choice_signs, pair_signs, pool_signs, selection_signs
from modeling_clap_student.curation.strategies import SelectedCaptions
from modeling_clap_student.data.benchmarks import Benchmark
from modeling_clap_student.evaluation.zero_shot import ZeroShotResult
from tests.conftest import numbers


NAMES = [f"sound {number}" for number in range(10)]


def selected_for(labels):
    labels = np.array(labels)
    similarities = np.ones(len(labels), np.float32)
    return SelectedCaptions(np.arange(len(labels)), labels, similarities, 0.5, 1.0, np.eye(10, dtype=np.float32))


def pairs_of(labels, clips, captions):
    columns = {"label": [NAMES[n] for n in labels], "audio_id": clips, "caption_id": captions}
    return Dataset.from_dict({name: list(map(str, values)) for name, values in columns.items()})


def even(num_pairs=300, num_clips=100, num_captions=50):
    numbers = np.arange(num_pairs)
    return pairs_of(numbers % 10, numbers % num_clips, numbers % num_captions)


def test_a_set_that_is_fine_gets_no_word():
    """Guards against cautions that everybody learns to overlook."""
    selected = selected_for(np.arange(50) % 10)
    assert selection_signs(selected, NAMES) == []
    assert pair_signs(even(), selected, NAMES) == []
    assert pair_signs(even(), None, None) == []


def test_labels_without_captions():
    (sign,) = selection_signs(selected_for(np.arange(48) % 8), NAMES)
    assert sign.startswith("no caption is near 2 of 10 labels (sound 8, sound 9): lower the cut")


@pytest.mark.parametrize(("share", "is_said"), [(0.5, False), (0.55, False), (0.56, True), (1.0, True)])
def test_one_label_holds_the_set(share, is_said):
    """The limit is half way between an equal share, a tenth, and all."""
    labels = np.where(np.arange(100) < round(100 * share), 3, np.arange(100) % 10)
    labels[round(100 * share) :][labels[round(100 * share) :] == 3] = 4
    signs = selection_signs(selected_for(labels), NAMES)
    assert (
        any(f"{share:.0%} of the selected captions have the label sound 3, one of 10" in s for s in signs) is is_said
    )


def test_the_set_of_three_captions_and_one_label():
    """Guards against 300 pairs of one label and three captions that are saved without a word."""
    n = np.arange(300)
    signs = pair_signs(pairs_of(np.full(300, 2), n % 140, n % 3), selected_for(np.arange(60) % 10), NAMES)
    assert [sign.split(":")[0] for sign in signs] == [
        "9 of 10 labels (sound 0, sound 1, sound 3, sound 4, sound 5, sound 6, sound 7, sound 8 and 1 more) got "
        "captions and no pair",
        "100% of the pairs have the label sound 2, one of 10",
        "half of the 300 pairs have 2 captions",
    ]


@pytest.mark.parametrize(
    ("num_pairs", "num_clips", "num_captions", "is_said"),
    [(100, 10, 10, True), (51, 10, 10, True), (50, 10, 10, False), (18, 9, 2, False)],
)
def test_nothing_was_chosen(num_pairs, num_clips, num_captions, is_said):
    """Guards against ten clips with `--num_pairs 20000`: each is then paired with every caption."""
    signs = choice_signs(num_pairs, num_clips, num_captions)
    assert signs == (
        [f"{num_pairs} of the 100 pairs of 10 clips and 10 captions were kept, so most are false: "
         "--num_pairs 5 keeps the best 5 %"] if is_said else []
    )  # fmt: skip


@pytest.mark.parametrize(("num_clips", "is_said"), [(20, True), (22, False)])
def test_a_handful_of_clips_holds_the_set(num_clips, is_said):
    """Half of the pairs: 10 of 20 clips, 11 of 22."""
    signs = pair_signs(even(num_pairs=20 * num_clips, num_clips=num_clips), None, None)
    assert any("come from 10 clips" in sign for sign in signs) is is_said
    assert pair_signs(even(num_pairs=90, num_clips=5), None, None) == []  # a few are all that there can be


def test_labels_whose_sounds_the_pool_lacks():
    """Guards against a user who waits for a gain that can't come."""
    rng = np.random.default_rng(0)

    def pool(classes):
        embeds = 0.2 * rng.standard_normal((len(classes), 10)) + 3 * np.eye(10)[classes]
        return (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).astype(np.float32)

    labels = np.eye(10, dtype=np.float32)
    assert pool_signs(pool(np.arange(500) % 10), labels, NAMES) == []
    (sign,) = pool_signs(pool(np.arange(500) % 8), labels, NAMES)
    assert sign.startswith("few clips of the pool lie near 2 of 10 labels (sound 8, sound 9): expect no gain there")
    assert pool_signs(pool(np.arange(90) % 8), labels, NAMES) == []


def result_of(truth, predicted, num_classes=10):
    clips = Dataset.from_dict({"label": [NAMES[n] for n in truth], "audio_id": list(map(str, range(len(truth))))})
    benchmark = Benchmark("task", "folder", clips, NAMES[:num_classes])
    empty = np.empty((0, 2), np.float32)
    return ZeroShotResult(
        benchmark, np.arange(len(truth)), np.array(truth), np.array(predicted), empty, empty, 0.0, 0.0, 0.0, {}
    )


def test_a_model_that_answers_alike_whatever_it_hears():
    """Guards against an accuracy of 10 % that looks like a hard task."""
    truth = np.arange(100) % 10
    assert result_of(truth, truth).collapse is None
    assert result_of(truth, np.where(truth < 9, 4, 7)).collapse == (
        "100% of the clips of task were taken for sound 4 and sound 7, out of 10 classes"
    )
    mostly_two = np.where(np.arange(100) < 90, 4, truth)
    assert result_of(mostly_two, mostly_two).collapse is None  # the clips are so
    assert result_of(truth[:30] % 3, np.zeros(30, int), num_classes=3).collapse is None


def labels_file(names):
    Path("labels.txt").write_text(names)
    return "labels.txt"


def test_a_curation_says_so_everywhere(command, tiny_folder, captioned_folder, pool_folder, capsys):
    """Guards against a caution that the terminal shows and neither card, report nor provenance."""
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labels_file("low hum\nhigh tone"), "--output_dir", "set"]
    assert command(curate, *flags, "--num_captions", "1", "--num_pairs", "2") == 0
    (caution,) = json.loads(Path("set/provenance.json").read_text())["cautions"]
    assert caution.startswith("no caption is near 1 of 2 labels")
    assert f"caution: {caution}" in " ".join(capsys.readouterr().out.split())
    assert f"Caution: {caution}." in Path("set/README.md").read_text()
    page = Path("set/report.html").read_text()
    assert page.index(f"N{caution[1:]}.") < page.index("<nav")


def test_a_fine_curation_says_nothing(command, tiny_folder, captioned_folder, pool_folder):
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labels_file("low hum\nhigh tone"), "--output_dir", "set"]
    assert command(curate, *flags, *numbers("ads"), "--balance_labels", "true") == 0
    assert "cautions" not in json.loads(Path("set/provenance.json").read_text())
    assert "Caution" not in Path("set/README.md").read_text()
    assert "<ul" not in Path("set/report.html").read_text()


def test_an_evaluation_says_so(command, tiny_folder, labelled_folder, capsys, monkeypatch):
    """Guards against the sentence that nobody calls."""
    monkeypatch.setattr(ZeroShotResult, "collapse", property(lambda self: "all of them were taken for hum"))
    flags = ["--model", tiny_folder, "--task", labelled_folder, "--output_dir", "eval"]
    assert command(run_eval, *flags) == 0
    assert f"caution: {tiny_folder}: all of them" in capsys.readouterr().out.replace("\n", " ")
    assert "all of them were taken for hum." in Path("eval/results.md").read_text()
