"""Where in a file a sound is: `classify(…, windows=…)`, the table of `--window_scores`, and the picture of both."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import save_models, settle, tiny_model, write_tone
from matplotlib.figure import Figure
from test_commands import check_failure

from modeling_clap_student import InputError, classify, plot_windows
from modeling_clap_student.audio_clap_student import Samples
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.utils.window_plot import as_grid, clock, spectrogram


LABELS = ["low_hum", "whistle", "hiss"]
RATE = 16000


@pytest.fixture(scope="module")
def model():
    model, model.processor = tiny_model()
    return settle(model)


def noises(seconds: float, seed: int = 0) -> np.ndarray:
    """A level and a colour that change each second."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=RATE).cumsum() * 0.001 if n % 2 else 0.1 * rng.normal(size=RATE) for n in range(12)]
    return np.concatenate(parts)[: int(seconds * RATE)].clip(-1, 1)


@pytest.fixture
def recording(tmp_path) -> Path:
    soundfile.write(tmp_path / "r.flac", noises(9), RATE)
    return tmp_path / "r.flac"


@pytest.mark.parametrize(
    ("seconds", "hop", "starts"), [(2, None, [0, 2, 4, 6, 7]), (4, 2.5, [0, 2.5, 5]), (6, 5, [0, 3])]
)
def test_rows_are_those_of_the_cuts(model, recording, tmp_path, seconds, hop, starts):
    """Guards against scores of another part than the times say, and windows that hear their neighbours: to the bit."""
    (rows,) = model.classify(recording, LABELS, windows=seconds, hop=hop)
    assert [row["start"] for row in rows] == starts and {row["end"] - row["start"] for row in rows} == {seconds}
    samples = soundfile.read(recording, dtype="float32")[0]
    cuts = [samples[int(start * RATE) : int((start + seconds) * RATE)] for start in starts]
    for number, cut in enumerate(cuts):
        soundfile.write(tmp_path / f"{number}.wav", cut, RATE)
    by_file = model.classify([tmp_path / f"{number}.wav" for number in range(len(cuts))], LABELS)
    assert [{name: row[name] for name in LABELS} for row in rows] == by_file
    assert len({row["hiss"] for row in rows}) == len(rows) and list(rows[0]) == ["start", "end", *LABELS]
    assert model.classify(samples, LABELS, sampling_rate=RATE, windows=seconds, hop=hop) == [rows]
    assert classify((model, model.processor), recording, LABELS, windows=seconds, hop=hop) == [rows]


def test_several_clips_and_short_ones(model, recording, tmp_path):
    short = write_tone(tmp_path / "short.wav", 400, seconds=0.5)
    long, one = model.classify([recording, short], LABELS, windows=4, batch_size=2)
    assert len(long) == 3 and [(row["start"], row["end"]) for row in one] == [(0, 0.5)]
    assert one[0] == {"start": 0, "end": 0.5} | model.classify(short, LABELS, batch_size=2)[0]
    assert model.classify([], LABELS, windows=2) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [({"windows": 0}, "a window is a number"), ({"windows": -1}, "a window"), ({"windows": "2"}, "a window"),
     ({"windows": 2, "hop": 0}, "the hop"), ({"windows": 2, "hop": 3}, "passes over"),
     ({"hop": 1}, "give windows too"),
     ({"windows": 2, "labels": ["start", "dog"]}, "'start' names a window's time")],
)  # fmt: skip
def test_wrong_windows(model, recording, options, words):
    with pytest.raises(InputError, match=words):
        model.classify(recording, **{"labels": LABELS} | options)


def test_a_file_that_ends_early_is_named(model, recording):
    """Guards against a traceback, or a clip that is not named, where a later window can't be read."""
    recording.write_bytes(recording.read_bytes()[:-40_000])
    with pytest.raises(InputError, match=r"can't read .*r\.flac: (truncated|not decodable)"):
        model.classify(recording, LABELS, windows=1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    save_models(folder, ("old", "one"))
    return folder


@pytest.fixture
def task(checkpoints, tmp_path) -> Path:
    """Two models, and four clips of two classes: of 9, 3 and 1 s, and one that is no audio."""
    shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "task"
    folder.mkdir()
    for name, seconds in (("a", 9), ("b", 3), ("c", 1)):
        soundfile.write(folder / f"{name}.flac", noises(seconds, ord(name)), RATE)
    (folder / "d.flac").write_text("no audio")
    rows = ["file_name,label", "a.flac,low_hum", "b.flac,hiss", "c.flac,hiss", "d.flac,hiss"]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def read(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_an_evaluation(command, task, capsys):
    """Guards against rows that are not what `classify` says of the same windows, and against clips in none."""
    from modeling_clap_student import ClapStudentModel

    flags = [
        "--model",
        "one",
        "--baseline",
        "old",
        "--task",
        task,
        "--max_skipped_fraction",
        1,
        "--output_dir",
        "eval",
    ]
    assert command(run_eval, *flags, "--window_scores", "--window_seconds", 2, "--hop_seconds", 1.5) == 0
    rows = read("eval/window_scores.csv")
    assert list(rows[0]) == ["task", "model", "audio_id", "start", "end", "hiss", "low hum"]
    for name in ("old", "one"):
        model = ClapStudentModel.from_pretrained(name)
        for clip in "abc":
            (wanted,) = model.classify(task / f"{clip}.flac", ["hiss", "low hum"], windows=2, hop=1.5)
            found = [row for row in rows if row["model"] == name and row["audio_id"] == f"task/{clip}.flac"]
            numbers = [[float(row[key]) for key in wanted[0]] for row in found]
            assert np.allclose(numbers, [list(row.values()) for row in wanted], atol=1e-4), (name, clip)
    assert {row["task"] for row in rows} == {str(task)} and not any("d.flac" in row["audio_id"] for row in rows)
    pictures = sorted(file.name for file in Path("eval").glob("windows_*.png"))
    assert len(pictures) == 3 and not list(Path("eval").glob(".*"))
    words = Path("eval/results.md").read_text()
    assert all(f"]({name})" in words for name in pictures)
    assert json.loads(Path("eval/details.json").read_text())["windows"] == {"seconds": 2, "hop": 1.5}
    first = Path("eval/window_scores.csv").read_bytes()
    assert command(run_eval, *flags, "--window_scores", "--window_seconds", 2, "--hop_seconds", 1.5) == 0
    assert Path("eval/window_scores.csv").read_bytes() == first
    # As long as the model's own where nothing is said, and shorter clips are no error then.
    assert command(run_eval, *flags, "--window_scores", "--output_dir", "own") == 0
    places = [(row["audio_id"][-6], row["start"], row["end"]) for row in read("own/window_scores.csv")]
    assert places[::2] == [("a", "0.0", "5.0"), ("a", "4.0", "9.0"), ("b", "0.0", "3.0"), ("c", "0.0", "1.0")]
    assert command(run_eval, *flags, "--output_dir", "without") == 0
    assert not list(Path("without").glob("window*")) and "windows" not in Path("without/details.json").read_text()
    for file in ("results.json", "results.md"):
        with_windows, without = (Path(folder, file).read_text() for folder in ("own", "without"))
        assert file != "results.md" or with_windows.startswith(without.rstrip("\n"))


def test_classes_of_several_tasks(command, task, labelled_folder):
    """Guards against probabilities under another task's class."""
    flags = ["--model", "one", "--task", task, labelled_folder, "soundscapes", "--max_skipped_fraction", 1]
    short = ["--task", task, labelled_folder]
    assert command(run_eval, *flags[:2], *short, *flags[-2:], "--window_scores", "--output_dir", "eval") == 0
    rows = read("eval/window_scores.csv")
    assert list(rows[0])[5:] == ["hiss", "low hum", "high whistle"]
    for row in rows:
        given = {name for name in ("hiss", "low hum", "high whistle") if row[name]}
        assert given == ({"hiss", "low hum"} if row["task"] == str(task) else {"low hum", "high whistle"})
        assert sum(float(row[name]) for name in given) == pytest.approx(1, abs=1e-5)
    assert {row["task"] for row in rows} == {str(task), str(labelled_folder)}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--window_seconds", 2], ["--window_seconds is for the table of --window_scores"]),
        (["--hop_seconds", 2], ["--hop_seconds is for the table of --window_scores"]),
        (["--window_scores", "--window_seconds", 0], ["--window_seconds must be at least 0.01"]),
        (["--window_scores", "--window_seconds", 2, "--hop_seconds", 3], ["--hop_seconds 3 passes over"]),
        (["--window_scores", "--hop_seconds", 6], ["--hop_seconds 6 passes over", "windows of 5 s"]),
        (["--window_scores", "--window_seconds", 10], ["longer than every clip of", "9 s"]),
    ],
)
def test_wrong_flags(command, task, flags, words, capsys):
    given = ["--model", "one", "--task", task, "--max_skipped_fraction", 1, "--output_dir", "eval"]
    check_failure(command(run_eval, *given, *flags), capsys, *words)
    assert not Path("eval").exists()


def test_what_has_no_columns(command, task, captioned_folder, tmp_path, capsys):
    flags = ["--model", "one", "--output_dir", "eval", "--window_scores", "--task"]
    check_failure(command(run_eval, *flags, f"retrieval={captioned_folder}"), capsys, "no --task has any")
    write_tone(tmp_path / "classes" / "start" / "x.wav", 300)
    write_tone(tmp_path / "classes" / "dog" / "y.wav", 500)
    check_failure(command(run_eval, *flags, tmp_path / "classes"), capsys, "a column after the class 'start'")


def test_a_model_without_probabilities_is_told_of_at_once(command, task, monkeypatch, capsys):
    """Guards against hours of scoring before a line that could have come first."""

    def no_scale(self):
        raise InputError("no probability can be computed")

    monkeypatch.setattr(
        run_eval,
        "load_all",
        lambda args: ({"one": (type("Deaf", (), {"logit_scale": property(no_scale)})(), None)}, []),
    )
    code = command(run_eval, "--model", "one", "--task", task, "--window_scores", "--output_dir", "eval")
    check_failure(code, capsys, "no probability can be computed")


def test_cells_of_the_picture():
    """Guards against colours under other times than the windows have."""
    rows = [{"start": a, "end": a + 4.0, "x": a / 10, "y": 1 - a / 10} for a in (0.0, 2.0, 4.0, 5.0)]
    edges, names, values = as_grid(rows)
    assert edges.tolist() == [0, 3, 5, 6.5, 9] and names == ["x", "y"]
    assert values.tolist() == [[0, 0.2, 0.4, 0.5], [1, 0.8, 0.6, 0.5]]
    side_by_side = [{"start": a, "end": a + 2.0, "x": 0.0} for a in (0.0, 2.0, 4.0)]
    assert as_grid(side_by_side)[0].tolist() == [0, 2, 4, 6]
    assert (clock(59.6), clock(3725)) == ("1:00", "1:02:05")


def test_the_spectrogram_is_where_the_sound_is(tmp_path):
    """Guards against a time axis that is off: of a minute, a tone sounds from 20 s to 40 s."""
    time = np.arange(60 * RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * time) * ((time >= 20) & (time < 40))
    for seconds in (60, 30):
        columns = spectrogram(Samples(tone[: seconds * RATE].astype(np.float32), RATE))
        loud = columns.max(axis=0) > columns.max() - 30
        assert abs(np.argmax(loud) / len(loud) - 20 / seconds) < 0.005
        assert abs(loud.mean() - (min(40, seconds) - 20) / seconds) < 0.01
    # 1 kHz is 15 mels, of 0.7 to 51.1 in 65 steps.
    assert abs(columns[:, -1].argmax() - 17.4) < 1 and columns.shape == (64, 800)
    assert spectrogram(Samples(np.ones(1, np.float32), RATE)).shape == (64, 1)


def test_the_picture(model, recording, tmp_path):
    """Guards against a figure that lacks what it was asked for."""
    (rows,) = model.classify(recording, LABELS, windows=2, hop=1)
    figure = plot_windows(rows, recording, title="r.flac")
    heat, bar, above = figure.axes
    assert [text.get_text() for text in heat.get_yticklabels()] == LABELS
    assert heat.get_xlim() == above.get_xlim() == (0, 9) and above.get_title(loc="left") == "r.flac"
    assert heat.collections[0].get_array().shape == (3, len(rows)) and bar.get_ylabel() == "probability"
    assert np.array_equal(heat.collections[0].get_array()[1], [row["whistle"] for row in rows])
    many = [row | {f"class {n}": n / 100 for n in range(30)} for row in rows]
    chosen = plot_windows(many, title="x", most_labels=5).axes[0]
    assert (
        len(chosen.get_yticklabels()) == 5 and chosen.get_title(loc="left") == "x: the 5 most probable of 33 classes"
    )
    assert isinstance(plot_windows(rows, soundfile.read(recording)[0], sampling_rate=RATE), Figure)
    figure.savefig(tmp_path / "picture.png")


def test_rows_of_the_table_in_pandas(command, task):
    import pandas

    assert command(run_eval, "--model", "one", "--task", task, "--window_scores", "--window_seconds", 2,
                   "--max_skipped_fraction", 1, "--output_dir", "eval") == 0  # fmt: skip
    table = pandas.read_csv("eval/window_scores.csv")
    figure = plot_windows(table[table.audio_id == "task/a.flac"], task / "a.flac")
    assert figure.axes[0].get_xlim() == (0, 9)
    with pytest.raises(InputError, match="several clips"):
        plot_windows(table)


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "rows with start, end"), ([{"dog": 0.3}], "rows with start"), ({"dog": 0.3}, "rows with start"),
     ([[{"start": 0, "end": 1, "dog": 0.2}]], "for one clip"),
     ([{"start": 1, "end": 2, "dog": 0.2}, {"start": 0, "end": 1, "dog": 0.1}], "order of time")],
)  # fmt: skip
def test_no_scores(rows, words):
    with pytest.raises(InputError, match=words):
        plot_windows(rows)
