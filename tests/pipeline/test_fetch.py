"""`mmpd-cache fetch` with the real client of the hub, and a small server that stands in for the hub."""

import http.server
import json
import threading

import pytest
from huggingface_hub import constants

from cache_schema.errors import UserError
from pipeline import weights
from pipeline.fetch import fetch
from tests.boxes import Silent

SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "dinov2"}',
    "model.safetensors": b"weights of the model",
    "pytorch_model.bin": b"the same again",
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
}


ASKED: list[str] = []


class Hub(http.server.BaseHTTPRequestHandler):
    """One model, `some/model`, as the hub serves it: its description, and its files with their hashes."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        ASKED.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/some/model/tree/"):
            self.answer(
                json.dumps([{"type": "file", "path": n, "size": len(b), "oid": f"{i:040x}"} for i, (n, b) in enumerate(FILES.items())])
            )
        elif path.startswith("/api/models/some/model"):
            self.answer(json.dumps({"id": "some/model", "sha": SHA, "siblings": [{"rfilename": n} for n in FILES]}))
        elif path.startswith("/some/model/resolve/") and name in FILES:
            self.answer(FILES[name], name)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def answer(self, body, name=""):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/octet-stream" if name else "application/json")
        if name:
            self.send_header("ETag", f'"{name}-{len(body)}"')
            self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path, hub):
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)


class Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_weights_are_fetched_once_and_used_without_a_network(tmp_path, monkeypatch):
    terminal = Told()
    fetch(["mine=transformers:some/model"], terminal)
    assert "fetching some/model" in terminal.lines[0]
    (folder,) = tmp_path.glob(f"hub/models--some--model/snapshots/{SHA}")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {n: b for n, b in FILES.items() if n != "pytorch_model.bin"}
    assert weights.licence("some/model", folder) == "apache-2.0"
    ASKED.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch(["transformers:some/model"], terminal)
    assert terminal.lines[-1].endswith("some/model is here") and ASKED == []


def test_a_model_that_the_hub_does_not_have_is_named(monkeypatch):
    with pytest.raises(UserError, match=r"no weights of no/such: not in .*downloading failed .*hf download no/such"):
        fetch(["transformers:no/such"], Silent())
