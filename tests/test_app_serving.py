"""What the app's server gives away: sounds of the pool by their number, and nothing else."""

import os
import socket
import time
from pathlib import Path

import pytest
import soundfile
from app_world import application, make_world
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from modeling_clap_student import InputError
from modeling_clap_student.app.scratch import temporary_folder, without_old_files
from modeling_clap_student.app.serving import Made, Shelf, free_port, is_loopback, partial_content


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def visit(world):
    with temporary_folder() as scratch:
        app, content = application(world, scratch, max_upload_mb=1)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            client.content, client.scratch = content, scratch
            yield client
    assert not scratch.exists()


def number_of(visit, name: str) -> int:
    return next(row for row, one in enumerate(visit.content.pool.clips["audio_id"]) if one.endswith(name))


def test_a_clip_is_played(visit, tmp_path):
    number = number_of(visit, "2.flac")
    answer = visit.get(f"/clips/{number}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/mpeg"
    (tmp_path / "clip.mp3").write_bytes(answer.content)
    samples, rate = soundfile.read(tmp_path / "clip.mp3")
    assert len(samples) / rate == pytest.approx(1, abs=0.15)
    crossings = ((samples[:-1] < 0) & (samples[1:] >= 0)).sum() * rate / len(samples)
    assert crossings == pytest.approx(900, rel=0.1)  # the tone of this file
    part = visit.get(f"/clips/{number}", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == answer.content[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(answer.content)}"
    assert visit.get(f"/pairs/{0}").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/clips/7", "/clips/-1", "/clips/1e1", "/clips/²", "/clips/99999999999999999999", "/clips/..%2f..%2fetc%2fpasswd",
     "/clips/%2e%2e/%2e%2e/etc/passwd", "/clips//etc/passwd", "/clips/1.flac", "/pairs/18", "/made/x", "/made/..%2fx",
     "/replay/0", "/clips/0%00"],
)  # fmt: skip
def test_what_is_no_number_is_not_there(visit, path):
    """Guards against a path in a request that is opened."""
    answer = visit.get(path)
    assert answer.status_code == 404 and b"root:" not in answer.content


def test_gradio_serves_no_file_of_the_machine(visit, world):
    """Guards against gradio's own route, which opens paths: none is allowed, not even the pool's."""
    for path in ("/etc/passwd", world / "pool" / "2.flac", world / "student" / "config.json", "tests/conftest.py",
                 "../../../../etc/passwd", visit.scratch / ".." / "x"):  # fmt: skip
        for route in ("file=", "file/"):
            answer = visit.get(f"/gradio_api/{route}{path}")
            assert answer.status_code in (403, 404), (path, answer.status_code)


def test_a_link_is_not_followed(visit, world, tmp_path):
    """Guards against a file of the pool that became a link since, to a sound that was not in it."""
    number, secret = number_of(visit, "5.flac"), tmp_path / "secret.wav"
    soundfile.write(secret, [0.5] * 44100, 44100)
    file = world / "pool" / "5.flac"
    content = file.read_bytes()
    file.unlink()
    try:
        file.symlink_to(secret)
        assert visit.get(f"/clips/{number}").status_code == 404
    finally:
        file.unlink()
        file.write_bytes(content)


def test_what_is_no_audio_is_not_sent(visit):
    answer = visit.get(f"/clips/{number_of(visit, 'broken.wav')}")
    assert answer.status_code == 404 and b"not audio" not in answer.content


def test_uploads_are_limited(visit):
    """Guards against a disk that anybody can fill."""
    file = {"files": ("big.wav", b"0" * 1_100_000, "audio/wav")}
    answer = visit.post("/gradio_api/upload", files=file)
    assert answer.status_code == 413, answer.text
    small = visit.post("/gradio_api/upload", files={"files": ("../../x.wav", b"0" * 1000, "audio/wav")})
    (path,) = small.json()
    assert os.path.realpath(path).startswith(os.path.realpath(visit.scratch))


def test_the_page_loads_nothing_from_elsewhere(visit):
    answer = visit.get("/")
    assert answer.status_code == 200 and "fonts.googleapis" not in answer.text and "cdn" not in answer.text.lower()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert visit.get("/docs").status_code in (404, 200) and "swagger" not in visit.get("/docs").text.lower()


def test_another_name_for_this_machine_is_refused(visit):
    """Guards against a website whose name is made to lead here, so that its program may read the pool."""
    assert visit.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert visit.get("/clips/0", headers={"Host": "evil.example:7860"}).status_code == 400


def test_another_address_of_this_machine_is_answered(world):
    """Guards against --host 127.0.0.2 that opens a page which refuses everybody."""
    with temporary_folder() as scratch:
        app, _ = application(world, scratch, host="127.0.0.2")
        with TestClient(app, base_url="http://127.0.0.2") as client:
            assert client.get("/clips/0").status_code != 400
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_another_website_sends_nothing_here(visit):
    """Guards against a form on any website that fills the disk with uploads."""
    foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    file = {"files": ("x.wav", b"0" * 1000, "audio/wav")}
    assert visit.post("/gradio_api/upload", files=file, headers=foreign).status_code == 403
    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert visit.post("/gradio_api/upload", files=file, headers=own).status_code == 200
    assert visit.get("/", headers=foreign | {"Sec-Fetch-Mode": "navigate"}).status_code == 200  # a link leads here


def test_the_handlers_are_no_public_service(visit):
    assert visit.get("/gradio_api/info").json()["named_endpoints"] == {}


def test_parts_of_what_is_sent():
    """Guards against a player that can't jump, and an odd request that fails the server."""
    app = FastAPI()

    @app.get("/x")
    def x(request: Request):
        return partial_content(bytes(range(100)), "audio/mpeg", request)

    client = TestClient(app)
    for span, expected in (("5-", range(5, 100)), ("-7", range(93, 100)), ("90-400", range(90, 100))):
        answer = client.get("/x", headers={"Range": f"bytes={span}"})
        assert answer.status_code == 206 and answer.content == bytes(expected)
    assert client.get("/x", headers={"Range": "bytes=100-"}).status_code == 416
    for odd in ("bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=9-3" + "0" * 60):
        assert client.get("/x", headers={"Range": odd}).status_code == 200


def test_the_shelf_forgets_the_oldest():
    shelf = Shelf(most_bytes=250)
    names = [shelf.put(Made(bytes(100), "x")).removeprefix("made/") for _ in range(4)]
    assert [shelf.get(name) is None for name in names] == [True, True, False, False]
    assert len(set(names)) == 4 and all(len(name) > 20 for name in names)


def test_ports(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {number} is taken: give another with --port"):
            free_port("127.0.0.1", number)
        assert free_port("127.0.0.1", None, first=number) > number
    with pytest.raises(InputError, match=r"can't listen on 203\.0\.113\.1"):
        free_port("203.0.113.1", 7860)
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and not is_loopback("0.0.0.0")


def test_uploads_are_removed_while_the_page_is_open(world):
    """Guards against recordings of visitors that lie there as long as the server runs."""
    with temporary_folder() as scratch:
        app, _ = application(world, scratch)
        with TestClient(app, base_url="http://127.0.0.1") as client, without_old_files(scratch, 0.1, 1):
            answer = client.post("/gradio_api/upload", files={"files": ("x.wav", b"0" * 1000, "audio/wav")})
            (path,) = map(Path, answer.json())
            broken = scratch / "tmpbroken"  # where gradio writes until an upload is whole
            broken.write_bytes(b"0")
            assert path.exists() and broken.exists()
            fresh, until = scratch / "fresh", time.monotonic() + 30
            while (path.exists() or broken.exists()) and time.monotonic() < until:
                fresh.write_bytes(b"0")  # one that is still being written
                time.sleep(0.1)
            assert not path.exists() and not broken.exists() and fresh.exists()
