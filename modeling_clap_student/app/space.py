"""The app as a Hugging Face Space: a folder with all that it shows, which runs by itself."""

import shutil
import sys
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np

from ..checkpoints.loading import load_checkpoint, push_folder
from ..curation.embedding_store import CLIPS, EmbeddingStore
from ..curation.improvement_set import save_improvement_set
from ..data.identity import clip_keys
from ..errors import InputError
from ..redaction_clap_student import public
from ..utils.console import print_table, say
from ..utils.outputs import whole_folder
from .arguments import AppArguments
from .models import Model, open_models
from .page import TITLE, teacher_of, with_demo
from .pool import Pool, clips_of, open_index, open_pool


_PACKAGE = Path(__file__).parents[1]
_MODEL, _BASELINE, _POOL, _STORE = "student", "teacher", "pairs", "embeddings"
_README = """---
title: {title}
emoji: 🔊
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
pinned: false
license: apache-2.0
tags: [audio, clap, zero-shot-audio-classification]
---

Which sounds a recording holds and when, as {models} hear{s} it; {pool}. Made with `clap-app` of modeling_clap_student
{version}. What you upload is removed after a quarter of an hour.
"""
_APP = '''"""What the Space runs: the page of clap-app, with what lies in this folder."""

from pathlib import Path

from modeling_clap_student.app.arguments import AppArguments
from modeling_clap_student.app.scratch import temporary_folder


with temporary_folder() as scratch:
    from modeling_clap_student.app.page import serve

    serve(AppArguments({arguments}), Path(scratch))
'''


def make_space(args: AppArguments, scratch: Path) -> None:
    """Writes the folder of a Space, and uploads it where that is asked for.

    Raises:
        InputError: something that is named is not there, the folder is not empty, or the upload broke off.
    """
    args = with_demo(args)
    if args.dry_run:
        report(write_space(scratch / "space", args))
    elif args.output_dir:
        with whole_folder(args.output_dir, replaces=is_space) as folder:
            report(write_space(folder, args))
            push(folder, args)
    else:
        push(write_space(scratch / "space", args), args)


def push(folder: Path, args: AppArguments) -> None:
    if args.push_to_hub:
        say(f"pushed to {push_folder(folder, args.push_to_hub, args.private, repo_type='space')}")


def is_space(folder: Path) -> bool:
    """Whether a folder holds a Space that this made, and no more."""
    names = {"app.py", "README.md", "requirements.txt", _PACKAGE.name, _MODEL, _BASELINE, _POOL, _STORE}
    return {entry.name for entry in folder.iterdir()} <= names and (folder / "app.py").is_file()


def report(folder: Path) -> None:
    """Prints the files and their sizes; the package's are one line."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    sizes: dict[str, int] = {}
    for file in files:
        name = file.relative_to(folder)
        name = f"{name.parts[0]}/…" if name.parts[0] == _PACKAGE.name else name.as_posix()
        sizes[name] = sizes.get(name, 0) + file.stat().st_size
    print_table("The Space", ["file", "kB"], [[name, f"{size / 1000:,.1f}"] for name, size in sizes.items()])
    say(f"{len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB")


def write_space(folder: Path, args: AppArguments) -> Path:
    """Writes app.py, its requirements, the package, and the models, pairs and vectors that are not on the Hub."""
    folder.mkdir(exist_ok=True)
    pool = None if args.pool is None else open_pool(args.pool)
    baseline = args.baseline or teacher_of(pool, args.model)
    models = open_models(args.model, baseline)
    names = [_copy_model(folder, model.name, name) for model, name in zip(models, (_MODEL, _BASELINE), strict=False)]
    arguments = {"model": names[0], "host": "0.0.0.0", "port": 7860, "open_browser": False, "embedding_store": _STORE}
    arguments |= {"baseline": names[1]} if len(names) > 1 else {}
    arguments |= {"labels": args.labels} if args.labels else {}
    if pool is not None:
        arguments["pool"] = _POOL
        _write_pool(folder, pool, models, args.embedding_store)
    shutil.copytree(_PACKAGE, folder / _PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    (folder / "app.py").write_text(_APP.format(arguments=written), encoding="utf-8")
    (folder / "README.md").write_text(_readme(args, models, pool), encoding="utf-8")
    return folder


def _readme(args: AppArguments, models: list[Model], pool: Pool | None) -> str:
    title = (args.push_to_hub or TITLE).split("/")[-1]
    return _README.format(
        title=title,
        gradio=version("gradio"),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        models="a student and its teacher" if len(models) > 1 else "a model",
        s="" if len(models) > 1 else "s",
        pool="no pool to search" if pool is None else "clips to search, and pairs to judge",
        version=version(_PACKAGE.name),
    )


def requirements() -> list[str]:
    """What the package needs, and gradio as it is here."""
    needed = [line for line in requires(_PACKAGE.name) or [] if "extra ==" not in line]
    return [*needed, f"gradio=={version('gradio')}"]


def _copy_model(folder: Path, source: str, name: str) -> str:
    """A checkpoint on this machine becomes a part of the Space; one on the Hub is named."""
    if not Path(source).is_dir():
        return source
    model, processor = load_checkpoint(source)
    model.save_pretrained(folder / name)
    processor.save_pretrained(folder / name)
    return name


def _write_pool(folder: Path, pool: Pool, models: list[Model], root: str) -> None:
    """The pairs with their audio inside, and the vectors of their clips under the keys that the clips have then."""
    vectors = None
    try:
        vectors = open_index(pool, models, root)
    except InputError as error:
        say(f"no search in the Space: {error}")
    inside = folder / _POOL
    inside.mkdir()
    # The pool stays here, and where it lies: the clips of the pairs are searched.
    provenance = public(pool.provenance | {"audio": None, "num_replay": 0})
    save_improvement_set(inside, pool.pairs, None, provenance, _POOL, with_audio=True)
    if vectors is None:
        return
    ids = {audio_id: row for row, audio_id in enumerate(pool.clips["audio_id"][:])}
    clips = clips_of(open_pool(str(inside)).pairs).select_columns(["audio", "audio_id"])
    keys = clip_keys(clips)
    store = EmbeddingStore(folder / _STORE, *load_checkpoint(vectors.model.name), 32)
    for key, audio_id in zip(keys, clips["audio_id"], strict=True):
        if audio_id in ids:
            store.add(CLIPS, bytes(key), np.asarray(vectors.vectors[vectors.place_of(ids[audio_id])]))
    store.settle()
