"""Names of files and classes that mean something to a terminal, to Markdown or to a chart are shown as they are."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import FAST, numbers, write_tone

from modeling_clap_student.card_clap_student import markdown_text
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.evaluation.report import ReportTable, as_markdown
from modeling_clap_student.utils.console import heading, print_table, printable, say


NAMES = ["[red]rain", "[/y]", "a\\|b", "<script>alert(1)", "$x_{$", "![p](http://h/p.png)", "a\x1b[31mb", "`dog`"]


@pytest.mark.parametrize("name", ["[red]rain", "[/y]", "[link=http://h]x[/link]", "a [b] c", ":smile:"])
def test_markup_in_what_is_said(name, capsys):
    """Guards against a traceback, or a class that vanishes from a table."""
    for show in (say, heading, lambda text: print_table(text, [text], [[text]])):
        show(name)
        assert name in capsys.readouterr().out


def test_escape_sequences_do_not_reach_the_terminal(capsys):
    """Guards against a clip whose name clears the screen, writes a title or turns a line around."""
    for name in ("\x1b]0;title\x07", "a\x1b[2Jb", "a\rerror: none", "a\nb", "\u202egnp.exe", "\udcff", "\x9b31m"):
        say(name)
        print_table(name, [name], [[name]])
        shown = capsys.readouterr().out
        assert not set(shown) & set("\x1b\x07\r\u202e\udcff\x9b")
    assert printable("a\nb") == "a b" and printable("é – 音 🎵") == "é – 音 🎵"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\\|b", "a\\\\\\|b"),
        ("a|b", "a\\|b"),
        ("<script>", "\\<script\\>"),
        ("![x](http://h)", "\\!\\[x\\](http://h)"),
        ("a\n# b", "a # b"),
        ("low_hum 3–4 %", "low_hum 3–4 %"),
    ],
)
def test_markdown_in_names(name, shown):
    assert markdown_text(name) == shown
    table = as_markdown([ReportTable(name, ["class", name], [[name, name]])], [name])
    assert (
        table.count(shown) == 5
        and [line.count("|") - line.count("\\|") for line in table.splitlines()[-3:]] == [3] * 3
    )


@pytest.fixture
def labelled(tmp_path) -> Path:
    """A clip of each class, whose names lie in a table and in the clips' own."""
    rows = ["file_name\tlabel"]
    for number, name in enumerate(NAMES):
        write_tone(tmp_path / "labelled" / f"[red]{number}.wav", 200 * (number + 1))
        rows.append(json.dumps({"file_name": f"[red]{number}.wav", "label": name}))
    (tmp_path / "labelled" / "metadata.jsonl").write_text("\n".join(rows[1:]))
    return tmp_path / "labelled"


@pytest.mark.slow
def test_every_command_shows_such_names(command, tiny_folder, captioned_folder, pool_folder, labelled, capsys):
    """Guards against a command that dies of the name of a class or a clip, or a page that runs it."""
    shutil.move(pool_folder / "broken.wav", pool_folder / "[bold]broken\x1b[31m.wav")
    flags = ["--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    flags += ["--labels", labelled, *numbers("ads"), "--strategy", "ads", "--output_dir", "pairs"]
    assert command(curate, *flags) == 0
    assert "[bold]broken\ufffd[31m.wav" in capsys.readouterr().out
    assert "<script>alert" not in Path("pairs/report.html").read_text()
    flags = ["--strategy", "ads", "--improvement_set", "pairs", "--output_dir", "out", "--task", labelled, *FAST]
    assert command(run_student, *flags) == 0
    shown = capsys.readouterr().out
    assert "[red]rain" in shown and "[ y]" in shown and "\x1b[31m" not in shown
    assert command(run_eval, "--model", "out", "--task", labelled, "--plot_embeddings", "true") == 0
    assert "<script>alert" not in Path("outputs/eval/results.md").read_text()


def test_a_task_in_a_folder_of_such_a_name(command, tiny_folder, labelled_folder, capsys):
    """Guards against a title of a table or a name of a chart that is taken for markup or a path."""
    folder = labelled_folder.rename(labelled_folder.with_name("[y]$a_{$ |b"))
    assert command(run_eval, "--model", tiny_folder, "--task", folder) == 0
    assert "[y]$a_{$ |b" in capsys.readouterr().out
