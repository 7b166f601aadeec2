"""What commands print: names that fit a terminal."""

import pytest

from modeling_clap_student.utils import console
from modeling_clap_student.utils.console import heading, print_table, short_names


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["outputs/student", "outputs/teacher"], ["student", "teacher"]),
        (["a/seed-0/student", "a/seed-1/student", "b/teacher/"], ["seed-0/student", "seed-1/student", "teacher"]),
        (["student", "runs/student"], ["student", "runs/student"]),
        (["me/clap", "you/clap", "/"], ["me/clap", "you/clap", "/"]),
        (["mean of 3", "x/y"], ["mean of 3", "y"]),
    ],
)
def test_names_are_as_short_as_they_may_be(paths, expected):
    """Guards against two models of one name, and a name that lost its end."""
    assert list(short_names(paths).values()) == expected


def test_nothing_is_cut_at_eighty_columns(monkeypatch, capsys):
    """Guards against `outputs/…` where only the end of the name distinguishes models."""
    monkeypatch.setattr(console.console, "width", 80)
    name = "a/long/folder/in/which/somebody/keeps/models/that/are/called/alike/student_number_1"
    print_table("Accuracy", ["model", "accuracy", "interval"], [[name, "61.2 (57.2 – 65.0)", "48.5 (44.5 – 52.5)"]])
    heading(f"Evaluation on {name}")
    printed = capsys.readouterr().out
    assert "…" not in printed and "student_number_1" in printed.replace("\n", "")
    cells = "".join(line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│"))
    assert cells == name


@pytest.mark.parametrize(("is_terminal", "lines"), [(True, 2), (False, 1)])
def test_a_terminal_breaks_lines_between_words(monkeypatch, capsys, is_terminal, lines):
    """Guards against words that are cut at the edge, and lines of a log that are torn apart."""
    monkeypatch.setattr(console.console, "width", 40)
    monkeypatch.setattr(console.console, "_force_terminal", is_terminal)
    console.say("a student learned from one thousand pairs of clips")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines and " ".join(line.strip() for line in printed).endswith("one thousand pairs of clips")


def test_a_table_of_words_stands_to_the_left(capsys):
    """Guards against commands that are moved to the right like numbers."""
    print_table("Next", ["make", "with"], [["x", "a"], ["y", "long"]], justify="left")
    assert "│ a    │" in capsys.readouterr().out
