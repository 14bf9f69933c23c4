"""A server on this machine that answers like those with OpenAI's chat completions, in every way that a test asks for."""

import contextlib
import hashlib
import http.server
import json
import threading
import time
from dataclasses import dataclass, field

WORDS = "red green small tall round flat".split()


@dataclass
class Chat:
    """What the server does, and what it was asked."""

    model: str = "stub-vl-7b"
    models: tuple[str, ...] = ("stub-vl-7b",)
    key: str = ""
    blind: bool = False
    """Whether it counts no tokens for a picture."""
    faults: list = field(default_factory=list)
    """What happens to the next questions: a status, (status, headers, body), `drop` (the connection ends), `slow` (it rests first), `drip`
    (byte after byte for ever), or a text that is the answer."""
    pause: float = 1.0
    """Seconds for which it rests before an answer that is `slow`."""
    poison: dict = field(default_factory=dict)
    """Pictures (data URLs) that always meet one of these faults."""
    gather: threading.Barrier | None = None
    """Where questions wait for each other, so that a test knows that so many were asked at a time."""
    questions: list = field(default_factory=list)
    """Bodies of the questions that came."""
    connections: set = field(default_factory=set)
    port: int = 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def text(self, body):
        """Words that depend on the picture and the seed."""
        digest = hashlib.sha256(json.dumps([self.picture(body), body.get("seed")]).encode()).digest()
        words = " ".join(WORDS[digest[i] % len(WORDS)] for i in range(6))
        if "response_format" not in body:
            return f"a {words} box"
        return json.dumps(
            {
                "name": f"{words.split()[0]} box",
                "tags": words.split(),
                "sentence": f"It is {words}.",
                "paragraph": f"A {words} box. It stands alone.",
            }
        )

    @staticmethod
    def picture(body):
        return next((part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"), "")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(200, {}, {"data": [{"id": name} for name in self.server.chat.models]})

    def do_POST(self):
        chat = self.server.chat
        chat.connections.add(self.client_address)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat.questions.append(body)
        if chat.gather is not None:
            chat.gather.wait()
        if chat.key and self.headers.get("Authorization") != f"Bearer {chat.key}":
            return self.reply(401, {}, {"error": {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}})
        if body["model"] not in chat.models:
            return self.reply(404, {}, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        fault = chat.poison.get(chat.picture(body)) or (chat.faults.pop(0) if chat.faults else None)
        if fault == "drop":
            self.close_connection = True
            return None
        if fault == "slow":
            time.sleep(chat.pause)
        if fault == "drip":
            return self.drip()
        if isinstance(fault, int):
            return self.reply(fault, {}, {"error": "no"})
        if isinstance(fault, tuple):
            return self.reply(*fault)
        text = fault if isinstance(fault, str) and fault != "slow" else chat.text(body)
        counted = 12 + (0 if chat.blind or not chat.picture(body) else 100)
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": counted, "completion_tokens": len(text.split())}
        self.reply(200, {}, {"model": chat.model, "choices": [choice], "usage": usage})
        return None

    def drip(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                self.wfile.write(b" ")
                time.sleep(0.02)

    def reply(self, status, headers, body):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Length": len(data), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def serving(chat=None, port=0):
    """Serve until the end of the block."""
    chat = chat or Chat()
    server = _Server(("127.0.0.1", port), _Handler)
    server.chat, chat.port = chat, server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def always():
    """The address of one server for all tests of a process that only need answers."""
    if not _ALWAYS:
        _ALWAYS.append(serving())
        _ALWAYS.append(_ALWAYS[0].__enter__())
    return _ALWAYS[1].address


_ALWAYS: list = []
