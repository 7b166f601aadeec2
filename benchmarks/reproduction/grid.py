"""The rows of the paper's tables and their ablations, as commands of this package. `protocols.py` has the recordings.

Sizes depend only on the corpora: about as many pairs as the teacher has, shared evenly among the classes
(`--balance_labels`). DS takes the fifth of the captions that is nearest to the domain's prompts. The protocol decides
which captions and clips ADS takes, and how students train. The text tower is frozen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from protocols import BY_LABEL, BY_QUANTILE, Protocol
from steps import Step, needed


TEXTS = ["{data}/captions/audiocaps_train.csv", "{data}/captions/clotho_captions_development.csv"]  # without audio
NUM_PAIRS = "1500"
TABLES = ["2", "3", "rounds", "seeds", "recipe", "ablations", "options"]


@dataclass(frozen=True)
class Row:
    """A line of a table: for each labelled set, the scored model and the model it is compared with."""

    table: str
    title: str
    models: dict[str, str]
    baselines: dict[str, str]


def teacher(protocol: Protocol, name: str, *flags: str) -> Step:
    return Step(name, "run_teacher.py", ["--corpus", *protocol.captioned, *flags], ["model", "teacher", "kept"])


def pairs(
    protocol: Protocol,
    name: str,
    strategy: str,
    teacher: str,
    domain: str | None = None,
    num_pairs: str = NUM_PAIRS,
    balanced: str = "true",
    texts: Sequence[str] = (),
    selection: Sequence[str] | None = None,
) -> Step:
    flags = ["--strategy", strategy, "--teacher", f"{{folder}}/{teacher}", "--captions", *protocol.captioned, *texts]
    if strategy != "ds":
        flags += ["--audio", *protocol.pool, "--num_pairs", num_pairs]
    if strategy == "ads":
        flags += ["--balance_labels", balanced]
    if domain is not None:
        selection = selection or (protocol.ads if strategy == "ads" else BY_QUANTILE)
        flags += ["--labels", protocol.domains[domain], *selection]
    return Step(name, "curate.py", [*flags, "--embedding_store", "{folder}/embeddings"])


def student(name: str, strategy: str, teacher: str, of: str | None, beta: str, *flags: str) -> Step:
    flags = ["--strategy", strategy, "--teacher", f"{{folder}}/{teacher}", "--soft_label_weight", beta, *flags]
    if of is not None:
        flags += ["--improvement_set", f"{{folder}}/{of}"]
    return Step(name, "run_student.py", flags, ["student", "kept"])


def score(protocol: Protocol, labelled: str, model: str) -> Step:
    """Scores a model on a set. `tables.py` reads the result."""
    flags = ["--model", f"{{folder}}/{model}", "--task", protocol.sets[labelled]]
    return Step(f"eval_{labelled}_{model}", "run_eval.py", flags)


def grid(protocol: Protocol, tables: list[str]) -> tuple[list[Step], list[Row]]:
    """The steps for some of `TABLES`, each after those it needs, and the rows that they fill."""
    steps, rows = [], []
    for add in (_add_main, _add_subset, _add_rounds, _add_recipe, _add_ablations):
        add(protocol, steps, rows)
    # `order` belongs to Table 2. The three tables of ablations share their steps.
    wanted = {"2": {"2", "order"}, "ablations": {"ablations", "changes", "pool"}, "options": {"pool"}}
    shown = set().union(*(wanted.get(name, {name}) for name in tables))
    rows = [row for row in rows if row.table in shown]
    return steps_of(protocol, steps, rows), rows


def steps_of(protocol: Protocol, steps: list[Step], rows: list[Row]) -> list[Step]:
    """The steps that some rows need, with separate scoring steps if the protocol has them."""
    named = [pair for row in rows for models in (row.models, row.baselines) for pair in models.items()]
    steps = needed(steps, {model for _, model in named})
    if not protocol.is_pretrained:
        return steps
    scores = [score(protocol, *pair) for pair in dict.fromkeys(named)]
    return [each for step in steps for each in (step, *(one for one in scores if step.name in one.needs))]


def _both(name: str, sets: Iterable[str]) -> dict[str, str]:
    """One model for all sets."""
    return dict.fromkeys(sets, name)


def _each(name: str, sets: Iterable[str]) -> dict[str, str]:
    """For each set, the model of its domain."""
    return {of: f"{name}_{of.removeprefix('pool_')}" for of in sets}


def _betas(protocol: Protocol) -> list[tuple[str, str, str]]:
    """(β, its suffix in a model's name, its suffix in a row's title)."""
    first, *others = protocol.betas
    return [(first, "", ""), *((beta, beta.replace(".", ""), f", β = {beta}") for beta in others)]


def _add_main(protocol: Protocol, steps: list[Step], rows: list[Row]) -> None:
    """The paper's Table 2."""
    domains, betas = protocol.domains, _betas(protocol)
    steps += [teacher(protocol, "teacher"), *(student(f"sl{tag}", "none", "teacher", None, b) for b, tag, _ in betas)]
    steps += [pairs(protocol, "pairs_du", "du", "teacher"), student("du", "du", "teacher", "pairs_du", "0")]
    steps += [student(f"du_sl{tag}", "du", "teacher", "pairs_du", beta) for beta, tag, _ in betas]
    for strategy in ("ds", "ads"):
        for domain in domains:
            of = f"pairs_{strategy}_{domain}"
            steps.append(pairs(protocol, of, strategy, "teacher", domain))
            steps.append(student(f"{strategy}_{domain}", strategy, "teacher", of, "0"))
            steps += [student(f"{strategy}_sl{tag}_{domain}", strategy, "teacher", of, beta) for beta, tag, _ in betas]
    models = {"teacher": _both("teacher", domains)} | _with_betas("SL", "sl", _both, protocol)
    for title, name, models_of in (("DU", "du", _both), ("DS", "ds", _each), ("ADS", "ads", _each)):
        models[title] = models_of(name, domains)
        models |= _with_betas(f"{title}+SL", f"{name}_sl", models_of, protocol)
    rows += [Row("2", title, names, _both("teacher", domains)) for title, names in models.items()]
    for title in ("ADS", "DS+SL", "DU+SL", "SL"):
        rows.append(Row("order", f"ADS+SL against {title}", models["ADS+SL"], models[title]))
    for title in (title for title in models if title == "teacher" or title.startswith("ADS+SL")):
        rows.append(Row("seeds", title, models[title], _both("teacher", domains)))


def _with_betas(title: str, name: str, models_of: Callable, protocol: Protocol) -> dict[str, dict[str, str]]:
    """A row's title -> its models, for each β."""
    return {title + told: models_of(name + tag, protocol.domains) for _, tag, told in _betas(protocol)}


def _add_subset(protocol: Protocol, steps: list[Step], rows: list[Row]) -> None:
    """Table 3: a teacher of a quarter of the pairs (the paper's tenth would be 140)."""
    domains, betas = protocol.domains, _betas(protocol)
    steps.append(teacher(protocol, "quarter", "--subset_fraction", "0.25"))
    steps.append(pairs(protocol, "quarter_pairs_du", "du", "quarter"))
    steps += [student(f"quarter_du_sl{tag}", "du", "quarter", "quarter_pairs_du", beta) for beta, tag, _ in betas]
    for domain in domains:
        of = f"quarter_pairs_ads_{domain}"
        steps.append(pairs(protocol, of, "ads", "quarter", domain))
        steps += [student(f"quarter_ads_sl{tag}_{domain}", "ads", "quarter", of, beta) for beta, tag, _ in betas]
    models = {"subset teacher": _both("quarter", domains)}
    models |= _with_betas("DU+SL", "quarter_du_sl", _both, protocol)
    models |= _with_betas("ADS+SL", "quarter_ads_sl", _each, protocol)
    rows += [Row("3", title, names, _both("quarter", domains)) for title, names in models.items()]


def _second_round(protocol: Protocol, beta: str, tag: str) -> list[Step]:
    """The student becomes the teacher: it curates again, and teaches."""
    steps = []
    for domain in protocol.domains:
        first, of = f"ads_sl{tag}_{domain}", f"pairs_second{tag}_{domain}"
        steps.append(pairs(protocol, of, "ads", first, domain))
        steps.append(student(f"second{tag}_{domain}", "ads", first, of, beta))
    return steps


def _add_rounds(protocol: Protocol, steps: list[Step], rows: list[Row]) -> None:
    """A second round, and a row without replay, beside the first round's rows."""
    domains = protocol.domains
    titles = _with_betas("ADS+SL", "ads_sl", _each, protocol)
    for beta, tag, told in _betas(protocol):
        steps += _second_round(protocol, beta, tag)
        titles[f"a second round, teacher ← student{told}"] = _each(f"second{tag}", domains)
    for domain in domains:
        flags = ("ads", "teacher", f"pairs_ads_{domain}", protocol.betas[0], "--replay_probability", "0")
        steps.append(student(f"ads_no_replay_{domain}", *flags))
    titles["no replay"] = _each("ads_no_replay", domains)
    rows += [Row("rounds", title, names, _both("teacher", domains)) for title, names in titles.items()]


# Parts of protocol 3's recipe that protocol 2 lacks, removed one by one: name, captions and clips, student's flags.
_WITHOUT = {
    "without a share of the start (`--start_share 0`)": ("trained", None, ["--start_share", "0"]),
    "without `--contrast_labels`": ("cosine", [*BY_LABEL, "--contrast_labels", "false"], []),
    "with the nearest fifth of the captions, by cosine alone": ("quantile", BY_QUANTILE, []),
    "with neither": ("plain", BY_QUANTILE, ["--start_share", "0"]),
}


def _add_recipe(protocol: Protocol, steps: list[Step], rows: list[Row]) -> None:
    """The contribution of each part of the recipe."""
    titles = {"ADS+SL": _each("ads_sl", protocol.domains)}
    for title, (name, selection, flags) in _WITHOUT.items():
        titles[title] = _each(f"ads_{name}", protocol.domains)
        for domain in protocol.domains:
            of = f"pairs_ads_{domain}"
            if selection is not None:
                of = f"pairs_ads_{'cosine' if name == 'cosine' else 'quantile'}_{domain}"
                if of not in {step.name for step in steps}:
                    steps.append(pairs(protocol, of, "ads", "teacher", domain, selection=selection))
            steps.append(student(f"ads_{name}_{domain}", "ads", "teacher", of, protocol.betas[0], *flags))
    rows += [Row("recipe", title, names, _both("teacher", protocol.domains)) for title, names in titles.items()]


# Differences from ADS+SL: its name, another β, flags of the student.
_CHANGES = {
    "β = 0.1": ("beta01", "0.1", []),
    "β = 0.5": ("beta05", "0.5", []),
    "n = softmax (0.1)": (
        "softmax",
        None,
        ["--soft_label_normalization", "softmax", "--soft_label_temperature", "0.1"],
    ),
    "n = none": ("none", None, ["--soft_label_normalization", "none"]),
    "no replay": ("no_replay", None, ["--replay_probability", "0"]),
    "the text tower learns too": ("text_learns", None, ["--freeze_text_encoder", "false"]),
}


def _add_ablations(protocol: Protocol, steps: list[Step], rows: list[Row]) -> None:
    """One difference from ADS+SL at a time; with β = 0 it is ADS. Some steps are shared with the rounds."""
    first = f"ADS+SL: β = {protocol.betas[0]}, n = l1, replay, 1500 pairs shared by the classes"
    titles = {first: "ads_sl", "β = 0 (ADS)": "ads"}
    there = {step.name for step in steps}
    for title, (name, beta, flags) in _CHANGES.items():
        titles[title] = f"ads_{name}"
        for domain in protocol.domains:
            of = ("ads", "teacher", f"pairs_ads_{domain}", beta or protocol.betas[0], *flags)
            if f"ads_{name}_{domain}" not in there:
                steps.append(student(f"ads_{name}_{domain}", *of))
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
        for domain in protocol.domains:
            of = f"pairs_ads_{name}_{domain}"
            steps.append(pairs(protocol, of, "ads", "teacher", domain, *settings))
            steps.append(student(f"ads_{name}_{domain}", "ads", "teacher", of, protocol.betas[0]))
    titles["a second round, teacher ← student"] = "second"
    for table, sets, models_of, against in (
        ("ablations", protocol.domains, _both, "teacher"),
        ("changes", protocol.domains, _each, "ads_sl"),
        ("pool", protocol.pool_sets, _each, "ads_sl"),
    ):
        baselines = models_of(against, sets)
        rows += [Row(table, title, _each(name, sets), baselines) for title, name in titles.items()]


__all__ = ["TABLES", "Row", "grid", "pairs", "steps_of", "student", "teacher"]
