"""Passwords, tokens and the folders of a user's machine are never shown, left behind or pushed."""

import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import FAST, numbers

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.curation import inputs
from modeling_clap_student.redaction_clap_student import public, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:PASS@host/x-{00..01}.tar", "http://***@host/x-{00..01}.tar"),
        ("webdataset=https://u:p@ss@host:80/a.tar: 401", "webdataset=https://***@host:80/a.tar: 401"),
        ("https://TOKEN@host/x", "https://***@host/x"),
        ("s3://b/k?X-Amz-Signature=abc&part=1", "s3://b/k?X-Amz-Signature=***&part=1"),
        ("https://h/x.tar?access_token=abc#audio=file", "https://h/x.tar?access_token=***#audio=file"),
        ("hf_abcdefghijklmnop", "hf_***"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("me/pairs@1f2e3d4", "me/pairs@1f2e3d4"),
        ("a dog barks @ night; key=c", "a dog barks @ night; key=c"),
    ],
)
def test_secrets_in_a_text(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/jane/ESC-50", "ESC-50"),
        ("esc50:4,5=/home/jane/ESC 50/", "esc50:4,5=ESC 50"),
        ("hub:train=/home/jane/data#audio=file,caption=text", "hub:train=data#audio=file,caption=text"),
        ("retrieval=clotho=~/Clotho", "retrieval=clotho=Clotho"),
        ("C:\\Users\\jane\\clips.csv", "clips.csv"),
        ("file:///home/jane/x", "x"),
        ("can't read /home/jane/x/y.wav: no", "can't read y.wav: no"),
        ("outputs/teacher", "outputs/teacher"),
        ("me/pairs@v1", "me/pairs@v1"),
        ("https://arxiv.org/abs/2305.01864", "https://arxiv.org/abs/2305.01864"),
        ("before and/or after", "before and/or after"),
    ],
)
def test_folders_in_a_text(text, shown):
    assert public(text) == shown
    assert public({"a": [text, 1, None], "b": (text,)}) == {"a": [shown, 1, None], "b": (shown,)}


SECRET = "PASSWORD"


def contents(folder: Path) -> dict[str, bytes]:
    """What every file below a folder says; archives and columns unpacked."""
    said = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for file in list(said):
        if file.endswith(".parquet"):
            said[f"{file}!"] = str(pq.read_table(file).to_pylist()).encode()
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                said |= {f"{file}!{name}": archive.read(name) for name in archive.namelist()}
    return said


@pytest.fixture
def shards(pool_folder, tmp_path, monkeypatch):
    """Two archives of one name in two folders, as they stand at an address with a password."""
    import fsspec

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with tarfile.open(tmp_path / name / "x.tar", "w") as archive:
            for file in sorted(pool_folder.glob(f"{'[0-2]' if name == 'a' else '[3-5]'}.flac")):
                archive.add(file, file.name)

    opened, real = [], fsspec.open

    def local(address, *args, **kwargs):
        opened.append(address)
        return real(str(tmp_path / address.split("host/")[1]), *args, **kwargs)

    monkeypatch.setattr("modeling_clap_student.data.streams.fsspec.open", local)
    yield f"http://user:{SECRET}@host/{{a,b}}/x.tar"
    assert any(SECRET in address for address in opened)  # it is used, and not said


def test_a_password_in_an_address(command, tiny_folder, captioned_folder, labelled_folder, shards, capsys):
    """Guards against a password in a report, a card, a table or on the screen."""
    flags = ["--teacher", tiny_folder, "--captions", captioned_folder, "--labels", labelled_folder, "--audio", shards]
    assert command(curate, "--strategy", "ads", *flags, *numbers("ads"), "--output_dir", "pairs") == 0
    shown = "".join(capsys.readouterr())
    said = contents(Path("pairs"))
    assert "host/" in said["pairs/arguments.json"].decode()
    assert SECRET not in shown and not [name for name, content in said.items() if SECRET.encode() in content]


def test_a_password_in_an_error(command, tiny_folder, captioned_folder, labelled_folder, capsys, monkeypatch):
    """Guards against an address that a library repeats when it can't be reached; and in the traceback of a defect."""
    address = f"http://user:{SECRET}@127.0.0.1:1/x.tar"
    flags = ["--teacher", tiny_folder, "--captions", captioned_folder, "--labels", labelled_folder, "--audio", address]
    assert command(curate, "--strategy", "ads", *flags, *numbers("ads"), "--output_dir", "pairs") == 1
    assert SECRET not in "".join(capsys.readouterr())

    def broken(*_):
        raise RuntimeError(address)

    monkeypatch.setattr(inputs, "evaluation_sets", broken)
    assert command(curate, "--strategy", "ads", *flags, "--output_dir", "pairs") == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "127.0.0.1" in shown and SECRET not in shown


@pytest.mark.slow
def test_folders_of_the_machine_stay_out_of_cards(
    command, tiny_folder, captioned_folder, pool_folder, labelled_folder
):
    """Guards against the name of a user in a config or a card, which are made to be pushed."""
    flags = ["--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labelled_folder, *numbers("ads"), "--strategy", "ads", "--output_dir", "pairs"]
    assert command(curate, *flags) == 0
    flags = ["--strategy", "ads", "--improvement_set", Path("pairs").resolve(), "--output_dir", Path("out").resolve()]
    assert command(run_student, *flags, "--task", labelled_folder, *FAST) == 0
    here = str(Path().resolve()).encode()
    for file in ("pairs/README.md", "pairs/report.html", "out/README.md", "out/config.json", "out/training_args.bin"):
        said = contents(Path(file).parent)
        assert not [name for name, content in said.items() if name.startswith(file) and here in content], file
    assert here in Path("pairs/provenance.json").read_bytes()  # on this machine, the set can be made again
    assert "captioned" in Path("pairs/README.md").read_text() and "pairs" in Path("out/README.md").read_text()
