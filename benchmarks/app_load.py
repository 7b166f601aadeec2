"""Simulates visitors of the app in parallel. Does everyone get an answer, how fast, and does memory stay flat?

python benchmarks/app_load.py --model outputs/student --baseline outputs/teacher --pool outputs/pairs
Without --model and the like, it uses the outputs of the built-in demo.

Each visitor uploads a 5-s recording, classifies it, searches by words and plays the first hit, repeatedly. Requests go
through the page's own queue, as from a browser. `--seconds 5 --visitors 2` is a short form.
"""

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import numpy as np
import soundfile


WORDS = ("rain", "dog", "siren", "a bell rings", "hum", "whistle")


class Visitor:
    """A browser without a screen.

    Args:
        address: the page's.
        number: the visitor's.
    """

    def __init__(self, address: str, number: int):
        self.address, self.number, self.session = address, number, uuid4().hex[:10]
        self.config = json.loads(self._get("config"))
        self.times: dict[str, list[float]] = {"classify": [], "search": [], "play": []}

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.address}/{path}", timeout=60) as answer:
            return answer.read()

    def _post(self, path: str, content: bytes, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(f"{self.address}/{path}", content, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def upload(self, sound: bytes) -> dict:
        """Uploads a file as the page does. Returns what the page then gives to its handlers."""
        mark = uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="clip.wav"\r\n\r\n'
        body = head.encode() + sound + f"\r\n--{mark}--\r\n".encode()
        (path,) = json.loads(self._post("gradio_api/upload", body, f"multipart/form-data; boundary={mark}"))
        return {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "clip.wav"}

    def call(self, handler: int, data: list) -> list:
        """The final result of a handler, through the queue. RuntimeError if it fails."""
        event = {"fn_index": handler, "data": data, "session_hash": self.session, "trigger_id": None}
        event = json.loads(self._post("gradio_api/queue/join", json.dumps(event).encode()))["event_id"]
        with urllib.request.urlopen(
            f"{self.address}/gradio_api/queue/data?session_hash={self.session}", timeout=120
        ) as stream:
            for line in stream:
                if not line.startswith(b"data:"):
                    continue
                message = json.loads(line[5:])
                if message.get("event_id") == event and message["msg"] == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(str(message["output"])[:200])
                    return message["output"]["data"]
        raise RuntimeError("the stream ended without an answer")

    def handler(self, name: str) -> int:
        """The number of a handler, by the name of its function."""
        return next(one["id"] for one in self.config["dependencies"] if one["api_name"].startswith(name))

    def timed(self, name: str, act, *arguments):
        start = time.perf_counter()
        result = act(*arguments)
        self.times[name].append(time.perf_counter() - start)
        return result

    def visit(self, sound: bytes, until: float) -> None:
        """Repeats rounds until the time is up."""
        listen, find = self.handler("listen"), self.handler("find_words")
        while time.monotonic() < until:
            clip = self.upload(sound)
            self.timed("classify", self.call, listen, [clip, "dog, rain, siren", "this is a sound of {}"])
            words = WORDS[self.number % len(WORDS)]
            html, *_ = self.timed("search", self.call, find, [words, "", "any", 0, False])
            if found := re.search(r"clips/\d+", html):
                self.timed("play", self._get, found[0])


def memory_of(process: int) -> float:
    """MiB of memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def tone() -> bytes:
    """A wav of 5 s at 44.1 kHz."""
    time = np.arange(5 * 44100) / 44100
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * 440 * time), 44100, format="WAV")
    return file.getvalue()


def start(flags: list[str], port: int, scratch: str) -> subprocess.Popen:
    """Starts the command, and waits until its page answers."""
    command = [sys.executable, "-m", "modeling_clap_student.commands.app", *flags]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--open_browser", "false"], env=os.environ | {"TMPDIR": scratch}
    )
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit("the app did not start")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5).close()
            return server
        except urllib.error.URLError:
            time.sleep(0.5)
    raise SystemExit("the app did not start in five minutes")


def measure(flags: list[str], visitors: int, seconds: float, port: int) -> dict:
    """Visits an app started for this. Returns times in ms, failures, and the server's memory in MiB over time."""
    with tempfile.TemporaryDirectory() as scratch:
        server = start(flags, port, scratch)
        try:
            address, sound, failures = f"http://127.0.0.1:{port}", tone(), []
            people = [Visitor(address, number) for number in range(visitors)]
            people[0].visit(sound, time.monotonic() + 2)  # warm-up: things that are made only once
            for times in people[0].times.values():
                times.clear()
            until, memory, stop = time.monotonic() + seconds, [], threading.Event()

            def watch() -> None:
                while not stop.wait(max(0.5, seconds / 12)):
                    memory.append(round(memory_of(server.pid)))

            threading.Thread(target=watch, daemon=True).start()
            with ThreadPoolExecutor(visitors) as threads:
                for one in [threads.submit(person.visit, sound, until) for person in people]:
                    if (error := one.exception()) is not None:
                        failures.append(repr(error))
            stop.set()
            kept = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file()) / 2**20
        finally:
            server.terminate()
            server.wait(20)
        left = [str(file.relative_to(scratch)) for file in Path(scratch).rglob("*") if file.is_file()]
    times = {name: sorted(time for one in people for time in one.times[name]) for name in people[0].times}
    return {
        "visitors": visitors, "seconds": seconds, "failures": failures, "memory_mib": memory,
        "uploads_mib": round(kept, 1), "files_left": left,
        **{name: {"count": len(of), "median_ms": round(1000 * statistics.median(of)),
                  "slowest_ms": round(1000 * of[-1])} for name, of in times.items() if of},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--own_port", type=int, default=7990)
    args, flags = parser.parse_known_args()
    print(json.dumps(measure(flags, args.visitors, args.seconds, args.own_port), indent=2))


if __name__ == "__main__":
    main()
