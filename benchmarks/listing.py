"""How long it takes to turn a pool of AudioSet's size into a table, without its audio, and how much memory.

    python benchmarks/listing.py [--clips 1900000] [--folder /tmp]

Writes a segments csv of 2041789 rows, and simulates a folder in 41 parts with most of these files. The file system's
answers are simulated, so no two million files are needed, and reading the names is what is measured. The reference is
the usual way: a list of paths, a csv reader, one dict per clip, sorted. Every way runs in its own process, whose
initial memory is subtracted. With `--real N`, N empty files are also made and listed.
"""

import argparse
import csv
import multiprocessing
import os
import resource
import tempfile
import time
from base64 import urlsafe_b64encode
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch


ROWS, PARTS = 2_041_789, 41


def video(number: int) -> str:
    """A made-up id of 11 characters. Ids of neighbouring numbers are far apart."""
    return urlsafe_b64encode((number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big"))[:11].decode()


def write_segments(folder: Path, rows: int) -> None:
    with open(folder / "unbalanced_train_segments.csv", "w") as file:
        file.write("# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=…\n")
        file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
        file.writelines(f'{video(n)}, 30.000, 40.000, "/m/09x0r,/m/05zppz,/t/dd00088"\n' for n in range(rows))


class Entry:
    """What os.scandir returns for a file or a folder."""

    def __init__(self, name: str, folder: bool):
        self.name, self.folder = name, folder

    def is_file(self, follow_symlinks: bool = True) -> bool:
        return not self.folder

    def is_dir(self, follow_symlinks: bool = True) -> bool:
        return self.folder

    def is_symlink(self) -> bool:
        return False


def make_believe(root: Path, clips: int):
    """os.scandir for a folder `unbalanced_train` in parts, beside the real files of `root`."""
    scandir, size = os.scandir, -(-clips // PARTS)
    for part in range(PARTS):
        (root / "unbalanced_train" / f"part{part:02d}").mkdir(parents=True, exist_ok=True)

    class Listing(ExitStack):
        def __init__(self, part: int):
            super().__init__()
            self.numbers = iter(range(part * size, min((part + 1) * size, clips)))

        def __iter__(self):
            return self

        def __next__(self):
            return Entry(f"Y{video(next(self.numbers))}.wav", folder=False)

    def listing(path="."):
        name = os.path.basename(os.fspath(path).rstrip("/"))
        return Listing(int(name[4:])) if name.startswith("part") else scandir(path)

    return patch("os.scandir", listing)


def as_table(root: Path) -> int:
    from modeling_clap_student.data.pools import read_pools
    from modeling_clap_student.data.sources import ExclusionLog

    exclusions = ExclusionLog()
    table = read_pools([f"audioset={root}"], exclusions)
    print(*exclusions.lines, sep="\n")
    return len(table)


def as_dicts(root: Path) -> int:
    with open(root / "unbalanced_train_segments.csv") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if not row[0].startswith("#")]
    labels = {row[0]: row for row in rows}
    found = []
    for folder in sorted((root / "unbalanced_train").iterdir()):
        with os.scandir(folder) as entries:
            found += [folder / entry.name for entry in entries]
    clips = []
    for path in sorted(found):
        row = labels.get(path.stem[1:])
        if row is not None:
            name = f"{root.name}/{path.relative_to(root)}"
            clips.append({"audio": {"bytes": None, "path": str(path)}, "audio_id": name, "source": root.name})
    return len(clips)


def measure(way, root: Path, clips: int, results) -> None:
    import modeling_clap_student.data.pools  # noqa: F401  importing is not part of the listing

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with make_believe(root, clips) if clips else ExitStack():
        start = time.perf_counter()
        count = way(root)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results.put((count, seconds, (peak - before) / 1024))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1_900_000)
    parser.add_argument("--real", type=int, default=0, help="Also make this many empty files and list them.")
    parser.add_argument("--folder", default=None, help="Where the csv and the files go for the time being.")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder) / "audioset"
        root.mkdir()
        write_segments(root, max(ROWS, args.clips))
        cases = [("made-up names", args.clips)] + [("real files", 0)] * bool(args.real)
        print(f"{'names':14} {'way':14} {'clips':>9} {'seconds':>8} {'peak MiB':>9}")
        for names, clips in cases:
            if not clips:
                for number in range(args.real):
                    path = root / "unbalanced_train" / f"part{number % PARTS:02d}" / f"Y{video(number)}.wav"
                    path.touch()
            for way in (as_table, as_dicts):
                results = context.Queue()
                process = context.Process(target=measure, args=(way, root, clips, results))
                process.start()
                count, seconds, peak = results.get()
                process.join()
                print(f"{names:14} {way.__name__:14} {count:9} {seconds:8.1f} {peak:9.0f}")


if __name__ == "__main__":
    main()
