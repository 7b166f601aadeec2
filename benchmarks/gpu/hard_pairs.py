"""Embeddings that are hard to match, and the answer of float64 brute force."""

import numpy as np

from modeling_clap_student.curation.arguments import Threshold


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def spread(rng, rows: int, dim: int = 48) -> np.ndarray:
    """Unit vectors around a few centres."""
    return unit(rng.normal(size=(rows, dim)) + 1.5 * rng.normal(size=(6, dim))[rng.integers(0, 6, rows)]).astype("f4")


def beside(rng, dim: int, value: float) -> tuple[np.ndarray, np.ndarray]:
    """Clip i and caption 2 i lie 1e-7 to 1e-4 above or below a cosine. Each caption occurs twice."""
    offsets = np.array([sign * 10.0**-power for power in (7, 6.5, 6, 5, 4) for sign in (1, -1)] * 12)
    text = unit(rng.normal(size=(len(offsets), dim)))
    other = rng.normal(size=text.shape)
    other = unit(other - (other * text).sum(1, keepdims=True) * text)
    cosine = (value + offsets)[:, None]
    return (cosine * text + np.sqrt(1 - cosine**2) * other).astype("f4"), text.repeat(2, axis=0).astype("f4")


def rounded_down(dim: int = 1024) -> tuple[np.ndarray, np.ndarray, float]:
    """Vectors whose elements are all just below the middle of two bfloat16 numbers; and the inner product of all
    pairs."""
    element = np.float32(1 / 32 * (1 + 2.0**-8 - 2.0**-16))
    audio = np.full((5, dim), element) / 2
    return audio, 2 * audio[:3], float(np.float64(element) ** 2 * dim / 2)


def CASES(shrink: int) -> dict[str, tuple]:
    """Name of the difficulty -> clips, captions, the threshold, the options of `match`."""
    rng = np.random.default_rng(0)
    cases = {}
    for dim in (7, 512):
        for value in (0.7, 0.0, -0.3):
            name = f"cosines beside {value}, {dim} dimensions"
            cases[name] = (*beside(rng, dim, value), Threshold(value=value), {"block_size": 64})
    audio, text, value = rounded_down()
    for factor in (1, 1 - 1e-9, 1 + 1e-9):
        cases[f"the hardest roundings, {factor:.9f}"] = (audio, text, Threshold(value=value * factor), {})
    audio, text = (np.tile(spread(rng, rows), (2, 1)) for rows in (60, 50))
    for threshold in (Threshold(count=300), Threshold(quantile=0.97)):
        cases[f"ties, {threshold.count or threshold.quantile}"] = (audio, text, threshold, {"block_size": 16})
    audio, text = spread(rng, 90), spread(rng, 70)
    for options in ({"max_captions_per_clip": 7}, {"max_captions_per_clip": 4, "max_clips_per_caption": 2},
                    {"mutual_nearest": True}):  # fmt: skip
        for threshold in (Threshold(value=0.3), Threshold(count=40)):
            name = f"limits {', '.join(map(str, options.values()))}, {threshold.count or threshold.value}"
            cases[name] = (audio, text, threshold, {**options, "block_size": 32})
    cases["corrected for hubs"] = (audio, text, Threshold(value=0.1), {"csls_neighbours": 5, "block_size": 32})
    rows = 9000 // shrink**2, 34000 // shrink**2
    cases["several blocks"] = (*(spread(rng, count, 64) for count in rows), Threshold(value=0.5), {})
    return cases


def scores(audio: np.ndarray, text: np.ndarray) -> np.ndarray:
    """(clips, captions) float64. Equal vectors score equally if there are few."""
    audio, text = audio.astype(np.float64), text.astype(np.float64)
    return audio @ text.T if len(audio) > 1000 else np.einsum("id,jd->ijd", audio, text).sum(2)


def nearest(similarities: np.ndarray, count: int | None) -> np.ndarray:
    """Whether each is among the `count` highest of its row. Among equals, the first ones count."""
    if count is None:
        return np.ones(similarities.shape, bool)
    mask = np.zeros(similarities.shape, bool)
    np.put_along_axis(mask, np.argsort(-similarities, axis=1, kind="stable")[:, :count], True, axis=1)
    return mask


def corrected(similarities: np.ndarray, neighbours: int) -> np.ndarray:
    means = [
        np.sort(side, axis=1)[:, -neighbours:].mean(1).astype("f4").astype(np.float64)
        for side in (similarities, similarities.T)
    ]
    return 2 * similarities - means[0][:, None] - means[1]


def brute_force(audio: np.ndarray, text: np.ndarray, threshold: Threshold, options: dict) -> set[tuple[int, int]]:
    """The pairs that `match` must find."""
    found = scores(audio, text)
    if "csls_neighbours" in options:
        found = corrected(found, options["csls_neighbours"])
    each = 1 if options.get("mutual_nearest") else None
    mask = nearest(found, options.get("max_captions_per_clip", each))
    mask &= nearest(found.T, options.get("max_clips_per_caption", each)).T
    floor = threshold.value
    if floor is None:
        allowed = np.sort(found[mask])
        floor = allowed[-min(threshold.number_of(found.size), len(allowed))]
    return set(map(tuple, np.argwhere(mask & (found >= floor)).tolist()))
