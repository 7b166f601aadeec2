"""Retrieval between clips and captions, against definitions spelt out in exact arithmetic."""

import numpy as np
import pytest

from modeling_clap_student import InputError
from modeling_clap_student.evaluation.metrics import Retrieval
from modeling_clap_student.utils.ranking import retrieval


def brute_force(scores, own) -> dict[str, float]:
    """`own[q]` are the items of query q, none for what is no query; exact where the scores are."""
    best, average = [], []
    for row, mine in zip(scores, own, strict=True):
        if mine:
            ranking = sorted(range(len(row)), key=lambda item: (-row[item], item))
            ranks = sorted(ranking.index(item) + 1 for item in mine)
            best.append(ranks[0])
            hits = [i / rank for i, rank in enumerate(ranks, start=1) if rank <= 10]
            average.append(sum(hits) / len(mine))
    recall = {f"R@{k}": sum(rank <= k for rank in best) / len(best) for k in (1, 5, 10)}
    return {**recall, "mAP@10": sum(average) / len(average), "median_rank": float(np.median(best))}


def expected(scores, clip_of_text) -> dict[str, float]:
    """`scores` is (clips, texts)."""
    texts_of = [[t for t, clip in enumerate(clip_of_text) if clip == c] for c in range(len(scores))]
    to_text = brute_force(scores.tolist(), texts_of)
    to_audio = brute_force(scores.T.tolist(), [[clip] for clip in clip_of_text])
    return {f"audio_to_text_{name}": value for name, value in to_text.items()} | {
        f"text_to_audio_{name}": value for name, value in to_audio.items()
    }


def coarse_vectors(rng, count: int) -> np.ndarray:
    """Unit vectors of few different cosines, which floats hold exactly."""
    return rng.choice([-0.5, 0.5], size=(count, 4)).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize(("clips", "texts"), [(40, 131), (23, 23), (60, 31), (1, 3), (3, 40)])
def test_equals_the_definition_where_most_cosines_are_equal(clips, texts, chunk):
    """Guards against ties that favour one's own, ranks lost between chunks, and captions counted beside their clip."""
    rng = np.random.default_rng(clips + texts)
    audio, text, clip_of_text = coarse_vectors(rng, clips), coarse_vectors(rng, texts), rng.integers(clips, size=texts)
    got = retrieval(audio, text, clip_of_text, chunk)
    scores = audio.astype(np.float64) @ text.astype(np.float64).T
    assert len(np.unique(scores)) <= 5
    assert got == pytest.approx(expected(scores, clip_of_text), abs=1e-12)
    assert all(0 <= value <= 1 for name, value in got.items() if "rank" not in name)


@pytest.mark.parametrize("chunk", [5, 64])
def test_equal_vectors_are_equally_near(chunk):
    """Guards against ties broken by the order in which a library adds, which differs between chunks and machines."""
    rng = np.random.default_rng(0)
    clip_of_text = rng.permutation(np.repeat(np.arange(30), 5))
    kinds = rng.normal(size=(12, 96))
    kinds = (kinds / np.linalg.norm(kinds, axis=1, keepdims=True)).astype(np.float32)
    clip_kind, text_kind = rng.integers(12, size=30), rng.integers(12, size=150)
    exact = kinds.astype(np.float64) @ kinds.astype(np.float64).T
    got = retrieval(kinds[clip_kind], kinds[text_kind], clip_of_text, chunk)
    scores = exact[clip_kind][:, text_kind]
    assert got == pytest.approx(expected(scores, clip_of_text), abs=1e-12)


def test_known_ranks():
    """Guards against a definition that this file's brute force shares: numbers worked out by hand."""
    angles = np.radians([0.0, 90.0])
    audio = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    angles = np.radians([10.0, 20.0, 40.0, 70.0])
    text = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    got = retrieval(audio, text, np.array([0, 1, 0, 1]))
    # Clip 0 ranks its texts 1 and 3: AP (1/1 + 2/3) / 2. Clip 1, from the other end, ranks its own 1 and 3 too.
    assert got["audio_to_text_mAP@10"] == pytest.approx(5 / 6) and got["audio_to_text_median_rank"] == 1
    # Texts 0, 2 and 3 find their clip first, text 1 second.
    assert got["text_to_audio_R@1"] == 0.75 and got["text_to_audio_R@5"] == 1
    assert got["text_to_audio_mAP@10"] == pytest.approx((1 + 1 / 2 + 1 + 1) / 4)


def test_a_perfect_model_scores_one():
    """Guards against a mean precision above 1, or below it where a clip's captions all come first."""
    clip_of_text = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 10])
    eye = np.eye(6, dtype=np.float32)
    got = retrieval(eye, eye[clip_of_text], clip_of_text)
    assert all(value == pytest.approx(1) for value in got.values())


def test_a_clip_without_text_is_only_found():
    """Guards against a division by no captions, and against clips that are left out of the search."""
    audio = np.eye(3, dtype=np.float32)
    got = retrieval(audio, audio[[1, 0]], np.array([2, 0]))
    assert got["text_to_audio_median_rank"] == 2 and got["text_to_audio_R@1"] == 0.5  # ranks 3 (a tie) and 1
    assert got["audio_to_text_R@1"] == 1


def test_embeddings_that_are_not_finite_are_refused():
    """Guards against a diverged model that scores best, since no comparison with NaN holds."""
    audio = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match="diverged"):
        retrieval(audio * np.nan, audio, np.arange(3))


@pytest.mark.parametrize("clip_of_text", [[0, 1], [0, 1, 3], [0, 1, -1]])
def test_texts_of_no_clip_are_refused(clip_of_text):
    """Guards against rows counted from the end, and texts beside other clips."""
    with pytest.raises(ValueError, match="expected"):
        retrieval(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.array(clip_of_text))


def test_metric_is_the_function():
    """Guards against a metric that asks the Hub, or loses what was added in batches."""
    rng = np.random.default_rng(1)
    audio, text, clip_of_text = coarse_vectors(rng, 9), coarse_vectors(rng, 20), rng.integers(9, size=20)
    metric = Retrieval()
    for rows in (slice(0, 13), slice(13, 20)):
        metric.add_batch(text_embeds=text[rows], clip_of_text=clip_of_text[rows])
    assert metric.compute(audio_embeds=audio) == retrieval(audio, text, clip_of_text)
    whole = Retrieval().compute(audio_embeds=audio, text_embeds=text, clip_of_text=clip_of_text)
    assert whole == retrieval(audio, text, clip_of_text)
