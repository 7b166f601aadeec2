"""What a command may touch: only its own files, completely or not at all, with one run per folder."""

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
from conftest import FAST, SMALL, check_failure, tiny_clap
from matplotlib.figure import Figure

from modeling_clap_student import InputError
from modeling_clap_student.commands import convert, curate, export
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.utils.charts import save_chart
from modeling_clap_student.utils.outputs import output_folder, whole_folder, write_json
from modeling_clap_student.utils.processes import folder_lock


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def curation(tiny_folder, captioned_folder, pool_folder) -> list:
    files = ["--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    return ["--strategy", "du", *files, "--num_pairs", 3, "--output_dir", "pairs"]


@pytest.fixture
def evaluation(tiny_folder, labelled_folder) -> list:
    return ["--model", tiny_folder, "--task", labelled_folder, "--output_dir"]


@pytest.fixture
def training(captioned_folder) -> list:
    return ["--corpus", captioned_folder, *SMALL, *FAST, "--output_dir"]


def test_neighbours_of_an_improvement_set(command, curation, capsys):
    """Guards against a user's folder that has the name of a temporary one."""
    for name in ("pairs.old", "pairs.partial"):
        Path(name).mkdir()
        Path(name, "mine.txt").write_text("years of work")
    assert command(curate, *curation) == 0
    first = tree(Path("pairs"))
    capsys.readouterr()
    assert command(curate, *curation) == 0
    (older,) = Path().glob("pairs.replaced-*")
    assert tree(older) == first and load_improvement_set("pairs")
    told = capsys.readouterr().out
    assert f"is now in {older.resolve()}: delete it when you no longer need it" in told
    for name in ("pairs.old", "pairs.partial"):
        assert tree(Path(name)) == {"mine.txt": b"years of work"}
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_results_are_kept_when_the_last_step_fails(command, curation, capsys, monkeypatch):
    """Guards against hours of work thrown away for a name."""
    assert command(curate, *curation) == 0
    older, rename = tree(Path("pairs")), Path.rename

    def fails(self, target):
        if Path(target).name == "pairs" and self.name.startswith(".partial"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    check_failure(command(curate, *curation), capsys, "can't put the results into", ".partial-")
    (kept,) = Path().glob(".partial-*")
    assert load_improvement_set(kept) and tree(Path("pairs")) == older


def test_what_comes_to_lie_in_the_place_meanwhile(tmp_path):
    """Guards against a folder that the user fills while a command works."""
    with pytest.raises(InputError, match=r"is not empty.*They are whole, in") as stop, whole_folder(tmp_path / "set"):
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "mine").write_text("mine")
    assert (tmp_path / "set" / "mine").exists() and Path(str(stop.value).rpartition(" ")[2]).is_dir()
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "above" / "out") as folder:
        (folder / "mine").write_text("mine")
        raise ZeroDivisionError
    assert (tmp_path / "above" / "out" / "mine").exists()
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "new" / "out"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


def test_files_of_guessable_names(tmp_path):
    """Guards against `results.partial` and the like, which are the user's."""
    for name in ("results.partial", "chart.partial", ".partial"):
        (tmp_path / name).write_text("mine")
    write_json(tmp_path / "results.json", {})
    save_chart(Figure(), tmp_path / "chart.png")
    mine = {"results.partial", "chart.partial", ".partial"}
    assert set(tree(tmp_path)) == {"results.json", "chart.png", *mine}
    assert all((tmp_path / name).read_text() == "mine" for name in mine)


def test_an_evaluation_replaces_evaluations_alone(command, evaluation, tiny_folder, capsys):
    """Guards against a teacher's results, a user's list or notes that an evaluation overwrites."""
    before = tree(tiny_folder)
    check_failure(command(run_eval, *evaluation, tiny_folder), capsys, "tiny is a model's own folder")
    assert command(run_eval, *evaluation, "eval", "--output_json", tiny_folder / "scores.json") == 1
    assert "own folder" in capsys.readouterr().err and tree(tiny_folder) == before
    for name in ("skipped.csv", "results.json", "results.md", "details.json", "arguments.json"):
        Path("mine").mkdir()
        Path("mine", name).write_text('{"mine": 1}')
        check_failure(command(run_eval, *evaluation, "mine"), capsys, name, "does not come from an evaluation")
        assert tree(Path("mine")) == {name: b'{"mine": 1}'}
        shutil.rmtree("mine")
    Path("free").mkdir()
    Path("free/notes.txt").write_text("mine")
    for _ in range(2):  # and an older evaluation
        assert command(run_eval, *evaluation, "free", "--output_json", "scores.json") == 0
    assert Path("free/notes.txt").read_text() == "mine" and json.loads(Path("scores.json").read_text())


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("file/below.json", "can't"),
        ("folder", "is a folder: name a file"),
        ("file", "does not come from an evaluation"),
        ("/proc/none.json", "can't"),
        ("x" * 4500, "File name too long"),
    ],
)
def test_another_place_for_results_is_tried_first(command, evaluation, capsys, monkeypatch, place, words):
    """Guards against an evaluation that fails when all is done."""
    Path("folder").mkdir()
    Path("file").write_text("mine")
    monkeypatch.setattr(run_eval, "load_all", None)
    check_failure(command(run_eval, *evaluation, "eval", "--output_json", place), capsys, words)
    assert Path("file").read_text() == "mine" and not Path("eval").exists()


def test_a_training_replaces_nothing(command, training, capsys):
    """Guards against a user's card, list or module in the folder of a new model."""
    for name in ("README.md", "skipped.csv", "config.json", "losses.py", "curves.png"):
        Path("mine").mkdir()
        Path("mine", name).write_text("mine")
        check_failure(command(run_teacher, *training, "mine"), capsys, f"holds {name}", "--output_dir")
        assert tree(Path("mine")) == {name: b"mine"}
        shutil.rmtree("mine")


def test_an_export_replaces_graphs_alone(command, tiny_folder, capsys):
    """Guards against a file of the user's that has a graph's name."""
    Path("onnx").mkdir()
    Path("onnx/audio_tower.onnx").write_text("mine")
    code = command(export, "--model", tiny_folder, "--output_dir", "onnx")
    check_failure(code, capsys, "audio_tower.onnx")
    assert tree(Path("onnx")) == {"audio_tower.onnx": b"mine"}


@pytest.mark.parametrize("content", ["[1, 2]", '{"corpus": ["x"]}', "{", "[" * 100_000])
def test_results_of_another_command_beside_a_teacher(command, tiny_folder, capsys, content):
    """Guards against a TypeError where an evaluation's results lie beside a teacher."""
    (tiny_folder / "results.json").write_text(content)
    code = command(run_student, "--strategy", "none", "--teacher", tiny_folder, "--output_dir", "s", *FAST)
    check_failure(code, capsys, "results.json")


@pytest.fixture
def hold(tmp_path):
    """Holds the lock of a folder as another process would."""
    files = []

    def take(name: str, content: str = '{"host": "node7", "pid": 4321, "since": "2026-01-02 03:04:05"}', locks=True):
        file = open(tmp_path / f".{name}.lock", "w+")  # noqa: SIM115
        file.write(content)
        file.flush()
        if locks:
            fcntl.flock(file, fcntl.LOCK_EX)
        files.append(file)

    yield take
    for file in files:
        file.close()


def test_one_run_a_folder(command, hold, curation, training, evaluation, tiny_folder, capsys, captioned_folder):
    """Guards against two runs that write one folder, and a lock that does not say whose it is."""
    student = ["--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder, *FAST, "--output_dir"]
    commands = [
        (curate, curation[:-1]),
        (run_teacher, training),
        (run_student, student),
        (run_eval, evaluation),
        (export, ["--model", tiny_folder, "--output_dir"]),
    ]
    hold("taken")
    for module, flags in commands:
        code = command(module, *flags, "taken")
        check_failure(code, capsys, "in use by process 4321 on node7, since 2026-01-02 03:04:05")
        assert not tree(Path("taken"))
    hold("left", locks=False)
    assert command(run_eval, *evaluation, "left") == 0 and not Path(".left.lock").exists()
    hold("mine", "my notes", locks=False)
    check_failure(command(run_eval, *evaluation, "mine"), capsys, ".mine.lock is in the way")
    assert Path(".mine.lock").read_text() == "my notes" and not Path("mine").exists()


def test_a_lock_is_gone_when_its_process_is(tmp_path):
    """Guards against a folder that nobody can use any more after a kill -9, or while a worker lives on."""
    folder, (reader, writer) = tmp_path / "out", os.pipe()
    child = os.fork()
    if not child:
        with folder_lock(folder):
            if not os.fork():  # a worker, which lives on
                signal.alarm(20)
                signal.pause()
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    with pytest.raises(InputError, match=f"in use by process {child} on"), folder_lock(folder):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with folder_lock(folder) as killed, folder_lock(folder) as again:
        assert killed and not again and (tmp_path / ".out.lock").exists()
    assert not list(tmp_path.iterdir())


def test_a_filesystem_without_locks(tmp_path, monkeypatch):
    """Guards against a cluster's disk on which nothing would run."""

    def none(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("modeling_clap_student.utils.processes.lock_descriptor", none)
    with output_folder(tmp_path / "out") as folder:
        (folder / "x").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_run_that_left_a_list_alone(command, hold, training):
    """Guards against a folder that can't be used again after a run was killed before its first checkpoint."""
    hold("teacher", locks=False)
    Path("teacher").mkdir()
    Path("teacher/skipped.csv").write_text("a.wav,broken\n")
    assert command(run_teacher, *training, "teacher") == 0 and not Path("teacher/skipped.csv").exists()


@pytest.mark.parametrize("module", [run_teacher, run_eval, curate])
def test_a_disk_that_is_full_or_read_only(module, command, training, evaluation, curation, capsys, monkeypatch):
    """Guards against a traceback, and half of a result."""
    flags = {run_teacher: [*training, "out"], run_eval: [*evaluation, "out"], curate: [*curation[:-1], "out"]}[module]
    for number in (errno.ENOSPC, errno.EACCES):
        mkdir, write_text = Path.mkdir, Path.write_text

        def full(self, *args, number=number, write_text=write_text, **kwargs):
            if "cache" not in str(self):
                raise OSError(number, os.strerror(number), str(self))
            return write_text(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            check_failure(command(module, *flags), capsys, os.strerror(number))
        assert not Path("out").exists() or module is run_teacher
        shutil.rmtree("out", ignore_errors=True)

        def denied(self, *args, number=number, mkdir=mkdir, **kwargs):
            if self.name.startswith(".partial"):
                raise OSError(number, os.strerror(number), str(self))
            return mkdir(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", denied)
            patch.setattr("modeling_clap_student.checkpoints.loading.load_checkpoint", None)
            check_failure(command(module, *flags), capsys, "can't", os.strerror(number))
        assert not Path("out").exists()


@pytest.mark.parametrize(
    ("module", "flag"),
    [
        *((run_teacher, flag) for flag in ("--corpus", "--task", "--output_dir", "--audio_weights", "--config")),
        *((run_teacher, flag) for flag in ("--text_model", "--spectrogram_cache", "--resume_from_checkpoint")),
        *((curate, flag) for flag in ("--captions", "--audio", "--labels", "--teacher", "--exclude", "--output_dir")),
        *((curate, flag) for flag in ("--embedding_store", "--remake")),
        *((run_eval, flag) for flag in ("--model", "--task", "--class_descriptions", "--output_dir", "--output_json")),
        *((run_student, flag) for flag in ("--teacher", "--improvement_set", "--replay", "--init", "--output_dir")),
        *((export, flag) for flag in ("--model", "--output_dir")),
        (convert, "--output_dir"),
    ],
)
def test_names_that_are_too_long(
    module, flag, command, training, evaluation, curation, tiny_folder, captioned_folder, capsys
):
    """Guards against a traceback for a path that no system takes."""
    flags = {
        run_teacher: [*training, "out"],
        curate: [*curation[:-1], "out"],
        run_eval: [*evaluation, "out"],
        run_student: [
            *("--strategy", "none", "--teacher", tiny_folder, "--replay", captioned_folder, *FAST),
            *("--output_dir", "out"),
        ],
        export: ["--model", tiny_folder, "--output_dir", "onnx"],
        convert: ["x.pth"],
    }[module]
    for path in ("x" * 4500, "./" + "y/" * 2250):
        if flag == "--improvement_set":
            flags = ["--strategy", "du", "--output_dir", "out"]
        if flag == "--remake":
            flags = ["--strategy", "du"]
        code = command(module, *flags, flag, path)
        error = capsys.readouterr().err
        assert code in (1, 2) and "Traceback" not in error and "error: " in error, error[-500:]
        assert not Path("out").exists()


@pytest.mark.parametrize("mask", [0o022, 0o027])
@pytest.mark.slow
def test_files_follow_the_umask(command, mask, training, curation, labelled_folder, captioned_folder, tmp_path):
    """Guards against weights that nobody else on a cluster can read."""
    older = os.umask(mask)
    try:
        Path("made").mkdir()
        saves = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "3", "--ema_decay", "0.9"]
        assert command(run_teacher, *training, "made/teacher", *saves) == 0
        flags = [*curation[:3], "made/teacher", *curation[4:-1], "made/pairs", "--embedding_store", "made/store"]
        assert command(curate, *flags) == 0
        student = ["--strategy", "du", "--improvement_set", "made/pairs", "--output_dir", "made/student"]
        assert command(run_student, *student, *FAST, "--spectrogram_cache", "made/cache") == 0
        evaluation = ["--model", "made/student", "--task", labelled_folder, "--output_dir", "made/eval"]
        assert command(run_eval, *evaluation, "--output_json", "made/scores.json") == 0
        assert command(export, "--model", "made/teacher", "--output_dir", "made/onnx") == 0
    finally:
        os.umask(older)
    for path in Path("made").rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_a_clap_of_transformers_is_no_place_for_an_evaluation(command, labelled_folder, tmp_path, capsys):
    """Guards against results beside weights in any layout."""
    clap = tiny_clap(tmp_path / "clap")
    flags = ["--model", clap, "--task", labelled_folder, "--output_dir", clap]
    check_failure(command(run_eval, *flags), capsys, "own folder")


@pytest.mark.parametrize("make", [lambda here: whole_folder(here / "set"), output_folder])
def test_what_a_killed_run_left_is_told_and_stays(tmp_path, capsys, make):
    """Guards against gigabytes that nobody knows of, and against a clean-up that takes another run's work."""
    for number in (3, 4):
        (tmp_path / f".partial-{number:016x}" / "data").mkdir(parents=True)
    (tmp_path / ".partial-mine").mkdir()
    with make(tmp_path):
        told = " ".join(capsys.readouterr().out.split())
    assert f"holds .partial-{3:016x} and 1 more, left by a run that was killed, unless one is writing it now" in told
    assert len(list(tmp_path.glob(".partial-*"))) == 3
    with make(tmp_path / "elsewhere"):
        assert "partial" not in capsys.readouterr().out
