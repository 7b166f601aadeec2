"""Selection and matching against brute force in float64, and the Improvement-Set's way through disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Audio, load_dataset

from modeling_clap_student import InputError
from modeling_clap_student.commands import curate
from modeling_clap_student.curation import strategies
from modeling_clap_student.curation.arguments import CurateArguments, Threshold
from modeling_clap_student.curation.improvement_set import FEATURES, load_improvement_set, save_improvement_set
from modeling_clap_student.curation.matching import match
from modeling_clap_student.curation.strategies import (
    label_prompts,
    match_pool,
    nearest_captions,
    select_captions,
    select_training_pairs,
    training_pairs,
    with_prompts,
)
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.pools import read_pools


def unit(rng, n, dim=8):
    vectors = rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute_force(audio, text, keep):
    """Every kept pair as (clip, caption) -> cosine, in float64, one dot product at a time."""
    cosines = {
        (i, j): float(np.dot(a.astype(np.float64), t.astype(np.float64)))
        for i, a in enumerate(audio)
        for j, t in enumerate(text)
    }
    return {pair: c for pair, c in cosines.items() if keep(c, cosines)}


@pytest.mark.parametrize("block_size", [1, 7, 1000])
def test_matching_by_value_equals_brute_force(block_size):
    """Guards against pairs lost or doubled at the edges of blocks."""
    rng = np.random.default_rng(0)
    audio, text = unit(rng, 23), unit(rng, 17)
    found = match(audio, text, Threshold(value=0.4), block_size)
    expected = brute_force(audio, text, lambda c, _: c >= 0.4)
    assert list(zip(found.clips, found.captions, strict=True)) == sorted(expected)
    np.testing.assert_allclose(found.similarities, [expected[p] for p in sorted(expected)], atol=1e-6)
    assert found.similarities.dtype == np.float32
    assert found.highest == pytest.approx(max(expected.values()), abs=1e-6)


@pytest.mark.parametrize("block_size", [5, 1000])
@pytest.mark.parametrize("threshold", [Threshold(count=40), Threshold(quantile=0.9)])
def test_matching_by_number_keeps_the_best(threshold, block_size):
    """Guards against a cut taken within blocks instead of over all pairs."""
    rng = np.random.default_rng(1)
    audio, text = unit(rng, 23), unit(rng, 17)
    number = 40 if threshold.count else round(0.1 * 23 * 17)
    found = match(audio, text, threshold, block_size)
    best = brute_force(audio, text, lambda c, every: c >= sorted(every.values())[-number])
    assert list(zip(found.clips, found.captions, strict=True)) == sorted(best)
    assert found.threshold == pytest.approx(min(best.values()), abs=1e-6)


def test_nothing_found_still_tells_the_highest():
    """Guards against an empty result that gives the user nothing to go by."""
    audio = np.array([[1.0, 0.0]], np.float32)
    found = match(audio, np.array([[0.6, 0.8]], np.float32), Threshold(value=0.7))
    assert len(found.clips) == 0 and found.highest == pytest.approx(0.6)


def test_captions_are_selected_by_their_nearest_label():
    """Guards against a mean over labels, or labels and captions mixed up."""
    rng = np.random.default_rng(2)
    captions, labels = unit(rng, 30), unit(rng, 4)
    selected = select_captions(captions, labels, Threshold(value=0.3))
    for i in range(30):
        cosines = [float(captions[i].astype(np.float64) @ label.astype(np.float64)) for label in labels]
        assert (i in selected.indices) == (max(cosines) >= 0.3)
        if i in selected.indices:
            n = list(selected.indices).index(i)
            assert selected.labels[n] == int(np.argmax(cosines))
            assert selected.similarities[n] == pytest.approx(max(cosines), abs=1e-6)


def test_each_label_keeps_its_nearest_captions():
    """Guards against labels that few captions mention, and that a cut over all gives to others' captions."""
    rng = np.random.default_rng(0)
    captions, labels = unit(rng, 40), unit(rng, 5)
    labels[4] = -captions.sum(axis=0) / np.linalg.norm(captions.sum(axis=0))  # far from all
    selected = nearest_captions(captions, labels, 3)
    cosines = captions @ labels.T
    wanted = {}
    for label in range(5):
        for row in sorted(range(40), key=lambda row: -cosines[row, label])[:3]:
            if row not in wanted or cosines[row, label] > cosines[row, wanted[row]]:
                wanted[row] = label
    assert dict(zip(selected.indices.tolist(), selected.labels.tolist(), strict=True)) == wanted
    assert np.all(np.diff(selected.indices) > 0) and set(selected.labels) >= {4}
    np.testing.assert_allclose(selected.similarities, [cosines[row, label] for row, label in sorted(wanted.items())])
    assert selected.threshold == selected.similarities.min() and selected.highest == cosines.max()
    assert len(nearest_captions(captions, labels, 100).indices) == 40


def test_prompts_are_captions_where_they_are_asked_for(command, tiny_folder, captioned_folder, pool_folder, capsys):
    """Guards against a label that no caption mentions, and a prompt that occurs twice."""
    names = Path("labels.txt")
    names.write_text("low hum\nwhistle\n")
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", names, "--captions_per_label", "1", "--num_pairs", "6", "--balance_labels", "true"]
    assert command(curate, *flags, "--label_prompts", "true", "--output_dir", "set") == 0
    pairs, _, provenance = load_improvement_set("set")
    assert set(zip(pairs["label"], pairs["caption"], strict=True)) == {
        ("low hum", "this is a sound of low hum"),
        ("whistle", "this is a sound of whistle"),
    }
    assert provenance["arguments"]["label_prompts"] is True and provenance["arguments"]["captions_per_label"] == 1
    table = with_prompts(
        pairs.select_columns(["caption", "caption_id"]).select([0]), ["low hum", "whistle", "whistle"]
    )
    assert sorted(set(table["caption"])) == sorted(table["caption"]) and len(table) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "du", "labels": None, "captions_per_label": 2}, "--captions_per_label is for ds and ads"),
        ({"strategy": "du", "labels": None, "label_prompts": True}, "--label_prompts is for ds and ads"),
        ({"captions_per_label": 2, "num_captions": 5}, "--captions_per_label and --num_captions both choose"),
        ({"captions_per_label": 0}, "--captions_per_label must be at least 1"),
    ],
)
def test_choices_of_captions_that_do_not_go_together(options, words):
    given = {"strategy": "ads", "teacher": "t", "captions": ["c"], "audio": ["a"], "labels": "l"}
    with pytest.raises(ValueError, match=words):
        CurateArguments(**given | options)


def test_prompts_are_the_papers():
    """Guards against another prompt, or underscores in it."""
    assert label_prompts(["dog_bark", "bus/coach"]) == ["this is a sound of dog bark", "this is a sound of bus coach"]


@pytest.mark.parametrize(
    "values", [{}, {"value": 0.5, "count": 3}, {"value": 1.5}, {"value": -2.0}, {"quantile": 1.2}, {"count": 0}]
)
def test_bad_thresholds_are_refused(values):
    """Guards against a threshold that keeps all or nothing without a word."""
    with pytest.raises(ValueError):
        Threshold(**values)


@pytest.fixture
def curated(captioned_folder, pool_folder):
    """(pairs of ADS, its replay set), of random embeddings."""
    rng = np.random.default_rng(4)
    corpus, pool = read_corpora([str(captioned_folder)]), read_pools([str(pool_folder)])
    captions = corpus.select([0, 3, 6, 9])
    caption_embeds = unit(rng, 4)
    selected = select_captions(caption_embeds, unit(rng, 2), Threshold(count=2))
    found = match_pool(
        pool, unit(rng, len(pool)), captions, caption_embeds, Threshold(count=5), selected, ["hum", "hiss"]
    )
    return found.pairs, select_training_pairs(corpus, captions, selected, ["hum", "hiss"]), corpus, captions, selected


def test_ads_pairs_pool_clips_with_selected_captions_alone(curated):
    """Guards against pairs with captions of no label, or with the captions' own clips."""
    pairs, replay, corpus, captions, selected = curated
    chosen = {captions[int(i)]["caption"] for i in selected.indices}
    assert len(pairs) == 5 and set(pairs["caption"]) <= chosen
    assert all(audio_id.startswith("pool/") for audio_id in pairs["audio_id"])
    assert set(pairs["label"]) <= {"hum", "hiss"} and min(pairs["label_similarity"]) >= selected.threshold - 1e-6
    assert len(replay) == 3 * len(chosen)  # each caption stands on three clips of the corpus
    by_clip = dict(zip(corpus["audio_id"], corpus["caption"], strict=True))
    assert all(by_clip[row["audio_id"]] == row["caption"] for row in replay)
    assert set(training_pairs(corpus)["label"]) == {None}


def test_an_improvement_set_comes_back_whole(curated, tmp_path):
    """Guards against columns, types, splits or null values lost on the way through parquet and `load_dataset`."""
    pairs, replay, *_ = curated
    provenance = {"strategy": "ads", "teacher": "t", "num_pairs": len(pairs), "seed": 0, "version": "0"}
    folder = tmp_path / "set"
    folder.mkdir()
    save_improvement_set(folder, pairs, replay, provenance, str(folder))
    loaded, loaded_replay, read = load_improvement_set(folder)
    assert loaded.to_list() == pairs.to_list() and loaded_replay.to_list() == replay.to_list()
    assert {k: v for k, v in loaded.features.items() if k != "audio"} == {
        k: v for k, v in FEATURES.items() if k != "audio"
    }
    assert read == provenance
    plain = load_dataset(str(folder), split="train")
    assert isinstance(plain.features["audio"], Audio)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n") and "improvement-set" in card and json.dumps("ads") in card


def test_a_set_made_anew_is_not_served_from_a_cache(curated, tmp_path):
    """Guards against datasets' cache, which takes two folders of one name for the same dataset."""
    pairs, *_ = curated
    for number in (5, 2):
        folder = tmp_path / str(number) / "set"
        folder.mkdir(parents=True)
        provenance = {"strategy": "ads", "teacher": "t", "num_pairs": number, "seed": 0, "version": "0"}
        save_improvement_set(folder, pairs.select(range(number)), None, provenance, str(folder))
        assert len(load_improvement_set(folder)[0]) == number
        assert len(load_dataset(str(folder), split="train")) == number


def test_another_folder_is_no_improvement_set(tmp_path, captioned_folder):
    """Guards against training on whatever folder was named."""
    with pytest.raises(InputError, match=r"curate\.py"):
        load_improvement_set(captioned_folder)


def test_many_pairs_are_gathered_in_parts(curated, monkeypatch, tmp_path):
    """Guards against tables of a hundred million pairs in memory, and against parts that lose or shift rows."""
    pairs = curated[0]
    monkeypatch.setattr(strategies, "_ROWS_AT_ONCE", 2)
    numbers = np.arange(len(pairs))
    facts = {"similarity": pairs.with_format("numpy")["similarity"][:]}
    again = strategies._table(pairs, numbers, pairs, numbers, facts, tmp_path / "pairs.arrow")
    assert (tmp_path / "pairs.arrow").exists() and again.features == pairs.features
    for name in ("audio", "caption", "similarity", "audio_id", "caption_id", "source"):
        assert again[name][:] == pairs[name][:]
