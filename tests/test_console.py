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
    """Guards against `outputs/…` where the end of the name is what tells models apart."""
    monkeypatch.setattr(console.console, "width", 80)
    name = "a/long/folder/in/which/somebody/keeps/models/that/are/called/alike/student_number_1"
    print_table("Accuracy", ["model", "accuracy", "interval"], [[name, "61.2 (57.2 – 65.0)", "48.5 (44.5 – 52.5)"]])
    heading(f"Evaluation on {name}")
    printed = capsys.readouterr().out
    assert "…" not in printed and "student_number_1" in printed.replace("\n", "")
    cells = "".join(line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│"))
    assert cells == name
