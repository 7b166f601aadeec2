"""Asks a person to judge pairs of an Improvement-Set: a page to listen and judge, and the promise from the verdicts.

clap-curate review outputs/pairs
clap-curate review outputs/pairs --verdicts verdicts.csv --precision 0.8 --num_verdicts 200
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..errors import InputError
from ..utils.arguments import CheckedArguments, Range, flag
from ..utils.console import heading, print_table, say
from ..utils.outputs import whole_folder
from .command_line import parse_arguments


@dataclass
class ReviewArguments(CheckedArguments):
    title: ClassVar[str] = "Review"
    ranges: ClassVar[dict[str, Range]] = {
        "num_verdicts": Range(1, 500),
        "precision": Range(0, 1, above=True),
        "confidence": Range(0.5, 0.9999),
    }

    improvement_set: str = flag(help="SET, as a flag: what curate.py made, a folder or Hub id.")
    verdicts: list[str] | None = flag(
        None, "Earlier verdicts: verdicts.csv, or exports of Label Studio (.json).", several=True
    )
    num_verdicts: int = flag(100, "Pairs to judge, including those judged before.")
    precision: float = flag(0.8, "Wanted share of pairs that fit.")
    confidence: float = flag(0.95, "How sure to be of that share.")
    output_dir: str | None = flag(None, "Folder of the page. Default: the set's folder with _review at the end.")


def main() -> None:
    """Runs `review SET …`, after the command's own name."""
    argv = sys.argv[2:]
    if argv and not argv[0].startswith("-"):
        argv = ["--improvement_set", *argv]
    (args,) = parse_arguments((ReviewArguments,), __doc__, argv, prog=f"{Path(sys.argv[0]).name} review SET")
    review(args)


def review(args: ReviewArguments) -> None:
    """Draws pairs, writes the page, and says what earlier verdicts promise."""
    from ..curation.improvement_set import load_improvement_set
    from ..curation.promise import decide
    from ..curation.review import FILES, beside_set, write_review
    from ..curation.verdicts import NAME, read_verdicts

    heading(f"Review of {args.improvement_set}")
    if args.improvement_set.startswith("stream="):
        raise InputError("a review draws from a whole set: name it without stream=")
    earlier = read_verdicts(args.verdicts) if args.verdicts else None
    pairs, _, provenance = load_improvement_set(args.improvement_set)
    promise = None if earlier is None else decide(earlier, args.precision, args.confidence)
    output = Path(args.output_dir or beside_set(args.improvement_set, "review"))
    with whole_folder(output, replaces=lambda folder: {file.name for file in folder.iterdir()} <= FILES) as folder:
        asked = write_review(folder, pairs, provenance, args.num_verdicts, earlier, promise)
    if promise is not None:
        report_promise(asked, promise)
    left = sum(not pair.verdict for pair in asked.pairs)
    say(f"{left} of {len(asked.pairs)} pairs are to be judged: open {output}/review.html, and save {NAME}")


def report_promise(verdicts, promise) -> None:
    """Prints each cut with the verdicts on its draw, and what can be promised."""
    from ..curation.promise import describe, drawn

    rows = []
    for cut in verdicts.cuts:
        sample = drawn(verdicts, cut)
        bound = f"{sample.lower_bound(promise.confidence):.1%}" if sample.told else "–"
        rows.append([f"{cut.cosine:.4f}", str(cut.pairs), f"{sample.fits} of {sample.told}", bound])
    print_table("What was said", ["threshold", "pairs", "fit", f"at least, {promise.confidence:.0%}"], rows)
    for group in promise.groups:
        say(describe(group, promise))
