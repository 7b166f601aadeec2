"""Measures everything about the package on a GPU, in one program for a machine without a network.

    python benchmarks/gpu/wheels.py                         (before, where there is a network: what the machine lacks)
    python benchmarks/gpu/run.py [--output_dir outputs/gpu]
    python benchmarks/gpu/run.py --device cpu --small       (the same code, small, without a GPU)

It needs torch, transformers and accelerate there, takes at most nine minutes, and writes `gpu.md` and `gpu.json` after
each part. Each part is its own process with its own time limit. A hang or a crash loses only that part, and what it
had measured stays. The exit code is 1 if a part broke off or a number is wrong. A missed goal of speed is written
down, but is not a failure.
"""

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path


HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WHEELS = HERE / "wheelhouse"

SECONDS = 530  # in all
# Seconds reserved for each part, in order. The next part may use what one leaves over.
PARTS = {"card": 30, "correctness": 75, "pairs": 80, "clips": 85, "steps": 160, "demo": 80}
TITLES = {
    "card": "The card",
    "correctness": "Correctness: the card against float64 and the processor",
    "pairs": "Matching 1.9 million clips with 128 thousand captions",
    "clips": "Embedding from files",
    "steps": "Training steps at the paper's size",
    "demo": "The built-in demo",
}


def environment(args: argparse.Namespace, site: Path) -> dict[str, str]:
    """The environment of a part: offline, with the package and this folder's parents importable, and one GPU or
    none."""
    paths = [site, ROOT / "benchmarks", ROOT, os.environ.get("PYTHONPATH")]
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] if args.device == "cuda" else ""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
        "CUDA_VISIBLE_DEVICES": gpu,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(site.parent / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def install(site: Path, log: Path) -> dict | None:
    """Unpacks the wheels from the wheelhouse that are missing here. Reports a failure as a part does."""
    wheels = [wheel for wheel in sorted(WHEELS.glob("*.whl")) if find_spec(wheel.name.split("-")[0].lower()) is None]
    if not wheels:
        return None
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile",
               "--no-cache-dir", "--target", site, *wheels]  # fmt: skip
    with open(log, "ab") as file:
        code = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    if code == 0:
        return None
    failed = {"part": "wheels", "title": "Wheels", "status": f"exit code {code}", "seconds": 0.0, "rows": []}
    return failed | {"at": "pip install", "log": tail(log)}


def tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def run_part(name: str, seconds: float, args: argparse.Namespace, folder: Path, log: Path) -> dict:
    """Runs a part with a time limit, and reads what it wrote."""
    record, work = folder / f"{name}.jsonl", folder / name
    work.mkdir()
    # It gets a little less time than it has, so that it ends by itself.
    command = [sys.executable, "-m", f"gpu.{name}", "--device", args.device, "--record", record, "--folder", work,
               "--seconds", str(max(1, seconds - 5)), *(["--small"] if args.small else [])]  # fmt: skip
    start = time.monotonic()
    with open(log, "ab") as file:
        file.write(f"\n== {name}\n".encode())
        file.flush()
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=work, env=environment(args, folder / "site"), start_new_session=True
        )
        try:
            code = process.wait(seconds)
            status = "done" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            status = f"stopped after {seconds:.0f} s"
        finally:
            stop(process)
    text = record.read_text(encoding="utf-8") if record.exists() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]  # the last may be half a line
    result = {"part": name, "title": TITLES.get(name, name), "status": status}
    result["seconds"] = round(time.monotonic() - start, 1)
    result["rows"] = rows_of(lines)
    result["times"] = {line["ended"]: line["seconds"] for line in lines if "ended" in line}
    if status != "done":
        begun = [line["begun"] for line in lines if "begun" in line]
        result |= {"at": begun[-1] if begun else "its start", "log": tail(log)}
    return result


def rows_of(lines: list[dict]) -> list[dict]:
    """The measurements, each with the task at that time."""
    rows, begun = [], ""
    for line in lines:
        begun = line.get("begun", begun)
        if "what" in line:
            rows.append({"of": begun, **line})
    return rows


def stop(process: subprocess.Popen) -> None:
    """Ends a part and everything that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def is_wrong(part: dict) -> bool:
    rows = part["rows"]
    return part["status"] != "done" or any("error" in row or (row.get("must") and not row["met"]) for row in rows)


def number(value: str | float) -> str:
    if isinstance(value, str):
        return value.replace("|", "/").replace("\n", " ")
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def as_markdown(parts: list[dict], args: argparse.Namespace, seconds: float) -> str:
    """The page: errors first, then one table per part."""
    lines = ["# On a GPU" if args.device == "cuda" else "# Without a GPU", ""]
    sizes = "small sizes, " if args.small else ""
    lines += [f"`python benchmarks/gpu/run.py`, {sizes}{seconds:.0f} s, Python {platform.python_version()}.", ""]
    wrong = [part["title"] for part in parts if is_wrong(part)]
    lines += [f"**Not right: {'; '.join(wrong)}.**" if wrong else "Nothing broke off, and no number is wrong.", ""]
    for part in parts:
        lines += [f"## {part['title']}", "", f"{part['status']}, {part['seconds']:.0f} s", ""]
        if "at" in part:
            last = (part["log"].strip().splitlines() or [""])[-1][:300]
            lines += [f"**It ended at: {part['at']}.** `{last}`", ""]
        for place, (of, rows) in enumerate(groupby(part["rows"], lambda row: row["of"])):
            lines += ["| what | measured | goal | |", "|---|---|---|---|"] if place == 0 else []
            lines += [f"| **{of}** | | | |"] * bool(of) + [table_row(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def table_row(row: dict) -> str:
    if "error" in row:
        return f"| {row['what']} | **{number(row['error'])}** | | **error** |"
    if "left_out" in row:
        return f"| {row['what']} | left out: {row['left_out']} | | |"
    verdict = {None: "", True: "yes", False: "**wrong**" if row["must"] else "missed"}[row["met"]]
    return f"| {row['what']} | {number(row['value'])} {row['unit']} | {row['goal']} | {verdict} |"


def write(parts: list[dict], args: argparse.Namespace, seconds: float) -> None:
    found = {"device": args.device, "small": args.small, "seconds": round(seconds, 1), "parts": parts}
    pages = {"gpu.json": json.dumps(found, indent=1, ensure_ascii=False), "gpu.md": as_markdown(parts, args, seconds)}
    for name, text in pages.items():
        partial = args.output_dir / f".{name}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(args.output_dir / name)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="sizes that take a CPU seconds")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/gpu"))
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="in all")
    args = parser.parse_args(argv)
    start, parts = time.monotonic(), []
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"can't make the folder {args.output_dir}: {error.strerror}")
    log = args.output_dir / "log.txt"
    log.write_text("")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if failure := install(folder / "site", log):
            parts.append(failure)
        for place, part in enumerate(args.parts):
            kept = sum(PARTS.get(later, 0) for later in args.parts[place + 1 :])
            seconds = max(1.0, args.seconds - (time.monotonic() - start) - kept)
            parts.append(run_part(part, seconds, args, folder, log))
            print(f"{part}: {parts[-1]['status']}, {parts[-1]['seconds']:.0f} s", flush=True)
            write(parts, args, time.monotonic() - start)
    print("\n" + (args.output_dir / "gpu.md").read_text(encoding="utf-8"))
    return int(any(map(is_wrong, parts)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no part outlives the program
    sys.exit(main())
