"""Sets and stores that somebody else made, or that were damaged: nothing of them is obeyed but the method."""

import json
from pathlib import Path

import pytest
from conftest import check_failure, numbers

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import student as run_student


@pytest.fixture
def made(command, tiny_folder, captioned_folder, pool_folder, labelled_folder) -> Path:
    """An Improvement-Set."""
    flags = ["--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labelled_folder, *numbers("ads"), "--strategy", "ads", "--output_dir", "theirs"]
    assert command(curate, *flags) == 0
    return Path("theirs")


def change(folder: Path, **arguments) -> None:
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["arguments"] |= arguments
    (folder / "provenance.json").write_text(json.dumps(provenance))


def test_a_set_made_again_takes_the_method_alone(command, made, capsys, monkeypatch):
    """Guards against a foreign set that pushes the user's audio, or writes where it likes."""
    monkeypatch.setattr(curate, "push", lambda *_: pytest.fail("pushed"))
    orders = {"push_to_hub": "evil/set", "output_dir": "elsewhere", "embed_audio": True, "embedding_store": "there"}
    change(made, **orders, private=False, dry_run=True, allow_outside_paths=True, remake="x", config="x")
    capsys.readouterr()
    assert command(curate, "--remake", made, "--output_dir", "ours") == 0
    shown = capsys.readouterr().out
    assert Path("ours/provenance.json").exists() and not Path("elsewhere").exists() and not Path("there").exists()
    assert "push_to_hub" in shown and "ignored" in shown  # said, and not done
    assert all(f"--{name}" in shown for name in ("teacher", "captions", "audio", "labels"))
    assert json.loads(Path("ours/provenance.json").read_text())["num_pairs"] == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"audio": ["gone/away/x"]}, ["no such file or folder", "gone/away/x"]),
        ({"teacher": "./gone"}, ["no such checkpoint", "gone"]),
        ({"audio": {"a": 1}}, ["provenance.json: audio must be"]),
        ({"num_pairs": "many"}, ["provenance.json: num_pairs must be"]),
        ({"num_pairs": -1}, ["--num_pairs must be at least 1"]),
        ({"seed": 2**40}, ["--seed must lie in"]),
        ({"strategy": "best"}, ["strategy must be one of"]),
    ],
)
def test_a_set_made_again_from_nonsense(command, made, capsys, arguments, words):
    """Guards against a traceback from somebody's file."""
    change(made, **arguments)
    check_failure(command(curate, "--remake", made, "--output_dir", "ours"), capsys, *words)
    assert not Path("ours").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"arguments": [1]}', "{", "[" * 100_000, '{"teacher": 1', "\ud800"])
def test_a_damaged_provenance(command, made, capsys, content):
    """Guards against a traceback where a file was cut."""
    (made / "provenance.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    check_failure(command(curate, "--remake", made, "--output_dir", "ours"), capsys, "theirs")
    if content not in ('{"arguments": [1]}',):
        code = command(run_student, "--strategy", "ads", "--improvement_set", made, "--output_dir", "out", "--dry_run")
        check_failure(code, capsys, "provenance.json")


def test_a_damaged_store(command, made, capsys):
    """Guards against a store that was cut, or lost a file, and ends every curation."""
    (store,) = Path("outputs/embeddings").iterdir()
    for vectors in store.glob("*.vectors"):
        vectors.unlink()
    assert command(curate, "--remake", made, "--output_dir", "ours") == 0
    (store / "store.json").write_text("{")
    check_failure(
        command(curate, "--remake", made, "--output_dir", "again"), capsys, "store.json", "remove its folder"
    )
