"""The matching engine against brute force in float64: every kept pair, on inputs made to be hard to decide."""

import numpy as np
import pytest
import torch

from modeling_clap_student import InputError
from modeling_clap_student.curation import leading_directions, similarity_scan
from modeling_clap_student.curation.arguments import Threshold
from modeling_clap_student.curation.matching import match, match_by_label, similarity_histogram
from modeling_clap_student.curation.similarity_scan import SimilarityScan, product_dtype
from modeling_clap_student.curation.strategies import label_offsets


def unit(rng, n, dim=48):
    """Unit vectors around a few centres, so that cosines are spread as a teacher's are."""
    vectors = rng.normal(size=(n, dim)) + 1.5 * rng.normal(size=(6, dim))[rng.integers(0, 6, n)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cosines(audio, text):
    """(clips, captions) in float64, each a dot product of its own."""
    return np.einsum("id,jd->ijd", audio.astype(np.float64), text.astype(np.float64)).sum(2)


def pairs(found):
    return list(zip(found.clips.tolist(), found.captions.tolist(), strict=True))


def where(mask):
    return [tuple(pair) for pair in np.argwhere(mask).tolist()]


def near_threshold(rng, dim, value):
    """Audio and text whose pairs (i, i) lie 1e-7 to 1e-4 above or below `value`, each text twice."""
    offsets = np.array([sign * size for size in (1e-7, 3e-7, 1e-6, 1e-5, 1e-4) for sign in (1, -1)] * 12)
    text = rng.normal(size=(len(offsets), dim))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    other = rng.normal(size=text.shape)
    other -= (other * text).sum(1, keepdims=True) * text
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = (value + offsets)[:, None]
    audio = cosine * text + np.sqrt(1 - cosine**2) * other
    return audio.astype(np.float32), np.repeat(text, 2, axis=0).astype(np.float32)


PRODUCTS = [(torch.bfloat16, False), (torch.float32, False), (torch.bfloat16, True), (torch.float32, True)]


@pytest.fixture(params=PRODUCTS, ids=["bfloat16", "float32", "bfloat16 bounds", "float32 bounds"])
def product(request, monkeypatch):
    """Each type that the product may have, whatever is faster here; and bounds, whether they pay or not."""
    dtype, bounds = request.param
    monkeypatch.setattr(similarity_scan, "product_dtype", lambda device: dtype)
    if bounds:
        always_bound(monkeypatch)


def always_bound(monkeypatch, counts=(2, 15)):
    for name, value in {"FEWEST_PAIRS": 0, "MOST": np.inf, "COUNTS": counts}.items():
        monkeypatch.setattr(leading_directions, name, value)


@pytest.mark.parametrize("value", [0.7, 0.25, 1e-3, 0.0, -0.3])
@pytest.mark.parametrize("dim", [7, 512])
def test_pairs_beside_the_threshold_are_decided_as_in_float64(product, dim, value):
    """Guards against a margin that is too small, and against float32 deciding what it can't."""
    audio, text = near_threshold(np.random.default_rng(0), dim, value)
    found = match(audio, text, Threshold(value=value), 64)
    expected = cosines(audio, text)
    assert pairs(found) == where(expected >= value)
    assert found.similarities.dtype == np.float32
    np.testing.assert_allclose(found.similarities, expected[expected >= value], atol=2e-7)


def test_the_hardest_roundings_lose_no_pair(product):
    """Guards against a margin that holds for typical vectors alone: here every element is rounded down by the most."""
    dim = 1024
    element = np.float32(1 / 32 * (1 + 2.0**-8 - 2.0**-16))  # just below the middle of two bfloat16 numbers
    audio = np.full((5, dim), element)
    audio, value = audio / 2, float(np.float64(element) ** 2 * dim / 2)
    text = 2 * audio[:3]
    assert len(match(audio, text, Threshold(value=value)).clips) == 15
    assert len(match(audio, text, Threshold(value=value * (1 - 1e-9))).clips) == 15
    assert len(match(audio, text, Threshold(value=value * (1 + 1e-9))).clips) == 0


def test_the_margin_bounds_what_the_product_errs(product):
    """Guards against a wrong derivation: measured errors lie within the margin and its rounding."""
    rng = np.random.default_rng(1)
    audio, text = unit(rng, 300, 1024), unit(rng, 200, 1024)
    scan = SimilarityScan(audio, text)
    queries = scan._rounded(torch.from_numpy(audio))
    values = queries.values.double() @ scan.rounded_keys.values[:200].double().T
    error = np.abs(values.numpy() - cosines(audio, text)).max()
    assert error <= scan._margin(queries, scan.rounded_keys) <= 0.009


@pytest.mark.parametrize("threshold", [Threshold(count=300), Threshold(quantile=0.97), Threshold(count=10**9)])
@pytest.mark.parametrize("block_size", [16, None])
def test_the_best_are_those_of_float64_ties_included(product, threshold, block_size):
    """Guards against ties cut at random: every vector is there twice."""
    rng = np.random.default_rng(2)
    audio, text = np.tile(unit(rng, 60), (2, 1)), np.tile(unit(rng, 50), (2, 1))
    expected = cosines(audio, text)
    number = threshold.number_of(expected.size)
    cut = np.sort(expected.ravel())[-number]
    found = match(audio, text, threshold, block_size)
    assert pairs(found) == where(expected >= cut)
    assert found.threshold == pytest.approx(cut, abs=1e-12)
    assert found.highest == pytest.approx(expected.max(), abs=1e-12)


def test_a_sample_that_misleads_costs_time_not_pairs(monkeypatch):
    """Guards against the best pairs sought only where a sample of clips suggests."""
    rng = np.random.default_rng(3)
    audio, text = unit(rng, 64), unit(rng, 40)
    audio[::2] = text[0]  # what a sample of every second clip sees
    every = cosines(audio, text)

    def sampled(audio, text):
        return similarity_histogram(audio, text, clips=32)

    monkeypatch.setattr("modeling_clap_student.curation.matching.similarity_histogram", sampled)
    found = match(audio, text, Threshold(count=1200), 16)
    assert pairs(found) == where(every >= np.sort(every.ravel())[-1200])


def nearest_mask(similarities, count):
    """The `count` highest of each row; of equals the first."""
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
    mask = np.zeros(similarities.shape, bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask


LIMITS = [
    ({"max_captions_per_clip": 1}, 1, None),
    ({"max_captions_per_clip": 7}, 7, None),
    ({"max_clips_per_caption": 3}, None, 3),
    ({"max_captions_per_clip": 4, "max_clips_per_caption": 2}, 4, 2),
    ({"max_captions_per_clip": 1000}, 1000, None),
    ({"mutual_nearest": True}, 1, 1),
]


@pytest.mark.parametrize("options, per_clip, per_caption", LIMITS)
@pytest.mark.parametrize("threshold", [Threshold(value=0.3), Threshold(value=-1), Threshold(count=40)])
def test_limits_equal_brute_force(product, options, per_clip, per_caption, threshold):
    """Guards against limits taken within blocks, ties broken at random, and thresholds applied before limits."""
    rng = np.random.default_rng(4)
    audio, text = unit(rng, 90), unit(rng, 70)
    audio[40:50], text[30:40] = audio[:10], text[:10]
    expected = cosines(audio, text)
    allowed = np.ones(expected.shape, bool)
    if per_clip:
        allowed &= nearest_mask(expected, per_clip)
    if per_caption:
        allowed &= nearest_mask(expected.T, per_caption).T
    cut = threshold.resolve(expected[allowed]) if threshold.count else threshold.value
    found = match(audio, text, threshold, 32, **options)
    assert pairs(found) == where(allowed & (expected >= cut))


@pytest.mark.parametrize("options", [{}, {"mutual_nearest": True}])
@pytest.mark.parametrize("threshold", [Threshold(value=0.02), Threshold(count=50)])
def test_hubness_correction_equals_brute_force(product, options, threshold):
    """Guards against means over the wrong side, and cosines reported on another scale."""
    rng = np.random.default_rng(5)
    audio, text = unit(rng, 90), unit(rng, 70)
    plain = cosines(audio, text)
    to_text = np.sort(plain, axis=1)[:, -5:].mean(1).astype(np.float32)
    to_audio = np.sort(plain, axis=0)[-5:].mean(0).astype(np.float32)
    scores = 2 * plain - to_text[:, None].astype(np.float64) - to_audio.astype(np.float64)
    allowed = np.ones(scores.shape, bool)
    if options:
        allowed = nearest_mask(scores, 1) & nearest_mask(scores.T, 1).T
    cut = threshold.resolve(scores[allowed]) if threshold.count else threshold.value
    found = match(audio, text, threshold, 32, csls_neighbours=5, **options)
    expected = allowed & (scores >= cut - 1e-12)
    assert expected.any() and pairs(found) == where(expected)
    np.testing.assert_allclose(found.similarities, plain[expected], atol=3e-7)


@pytest.mark.parametrize("options", [{}, {"max_captions_per_clip": 2}])
@pytest.mark.parametrize("threshold", [Threshold(value=-0.2), Threshold(count=50)])
def test_offsets_of_clips_equal_brute_force(product, options, threshold):
    """Guards against offsets of other clips, of twice the size, and cosines reported on another scale."""
    rng = np.random.default_rng(7)
    audio, text, offsets = unit(rng, 90), unit(rng, 70), rng.uniform(-0.5, 0.5, 90).astype(np.float32)
    plain = cosines(audio, text)
    scores = plain - offsets[:, None].astype(np.float64)
    allowed = nearest_mask(scores, 2) if options else np.ones(scores.shape, bool)
    cut = threshold.resolve(scores[allowed]) if threshold.count else threshold.value
    found = match(audio, text, threshold, 32, clip_offsets=offsets, **options)
    expected = allowed & (scores >= cut - 1e-12)
    assert expected.any() and pairs(found) == where(expected)
    np.testing.assert_allclose(found.similarities, plain[expected], atol=3e-7)


def test_offsets_make_cosines_the_log_of_probabilities():
    """Guards against another scale, another logarithm, and blocks that are put together wrongly."""
    rng = np.random.default_rng(8)
    audio, labels = unit(rng, 40), unit(rng, 6)
    scores = 20 * cosines(audio, labels)
    expected = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    offsets = label_offsets(audio, labels, 20, block_size=16)
    np.testing.assert_allclose(20 * (cosines(audio, labels) - offsets[:, None]), expected, atol=1e-4)


def test_more_neighbours_than_there_are_is_an_input_error():
    """Guards against means over fewer than were asked for."""
    audio = unit(np.random.default_rng(6), 5)
    with pytest.raises(InputError, match="9 neighbours"):
        match(audio, audio, Threshold(value=0), csls_neighbours=9)


@pytest.mark.parametrize("threshold", [Threshold(value=-1), Threshold(count=600), Threshold(quantile=0)])
@pytest.mark.parametrize("options", [{}, {"max_captions_per_clip": 30}])
def test_more_pairs_than_allowed_stop_the_search(threshold, options):
    """Guards against a threshold that fills memory or the disk."""
    audio = unit(np.random.default_rng(7), 40)
    with pytest.raises(InputError, match="raise max_pairs"):
        match(audio, audio, threshold, 16, max_pairs=500, **options)


def test_too_many_pairs_are_noticed_early_and_estimated():
    """Guards against hours of matching before the error."""
    audio = np.ones((1000, 1), np.float32)
    with pytest.raises(InputError, match="1600 pairs in 16 of 1000 clips, so about 100000 in all"):
        match(audio, audio[:100], Threshold(value=0.5), 16, max_pairs=1000)


def test_without_a_pair_the_highest_is_near(product):
    """Guards against a suggestion that would find nothing either."""
    rng = np.random.default_rng(8)
    audio, text = unit(rng, 100), unit(rng, 70)
    every = cosines(audio, text)
    for value in (1.0, every.max() + 1e-3):
        found = match(audio, text, Threshold(value=value), 16)
        assert len(found.clips) == 0 and every.max() - 0.02 <= found.highest <= every.max() + 1e-6


@pytest.mark.parametrize("kind", ["float16", "float64", "read-only", "tensor"])
def test_embeddings_of_any_kind_are_compared_as_float32(kind):
    """Guards against arrays that are mapped from disk, or kept in half, being refused or changed."""
    rng = np.random.default_rng(9)
    audio, text = unit(rng, 30), unit(rng, 20)
    given = {
        "float16": lambda x: x.astype(np.float16),
        "float64": lambda x: x.astype(np.float64),
        "read-only": lambda x: np.broadcast_to(x, x.shape),
        "tensor": torch.from_numpy,
    }[kind](audio)
    expected = cosines(np.asarray(given, dtype=np.float32), text)
    assert pairs(match(given, text, Threshold(value=0.4))) == where(expected >= 0.4)


def test_embeddings_that_can_not_be_compared_are_input_errors():
    """Guards against NaNs that match nothing without a word, and against a traceback about shapes."""
    audio = unit(np.random.default_rng(10), 5)
    for bad in (np.full_like(audio, np.nan), audio[:, :9]):
        with pytest.raises(InputError, match="can't be compared"):
            match(bad, audio, Threshold(value=0.5))


def test_found_pairs_are_streamed_by_clip():
    """Guards against results held back until the end, or out of order."""
    rng = np.random.default_rng(11)
    audio, text = unit(rng, 50), unit(rng, 20)
    parts = list(SimilarityScan(audio, text, block_size=16).pairs(0.3))
    assert len(parts) == 4
    streamed = [pair for part in parts for pair in zip(part.queries.tolist(), part.keys.tolist(), strict=True)]
    assert streamed == where(cosines(audio, text) >= 0.3)


@pytest.mark.parametrize("clips", [None, 7])
def test_the_histogram_counts_every_pair_of_its_clips_once(clips):
    """Guards against bins shifted by one and pairs counted twice at the edges of blocks."""
    rng = np.random.default_rng(12)
    audio, text = unit(rng, 50), unit(rng, 30)
    histogram = similarity_histogram(audio, text, bins=40, clips=clips, block_size=16)
    taken = cosines(audio[:: 8 if clips else 1], text)
    assert histogram.counts.dtype == np.int64 and histogram.clips == len(taken)
    np.testing.assert_array_equal(histogram.counts, np.histogram(taken, histogram.edges)[0])


def test_the_products_type_is_one_of_two():
    """Guards against the measurement of speed failing on this machine."""
    assert product_dtype(torch.device("cpu")) in (torch.bfloat16, torch.float32)


def test_the_products_type_follows_what_float32_means_now(monkeypatch):
    """Guards against a float32 product that rounds to TF32 because its speed was measured before that was allowed."""
    monkeypatch.setattr(similarity_scan, "_faster_dtype", lambda device: torch.float32)
    setting = torch.backends.mkldnn.matmul
    assert product_dtype(torch.device("cpu")) == torch.float32
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "tf32"
        assert product_dtype(torch.device("cpu")) == torch.bfloat16
    finally:
        setting.fp32_precision = before


@pytest.mark.parametrize("options", [{}, {"max_captions_per_clip": 3}])
def test_a_block_that_memory_has_no_room_for_is_searched_in_halves(monkeypatch, options):
    """Guards against pairs that are lost, found twice or out of order where a GPU's memory is short."""
    rng = np.random.default_rng(10)
    audio, text, threshold = unit(rng, 70), unit(rng, 40), Threshold(value=-0.5)
    expected, whole = match(audio, text, threshold, 32, **options), SimilarityScan._candidates

    def short_of_memory(self, queries, *arguments):
        if len(queries) > 5:
            raise torch.OutOfMemoryError("no room")
        return whole(self, queries, *arguments)

    monkeypatch.setattr(SimilarityScan, "_candidates", short_of_memory)
    found = match(audio, text, threshold, 32, **options)
    assert pairs(found) == pairs(expected) and found.highest == expected.highest
    np.testing.assert_array_equal(found.similarities, expected.similarities)
    monkeypatch.setattr(
        SimilarityScan, "_candidates", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none"))
    )
    with pytest.raises(torch.OutOfMemoryError):
        match(audio, text, threshold, 32, **options)


class OnDevice(torch.Tensor):
    """Like a GPU's tensors, it is no array before it is on the CPU."""

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert to numpy: use Tensor.cpu()")

    def to(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor).to(*args, **kwargs)

    def cpu(self):
        return self.to("cpu")


@pytest.mark.parametrize("options", [{}, {"csls_neighbours": 5}])
def test_tensors_of_a_device_are_matched_by_number(options):
    """Guards against the sample that tells where to look, and the correction for hubs, taking arrays alone."""
    rng = np.random.default_rng(9)
    audio, text = unit(rng, 60), unit(rng, 40)
    there = [torch.from_numpy(side).as_subclass(OnDevice) for side in (audio, text)]
    with pytest.raises(TypeError):
        np.asarray(there[0])
    expected, found = (match(*given, Threshold(count=50), **options) for given in ((audio, text), there))
    assert pairs(found) == pairs(expected) and len(found.clips) >= 50


@pytest.mark.parametrize("cut", [Threshold(count=40), Threshold(quantile=0.9)])
def test_each_label_gets_its_own_best_pairs(cut):
    """Guards against one label's pairs crowding out another's, captions numbered within a label, and lost order."""
    rng = np.random.default_rng(4)
    audio, text, labels = unit(rng, 60), unit(rng, 45), rng.integers(0, 4, 45)
    labels[labels == 2] = 3  # a label that no caption was selected for
    similarity = cosines(audio, text)
    expected, cuts = set(), []
    for label in (0, 1, 3):
        of_label = np.sort(similarity[:, labels == label], axis=None)[::-1]
        number = round(40 / 3) if cut.count else round(0.1 * of_label.size)
        cuts.append(of_label[number - 1])
        expected |= set(where((similarity >= cuts[-1]) & (labels == label)))
    found = match_by_label(audio, text, labels, cut)
    assert pairs(found) == sorted(expected)
    assert found.threshold == pytest.approx(min(cuts), abs=1e-7) and found.highest >= found.similarities.max()
    wanted = [similarity[pair] for pair in sorted(expected)]
    assert np.allclose(found.similarities, wanted, atol=1e-6)
