"""No command, flag or snippet in README and docs can rot: parsers take the commands, or they run; snippets run."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, tiny_model, write_tone
from documentation import PAGES, Block, blocks, check_command, commands, known_flags

from modeling_clap_student.commands import curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.is_shell]
SCRIPTS = {"run_teacher.py": run_teacher, "curate.py": curate, "run_student.py": run_student, "run_eval.py": run_eval}


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_commands_can_be_given(block, monkeypatch, tmp_path):
    """Guards against a flag that was renamed, a value that is refused, a program or an extra that is gone."""
    monkeypatch.chdir(tmp_path)
    for line in commands(block):
        check_command(line)


def test_blocks_say_what_they_are():
    """Guards against a command that nothing reads because of its block's mark."""
    assert len(SHELL) > 15
    assert {block.kind for block in BLOCKS} <= {"bash", "python", "text", "yaml", ""}


@pytest.mark.parametrize(
    "line",
    [
        "python curate.py --strategy ads --teacher t --captions c --audio a --labels l --num_capshuns 200",
        "python run_eval.py --model m --dtype float15",
        "accelerate launch --num_procs 2 run_student.py --strategy ads …",
        "clap-convert --output_dir x",
        "python benchmarks/matching.py --no_such_flag",
        "python benchmarks/gone.py",
        "pip install -e '.[gone]'",
        "make gone",
    ],
)
def test_a_rotten_command_is_found(line, monkeypatch, tmp_path):
    """Guards against checks that let everything pass."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, SystemExit)):
        check_command(line)


def test_a_renamed_flag_in_a_page_is_found(monkeypatch, tmp_path):
    """Guards against blocks whose commands are not split correctly."""
    monkeypatch.chdir(tmp_path)
    text = "\n".join(block.text for block in SHELL if block.place.startswith("README"))
    for flag in ("--captions_per_label", "--improvement_set", "--baseline"):
        assert flag in text
        mutated = Block("mutated", "bash", text.replace(flag, f"{flag}_x"))
        with pytest.raises(AssertionError):
            for line in commands(mutated):
                check_command(line)


def test_flags_in_the_text_exist():
    """Guards against prose that names a flag which is gone."""
    named = {}
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`([^`\n]+)`", text):
            for flag in re.findall(r"(?<![\w-])--[a-z]\w*", span):
                named.setdefault(flag, page.name)
    theirs = {"--flavor", "--timeout"}  # of `hf jobs`
    assert {flag: page for flag, page in named.items() if flag not in known_flags() | theirs} == {}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with everything that the pages name: recordings, captions, checkpoints, pairs."""
    model, processor = tiny_model()
    names = ["outputs/teacher", "outputs/soundscapes/seed-0/student_ads", "me/student"]
    for name in names:
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    frequencies = {"a.wav": 300, "b.flac": 500, "clip.wav": 700, "long.flac": 350, "hours.flac": 450, "new.wav": 800}
    frequencies |= {"rex1.wav": 910, "rex2.wav": 930, "ding.wav": 1500, "dong.wav": 1400}
    frequencies |= {f"my_recordings/{n}.wav": 320 * (n + 1) for n in range(6)}
    for name, frequency in frequencies.items():
        write_tone(tmp_path / name, frequency, 6 if name in ("long.flac", "hours.flac") else 1)
    for folder, column in (
        ("my_captions", "caption"),
        ("my_captioned_clips", "caption"),
        ("my_labelled_clips", "label"),
    ):
        lines = [f"file_name,{column}"]
        for number in range(8):
            write_tone(tmp_path / folder / f"{number}.wav", 230 * (number + 1) + len(folder))
            words = ("rain on a roof", "a dog barks") if column == "caption" else ("rain", "dog bark")
            lines.append(f"{number}.wav,{words[number % 2]}")
        (tmp_path / folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "my_labels.txt").write_text("dog bark\nrain\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_four_commands_of_readme_run_in_their_order(place, monkeypatch):
    """Guards against a chain whose commands pass one by one, and not on each other's results."""
    (block,) = [b for b in SHELL if b.place.startswith("README") and "run_teacher.py" in b.text]
    run = []
    for line in commands(block):
        words = shlex.split(line)
        start = next(n for n, word in enumerate(words) if word in SCRIPTS)
        flags = words[start + 1 :]
        if words[start] == "run_teacher.py":
            shutil.rmtree("outputs/teacher")
            flags += SMALL
        if words[start] in ("run_teacher.py", "run_student.py"):
            flags += ["--max_steps", "2", "--per_device_train_batch_size", "4"]
        monkeypatch.setattr(sys, "argv", [words[start], *flags])
        SCRIPTS[words[start]].main()
        run.append(words[start])
    assert run == list(SCRIPTS)
    assert (place / "outputs/eval/results.md").exists() and (place / "outputs/pairs/report.html").exists()


# Of what a snippet names, what stands for it here.
STAND_INS = {
    "esc50=/data/ESC-50": "my_labelled_clips/",
    '"me/student"': '"./me/student"',
    "share=0.01": "share=0.5",  # of few recordings
    'ClapStudentTrainingArguments("outputs/student")':
        'ClapStudentTrainingArguments("outputs/student", max_steps=2, per_device_train_batch_size=4)',
}  # fmt: skip
_NEEDS_THE_NETWORK = ("mteb.get_model",)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.kind == "python" for b in blocks(p))], ids=lambda p: p.name
)
def test_snippets_run(page, place, capsys):
    """Guards against lines of Python that no longer run; those of a page run in their order, with its names."""
    if any("improvement_set_ads" in block.text for block in blocks(page)):
        flags = ["--captions", "my_captions", "--audio", "my_recordings", "--labels", "my_labels.txt"]
        flags += ["--num_pairs", "4", "--num_captions", "2", "--teacher", "outputs/teacher"]
        sys.argv = ["curate", "--strategy", "ads", *flags]
        sys.argv += ["--output_dir", "outputs/soundscapes/seed-0/improvement_set_ads"]
        curate.main()
    clips = sorted(map(str, Path("my_recordings").iterdir()))
    names = {"my_recordings": clips, "clips": clips, "labels": ["dog bark", "rain"]}
    for block in blocks(page):
        if block.kind != "python":
            continue
        text = block.text
        for theirs, ours in STAND_INS.items():
            text = text.replace(theirs, ours)
        code = compile(text, block.place, "exec")
        if not any(words in text for words in _NEEDS_THE_NETWORK):
            exec(code, names)


def test_links_lead_somewhere():
    """Guards against links to pages, headings and pictures that are gone."""
    lost = []
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                lost.append(f"{page.name}: {target}")
    assert lost == []


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
