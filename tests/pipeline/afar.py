"""Places elsewhere for tests: an S3 server on loopback that counts, a web server without listings, and a place in memory."""

import base64
import contextlib
import functools
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cache_schema.remote import Absent, Place


class Quiet:
    """A terminal that keeps what it is told."""

    def __init__(self):
        self.said = []
        self.totals = {}

    def say(self, text):
        self.said.append(text)

    def begin(self, totals):
        self.totals = dict(totals)

    def advance(self, product, units):
        pass


# ------------------------------------------------------------------------------------------------------------------ S3


@dataclass
class Counter:
    """A WSGI application around another one, which counts the bytes of objects that go in and out."""

    app: object
    got: dict[str, int] = field(default_factory=dict)
    put: dict[str, int] = field(default_factory=dict)

    def reset(self):
        self.got.clear()
        self.put.clear()

    def __call__(self, environ, start):
        body = self.app(environ, start)
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "PUT":
            self.put[path] = self.put.get(path, 0) + int(
                environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ.get("CONTENT_LENGTH") or 0
            )
        elif environ["REQUEST_METHOD"] == "GET" and path.count("/") > 1:
            body = [b"".join(body)]
            self.got[path] = self.got.get(path, 0) + len(body[0])
        return body


@contextlib.contextmanager
def s3_server(patch) -> Iterator[Counter]:
    """Start moto's S3 server with the bucket `lab`, and let s3fs find it. `patch` is a MonkeyPatch."""
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    counter = Counter(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, counter, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": "mmpd-test-key",
        "AWS_SECRET_ACCESS_KEY": "mmpd-test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        patch.setenv(name, value)
    import fsspec

    # moto keeps its buckets for the whole process, and other tests of it may have had a server, too.
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{server.port}/moto-api/reset", method="POST")).close()
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("lab")
    try:
        yield counter
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def objects(prefix: str) -> dict[str, bytes]:
    """All objects below a prefix such as `lab/a.zarr`, by their places below it."""
    import fsspec

    store = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    return {path.removeprefix(f"{prefix}/"): store.cat_file(path) for path in store.find(prefix)}


def change(path: str, data: bytes) -> None:
    import fsspec

    fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False).pipe_file(path, data)


# ----------------------------------------------------------------------------------------------------------------- web


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves files, without listings, and obeys ranges."""

    def list_directory(self, path):
        self.send_error(403)

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not wanted or not path.is_file():
            return super().send_head()
        size, start = path.stat().st_size, int(wanted[1])
        end = min(int(wanted[2] or size - 1), size - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        file = path.open("rb")
        file.seek(start)
        return file

    def log_message(self, *_):
        self.server.asked.append((self.command, self.path))


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve a folder by HTTP. Yields its address and the list of what is asked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=folder))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -------------------------------------------------------------------------------------------------------------- memory


class Killed(BaseException):
    """The process would be dead now."""


class Memory(Place):
    """A place in memory. After `left` files were written, the process dies."""

    def __init__(self, url="memory://lab/a.zarr"):
        super().__init__(url)
        self.files = {}
        self.left = 10**9
        self.reads = 0

    def read(self, key, most):
        self.reads += 1
        if key not in self.files:
            raise Absent(f"{key} is not there")
        if len(self.files[key]) > most:
            raise self._too_large(key, most)
        return self.files[key]

    def write(self, key, data):
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self.files[key] = data

    def find(self, prefix):
        return {key for key in self.files if key.startswith(f"{prefix}/")}


# ----------------------------------------------------------------------------------------------------------------- hub


class _Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's HTTP interface that its client uses to make a data set or a model, commit files, list them and read them."""

    def _answer(self, data: bytes, status=200, kind="application/json"):
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound" if self.server.made else "RepoNotFound")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        files, place = self.server.files, urllib.parse.unquote(self.path.partition("?")[0])
        place = re.sub("^/api/models/", "/api/datasets/", place)
        file = re.fullmatch(r"(?:/datasets)?/me/shapes/resolve/(?:main|0{40})/(.*)", place)
        if re.fullmatch("/api/datasets/me/shapes(/revision/.*)?", place) and self.server.made:
            siblings = [{"rfilename": name} for name in files]
            said = {"id": "me/shapes", "sha": "0" * 40, "private": self.server.private, "siblings": siblings}
            self._answer(json.dumps(said).encode())
        elif place.startswith(("/api/datasets/me/shapes/tree/main", f"/api/datasets/me/shapes/tree/{'0' * 40}")):
            listed = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()]
            self._answer(*((json.dumps(listed).encode(),) if self.server.made else (b'{"error":"Repository not found"}', 404)))
        elif file and file[1] in files:
            self.server.read.append(file[1])
            self._answer(files[file[1]], kind="application/octet-stream")
        else:
            self._answer(b'{"error":"not found"}', 404)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = {}
        if self.path == "/api/repos/create":
            if not self.server.made:
                asked = json.loads(body)  # clients say it by one word or the other
                self.server.private = asked.get("private", asked.get("visibility") == "private")
            self.server.made = True
            answer = {"url": f"{self.server.address}/datasets/me/shapes"}
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            answer = {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]}
        elif "/commit/" in self.path:
            said = [json.loads(line) for line in body.splitlines()]
            added = {one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in said if one["key"] == "file"}
            self.server.commits.append(list(added))
            self.server.files |= added
            answer = {"commitUrl": f"{self.server.address}/datasets/me/shapes/commit/{'0' * 40}", "commitOid": "0" * 40}
        self._answer(json.dumps(answer).encode())

    def log_message(self, *_):
        if "shapes" in self.path or "repos" in self.path:  # the client also asks for what is nobody's, without a token
            self.server.tokens.add(self.headers.get("Authorization"))


@contextlib.contextmanager
def hub_server(patch):
    """Start a stand-in of the hub with room for `me/shapes`, a data set or a model, and let the real client find it. Yields the server."""
    from huggingface_hub import constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.files, server.commits, server.read, server.tokens, server.made, server.private = {}, [], [], set(), False, False
    patch.setattr(constants, "ENDPOINT", server.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setenv("HF_TOKEN", "hf_of_the_test")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
