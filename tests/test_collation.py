"""Training batches: crops, tokens, keys, and what takes the place of a bad clip."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset

from modeling_clap_student.checkpoints.initialization import scratch_tokenizer
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.decoding import decode_crop
from modeling_clap_student.data.leakage import LeakageFilter
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.errors import InputError
from modeling_clap_student.feature_extraction_clap_student import ClapStudentFeatureExtractor
from modeling_clap_student.processing_clap_student import ClapStudentProcessor


RATE = 8000
SIZE = 800  # samples in a window
CAPTIONS = ["a low hum", "a high whistle", "soft hiss", "a steady tone for a long time"]


@pytest.fixture
def collator(tmp_path) -> ClapCollator:
    extractor = ClapStudentFeatureExtractor(sampling_rate=RATE, window_seconds=SIZE / RATE)
    tokenizer = scratch_tokenizer(CAPTIONS)
    tokenizer.model_max_length = 6
    return ClapCollator(ClapStudentProcessor(extractor, tokenizer), SkippedClips(tmp_path / "skipped.csv"))


@pytest.fixture
def rows(tmp_path) -> list[dict]:
    """Four clips of exactly one window, so that a crop is the clip; clip i holds the level (i + 1) / 10."""
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.full(SIZE, (number + 1) / 10), RATE, subtype="FLOAT")
    return [
        {"audio": {"path": str(tmp_path / f"{n}.wav"), "bytes": None}, "audio_id": f"x/{n}", "caption": CAPTIONS[n]}
        for n in range(4)
    ]


def break_clip(row: dict) -> None:
    Path(row["audio"]["path"]).write_text("no audio")


def levels(batch: dict) -> list[float]:
    return batch["input_values"][:, 0].tolist()


@pytest.fixture
def crop(tmp_path):
    """Writes a clip and returns its crops of 10 samples, one for each number."""

    def crop(clip, draws) -> list[np.ndarray]:
        soundfile.write(tmp_path / "clip.wav", np.asarray(clip) / 100, RATE, subtype="FLOAT")
        audio = {"path": str(tmp_path / "clip.wav"), "bytes": None}
        return [(100 * decode_crop(audio, RATE, 10, draw)).round() for draw in draws]

    return crop


def test_crops_reach_both_ends_of_a_long_clip(crop):
    """Guards against crops that never hold a clip's first or last sample, or always start at the same place."""
    crops = crop(np.arange(13), range(20))
    assert all(c.tolist() == list(range(int(c[0]), int(c[0]) + 10)) for c in crops)
    assert {int(c[0]) for c in crops} == {0, 1, 2, 3}


def test_short_clips_lie_anywhere_in_zeros(crop):
    """Guards against short clips that always start the window, or lose samples."""
    clip = np.arange(1, 8)
    crops = crop(clip, range(20))
    starts = [int(c.argmax()) - 6 for c in crops]
    assert set(starts) == {0, 1, 2, 3}
    for c, start in zip(crops, starts, strict=True):
        np.testing.assert_array_equal(c, np.pad(clip, (start, 3 - start)))


def test_clips_of_one_window_stay_whole(crop):
    """Guards against an error where there is nothing to choose."""
    np.testing.assert_array_equal(crop(np.arange(10), [7])[0], np.arange(10))


def test_batch_holds_what_the_model_takes(collator, rows):
    """Guards against rows and tokens out of order, wrong types, and captions too long for the text tower."""
    batch = collator(rows)
    assert batch["input_values"].shape == (4, SIZE) and batch["input_values"].dtype == torch.float32
    assert levels(batch) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    expected = collator.tokenizer(CAPTIONS, padding=True, truncation=True, max_length=6, return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"]) and batch["input_ids"].shape == (4, 6)
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["attention_mask"].sum(dim=1).tolist() == [5, 5, 4, 6]
    for name in ("audio_key", "caption_key"):
        assert batch[name].shape == (4,) and batch[name].dtype == torch.int64 and len(batch[name].unique()) == 4


def test_equal_clips_and_equal_captions_share_a_key(collator, rows):
    """Guards against two captions of one clip, or one caption on two clips, that count as negatives."""
    rows[1]["audio_id"], rows[1]["audio"] = rows[0]["audio_id"], rows[0]["audio"]
    rows[3]["caption"] = "A low  HUM"
    batch = collator(rows)
    assert (batch["audio_key"] == batch["audio_key"][0]).tolist() == [True, True, False, False]
    assert (batch["caption_key"] == batch["caption_key"][0]).tolist() == [True, False, False, True]


def test_keys_are_the_same_in_other_batches(collator, rows):
    """Guards against keys that are numbered within a batch: they are compared across processes."""
    whole, part = collator(rows), collator(rows[2:])
    for name in ("audio_key", "caption_key"):
        assert torch.equal(whole[name][2:], part[name])


def test_clips_whose_names_differ_in_case_are_two(collator, rows):
    """Guards against `Dog.wav` and `dog.wav` being taken for one clip, as equal captions are."""
    rows[0]["audio_id"], rows[1]["audio_id"] = "x/Dog.wav", "x/dog.wav"
    assert len(collator(rows)["audio_key"].unique()) == 4


def test_a_bad_clip_is_replaced_by_another_pair(collator, rows):
    """Guards against batches of unequal size, a bad clip's caption on another clip's sound, and losses in silence."""
    break_clip(rows[1])
    batch = collator(rows)
    source = {0.1: 0, 0.3: 2, 0.4: 3}[round(levels(batch)[1], 3)]
    for name, column in batch.items():
        assert len(column) == 4, name
        assert (column[1] == column[source]) if isinstance(column, list) else torch.equal(column[1], column[source])
    assert [levels(batch)[i] for i in (0, 2, 3)] == pytest.approx([0.1, 0.3, 0.4])
    assert set(collator.reader.skipped.read()) == {"x/1"}


def test_one_good_clip_is_enough(collator, rows):
    """Guards against a lookup past the end where few clips are left."""
    for row in rows[:3]:
        break_clip(row)
    assert levels(collator(rows)) == pytest.approx([0.4] * 4)
    assert set(collator.reader.skipped.read()) == {"x/0", "x/1", "x/2"}


def test_a_batch_without_any_clip_is_refused(collator, rows):
    """Guards against a traceback, or a batch of nothing, where a path is wrong for all clips."""
    for row in rows:
        break_clip(row)
    with pytest.raises(InputError, match="x/0: not decodable"):
        collator(rows)
    assert len(collator.reader.skipped.read()) == 4


def test_seeded_crops_are_the_same_whatever_the_threads_and_the_bad_clips(collator, rows, tmp_path):
    """Guards against places that depend on which clip is decoded first, or shift behind a clip that can't be read."""
    for number, row in enumerate(rows):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 20 * SIZE)
        soundfile.write(row["audio"]["path"], noise, RATE, subtype="FLOAT")
    batches = []
    for broken in (False, False, True):
        if broken:
            break_clip(rows[1])
        torch.manual_seed(3)
        batches.append(collator(rows)["input_values"])
    assert torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0][[0, 2, 3]], batches[2][[0, 2, 3]])
    whole = soundfile.read(rows[0]["audio"]["path"], dtype="float32")[0]
    torch.manual_seed(3)
    assert any(np.array_equal(batches[0][0], whole[start : start + SIZE]) for start in range(len(whole) - SIZE + 1))


def test_a_rows_own_number_chooses_its_crop(collator, rows):
    """Guards against crops that change with workers, other draws or a resumed run."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * SIZE)
    soundfile.write(rows[0]["audio"]["path"], noise, RATE, subtype="FLOAT")
    whole = soundfile.read(rows[0]["audio"]["path"], dtype="float32")[0]
    for draw in (0, 5, 19 * SIZE):
        batch = collator([{**row, "draw": draw} for row in rows])
        np.testing.assert_array_equal(batch["input_values"][0], whole[draw : draw + SIZE])


def test_rows_of_a_stream_that_must_not_be_used(collator, rows):
    """Guards against captions without words, and evaluation clips, that reach the training from a stream."""
    rows[0]["caption"] = " -- "
    held = Path(rows[1]["audio"]["path"]).read_bytes()
    evaluated = Dataset.from_dict({"audio": [rows[1]["audio"]], "origin_id": ["freesound:7"]})
    rows[1]["audio"] = {"bytes": held, "path": "another_name.wav"}
    rows[2]["origin_id"] = "freesound:7"
    collator.leakage = LeakageFilter([evaluated])
    assert levels(collator(rows)) == pytest.approx([0.4] * 4)
    assert list(collator.reader.skipped.read().values()) == [
        "no word in the caption",
        "the same clip is in the evaluation set",
        "its recording is in the evaluation set",
    ]
