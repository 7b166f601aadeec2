"""Files that a foreign corpus names outside its folder are not read, least of all put into a set that is pushed."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_tone
from datasets import Dataset

from modeling_clap_student.audio_clap_student import AudioFile
from modeling_clap_student.commands import curate
from modeling_clap_student.curation.improvement_set import FEATURES, put_audio
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.files import OUTSIDE
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.errors import InputError


SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----\nnot for others\n"


@pytest.fixture
def secret(tmp_path) -> Path:
    """A private recording, and a private key, beside the corpora."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id_rsa").write_bytes(SECRET)
    return write_tone(tmp_path / "secret" / "private.wav", 777)


@pytest.fixture
def own(tmp_path) -> Path:
    return write_tone(tmp_path / "corpus" / "a.wav", 333)


def rows_of(secret: Path, own: Path) -> list[dict]:
    names = [own, secret, own.parent / ".." / "secret" / "private.wav"]
    return [
        {"audio": {"bytes": None, "path": str(name)}, "caption": f"a dog {n}", "label": f"l{n % 2}"}
        for n, name in enumerate([names[0], write_tone(own.parent / "b.wav", 444), *names[1:]])
    ]


def write(kind: str, folder: Path, secret: Path, own: Path) -> str:
    """The same corpus in one of its forms: two rows of its own, two of another folder's files."""
    rows = rows_of(secret, own)
    names = ["a.wav", "b.wav", str(secret), "../secret/private.wav"]
    lines = [f"{name},{row['caption']},{row['label']}" for name, row in zip(names, rows, strict=True)]
    if kind in ("metadata.csv", "list.csv"):
        (folder / kind).write_text("file_name,caption,label\n" + "\n".join(lines) + "\n")
    elif kind in ("metadata.jsonl", "list.jsonl"):
        texts = [
            {"file_name": n, "caption": r["caption"], "label": r["label"]} for n, r in zip(names, rows, strict=True)
        ]
        (folder / kind).write_text("\n".join(map(json.dumps, texts)))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return str(folder if kind.startswith("metadata") or kind == "parquet" else folder / kind)


@pytest.mark.parametrize("kind", ["metadata.csv", "metadata.jsonl", "list.csv", "list.jsonl", "parquet"])
@pytest.mark.parametrize("use", ["captions", "labels"])
def test_tables_name_files_of_their_folder(kind, use, secret, own):
    """Guards against `../secret/id_rsa`, an absolute path, and both in every kind of table."""
    spec = write(kind, own.parent, secret, own)

    def read(exclusions):
        if use == "captions":
            return read_corpora([spec], exclusions=exclusions)
        return read_benchmark(spec, exclusions).clips

    exclusions = ExclusionLog()
    assert {Path(clip["path"]).name for clip in read(exclusions)["audio"]} == {"a.wav", "b.wav"}
    assert exclusions.counts == {(spec, OUTSIDE): 2} and "--allow_outside_paths" in exclusions.lines[0]
    assert len(read(ExclusionLog(allow_outside_paths=True))) == 4


def test_pools_and_streams_of_parquet(secret, own):
    """Guards against a pool, or a stream, whose rows name other files; a stream's are listed as they come."""
    spec = write("parquet", own.parent, secret, own)
    exclusions = ExclusionLog()
    assert len(read_pools([spec], exclusions)) == 2 and exclusions.counts == {(spec, OUTSIDE): 2}
    for stream in (read_pools([f"stream={spec}"]), read_corpora([f"stream={spec}"], streams=True)):
        paths = [row["audio"]["path"] for row in stream]
        assert [path.startswith("refused://outside its folder") for path in paths] == [False, False, True, True]
    stream = read_pools([f"stream={spec}"], ExclusionLog(allow_outside_paths=True))
    assert not any(row["audio"]["path"].startswith("refused:") for row in stream)


def test_saved_datasets(secret, own, tmp_path):
    """Guards against a folder of `save_to_disk`, whose bytes need not be in it."""
    Dataset.from_list(rows_of(secret, own)[2:]).save_to_disk(tmp_path / "saved")
    for read in (read_corpora, read_pools):
        with pytest.raises(InputError, match=r"none of its 2 files lies in .*saved \(--allow_outside_paths"):
            read([str(tmp_path / "saved")])


def test_links_out_of_a_folder(secret, own, tmp_path):
    """Guards against links to files and to folders, which a scan follows; those that stay inside are read."""
    corpus = own.parent
    (corpus / "out.wav").symlink_to(secret)
    (corpus / "folder").symlink_to(secret.parent)
    (corpus / "in.wav").symlink_to(own)
    (corpus / "caf\u00e9.wav").symlink_to(secret)
    exclusions = ExclusionLog()
    pool = read_pools([str(corpus)], exclusions)
    assert sorted(Path(clip["path"]).name for clip in pool["audio"]) == ["a.wav", "in.wav"]
    assert exclusions.counts == {(str(corpus), OUTSIDE): 3}
    # The same name in other code points is the same file.
    (corpus / "metadata.csv").write_text("file_name,caption\na.wav,a\ncafe\u0301.wav,b\n", encoding="utf-8")
    assert len(read_corpora([str(corpus)])) == 1
    # A folder that is itself a link is where the user pointed.
    (tmp_path / "link").symlink_to(corpus)
    (corpus / "metadata.csv").unlink()
    assert len(read_pools([str(tmp_path / "link")])) == 2


def test_folders_of_the_hugging_face_cache(own, tmp_path):
    """Guards against a snapshot whose files are all left out because they are links into `blobs`."""
    repository = tmp_path / "datasets--me--clips"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    own.rename(repository / "blobs" / "1234")
    (snapshot / "a.wav").symlink_to(os.path.relpath(repository / "blobs" / "1234", snapshot))
    assert len(read_pools([str(snapshot)])) == 1


def test_nothing_left_is_one_line(secret, own):
    """Guards against `no such audio file` where the file is there."""
    (own.parent / "metadata.csv").write_text(f"file_name,caption\n{secret},a dog\n")
    with pytest.raises(InputError, match=r"none of its 1 files lies in .*--allow_outside_paths"):
        read_corpora([str(own.parent)])


def pushed_bytes(folder: Path) -> list[bytes]:
    files = sorted((folder / "data").glob("*.parquet"))
    return [clip["bytes"] for file in files for clip in pq.read_table(file)["audio"].to_pylist()]


@pytest.mark.parametrize("allowed", [False, True])
def test_no_private_file_in_a_set(
    allowed, secret, captioned_folder, pool_folder, labelled_folder, tiny_folder, tmp_path, command, capsys
):
    """Guards against the whole way: a row of a list, the replay set, `--embed_audio`, the file's bytes in Parquet."""
    (captioned_folder / "notes.wav").write_bytes(SECRET)
    (captioned_folder / "link.wav").symlink_to(secret.parent / "id_rsa")
    with open(captioned_folder / "metadata.csv", "a") as file:
        file.write("../secret/id_rsa,a low hum\nnotes.wav,a low hum\nlink.wav,a low hum\n")
    flags = ["--strategy", "ads", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labelled_folder, "--num_captions", 4, "--num_pairs", 8, "--embed_audio"]
    flags += ["--max_skipped_fraction", 1, "--allow_outside_paths", str(allowed).lower()]
    assert command(curate, *flags, "--output_dir", tmp_path / "set") == 0, capsys.readouterr().err
    held = pushed_bytes(tmp_path / "set")
    assert len(held) > 8 and not any(b"PRIVATE" in data for data in held)
    for data in held:
        AudioFile(data).close()
    out = capsys.readouterr().out
    assert ("2 of 15 rows left out: outside its folder" in out) is not allowed
    listed = (tmp_path / "set" / "skipped.csv").read_text()
    assert "notes.wav,not decodable" in listed and ("id_rsa" in listed) is allowed


def test_a_file_that_changed_since_is_not_put_into_a_set(secret):
    """Guards against a path that leads to something else by the time a set is pushed."""
    row = dict.fromkeys(FEATURES, None)
    batch = pa.Table.from_pylist([row]).cast(FEATURES.arrow_schema)
    with pytest.raises(InputError, match="id_rsa can't be put into the set"):
        put_audio(batch, [{"bytes": None, "path": str(secret.parent / "id_rsa")}])
    assert put_audio(batch, [{"bytes": None, "path": str(secret)}])["audio"][0].as_py()["path"] == "private.wav"
