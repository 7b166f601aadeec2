"""A small Hugging Face Hub on the loopback address, for tests that push, download and load without a network.

It serves what `huggingface_hub` (1.31 to 2.4), `transformers` and `datasets` call in order to create model and dataset
repositories, to push to them over git LFS ("basic" transfer), to look into them and to download or stream their files
at any commit; public or private, with the status codes, headers and error codes of the real one. Everything is kept
in memory. Not served: branches other than `main`, tags, pull requests, spaces and the Xet storage.

    with HubServer() as server:
        run_python("from huggingface_hub import create_repo; create_repo('me/x')", server, token="hf_me_secret")
        print(server.requests, server.unserved)
"""

import base64
import fnmatch
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import textwrap
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone

import yaml
from flask import Flask, abort, jsonify, make_response, request, send_file
from werkzeug.routing import BaseConverter
from werkzeug.serving import WSGIRequestHandler, make_server


LFS_SUFFIXES = ("arrow", "bin", "flac", "h5", "mp3", "npy", "npz", "onnx", "parquet", "pt", "safetensors", "wav")
GIT_ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()
LARGEST_REGULAR = 1_000_000  # larger files go to LFS whatever their name
MAIN = ("main", "refs/heads/main")


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def in_folder(path: str, folder: str) -> bool:
    return not folder or path.startswith(folder.rstrip("/") + "/")


def refuse(status: int, message: str, code: str | None = None, **headers: str):
    """Ends the request as the Hub does: clients choose the exception by X-Error-Code more than by the status."""
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}
    abort(make_response(jsonify(error=message), status, headers))


def card_data(readme: str) -> dict:
    """The YAML block at the top of a README."""
    match = re.match(r"---\s*\n(.*?\n)?---\s*(\n|$)", readme, re.DOTALL)
    data = yaml.safe_load(match[1] or "") if match else None
    if not isinstance(data, dict | None):
        raise yaml.YAMLError("the metadata should be a mapping")
    return data or {}


@dataclass(frozen=True)
class File:
    data: bytes
    lfs: bool = False

    @property
    def etag(self) -> str:
        return hashlib.sha256(self.data).hexdigest() if self.lfs else git_hash(self.data)

    def entry(self, path: str) -> dict:
        """The file as `tree` and `paths-info` list it and, with other names for the same, the siblings of a repo."""
        size = len(self.data)
        if not self.lfs:
            return {"type": "file", "path": path, "size": size, "oid": self.etag, "blobId": self.etag}
        # Git itself holds but a few lines that point to the content.
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.etag}\nsize {size}\n".encode()
        lfs = {"oid": self.etag, "sha256": self.etag, "size": size, "pointerSize": len(pointer)}
        return {**File(pointer).entry(path), "size": size, "lfs": lfs}


@dataclass(frozen=True)
class Commit:
    title: str
    files: dict[str, File]
    id: str = field(default_factory=lambda: secrets.token_hex(20))
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z"))

    def paths(self) -> set[str]:
        """All files and folders."""
        return {path[: end.start()] for path in self.files for end in re.finditer("/|$", path)}


class Repo:
    def __init__(self, kind: str, name: str, private: bool):
        self.kind, self.name, self.private, self.owner = kind, name, private, name.split("/")[0]
        self.path = name if kind == "models" else f"{kind}/{name}"
        self.key = secrets.token_hex(16)  # stands for the signature of storage URLs, which are used without a token
        self.objects: dict[str, bytes] = {}  # what arrived over LFS, whether or not a commit names it yet
        self.commits = [Commit("initial commit", {".gitattributes": File(GIT_ATTRIBUTES)})]

    def at(self, revision: str | None) -> Commit:
        found = [commit for commit in self.commits if revision in (None, commit.id, *MAIN)]
        return found[-1] if found else refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def upload_mode(self, path: str, size: int) -> str:
        attributes = self.commits[-1].files.get(".gitattributes", File(b"")).data.decode().splitlines()
        patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]
        matches = any(fnmatch.fnmatch(os.path.basename(path), pattern) for pattern in patterns)
        return "lfs" if matches or size > LARGEST_REGULAR else "regular"

    def entry(self, path: str, commit: Commit, expand: bool) -> dict:
        """The file or folder at `path` as `tree` and `paths-info` list it."""
        if path not in commit.files:
            return {"type": "directory", "path": path, "size": 0, "oid": git_hash(path.encode())}
        history = self.commits[: self.commits.index(commit) + 1]
        while len(history) > 1 and history[-2].files.get(path) == commit.files[path]:
            history.pop()  # it had this content before
        last = {"id": history[-1].id, "title": history[-1].title, "date": history[-1].date}
        return {**commit.files[path].entry(path), **({"lastCommit": last} if expand else {})}

    def apply(self, header: dict, changes: list[dict]) -> Commit:
        """Adds the commit that the lines of a `commit` request describe."""
        files, head = dict(self.commits[-1].files), self.commits[-1].id
        if header["value"].get("parentCommit", head) != head:
            refuse(412, "A commit has happened since. Please refresh and try again.")
        for key, value in ((change["key"], change["value"]) for change in changes):
            path = value["path"]
            if key == "file":
                files[path] = File(base64.b64decode(value["content"]))
            elif key == "lfsFile" and value["oid"] in self.objects:
                files[path] = File(self.objects[value["oid"]], lfs=True)
            elif key in ("deletedFile", "deletedFolder"):
                files = {name: file for name, file in files.items() if name != path and not in_folder(name, path)}
            else:
                refuse(400, f"Unknown kind of change or LFS object that never arrived: {key} {path}")
        self.commits.append(Commit(header["value"]["summary"], files))
        return self.commits[-1]


class RepoName(BaseConverter):
    regex = "[^/]+(?:/[^/]+)?"
    part_isolating = False


class Revision(BaseConverter):
    regex = "refs/[^/]+/[^/]+|[^/]+"  # clients quote the slashes, but they are unquoted before routes are matched
    part_isolating = False


class Handler(WSGIRequestHandler):
    def log_request(self, *args):
        pass

    def connection_dropped(self, error, environ=None):
        self.close_connection = True  # rather than to take what else was sent for another request


class HubServer:
    """The server, running in a thread inside `with`.

    `requests` lists what was asked, ids templated; `unserved` what no route answers, requests to other hosts included
    (`run_python` makes this server the proxy of its process); `uploads` the oids of the LFS objects that arrived.
    """

    def __init__(self, tokens: dict[str, str] | None = None):
        self.tokens = {"hf_me_secret": "me"} if tokens is None else tokens
        self.repos: dict[tuple[str, str], Repo] = {}  # by kind ("models" or "datasets") and id
        self.requests: list[str] = []
        self.unserved: list[str] = []
        self.uploads: list[str] = []
        self._failures: list[bool] = []
        self._lock = threading.Lock()
        self._app = Flask("hub")
        self._app.config["PROPAGATE_EXCEPTIONS"] = True  # a ConnectionError is to reach the server, which hangs up
        self._app.url_map.converters.update(repo=RepoName, revision=Revision)
        self._app.before_request(self._note)
        self._add_routes()

    def __enter__(self):
        self._server = make_server("127.0.0.1", 0, self._app, threaded=True, request_handler=Handler)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fail_uploads(self, count: int, drop: bool = False):
        """The next `count` LFS uploads stop half-way.

        By default the storage then answers as S3 does to a body that stopped coming: 400 RequestTimeout, which the
        client raises at once. With `drop` the connection is closed without an answer: the client tries again up to
        five times, after 1, 2, 4, 8 and 8 seconds, so that it recovers by itself from a few and raises after six.
        """
        self._failures += [drop] * count

    def _add_routes(self):
        api, at = "/api/<any(models, datasets):kind>/<repo:name>", "<revision:revision>"
        batch = "info/lfs/objects/batch"
        for method, rule, view in [
            ("GET", "/api/whoami-v2", self._whoami),
            ("POST", "/api/repos/create", self._create),
            ("POST", "/api/validate-yaml", self._validate_yaml),
            ("GET", api, self._info),
            ("GET", f"{api}/revision/{at}", self._info),
            ("GET", f"{api}/refs", self._refs),
            ("GET", f"{api}/commits/{at}", self._commits),
            ("GET", f"{api}/tree/{at}", self._tree),
            ("GET", f"{api}/tree/{at}/<path:path>", self._tree),
            ("POST", f"{api}/paths-info/{at}", self._paths_info),
            ("POST", f"{api}/preupload/{at}", self._preupload),
            ("POST", f"{api}/commit/{at}", self._commit),
            ("POST", f"/<repo:name>.git/{batch}", self._lfs_batch),
            ("POST", f"/<any(datasets):kind>/<repo:name>.git/{batch}", self._lfs_batch),
            ("PUT", "/storage/<key>/<oid>", self._upload),
            ("POST", "/storage/<key>/<oid>/verify", self._verify),
            ("GET", f"/<repo:name>/resolve/{at}/<path:path>", self._resolve),
            ("GET", f"/<any(datasets):kind>/<repo:name>/resolve/{at}/<path:path>", self._resolve),
        ]:
            self._app.add_url_rule(rule, view.__name__, view, methods=[method])

    def _note(self):
        # A request to a proxy has an absolute URL in its first line or, for https, is a CONNECT to host and port.
        if request.method == "CONNECT" or request.host_url != self.url + "/":
            self.unserved.append(f"{request.method} {request.environ['REQUEST_URI']}")
            refuse(502, "Another host, from which the test server keeps its clients")
        if request.url_rule is None:
            self.unserved.append(f"{request.method} {request.path}")
            refuse(404, "The test server does not serve this")
        rule = re.sub(r"<any[^>]+>", request.view_args.get("kind", ""), request.url_rule.rule)
        self.requests.append(f"{request.method} " + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule))

    def _user(self) -> str | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            refuse(401, "Invalid credentials in Authorization header")
        return self.tokens.get(token)

    def _repo(self, kind: str, name: str, write: bool = False) -> Repo:
        """The repository, if the request may see it (or write to it): one that it may not see is not there at all."""
        user, repo = self._user(), self.repos.get((kind, name))
        if repo is None or (repo.private and user != repo.owner):
            status, message = (404, "Repository not found") if user else (401, "Invalid username or password.")
            refuse(status, message, "RepoNotFound")
        if write and user != repo.owner:
            refuse(403 if user else 401, "You don't have the rights to write to this repository")
        return repo

    def _whoami(self):
        user = self._user() or refuse(401, "Invalid username or password.")
        return {"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token"}}

    def _create(self):
        user, asked = self._user() or refuse(401, "Invalid username or password."), request.json
        kind, owner = asked.get("type", "model") + "s", asked.get("organization") or user
        if owner != user:
            refuse(403, f"You don't have the rights to create a {kind[:-1]} under the namespace {owner!r}")
        repo = Repo(kind, f"{owner}/{asked['name']}", asked.get("visibility") == "private")
        answer = {"url": f"{self.url}/{repo.path}", "name": repo.name}
        if (kind, repo.name) in self.repos:
            return {**answer, "error": f"You already created this {kind[:-1]} repo"}, 409
        self.repos[kind, repo.name] = repo
        return answer

    def _validate_yaml(self):
        try:
            empty = not card_data(request.json["content"])
        except yaml.YAMLError as error:
            return {"errors": [{"message": str(error)}], "warnings": []}, 400
        return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}] * empty}

    def _info(self, kind, name, revision=None):
        repo = self._repo(kind, name)
        commit = repo.at(revision)
        card = card_data(commit.files.get("README.md", File(b"")).data.decode())
        blobs = "blobs" in request.args
        files = [{"rfilename": path, **(file.entry(path) if blobs else {})} for path, file in commit.files.items()]
        about = {key: card[key] for key in ("library_name", "pipeline_tag", "tags") if key in card}
        about |= {"sha": commit.id, "createdAt": repo.commits[0].date, "lastModified": commit.date, "cardData": card}
        return {"id": name, "author": repo.owner, "private": repo.private, "gated": False, **about, "siblings": files}

    def _refs(self, kind, name):
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": self._repo(kind, name).at("main").id}
        return {"branches": [main], "tags": [], "converts": [], "pullRequests": []}

    def _commits(self, kind, name, revision):
        """Up to a revision, newest first."""
        repo = self._repo(kind, name)
        until = repo.commits[: repo.commits.index(repo.at(revision)) + 1]
        facts = {"authors": [{"user": repo.owner}], "message": ""}
        return [{"id": commit.id, "title": commit.title, "date": commit.date, **facts} for commit in reversed(until)]

    def _tree(self, kind, name, revision, path=""):
        repo = self._repo(kind, name)
        commit = repo.at(revision)
        recursive, expand = (request.args.get(key, "").lower() == "true" for key in ("recursive", "expand"))
        below = [name for name in sorted(commit.paths()) if in_folder(name, path)]
        if path and not below:
            refuse(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
        shown = [name for name in below if recursive or "/" not in name[len(path) :].strip("/")]
        return [repo.entry(name, commit, expand) for name in shown]

    def _paths_info(self, kind, name, revision):
        repo = self._repo(kind, name)
        commit, expand = repo.at(revision), request.form.get("expand", "").lower() == "true"
        asked = [path.rstrip("/") for path in request.form.getlist("paths")]
        return [repo.entry(path, commit, expand) for path in asked if path in commit.paths()]

    def _preupload(self, kind, name, revision):
        repo = self._repo(kind, name, write=True)
        known, answers = repo.at(revision).files, []
        for path, size in ((file["path"], file["size"]) for file in request.json["files"]):
            oid = known[path].etag if path in known else None  # so that the client leaves out what is there already
            mode = repo.upload_mode(path, size)
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def _lfs_batch(self, name, kind="models"):
        repo, objects = self._repo(kind, name, write=True), []
        for item in request.json["objects"]:
            url = f"{self.url}/storage/{repo.key}/{item['oid']}"
            actions = {"upload": {"href": url}, "verify": {"href": f"{url}/verify"}}
            objects.append(item if item["oid"] in repo.objects else {**item, "actions": actions})
        return {"transfer": "basic", "objects": objects}

    def _storage(self, key: str) -> dict[str, bytes]:
        found = [repo.objects for repo in self.repos.values() if repo.key == key]
        return found[0] if found else refuse(403, "AccessDenied")

    def _upload(self, key, oid):
        objects = self._storage(key)
        with self._lock:
            drop = self._failures.pop(0) if self._failures else None
        if drop is not None:
            request.stream.read(request.content_length // 2)
            if drop:
                raise ConnectionResetError
            refuse(400, "RequestTimeout: Your socket connection to the server was not written to in time")
        data = request.get_data()
        if hashlib.sha256(data).hexdigest() != oid:
            refuse(400, "The content is not what its oid says")
        objects[oid] = data
        self.uploads.append(oid)
        return ""

    def _verify(self, key, oid):
        if len(self._storage(key).get(oid, b"")) != request.json["size"]:
            refuse(404, "No object of this size")
        return ""

    def _commit(self, kind, name, revision):
        repo = self._repo(kind, name, write=True)
        if revision not in MAIN or "create_pr" in request.args:
            refuse(400, "The test server takes commits to main only")
        header, *changes = (json.loads(line) for line in request.get_data().splitlines())
        with self._lock:
            commit = repo.apply(header, changes)
        return {"success": True, "commitOid": commit.id, "commitUrl": f"{self.url}/{repo.path}/commit/{commit.id}"}

    def _resolve(self, name, revision, path, kind="models"):
        commit = self._repo(kind, name).at(revision)
        headers = {"X-Repo-Commit": commit.id}  # also with a missing file: clients remember that it is missing
        file = commit.files.get(path) or refuse(404, "Entry not found", "EntryNotFound", **headers)
        if file.lfs:  # without an X-Xet-Hash, which tells clients to download it over plain HTTP
            headers |= {"X-Linked-ETag": f'"{file.etag}"', "X-Linked-Size": str(len(file.data))}
        response = send_file(io.BytesIO(file.data), "application/octet-stream", etag=file.etag)  # does HEAD and ranges
        response.headers.update(headers)
        return response


def client_environment(server: HubServer, home: str, token: str | None = None) -> dict[str, str]:
    """The environment of a process for which `server` is the Hub, with nothing of this process's own Hub settings.

    The server is also its proxy, so that a request to any other host fails at once and is seen in `server.unserved`.
    HF_HUB_DISABLE_XET: with `hf_xet` installed, clients upload to the Xet storage without asking the Hub first.
    """
    settings = re.compile("HF_|HUGGING|TRANSFORMERS_|.*_PROXY$", re.IGNORECASE)
    inherited = {key: value for key, value in os.environ.items() if not settings.match(key)}
    proxies = {"HTTP_PROXY": server.url, "HTTPS_PROXY": server.url, "NO_PROXY": "127.0.0.1"}
    switches = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
    hub = {"HF_ENDPOINT": server.url, "HF_HOME": home, "HF_HUB_OFFLINE": "0", **dict.fromkeys(switches, "1")}
    return {**inherited, **proxies, **hub, **({"HF_TOKEN": token} if token else {})}


def run_python(code: str | list, server: HubServer, token: str | None = None, *, check: bool = True, **environment):
    """Runs code (or, given a list, a script with its arguments) in a new process with an empty cache.

    Further keywords are environment variables: HF_HOME=... for a cache of one's own. Returns the CompletedProcess.
    """
    arguments = ["-c", textwrap.dedent(code)] if isinstance(code, str) else [str(argument) for argument in code]
    with tempfile.TemporaryDirectory(prefix="hub_home_") as home:
        variables = {**client_environment(server, home, token), **environment}
        command = [sys.executable, *arguments]
        process = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    if check and process.returncode:
        raise AssertionError(f"exit code {process.returncode}\n{process.stdout}\n{process.stderr}")
    return process
