r"""Trains a student on an Improvement-Set, with the teacher's soft labels and replay.

One process:        python run_student.py --strategy ads --teacher outputs/teacher \
                        --improvement_set outputs/improvement_set_ads --task esc50=/data/ESC-50
Several GPUs:       accelerate launch --num_processes 2 run_student.py --strategy ads …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_student.py --strategy ads …

With nothing but --strategy it runs the whole chain on the built-in soundscapes: teacher, curation, student, scores.
`--strategy none` trains on the teacher's own corpus with soft labels alone (the paper's SL row).
"""

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..checkpoints.arguments import ModelArguments
from ..curation.arguments import CurateArguments
from ..errors import InputError
from ..soundscapes import demo
from ..training.arguments import ClapStudentTrainingArguments, StudentArguments
from ..utils.arguments import make_arguments
from ..utils.console import print_table, say
from .command_line import command, parse_arguments, report_data


_TYPES = (StudentArguments, ModelArguments, ClapStudentTrainingArguments)


def is_built_in(flags: Namespace | StudentArguments) -> bool:
    return not (flags.teacher or flags.improvement_set or flags.replay)


def defaults(flags: Namespace) -> dict:
    """The demo's defaults, if only the strategy is named."""
    if not is_built_in(flags):
        return {"output_dir": f"outputs/student_{flags.strategy}"}
    return demo.student(flags.strategy, flags.seed, flags.init)


@command
def main():
    args, model_args, training_args = parse_arguments(_TYPES, __doc__, adapt=defaults)
    if is_built_in(args):
        if args.dry_run:
            report_built_in()
            return
        say(f"The demo on built-in sounds: {demo.STAGES}")
        make_built_in_inputs(args, training_args.seed)
    if results := train_student(args, model_args, training_args):
        print_results(results)
        if args.task == [demo.NAME]:
            print_next(args)


def train_student(
    args: StudentArguments, model_args: ModelArguments, training_args: ClapStudentTrainingArguments
) -> dict:
    """Trains a student from a teacher and an Improvement-Set, and scores both. Returns the results."""
    from transformers import set_seed

    from ..checkpoints.initialization import start_model
    from ..checkpoints.loading import as_student, load_checkpoint
    from ..curation.improvement_set import pair_precision
    from ..data.benchmarks import read_benchmark
    from ..data.leakage import LeakageFilter, evaluation_sounds
    from ..data.sources import ST, ExclusionLog, report_exclusions
    from ..evaluation.validation import Validation
    from ..hub_clap_student import fingerprint
    from ..training.hearing import make_collator
    from ..training.run import TrainingRun, push_if_asked
    from ..training.sources import find_teacher, read_results, read_student_data, student_sources
    from ..training.tracked_pairs import TrackedPairs
    from ..training.trainer import ClapStudentTrainer

    run = TrainingRun(f"Student ({args.strategy}): learns from the pairs and its teacher", args, training_args)
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    benchmarks = [read_benchmark(spec, exclusions) for spec in args.task or ()]
    tasks = [benchmark.clips for benchmark in benchmarks]
    leakage = LeakageFilter(tasks, sounds=evaluation_sounds(args, tasks))
    check_selection(args, training_args)
    training_args.check_start(args.init)
    data = read_student_data(args, training_args, leakage, exclusions)
    if data.is_streamed:
        leakage.listen_to_streams()
    args.teacher = find_teacher(args)
    report_exclusions(exclusions)
    say(f"teacher {args.teacher}; {data}")
    if args.dry_run:
        report_data(data.tables | {f"evaluation: {benchmark.name}": benchmark.clips for benchmark in benchmarks})
        return {}
    if Path(args.teacher.removeprefix(ST)).resolve() == Path(training_args.output_dir).resolve():
        raise InputError(f"--output_dir {training_args.output_dir} is the teacher's own folder: name another")
    teacher, teacher_processor = load_checkpoint(args.teacher, trust_remote_code=args.trust_remote_code)
    if args.init == "teacher":
        as_student((teacher, teacher_processor))  # refuses it now, not after hours of work

    # A resumed run counts as the same run.
    settings = training_args.to_sanitized_dict() | {"resume_from_checkpoint": None}
    contents = None if data.is_streamed else data.content_keys
    key = json.loads(
        json.dumps([asdict(args), asdict(model_args), settings, fingerprint(teacher), contents], default=str)
    )
    results_file = Path(training_args.output_dir) / "results.json"
    finished = read_results(results_file) if results_file.exists() else {}
    if not data.is_streamed and finished.get("run") == key:
        say(f"reusing the student in {training_args.output_dir}: it was trained with the same arguments")
        push_if_asked(training_args)
        return finished

    with run.folder() as skipped:
        set_seed(training_args.seed)
        init = args.teacher if args.init == "teacher" else args.init
        student, processor = start_model(init, model_args, data.captions)
        selecting = benchmarks[0] if selects_by_accuracy(training_args) else None
        validation = Validation(processor, data.validation, skipped, training_args.pairs_in_loss, benchmark=selecting)
        trainer = ClapStudentTrainer(
            student,
            training_args,
            data.pairs,
            data.replay,
            teacher=teacher,
            validation=data.validation and validation,
            data_collator=make_collator(student, processor, training_args, teacher_processor, skipped, leakage),
            processing_class=processor,
            retention=order_retention(args, student, processor, data.captions, training_args.seed),
            record=origin(args, model_args, student) | student_sources(args),
        )
        if "trackio" in training_args.report_to and not data.is_streamed:
            trainer.add_callback(TrackedPairs(data.pairs, training_args.seed))
        run.train(trainer)
        scores = score_both((teacher, teacher_processor), (student, processor), benchmarks, skipped)
        student.config.record["results"] = [
            {"model": "this" if name == "student" else name}
            | {key: value for key, value in score[name].items() if key != "class_accuracy"}
            for score in scores
            for name in ("teacher", "student")
        ]
        first = scores[0] if scores else {"teacher": {"value": None}, "student": {"value": None, "n": None}}
        knows_precision = args.strategy != "none" and not data.is_streamed
        results = {
            "teacher_accuracy": first["teacher"]["value"],
            "student_accuracy": first["student"]["value"],
            "num_clips": first["student"]["n"],
            "scores": scores,
            "strategy": args.strategy,
            "num_pairs": trainer.num_curated,
            "pair_precision": pair_precision(data.pairs) if knows_precision else None,
            "excluded": exclusions.lines,
            "run": key,
        }
        results = run.finish(trainer, skipped, results)
    run.publish("student")
    return results


def selects_by_accuracy(training_args: ClapStudentTrainingArguments) -> bool:
    return training_args.metric_for_best_model in ("accuracy", "eval_accuracy")


def check_selection(args: StudentArguments, training_args: ClapStudentTrainingArguments) -> None:
    """Checks that labelled clips select a checkpoint only if the user asks for it, and beside a held-out part."""
    if selects_by_accuracy(training_args) and not (args.task and training_args.validation_fraction > 0):
        raise InputError("--metric_for_best_model accuracy needs --task, labelled clips, and --validation_fraction")


# Facts in the record of a model that was taught order. Retention and its users need them.
_OF_ORDER = ("connectives", "class_names", "hold_out_connectives")


def order_retention(
    args: StudentArguments, student, processor, captions: list[str] | None, seed: int
) -> Callable | None:
    """The term that keeps the start's knowledge of order, if it is wanted.

    Raises:
        InputError: it is requested, but the start has no such knowledge.
    """
    from ..temporal.retention import OrderRetention, knows_order

    if not (knows_order(student) if args.retain_order is None else args.retain_order):
        return None
    if not knows_order(student):
        raise InputError(
            f"--retain_order: --init {args.init} knows nothing of the order of sounds: run_temporal.py teaches it"
        )
    record = student.config.record or {}
    names = record.get("class_names") or sorted(set(captions or ()))
    say(f"the start knows the order of sounds: it is kept, with {len(names)} names of sounds (--retain_order)")
    is_held_out = bool(record.get("hold_out_connectives"))
    return OrderRetention(student, processor.tokenizer, names, args.retain_order_weight, is_held_out, seed)


def origin(args: StudentArguments, model_args: ModelArguments, student) -> dict:
    """For the model card: what the student started from."""
    facts = {"origin": f"A student of the strategy {args.strategy}.", "init": args.init}
    taught = getattr(student.config, "record", None) or {}
    facts |= {name: taught[name] for name in _OF_ORDER if name in taught}
    if args.init == "fresh":
        facts |= {"text_model": model_args.text_model, "audio_weights": model_args.audio_weights}
    return facts


def score_both(teacher: tuple, student: tuple, benchmarks: list, skipped) -> list[dict]:
    """Zero-shot accuracies on each set, `{teacher, student}`. Models are given with their processors."""
    from accelerate import PartialState

    from ..checkpoints.inference import for_inference
    from ..evaluation.zero_shot import zero_shot_of_all
    from ..utils.console import heading

    if not benchmarks:
        return []
    heading("Evaluation: teacher and student on clips that neither learned from")
    device = PartialState().device
    encoders = {
        name: (for_inference(model.to(device)), processor)
        for name, (model, processor) in (("teacher", teacher), ("student", student))
    }
    scores = []
    for benchmark in benchmarks:
        results = zero_shot_of_all(encoders, benchmark, skipped)
        for name, result in results.items():
            if result.collapse:
                say(f"caution: {name}: {result.collapse}")
        scores.append({name: r.as_row() | {"class_accuracy": r.by_class} for name, r in results.items()})
    return scores


def make_built_in_inputs(args: StudentArguments, seed: int) -> None:
    """Fills in the built-in teacher and Improvement-Set. Makes them now if they do not exist."""
    from ..checkpoints.loading import load_checkpoint
    from ..curation.improvement_set import read_provenance
    from ..hub_clap_student import fingerprint
    from .curate import make_improvement_set
    from .teacher import make_built_in_teacher

    args.teacher = make_built_in_teacher(seed)
    if args.strategy == "none":
        args.replay = [demo.NAME]
        return
    settings = demo.curation(args.strategy, seed)
    args.improvement_set = settings["output_dir"]
    curated_by = (read_provenance(args.improvement_set) or {}).get("teacher_fingerprint")
    if curated_by == fingerprint(load_checkpoint(args.teacher)[0]):
        say(f"reusing the Improvement-Set in {args.improvement_set}")
    else:
        make_improvement_set(*make_arguments((CurateArguments,), settings))


def report_built_in() -> None:
    """Reports what the built-in chain would read."""
    from ..data.benchmarks import read_benchmark
    from ..data.corpora import read_corpora
    from ..data.pools import read_pools

    pairs, pool, evaluation = read_corpora([demo.NAME]), read_pools([demo.NAME]), read_benchmark(demo.NAME)
    report_data({"captions": pairs, "pool": pool, "evaluation": evaluation.clips})
    say("built-in: nothing was made")


def print_results(results: dict) -> None:
    """Prints the final table of the whole chain."""
    for score in results["scores"]:
        print_table(
            f"Zero-shot accuracy on {score['student']['task']}",
            ["model", "accuracy", "95 % interval", "clips"],
            [[n, f"{r['value']:.1%}", f"{r['low']:.1%} – {r['high']:.1%}", str(r["n"])] for n, r in score.items()],
        )
        old, new = score["teacher"]["class_accuracy"], score["student"]["class_accuracy"]
        print_table(
            "By class",
            ["class", "teacher", "student", "change"],
            [[n, f"{old[n]:.0%}", f"{new[n]:.0%}", f"{100 * (new[n] - old[n]):+.0f}"] for n in sorted(new)],
        )
    precision = results["pair_precision"]
    truth = "" if precision is None else f"; in {precision:.1%} of them the clip holds what the caption says"
    say(f"the student learned from {results['num_pairs']} pairs{truth}")


_NEXT = [
    ["a teacher, from captioned clips", "run_teacher.py --corpus FOLDER …"],
    ["pairs, with your recordings", "curate.py --audio FOLDER --labels FILE …"],
    ["a student, from these pairs", "run_student.py --improvement_set FOLDER …"],
    ["scores, on labelled clips", "run_eval.py --model FOLDER --task FOLDER"],
]


def print_next(args: StudentArguments) -> None:
    """Prints what to do after the demo."""
    print_table("Next, with your own sounds", ["make", "with"], _NEXT, justify="left")
    pairs = f"; {args.improvement_set}/report.html plays the demo's pairs" if args.improvement_set else ""
    say(f"README.md has the whole commands under 'Your own data'{pairs}")


if __name__ == "__main__":
    main()
