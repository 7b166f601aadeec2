"""The rows of the paper's tables and their ablations, as commands of this package.

The protocol, of which docs/results.md says what was known when it was chosen:

captioned    `captioned_sfx`, `esc50_extra`, ESC-10 folds 1 and 2, the last two with their recordings' titles
pool         `wild`, UrbanSound8K fold 1, ESC-10 fold 3: audio alone
downstream   ESC-10 folds 4 and 5, UrbanSound8K fold 2: of these curation sees the class names alone, and every command
             leaves out their clips and recordings (`--task`)

The labels of the pool's folds rank options (`steps.POOL_SETS`); nothing is trained on them.

A domain is one of the two downstream sets: DS and ADS are curated for it. Everything else is the same for both. Sizes
follow from the corpora alone: the fifth of the captions that lies nearest to the domain's prompts, about as many pairs
as the teacher has, shared evenly among the classes (`--balance_labels`). The text tower keeps its weights
(`steps.RATES`). Both were chosen by the labels of the pool, with another seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steps import DOMAINS, POOL_SETS, Step


CAPTIONED = ["audiofolder={data}/captioned_sfx", "esc50={data}/esc50_extra", "esc50:1,2={data}/esc10"]
TEXTS = ["{data}/captions/audiocaps_train.csv", "{data}/captions/clotho_captions_development.csv"]  # without audio
POOL = ["folder={data}/wild", "urbansound8k:1={data}/urbansound8k", "esc50:3={data}/esc10"]

CAPTION_QUANTILE, NUM_PAIRS = "0.8", "1500"
BETA = "0.3"


@dataclass(frozen=True)
class Row:
    """A line of a table: for each labelled set, the model that is scored and the one it is compared with."""

    table: str
    title: str
    models: dict[str, str]
    baselines: dict[str, str]


def teacher(name: str, *flags: str) -> Step:
    return Step(name, "run_teacher.py", ["--corpus", *CAPTIONED, *flags], ["model", "teacher", "kept"])


def pairs(
    name: str,
    strategy: str,
    teacher: str,
    domain: str | None = None,
    num_pairs: str = NUM_PAIRS,
    balanced: str = "true",
    texts: Sequence[str] = (),
) -> Step:
    flags = ["--strategy", strategy, "--teacher", f"{{folder}}/{teacher}", "--captions", *CAPTIONED, *texts]
    if strategy != "ds":
        flags += ["--audio", *POOL, "--num_pairs", num_pairs]
    if strategy == "ads":
        flags += ["--balance_labels", balanced]
    if domain is not None:
        flags += ["--labels", DOMAINS[domain], "--caption_quantile", CAPTION_QUANTILE]
    return Step(name, "curate.py", [*flags, "--embedding_store", "{folder}/embeddings"])


def student(name: str, strategy: str, teacher: str, of: str | None, beta: str = BETA, *flags: str) -> Step:
    flags = ["--strategy", strategy, "--teacher", f"{{folder}}/{teacher}", "--soft_label_weight", beta, *flags]
    if of is not None:
        flags += ["--improvement_set", f"{{folder}}/{of}"]
    return Step(name, "run_student.py", flags, ["student", "kept"])


def grid(tables: list[str]) -> tuple[list[Step], list[Row]]:
    """The steps of some tables, each behind those it needs, and the rows that they fill.

    Args:
        tables: of "2", "3" and "ablations", which need those of "2".
    """
    steps, rows = [], []
    for name, add in {"2": _add_main, "3": _add_subset, "ablations": _add_ablations}.items():
        if name in tables:
            add(steps, rows)
    return steps, rows


def _both(name: str, sets: Iterable[str] = tuple(DOMAINS)) -> dict[str, str]:
    """One model for all sets."""
    return dict.fromkeys(sets, name)


def _each(name: str, sets: Iterable[str] = tuple(DOMAINS)) -> dict[str, str]:
    """For each set the model of its domain."""
    return {of: f"{name}_{of.removeprefix('pool_')}" for of in sets}


def _add_main(steps: list[Step], rows: list[Row]) -> None:
    """The paper's Table 2."""
    steps += [teacher("teacher"), student("sl", "none", "teacher", None), pairs("pairs_du", "du", "teacher")]
    steps += [student("du", "du", "teacher", "pairs_du", "0"), student("du_sl", "du", "teacher", "pairs_du")]
    for strategy in ("ds", "ads"):
        for domain in DOMAINS:
            of = f"pairs_{strategy}_{domain}"
            steps.append(pairs(of, strategy, "teacher", domain))
            steps.append(student(f"{strategy}_{domain}", strategy, "teacher", of, "0"))
            steps.append(student(f"{strategy}_sl_{domain}", strategy, "teacher", of))
    models = {"teacher": _both("teacher"), "SL": _both("sl"), "DU": _both("du"), "DU+SL": _both("du_sl")}
    models |= {"DS": _each("ds"), "DS+SL": _each("ds_sl"), "ADS": _each("ads"), "ADS+SL": _each("ads_sl")}
    rows += [Row("2", title, names, _both("teacher")) for title, names in models.items()]
    for title, names in {
        "ADS": _each("ads"),
        "DS+SL": _each("ds_sl"),
        "DU+SL": _both("du_sl"),
        "SL": _both("sl"),
    }.items():
        rows.append(Row("order", f"ADS+SL against {title}", _each("ads_sl"), names))


def _add_subset(steps: list[Step], rows: list[Row]) -> None:
    """Table 3: a teacher of a quarter of the pairs (the paper's tenth would be 140)."""
    steps += [
        teacher("quarter", "--subset_fraction", "0.25"),
        pairs("quarter_pairs_du", "du", "quarter"),
        student("quarter_du_sl", "du", "quarter", "quarter_pairs_du"),
    ]
    for domain in DOMAINS:
        of = f"quarter_pairs_ads_{domain}"
        steps += [pairs(of, "ads", "quarter", domain), student(f"quarter_ads_sl_{domain}", "ads", "quarter", of)]
    models = {
        "subset teacher": _both("quarter"),
        "DU+SL": _both("quarter_du_sl"),
        "ADS+SL": _each("quarter_ads_sl"),
    }
    rows += [Row("3", title, names, _both("quarter")) for title, names in models.items()]


# What differs from ADS+SL: its name, β, flags of the student.
_CHANGES = {
    "β = 0.1": ("beta01", "0.1", []),
    "β = 0.5": ("beta05", "0.5", []),
    "n = softmax (0.1)": (
        "softmax",
        BETA,
        ["--soft_label_normalization", "softmax", "--soft_label_temperature", "0.1"],
    ),
    "n = none": ("none", BETA, ["--soft_label_normalization", "none"]),
    "no replay": ("no_replay", BETA, ["--replay_probability", "0"]),
    "the text tower learns too": ("text_learns", BETA, ["--freeze_text_encoder", "false"]),
}


def _add_ablations(steps: list[Step], rows: list[Row]) -> None:
    """One thing at a time that differs from ADS+SL; with β = 0 it is ADS."""
    titles = {"ADS+SL: β = 0.3, n = l1, replay, 1500 pairs shared by the classes": "ads_sl", "β = 0 (ADS)": "ads"}
    for title, (name, beta, flags) in _CHANGES.items():
        titles[title] = f"ads_{name}"
        for domain in DOMAINS:
            steps.append(student(f"ads_{name}_{domain}", "ads", "teacher", f"pairs_ads_{domain}", beta, *flags))
    for title, name, *settings in (
        ("500 pairs", "500", "500"),
        ("5000 pairs", "5000", "5000"),
        ("the 1500 nearest pairs, whatever their class", "nearest", NUM_PAIRS, "false"),
        (
            "to choose from, 64 000 captions of AudioCaps and Clotho too (and fewer to rehearse)",
            "texts",
            NUM_PAIRS,
            "true",
            TEXTS,
        ),
    ):
        titles[title] = f"ads_{name}"
        for domain in DOMAINS:
            of = f"pairs_ads_{name}_{domain}"
            steps.append(pairs(of, "ads", "teacher", domain, *settings))
            steps.append(student(f"ads_{name}_{domain}", "ads", "teacher", of))
    titles["a second round, teacher ← student"] = "second"
    for domain in DOMAINS:
        first, of = f"ads_sl_{domain}", f"pairs_second_{domain}"
        steps += [pairs(of, "ads", first, domain), student(f"second_{domain}", "ads", first, of)]
    for table, sets, baselines in (
        ("ablations", DOMAINS, _both("teacher")),
        ("changes", DOMAINS, _each("ads_sl")),
        ("pool", POOL_SETS, _each("ads_sl", POOL_SETS)),
    ):
        rows += [Row(table, title, _each(name, sets), baselines) for title, name in titles.items()]


__all__ = ["Row", "grid", "pairs", "student", "teacher"]
