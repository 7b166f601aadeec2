"""Pools that are streamed: tar shards, Parquet, Arrow, and what is curated from them."""

import io
import subprocess
import sys
import tarfile
import tracemalloc
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, write_tone
from datasets import Dataset, IterableDataset, load_dataset
from datasets.distributed import split_dataset_by_node

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.embedding import embed_clips
from modeling_clap_student.commands import curate
from modeling_clap_student.curation.embedder import StoredEmbedder
from modeling_clap_student.curation.embedding_store import EmbeddingStore
from modeling_clap_student.curation.improvement_set import (
    load_improvement_set,
    read_streamed_audio,
    save_improvement_set,
    save_streamed_pairs,
)
from modeling_clap_student.data.leakage import LeakageFilter
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.data.streams import expand_braces, find_shards
from modeling_clap_student.data.tables import POOL_COLUMNS, UNDECODED


CLIPS = 9


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    """Tones of several formats; the names have dots and non-ASCII letters in them."""
    names = [f"YabcdefghiX{n}_{n}0.000_ä.{('wav', 'flac', 'ogg')[n % 3]}" for n in range(CLIPS)]
    return [write_tone(tmp_path / "files" / name, 300 * (n + 1), seconds=0.5) for n, name in enumerate(names)]


def embed_stream(model, processor, stream, skipped, batch_size=4, leakage=None, exclusions=None):
    """Into a store beside the list of skipped clips."""
    store = EmbeddingStore(skipped.path.parent / "store", model, processor, batch_size)
    embedder = StoredEmbedder(model, processor, store, skipped, batch_size)
    vectors, kept = embedder.stream(stream, leakage or LeakageFilter(), exclusions or ExclusionLog(), "embedding")
    return vectors[:], kept


def pack(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path, clips) -> Path:
    """The clips in three WebDataset shards, beside labels and other things that a pool has no use for."""
    for number in range(3):
        members = {}
        for clip in clips[number::3]:
            members |= {
                f"audio/{clip.name}": clip.read_bytes(),
                f"audio/{clip.stem}.json": b"no json: {",
                "x.cls": b"dog",
            }
        members["audio/._hidden.wav"] = b"x"
        pack(tmp_path / "shards" / f"pool-{number:03d}.tar", members)
    return tmp_path / "shards"


@pytest.fixture
def parquet(tmp_path, clips) -> Path:
    """The same as Parquet in several files, with another name for the audio, and labels."""
    for number in range(3):
        some = clips[number::3]
        audio = [{"bytes": clip.read_bytes(), "path": clip.name} for clip in some]
        videos = [clip.name[1:12] for clip in some]
        table = Dataset.from_dict({"sound": audio, "label": ["dog"] * len(some), "youtube_id": videos})
        (tmp_path / "parquet" / "data").mkdir(parents=True, exist_ok=True)
        table.cast_column("sound", UNDECODED).to_parquet(
            tmp_path / "parquet" / "data" / f"train-{number}-of-3.parquet"
        )
    return tmp_path / "parquet"


def rows(pool: IterableDataset) -> list[dict]:
    assert isinstance(pool, IterableDataset)
    found = list(pool)
    assert all(tuple(row) == POOL_COLUMNS for row in found)
    return found


def contents(found: list[dict]) -> Counter:
    return Counter(row["audio"]["bytes"] for row in found)


@pytest.mark.parametrize(
    "spec",
    [
        "{shards}",
        "webdataset={shards}",
        "{shards}/pool-{{000..002}}.tar",
        "webdataset={shards}/pool-{{000,001,002}}.tar",
        "webdataset={shards}/*.tar",
        "{shards}/pool-*.tar",
        "webdataset=file://{shards}/pool-{{000..002}}.tar",
    ],
)
def test_tar_shards(shards, clips, spec):
    """Guards against dots in names, several formats in a shard, labels that are parsed, and macOS's hidden files."""
    pool = read_pools([spec.format(shards=shards)])
    found = rows(pool)
    assert pool.num_shards == 3 and contents(found) == Counter(clip.read_bytes() for clip in clips)
    assert found[0]["audio_id"] == f"shards/pool-000.tar/audio/{clips[0].name}"
    assert found[0]["audio"]["path"] == clips[0].name and found[0]["source"] == "shards"
    assert len({row["audio_id"] for row in found}) == CLIPS and {row["origin_id"] for row in found} == {None}


def test_single_and_packed_archives(tmp_path, clips):
    """Guards against one archive, a compressed one, or nested folders of them being refused."""
    members = {clip.name: clip.read_bytes() for clip in clips}
    one = pack(tmp_path / "a" / "one.tar", members)
    assert contents(rows(read_pools([str(one)]))) == Counter(members.values())
    pack(tmp_path / "b" / "x" / "0.tar.gz", members, "w:gz")
    pack(tmp_path / "b" / "y" / "0.tar.gz", members, "w:gz")
    found = rows(read_pools([f"webdataset={tmp_path / 'b'}"]))
    assert len({row["audio_id"] for row in found}) == len(found) == 2 * CLIPS  # two shards of one name


def test_patterns():
    """Guards against leading zeros that get lost, and the last shard being left out."""
    assert expand_braces("s-{08..11}.tar") == ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]
    assert expand_braces("{a,b}/{0..1}.tar") == ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]
    assert find_shards("https://host/s-{0..1}.tar") == ["https://host/s-0.tar", "https://host/s-1.tar"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("webdataset={tmp}/shards/pool-{{000..003}}.tar", r"no such archive: .*pool-003\.tar"),
        ("{tmp}/none-*.tar", "stands for no tar archive"),
        ("webdataset={tmp}/files", "stands for no tar archive"),
        ("webdataset={tmp}/gone.tar", "no such file or folder"),
        ("stream:test={tmp}/parquet", "can't stream"),
        ("stream={tmp}/parquet#audio=clip", "no column clip: its columns are .*sound.*#audio=COLUMN"),
        ("stream={tmp}/gone", "no such file or folder"),
    ],
)
def test_what_can_not_be_streamed_is_named(tmp_path, shards, parquet, monkeypatch, spec, words):
    """Guards against an hour of embedding before a missing shard is found, and against tracebacks."""
    with pytest.raises(InputError, match=words):
        read_pools([spec.format(tmp=tmp_path)])


@pytest.mark.parametrize("spec", ["stream={}", "stream:train={}", "stream={}#audio=sound"])
def test_parquet_is_streamed(parquet, clips, spec):
    """Guards against a copy of the whole pool on disk, decoding that needs FFmpeg, and labels that come along."""
    pool = read_pools([spec.format(parquet)])
    found = rows(pool)
    assert pool.num_shards == 3 and contents(found) == Counter(clip.read_bytes() for clip in clips)
    assert {row["origin_id"] for row in found} == {f"youtube:{clip.name[1:12]}" for clip in clips}
    again = rows(read_pools([spec.format(parquet)]))
    assert [row["audio_id"] for row in found] == [row["audio_id"] for row in again]
    assert len({row["audio_id"] for row in found}) == CLIPS


def test_arrow_folders_and_tables(tmp_path, parquet, clips):
    """Guards against the folder of save_to_disk, and one of Parquet read as a table, that hold other clips."""
    table = load_dataset("parquet", data_files=str(parquet / "data" / "*.parquet"), split="train")
    table.rename_column("sound", "audio").save_to_disk(tmp_path / "arrow")
    expected = Counter(clip.read_bytes() for clip in clips)
    assert contents(rows(read_pools([f"stream={tmp_path / 'arrow'}"]))) == expected
    for spec in (tmp_path / "arrow", f"hub:train={parquet}#audio=sound"):
        pool = read_pools([str(spec)])
        assert isinstance(pool, Dataset) and contents(list(pool)) == expected
        assert set(pool["origin_id"]) == {f"youtube:{clip.name[1:12]}" for clip in clips}


def test_streams_and_tables_join(shards, pool_folder):
    """Guards against all but one of several pools being dropped where one of them is streamed."""
    found = rows(read_pools([str(shards), str(pool_folder)]))
    assert Counter(row["source"] for row in found) == {"shards": CLIPS, "pool": 7}


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_clip_is_on_one_process(shards, ranks):
    """Guards against clips that are embedded twice or never, whether the shards divide evenly or not."""
    pool = read_pools([str(shards)])
    shares = [[row["audio_id"] for row in split_dataset_by_node(pool, rank, ranks)] for rank in range(ranks)]
    assert sorted(chain(*shares)) == sorted(row["audio_id"] for row in pool) and all(shares)


def test_a_stream_resumes_in_the_middle(shards):
    """Guards against an interrupted pass that must start over, or skips a clip."""
    pool = read_pools([str(shards)])
    everything = [row["audio_id"] for row in pool]
    started = iter(pool)
    head = [next(started)["audio_id"] for _ in range(4)]
    state = pool.state_dict()
    fresh = read_pools([str(shards)])
    fresh.load_state_dict(state)
    assert head + [row["audio_id"] for row in fresh] == everything


def test_embeddings_of_a_stream_are_those_of_a_table(tiny, shards, clips, tmp_path):
    """Guards against a pool that yields other pairs when it is streamed: equal to the bit."""
    skipped = SkippedClips(tmp_path / "skipped.csv")
    expected, _ = embed_clips(*tiny, read_pools([str(clips[0].parent)]), skipped, batch_size=4)
    names = [clip.name for clip in sorted(clips)]
    vectors, kept = embed_stream(*tiny, read_pools([str(shards)]), skipped, batch_size=4)
    assert kept.column_names == [*POOL_COLUMNS, "share"] and set(kept["audio"]) == {None} and len(kept) == CLIPS
    for vector, audio_id in zip(vectors, kept["audio_id"], strict=True):
        assert np.array_equal(vector, expected[names.index(Path(audio_id).name)])


def test_bad_clips_and_broken_shards_are_listed(tiny, shards, tmp_path):
    """Guards against one truncated archive or corrupt clip that ends a run over a thousand shards."""
    whole = (shards / "pool-001.tar").read_bytes()
    (shards / "pool-001.tar").write_bytes(whole[: len(whole) // 2])
    pack(shards / "pool-003.tar", {"bad.wav": b"no audio"})
    (shards / "pool-004.tar").write_bytes(b"no archive at all" * 100)
    skipped = SkippedClips(tmp_path / "skipped.csv")
    vectors, kept = embed_stream(*tiny, read_pools([str(shards)]), skipped, batch_size=4)
    reasons = skipped.read()
    assert len(vectors) == len(kept) and 6 <= len(kept) < CLIPS
    assert "not decodable" in reasons.pop("shards/pool-003.tar/bad.wav")
    broken = sorted(reasons)
    assert [name.split(" broken after ")[0] for name in broken] == ["shards/pool-001.tar", "shards/pool-004.tar"]
    for shard in sorted(shards.iterdir())[:4]:
        shard.unlink()
    with pytest.raises(InputError, match="none of the 1 clips could be read"):
        embed_stream(*tiny, read_pools([str(shards)]), skipped, batch_size=4)


def test_repeated_and_unwanted_clips(tiny, parquet, clips, tmp_path):
    """Guards against a dataset with one row per caption whose clips count five times, and AudioCaps' clips."""
    again = parquet / "data" / "train-3-of-3.parquet"
    again.write_bytes((parquet / "data" / "train-0-of-3.parquet").read_bytes())
    exclusions, unwanted = ExclusionLog(), frozenset({f"youtube:{clips[1].name[1:12]}"})
    skipped = SkippedClips(tmp_path / "skipped.csv")
    pool, leakage = read_pools([f"stream={parquet}"]), LeakageFilter(origins=unwanted)
    vectors, kept = embed_stream(*tiny, pool, skipped, 4, leakage, exclusions)
    assert len(vectors) == len(kept) == CLIPS - 1 and not unwanted & set(kept["origin_id"])
    assert {reason: count for (_, reason), count in exclusions.counts.items()} == {
        "its recording is to be left out": 1,
        "the same clip again": 3,
    }


def curated(command, teacher, captions, pool, output, *flags) -> Dataset:
    flags = ["--strategy", "du", "--teacher", teacher, "--captions", captions, "--num_pairs", 20, *flags]
    assert command(curate, *flags, "--audio", pool, "--output_dir", output) == 0
    return load_improvement_set(output)[0]


def as_set(pairs: Dataset) -> set:
    return {(row["audio"]["bytes"], row["caption"], row["similarity"]) for row in pairs}


def test_curation_of_a_stream(command, tiny_folder, captioned_folder, shards, clips, tmp_path, monkeypatch):
    """Guards against pairs whose audio is lost with the stream, or is another clip's, and rows out of order."""
    monkeypatch.setattr("modeling_clap_student.curation.improvement_set.ROWS_A_GROUP", 3)
    monkeypatch.setattr("modeling_clap_student.curation.improvement_set.ROWS_A_FILE", 8)
    pairs = curated(command, tiny_folder, captioned_folder, shards, "streamed")
    files = sorted(file.name for file in Path("streamed/data").iterdir() if file.name.startswith("train"))
    assert files == [f"train-{n:05d}-of-00003.parquet" for n in range(3)] and len(pairs) >= 20
    content = {f"shards/pool-{n % 3:03d}.tar/audio/{clip.name}": clip.read_bytes() for n, clip in enumerate(clips)}
    assert all(row["audio"]["bytes"] == content[row["audio_id"]] for row in pairs)
    assert pairs["audio_id"][:] == sorted(pairs["audio_id"][:])
    assert Path("streamed/report.html").read_text().count("<audio") == 2 * len(pairs) + min(8, len(content))
    Path("pushed").mkdir()  # as --push_to_hub does
    provenance = {"strategy": "du", "teacher": "t", "num_pairs": len(pairs), "seed": 0, "version": "0"}
    save_improvement_set(Path("pushed"), pairs, None, provenance, "me/pairs", with_audio=True)
    assert as_set(load_improvement_set("pushed")[0]) == as_set(pairs)
    table = curated(command, tiny_folder, captioned_folder, clips[0].parent, "table")
    told = {(Path(row["audio_id"]).name, row["caption"], row["similarity"]) for row in table}
    assert {(Path(row["audio_id"]).name, row["caption"], row["similarity"]) for row in pairs} == told


@pytest.mark.slow
def test_curation_of_a_stream_on_two_processes(command, tiny_folder, captioned_folder, shards, parquet, tmp_path):
    """Guards against clips of other processes that are lost or doubled, and pairs that depend on their number."""
    alone = curated(command, tiny_folder, captioned_folder, f"stream={parquet}", "one")
    flags = ["--strategy", "du", "--teacher", tiny_folder, "--captions", captioned_folder, "--num_pairs", "20"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, ROOT / "curate.py", *flags, "--audio", f"stream={parquet}", "--output_dir", "two"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pairs = load_improvement_set("two")[0]
    assert len(pairs) == len(alone) and as_set(pairs) == as_set(alone)
    rows = [len(alone) - 1, 0, 3]  # in the order of one process, from the files of two
    assert list(read_streamed_audio(Path("two"), alone, rows)) == [alone[row]["audio"] for row in rows]
    assert "<audio" in Path("two/report.html").read_text()
    assert sorted(file.name for file in Path("two/data").glob("train*")) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]


def test_a_stream_that_has_changed(tiny, shards, tmp_path):
    """Guards against pairs that lose their audio without a word."""
    _, kept = embed_stream(*tiny, read_pools([str(shards)]), SkippedClips(tmp_path / "s.csv"))
    empty = [None] * len(kept)
    pairs = kept.remove_columns("share").add_column("caption", ["a"] * len(kept))
    for name in ("similarity", "caption_id", "label", "label_similarity"):
        pairs = pairs.add_column(name, empty)
    (shards / "pool-002.tar").unlink()
    with pytest.raises(InputError, match="3 pairs lost their clip"):
        save_streamed_pairs(tmp_path, pairs, kept, read_pools([str(shards)]))


def test_little_of_a_stream_is_held(tiny, tmp_path, monkeypatch):
    """Guards against memory that grows with the pool: of 53 MB of audio a few clips are there at a time."""
    clip = write_tone(tmp_path / "tone.wav", 440, seconds=5).read_bytes()
    for shard in range(3):
        clips = {f"{n}.wav": clip[:-2] + (40 * shard + n).to_bytes(2, "little") for n in range(40)}
        pack(tmp_path / "large" / f"{shard}.tar", clips)
    pool = read_pools([str(tmp_path / "large")])

    # Reading is what is measured.
    def read_only(model, clips, batch_size):
        yield from (torch.ones(32) for clip in clips if list(clip))

    monkeypatch.setattr("modeling_clap_student.checkpoints.embedding.iter_embeddings", read_only)
    tracemalloc.start()
    _, kept = embed_stream(*tiny, pool, SkippedClips(tmp_path / "s.csv"), batch_size=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) == 120 and peak < 15e6
