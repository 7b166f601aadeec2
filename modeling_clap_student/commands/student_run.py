"""What `clap-student` does once its flags are read."""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import set_seed

from .. import ClapStudentModel, ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from ..checkpoints.inference import for_inference
from ..checkpoints.initialization import ModelArguments, new_model
from ..checkpoints.loading import load_checkpoint
from ..curation.arguments import CurateArguments
from ..curation.improvement_set import load_improvement_set, pair_precision, read_provenance
from ..data.benchmarks import Benchmark, read_benchmark
from ..data.collation import ClapCollator
from ..data.corpora import read_corpora
from ..data.leakage import LeakageFilter, split_validation
from ..data.pools import read_pools
from ..data.skipping import SkippedClips, report_skipped, skipped_clips
from ..data.sources import BUILT_IN, ExclusionLog, dataset_source, report_exclusions, split_revision
from ..data.spectrograms import spectrogram_cache
from ..errors import reading
from ..evaluation.validation import Validation
from ..evaluation.zero_shot import zero_shot
from ..hub_clap_student import fingerprint
from ..soundscapes import demo
from ..training.checkpointing import refuse_used_folder
from ..training.curves import draw_curves
from ..training.streaming import check_steps
from ..utils.arguments import make_arguments, save_arguments
from ..utils.console import Stopwatch, heading, print_table, say
from ..utils.outputs import output_folder, probe_folder, write_json
from .arguments import StudentArguments
from .command_line import push_if_asked, report_data
from .curate_run import curate
from .teacher_run import make_built_in_teacher, subset


def make_what_is_missing(args: StudentArguments, seed: int) -> None:
    """Fills in the built-in teacher and Improvement-Set, made now if they are not there."""
    args.teacher = make_built_in_teacher(seed)
    if args.strategy == "none":
        args.replay = [demo.NAME]
        return
    settings = demo.curation(args.strategy, seed)
    args.improvement_set = settings["output_dir"]
    made_by = (read_provenance(args.improvement_set) or {}).get("teacher_fingerprint")
    if made_by == fingerprint(load_checkpoint(args.teacher)[0]):
        say(f"reusing the Improvement-Set in {args.improvement_set}")
    else:
        say(f"no Improvement-Set of this teacher in {args.improvement_set}: curating one first")
        curate(*make_arguments((CurateArguments,), settings))


def report_built_in() -> None:
    """What the built-in chain would read."""
    pairs, pool = read_corpora([BUILT_IN]), read_pools([BUILT_IN])
    report_data({"captions": pairs, "pool": pool, "evaluation": read_benchmark(BUILT_IN).clips})
    say("built-in: nothing was made")


Pairs = Dataset | IterableDataset


def read_pairs(args: StudentArguments, leakage: LeakageFilter, exclusions: ExclusionLog) -> tuple[Pairs, Pairs | None]:
    """What to train on, and what to rehearse; both without the clips of the evaluation set."""
    if args.strategy == "none":
        if args.teacher is None:
            raise InputError("--teacher is missing: a checkpoint folder or Hub id (run_teacher.py makes one)")
        if args.replay:
            return read_corpora(args.replay, exclusions=exclusions, leakage=leakage, streams=True), None
        return teacher_corpus(args.teacher, leakage, exclusions), None
    if args.improvement_set is None:
        raise InputError("--improvement_set is missing: curate.py makes one")
    pairs, replay, provenance = load_improvement_set(args.improvement_set)
    if provenance.get("strategy", args.strategy) != args.strategy:
        raise InputError(f"{args.improvement_set} was curated with {provenance['strategy']}, not {args.strategy}")
    if args.teacher is None and provenance.get("teacher"):
        name, revision = split_revision(provenance["teacher"])
        revision = provenance.get("teacher_revision", revision)
        args.teacher = f"{name}@{revision}" if revision else name
    if args.teacher is None:
        raise InputError("--teacher is missing: the checkpoint that curated the Improvement-Set")
    if leakage and isinstance(pairs, Dataset) and "origin_id" not in pairs.column_names:
        say(f"{args.improvement_set} tells no recordings: evaluation clips in it are found by their bytes alone")
    pairs = without_clips(pairs, leakage, args.improvement_set, exclusions)
    if args.replay:
        return pairs, read_corpora(args.replay, exclusions=exclusions, leakage=leakage, streams=True)
    return pairs, without_clips(replay, leakage, f"{args.improvement_set} (replay)", exclusions)


def without_clips(pairs: Pairs | None, leakage: LeakageFilter, name: str, exclusions: ExclusionLog) -> Pairs | None:
    """The pairs whose clip may be trained on; of a stream, the collator leaves out the others."""
    if not isinstance(pairs, Dataset):
        return pairs
    pairs = leakage.drop_from(pairs, name, exclusions)
    if len(pairs) == 0:
        raise InputError(f"{name} holds no clip that is not in the evaluation set")
    return pairs


def hold_out(
    pairs: Dataset, replay: Dataset | None, fraction: float, args: StudentArguments, exclusions: ExclusionLog
) -> tuple[Dataset, Dataset | None, Dataset]:
    """Pairs and replay set without the recordings of a part of the captioned corpus, and that part."""
    if args.strategy == "none":
        train, held_out = split_validation(pairs, fraction)
        return train, None, held_out
    if replay is None:
        raise InputError("--validation_fraction needs captioned audio to hold out: name it with --replay")
    train, held_out = split_validation(replay, fraction)
    known = set(held_out["audio_id"])
    rows = [row for row, audio_id in enumerate(pairs["audio_id"]) if audio_id not in known]
    return (
        LeakageFilter([held_out]).drop_from(pairs.select(rows), str(args.improvement_set), exclusions),
        train,
        held_out,
    )


def selects_by_accuracy(training_args: ClapStudentTrainingArguments) -> bool:
    return training_args.metric_for_best_model in ("accuracy", "eval_accuracy")


def check_selection(args: StudentArguments, training_args: ClapStudentTrainingArguments) -> None:
    """Labelled clips select a checkpoint only where the user says which, and beside a held-out part."""
    if selects_by_accuracy(training_args) and not (args.task and training_args.validation_fraction > 0):
        raise InputError("--metric_for_best_model accuracy needs --task, labelled clips, and --validation_fraction")


def teacher_results(teacher: str) -> dict:
    """What run_teacher.py left beside its teacher."""
    file = Path(teacher) / "results.json"
    if not file.is_file():
        raise InputError("--replay is missing: the captioned corpora to train on")
    made = read_results(file)
    if not {"corpus", "subset_fraction", "seed"} <= made.keys():
        raise InputError(f"{file} is not what run_teacher.py leaves: name the captioned corpora with --replay")
    return made


def read_results(file: Path) -> dict:
    """The `results.json` of a training; empty where another command's lies there."""
    with reading(file, "json file"):
        results = json.loads(file.read_text(encoding="utf-8"))
    return results if isinstance(results, dict) else {}


def teacher_corpus(teacher: str, leakage: LeakageFilter, exclusions: ExclusionLog) -> Pairs:
    """What a teacher of run_teacher.py was trained on."""
    made = teacher_results(teacher)
    corpus = read_corpora(made["corpus"], exclusions=exclusions, leakage=leakage, streams=True)
    if isinstance(corpus, IterableDataset):
        return corpus
    return subset(corpus, made["subset_fraction"], made["seed"])


def new_student(args: StudentArguments, model_args: ModelArguments, captions: list[str]):
    """The student before training, and its processor."""
    if args.init == "fresh":
        return new_model(model_args, captions)
    if model_args != ModelArguments():
        raise InputError("--text_model, --audio_weights and the sizes of a new model go with --init fresh")
    student, processor = load_checkpoint(args.teacher if args.init == "teacher" else args.init)
    if not isinstance(student, ClapStudentModel):
        raise InputError(
            f"a student can't start from a {student.config.model_type!r} checkpoint: say --init fresh, or --init with "
            "a checkpoint of this package"
        )
    return student, processor


def train_student(
    args: StudentArguments, model_args: ModelArguments, training_args: ClapStudentTrainingArguments
) -> dict:
    """Reads, trains, evaluates, saves; returns the results."""
    watch = Stopwatch()
    if not args.dry_run:
        probe_folder(training_args.output_dir)
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    benchmarks = [read_benchmark(spec, exclusions) for spec in args.task or ()]
    leakage = LeakageFilter(benchmark.clips for benchmark in benchmarks)
    pairs, replay = read_pairs(args, leakage, exclusions)
    heading(f"Student: {args.strategy} from {args.teacher}")
    streamed = isinstance(pairs, IterableDataset) or isinstance(replay, IterableDataset)
    if streamed:
        check_steps(training_args)
    check_selection(args, training_args)
    held_out = None
    if training_args.validation_fraction > 0:
        pairs, replay, held_out = hold_out(pairs, replay, training_args.validation_fraction, args, exclusions)
    report_exclusions(exclusions)
    say(f"{described(pairs)}, {described(replay)} to rehearse, {described(held_out)} held out for validation")
    if args.dry_run:
        tables = {"pairs": pairs, "replay": replay, "validation": held_out}
        report_data(tables | {f"evaluation: {benchmark.name}": benchmark.clips for benchmark in benchmarks})
        return {}
    if Path(args.teacher).resolve() == Path(training_args.output_dir).resolve():
        raise InputError(f"--output_dir {training_args.output_dir} is the teacher's own folder: name another")
    teacher, teacher_processor = load_checkpoint(args.teacher)
    content = None if streamed else [table and content_key(table) for table in (pairs, replay)]
    # A run that was resumed is the same.
    settings = training_args.to_sanitized_dict() | {"resume_from_checkpoint": None}
    key = [asdict(args), asdict(model_args), settings, fingerprint(teacher), content]
    key = json.loads(json.dumps(key, default=str))
    results_file = Path(training_args.output_dir) / "results.json"
    old = read_results(results_file) if results_file.exists() else {}
    if not streamed and old.get("run") == key:
        say(f"reusing the student in {training_args.output_dir}: it was trained with these very arguments")
        push_if_asked(training_args)
        return old
    may_write = partial(refuse_used_folder, resume=training_args.resume_from_checkpoint)
    with output_folder(training_args.output_dir, check=may_write) as folder:
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        set_seed(training_args.seed)
        student, processor = new_student(args, model_args, None if streamed else pairs["caption"])
        # A student that starts from its teacher hears and reads the same; any other may not.
        apart = None if args.init == "teacher" else teacher_processor
        chooses = benchmarks[0] if selects_by_accuracy(training_args) else None
        validation = Validation(processor, held_out, skipped, training_args.pairs_in_loss, benchmark=chooses)
        trainer = ClapStudentTrainer(
            model=student,
            args=training_args,
            train_dataset=pairs,
            replay_dataset=replay,
            teacher=teacher,
            validation=held_out and validation,
            data_collator=ClapCollator(
                processor,
                skipped,
                apart,
                leakage,
                training_args.random_gain_db,
                spectrogram_cache(training_args.spectrogram_cache, student),
            ),
            processing_class=processor,
            record=record(args, model_args),
        )
        trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
        trainer.save_model(_internal_call=True)  # pushed once, at the end
        scores = compare((teacher, teacher_processor), (student, processor), benchmarks, skipped)
        student.config.record["results"] = [
            {"model": "this" if name == "student" else name}
            | {key: value for key, value in score[name].items() if key != "class_accuracy"}
            for score in scores
            for name in ("teacher", "student")
        ]
        trainer.create_model_card()
        first = scores[0] if scores else {"teacher": {"value": None}, "student": {"value": None, "n": None}}
        results = {
            "teacher_accuracy": first["teacher"]["value"],
            "student_accuracy": first["student"]["value"],
            "num_clips": first["student"]["n"],
            "scores": scores,
            "strategy": args.strategy,
            "num_pairs": trainer.num_curated,
            "pair_precision": None if streamed or args.strategy == "none" else pair_precision(pairs),
            "excluded": exclusions.lines,
            "num_skipped": report_skipped(skipped),
            "seconds": watch.seconds,
            "seed": training_args.seed,
            "num_threads": torch.get_num_threads(),
            "run": key,
        }
        write_json(results_file, results)
        save_arguments(folder, args)
        draw_curves(trainer.state.log_history, folder / "curves.png")
    say(f"student saved in {training_args.output_dir} after {watch.seconds:.0f} s")
    push_if_asked(training_args)
    return results


def compare(teacher: tuple, student: tuple, benchmarks: list[Benchmark], skipped: SkippedClips) -> list[dict]:
    """What teacher and student, models and their processors, reach on each set: `{teacher, student}`."""
    scores = [{} for _ in benchmarks]
    if benchmarks:
        heading("Evaluation")
    for name, (model, processor) in (("teacher", teacher), ("student", student)):
        encoder = for_inference(model.to(PartialState().device)) if benchmarks else None
        for benchmark, score in zip(benchmarks, scores, strict=True):
            result = zero_shot(encoder, processor, benchmark, skipped)
            score[name] = result.as_row() | {"class_accuracy": result.by_class}
    return scores


def described(pairs: Pairs | None) -> str:
    if isinstance(pairs, IterableDataset):
        return f"a stream of {pairs.num_shards} shards"
    return f"{0 if pairs is None else len(pairs)} pairs"


def content_key(pairs: Dataset) -> str:
    """Equal for tables of the same pairs in the same order alone."""
    digest = hashlib.blake2b(digest_size=8)
    for some in pairs.select_columns(["audio_id", "caption"]).iter(10_000):
        digest.update(repr(some).encode())
    return digest.hexdigest()


def record(args: StudentArguments, model_args: ModelArguments) -> dict:
    """For the model card: what the student started and learned from."""
    facts = {"origin": f"A student of the strategy {args.strategy}.", "init": args.init}
    if args.init == "fresh":
        facts |= {"text_model": model_args.text_model, "audio_weights": model_args.audio_weights}
    if args.strategy == "none":
        return facts | {
            "datasets": [dataset_source(spec) for spec in args.replay or teacher_results(args.teacher)["corpus"]]
        }
    return facts | {
        "datasets": [dataset_source(spec) for spec in (args.improvement_set, *(args.replay or []))],
        "improvement_set": read_provenance(args.improvement_set),
    }


def print_results(results: dict) -> None:
    """The table that the whole chain is for."""
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
    truth = "" if precision is None else f"; {precision:.1%} of them pair a caption with a clip that holds the event"
    say(f"{results['num_pairs']} pairs{truth}")
