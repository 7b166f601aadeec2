"""How long it takes to import the package, and to run `--help` of each command, beside `import torch, transformers`.

    python benchmarks/import_time.py [--rounds 5]

Each is a fresh interpreter. They take turns in each round, so a busy machine slows all alike. Medians of the rounds,
and of the ratios within a round.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from timing import machine


ROOT = Path(__file__).parents[1]
BASE = "import torch, transformers"
COMMANDS = ("teacher", "curate", "student", "evaluate", "temporal", "convert", "export")
WORKS = {
    BASE: ["-c", BASE],
    "import modeling_clap_student": ["-c", "import modeling_clap_student"],
    "from modeling_clap_student import ClapStudentModel": ["-c", "from modeling_clap_student import ClapStudentModel"],
    "from transformers import TrainingArguments": ["-c", "from transformers import TrainingArguments"],
    **{f"{name} --help": ["-m", f"modeling_clap_student.commands.{name}", "--help"] for name in COMMANDS},
}


def seconds(arguments: list[str]) -> float:
    """Seconds of an interpreter from start to end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for arguments in WORKS.values():  # loads the files into memory
        seconds(arguments)
    times = [{name: seconds(arguments) for name, arguments in WORKS.items()} for _ in range(rounds)]
    print(f"{machine('cpu')}; medians of {rounds} rounds\n\n| | seconds | × {BASE} |\n|---|---|---|")
    for name in WORKS:
        ratios = [each[name] / each[BASE] for each in times]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(each[name] for each in times):.2f} | {spread} |")


if __name__ == "__main__":
    main()
