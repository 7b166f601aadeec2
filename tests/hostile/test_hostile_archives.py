"""Archives that unpack to more than anyone wants to hold, and members that are no plain files."""

import gzip
import io
import json
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT, write_tone

from modeling_clap_student.data import streams
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.pools import read_pools


@pytest.fixture
def clip(tmp_path) -> bytes:
    return write_tone(tmp_path / "a.wav", 500, seconds=0.1).read_bytes()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


def pack(path: Path, contents: list[tuple[tarfile.TarInfo | str, bytes]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for info, content in contents:
            info = member(info, len(content)) if isinstance(info, str) else info
            archive.addfile(info, io.BytesIO(content))
    return path


def reasons(stream) -> dict[str, str | None]:
    """Name of each row -> why it is not read, None where it is."""
    rows = {}
    for row in stream:
        held = (row["audio"] or {}).get("bytes")
        rows[row["audio_id"]] = None if held else (row["audio"] or {"path": "no audio"})["path"]
    return rows


@pytest.fixture
def bomb(tmp_path, clip) -> Path:
    """A clip, an audio file of a gigabyte of zeros in a megabyte, and another clip."""
    path = tmp_path / "bomb" / "x.tar.gz"
    path.parent.mkdir()
    with gzip.open(path, "wb", compresslevel=1) as file:
        for name, size in (("1.wav", len(clip)), ("2.wav", 2**30), ("3.wav", len(clip))):
            file.write(member(name, size).tobuf())
            if name == "2.wav":
                for _ in range(2**10):
                    file.write(bytes(2**20))
            else:
                file.write(clip + bytes(-len(clip) % 512))
        file.write(bytes(1024))
    return path


@pytest.mark.slow
def test_a_bomb_is_passed_over_in_little_memory(bomb):
    """Guards against a member that is held whole, however large it is."""
    code = (
        "import sys, resource; from modeling_clap_student.data.pools import read_pools\n"
        "pool = read_pools([sys.argv[1]])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = [(row['audio_id'], row['audio']['path']) for row in pool]\n"
        "print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(bomb)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "1.wav" in ran.stdout and "3.wav" in ran.stdout and "refused://too large: 1073741824 bytes" in ran.stdout
    assert int(ran.stdout.split()[-1]) < 200, ran.stdout


def test_what_is_passed_over_is_bounded(bomb, tmp_path, clip, monkeypatch):
    """Guards against an archive that unpacks for hours; a plain one is never larger than it is."""
    monkeypatch.setattr(streams, "MOST_PASSED_OVER", 2**26)
    rows = reasons(read_pools([str(bomb)]))
    assert [name for name in rows if "broken after" in name and "no clips" in name]
    plain = pack(tmp_path / "plain" / "y.tar", [("a.mp4", bytes(2**27)), ("b.wav", clip)])
    assert list(reasons(read_pools([str(plain)])).values()) == [None]


def test_texts_are_bounded_and_listed(tmp_path, clip, monkeypatch):
    """Guards against a json of gigabytes beside a clip, and a clip that is left out without its reason."""
    monkeypatch.setattr(streams, "LARGEST_TEXT", 1000)
    contents = [
        ("1.wav", clip),
        ("1.json", json.dumps({"caption": "x" * 2000}).encode()),
        ("2.wav", clip),
        ("2.txt", b"rain"),
    ]
    path = pack(tmp_path / "t" / "x.tar", contents)
    rows = reasons(read_corpora([str(path)], streams=True))
    assert list(rows) == ["t/x.tar/1.wav", "t/x.tar/2.wav"]
    assert rows["t/x.tar/1.wav"].startswith("refused://its text is too large: ") and rows["t/x.tar/2.wav"] is None


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_members_that_are_no_files(tmp_path, clip, kind):
    """Guards against a link out of the archive, and a device that never ends."""
    contents = [("1.wav", clip), (member("2.wav", kind=kind, target="/etc/passwd"), b""), ("3.wav", clip)]
    rows = reasons(read_pools([str(pack(tmp_path / "t" / "x.tar", contents))]))
    assert [reason is None for reason in rows.values()] == [True, False, True]
    assert "link or a device" in rows["t/x.tar/2.wav"]


def test_names_out_of_the_archive(tmp_path, clip):
    """Guards against a member that is written where its name says."""
    names = ["../../out.wav", "/tmp/abs.wav", "b\udce9d.wav", "l" * 5000 + ".wav"]
    before = sorted(tmp_path.rglob("*"))
    rows = list(read_pools([str(pack(tmp_path / "t" / "x.tar", [(name, clip) for name in names]))]))
    assert {row["audio"]["path"] for row in rows} >= {"out.wav", "abs.wav", "b?d.wav"}
    assert all("/" not in row["audio"]["path"] and row["audio_id"].encode() for row in rows)
    assert len(sorted(tmp_path.rglob("*"))) == len(before) + 2


def test_headers_and_lists_of_members_are_bounded(tmp_path, clip):
    """Guards against gigabytes in a name's own header, which tarfile reads whole, and millions of empty members."""
    path = tmp_path / "t" / "x.tar"
    pack(path, [("1.wav", clip)])
    with open(path, "r+b") as file:
        file.truncate(512 + len(clip) + -len(clip) % 512)
        file.seek(0, 2)
        file.write(member("././@LongLink", 2**40, tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT))
    rows = reasons(read_pools([str(path)]))
    assert len(rows) == 2 and "broken after 1.wav: a header of 1099511627776 bytes" in list(rows)[1]
    many = pack(tmp_path / "many" / "x.tar.gz", [(member(f"{n}.txt"), b"") for n in range(20_000)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reasons(read_pools([str(many)])) == {}
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 20 * 1024


def test_a_broken_json_tells_nothing(tmp_path, clip):
    """Guards against a traceback of a json that is nested too deeply, is a list, or holds half a surrogate pair."""
    texts = [
        b"[" * 100_000,
        b"[1]",
        b'{"caption": "\\ud800"}',
        b'{"caption": {"a": 1}}',
        b"\xff\xfe",
        b'{"fsID": [1]}',
    ]
    contents = [
        (f"{n}.{kind}", {"wav": clip, "json": text}[kind]) for n, text in enumerate(texts) for kind in ("wav", "json")
    ]
    path = pack(tmp_path / "t" / "x.tar", contents)
    rows = list(read_corpora([str(path)], streams=True))
    assert len(rows) == len(texts) and {row["caption"] for row in rows} == {""}
    assert {row["origin_id"] for row in read_pools([str(path)])} == {None}
