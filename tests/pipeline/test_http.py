"""Captions by a model behind an address: what goes wrong there, and what a cache and a training make of the texts."""

import dataclasses
import io
import json
import re
import shutil
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from cache_schema import layout, store, validate
from cache_schema.errors import UserError
from cache_schema.files import journal_file
from cache_schema.lacking import lacking_ids
from cache_schema.spec import TEXT_BYTES, PointSpec, Server, fingerprint
from cache_schema.terminal import duration
from pipeline import building, captioning, describe, estimate, journal, ranking, repair, waits
from pipeline.append import Wanted, append
from pipeline.captioners import catalog as captioners
from pipeline.captioners import http
from pipeline.cli import app
from pipeline.executors import dask as executor
from pipeline.journal import read_journal
from pipeline.retry import retry
from pipeline.sheets import sheet
from pipeline.terminal import Bars, Rest
from pipeline.work import Machine
from tests.boxes import BROKEN, Silent, box_off, contents, write_meshes
from tests.forks import FORKS, local_cluster
from tests.pipeline.chat import Chat, serving
from tests.pipeline.conftest import small
from trainer.data import Data
from trainer.part import DataConfig, Needs

CPU = Machine(workers=1, device="cpu")
GREY = http._GREY


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Nobody waits long between tries."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(http, "LONGEST_WAIT", 0.05)


def asked(chat, name="http", settings=(), **server):
    spec = captioners.asked(f"served={name}", [f"server.address={chat.address}", *settings])
    return dataclasses.replace(spec, server=dataclasses.replace(spec.server, **server))


def pictures(count, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def caption(captioner, images):
    return captioner.caption(images, [f"box#{i}" for i in range(len(images))], ["box"] * len(images))


# ------------------------------------------------------------------------------------------------------ at the beginning


@pytest.mark.parametrize(
    ("chat", "settings", "message"),
    [
        (Chat(), ["model=stub-vl-8b"], "no model 'stub-vl-8b'; did you mean 'stub-vl-7b'.*it has stub-vl-7b"),
        (Chat(models=("one", "two")), [], "which model.*it has one, two"),
        (Chat(key="secret"), [], r"wants a key: .*--set server.key=NAME"),
        (
            Chat(key="secret"),
            ["server.key=MMPD_TEST_KEY"],
            r"refuses the key in MMPD_TEST_KEY: Incorrect API key provided: Bearer \(key\)$",
        ),
        (Chat(), ["server.key=MMPD_NO_KEY"], "variable MMPD_NO_KEY is not set"),
        (Chat(blind=True), [], "does not seem to see pictures: its server counts 12 tokens for a question with a picture and 12 without"),
        (Chat(faults=[(400, {}, {"error": {"message": "stub is not a multimodal model"}})]), [], "not a multimodal model.*see pictures"),
        (
            Chat(faults=[(200, {"Content-Type": "text/html"}, "<html>")]),
            [],
            "no server with OpenAI's chat.*type .*text/html.*ends with /v1",
        ),
        (Chat(faults=[(301, {"Location": "http://there/v1"}, "")]), [], "redirects to http://there/v1"),
        (Chat(), ["server.address=http://me:secret@127.0.0.1/v1"], "must hold no name, password or query"),
        (Chat(), ["server.address=(removed)"], "was taken out when the cache was given away"),
        (Chat(), ["server.address=localhost:8000"], "expected something like http"),
        (Chat(), ["server.address=http://localhost:port/v1"], "'http://localhost:port/v1' is no address"),
        (Chat(), ["server.address=http://localhost/v1é"], "must be written as %XX, got 'http://localhost/v1é'"),
        (Chat(), ["server.address=http://localhost/v 1"], "must be written as %XX"),
        (Chat(), ["server.address=http://a..b/v1"], "'http://a..b/v1' is no address"),
        (Chat(), [f"server.address=http://{'a' * 70}/v1"], "/v1' is no address"),
        (Chat(), ["server.key=MMPD_ODD_KEY"], "MMPD_ODD_KEY holds letters that no key has"),
        (Chat(), ["server.address=http://127.0.0.1:9/v1"], "no answer from the server at http://127.0.0.1:9/v1: Connection refused"),
        (Chat(), ["prompt="], "needs a question"),
        (Chat(faults=[500] * 9), [], r"no answer .*no \(HTTP status 500\). Its own log may say more"),
        (Chat(), ["kinds=haiku"], "the kind 'haiku'; there is: name, paragraph, sentence, tags"),
    ],
)
def test_what_is_wrong_is_said_before_a_build_begins(chat, settings, message, monkeypatch):
    monkeypatch.setenv("MMPD_TEST_KEY", "wrong-key\n")
    monkeypatch.setenv("MMPD_ODD_KEY", "geheim–")
    with serving(chat), pytest.raises(UserError, match=message):
        last = [f"model={chat.models[0]}"] if len(chat.models) == 1 else []
        captioners.load(asked(chat, settings=[*last, *settings]))


def test_the_host_and_the_port_of_an_address():
    for address, host, port in [
        ("http://[::1]/v1", "::1", 80),
        ("https://[2001:db8::1]/v1", "2001:db8::1", 443),
        ("http://[::1]:8000/v1", "::1", 8000),
        ("http://localhost/v1", "localhost", 80),
    ]:
        line = http._Address(Server(address=address))._connection()
        assert (line.host, line.port) == (host, port)


def test_settings_of_a_server_mean_nothing_to_other_captioners():
    with pytest.raises(UserError, match=r"captions.server has no effect with captioner 'template'"):
        captioners.load(captioners.asked("template", ["server.at_once=3"]))
    assert captioners.asked("http", ["temperature=0"]).temperature == 0
    with pytest.raises(UserError, match="temperature"):
        captioners.asked("template", ["temperature=0"])
    with pytest.raises(UserError, match=r"temperature=0 is for a captioner that asks a server, not 'template'"):
        captioners.load(captioners.asked("template", ["temperature=0", "reproducible=false"]))
    with pytest.raises(UserError, match="the kind 'tags'; its texts are of one kind"):
        captioners.load(captioners.asked("template", ["kinds=tags", "samples=1"]))


def test_the_model_is_known_by_the_name_that_its_server_gives_it(monkeypatch):
    monkeypatch.setenv("MMPD_TEST_KEY", "right")
    with serving(Chat(model="stub-vl-7b-2026", key="right")) as chat:
        loaded = captioners.load(asked(chat, key="MMPD_TEST_KEY")).spec
        assert (loaded.model, loaded.weights, loaded.reproducible) == ("stub-vl-7b", "told:stub-vl-7b-2026", False)
        assert "right" not in json.dumps(dataclasses.asdict(loaded))
        elsewhere = dataclasses.replace(loaded, server=Server(address="https://other/v1", at_once=3, price_in=2.0))
        assert fingerprint(elsewhere) == fingerprint(loaded)
        assert fingerprint(dataclasses.replace(loaded, without=("seed",))) != fingerprint(loaded)
        chat.model = "stub-vl-7b-2027"
        with pytest.raises(UserError, match=r"calls its model 'stub-vl-7b-2027', and the captions were begun with 'stub-vl-7b-2026'"):
            captioners.load(loaded)


def test_a_question_says_how_to_sample_and_leaves_out_what_a_server_does_not_take():
    with serving() as chat:
        settings = ["prompt=What {} is this?", "temperature=0.4", "top_p=0.8", "max_tokens=31", "seed=5"]
        captioner = captioners.load(asked(chat, settings=settings))
        caption(captioner, pictures(1))
        body = chat.questions[-1]
        assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("stub-vl-7b", 0.4, 0.8, 31)
        assert body["messages"][0]["content"][1]["text"] == "What box is this?"
        again = captioners.load(asked(chat, settings=settings))
        caption(again, pictures(1))
        assert chat.questions[-1] == body
        with pytest.raises(UserError, match=r"box has no label or name for the place of \{\}"):
            captioner.caption(pictures(1), ["box"], [""])
        chat.faults = [(400, {}, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead."}})]
        newer = captioners.load(asked(chat, settings=["without=seed,top_p"]))
        caption(newer, pictures(1))
        assert not {"seed", "top_p", "max_tokens"} & chat.questions[-1].keys() and chat.questions[-1]["max_completion_tokens"] == 60


# ------------------------------------------------------------------------------------------------------------ on the way


def test_many_questions_wait_at_a_time_on_few_connections():
    with serving() as chat:
        captioner = captioners.load(asked(chat, at_once=5, settings=["samples=2"]))
        chat.questions.clear()
        chat.connections.clear()
        chat.gather = threading.Barrier(5, timeout=300)
        assert all(len(set(texts)) == 2 for texts in caption(captioner, pictures(20)))
        assert len(chat.questions) == 40 and len(chat.connections) <= 5
        assert captioner.used() | {"again": 0} == {
            "questions": 42, "prompt_tokens": 41 * 112 + 12, "completion_tokens": 42 * 8, "again": 0,
        }  # fmt: skip  # two questions were the first ones


@pytest.mark.parametrize(
    ("faults", "again", "timeout"),
    [
        ([(429, {"Retry-After": "0"}, {"error": "later"}), (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "busy")], 2, 300),
        ([500, (502, {}, "<html>Bad gateway</html>"), "drop", "drop"], 3, 300),  # an idle connection may have ended: no failure
        (["slow", "drip"], 2, 2),  # other answers come within a time that is short, but not for a busy machine
        (["", "<think>A box, I think</think>"], 2, 300),
    ],
)
def test_what_may_pass_is_tried_again(faults, again, timeout):
    with serving() as chat:
        chat.pause = 2 * timeout
        captioner = captioners.load(asked(chat, at_once=1, timeout=float(timeout)))
        chat.faults = list(faults)
        captioner._heard -= 1e4  # shapes were drawn in the meantime
        ((text,),) = caption(captioner, pictures(1))
        assert text.startswith("a ") and captioner.used()["again"] == again and not captioner.reasons()


def test_nobody_waits_for_an_answer_that_nobody_needs():
    with serving() as chat:
        captioner = captioners.load(asked(chat, at_once=1))
        chat.faults, asked_before = ["drip"], len(chat.questions)
        pending = captioner.begin(pictures(1), ["box#0"], ["box"])
        while len(chat.questions) == asked_before:
            time.sleep(0.01)
        time.sleep(0.1)  # the answer has begun
        captioner._ended = UserError("it is enough")  # else it asks again
        closing = threading.Thread(target=captioner.server.close, daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()
        with pytest.raises(UserError, match="it is enough"):
            pending.result()


def test_a_server_that_wants_a_rest_gets_it():
    with serving() as chat:
        captioner = captioners.load(asked(chat, at_once=2))
        chat.faults = [(429, {"Retry-After": "1"}, {"error": "later"})]
        begun = time.monotonic()
        caption(captioner, pictures(4))
        assert time.monotonic() - begun >= 0.9
        hasty, begun = captioners.load(asked(chat, at_once=2, patience=0.3)), time.monotonic()
        chat.faults = [(429, {"Retry-After": "3600"}, {"error": "later"})] * 99
        with pytest.raises(UserError, match=r"has not answered for \d+ s: later .*the server asks to wait 3600 s"):
            caption(hasty, pictures(4))
        with pytest.raises(UserError, match=r"no answer .*the server asks to wait 3600 s"):
            captioners.load(asked(chat, patience=0.3))
        assert time.monotonic() - begun < 600
    assert http._seconds("7") == 7 and http._seconds("") == 0 and http._seconds("soon") == 0 and http._seconds("nan") == 0


def whole(**changed):
    choice = {"message": {"content": "a box"}, "finish_reason": "stop"} | changed.pop("choice", {})
    return {"model": "stub-vl-7b", "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}} | changed


OVERLOADED = {"error": {"code": 502, "message": "Provider returned error: overloaded"}}
ODD = [
    (OVERLOADED, "overloaded"),
    ("<html>login</html>", "no JSON object"),
    ('{"model": "stub-vl-7b", "choi', "no JSON object"),
    ("[" * 5000, "no JSON object"),
    ([whole()], "no JSON object"),
    (whole(choices=[]), "without choices"),
    (whole(choices=None), "without choices"),
    (whole(choices={"0": 1}), "without choices"),
    (whole(choices=["hello"]), "without choices"),
    (whole(choice={"message": None}), "without choices"),
    (whole(choice={"message": [1]}), "without choices"),
    (whole(choice={"message": {"content": {"a": 1}}}), "no text"),
    (whole(choice={"message": {"content": 5}}), "no text"),
]


def test_an_odd_answer_is_asked_for_again_and_ends_no_build(monkeypatch):
    monkeypatch.setattr(http, "LONGEST_WAIT", 0.01)
    images = pictures(2)
    with serving() as chat:
        captioner = captioners.load(asked(chat, at_once=1))
        chat.faults = [(200, {}, body) for body, _ in ODD[:4]] + [(200, {"Content-Length": "1000", "Connection": "close"}, "{")]
        (first, _) = caption(captioner, images)
        assert first[0].startswith("a ") and captioner.used()["again"] == 5
        for body, reason in ODD:
            chat.poison = {http._encoded(images[0]): (200, {}, body)}
            (first, second) = caption(captioner, images)
            assert first == [""] and second[0].startswith("a ")
            assert re.search(reason, captioner.reasons()[0])
        chat.faults = [(200, {}, OVERLOADED)] * 9
        with pytest.raises(UserError, match=r"no answer .*overloaded\. Its own log"):
            captioners.load(asked(chat))


@pytest.mark.parametrize("usage", [[], [1], None, 5, {"prompt_tokens": "1"}, {"prompt_tokens": 10**400, "completion_tokens": 1}])
def test_tokens_that_are_not_told_are_not_counted(usage):
    with serving() as chat:
        captioner = captioners.load(asked(chat, at_once=1, price_in=1.0))
        before, chat.faults = captioner.used(), [(200, {}, whole(usage=usage, model=5))]
        assert caption(captioner, pictures(1)) == [["a box"]]
        assert captioner.used() == before | {"questions": 3, "uncounted": 1}


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((400, {}, {"error": {"message": "the picture breaks our rules"}}), "the picture breaks our rules"),
        (500, r"no \(HTTP status 500\), \d times"),
        (429, r"no \(HTTP status 429\), \d times"),
        ("drop", r"closed connection without response, \d times"),
        (
            (200, {}, {"model": "stub-vl-7b", "choices": [{"message": {"content": None, "refusal": "I will not"}}]}),
            "refuses it: I will not",
        ),
    ],
)
def test_a_picture_that_is_refused_has_no_text_and_a_reason(fault, reason, at_once):
    images = pictures(6)
    with serving(Chat(poison={http._encoded(images[2]): fault})) as chat:
        captioner = captioners.load(asked(chat, at_once=at_once, settings=["samples=2"]))
        texts = caption(captioner, images)
        assert [bool(text) for row in texts for text in row] == [True] * 4 + [False] * 2 + [True] * 6
        (said,) = captioner.reasons()
        assert said.startswith("box#2: ") and re.search(reason, said)
        assert captioner.used()["refused"] == 1 and not captioner.reasons()


def test_a_server_that_refuses_everything_ends_a_build():
    images = pictures(40)
    with serving(Chat(poison={http._encoded(image): 413 for image in images})) as chat:
        with pytest.raises(UserError, match=r"gives no text of 1\d pictures, and of 0 it does; at last: no"):
            caption(captioners.load(asked(chat)), images)


def test_a_server_that_changes_its_model_ends_a_build():
    with serving() as chat:
        captioner = captioners.load(asked(chat))
        chat.model = "another"
        with pytest.raises(UserError, match="now answers with the model 'another', and the captions were begun with 'stub-vl-7b'"):
            caption(captioner, pictures(3))


# ---------------------------------------------------------------------------------------------------------------- answers


GOOD = {"tags": "a, b", "sentence": "It is a box.", "paragraph": "It is a box. It is red."}


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"<think>JSON with {{braces}}?</think>Here it is: {json.dumps(GOOD | {'more': 1})} Good?",
        json.dumps(GOOD | {"tags": ["a", "b"]}),
    ],
)
def test_json_is_found(answer):
    said = http._Answer(text=http._spoken(answer, "stop"), ended="stop")
    assert http.parsed(said, ("tags", "sentence", "paragraph")) == list(GOOD.values())


BAD = [
    "no JSON",
    "[1]",
    json.dumps(GOOD)[:-3],
    json.dumps(GOOD | {"tags": ""}),
    json.dumps(GOOD | {"sentence": None}),
    '"text"',
    "{" * 5000,
]


def test_json_that_is_none_is_asked_for_again_and_then_missed():
    with serving() as chat:
        captioner = captioners.load(asked(chat, "http-shape", at_once=1))
        chat.questions.clear()
        chat.faults = BAD[:4]
        ((tags, sentence, paragraph),) = caption(captioner, pictures(1))
        assert sentence.startswith("It is ") and paragraph.endswith("alone.") and tags.count(", ") == 5
        assert len({body["seed"] for body in chat.questions}) == 5  # the same question would get the same answer
        chat.faults = BAD[2:]
        assert caption(captioner, pictures(1)) == [["", "", ""]]
        assert captioner.reasons()[0].startswith("box#0: the answer is no JSON: {{{")


def test_a_model_that_only_thinks_is_told_from_one_that_says_nothing():
    with pytest.raises(http._Malformed, match=r"raise captions.max_tokens"):
        http._spoken("<think>so", "length")
    assert http._spoken([{"type": "text", "text": " a "}, {"type": "text", "text": "b"}], "stop") == "a b"


@settings(max_examples=50)
@given(st.text(max_size=600))
def test_a_text_is_cut_after_a_sentence_or_a_word(text):
    cut, whole = http.shortened(text)
    assert captioners.fit(cut) == cut and len(cut.encode()) <= TEXT_BYTES
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert whole == (cut == line) and line.startswith(cut)


def test_where_a_text_is_cut():
    assert http.shortened("It is red. " * 30) == (" ".join(["It is red."] * 23), False)
    assert http.shortened("word " * 60) == (" ".join(["word"] * 51), False)
    assert http.shortened("x" * 300) == ("x" * TEXT_BYTES, False)


# ------------------------------------------------------------------------------------------------------------- in a cache


def shape_captions(copied, chat, settings=(), **server):
    spec = asked(chat, "http-shape", ["rank_by=starter-resnet", *settings], price_in=2.0, price_out=8.0, **server)
    return captioning.add_captioner(copied, spec, 8, CPU, Silent())


def test_a_sheet_has_the_views_in_order():
    views = np.stack([np.full((32, 24, 3), 10 * i, np.uint8) for i in range(12)])
    whole = sheet(views, 4)
    assert whole.shape == (64, 48, 3)
    assert [whole[y, x, 0] for y in (28, 60) for x in (20, 44)] == [0, 30, 60, 90]
    assert (whole[:16, :12] != 0).any() and sheet(views, 5).shape == (64, 72, 3) and (sheet(views, 5)[40:, 56:] == 0).all()


def test_a_sheet_has_no_more_views_than_a_shape(copied):
    with serving() as chat, pytest.raises(UserError, match=r"captions.sheet: a shape has 4 views, got 5"):
        shape_captions(copied, chat, ["sheet=5"])


def test_three_texts_of_each_shape_are_scored_over_its_views_and_trained_on(copied):
    with serving() as chat:
        record = shape_captions(copied, chat)
        assert len(chat.questions) == 2 + 7
    assert validate.problems(copied) == []
    cache = store.open_cache(copied)
    ok, texts = cache.ok(), layout.texts(cache.column("captions/served/text"))  # [N, 1, 3]
    assert all(tags.count(", ") == 5 and one.startswith("It is") and more.startswith("A ") for tags, one, more in texts[ok, 0])
    images, read = cache.array("image/starter-resnet")[:].astype(float), cache.array("text/served/starter-resnet")[:].astype(float)
    unit = [values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9) for values in (images, read)]
    expected = np.einsum("nve,nke->nkv", *unit).mean(axis=2)[ok]
    np.testing.assert_allclose(cache.column("captions/served/score")[ok, 0], expected, atol=2e-3)
    assert (record.spec.over, record.spec.kinds, record.spec.reproducible) == ("mean", ("tags", "sentence", "paragraph"), False)
    data = Data([cache], DataConfig(captions=("served",), templates=0.0), batch=5, seed=0, needs=Needs(teachers=True))
    batch = data.batch(0)
    rows = [data.row(index)[1] for index in batch.index.tolist()]
    for one, row in zip(batch.text["starter-resnet"].numpy(), rows, strict=True):
        assert any(np.array_equal(one, text) for text in cache.array("text/served/starter-resnet")[row])


def test_three_lengths_of_each_shape_are_asked_for_at_once(copied):
    with serving() as chat:
        record = captioning.add_captioner(copied, asked(chat, "http-lengths"), 8, CPU, Silent())
        words = chat.questions[-1]["messages"][0]["content"][1]["text"]
        assert len(chat.questions) == 2 + 7 and [name in words for name in ('"name"', '"sentence"', '"paragraph"', '"tags"')] == [
            1,
            1,
            1,
            0,
        ]
    cache = store.open_cache(copied)
    texts = layout.texts(cache.column("captions/served/text"))[cache.ok(), 0]
    assert record.spec.kinds == ("name", "sentence", "paragraph")
    assert all(len(name) < len(one) < len(more) for name, one, more in texts) and all(name.split()[1:] == ["box"] for name, _, _ in texts)
    other = dataclasses.replace(record.spec, prompt="Another question.")
    assert fingerprint(other) != fingerprint(record.spec), "captions of another question are others"


def test_scores_over_views():
    views, texts = np.array([[1, 0], [0, 2.0]]), np.array([[3.0, 0], [1, 1], [0, 0]])
    assert ranking.scored_over(views, texts, "first").tolist() == pytest.approx([1, 0.7071, 0])
    assert ranking.scored_over(views, texts, "mean").tolist() == pytest.approx([0.5, 0.7071, 0])
    assert ranking.scored_over(views, texts, "max").tolist() == pytest.approx([1, 0.7071, 0])


def test_what_was_asked_and_refused_is_said(copied):
    cache = store.open_cache(copied)
    first = int(np.flatnonzero(cache.ok())[0])
    unwanted = http._encoded(sheet(cache.array("views/rgb")[first], 4))
    with serving(Chat(poison={unwanted: 400})) as chat:
        shape_captions(copied, chat)
    cache = store.open_cache(copied)
    texts, embedded = layout.texts(cache.column("captions/served/text")), cache.array("text/served/starter-resnet")[:]
    missing = (texts == "").all(axis=(1, 2)) & cache.ok()
    assert np.flatnonzero(missing).tolist() == [first]
    assert not embedded[first].any() and embedded[cache.ok() & ~missing].any(axis=2).all()
    assert (cache.column("captions/served/score")[first] == -1).all()
    assert lacking_ids(cache) == {"captions/served": [cache.ids()[first]]}
    data = Data([cache], DataConfig(captions=("served",), templates=0.0, splits=()), batch=6, seed=0, needs=Needs(teachers=True))
    batch = data.batch(0)
    valid = batch.text_valid["starter-resnet"].tolist()
    assert [data.row(index)[1] == first for index in batch.index.tolist()] == [not one for one in valid] and valid.count(True) >= 5
    made = [event for event in read_journal(copied).events if getattr(event, "asked", None)]
    assert sum(event.asked["questions"] for event in made) == 2 + 6
    assert [event.refused for event in made if getattr(event, "refused", ())] == [(f"{cache.ids()[first]}#0: no",)]
    told = json.loads(CliRunner().invoke(app, ["status", str(copied), "--json"]).stdout)["asked"]["captions/served"]
    assert told["cost"] == pytest.approx((told["prompt_tokens"] * 2 + told["completion_tokens"] * 8) / 1e6) and told["refused"] == 1
    said = CliRunner().invoke(app, ["status", str(copied)], env={"COLUMNS": "300"}).stdout
    assert "8 questions answered" in said and "1 pictures without a text" in said
    said = CliRunner().invoke(app, ["info", str(copied)]).stdout
    assert "3 per shape (tags, sentence, paragraph), from a sheet of 4 views, scored by starter-resnet (mean over the views)" in said
    assert "not reproducible" in said


def test_a_lost_server_leaves_what_is_finished_and_the_same_command_goes_on(copied):
    with serving() as chat:
        port = chat.port

        def text(body, plain=chat.text):
            if len(chat.questions) > 6:  # in the second shard
                chat.faults = ["drop"] * 1000
            return plain(body)

        chat.text = text
        with pytest.raises(UserError, match=r"has not answered for .* What is finished is kept"):
            shape_captions(copied, chat, at_once=1, patience=0.2)
    cache = store.open_cache(copied)
    record = cache.records()["captions/served"]
    assert journal.asked(cache)["captions/served"]["questions"] == 7 and "killed" not in journal.asked(cache)["captions/served"]
    assert not record.complete and 0 not in cache.missing(record) and cache.missing(record)
    before = contents(copied)
    with serving(port=port) as chat:
        shape_captions(copied, chat)
        assert 2 <= len(chat.questions) < 9
    after = contents(copied)
    assert validate.problems(copied) == []
    kept = [name for name in before if name.startswith("captions/served/") and "/c/0/" in name]
    assert kept and all(before[name] == after[name] for name in kept)


def test_a_killed_build_goes_on(copied):
    with serving() as chat:
        reached, plain = threading.Event(), chat.text

        def text(body):
            if len(chat.questions) > 6:
                reached.set()
                time.sleep(30)  # until the kill
            return plain(body)

        chat.text = text
        spec = captioners.asked("served=http-shape", ["rank_by=starter-resnet", f"server.address={chat.address}", "server.at_once=1"])
        process = FORKS.Process(target=captioning.add_captioner, args=(copied, spec, 8, Machine(workers=1, device="cpu"), Silent()))
        process.start()
        assert reached.wait(60)
        process.kill()
        process.join()
        chat.text = plain
        said = CliRunner().invoke(app, ["status", str(copied)], env={"COLUMNS": "300"}).stdout
        assert "captions/served: at least 6 questions answered" in said
        shape_captions(copied, chat)
        told = journal.asked(store.open_cache(copied))["captions/served"]
        assert told["killed"] == 1
    assert validate.problems(copied) == []


def test_a_wait_is_told_once_with_its_length_and_reason(monkeypatch):
    said = []
    rest = (429, {"Retry-After": "7"}, {"error": {"message": "too many requests"}})
    with serving() as chat, waits.heard(lambda why, seconds: said.append((why, round(seconds)))):
        captioner = captioners.load(asked(chat, at_once=8))
        chat.faults = [rest] * 8  # all threads meet it
        monkeypatch.setattr(http.time, "sleep", lambda seconds: setattr(captioner, "_rest", 0.0))
        caption(captioner, pictures(16))
        assert said == [(f"waiting 7 s, as the server at {chat.address} asks: too many requests (HTTP status 429)", 7)]
        captioner._waits = waits.Once()  # as if that wait was over
        chat.faults = [(503, {"Retry-After": "4"}, "short")]
        caption(captioner, pictures(1))
        problem = http._Passing("no answer in 20 s (server.timeout)")
        for silent in (1.0, 20.0, 20.1):  # without Retry-After, once nothing was answered for a while
            captioner._wait(0.5, problem, time.monotonic() - silent)
        captioner._rest_for(http._Passing("full", busy=True, wait=3600.0), time.monotonic())
    (_, (silence, _), (long, seconds)) = said
    assert re.search(r"has not answered for 2\d s: no answer in 20 s .*asked again, until 300 s are over \(server.patience\)", silence)
    assert long.startswith("waiting 300 s") and seconds == 300  # as long as its patience lasts


def test_the_progress_of_captions_shows_a_wait():
    terminal = Console(file=io.StringIO(), width=120)
    with Progress(Rest(), console=terminal, auto_refresh=False) as progress:
        rest = progress.columns[0]
        bars = Bars(progress, rest)
        bars.begin({"shapes": 3, "captions/a": 3})
        bars.wait("waiting 30 s", 30.0)
        shown = [rest(task).plain for task in progress.tasks]
        assert shown == ["", "waits 30 s"] and "waiting 30 s" in terminal.file.getvalue()
        rest.end = 0.0
        assert rest(progress.tasks[1]).plain == ""


def test_where_no_bar_is_seen_lines_tell_what_is_done_and_how_long_the_rest_takes(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("cache_schema.terminal.time.monotonic", lambda: clock[0])
    for seen in (False, True):
        console = Console(file=io.StringIO(), width=200, force_terminal=seen)
        bars = Bars(Progress(console=console, auto_refresh=False), Rest())
        bars.begin({"shapes": 40, "image/a": 80, "text/a": 5})
        bars.advance("text/a", 5)
        for _ in range(30):  # a shape every ten seconds
            clock[0] += 10
            bars.advance("shapes", 1)
            bars.advance("image/a", 2)
        lines = [line for line in console.file.getvalue().splitlines() if "done so far" in line]
        if seen:
            assert not lines
        else:
            assert lines[0] == "done so far: shapes 1/40, image/a 0/80" and 5 < len(lines) < 25
            assert lines[2] == "done so far: shapes 3/40, image/a 4/80; about 13 minutes left"
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    bars = Bars(Progress(console=console, auto_refresh=False), Rest())
    bars.begin({"points": 100, "image/a": 100})
    bars.advance("points", 90)  # they were there
    for product in (*["points"] * 10, *["image/a"] * 20):  # one product after the other, a shard every ten seconds
        clock[0] += 10
        bars.advance(product, 1)
    assert console.file.getvalue().splitlines()[-1] == "done so far: image/a 19/100; about 14 minutes left"
    assert [duration(s) for s in (0, 1, 1800, 3 * 3600, 360_000)] == ["1 second", "1 second", "30 minutes", "3.0 hours", "4.2 days"]


def test_a_command_passes_on_what_workers_wait_for():
    said = []
    with waits.heard(lambda *told: said.append(told)):
        noted = executor._Noted(None)
    for seconds in (7.0, 7.1, 30.0):  # of several workers
        noted.hear((0.0, ["wait", "it is full", seconds]))
    assert said == [("it is full", 7.0), ("it is full", 30.0)]


def test_a_wait_that_recurs_is_told_again_after_some_minutes(monkeypatch):
    said, now = [], [1000.0]
    monkeypatch.setattr(waits.time, "monotonic", lambda: now[0])
    with waits.heard(lambda *told: said.append((now[0], *told))):
        once = waits.Once()
    for seconds in [6.0] * 30:
        once.tell("too many requests", seconds)
        now[0] += 6
    once.tell("too many requests", 60.0)  # longer than before
    now[0] += 60
    once.tell("it starts", 6.0)
    assert said == [
        (1000.0, "too many requests", 6.0),
        (1120.0, "too many requests", 6.0),
        (1180.0, "too many requests", 60.0),
        (1240.0, "it starts", 6.0),
    ]


def test_what_was_asked_before_a_cache_was_pulled_is_not_known(copied):
    with serving() as chat:
        shape_captions(copied, chat)
    journal_file(copied).unlink()
    told = journal.asked(store.open_cache(copied))
    assert told == {"captions/served": {"elsewhere": 3}}
    said = describe.asked_in_words(told["captions/served"])
    assert "at least 0 questions answered, and an unknown number for 3 shards that the journal" in said


@pytest.fixture(scope="module")
def dask():
    """The address of a dask scheduler with one worker in a process of its own."""
    with local_cluster() as cluster:
        yield cluster.scheduler_address


def test_each_command_asks_the_server_where_it_is_now_and_all_that_is_asked_is_added_up(meshes, tmp_path, dask):
    """On a cluster: a build that is stopped and goes on, and `append`. Here: `retry`. Both tell into one journal."""
    machine, here = Machine(workers=1, device="cpu", scheduler=dask), Machine(workers=1, device="cpu")
    source, path, answered = shutil.copytree(meshes, tmp_path / "boxes"), tmp_path / "c.zarr", 0

    def config(chat, **server):
        described = asked(chat, "http-shape", at_once=1, price_in=2.0, **server)
        return small(teachers=(), labels=(), captions=described, points=PointSpec(count=32, blocks=1, ordered=8))

    def build(chat, **server):
        return building.build_cache(str(source), path, config(chat, **server), machine, Silent())

    with serving() as chat:
        plain = chat.text

        def text(body):
            if len(chat.questions) > 6:  # in the second shard
                chat.faults = ["drop"] * 100
            return plain(body)

        chat.text = text
        with pytest.raises(UserError, match="has not answered for"):
            build(chat, patience=0.1)
        answered += 7
    with serving() as chat:  # a build goes on
        cache = build(chat)
        answered += len(chat.questions)
    assert store.open_cache(path).records()["captions/served"].spec.server.address != chat.address
    with serving() as chat:  # two shapes are mended
        for name in BROKEN:
            (source / name).write_text(box_off((1, 2, 3)))
        assert retry(path, "", here, Silent(), servers=[f"address={chat.address}"]).mended == 2
        assert len(chat.questions) >= 2 + 2
        answered += len(chat.questions)
    with serving() as chat:  # others are appended
        more = write_meshes(tmp_path / "more", 3, ())
        for file in list(more.rglob("*.off")):
            file.rename(file.with_name(f"more_{file.name}"))
        append(path, str(more), Wanted(settings=(f"captions.server.address={chat.address}",)), machine, Silent())
        assert len(chat.questions) >= 2 + 3
        answered += len(chat.questions)
    cache = store.open_cache(path)
    assert validate.problems(path) == [] and cache.ok().sum() == 9 + 3
    assert not (layout.texts(cache.column("captions/served/text")[cache.ok()]) == "").any()
    assert any(isinstance(event, journal.Asking) for event in read_journal(path).events)  # a worker tells at once that it begins to ask
    told = journal.asked(cache)["captions/served"]
    assert told["questions"] == answered and told["cost"] == pytest.approx(2e-6 * told["prompt_tokens"])
    assert told.get("killed", 0) <= 1  # a worker may have begun another shard when the first build ended


def test_texts_are_not_expected_to_come_again(copied, meshes):
    with serving() as chat:
        shape_captions(copied, chat)
        broken = copied / "captions/served/text/c/0/0/0/0"
        whole = broken.read_bytes()
        broken.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        count = len(chat.questions)
        with pytest.raises(UserError, match="its server does not write the same texts again"):
            repair.repair(copied, str(meshes), CPU, Silent())
        assert len(chat.questions) == count
        broken.write_bytes(whole)
    assert validate.problems(copied) == []


def test_plan_tells_questions_tokens_and_cost(meshes, tmp_path):
    with serving() as chat:
        spec = asked(chat, "http-shape", price_in=1.0)
        config = small(teachers=(), labels=(), captions=spec)
        found = estimate.estimate(str(meshes), tmp_path / "c.zarr", config, CPU, Silent(), sample=2)
        about = len(chat.questions) - 2 - 2  # two first questions by `estimate`, and two by the build
        assert found.asked["questions"] == pytest.approx(9 / 2 * about)
        assert found.asked["cost"] == pytest.approx(found.asked["prompt_tokens"] / 1e6, rel=0.01)
        words = "\n".join(estimate.in_words(found, tmp_path / "c.zarr"))
        assert re.search(r"about \d+ questions answered, .* at the prices given", words) and found.spent["questions"] == len(chat.questions)
        # All shapes of the sample are asked about at a time, because the build does so, and the rate of its server depends on that.
        assert (found.at_once, "captions may take less time: the sample had 2 questions at a time" in words) == ((2, 4), True)
    assert "Connection refused" in estimate._unanswered(spec)[0] and estimate.questions(config, 9) == 9
    each = dataclasses.replace(config, captions=captioners.asked("http", ["samples=2"]))
    assert estimate.questions(each, 9) == 9 * 4 * 2
    lost = dataclasses.replace(found, asked={"questions": 9.0}, unanswered="no server")
    assert any("9 questions to their server: no server" in line for line in estimate.in_words(lost, tmp_path / "c.zarr"))
