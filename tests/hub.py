"""A hub on this machine: as much of the protocol of huggingface_hub as publishing and fetching a model takes."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_test"
Files = dict[str, bytes]


class Hub(ThreadingHTTPServer):
    """repos: the commits of each repository, by their hash, in order. down: answer as a server that is out of order.
    fetched: the names of the files that were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, Files]] = {}
        self.stored: Files = {}
        self.down = False
        self.fetched: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, revision: str) -> tuple[str, Files] | None:
        commits = self.repos.get(name, {})
        found = list(commits)[-1] if revision == "main" and commits else revision
        return (found, commits[found]) if found in commits else None


@contextmanager
def serving() -> Iterator[Hub]:
    """Runs a hub while the block runs."""
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, content: object, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path, hub = self.path.split("?")[0], self.server
        if hub.down:
            return self.answer(503, {})
        if found := re.fullmatch("/api/models/([^/]+/[^/]+)(?:/(tree|revision)/([^/]+))?", path):
            if found[1] not in hub.repos:
                return self.answer(401, {}, X_Error_Code="RepoNotFound")
            commit = hub.commit(found[1], found[3] or "main")
            if commit is None:
                return self.answer(404, {}, X_Error_Code="RevisionNotFound")
            if found[2] == "tree":
                return self.answer(200, [{"type": "file", "path": k, **_about(v)} for k, v in commit[1].items()])
            files = [{"rfilename": name, "size": len(content)} for name, content in commit[1].items()]
            return self.answer(200, {"id": found[1], "sha": commit[0], "siblings": files, "tags": []})
        found = re.fullmatch("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        commit = hub.commit(found[1], found[2]) if found else None
        if found is None or commit is None or found[3] not in commit[1]:
            return self.answer(404, {}, X_Error_Code="EntryNotFound")
        hub.fetched += [found[3]] if self.command == "GET" else []
        content = commit[1][found[3]]
        return self.answer(200, content, ETag=f'"{_about(content)["oid"]}"', X_Repo_Commit=commit[0])

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored[hashlib.sha256(content).hexdigest()] = content
        self.answer(200, {})

    def do_POST(self) -> None:
        body, path, hub = self.rfile.read(int(self.headers["Content-Length"])), self.path.split("?")[0], self.server
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(403, {"error": "no rights"})
        if path.endswith("/commit/main"):
            return self.take(path.split("/api/models/")[1].removesuffix("/commit/main"), body)
        given = json.loads(body)
        if path == "/api/repos/create":
            name = f"me/{given['name']}"
            hub.repos.setdefault(name, {"0" * 40: {".gitattributes": b""}})
            return self.answer(200, {"url": f"{hub.url}/{name}"})
        if path.endswith("/preupload/main"):
            modes = [(each["path"], each["path"].endswith(".safetensors")) for each in given["files"]]
            files = [{"path": name, "uploadMode": ("regular", "lfs")[large]} for name, large in modes]
            return self.answer(200, {"files": [{**each, "shouldIgnore": False} for each in files]})
        if path.endswith("/lfs/objects/batch"):
            actions = {"upload": {"href": f"{hub.url}/put"}}
            return self.answer(200, {"objects": [{**each, "actions": actions} for each in given["objects"]]})
        return self.answer(200, {"errors": [], "warnings": []})  # of the card

    def take(self, name: str, body: bytes) -> None:
        """Makes a commit."""
        before = self.server.commit(name, "main")
        files = dict(before[1]) if before else {}
        for line in body.splitlines():
            kind, value = json.loads(line).values()
            if kind == "deletedFile":
                files.pop(value["path"], None)
            elif kind != "header":
                content = value.get("content")
                files[value["path"]] = base64.b64decode(content) if content else self.server.stored[value["oid"]]
        sha = hashlib.sha1(body).hexdigest()
        self.server.repos[name][sha] = files
        self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})


def _about(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "oid": hashlib.sha1(content).hexdigest()}
