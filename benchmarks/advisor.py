"""How far off `curate.py --pair_threshold auto` is: its estimated precision beside the true one.

    python benchmarks/advisor.py soundscapes=outputs/soundscapes/seed-0/teacher
    python benchmarks/advisor.py urbansound8k=outputs/teacher --data DATA_DIR --num_captions 30 60 120

Each argument is a pool and the teacher to match it with. On the built-in soundscapes, a pair is true if the clip holds
the event of the caption. On UrbanSound8K, folds 1 and 2, it is true if the clip's class is the class name nearest to
the caption. The captions are the teacher's. For the soundscapes they are the built-in ones. Otherwise they are those
of `captioned_sfx`, `esc50_extra` and `esc10` in DATA_DIR (see mini_real.sh). That teacher is trained with `--task
urbansound8k:1,2=DATA_DIR/urbansound8k`, which leaves out recordings that UrbanSound8K also holds. Prints a table for
each number of selected captions, from the best tenths of a percent of all pairs to the best tenth, and draws them
(needs `pip install matplotlib`).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from embedded_pool import embed_pool

from modeling_clap_student.curation.advisor import estimate_precision
from modeling_clap_student.curation.arguments import Threshold
from modeling_clap_student.curation.strategies import select_captions
from modeling_clap_student.data.benchmarks import evaluation_clips, read_benchmark, read_labels
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.leakage import LeakageFilter
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.soundscapes.corpus import holds_event


SHARES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


def read(name: str, data: Path | None):
    """The captioned corpus, the pool, the class names, and a function of (rows of the pool, captions, labels): are
    they true."""
    if name == "soundscapes":
        pool = read_pools([name], ExclusionLog())
        paths = [audio["path"] for audio in pool["audio"]]
        names = read_labels(name)[0]
        return read_corpora([name]), pool, names, lambda row, caption, label: holds_event(paths[row], caption)
    spec = f"{name}:1,2={data / name}"
    specs = [f"audiofolder={data / 'captioned_sfx'}", f"esc50={data / 'esc50_extra'}", f"esc50={data / 'esc10'}"]
    corpus = read_corpora(specs, exclusions=ExclusionLog(), leakage=LeakageFilter([evaluation_clips(spec)]))
    pool = read_benchmark(spec)
    classes = pool.clips["label"]
    return corpus, pool.clips, pool.class_names, lambda row, caption, label: classes[row] == label


def tables(name: str, teacher: str, data: Path | None, numbers: list[int]):
    """For each number of selected captions: rows of threshold, kept pairs, estimated precision and true precision."""
    corpus, pool, names, is_true = read(name, data)
    heard = embed_pool(teacher, corpus, pool, names)
    for number in numbers:
        selected = select_captions(heard.texts, heard.prompts, Threshold(count=number))
        estimate = estimate_precision(heard.clips, heard.texts, selected.indices, selected.labels, heard.scale)
        words = heard.captions.select(selected.indices)["caption"]
        labels = [names[label] for label in selected.labels]
        truth = np.array(
            [[is_true(row, *pair) for pair in zip(words, labels, strict=True)] for row in heard.rows.tolist()]
        )
        yield number, rows_of(estimate, heard.clips @ heard.texts[selected.indices].T, truth)


def rows_of(estimate, similarities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(rows, 4): at thresholds that keep about these shares of all pairs."""
    rows = []
    for share in SHARES:
        wanted = estimate.thresholds.searchsorted(np.quantile(similarities, 1 - share), side="right") - 1
        above = similarities >= estimate.thresholds[wanted]
        rows.append((estimate.thresholds[wanted], above.sum(), estimate.precisions[wanted], truth[above].mean()))
    return np.array(rows)


def show(title: str, rows: np.ndarray) -> None:
    print(f"\n{title}\n\n| threshold | kept pairs | estimated | true |\n|---|---|---|---|")
    for threshold, pairs, estimated, true in rows:
        print(f"| {threshold:.4f} | {pairs:.0f} | {estimated:.1%} | {true:.1%} |")
    error = rows[:, 2] - rows[:, 3]
    print(f"\nmean absolute error {abs(error).mean():.3f}, bias {error.mean():+.3f}", flush=True)


def plot(results: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 6))
    axes.plot([0, 1], [0, 1], color="0.7")
    for title, rows in results.items():
        axes.plot(rows[:, 3], rows[:, 2], marker="o", markersize=3, label=title)
    axes.set(xlabel="true precision", ylabel="estimated precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches="tight")
    print(f"\ndrawn in {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pools", nargs="+", metavar="POOL=TEACHER")
    parser.add_argument("--data", type=Path, help="The folder of real recordings.")
    parser.add_argument("--num_captions", type=int, nargs="+", default=[60])
    parser.add_argument("--plot", type=Path, default=Path("outputs/advisor.png"))
    args = parser.parse_args()
    PartialState(cpu=not torch.accelerator.is_available())
    results = {}
    for spec in args.pools:
        name, _, teacher = spec.partition("=")
        for number, rows in tables(name, teacher, args.data, args.num_captions):
            title = f"{name}, {Path(teacher).name}, {number} captions"
            show(title, rows)
            results[title] = rows
    plot(results, args.plot)


if __name__ == "__main__":
    main()
