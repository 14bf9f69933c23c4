"""Captions by a model behind an address: any server with OpenAI's chat completions, such as vLLM, SGLang, Ollama, `transformers serve` or a
hosted one (https://platform.openai.com/docs/api-reference/chat).

A question is a prompt and a picture: a stored view, or a sheet with some views of a shape. Many questions wait for an answer at a time.
Where a server is busy, fails or is away, a question is asked again, ever later. If nothing is answered for `server.patience` seconds, the
build ends with an error, and the same command continues it. If the server answers others but refuses one picture, that picture has
empty texts, and the reason is reported.

Nobody here holds the model, so the same question may get another answer tomorrow: `CaptionSpec.reproducible` is False.
"""

import base64
import contextlib
import email.utils
import functools
import http.client
import io
import itertools
import json
import os
import platform
import queue
import random
import re
import socket
import threading
import time
import urllib.parse
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
from PIL import Image

from cache_schema.errors import UserError
from cache_schema.local import REMOVED
from cache_schema.spec import CaptionSpec, Server, did_you_mean
from cache_schema.terminal import one_line, some
from pipeline import waits
from pipeline.captioners.catalog import TOLD, fit, generator, shortened

if TYPE_CHECKING:
    import torch

PACKAGES: Final = ("pillow",)
"""The packages whose versions are recorded with its captions. Pillow encodes the pictures."""

ASKS: Final = True
"""It asks a server (`CaptionSpec.server`)."""

KINDS: Final[dict[str, str]] = {
    "name": "the name of the object in two to five words, with one adjective where it helps",
    "tags": "six to twelve words or short terms for the kind of object, its parts, colours, materials and style, with commas between them",
    "sentence": "one plain sentence of at most twenty words that names the object and says what is special about it",
    "paragraph": "two or three plain sentences, at most 230 letters together, about the object's shape, parts, colours and materials",
}
"""Kinds of texts that one answer can hold (`CaptionSpec.kinds`), with what the model is asked for."""

TRIES: Final = 5
"""Number of times that a question is asked before its picture counts as refused, while the server answers others."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between a failure and the next try: the first time, and at most. They double each time."""
REFUSALS: Final = 16
"""Number of refused pictures after which a build ends, if they are more than the half."""
LARGEST: Final = 2**24
"""Most bytes of an answer that are read."""
PASSING: Final = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529))
"""HTTP statuses that may be gone at the next try."""
BUSY: Final = frozenset((429, 503, 529))
"""HTTP statuses by which a server says that it has too much to do. They say nothing about a picture."""
PICTURE: Final = frozenset((400, 413, 415, 422))
"""HTTP statuses by which a server refuses one question."""


AWAY: Final = "Start it, or say where it is: --set captions.server.address=http://... (server.address for `add-captioner`)"
"""What to do about a server that does not answer."""


def _encoded(image: np.ndarray) -> str:
    """Return a picture [H, W, 3] as a data URL. PNG loses nothing, and at level 1 it takes little time."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


_GREY: Final = _encoded(np.full((224, 224, 3), 190, np.uint8))
"""The picture of a question that only tells whether the server answers."""

# ------------------------------------------------------------------------------------------------------- what goes wrong


class _Refused(Exception):
    """The server does not describe this picture. The text says why."""


class _Passing(Exception):
    """There was no answer. The next try may have one."""

    def __init__(self, why: str, *, away: bool = False, busy: bool = False, wait: float = 0.0) -> None:
        """
        Args:
            why: what happened.
            away: whether the server could not be reached.
            busy: whether the server has too much to do.
            wait: seconds that the server asks to wait.
        """
        super().__init__(why)
        self.away, self.busy, self.wait = away, busy, wait


class _Malformed(_Passing):
    """The answer is not what was asked for. Another one may be."""


# ------------------------------------------------------------------------------------------------------- the connection


class _Address:
    """The address of a server, with a connection for each thread, which stays open between questions."""

    def __init__(self, server: Server) -> None:
        """
        Raises:
            UserError: there is no address, it is not one of a web server, or it holds a secret; or the key is missing.
        """
        given = server.address.strip().rstrip("/")
        try:
            parts = urllib.parse.urlsplit(given)
            port = parts.port
            (parts.hostname or "").encode("idna")  # as connecting does
        except ValueError as error:
            raise UserError(f"server.address: {given!r} is no address: {error}") from None
        if given == REMOVED:
            raise UserError(
                "the address of the server of these captions was taken out when the cache was given away. Say where there is a server with "
                "the same model: --set captions.server.address=http://..."
            )
        if not given:
            raise UserError("the http captioner needs an address: --set server.address=http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UserError(
                "server.address is stored in the cache, so it must hold no name, password or query: give the address alone, and a key as "
                "--set server.key=NAME, where NAME is an environment variable"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"server.address: expected something like http://localhost:8000/v1, got {given!r}")
        if not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
            raise UserError(f"server.address: its path has letters that must be written as %XX, got {given!r}")
        self.given, self.path, self.timeout = given, parts.path, server.timeout
        self.host, self.secure = parts.hostname, parts.scheme == "https"
        self.port = port or (443 if self.secure else 80)  # `http.client` would look for it in an IPv6 address
        self.key = os.environ.get(server.key, "").strip() if server.key else ""
        if not (self.key.isascii() and self.key.isprintable()):
            raise UserError(f"server.key: the environment variable {server.key} holds letters that no key has")
        if server.key and not self.key:
            raise UserError(
                f"server.key: the environment variable {server.key} is not set on {platform.node()}; `export {server.key}=...` with the "
                "server's key"
            )
        self._mine = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """End all connections. Nobody may use them any more. A thread that waits for an answer gets none."""
        for line in list(self._open):
            if line.sock is not None:
                _cut(line.sock)  # closing alone would wait for a thread that reads
            line.close()

    def send(self, method: str, place: str, body: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request. Returns the status, the headers with names in small letters, and the body of the answer.

        Raises:
            TimeoutError: there is no whole answer in `server.timeout` seconds.
            OSError, http.client.HTTPException: there is no answer, or a part of one.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "mmpd"}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        for last in (False, True):
            used = getattr(self._mine, "connection", None)
            line = used or self._connection()
            try:
                end = time.monotonic() + self.timeout
                if line.sock is None:
                    line.connect()
                with _until(end, line.sock):
                    line.request(method, f"{self.path}{place}", body, headers)
                    answer = line.getresponse()
                    data = answer.read(LARGEST)
                if len(data) < LARGEST and answer.length:
                    raise http.client.HTTPException(f"its answer ends after {len(data)} of {len(data) + answer.length} bytes")
                if answer.will_close or len(data) == LARGEST:
                    line.close()
                return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data
            except (OSError, http.client.HTTPException) as error:
                line.close()
                self._open.remove(line)
                self._mine.connection = None
                # A server closes a connection that was idle. The first question after that gets no answer, and that is no failure.
                if last or used is None or not isinstance(error, ConnectionError | http.client.BadStatusLine):
                    raise
        raise AssertionError

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        line: http.client.HTTPConnection = kind(self.host, self.port, timeout=self.timeout)
        self._mine.connection = line
        self._open.append(line)
        return line

    def hidden(self, text: str) -> str:
        """Return what a server says as one line, without the key."""
        return one_line(text.replace(self.key, "(key)") if self.key else text, 400)


def _cut(sock: socket.socket) -> None:
    """End a connection, also while another thread reads from it."""
    with contextlib.suppress(OSError):  # it has ended
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of a TLS socket would take its state from the other thread


@contextlib.contextmanager
def _until(end: float, sock: socket.socket) -> Iterator[None]:
    """Cut a connection at a time, whatever still comes in. The timeout of a socket begins anew with each byte.

    Raises:
        TimeoutError: it was cut, so what was read is not whole.
    """
    timer = threading.Timer(max(end - time.monotonic(), 0.0), _cut, [sock])
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if time.monotonic() >= end:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
    if time.monotonic() >= end:
        raise TimeoutError


_Waiting = queue.SimpleQueue[tuple["Future[list[str]]", Callable[[], list[str]]] | None]
"""Tasks that wait for a thread. None ends the thread that takes it."""


def _work(waiting: _Waiting) -> None:
    """Work on tasks, in a thread. It ends with the process, even while it waits for an answer, unlike those of `concurrent.futures`."""
    while (taken := waiting.get()) is not None:
        future, task = taken
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
        del taken, future, task  # they know the captioner, which goes when nobody needs it


def _let_go(server: _Address, waiting: _Waiting, threads: int) -> None:
    """End the threads of a captioner that nobody needs any more, and its connections."""
    for _ in range(threads):
        waiting.put(None)
    server.close()


# --------------------------------------------------------------------------------------------------------- the captioner


def load(spec: CaptionSpec, *, device: "torch.device | str") -> "Http":
    """Ask the server a first question, to find out what its model is called and whether it sees pictures. `device` has no effect.

    Raises:
        UserError: there is no such server or model, the key is missing or wrong, the model sees no pictures, or the server does not take
            the question. The message says what to do.
    """
    captioner = Http(spec)
    for _ in range(spec.server.at_once):
        threading.Thread(target=_work, args=(captioner.waiting,), daemon=True, name="asking").start()
    return captioner


@dataclass(frozen=True)
class _Answer:
    """What a model has written, and why it ended."""

    text: str
    ended: str
    """`stop`, `length` (of `max_tokens`) or `content_filter`."""


class Pending:
    """Texts that are being asked for."""

    def __init__(self, futures: Sequence["Future[list[str]]"]) -> None:
        self._futures = futures

    def result(self) -> list[list[str]]:
        """Wait for the texts of each picture. Raises a `UserError` if the server is lost."""
        try:
            return [future.result() for future in self._futures]
        except BaseException:
            for future in self._futures:
                future.cancel()
            raise


class Http:
    """A model behind an address; see `catalog.Captioner`."""

    def __init__(self, spec: CaptionSpec) -> None:
        self.server, self.waiting = _Address(spec.server), _Waiting()
        weakref.finalize(self, _let_go, self.server, self.waiting, spec.server.at_once)
        self.ahead = 2 * spec.server.at_once
        """Number of pictures that may wait for their texts, so that no thread is idle."""
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()
        self._reasons: list[str] = []
        self._texted = 0
        """Number of pictures that have texts."""
        self._ended: UserError | None = None
        """Why no more questions are asked."""
        self._heard = time.monotonic()
        """When the last answer came."""
        self._rest = 0.0
        """Time before which nothing is asked, because the server wants a rest."""
        self._waits = waits.Once()
        self._model = ""
        """What the server calls its model; empty before the first good answer."""
        self._limit = "max_tokens"
        """What the server calls the longest answer."""
        self.spec = replace(spec, reproducible=False, model=spec.model or self._only_model())
        self.spec = replace(self.spec, weights=f"{TOLD}{self._introduced()}")

    def caption(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
        return self.begin(images, keys, names).result()

    def begin(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> Pending:
        """Begin to ask for what `caption` returns. Up to `ahead` pictures should be begun before the result of the first is used."""
        if "{}" in self.spec.prompt and (nameless := [key for key, name in zip(keys, names, strict=True) if not name]):
            raise UserError(
                f"{nameless[0]} has no label or name for the place of {{}} in captions.prompt; leave it out, or name the shapes"
            )
        self._ended = None  # whoever asks again may have brought the server back
        futures = list[Future[list[str]]]()
        for image, key, name in zip(images, keys, names, strict=True):
            futures.append(Future())
            self.waiting.put((futures[-1], functools.partial(self._described, image, key, name)))
        return Pending(futures)

    def used(self) -> dict[str, float]:
        """Tell what was asked so far: numbers of `questions` that were answered, of `prompt_tokens` and `completion_tokens`, of
        answers whose tokens the server did not count (`uncounted`), of questions that were asked again (`again`), of pictures that have
        no text because the server refused them (`refused`), of texts that were cut (`cut`), and the `cost`, if prices are known."""
        with self._lock:
            found: dict[str, float] = dict(self._used)
        prices = self.spec.server
        if prices.price_in or prices.price_out:
            tokens = found.get("prompt_tokens", 0) * prices.price_in + found.get("completion_tokens", 0) * prices.price_out
            found["cost"] = round(tokens / 1e6, 6)
        return found

    def reasons(self) -> list[str]:
        """Return why pictures were refused, since the last call."""
        with self._lock:
            found, self._reasons = self._reasons, []
        return found

    # ------------------------------------------------------------------------------------------------- one picture

    def _described(self, image: np.ndarray, key: str, name: str) -> list[str]:
        """Ask for the texts of one picture. Texts that are not there are empty, and come last."""
        prompt, encoded = _asked(self.spec).replace("{}", name), _encoded(image)
        texts: list[str] = []
        try:
            if self.spec.kinds:
                texts = self._answered(prompt, encoded, key, 0, self._several)
            else:
                for sample in range(self.spec.samples):
                    texts.append(self._answered(prompt, encoded, key, sample, self._single))
            with self._lock:
                self._texted += 1
        except _Refused as error:
            with self._lock:
                self._used["refused"] += 1
                self._reasons.append(one_line(f"{key}: {error}"))
                refused, texted = self._used["refused"], self._texted
            if refused >= REFUSALS and refused > texted:
                self._end(
                    f"the server at {self.server.given} gives no text of {refused} pictures, and of {texted} it does; at last: {error}"
                )
        except UserError as error:
            self._ended = self._ended or error
            raise
        return texts + [""] * (self.spec.samples - len(texts))

    def _single(self, answer: _Answer) -> str:
        text = fit(answer.text)
        if not text:
            raise _Malformed("the answer is empty")
        return self._cut(answer.text, ended=answer.ended == "length")

    def _several(self, answer: _Answer) -> list[str]:
        return [self._cut(text) for text in parsed(answer, self.spec.kinds)]

    def _cut(self, text: str, *, ended: bool = False) -> str:
        """Make a text fit into its cell, and count it if it is not whole."""
        fitted, whole = shortened(text)
        if ended or not whole:
            with self._lock:
                self._used["cut"] += 1
        return fitted

    # ----------------------------------------------------------------------------------------------- one question

    def _answered(self, prompt: str, encoded: str, key: str, sample: int, read: Callable[[_Answer], Any]) -> Any:
        """Ask a question until there is an answer.

        Args:
            prompt, encoded: the question, with the picture as a data URL.
            key, sample: what the seed of the model's sampling is made of.
            read: turns the answer into texts. It raises `_Malformed` if it is not what was asked for.

        Raises:
            _Refused: the server does not describe this picture.
            UserError: no question can be answered.
        """
        begun, heard, wait, against = time.monotonic(), self._heard, FIRST_WAIT, 0
        for number in itertools.count(1):
            seed = int(generator(self.spec.seed, key, sample, number).integers(2**31))
            try:
                return read(self._ask(prompt, encoded, seed))
            except _Passing as problem:
                self._rest_for(problem, max(begun, self._heard))
                # A server that has answered another question in the meantime is well, so the failure is this picture's. A busy one answers
                # some questions and not others, so it must answer one right now.
                well = (self._heard > heard and not problem.busy) or (number >= TRIES and self._is_well())
                against, heard = against + (isinstance(problem, _Malformed) or well), self._heard
                if against >= TRIES:
                    raise _Refused(f"{problem}, {number} times") from None
                if (silent := time.monotonic() - max(begun, self._heard)) > self.spec.server.patience:
                    self._end(
                        f"the server at {self.server.given} has not answered for {silent:.0f} s: {problem}. What is finished is kept: "
                        "when it answers again, run the same command again"
                    )
                self._wait(wait, problem, max(begun, self._heard))
                wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError

    def _is_well(self) -> bool:
        """Whether the server answers a question about a grey picture."""
        try:
            self._ask("What is this?", _GREY, 0, most=16)
        except (_Passing, _Refused):
            return False
        return True

    def _rest_for(self, problem: _Passing, since: float) -> None:
        """Let nothing be asked for as long as the server wants, but only until `server.patience` ends, counted from `since`."""
        if problem.wait:
            with self._lock:
                self._rest = max(self._rest, min(time.monotonic() + problem.wait, since + self.spec.server.patience))
                rest = self._rest - time.monotonic()
                self._waits.tell(f"waiting {rest:.0f} s, as the server at {self.server.given} asks: {problem}", rest)

    def _wait(self, seconds: float, problem: _Passing, since: float) -> None:
        """Wait before the next try, for an uneven time, so that not all try at once. If no question was answered since a time, so that
        nothing goes on, say so."""
        seconds *= random.uniform(0.5, 1.0)
        silent, patience = time.monotonic() - since, self.spec.server.patience
        with self._lock:
            self._used["again"] += 1
            if silent >= waits.LONG:
                self._waits.tell(
                    f"the server at {self.server.given} has not answered for {silent:.0f} s: {problem}. It is asked again, until "
                    f"{patience:g} s are over (server.patience)",
                    max(seconds, waits.LONG),
                )
        time.sleep(seconds)

    def _ask(self, prompt: str, encoded: str, seed: int, most: int = 0) -> _Answer:
        """Ask a question once; `most` tokens, or `max_tokens`. An empty `encoded` is no picture. Raises as `_answered`."""
        while (rest := self._rest - time.monotonic()) > 0 and self._ended is None:
            time.sleep(min(rest, 1.0))
        if self._ended is not None:
            raise self._end_reason()
        answer = self._exchange(self._body(prompt, encoded, seed, most or self.spec.max_tokens))
        self._count(answer.get("usage"))
        choices, model = answer.get("choices"), answer.get("model")
        choice = choices[0] if isinstance(choices, list) and choices else None
        said = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(said, dict):
            raise self._odd("an answer without choices")
        self._heard, ended = time.monotonic(), str(choice.get("finish_reason") or "stop")
        known, name = self.spec.weights.removeprefix(TOLD), model if isinstance(model, str) else ""
        if known and name not in ("", known):
            raise UserError(
                f"the server at {self.server.given} now answers with the model {name!r}, and the captions were begun with "
                f"{known!r}: let it serve that one, or remove the captions and begin anew"
            )
        if said.get("refusal") or ended == "content_filter":
            raise _Refused(f"the model refuses it: {self.server.hidden(str(said.get('refusal') or 'content filter'))}")
        self._model = name or self.spec.model
        return _Answer(text=_spoken(said.get("content"), ended), ended=ended)

    def _count(self, usage: Any) -> None:
        """Count an answer, and its tokens if the server tells them."""
        tokens = {name: usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")}
        counted = {name: count for name, count in tokens.items() if isinstance(count, int) and 0 <= count < 2**53}
        with self._lock:
            self._used["questions"] += 1
            self._used.update(counted if len(counted) == 2 else {"uncounted": 1})

    def _body(self, prompt: str, encoded: str, seed: int, most: int) -> dict[str, Any]:
        spec = self.spec
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": encoded}}] if encoded else []
        body: dict[str, Any] = {
            "model": spec.model,
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}],
        }
        body |= {self._limit: most, "temperature": spec.temperature, "top_p": spec.top_p, "seed": seed, "stream": False}
        if spec.kinds:
            body["response_format"] = {"type": "json_object"}
        return {name: value for name, value in body.items() if name not in spec.without}

    def _exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a question, and return the answer as JSON. Raises as `_answered`."""
        try:
            status, headers, data = self.server.send("POST", "/chat/completions", json.dumps(body).encode())
        except TimeoutError:
            raise _Passing(f"no answer in {self.spec.server.timeout:g} s (server.timeout)") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(self.server.hidden(_reason(error)), away=True) from None
        if status == 200:
            answer = _json(data)
            if not isinstance(answer, dict):
                raise self._odd(f"an answer of type {headers.get('content-type', 'unknown')} that is no JSON object")
            if answer.get("error") and not answer.get("choices"):
                raise _Passing(self.server.hidden(_message(data)))
            return answer
        told = self.server.hidden(_message(data) or f"HTTP status {status}")
        if status == 400 and self._limit == "max_tokens" and "max_completion_tokens" in told:
            self._limit = "max_completion_tokens"
            raise _Passing(told)
        if status in PASSING:
            wait = _seconds(headers.get("retry-after", ""))
            long = f"; the server asks to wait {wait:.0f} s" if wait > self.spec.server.patience else ""
            raise _Passing(f"{told} (HTTP status {status}){long}", busy=status in BUSY, wait=wait)
        if status in PICTURE:
            raise _Refused(told)
        raise self._hopeless(status, told, headers)

    # ------------------------------------------------------------------------------------------- what ends a build

    def _end(self, why: str) -> NoReturn:
        """Let no thread ask any more.

        Raises:
            UserError: always, with the first reason.
        """
        with self._lock:
            self._ended = self._ended or UserError(why)
        raise self._end_reason()

    def _end_reason(self) -> UserError:
        """Return why no more questions are asked, as an error that a thread can raise."""
        return UserError(str(self._ended))

    def _away(self, why: str, remedy: str = AWAY) -> UserError:
        return UserError(f"no answer from the server at {self.server.given}: {why}. {remedy}")

    def _foreign(self, got: str) -> UserError:
        return UserError(
            f"what answers at {self.server.given} is no server with OpenAI's chat completions: got {got}. Its address usually ends with /v1"
        )

    def _odd(self, got: str) -> Exception:
        """Return the error for an answer that is none of a chat. A server that has given good ones may do so again."""
        return _Passing(f"the server sent {got}") if self._model else self._foreign(got)

    def _hopeless(self, status: int, told: str, headers: Mapping[str, str]) -> UserError:
        """Explain an answer that any question would get."""
        where, key = self.server.given, self.spec.server.key
        if status in (401, 403):
            if not key:
                return UserError(
                    f"the server at {where} wants a key: {told}. Put it into an environment variable and name that: --set server.key=NAME"
                )
            return UserError(f"the server at {where} refuses the key in {key}: {told}")
        if status in (301, 302, 303, 307, 308):
            return UserError(
                f"{where} redirects to {self.server.hidden(headers.get('location', 'another place'))}: set server.address to that"
            )
        if status in (404, 405):
            models = self._models()
            if models and self.spec.model not in models:
                return UserError(
                    f"the server at {where} has no model {self.spec.model!r}{did_you_mean(self.spec.model, models)}; it has "
                    f"{some(models, 10)}: --set model=NAME"
                )
            return UserError(f"{where}/chat/completions: {told}. Is that the right address? It usually ends with /v1")
        return UserError(f"the server at {where} answers with HTTP status {status}: {told}")

    def _models(self) -> list[str]:
        """Return the names of the models of the server; none if it does not tell.

        Raises:
            UserError: there is no server.
        """
        try:
            status, _, data = self.server.send("GET", "/models")
        except (OSError, http.client.HTTPException) as error:
            raise self._away(_reason(error)) from None
        told = _json(data) if status == 200 else None
        listed = told.get("data") if isinstance(told, dict) else told
        return [str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one] if isinstance(listed, list) else []

    def _only_model(self) -> str:
        """Return the name of the server's model, if it has one.

        Raises:
            UserError: there is no server, or it has several models or does not tell.
        """
        models = self._models()
        if len(models) != 1:
            offered = f"; it has {some(models, 10)}" if models else ""
            raise UserError(f"which model of the server at {self.server.given}? --set model=NAME{offered}")
        return models[0]

    def _introduced(self) -> str:
        """Ask the first question, about a grey picture, and the same without a picture. Returns the name that the server gives its model.

        Raises:
            UserError: see `load`.
        """
        before, begun = self.spec.weights, time.monotonic()
        self.spec = replace(self.spec, weights="")  # `captioners.load` compares it, and says more
        prompt, counts = _asked(self.spec).replace("{}", "object"), list[float]()
        for encoded in [_GREY, *([""] if self.spec.server.sight else [])]:
            counted = self._used["prompt_tokens"]
            self._first(prompt, encoded, begun)
            counts.append(self._used["prompt_tokens"] - counted)
        if self.spec.server.sight and counts[0] and counts[0] <= counts[1]:
            raise UserError(
                f"the model {self.spec.model} at {self.server.given} does not seem to see pictures: its server counts {counts[0]:g} tokens "
                f"for a question with a picture and {counts[1]:g} without. Take one that sees; if it does: --set server.sight=false"
            )
        self.spec = replace(self.spec, weights=before)
        return self._model

    def _first(self, prompt: str, encoded: str, begun: float) -> None:
        """Ask one of the first questions, again if the server is not ready. Raises a `UserError` in all other cases."""
        where = self.server.given
        for number in itertools.count(1):
            try:
                self._ask(prompt, encoded, 0, most=min(16, self.spec.max_tokens))
                return
            except _Malformed:
                return  # it answers; that is enough here
            except _Refused as error:
                raise UserError(
                    f"the server at {where} does not take a question {'with a picture' if encoded else 'of text alone'}: {error}. Does "
                    f"{self.spec.model} see pictures? If it names a parameter that it does not know: --set without=NAME"
                    + ("" if encoded else "; if it wants a picture: --set server.sight=false")
                ) from None
            except _Passing as problem:
                failing = number >= TRIES and not problem.busy
                if problem.away or failing or time.monotonic() - begun > self.spec.server.patience:
                    raise self._away(str(problem), "Its own log may say more" if failing else AWAY) from None
                self._rest_for(problem, begun)
                self._wait(min(FIRST_WAIT * 2**number, LONGEST_WAIT), problem, begun)


# ------------------------------------------------------------------------------------------------- questions and answers


def _asked(spec: CaptionSpec) -> str:
    """Return the question. Several kinds of texts are asked for as JSON.

    Raises:
        UserError: there is nothing to ask.
    """
    if not spec.prompt:
        raise UserError("captions.prompt is empty: the http captioner needs a question, such as --set 'prompt=Describe this object.'")
    if not spec.kinds:
        return spec.prompt
    wanted = "\n".join(f'"{kind}": {KINDS[kind]}' for kind in spec.kinds)
    return f"{spec.prompt}\n\nAnswer with one JSON object and nothing else. Its keys and values, which are texts:\n{wanted}"


def _spoken(content: Any, ended: str) -> str:
    """Return what a model says, without what it thinks before.

    Raises:
        _Malformed: it has said nothing yet, or something that is no text.
    """
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if not isinstance(content, str | None):
        raise _Malformed("the answer is no text")
    text = re.sub(r"^\s*<think>.*?</think>", "", str(content or ""), flags=re.DOTALL)
    if text.lstrip().startswith("<think>") or (not text.strip() and ended == "length"):
        raise _Malformed("the model needs all its tokens to think: raise captions.max_tokens, or turn thinking off")
    return text.strip()


def parsed(answer: _Answer, kinds: Sequence[str]) -> list[str]:
    """Take the texts of each kind out of an answer in JSON, which may lie in a fence or between other words.

    Raises:
        _Malformed: it is not a JSON object, or lacks a text.
    """
    start = answer.text.find("{")
    try:
        said, _ = json.JSONDecoder().raw_decode(answer.text[max(start, 0) :])
    except (ValueError, RecursionError):
        why = "ends after captions.max_tokens" if answer.ended == "length" else "is no JSON"
        raise _Malformed(f"the answer {why}: {one_line(answer.text, 100)}") from None
    texts = []
    for kind in kinds:
        value = said.get(kind) if isinstance(said, dict) else None
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            value = ", ".join(value)
        if not isinstance(value, str) or not fit(value):
            raise _Malformed(f"the answer has no text {kind!r}: {one_line(answer.text, 100)}")
        texts.append(value)
    return texts


def _reason(error: Exception) -> str:
    """Say why there is no connection."""
    return str(getattr(error, "strerror", "") or error or type(error).__name__)


def _json(data: bytes) -> Any:
    """Read JSON; None if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _message(data: bytes) -> str:
    """Return the message of an error of a server, in any of the usual forms."""
    said = _json(data)
    for name in ("error", "detail", "message"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    if isinstance(said, list | dict):
        return json.dumps(said)[:500]
    return str(said) if said else data.decode(errors="replace")[:500]


def _seconds(retry_after: str) -> float:
    """Return how many seconds a server asks to wait: a number or a date (RFC 9110, 10.2.3); 0 if it does not say, and an hour at most."""
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError):
            return 0.0
    return min(max(wait, 0.0), 3600.0) if wait == wait else 0.0
