"""Does a promise from a hundred verdicts hold, and what does it cost? Simulated listeners know the truth.

    python benchmarks/verdicts.py soundscapes=outputs/soundscapes/seed-0/teacher
    python benchmarks/verdicts.py urbansound8k=outputs/teacher esc50=outputs/teacher --data DATA_DIR

Each argument is a pool and the teacher to curate it with (`python run_teacher.py` makes that of the built-in demo). On
the built-in soundscapes a pair fits if the clip holds the event of the caption. On UrbanSound8K's fold 1 and ESC-50's
fold 2 it fits if the clip's class is the class name nearest to the caption. Their captions are `captioned_sfx` and
ESC-50's fold 1, in DATA_DIR. Each repetition draws and judges other pairs, and takes the cut that they promise. Beside
it are the lowest cut at which the wanted share truly fits (the oracle), and the cut of `--pair_threshold auto` (the
advisor). It takes a minute per pool on one core, without the embedding.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from embedded_pool import embed_pool

from modeling_clap_student import InputError
from modeling_clap_student.curation.advisor import PrecisionEstimate, estimate_precision
from modeling_clap_student.curation.arguments import Threshold
from modeling_clap_student.curation.promise import decide
from modeling_clap_student.curation.sampling import draw_pairs, label_numbers
from modeling_clap_student.curation.strategies import match_pool, select_captions
from modeling_clap_student.curation.verdicts import DOES_NOT, FITS, Verdicts
from modeling_clap_student.data.benchmarks import evaluation_clips, read_benchmark, read_labels
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.leakage import LeakageFilter
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.soundscapes.corpus import holds_event


POOLS = {"urbansound8k": "urbansound8k:1={data}/urbansound8k", "esc50": "esc50:2={data}/esc50_16k"}
CAPTIONS = ("audiofolder={data}/captioned_sfx", "esc50:1={data}/esc50_16k")
HEADS = (
    "pool", "pairs", "fit", "wanted", "oracle keeps", "promise held", "promised nothing", "kept, of the oracle's",
    "advisor keeps", "of these fit",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A curated set whose truth is known.

    Attributes:
        table: the input of `draw_pairs`.
        truth: (pairs,) bool, whether each fits.
        estimate: the advisor's.
    """

    table: pa.Table
    truth: np.ndarray
    estimate: PrecisionEstimate


def read(name: str, data: Path | None):
    """The captioned corpus, the pool, the class names, and each clip's class by its id, if it has one."""
    if name == "soundscapes":
        return read_corpora([name]), read_pools([name], ExclusionLog()), read_labels(name)[0], None
    spec = POOLS[name].format(data=data)
    leakage = LeakageFilter([evaluation_clips(spec)])
    corpus = read_corpora([text.format(data=data) for text in CAPTIONS], exclusions=ExclusionLog(), leakage=leakage)
    benchmark = read_benchmark(spec)
    classes = dict(zip(benchmark.clips["audio_id"], benchmark.clips["label"], strict=True))
    return corpus, benchmark.clips, benchmark.class_names, classes


def curated(name: str, teacher: str, data: Path | None, num_captions: int, num_pairs: int) -> Case:
    """Curates by ADS, as curate.py does."""
    corpus, pool, names, classes = read(name, data)
    heard = embed_pool(teacher, corpus, pool, names)
    count = Threshold(count=min(num_captions, len(heard.texts)))
    selected = select_captions(heard.texts, heard.prompts, count)
    estimate = estimate_precision(heard.clips, heard.texts, selected.indices, selected.labels, heard.scale)
    matched = pool.select(heard.rows), heard.clips, heard.captions, heard.texts, Threshold(count=num_pairs)
    pairs = match_pool(*matched, selected, class_names=names).pairs
    if classes is None:
        paths = [audio["path"] for audio in pairs["audio"]]
        truth = [bool(holds_event(path, caption)) for path, caption in zip(paths, pairs["caption"], strict=True)]
    else:
        truth = [classes[clip] == label for clip, label in zip(pairs["audio_id"], pairs["label"], strict=True)]
    return Case(pairs.remove_columns("audio").with_format("arrow")[:], np.array(truth), estimate)


def listen(case: Case, number: int, seed: int) -> Verdicts:
    """The true verdicts on the pairs that this seed draws."""
    draw = draw_pairs(case.table, number, f"{seed:016x}")
    said = (FITS if case.truth[row] else DOES_NOT for row in draw.rows)
    pairs = tuple(replace(pair, verdict=word) for pair, word in zip(draw.pairs, said, strict=True))
    return Verdicts("", draw.cuts, pairs, len(pairs))


def line_of(name: str, case: Case, wanted: float, listeners: list[list[Verdicts]]) -> list[str]:
    """The row for one wanted precision. If a listener looks several times, the first promise counts."""
    similarities = case.table["similarity"].to_numpy()
    order = np.argsort(-similarities, kind="stable")
    shares = case.truth[order].cumsum() / np.arange(1, len(order) + 1)
    is_last = np.append(np.diff(similarities[order]) != 0, True)  # equal ones are kept together
    reached = np.flatnonzero((shares >= wanted) & is_last)
    oracle = int(reached.max()) + 1 if len(reached) else 0
    names, labels = label_numbers(case.table)
    held, nothing, kept = 0, 0, []
    for looks in listeners:
        promises = [decide(verdicts, wanted) for verdicts in looks]
        promise = next((promise for promise in promises if np.isfinite(promise.lowest)), promises[-1])
        is_kept = similarities >= np.array([promise.cosine(label) for label in names])[labels]
        nothing += not is_kept.any()
        held += bool(not is_kept.any() or case.truth[is_kept].mean() >= wanted)
        kept.append(is_kept.sum())
    try:
        is_advised = similarities >= case.estimate.loosest(wanted)[0]
    except InputError:  # no threshold reaches it, says the estimate
        is_advised = np.zeros(len(similarities), bool)
    advised = [str(is_advised.sum()), f"{case.truth[is_advised].mean():.1%}"] if is_advised.any() else ["–", "–"]
    cost = f"{np.mean(kept) / oracle:.0%}" if oracle else "–"
    told = [f"{held / len(listeners):.1%}", f"{nothing / len(listeners):.1%}", cost]
    return [name, str(len(order)), f"{case.truth.mean():.1%}", f"{wanted:.0%}", str(oracle), *told, *advised]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pools", nargs="+", metavar="POOL=TEACHER", help=f"soundscapes, {', '.join(POOLS)}.")
    parser.add_argument("--data", type=Path, help="The folder of real recordings.")
    parser.add_argument("--num_captions", type=int, default=60)
    parser.add_argument("--num_pairs", type=int, default=1500)
    parser.add_argument("--num_verdicts", type=int, nargs="+", default=[100])
    parser.add_argument("--looks", type=int, nargs="*", default=[], help="Fewer verdicts, at which to look and stop.")
    parser.add_argument("--precision", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8])
    parser.add_argument("--repetitions", type=int, default=200)
    args = parser.parse_args()
    PartialState(cpu=not torch.accelerator.is_available())
    specs = [spec.partition("=") for spec in args.pools]
    cases = {name: curated(name, teacher, args.data, args.num_captions, args.num_pairs) for name, _, teacher in specs}
    for number in args.num_verdicts:
        print(f"\n{number} verdicts, 95 % confidence, {args.repetitions} repetitions\n")
        print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
        for name, case in cases.items():
            numbers = [*args.looks, number]
            listeners = [[listen(case, count, seed) for count in numbers] for seed in range(args.repetitions)]
            for wanted in args.precision:
                print(f"| {' | '.join(line_of(name, case, wanted, listeners))} |", flush=True)


if __name__ == "__main__":
    main()
