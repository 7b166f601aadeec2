"""`fit_classes`, `calibrate` and yes or no, on a model; `classify` by names is tested with the encoding."""

import pytest
import torch
from conftest import write_tone

from modeling_clap_student import ClapStudentModel, InputError
from modeling_clap_student.classes_clap_student import NONE, best_thresholds, class_vectors


LABELS = ["low hum", "high tone"]


@pytest.fixture
def model(tiny_folder):
    return ClapStudentModel.from_pretrained(tiny_folder)


@pytest.fixture
def tones(tmp_path):
    """Label -> eight tones, low and high."""
    return {
        label: [str(write_tone(tmp_path / f"{start + 10 * n}.wav", start + 10 * n)) for n in range(8)]
        for label, start in zip(LABELS, (150, 900), strict=True)
    }


def test_classes_from_a_few_clips_know_other_clips(model, tones):
    """Guards against vectors that do not reach `classify`: an untrained model knows no name."""
    classes = model.fit_classes({label: clips[:4] for label, clips in tones.items()})
    assert list(classes) == LABELS
    right = [
        max(row, key=row.get) == label for label, clips in tones.items() for row in model.classify(clips[4:], classes)
    ]
    assert all(right)
    clips = {label: model.encode_audio(clips[:4]) for label, clips in tones.items()}
    texts = model.encode_text([f"this is a sound of {label}" for label in LABELS])
    for label, vector in class_vectors(clips, texts).items():
        torch.testing.assert_close(classes[label], vector)


def test_vectors_stand_beside_names(model, tones):
    """Guards against a name that is left out, or embedded in another's place."""
    classes = model.fit_classes({label: clips[:2] for label, clips in tones.items()})
    (row,) = model.classify(tones["low hum"][0], classes | {"rain": None})
    assert list(row) == [*LABELS, "rain"]
    clip, rain = model.encode_audio(tones["low hum"][0])[0], model.encode_text("this is a sound of rain")[0]
    logits = model.logit_scale.detach().exp() * torch.stack([*classes.values(), rain]) @ clip
    torch.testing.assert_close(torch.tensor(list(row.values())), logits.softmax(dim=0))


def test_yes_no_and_none(model, tones):
    """Half of the pool says yes to each label; a clip below both thresholds is none of these."""
    pool = [clip for clips in tones.values() for clip in clips]
    thresholds = model.calibrate(LABELS, pool, share=0.5)
    rows = model.classify(pool, LABELS, multi_label=True, thresholds=thresholds)
    for label in LABELS:
        assert sum(row[label] >= 0.5 for row in rows) == 8
    assert all(row[NONE] == pytest.approx(1 - max(row[label] for label in LABELS)) for row in rows)
    assert list(rows[0]) == [*LABELS, NONE]
    (parts,) = model.classify(pool[0], LABELS, windows=0.5, multi_label=True, thresholds=thresholds)
    assert [list(part) for part in parts] == [["start", "end", *LABELS, NONE]] * 2
    (alone,) = model.classify(pool[0], LABELS[:1], multi_label=True, thresholds=thresholds)
    assert alone["low hum"] == pytest.approx(rows[0]["low hum"], abs=1e-5)


def test_thresholds_from_answers(model, tones):
    """Guards against answers that nobody reads, or that go to another label's threshold."""
    classes = model.fit_classes(tones)
    pool = [clip for clips in tones.values() for clip in clips]
    answers = [{other: other == label for other in LABELS} for label, clips in tones.items() for _ in clips]
    thresholds = model.calibrate(classes, pool, answers)
    cosines = model.encode_audio(pool) @ torch.stack([*classes.values()]).T
    expected = best_thresholds(cosines, answers, LABELS)
    assert thresholds == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)))
    assert thresholds != pytest.approx(model.calibrate(classes, pool, share=0.1))


def test_what_does_not_do(model, tones):
    """Each wrong input is one line."""
    clip = tones["low hum"][0]
    cuts = dict.fromkeys(LABELS, 0.1)
    for call, words in (
        (lambda: model.fit_classes({"low hum": [clip]}), "at least 2 are needed"),
        (lambda: model.fit_classes({"low hum": [clip], "high tone": []}), "'high tone' has no list of clips"),
        (lambda: model.fit_classes({"low hum": [clip], "high tone": clip}), "'high tone' has no list of clips"),
        (lambda: model.classify(clip, {"a": torch.zeros(3), "b": None}), "the vector of 'a' lacks this model's"),
        (lambda: model.classify(clip, LABELS, multi_label=True), "multi_label needs thresholds"),
        (lambda: model.classify(clip, LABELS, thresholds=cuts), "give multi_label=True too"),
        (lambda: model.classify(clip, [*LABELS, "x"], multi_label=True, thresholds=cuts), "thresholds lack 'x'"),
        (lambda: model.classify(clip, [NONE], multi_label=True, thresholds={NONE: 0}), "leave it out of the labels"),
        (lambda: model.calibrate(LABELS, [clip]), "give more clips, or a larger share"),
        (lambda: model.calibrate([], [clip]), "at least 1 are needed"),
    ):
        with pytest.raises(InputError, match=words):
            call()
