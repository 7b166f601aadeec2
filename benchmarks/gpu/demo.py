"""The built-in demo from nothing to its table, as a newcomer types it: seconds, and its gain."""

import json
import subprocess
import sys
import time
from pathlib import Path

from gpu.record import Record, Setting, part


ROOT = Path(__file__).resolve().parents[2]
# A shorter demo for tests: the same files, a thirtieth of the clips and one step of training.
SHORT = """
import runpy, sys
from modeling_clap_student.soundscapes import corpus, demo
corpus._PARTS = {name: (count // 30, *rest) for name, (count, *rest) in corpus._PARTS.items()}
changes = {"teacher": {"max_steps": 1}, "curation": {"num_captions": 10, "num_pairs": 40}, "student": {"max_steps": 1}}
for name, change in changes.items():
    full = getattr(demo, name)
    setattr(demo, name, lambda *args, full=full, change=change: full(*args) | change)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_demo(record: Record, setting: Setting) -> None:
    """`run_student.py --strategy ads`."""
    command = [sys.executable, *setting.size([], ["-c", SHORT]), str(ROOT / "run_student.py"), "--strategy", "ads"]
    start = time.perf_counter()
    subprocess.run(command, cwd=setting.folder, check=True)
    seconds = time.perf_counter() - start
    record.add("from nothing to its table", seconds, "s")
    folders = setting.folder / "outputs" / "soundscapes" / "seed-0"
    for name in ("teacher", "student_ads"):
        results = json.loads((folders / name / "results.json").read_text(encoding="utf-8"))
        record.add(f"{name}: its training", results["seconds"], "s")
    for name in ("teacher_accuracy", "student_accuracy", "pair_precision"):
        record.add(name, results[name])
    gain = results["student_accuracy"] - results["teacher_accuracy"]
    record.add("gain, points", 100 * gain, at_least=setting.size(1, -100))


if __name__ == "__main__":
    record, setting = part()
    record.attempt(run_demo, setting)
