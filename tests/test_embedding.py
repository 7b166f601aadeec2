"""Embeddings of tables: deterministic, whatever stands beside a clip."""

import copy
import threading

import numpy as np
import pytest
import soundfile
import torch
from conftest import write_tone

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints import embedding
from modeling_clap_student.checkpoints.embedding import embed_clips, embed_texts, side_by_side
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


def test_an_embedding_does_not_depend_on_its_neighbours(tiny, pool_folder, tmp_path):
    """Guards against random crops and against sums whose order depends on the batch: equal to the bit."""
    model, processor = tiny
    write_tone(pool_folder / "long.wav", 700, seconds=12)  # three windows
    skipped = SkippedClips(tmp_path / "skipped.csv")
    table = read_pools([str(pool_folder)])
    together, rows = embed_clips(model, processor, table, skipped, batch_size=4)
    again, _ = embed_clips(model, processor, table, skipped, batch_size=4)
    assert np.array_equal(together, again)
    for vector, row in zip(together, rows, strict=True):
        alone, _ = embed_clips(model, processor, table.select([row]), skipped, batch_size=4)
        assert np.array_equal(alone[0], vector)
    reverse, _ = embed_clips(model, processor, table.select(rows[::-1]), skipped, batch_size=4)
    assert np.array_equal(reverse[::-1], together)


def test_models_side_by_side_embed_as_each_alone(tiny, pool_folder, tmp_path):
    """Guards against one model's vectors under another's name, and windows averaged over models; equal to the bit."""
    model, processor = tiny
    write_tone(pool_folder / "long.wav", 700, seconds=12)  # three windows
    other = type(model)(model.config).eval()
    wider = copy.deepcopy(processor)
    wider.feature_extractor.window_seconds = 10
    table, skipped = read_pools([str(pool_folder)]), SkippedClips(tmp_path / "skipped.csv")
    checkpoints = {"one": (model, processor), "wide": (other, wider), "two": (other, processor)}
    groups = side_by_side(checkpoints)
    assert [names for names, _, _ in groups] == [["one", "two"], ["wide"]]
    _, models, of_group = groups[0]
    alone = [embed_clips(checkpoints[name][0], processor, table, skipped, batch_size=4) for name in ("one", "two")]
    together, rows = embed_clips(models, of_group, table, skipped, batch_size=4)
    assert together.shape == (7, 2, 32) and together.dtype == np.float32
    for place, (vectors, kept) in enumerate(alone):
        assert np.array_equal(together[:, place], vectors) and np.array_equal(rows, kept)
    assert not np.array_equal(together[:, 0], together[:, 1])


def test_bad_clips_are_left_out_and_listed(tiny, pool_folder, tmp_path):
    """Guards against one corrupt file that ends a run, or shifts the rows behind it."""
    model, processor = tiny
    skipped = SkippedClips(tmp_path / "skipped.csv")
    table = read_pools([str(pool_folder)])
    vectors, rows = embed_clips(model, processor, table, skipped, batch_size=4)
    assert vectors.shape == (6, 32) and vectors.dtype == np.float32
    assert [table[int(r)]["audio_id"] for r in rows] == [f"pool/{i}.flac" for i in range(6)]
    assert list(skipped.read()) == ["pool/broken.wav"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_readable_clip_is_an_error(tiny, tmp_path):
    """Guards against an empty matrix that fails far from its cause."""
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.wav").write_text("no audio")
    with pytest.raises(InputError, match=r"none of the 1 clips .*bad/a\.wav"):
        embed_clips(*tiny, read_pools([str(folder)]), SkippedClips(tmp_path / "s.csv"))


def test_texts_keep_their_order_and_repeats(tiny):
    """Guards against de-duplication that loses the way back."""
    model, processor = tiny
    texts = ["hiss", "a low hum", "hiss", "a high whistle"]
    vectors = embed_texts(model, processor, texts)
    assert np.array_equal(vectors[0], vectors[2])
    tokens = processor.tokenizer(["a high whistle"], return_tensors="pt")
    with torch.no_grad():
        alone = model.get_text_features(**tokens).pooler_output.numpy()
    np.testing.assert_allclose(vectors[3], alone[0], atol=1e-5)
    assert abs(vectors[0] - vectors[1]).max() > 1e-3


def test_long_clips_are_embedded_as_if_they_were_read_whole(tiny, tmp_path):
    """Guards against windows that change because a file is read in pieces: to the bit."""
    model, processor = tiny
    path = write_tone(tmp_path / "clips" / "long.wav", 700, seconds=63)
    samples = soundfile.read(path, dtype="float32")[0]
    expected = model.encode_audio(samples, sampling_rate=44100, batch_size=4).numpy()
    table = read_pools([str(tmp_path / "clips")])
    vectors, _ = embed_clips(model, processor, table, SkippedClips(tmp_path / "s.csv"), batch_size=4)
    assert np.array_equal(vectors, expected)
    assert np.array_equal(model.encode_audio(path, batch_size=4).numpy(), expected)


def test_a_long_clip_with_a_damaged_end_is_left_out(tiny, pool_folder, tmp_path):
    """Guards against half a clip's embedding, and rows that shift behind it."""
    model, processor = tiny
    samples = 0.1 * np.random.default_rng(0).normal(size=45 * 44100).astype(np.float32)
    samples[-1] = np.nan
    soundfile.write(pool_folder / "3.wav", samples, 44100, subtype="FLOAT")
    skipped = SkippedClips(tmp_path / "s.csv")
    table = read_pools([str(pool_folder)])
    vectors, rows = embed_clips(model, processor, table, skipped, batch_size=4)
    names = [table[int(row)]["audio_id"] for row in rows]
    assert len(vectors) == 6 and names == [f"pool/{i}.flac" for i in range(6)]
    assert set(skipped.read()) == {"pool/3.wav", "pool/broken.wav"}
    good = read_pools([str(pool_folder)]).select(rows)
    assert np.array_equal(embed_clips(model, processor, good, skipped, batch_size=4)[0], vectors)


def test_too_many_bad_clips_are_an_error(tiny, pool_folder, tmp_path):
    """Guards against a pool that shrinks to its readable half, unseen."""
    for number in range(20):
        (pool_folder / f"bad{number}.wav").write_text("no audio")
    skipped = SkippedClips(tmp_path / "s.csv", max_fraction=0.1)
    with pytest.raises(InputError, match=r"clips can't be read, and --max_skipped_fraction is 0\.1"):
        embed_clips(*tiny, read_pools([str(pool_folder)]), skipped, batch_size=4)
    skipped.close()


def test_clips_read_ahead_are_the_same(tiny, pool_folder, tmp_path, monkeypatch):
    """Guards against clips of a GPU's run that are lost, out of order, or unreadable with nobody hearing of it."""
    (model, processor), table = tiny, read_pools([str(pool_folder)])
    expected, rows = embed_clips(model, processor, table, SkippedClips(tmp_path / "one.csv"), batch_size=2)
    as_told = embedding._batches
    monkeypatch.setattr(embedding, "_batches", lambda read, ahead: as_told(read, ahead=True))
    skipped = SkippedClips(tmp_path / "two.csv")
    found, same = embed_clips(model, processor, table, skipped, batch_size=2)
    assert np.array_equal(found, expected) and np.array_equal(same, rows)
    assert list(skipped.read()) == ["pool/broken.wav"]
    for number in range(20):
        (pool_folder / f"bad{number}.wav").write_text("no audio")
    skipped = SkippedClips(tmp_path / "three.csv", max_fraction=0.1)
    with pytest.raises(InputError, match=r"clips can't be read, and --max_skipped_fraction is 0\.1"):
        embed_clips(model, processor, read_pools([str(pool_folder)]), skipped, batch_size=4)
    skipped.close()


def test_the_next_batch_is_read_while_the_last_is_worked_on():
    """Guards against a GPU that waits for files, against more than one batch in advance, and against a lost end."""
    begun, numbers = [threading.Event() for _ in range(4)], iter(range(4))

    def read() -> list[int]:
        number = next(numbers, None)
        if number is None:
            return []
        begun[number].set()
        return [number]

    batches = embedding._batches(read, ahead=True)
    assert next(batches) == [0] and begun[1].wait(10) and not begun[2].is_set()
    assert list(batches) == [[1], [2], [3]]
    numbers = iter(range(4))
    begun[1].clear()
    batches = embedding._batches(read, ahead=False)
    assert next(batches) == [0] and not begun[1].is_set() and list(batches) == [[1], [2], [3]]
