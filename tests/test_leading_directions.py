"""Upper bounds from leading directions: never too low, whatever the spectrum, and used only where they pay."""

import numpy as np
import pytest
import torch
from test_matching import always_bound, cosines, pairs, unit, where

from modeling_clap_student import InputError
from modeling_clap_student.curation import leading_directions as bounds
from modeling_clap_student.curation import similarity_scan
from modeling_clap_student.curation.arguments import Threshold
from modeling_clap_student.curation.leading_directions import LeadingDirections, leading_directions
from modeling_clap_student.curation.matching import match
from modeling_clap_student.curation.similarity_scan import SimilarityScan


def of_spectrum(rng, rows, scales):
    """Unit vectors around random directions with these standard deviations."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(len(scales), len(scales))))[0]
    vectors = (rng.normal(size=(rows, len(scales))) * scales) @ turn
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def first(count, dim=64):
    return (np.arange(dim) < count).astype(float)


SPECTRA = {
    "flat": np.ones(64),
    "rank 1": first(1),
    "as many as directions": first(15),
    "one more than directions": first(16),
    "decaying": 1 / np.arange(1, 65),
    "slowly decaying": np.arange(1, 65) ** -0.3,
    "a few and noise": first(8) + 0.01,
}


@pytest.fixture(params=SPECTRA)
def vectors(request):
    """Two sets of one spectrum, with equal vectors in and across them."""
    audio, text = (of_spectrum(np.random.default_rng(seed), 200, SPECTRA[request.param]) for seed in (1, 2))
    audio[50:60], text[:10], text[20:30] = audio[:10], audio[:10], -audio[:10]
    return audio, text


def exact(queries, keys):
    """Inner products of float32 numbers, nearly as of real numbers."""
    return queries.astype(np.longdouble) @ keys.astype(np.longdouble).T


@pytest.mark.parametrize("scale", [1, 1e-6, 1e6])
@pytest.mark.parametrize("count", [1, 2, 15, 63, 64])
def test_bounds_are_never_too_low(vectors, count, scale):
    """Guards against rounding that the bound does not cover, most of all where the remainder is nothing."""
    directions = LeadingDirections(bounds._principal(torch.from_numpy(np.concatenate(vectors)), count))
    audio, text = vectors[0] * np.float32(scale), vectors[1] / np.float32(scale)
    short = [directions.bounding(torch.from_numpy(side)).numpy() for side in (audio, text)]
    slack = exact(*short) - exact(audio, text)
    assert slack.min() >= 0
    basis = directions.directions.numpy()
    remainders = [np.linalg.norm(side - side @ basis @ basis.T, axis=1) for side in vectors]
    assert (slack <= 2 * np.outer(remainders[0] + 2.0**-9, remainders[1] + 2.0**-9)).all()


def test_directions_are_orthonormal_and_the_leading_ones():
    """Guards against directions that are not orthonormal, on which the bound rests, and weak ones first."""
    scales = np.r_[8.0, 4, 2, 1, np.full(60, 0.01)]
    sample = of_spectrum(np.random.default_rng(3), 500, scales).astype(float)
    found = bounds._principal(torch.from_numpy(sample).float(), 16).numpy()
    np.testing.assert_allclose(found.T @ found, np.eye(16), atol=2.0**-40)
    _, vectors = np.linalg.eigh(sample.T @ sample)
    assert (abs((vectors[:, ::-1][:, :4] * found[:, :4]).sum(0)) > 0.999).all()


def coarse(vectors):
    """Shorter ones of multiples of 2⁻¹², whose inner products float64 adds up exactly in any order."""
    return [(np.round(side * 4000) / 4096).astype(np.float32) for side in vectors]


@pytest.mark.parametrize("beside", [0.0, 1e-9, -1e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matches_equal_brute_force_on_every_spectrum(vectors, monkeypatch, dtype, beside):
    """Guards against pairs lost by bounds, at a threshold that some pairs equal exactly."""
    monkeypatch.setattr(similarity_scan, "product_dtype", lambda device: dtype)
    vectors = coarse(vectors)
    expected = cosines(*vectors)
    value = float(np.sort(expected.ravel())[-400]) + beside
    plain = match(*vectors, Threshold(value=value), 64)
    always_bound(monkeypatch)
    found = match(*vectors, Threshold(value=value), 64)
    assert pairs(found) == where(expected >= value)
    np.testing.assert_array_equal(found.similarities, plain.similarities)
    assert found.highest == plain.highest


@pytest.mark.parametrize("count", [1, 30, 400])
def test_the_best_equal_those_of_brute_force(vectors, monkeypatch, count):
    """Guards against a floor that rises while blocks are searched, ties included."""
    always_bound(monkeypatch)
    vectors = coarse(vectors)
    expected = cosines(*vectors)
    found = match(*vectors, Threshold(count=count), 64)
    assert pairs(found) == where(expected >= np.sort(expected.ravel())[-count])


def chosen(audio, text, floor):
    return leading_directions(audio, torch.from_numpy(text), floor, torch.float32)


def test_bounds_are_used_where_they_pay_alone(monkeypatch):
    """Guards against time lost on vectors without leading directions, and on few pairs."""
    scales = {"flat": np.ones(1024), "few": np.r_[np.ones(20), np.full(1004, 0.02)]}
    seeds = [np.random.default_rng(seed) for seed in (1, 2)]
    sets = {name: [of_spectrum(rng, 3000, scales[name]) for rng in seeds] for name in scales}
    floors = {name: np.quantile(audio[:500] @ text[:500].T, 0.9997) for name, (audio, text) in sets.items()}
    assert chosen(*sets["few"], floors["few"]) is None  # few pairs
    monkeypatch.setattr(bounds, "FEWEST_PAIRS", 0)
    assert chosen(*sets["flat"], floors["flat"]) is None
    assert chosen(*sets["few"], floors["few"]).directions.shape == (1024, 31)
    assert chosen(*sets["few"], -0.5) is None  # most pairs reach it
    assert chosen(*sets["few"], -np.inf) is None


def test_bounds_leave_few_pairs_to_score(monkeypatch):
    """Guards against bounds that are computed and then not used, and memory for long vectors that are not compared."""
    audio, text = (of_spectrum(np.random.default_rng(seed), 400, SPECTRA["a few and noise"]) for seed in (1, 2))
    always_bound(monkeypatch, counts=(15,))
    scored, whole = [], SimilarityScan._scores
    monkeypatch.setattr(SimilarityScan, "_scores", lambda *args: scored.append(whole(*args)) or scored[-1])
    scan = SimilarityScan(audio, text)
    found = sum(map(len, scan.pairs(0.8)))
    assert len(scored) == 1 and 0 < found <= len(scored[0]) < 1.5 * found
    assert "rounded_keys" not in vars(scan) and scan.compared_keys.values.shape[1] == 32


@pytest.mark.parametrize("spoilt", ["narrow", "infinite"])
def test_what_can_not_be_compared_is_an_input_error(monkeypatch, spoilt):
    """Guards against another error than the scan's where bounds look at the vectors first."""
    always_bound(monkeypatch)
    audio, text = unit(np.random.default_rng(4), 50), unit(np.random.default_rng(5), 50)
    if spoilt == "narrow":
        audio = audio[:, :40]
    else:
        audio[0, 0] = np.inf
    with pytest.raises(InputError, match="can't be compared"):
        match(audio, text, Threshold(value=0.5))
