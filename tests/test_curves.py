"""The curves of a training."""

import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from modeling_clap_student import InputError
from modeling_clap_student.training.curves import draw_curves


def history(steps: int = 40, evaluated: bool = True) -> list[dict]:
    """What a Trainer would log."""
    log = []
    for step in range(10, 10 * steps + 1, 10):
        log.append(
            {"loss": 3 / step**0.3, "learning_rate": 1e-4 * (1 - step / 500), "epoch": step / 100, "step": step}
        )
        if evaluated and step % 50 == 0:
            ranks = {f"eval_{way}_R@{k}": k * step / 5000 for way in WAYS for k in (1, 5, 10)}
            log.append(
                {"eval_loss": 3.5 / step**0.3, "eval_recall": step / 700, "epoch": step / 100, "step": step} | ranks
            )
    return [*log, {"train_loss": 1.0, "train_runtime": 3.0, "step": 10 * steps}]


WAYS = ("audio_to_text", "text_to_audio")


@pytest.fixture
def drawn(monkeypatch):
    """title of a panel -> {name of a curve: (steps, values)}, of the last picture."""
    panels = {}
    save = Figure.savefig

    def keep(figure, *args, **options):
        panels.clear()
        for axes in figure.axes:
            lines = {line.get_label(): line.get_data() for line in axes.get_lines()}
            panels[axes.get_title(loc="left")] = {name: [list(part) for part in data] for name, data in lines.items()}
        return save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return panels


def test_all_that_was_logged_is_drawn(drawn, tmp_path):
    """Guards against a validation or a direction of retrieval that is left out, or drawn over the wrong steps."""
    assert draw_curves(history(), tmp_path / "curves.png") is True
    assert set(drawn) == {"loss", "retrieval", "learning rate"}
    assert set(drawn["loss"]) == {"training", "validation"}
    assert drawn["loss"]["training"][0] == list(range(10, 401, 10))
    assert drawn["loss"]["validation"][0] == list(range(50, 401, 50))
    names = {f"{way.replace('_', ' ')} R@{k}" for way in WAYS for k in (1, 5, 10)}
    assert set(drawn["retrieval"]) == {*names, "recall"}
    assert drawn["retrieval"]["text to audio R@5"][1] == [5 * step / 5000 for step in range(50, 401, 50)]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000 and len(picture.convert("RGB").getcolors(10**6)) > 50
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_a_training_without_evaluation(drawn, tmp_path):
    """Guards against an empty panel, and an older picture that stays."""
    (tmp_path / "curves.png").write_text("older")
    assert draw_curves(history(3, evaluated=False), str(tmp_path / "curves.png")) is True
    assert set(drawn) == {"loss", "learning rate"} and set(drawn["loss"]) == {"training"}
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_steps_that_were_logged_twice(drawn, tmp_path):
    """Guards against a curve that runs back, where a resumed run logs a step once more."""
    log = [{"loss": loss, "step": step} for step, loss in ((1, 3.0), (2, math.nan), (2, 2.0), (3, math.inf))]
    assert draw_curves(log, tmp_path / "curves.png") is True
    assert drawn["loss"]["training"] == [[1, 2, 3], [3.0, 2.0, math.inf]]


@pytest.mark.parametrize("log", [[], [{"train_loss": 1.0, "step": 3}], [{"eval_recall": 0.5, "step": 3}]])
def test_nothing_to_draw(log, tmp_path):
    """Guards against an empty picture beside a result."""
    assert draw_curves(log, tmp_path / "curves.png") is False and not list(tmp_path.iterdir())


def test_a_picture_that_breaks_off(monkeypatch, tmp_path):
    """Guards against half a file in the place of the older, whole one."""
    (tmp_path / "curves.png").write_text("older")

    def full(figure, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(InputError, match="No space"):
        draw_curves(history(), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_text() == "older"
