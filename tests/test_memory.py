"""Memory that does not grow with the corpus."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Audio, Dataset

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments
from modeling_clap_student.training import trainer


# A process of its own: what other tests hold does not count. The table lies on disk, as datasets' tables do; what the
# process itself holds is RssAnon, without the pages of that file.
_PROGRAM = """
import sys, time
import pyarrow as pa
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader
from modeling_clap_student.data.replay import DrawnRows, ReplaySampler

def held():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

rows, folder = int(sys.argv[1]), sys.argv[2]
audio = pa.struct({"bytes": pa.binary(), "path": pa.string()})
schema = pa.schema({"audio": audio, "audio_id": pa.string(), "caption": pa.string()})
with pa.OSFile(f"{folder}/table.arrow", "wb") as file, pa.ipc.new_stream(file, schema) as writer:
    for start in range(0, rows, 10_000):
        numbers = range(start, min(rows, start + 10_000))
        columns = [[{"bytes": None, "path": f"/data/{n:08d}.wav"} for n in numbers],
                   [f"pool/{n:08d}.wav" for n in numbers], [f"the sound of thing {n}" for n in numbers]]
        writer.write_table(pa.table([pa.array(c, t.type) for c, t in zip(columns, schema)], schema=schema))
table = Dataset.from_file(f"{folder}/table.arrow")
sampler = ReplaySampler(rows, 0, 256, 0.0, seed=0)
seen, most, first = 0, 0.0, held()
for batch in DataLoader(DrawnRows(table), batch_sampler=BatchSampler(sampler, 256, False), collate_fn=list):
    seen += len({row["audio_id"] for row in batch})
    if seen % 25_600 < 256:
        most = max(most, held())
print(seen, most - first)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")
@pytest.mark.slow
def test_a_million_rows_stream_through_the_collators_path_in_bounded_memory(tmp_path):
    """Guards against tables, or orders, that become Python objects: a million dicts alone would be half a gigabyte."""
    grown = {}
    for rows in (100_000, 1_000_000):
        run = subprocess.run([sys.executable, "-c", _PROGRAM, str(rows), tmp_path], capture_output=True, text=True)
        seen, held = run.stdout.split()
        assert int(seen) >= rows, run.stderr
        grown[rows] = float(held)
    # The order of a million rows is 8 MB; the rest is what an allocator keeps.
    assert grown[1_000_000] < grown[100_000] + 40, grown


_STEPS = """
import resource, sys
import torch
from modeling_clap_student.modeling_clap_student import ConvBlock
from modeling_clap_student.utils.memory import keep_freed_memory

def new_pages(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        block(images).square().sum().backward()
        block.zero_grad()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keeps":
    keep_freed_memory()
torch.set_num_threads(1)
block, images = ConvBlock(1, 64, 2).to(memory_format=torch.channels_last), torch.randn(2, 1, 500, 64)
new_pages(8)
print(new_pages(6))
"""


def test_freed_memory_is_used_again():
    """Guards against fresh pages for every training step, which take a sixth of its time."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can keep what is freed")

    def new_pages(how: str) -> int:
        command = [sys.executable, "-c", _STEPS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert 3 * new_pages("keeps") < new_pages("gives back")


def test_trainers_on_a_processor_keep_freed_memory(tiny, tmp_path, captioned_folder, monkeypatch):
    """Guards against a trainer that forgets to."""
    kept = []
    monkeypatch.setattr(trainer, "keep_freed_memory", lambda: kept.append(True))
    args = ClapStudentTrainingArguments(str(tmp_path / "out"), use_cpu=True, max_steps=1, report_to="none")
    files = [{"path": str(file), "bytes": None} for file in sorted(captioned_folder.glob("*.wav"))]
    table = Dataset.from_dict({"audio": files, "caption": ["a tone"] * len(files)}).cast_column("audio", Audio())
    ClapStudentTrainer(tiny[0], args, train_dataset=table, processing_class=tiny[1])
    assert kept == [True]
