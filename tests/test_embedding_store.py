"""The embedding store: nothing is computed twice, nothing stale is used, nothing is lost by a kill."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, numbers, write_tone

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.embedding import embed_clips, embed_texts
from modeling_clap_student.commands import curate
from modeling_clap_student.curation.embedder import StoredEmbedder
from modeling_clap_student.curation.embedding_store import EmbeddingStore
from modeling_clap_student.data.identity import clip_keys, key_of
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


@pytest.fixture
def embedder(tiny, tmp_path):
    """Opens the store anew, as another run would; counts what the model embeds."""
    model, processor = tiny
    calls = {"audio": 0, "text": 0}
    for kind, name in (("audio", "get_audio_features"), ("text", "get_text_features")):
        original = getattr(model, name)

        def counted(*args, _kind=kind, _original=original, **kwargs):
            calls[_kind] += 1
            return _original(*args, **kwargs)

        setattr(model, name, counted)

    def open_store(skipped="skipped.csv", batch_size=4) -> StoredEmbedder:
        store = EmbeddingStore(tmp_path / "store", model, processor, batch_size)
        return StoredEmbedder(model, processor, store, SkippedClips(tmp_path / skipped), batch_size)

    open_store.calls = calls
    return open_store


def test_vectors_are_those_of_no_store(tiny, embedder, pool_folder, tmp_path):
    """Guards against vectors that change on their way to disk and back, to the bit, or stand in another row."""
    table = read_pools([str(pool_folder)])
    plain, rows = embed_clips(*tiny, table, SkippedClips(tmp_path / "plain.csv"), batch_size=4)
    stored, kept = embedder().table(table, "x")
    assert np.array_equal(stored[:], plain) and np.array_equal(kept, rows)
    assert np.array_equal(stored[1:4], plain[1:4]) and np.array_equal(stored[np.array([3, 0])], plain[[3, 0]])
    assert np.array_equal(stored[::2], plain[::2]) and stored.shape == plain.shape
    texts = ["hum", "a low hum", "hum"]
    assert np.array_equal(embedder().texts(texts, "x")[:], embed_texts(*tiny, texts))


def test_a_second_run_embeds_what_is_new(embedder, pool_folder):
    """Guards against embedding a pool again for another strategy, and against missing a file that has changed."""
    first, _ = embedder().table(read_pools([str(pool_folder)]), "x")
    done = embedder.calls["audio"]
    again, rows = embedder("again.csv").table(read_pools([str(pool_folder)]), "x")
    assert embedder.calls["audio"] == done and np.array_equal(first[:], again[:])
    assert list(SkippedClips(Path(embedder().skipped.path).with_name("again.csv")).read()) == ["pool/broken.wav"]
    write_tone(pool_folder / "new.wav", 5000)
    write_tone(pool_folder / "0.flac", 6000, seconds=2)
    changed, _ = embedder().table(read_pools([str(pool_folder)]), "x")
    assert embedder.calls["audio"] == done + 1  # one batch
    assert np.array_equal(changed[1:6], first[1:6]) and not np.array_equal(changed[0], first[0])
    assert len(rows) == 6 and len(changed) == 7


def test_texts_are_embedded_once(embedder):
    """Guards against captions that are encoded for each of their clips, or again in the next run."""
    embedder().texts(["hum", "hiss", "hum"] * 100, "x")
    done = embedder.calls["text"]
    embedder().texts(["hiss", "hum"], "x")
    assert embedder.calls["text"] == done
    embedder().texts(["hiss", "tone"], "x")
    assert embedder.calls["text"] == done + 1


@pytest.mark.parametrize("change", ["weights", "batch size", "window", "tokenizer", "dtype"])
def test_another_teacher_finds_nothing(tiny, embedder, pool_folder, change):
    """Guards against stale vectors: of other weights, or of the same weights with another way of hearing or
    reading."""
    table, (model, processor) = read_pools([str(pool_folder)]), tiny
    store = embedder().store
    embedder().table(table, "x")
    embedder().texts(["hum"], "x")
    if change == "weights":
        with torch.no_grad():
            model.audio_projection.linear2.weight[0, 0] += 1e-6
    elif change == "window":
        processor.feature_extractor.window_seconds = 4.0
    elif change == "tokenizer":
        processor.tokenizer.add_tokens(["zzz"])
    other = embedder(batch_size=8 if change == "batch size" else 4).store
    if change == "dtype":
        other = EmbeddingStore(store.folder.parent, model, processor, 4, "bfloat16")
    assert other.folder != store.folder
    keys = clip_keys(table)
    assert store.knows("clips", keys).all() and not other.knows("clips", keys).any()


def test_a_folder_of_another_teacher_is_refused(embedder, tmp_path):
    """Guards against a store that was copied over another one."""
    store = embedder().store
    about = store.folder / "store.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"teacher": "another"}))
    with pytest.raises(InputError, match="holds the embeddings of another teacher: remove it"):
        embedder()


def test_half_written_vectors_do_not_count(embedder, pool_folder):
    """Guards against what a killed process leaves: half a key, half a vector, a vector without its key."""
    table = read_pools([str(pool_folder)])
    whole, _ = embedder().table(table, "x")
    whole = whole[:]
    store = embedder().store
    (keys,), (vectors,) = (list(store.folder.glob(f"clips-*.{what}")) for what in ("keys", "vectors"))
    for cut_keys, cut_vectors in ((5, 0), (0, 100), (17 * 2, 0), (0, 4 * store.dim * 3 + 1)):
        copies = keys.read_bytes(), vectors.read_bytes()
        os.truncate(keys, keys.stat().st_size - cut_keys)
        os.truncate(vectors, vectors.stat().st_size - cut_vectors)
        before = embedder.calls["audio"]
        again, _ = embedder().table(table, "x")
        assert np.array_equal(again[:], whole) and embedder.calls["audio"] == before + 1
        for file in store.folder.glob("clips-*.*s"):
            file.unlink()
        keys.write_bytes(copies[0])
        vectors.write_bytes(copies[1])


def test_a_full_disk_is_named(embedder, pool_folder, monkeypatch):
    """Guards against a traceback, and a store that is broken by it."""
    monkeypatch.setattr(
        "modeling_clap_student.data.keyed_files.KeyedFiles.add",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(InputError, match=r"can't write embeddings to .*: No space left on device"):
        embedder().table(read_pools([str(pool_folder)]), "x")
    monkeypatch.undo()
    assert len(embedder().table(read_pools([str(pool_folder)]), "x")[1]) == 6


def test_keys_tell_clips_apart(tmp_path):
    """Guards against two clips, or a clip and its changed self, with one key."""
    path = write_tone(tmp_path / "a.wav", 300)
    (before,) = clip_keys([{"audio": {"path": str(path), "bytes": None}, "audio_id": "x"}])
    write_tone(tmp_path / "a.wav", 300, seconds=2)
    held = [{"path": None, "bytes": b"ab"}, {"path": "x", "bytes": b"ab"}, {"path": None, "bytes": b"abc"}]
    names = [{"path": "soundscapes://1", "bytes": None}, {"path": "soundscapes://2", "bytes": None}]
    clips = [{"path": str(path), "bytes": None}, *held, *names, None]
    keys = clip_keys({"audio": clip, "audio_id": "x"} for clip in clips)
    assert keys[1] == keys[2] and len({before, *keys}) == 7
    broken = clip_keys({"audio": None, "audio_id": name} for name in "ab")
    assert broken[0] != broken[1]
    assert key_of("ab", "c") != key_of("a", "bc") and len(key_of("")) == 16


def digest(folder: Path) -> dict[str, str]:
    """The content of all files of an Improvement-Set, by name, without its location."""
    files = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    del files[Path("arguments.json")]
    return {
        str(name): hashlib.sha256(content.replace(folder.name.encode(), b"SET")).hexdigest()
        for name, content in files.items()
    }


@pytest.fixture
def flags(tiny_folder, captioned_folder, tmp_path):
    """Of a curation with enough clips to be killed in between."""
    for number in range(150):
        write_tone(tmp_path / "many" / f"{number}.wav", 100 + 7 * number, seconds=0.5)
    common = ["--strategy", "du", "--teacher", tiny_folder, "--captions", captioned_folder, *numbers("du")]
    return [*map(str, common), "--audio", str(tmp_path / "many"), "--batch_size", "2"]


def finish(*command, **options) -> None:
    """Runs a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_killed_and_started_again_it_ends_the_same(flags, tmp_path):
    """Guards against a SIGKILL that costs more than the batch at hand, or leaves a trace in the result."""
    command = [sys.executable, str(ROOT / "curate.py"), *flags]
    once, store = tmp_path / "SETA", tmp_path / "store"
    finish(*command, "--output_dir", once, "--embedding_store", tmp_path / "other")
    twice = [*command, "--output_dir", str(tmp_path / "SETB"), "--embedding_store", str(store)]
    process = subprocess.Popen(twice, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = 0
    while done < 20 and process.poll() is None:
        done = sum(file.stat().st_size // 17 for file in store.glob("*/clips-*.keys"))
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = sum(file.stat().st_size // 17 for file in store.glob("*/clips-*.keys"))
    assert 20 <= done < 150 and not (tmp_path / "SETB").exists()
    finish(*twice)
    assert sum(file.stat().st_size // 17 for file in store.glob("*/clips-*.keys")) == 150  # nothing twice
    assert digest(tmp_path / "SETA") == digest(tmp_path / "SETB")


@pytest.mark.slow
def test_two_processes_make_the_same_set_as_one(flags, tmp_path):
    """Guards against shares that change the order, and clips that both or neither embeds."""
    script, processes = (
        str(ROOT / "curate.py"),
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, launch in (("SETA", []), ("SETB", processes)):
        places = ["--output_dir", str(tmp_path / name), "--embedding_store", str(tmp_path / f"store {name}")]
        finish(sys.executable, *launch, script, *flags, *places, env=environment)
    assert digest(tmp_path / "SETA") == digest(tmp_path / "SETB")
    assert len(list((tmp_path / "store SETB").glob("*/clips-*.keys"))) == 2


def test_a_set_is_made_again_from_its_own_provenance(
    tiny_folder, captioned_folder, pool_folder, labelled_folder, tmp_path, command, capsys
):
    """Guards against provenance that leaves out what decided: the same pairs, to the byte."""
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labelled_folder, "--num_captions", 3, "--num_pairs", 7, "--max_clips_per_caption", 4]
    assert command(curate, *flags, "--output_dir", tmp_path / "SETA", "--max_skipped_fraction", 1) == 0
    assert command(curate, "--remake", tmp_path / "SETA", "--output_dir", tmp_path / "SETB") == 0
    assert digest(tmp_path / "SETA") == digest(tmp_path / "SETB")
    with open(labelled_folder / "metadata.csv", "a") as file:
        file.write("0.wav,third_class\n")
    assert command(curate, "--remake", tmp_path / "SETA", "--output_dir", tmp_path / "SETC") == 1
    assert "can't be made again: the labels are not those it was made with" in capsys.readouterr().err
    (tmp_path / "SETA" / "provenance.json").unlink()
    assert command(curate, "--remake", tmp_path / "SETA") == 1
    assert "does not tell how it was made" in capsys.readouterr().err


LATE = """
import sys, time
from accelerate import PartialState
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.curation.embedder import StoredEmbedder
from modeling_clap_student.curation.embedding_store import EmbeddingStore
from modeling_clap_student.data.skipping import SkippedClips

state = PartialState(cpu=True)
model, processor = load_checkpoint(sys.argv[1])

class Late(EmbeddingStore):
    def knows(self, kind, keys):
        time.sleep(3 * state.process_index)
        return super().knows(kind, keys)

folder = sys.argv[2]
embedder = StoredEmbedder(model, processor, Late(folder, model, processor, 4), SkippedClips(folder + "/skipped.csv"))
vectors = embedder.texts([f"text {number}" for number in range(20)], "texts")[:]
assert vectors.shape == (20, model.config.projection_dim) and (abs(vectors).sum(axis=1) > 0).all()
"""


@pytest.mark.slow
def test_a_process_that_looks_late_shares_out_the_same(tiny_folder, tmp_path):
    """Guards against texts and clips that nobody embeds, because one process had begun before another had looked."""
    (tmp_path / "late.py").write_text(LATE)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    finish(*launch, tmp_path / "late.py", tiny_folder, tmp_path / "store", env=environment)
