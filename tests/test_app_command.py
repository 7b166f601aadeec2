"""`clap-app`: what it finds by itself, what it says of wrong input, and the Space that it makes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from app_world import arguments, make_world
from conftest import check_failure, save_models

from modeling_clap_student.app.page import demo_folders, open_content
from modeling_clap_student.app.space import is_space, write_space
from modeling_clap_student.commands import app


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def flags(world) -> list:
    return ["--model", world / "student", "--baseline", world / "teacher", "--pool", world / "set"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], ["no model", "make demo", "--model"]),
        (["--pool", "set"], ["--model is missing"]),
        (["--model", "nowhere/x/y"], ["no such checkpoint folder: nowhere/x/y"]),
        (["--model", "{student}", "--pool", "nowhere"], ["no such Improvement-Set: nowhere"]),
        (["--model", "{student}", "--pool", "stream={set}"], ["without stream="]),
        (["--model", "{student}", "--labels", "dog, dog"], ["'dog' stands twice"]),
        (["--model", "{student}", "--labels", "dog"], ["two classes at least"]),
        (["--model", "{student}", "--port", "{port}"], ["port {port} is taken", "--port"]),
        (["--model", "{student}", "--port", "0"], ["--port must lie in [1, 65535]"]),
        (["--model", "{student}", "--max_minutes", "0"], ["--max_minutes must be above 0"]),
        (["--model", "{student}", "--push_to_hub", "a b/c"], ["is no Hub id"]),
        (["--model", "{student}", "--output_dir", "{student}"], ["is not empty"]),
    ],
)
def test_wrong_input_is_one_line(world, command, capsys, wrong, words):
    """Guards against a traceback, and against a page that opens without what was named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {"student": world / "student", "set": world / "set", "port": taken.getsockname()[1]}
        filled = [str(flag).format(**names) for flag in wrong]
        code = command(app, *filled, "--open_browser", "false")
        check_failure(code, capsys, *(word.format(**names) for word in words))


def test_without_gradio_it_says_what_to_install(world, command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    check_failure(command(app, *flags(world)), capsys, "pip install 'modeling_clap_student[app]'")


def test_the_demo_is_found(tmp_path, monkeypatch):
    """Guards against a first look that needs three flags."""
    from modeling_clap_student.app.page import with_demo

    monkeypatch.chdir(tmp_path)
    student, teacher, pairs = demo_folders()
    save_models(tmp_path, ["teacher", "student"])
    for folder, made in ((student, "student"), (teacher, "teacher")):
        shutil.copytree(tmp_path / made, folder)
    Path(pairs).mkdir()
    from modeling_clap_student.app.arguments import AppArguments

    args = with_demo(AppArguments())
    assert (args.model, args.baseline, args.pool) == (student, teacher, pairs)


def test_another_models_pool_opens_all_the_same(world, tmp_path, capsys):
    """Guards against a page that does not open for a pool that can't be searched, or hides why."""
    save_models(tmp_path, ["teacher", "student", "another"])
    content = open_content(arguments(world, baseline=str(tmp_path / "another")), tmp_path)
    assert content.search is None and "another model's" in content.no_search and "--baseline" in content.no_search
    assert content.review is not None and "no search: " in capsys.readouterr().out


def test_the_teacher_is_found_by_the_pool(world, tmp_path):
    content = open_content(arguments(world, baseline=None), tmp_path)
    assert [model.name for model in content.models] == [str(world / "student"), str(world / "teacher")]
    assert content.search.index.model is content.models[1]


def test_the_space_is_whole(world, tmp_path, command, capsys):
    """Guards against a Space that lacks what it needs, or holds where this machine keeps things."""
    assert command(app, *flags(world), "--embedding_store", world / "embeddings", "--output_dir", "space") == 0
    folder = tmp_path / "space"
    assert is_space(folder)
    about = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert about["sdk"] == "gradio" and about["app_file"] == "app.py" and about["sdk_version"].startswith("6.")
    needed = (folder / "requirements.txt").read_text()
    assert f"gradio=={about['sdk_version']}" in needed and "torch" in needed
    texts = [file for file in folder.rglob("*") if file.suffix in (".py", ".md", ".json", ".txt", ".csv")]
    assert not [file for file in texts if str(world) in file.read_text(encoding="utf-8")]
    assert (folder / "modeling_clap_student/app/page.js").is_file() and not [*folder.rglob("__pycache__")]
    told = capsys.readouterr().out
    assert "pairs/data/train-00000-of-00001.parquet" in told and "modeling_clap_student/…" in told


CHECK = """
import json, pathlib, tempfile
from modeling_clap_student.app.arguments import AppArguments
from modeling_clap_student.app.page import open_content
text = pathlib.Path("app.py").read_text()
args = eval(text[text.index("AppArguments("):text.rindex(", Path(scratch)")])
content = open_content(args, pathlib.Path(tempfile.mkdtemp()))
hits = content.search.find(content.search.by_words("whistle"))
import modeling_clap_student
place = modeling_clap_student.__file__
print(json.dumps([place, len(content.review.rows), [[hit.audio_id, hit.score] for hit in hits]]))
"""


@pytest.mark.slow
def test_the_space_runs_by_itself(world, tmp_path):
    """Guards against a Space that finds other clips than the page here, or uses the package of this machine."""
    folder = write_space(tmp_path / "space", arguments(world))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=folder, capture_output=True, text=True, check=False,
        env=environment | {"PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    place, pairs, hits = json.loads(done.stdout.splitlines()[-1])
    here = open_content(arguments(world), tmp_path)
    expected = {hit.audio_id: hit.score for hit in here.search.find(here.search.by_words("whistle"))}
    assert place.startswith(str(folder)) and pairs == len(here.review.rows)
    assert dict(hits) == pytest.approx({name: expected[name] for name, _ in hits}, abs=1e-5) and len(hits) == 6


def test_a_dry_run_leaves_nothing(world, tmp_path, command, capsys):
    assert command(app, *flags(world), "--dry_run", "--push_to_hub", "me/space") == 0
    told = capsys.readouterr().out
    assert "files, " in told and "requirements.txt" in told and not [*tmp_path.iterdir()]


def test_the_space_is_pushed(world, command, capsys, monkeypatch):
    """Guards against a model repository in a Space's place, and files that say where this machine keeps things."""
    from huggingface_hub import HfApi

    asked, sent = {}, {}

    def create_repo(self, repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return type("Repository", (), {"repo_id": repo_id})

    def create_commit(self, repo_id, operations, **options):
        for operation in operations:
            with operation.as_file() as file:
                sent[operation.path_in_repo] = file.read()
        asked.update(commit=options)

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    store = ["--embedding_store", world / "embeddings"]
    assert command(app, *flags(world), *store, "--push_to_hub", "me/space", "--private") == 0
    assert asked["repo_type"] == "space" and asked["space_sdk"] == "gradio" and asked["private"] is True
    assert asked["commit"]["repo_type"] == "space"
    assert {"app.py", "README.md", "requirements.txt", "student/config.json", "pairs/provenance.json"} <= sent.keys()
    assert "modeling_clap_student/app/__init__.py" in sent
    assert any(name.startswith("embeddings/") and name.endswith(".vectors") for name in sent)
    texts = [content for name, content in sent.items() if name.endswith((".json", ".md", ".py", ".txt"))]
    assert not [text for text in texts if str(world).encode() in text]
    assert "/spaces/me/space" in capsys.readouterr().out
