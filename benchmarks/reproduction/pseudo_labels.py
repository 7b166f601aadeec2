"""How true a teacher's pseudo-labels of the pool are, for several rankings of clips.

`cosine` ranks by the cosine to a label's prompt, `probability` by the label's probability among all labels, as in
`curate.py --contrast_labels`, `CSLS` as in `--csls_neighbours`. `less mean` subtracts a clip's mean cosine to the
labels. `neighbours` mixes a clip's probabilities with those of its nearest clips.

    python benchmarks/reproduction/pseudo_labels.py DATA_DIR TEACHER [TEACHER …]

The pool is ESC-50's fold 2 and UrbanSound8K's fold 1 together. For each of their classes, the first clips are taken. A
clip is true if it is of that class. A class in both sets counts as one. Nothing is trained on these labels.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from classes import same
from protocols import THIRD

from modeling_clap_student.checkpoints.embedding import embed_clips, text_vectors
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.curation.strategies import label_offsets, label_prompts
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips


FIRST = {"esc50": (4, 8), "urbansound8k": (8, 32)}  # clips per class; ESC-50's fold has 8 of each


def shares(scores: np.ndarray, names: list[str], labels: list[str], counts: tuple[int, ...]) -> list[float]:
    """The mean over the classes of the share of true clips among the first ones of each.

    Args:
        scores: (clips, classes).
        labels: the clips' labels.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    true = np.array([[same(label, name) for name in names] for label in labels])
    return [float(np.take_along_axis(true, order[:count], axis=0).mean()) for count in counts]


def rankings(clips: np.ndarray, prompts: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """Way -> (clips, classes), from unit vectors (clips, dim) and (classes, dim)."""
    cosines = clips @ prompts.T
    probability = np.exp(scale * (cosines - label_offsets(clips, prompts, scale)[:, None]))
    nearest = [np.sort(cosines, axis)[-10:] if axis == 0 else np.sort(cosines, axis)[:, -10:] for axis in (0, 1)]
    return {
        "cosine": cosines,
        "probability": probability,
        "CSLS": 2 * cosines - nearest[0].mean(0) - nearest[1].mean(1, keepdims=True),
        "less mean": cosines - cosines.mean(1, keepdims=True),
        "neighbours": shared_among_neighbours(probability, clips),
    }


def shared_among_neighbours(scores: np.ndarray, clips: np.ndarray, count: int = 5, rounds: int = 3) -> np.ndarray:
    """Half of each score is the clip's own, half the mean of its nearest clips', each weighted by its similarity."""
    centred = clips - clips.mean(0)
    similarity = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    np.fill_diagonal(similarity, -1)
    near = np.argsort(-similarity, axis=1)[:, :count]
    weights = np.take_along_axis(similarity, near, axis=1).clip(min=0) ** 2
    weights /= weights.sum(1, keepdims=True).clip(min=1e-9)
    shared = scores
    for _ in range(rounds):
        shared = (scores + (weights[..., None] * shared[near]).sum(1)) / 2
    return shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="The folder of real recordings.")
    parser.add_argument("teachers", nargs="+")
    args = parser.parse_args()
    pool = [read_benchmark(spec.format(data=args.data)).clips for spec in THIRD.pool_sets.values()]
    labels = [label for clips in pool for label in clips["label"]]
    for teacher in args.teachers:
        model, processor = load_checkpoint(teacher)
        model = for_inference(model)
        with TemporaryDirectory() as folder:
            skipped = SkippedClips(Path(folder, "skipped.csv"))
            vectors = [embed_clips(model, processor, part, skipped, description="clips")[0] for part in pool]
        clips = np.concatenate(vectors)
        scale = model.logit_scale.exp().item()
        for domain, spec in THIRD.domains.items():
            names, counts = read_benchmark(spec.format(data=args.data)).class_names, FIRST[domain]
            prompts = text_vectors(model, processor.tokenizer, label_prompts(names), len(names)).numpy()
            for way, scores in rankings(clips, prompts, scale).items():
                told = zip(counts, shares(scores, names, labels, counts), strict=True)
                print(
                    f"{teacher} {domain} {way}:", ", ".join(f"first {k} {share:.1%}" for k, share in told), flush=True
                )


if __name__ == "__main__":
    main()
