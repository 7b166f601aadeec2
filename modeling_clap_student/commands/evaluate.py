r"""Evaluates models: zero-shot classification of labelled clips, retrieval of clips and captions, order of sounds.

One process:        python run_eval.py --model outputs/student --baseline outputs/teacher --task esc50=/data/ESC-50
Several GPUs:       accelerate launch --num_processes 2 run_eval.py --model outputs/student --task esc50=/data/ESC-50
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_eval.py --model outputs/student --task esc50=/data/ESC-50 clotho=/data/Clotho
"""

from pathlib import Path

from accelerate import PartialState

from ..evaluation.arguments import BUILT_IN, EvalArguments
from ..utils.console import say
from ..utils.outputs import SKIPPED, output_folder, whole_files, write_json
from ..utils.precision import settle_dtype
from .command_line import command, parse_arguments, report_data


@command
def main():
    (args,) = parse_arguments((EvalArguments,), __doc__)
    evaluate(args)


def evaluate(args: EvalArguments) -> None:
    """Scores models on tasks; compares, prints and saves the scores."""
    from transformers import set_seed

    from ..data.benchmarks import CaptionedSet
    from ..data.skipping import report_skipped, skipped_clips
    from ..evaluation.folder import check_places, refuse_other_folder, write_evaluation
    from ..evaluation.probe import check_probe
    from ..evaluation.tasks import read_prompts, read_tasks, score
    from ..evaluation.window_scores import cut_tasks, write_window_scores

    settle_dtype(args, PartialState().device.type)
    set_seed(args.seed)
    if not args.dry_run:
        check_places(args)
    if args.task == BUILT_IN:
        say("no --task is given: evaluating on the built-in sounds. --task FOLDER takes clips of your own")
    tasks = read_tasks(args)
    prompts = read_prompts(args, tasks)
    if args.probe:
        check_probe(args.probe, tasks)
    if args.dry_run:
        report_data({task.name: task.pairs if isinstance(task, CaptionedSet) else task.clips for task in tasks})
        return
    checkpoints, facts = load_all(args)  # loads all first, so that a wrong name fails before hours of work
    cut = cut_tasks(args, tasks, checkpoints)
    with output_folder(args.output_dir, check=refuse_other_folder) as folder:
        with whole_files(folder) as files:
            skipped = skipped_clips(files, args.max_skipped_fraction)
            by_task = [score(checkpoints, task, prompts, skipped, args.batch_size) for task in tasks]
            results = {name: [scores[name] for scores in by_task] for name in args.models}
            write_window_scores(files, checkpoints, cut, prompts, skipped, args.batch_size)
            num_skipped = report_skipped(skipped, folder)
            rows = write_evaluation(files, args, tasks, prompts, facts, results, cut)
        if not num_skipped and PartialState().is_main_process:
            (folder / SKIPPED).unlink(missing_ok=True)  # left by an older evaluation
    if args.output_json:
        write_json(Path(args.output_json), rows)


def load_all(args: EvalArguments) -> tuple[dict[str, tuple], list[dict]]:
    """For each model, a copy for inference and its processor; and the facts about its weights."""
    from ..checkpoints.inference import for_inference
    from ..checkpoints.loading import load_checkpoint
    from ..evaluation.results import checkpoint_facts

    checkpoints, facts = {}, []
    for name in args.models:
        model, processor = load_checkpoint(name, trust_remote_code=args.trust_remote_code)
        facts.append(checkpoint_facts(name, model, processor))
        checkpoints[name] = for_inference(model.to(PartialState().device), args.dtype), processor
    return checkpoints, facts


if __name__ == "__main__":
    main()
