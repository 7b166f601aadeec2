"""What the tests of the app show: two tiny models, recordings, an Improvement-Set, and a server for them."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import save_models, write_captioned, write_pool

from modeling_clap_student import curate


LABELS = ["low hum", "high whistle", "soft hiss"]


def make_world(folder: Path, **options) -> Path:
    """`teacher`, `student`, `captioned`, `pool` (one clip of seven is none), `embeddings` and `set` in a folder."""
    save_models(folder, ["teacher", "student"])
    write_captioned(folder / "captioned")
    write_pool(folder / "pool")
    settings = {"num_captions": 3, "num_pairs": 18, "max_skipped_fraction": 0.5} | options
    curate(
        str(folder / "teacher"), strategy="ads", captions=str(folder / "captioned"), audio=str(folder / "pool"),
        labels=LABELS, embedding_store=str(folder / "embeddings"), fingerprint_store=str(folder / "fingerprints"),
        progress=False, **settings,
    ).save(folder / "set")  # fmt: skip
    return folder


def arguments(world: Path, **options):
    """The command's, for such a folder."""
    from modeling_clap_student.app.arguments import AppArguments

    named = {"model": world / "student", "baseline": world / "teacher", "pool": world / "set"}
    named = {name: str(path) for name, path in named.items()} | {"embedding_store": str(world / "embeddings")}
    return AppArguments(**(named | {"open_browser": False} | options))


def application(world: Path, scratch: Path, **options):
    """The server's application, and its content."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from modeling_clap_student.app.page import build, open_content

    args = arguments(world, **options)
    content = open_content(args, scratch)
    return build(content, args), content


def unused_port() -> int:
    """One that no other test takes at the same time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(world: Path, **options) -> Iterator[str]:
    """The address of a page that is open."""
    import uvicorn

    from modeling_clap_student.app.scratch import temporary_folder

    with temporary_folder() as scratch:
        app, _ = application(world, scratch, **options)
        port = unused_port()
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(10)
