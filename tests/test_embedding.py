"""Embeddings of tables: deterministic, whatever stands beside a clip."""

import numpy as np
import pytest
import torch
from conftest import write_tone

from modeling_clap_student import InputError
from modeling_clap_student.data.decoding import SkippedClips
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.embedding import embed_clips, embed_texts


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
    vectors = embed_texts(model, processor, texts, batch_size=2)
    assert np.array_equal(vectors[0], vectors[2])
    tokens = processor.tokenizer(["a high whistle"], return_tensors="pt")
    with torch.no_grad():
        alone = model.get_text_features(**tokens).pooler_output.numpy()
    np.testing.assert_allclose(vectors[3], alone[0], atol=1e-5)
    assert abs(vectors[0] - vectors[1]).max() > 1e-3
