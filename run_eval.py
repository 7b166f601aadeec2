"""Evaluates a model: zero-shot classification on one or several labelled sets.

One process:        python run_eval.py --model outputs/student --task esc50=/data/ESC-50
Several GPUs:       accelerate launch --num_processes 2 run_eval.py --model outputs/student --task esc50=/data/ESC-50
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_eval.py --model outputs/student --task esc50=/data/ESC-50
"""

from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from modeling_clap_student.checkpoints import load_checkpoint
from modeling_clap_student.cli import (
    heading,
    parse_arguments,
    print_table,
    report_data,
    report_excluded,
    report_skipped,
    run,
    say,
    skipped_clips,
)
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.excluded import Excluded
from modeling_clap_student.data.skipping import ReadingArguments
from modeling_clap_student.evaluation.zero_shot import zero_shot
from modeling_clap_student.inference import DTYPES, for_inference
from modeling_clap_student.output_folders import output_folder, write_json
from modeling_clap_student.run_config import save_arguments


@dataclass
class EvalArguments(ReadingArguments):
    model: str = field(metadata={"help": "Checkpoint folder or Hub id."})
    task: list[str] = field(
        default=None,
        metadata={
            "help": "NAME[:FOLDS]=PATH, a folder with labels, or soundscapes. May be given again.",
            "action": "extend",
            "nargs": "+",
        },
    )
    output_dir: str = field(default="outputs/eval", metadata={"help": "Where results.json goes."})
    output_json: str | None = field(default=None, metadata={"help": "Another place for the results."})
    batch_size: int = field(default=32, metadata={"help": "Windows to embed at a time."})
    dtype: str = field(
        default="float32", metadata={"help": "Of the towers; bfloat16 is faster.", "choices": list(DTYPES)}
    )
    seed: int = field(default=0, metadata={"help": "Kept in the results; evaluation draws nothing."})
    dry_run: bool = field(default=False, metadata={"help": "Only read the inputs and say what is there."})

    def __post_init__(self):
        super().__post_init__()
        self.task = self.task or ["soundscapes"]


def evaluate(args: EvalArguments) -> None:
    """Reads, embeds, classifies, prints, saves."""
    set_seed(args.seed)
    excluded = Excluded()
    benchmarks = [read_benchmark(spec, excluded) for spec in args.task]
    report_excluded(excluded)
    for benchmark in benchmarks:
        say(f"{benchmark.name}: {len(benchmark.clips)} clips of {len(benchmark.class_names)} classes")
    if args.dry_run:
        report_data({benchmark.name: benchmark.clips for benchmark in benchmarks})
        return
    model, processor = load_checkpoint(args.model)
    model = for_inference(model.to(PartialState().device), args.dtype)
    heading(f"Zero-shot accuracy of {args.model}")
    with output_folder(args.output_dir) as folder:
        skipped = skipped_clips(folder, args.max_skipped_fraction)
        results = [zero_shot(model, processor, benchmark, skipped, args.batch_size) for benchmark in benchmarks]
        report_skipped(skipped)
        rows = [result.as_row() for result in results]
        write_json(Path(args.output_json) if args.output_json else folder / "results.json", rows)
        save_arguments(folder, args)
    print_table(
        "Zero-shot accuracy",
        ["task", "accuracy", "95 % interval", "clips"],
        [[r["task"], f"{r['value']:.1%}", f"{r['low']:.1%} – {r['high']:.1%}", str(r["n"])] for r in rows],
    )


def main():
    (args,) = parse_arguments((EvalArguments,), __doc__.splitlines()[0])
    evaluate(args)


if __name__ == "__main__":
    run(main)
