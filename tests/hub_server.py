"""A Hub of one process on the loopback interface, for the real clients: the endpoints that publishing and reading use.

Repositories live in memory. Large files go through the LFS batch endpoint and are served by redirect, as on the Hub.
`faults` plays what goes wrong: each names the requests it meets, how often, and what happens to them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopback"
LARGE = (".parquet", ".png")


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD path" matches: `status`, `cut` (half of the body),
    `corrupt` (one bit turned), or `first` (called, then the request is answered as always)."""

    match: str
    times: int = 1
    status: int = 0
    cut: bool = False
    corrupt: bool = False
    first: Callable[[], None] | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """commits: (id, {path: content}) from the first to the last. tags: commit by name."""

    commits: list[tuple[str, dict[str, bytes]]]
    private: bool = False
    gated: bool | str = False
    tags: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def new(private: bool) -> Repository:
        result = Repository([], private)
        result.commit({".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"})
        return result

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(repr([len(self.commits), sorted(files)]).encode()).hexdigest()
        self.commits.append((oid, files))
        return oid

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        wanted = self.head if revision == "main" else self.tags.get(revision, revision)
        return next(((oid, files) for oid, files in self.commits if oid == wanted), None)


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(LARGE) or "/c/" in path


class HubServer(ThreadingHTTPServer):
    """repositories by name; objects: LFS content by sha256; log: every request as (method, path, range, status)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, str | None, int]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage_url(self) -> str:
        """Large files come from another host name, as on the Hub: a client must not look for the Hub's headers there."""
        return f"http://localhost:{self.server_address[1]}"

    def fault(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, request):
                    fault.times -= 1
                    return fault
        return None

    def requests(self, method: str, match: str) -> list[tuple[str, str, str | None, int]]:
        return [entry for entry in self.log if entry[0] == method and re.search(match, entry[1])]


@contextmanager
def serve() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *arguments: Any) -> None: ...

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET

    def _route(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(iter(self._chunk, b""))
        self.fault = self.server.fault(f"{self.command} {path}")
        if self.fault is not None and self.fault.first is not None:
            self.fault.first()
        if self.fault is not None and self.fault.status:
            self._send(self.fault.status, {"error": "played fault"}, self.fault.headers)
            return
        for pattern, handle in ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                handle(self, **match.groupdict())
                return
        self._send(404, {"error": f"no route {self.command} {path}"})

    def _chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def _send(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.server.log.append((self.command, unquote(urlsplit(self.path).path), self.headers.get("Range"), status))
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault is not None and self.fault.cut:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if self.fault is not None and self.fault.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        self.wfile.write(data)

    def _error(self, status: int, code: str, text: str) -> None:
        self._send(status, {"error": text}, {"X-Error-Code": code, "X-Error-Message": text})

    @property
    def _authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, repo: str, *, write: bool = False) -> Repository | None:
        found = self.server.repositories.get(repo)
        if found is None or (found.private and not self._authorized):
            self._error(401 if not self._authorized else 404, "RepoNotFound", "Repository not found")
        elif write and not self._authorized:
            self._error(401, "Unauthorized", "Invalid username or password.")
        else:
            return found
        return None

    def _files(self, repo: str, revision: str) -> tuple[Repository, str, dict[str, bytes]] | None:
        repository = self._repository(repo)
        if repository is None:
            return None
        found = repository.files(revision)
        if found is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return (repository, *found)

    def create(self) -> None:
        wanted = json.loads(self.body)
        repo = f"{wanted['organization']}/{wanted['name']}"
        if not self._authorized:
            self._error(401, "Unauthorized", "Invalid username or password.")
            return
        known = repo in self.server.repositories
        if not known:
            private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
            self.server.repositories[repo] = Repository.new(private)
        answer = {"url": f"{self.server.url}/datasets/{repo}", "name": repo, "id": repo}
        self._send(
            409 if known else 200, {**answer, "error": "You already created this dataset repo"} if known else answer
        )

    def settings(self, repo: str) -> None:
        found, wanted = self._repository(repo, write=True), json.loads(self.body)
        if found is not None:
            found.gated = wanted.get("gated", found.gated)
            if wanted.get("private") or wanted.get("visibility") == "private":
                found.private = True
            self._send(200, {})

    def validate(self) -> None:
        text = json.loads(self.body)["content"]
        errors = [] if text.startswith("---\n") else [{"message": "no metadata"}]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def info(self, repo: str, revision: str = "main") -> None:
        found = self._files(repo, revision)
        if found is not None:
            repository, oid, files = found
            about = {"id": repo, "_id": "1", "sha": oid, "private": repository.private, "gated": repository.gated}
            about |= {
                "siblings": [{"rfilename": path} for path in sorted(files)],
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
            self._send(200, {**about, "lastModified": "2026-01-01T00:00:00.000Z", "disabled": False})

    def refs(self, repo: str) -> None:
        found = self._repository(repo)
        if found is not None:
            branch = [{"name": "main", "ref": "refs/heads/main", "targetCommit": found.head}]
            tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in found.tags.items()]
            self._send(200, {"branches": branch, "tags": tags, "converts": []})

    def tree(self, repo: str, revision: str, path: str = "") -> None:
        found = self._files(repo, revision)
        if found is None:
            return
        prefix, recursive = (path + "/" if path else ""), self.query.get("recursive", [""])[0].lower() in ("1", "true")
        entries = entries_below(found[2], prefix, recursive)
        if path and not entries:
            self._error(404, "EntryNotFound", f"{path} does not exist")
        else:
            self._send(200, entries)

    def paths_info(self, repo: str, revision: str) -> None:
        found = self._files(repo, revision)
        if found is not None:
            text = self.body.decode()
            paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            everything = {entry["path"]: entry for entry in entries_below(found[2], "", True)}
            self._send(200, [everything[path] for path in paths if path in everything])

    def preupload(self, repo: str, revision: str) -> None:
        if self._repository(repo, write=True) is not None:
            files = json.loads(self.body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if is_large(f["path"]) else "regular", "shouldIgnore": False}
                for f in files
            ]
            self._send(200, {"files": modes})

    def batch(self, repo: str) -> None:
        if self._repository(repo, write=True) is not None:
            objects = []
            for wanted in json.loads(self.body)["objects"]:
                upload = {"upload": {"href": f"{self.server.url}/lfs/{wanted['oid']}"}}
                objects.append({**wanted, **({} if wanted["oid"] in self.server.objects else {"actions": upload})})
            self._send(200, {"transfer": "basic", "objects": objects})

    def lfs(self, oid: str) -> None:
        right = hashlib.sha256(self.body).hexdigest() == oid
        if right:
            self.server.objects[oid] = self.body
        self._send(200 if right else 400, {} if right else {"error": "content does not match its sha256"})

    def commit(self, repo: str, revision: str) -> None:
        repository = self._repository(repo, write=True)
        if repository is None:
            return
        lines = [json.loads(line) for line in self.body.splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, repository.head):
            self._error(412, "PreconditionFailed", "A commit has happened since. Please refresh and try again.")
            return
        files = dict(repository.commits[-1][1])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files)
        self._send(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/datasets/{repo}/commit/{oid}"}
        )

    def tag(self, repo: str, revision: str) -> None:
        repository, name = self._repository(repo, write=True), json.loads(self.body)["tag"]
        if repository is not None:
            known = name in repository.tags
            if not known:
                repository.tags[name] = repository.head if revision == "main" else revision
            self._send(409 if known else 200, {})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        found = self._files(repo, revision)
        if found is None:
            return
        repository, oid, files = found
        if repository.gated and not self._authorized:
            self._error(401, "GatedRepo", f"Access to dataset {repo} is restricted.")
        elif path not in files:
            self._error(404, "EntryNotFound", "Entry not found")
        elif is_large(path):
            data = files[path]
            etag = hashlib.sha256(data).hexdigest()
            self.server.objects.setdefault(etag, data)
            linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{etag}"', "X-Repo-Commit": oid}
            self._send(302, b"", {**linked, "Location": f"{self.server.storage_url}/cdn/{etag}"})
        else:
            self._ranged(files[path], {"ETag": f'"{git_id(files[path])}"', "X-Repo-Commit": oid})

    def cdn(self, oid: str) -> None:
        self._ranged(self.server.objects[oid], {"ETag": f'"{oid}"'})

    def _ranged(self, data: bytes, headers: dict[str, str]) -> None:
        headers |= {"Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not match:
            self._send(200, data, headers)
            return
        first, last = match.groups()
        start = int(first) if first else len(data) - int(last)
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= len(data):
            self._send(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
            return
        self._send(206, data[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


def entries_below(files: dict[str, bytes], prefix: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders as the tree endpoint lists them."""
    result: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            folder = prefix + "/".join(parts[:depth])
            result[folder] = {"type": "directory", "path": folder, "oid": git_id(folder.encode()), "size": 0}
        if recursive or len(parts) == 1:
            entry = {"type": "file", "path": path, "oid": git_id(data), "size": len(data)}
            if is_large(path):
                oid = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": oid, "sha256": oid, "size": len(data), "pointerSize": 130}
            result[path] = entry
    return list(result.values())


_REPO = r"(?P<repo>[^/]+/[^/]+)"
ROUTES: list[tuple[str, Callable[..., None]]] = [
    ("/api/repos/create", Handler.create),
    ("/api/validate-yaml", Handler.validate),
    (rf"/api/datasets/{_REPO}", Handler.info),
    (rf"/api/datasets/{_REPO}/settings", Handler.settings),
    (rf"/api/datasets/{_REPO}/refs", Handler.refs),
    (rf"/api/datasets/{_REPO}/revision/(?P<revision>[^/]+)", Handler.info),
    (rf"/api/datasets/{_REPO}/tree/(?P<revision>[^/]+)", Handler.tree),
    (rf"/api/datasets/{_REPO}/tree/(?P<revision>[^/]+)/(?P<path>.+)", Handler.tree),
    (rf"/api/datasets/{_REPO}/paths-info/(?P<revision>[^/]+)", Handler.paths_info),
    (rf"/api/datasets/{_REPO}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    (rf"/api/datasets/{_REPO}/commit/(?P<revision>[^/]+)", Handler.commit),
    (rf"/api/datasets/{_REPO}/tag/(?P<revision>[^/]+)", Handler.tag),
    (rf"/datasets/{_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("/lfs/(?P<oid>[0-9a-f]+)", Handler.lfs),
    ("/cdn/(?P<oid>[0-9a-f]+)", Handler.cdn),
    (rf"/datasets/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
