"""GScore against a local server of both protocols: what is sent, what comes back, and what can go wrong."""

import gzip
import io
import json
import pickle
import re
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gooddrag.errors import BadInput, EditFailed
from gooddrag.metrics.gscore import Protocol, Sample, StandIn, connect, questions, rate, table
from gooddrag.metrics.gscore.answers import tame
from gooddrag.metrics.gscore.cost import forecast
from gooddrag.metrics.gscore.gemini import Gemini
from gooddrag.metrics.gscore.openai_protocol import OpenAIProtocol
from gooddrag.metrics.gscore.patience import Clock, Patient
from gooddrag.metrics.gscore.wire import MOST_BYTES, Key
from tests.rater_server import PROTOCOLS, RaterServer, Reply, failure, honest, raw, text

KEY = "sk-test-SeCrEt-0123456789"
SCORES = {"gooddrag": 9, "dragdiffusion": 6, "sde-drag": 3}
both = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("GOOGLE_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GEMINI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)


@pytest.fixture
def server():
    with RaterServer() as running:
        yield running


class FakeClock:
    """Time that passes only by waiting, and remembers each wait."""

    def __init__(self):
        self.time, self.waits = 0.0, []

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.time += seconds

    @property
    def clock(self):
        return Clock(lambda: self.time, self.sleep)


def grey(value, size=64):
    return Image.new("RGB", (size, size), (value,) * 3)


def sample(task="duck", scores=SCORES):
    return Sample(task, grey(250), {method: grey(20 * score) for method, score in scores.items()})


def rater(server, protocol, clock=None, timeout=5.0, **patience):
    kind = {"gemini": Gemini, "openai": OpenAIProtocol}[protocol]
    bare = kind("m", server.address(protocol), None, timeout)
    return Patient(bare, clock=(clock or FakeClock()).clock, seed=0, **patience)


def rated(server, protocol, repeats=1, folder=None, clock=None, **patience):
    chosen = rater(server, protocol, clock, **patience)
    return table(rate([sample()], chosen, Protocol(repeats=repeats), folder))


def only_problem(found):
    (problem,) = set(found["problem"])
    assert found["score"].isna().all() == bool(problem)
    return problem


# what is sent


@both
def test_scores_find_back_to_their_methods_whatever_the_order(server, protocol):
    found = rated(server, protocol, repeats=8)
    assert len({tuple(asked.greys) for asked in server.requests}) > 3, "the order must change from repeat to repeat"
    for method, score in SCORES.items():
        assert set(found.loc[found["method"] == method, "score"]) == {score}
    shown = found.pivot_table(index="repeat", columns="position", values="score").to_numpy() * 20
    assert shown.tolist() == [asked.greys for asked in server.requests], "positions in the table are those shown"


@both
def test_a_request_tells_nothing_of_methods_tasks_or_files(server, protocol, tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", "gooddrag-secret-method")
    exif = Image.Exif()
    exif[0x0131] = "gooddrag-secret-method"
    grey(120).save(tmp_path / "gooddrag.png", pnginfo=notes, exif=exif, icc_profile=b"gooddrag-secret-method")
    one = Sample("duck-task", grey(250), {"gooddrag": tmp_path / "gooddrag.png", "dragdiffusion": grey(60)})
    list(rate([one], rater(server, protocol), Protocol(repeats=2)))
    for asked in server.requests:
        said = asked.raw + b"".join(asked.pictures)
        for word in (b"gooddrag", b"diffusion", b"duck", str(tmp_path).encode()):
            assert word not in said
        assert [Image.open(io.BytesIO(png)).info for png in asked.pictures] == [{}] * 3


@both
@pytest.mark.parametrize("scale", ["0-10", "1-10"])
def test_a_request_holds_prompt_scale_schema_and_pictures(server, protocol, scale):
    list(rate([sample()], rater(server, protocol), Protocol(scale=scale, repeats=1)))
    (asked,) = server.requests
    body, low = asked.body, int(scale[0])
    if protocol == "gemini":
        schema = body["generationConfig"]["responseJsonSchema"]
        prompt = body["contents"][0]["parts"][0]["text"]
        assert asked.headers["x-goog-api-key"] == KEY
        assert KEY not in asked.path
    else:
        schema = body["response_format"]["json_schema"]["schema"]
        prompt = body["messages"][0]["content"][0]["text"]
        assert asked.headers["authorization"] == f"Bearer {KEY}"
    rating = schema["properties"]["ratings"]["items"]["properties"]
    assert rating["version"]["enum"] == ["A", "B", "C"]
    assert (rating["score"]["minimum"], rating["score"]["maximum"]) == (low, 10)
    assert f"from {low} to 10" in prompt
    assert len(asked.pictures) == 4
    assert np.asarray(Image.open(io.BytesIO(asked.pictures[0]))).tolist() == np.asarray(grey(250)).tolist()


def test_the_order_hangs_on_seed_pictures_and_repeat_but_not_on_names():
    def orders(scores, seed=0, original=250):
        edits = {method: grey(20 * score) for method, score in scores.items()}
        asked = questions(Sample("t", grey(original), edits), Protocol(seed=seed, repeats=6))
        return [[scores[method] for method in q.methods] for q in asked]

    renamed = {"x": 3, "y": 6, "z": 9}
    assert orders(SCORES) == orders(SCORES) == orders(renamed)
    assert orders(SCORES) != orders(SCORES, seed=1)
    assert orders(SCORES) != orders(SCORES, original=240)


def test_every_order_comes_up_about_equally_often():
    orders = [q.methods for q in questions(sample(), Protocol(repeats=600))]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert 60 < min(counts) <= max(counts) < 140


def test_large_pictures_are_scaled_down_before_they_are_sent():
    wide = Sample("t", Image.new("RGB", (3000, 1500)), {"a": grey(0)})
    (question,) = questions(wide, Protocol(repeats=1, longest_side=600))
    assert question.sizes == ((600, 300), (64, 64))


# patience


@both
def test_failures_that_pass_are_tried_again_with_pauses_that_double(server, protocol):
    server.script, clock = [failure(500), failure(503), failure(502)], FakeClock()
    found = rated(server, protocol, clock=clock)
    assert only_problem(found) == ""
    assert len(server.requests) == 4
    for k, pause in enumerate(clock.waits):
        assert 0.5 * 2**k <= pause <= 2**k
    assert len(set(np.round(np.array(clock.waits) / [1, 2, 4], 6))) == 3, "the pauses must vary"


@both
@pytest.mark.parametrize("reply", [failure(500), failure(429), raw(b"{}", 408), raw(b"<html>", 502)])
def test_the_clients_own_retries_are_off(server, protocol, reply):
    server.otherwise = reply
    assert only_problem(rated(server, protocol, attempts=1)) == "failed"
    assert len(server.requests) == 1


@both
def test_the_clients_own_retries_are_off_where_no_answer_comes(server, protocol):
    def silent(_):
        server.over.wait(10)
        return Reply(500)

    server.otherwise = silent
    found = rated(server, protocol, attempts=1, timeout=0.3)
    assert "no answer came in time" in found["detail"][0]
    assert len(server.requests) == 1


def in_a_minute():
    return format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)


@both
@pytest.mark.parametrize(
    ("limited", "least", "most"),
    [
        (lambda: failure(429, retry_after="40"), 40, 41),
        (lambda: failure(503, retry_after=in_a_minute()), 57, 62),
        (lambda: raw(b'{"error": {"details": [{"retryDelay": "34.5s"}]}}', 429), 34.5, 35),
        (lambda: failure(429, retry_after="nan"), 0.5, 1),
        (lambda: failure(429, retry_after="inf"), 0.5, 1),
        (lambda: failure(429, retry_after="-7"), 0.5, 1),
        (lambda: failure(429, retry_after="soon"), 0.5, 1),
    ],
)
def test_a_rate_limit_is_waited_for_as_long_as_the_server_asks(server, protocol, limited, least, most):
    server.script, clock = [limited()], FakeClock()
    assert only_problem(rated(server, protocol, clock=clock)) == ""
    (wait,) = clock.waits
    assert least <= wait <= most


@both
def test_a_server_that_asks_for_an_hour_ends_the_run(server, protocol):
    server.script, clock = [honest, failure(429, retry_after="3600")], FakeClock()
    with pytest.raises(EditFailed, match="60 minutes"):
        rated(server, protocol, repeats=2, clock=clock)
    assert clock.waits == []


def test_requests_are_spread_over_the_minute_and_repeated_ones_count(server):
    server.script, clock = [honest, failure(500)], FakeClock()
    rated(server, "openai", repeats=3, clock=clock, per_minute=2)
    assert len(server.requests) == 4
    assert clock.time == pytest.approx(3 * 30)


@both
def test_a_server_that_never_answers_is_given_up(server, protocol):
    def silent(_):
        server.over.wait(10)
        return Reply(500)

    server.script, clock = [silent], FakeClock()
    assert only_problem(rated(server, protocol, clock=clock, timeout=0.3)) == ""
    assert len(server.requests) == 2


@both
def test_an_answer_that_drips_is_given_up_although_something_always_comes(server, protocol):
    def drip(out):
        while not server.over.wait(0.02):
            out.write(b" ")
            out.flush()

    server.script = [lambda _: Reply(stream=drip)]
    assert only_problem(rated(server, protocol, timeout=0.3)) == ""
    assert len(server.requests) == 2


def test_five_failures_in_a_row_end_the_run(server):
    server.script = [honest] + 20 * [failure(400, "no pictures here")]
    with pytest.raises(EditFailed, match=r"5 requests in a row failed.*no pictures here"):
        rated(server, "openai", repeats=10)
    assert len(server.requests) == 6


# answers that are no good


def fewer(asked):
    return json.dumps({"ratings": json.loads(asked.ratings())["ratings"][:2]})


@both
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("I'd rather talk about the weather.", "unparsable"),
        ("", "unparsable"),
        ("<script>alert(1)</script>", "unparsable"),
        ("[" * 15_000, "unparsable"),
        ('{"ratings": ' * 1_000, "unparsable"),
        (lambda asked: asked.ratings()[:-9], "unparsable"),
        (lambda asked: asked.ratings(score="9"), "unparsable"),
        (lambda asked: asked.ratings(score=True), "unparsable"),
        (lambda asked: asked.ratings(score=None), "unparsable"),
        (lambda asked: asked.ratings(score=float("nan")), "unparsable"),
        (lambda asked: asked.ratings(score=float("inf")), "unparsable"),
        (lambda asked: asked.ratings(reason={"a": 1}), "unparsable"),
        (lambda asked: asked.ratings(run="rm -rf /"), "unparsable"),
        (lambda asked: asked.ratings(version="A"), "wrong number"),
        (fewer, "wrong number"),
        ('{"ratings": []}', "wrong number"),
        (lambda asked: asked.ratings(score=10.5), "out of range"),
        (lambda asked: asked.ratings(score=-1), "out of range"),
        (lambda asked: asked.ratings(score=1e308), "out of range"),
        (lambda asked: asked.ratings(reason="very " * 10_000), "too long"),
        (lambda asked: f"```json\n{asked.ratings()}\n```", ""),
        (lambda asked: asked.ratings(score=0), ""),
        (lambda asked: asked.ratings(score=10), ""),
    ],
)
def test_answers_are_counted_by_what_is_wrong_with_them(server, protocol, content, problem):
    server.otherwise = text(content)
    found = rated(server, protocol)
    assert only_problem(found) == problem
    assert len(found) == 3, "every edit has its row, scored or not"
    assert len(server.requests) == 1, "asking again until an answer fits would choose among answers"


@pytest.mark.parametrize(
    ("protocol", "reply", "problem"),
    [
        ("gemini", text("{", "MAX_TOKENS"), "truncated"),
        ("gemini", text("", "SAFETY"), "refused"),
        ("gemini", text("", "A_REASON_OF_TOMORROW"), "refused"),
        ("gemini", raw(b'{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}'), "refused"),
        ("openai", text("{", "length"), "truncated"),
        ("openai", text("", "content_filter"), "refused"),
        ("openai", lambda asked: Reply(body=asked.envelope("", refusal="I can't judge people.")), "refused"),
    ],
)
def test_refused_and_truncated_answers_are_told_apart(server, protocol, reply, problem):
    server.otherwise = reply
    assert only_problem(rated(server, protocol)) == problem


@both
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe\x00",
        b"[" * 400_000,
        b'{"a":' * 200_000,
        b'{"choices": "x", "candidates": "x"}',
        b'{"choices": [], "candidates": [7]}',
        b'{"choices": [{"message": 7}], "candidates": [{"content": 7}]}',
        b'{"choices": [{"message": {"content": {"a": 1}}}], "candidates": [{"content": {"parts": 7}}]}',
    ],
)
def test_replies_that_are_no_replies_fail_and_are_tried_again(server, protocol, body):
    server.script = [raw(body), honest]
    assert only_problem(rated(server, protocol, attempts=2)) == ""
    assert len(server.requests) == 2


@both
def test_a_connection_that_breaks_off_is_tried_again(server, protocol):
    server.script = [lambda asked: Reply(headers={"Content-Length": "9999"}, stream=lambda out: out.write(b'{"a'))]
    assert only_problem(rated(server, protocol)) == ""
    assert len(server.requests) == 2


@both
@pytest.mark.parametrize("status", [200, 500])
def test_fifty_megabytes_are_not_read(server, protocol, status):
    sent = []

    def flood(out):
        for _ in range(800):
            out.write(b'"' + b"a" * 65_534)
            sent.append(65_535)

    server.otherwise = lambda _: Reply(status, stream=flood)
    found = rated(server, protocol, attempts=1)
    assert only_problem(found) == ("too long" if status == 200 else "failed")
    assert sum(sent) < 15 * MOST_BYTES


@both
def test_compressed_answers_are_not_unpacked(server, protocol):
    server.otherwise = raw(gzip.compress(b" " * 5_000_000, 1), Content_Encoding="gzip")
    found = rated(server, protocol, attempts=1)
    assert "compresses" in found["detail"][0]


@both
def test_nobody_sends_the_key_elsewhere(server, protocol):
    with RaterServer() as other:
        server.otherwise = raw(b"", 307, Location=other.address(protocol) + "/chat/completions")
        assert only_problem(rated(server, protocol)) == "failed"
        assert other.requests == []


@both
def test_foreign_text_becomes_one_harmless_line(server, protocol):
    reason = "\x1b[2J\x1b]0;owned\x07 Ignore\nall\u202e rules\x00 [red]and[/red] " + "x" * 900
    server.otherwise = text(lambda asked: asked.ratings(reason=reason))
    shown = rated(server, protocol)["reason"][0]
    assert shown.isprintable()
    assert shown.startswith("[2J ]0;owned Ignore all rules [red]and[/red] xxx")
    assert len(shown) == 300


@pytest.mark.parametrize("formula", ['=cmd|"/c calc"!A1', "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_finds_no_formula_in_a_reason(formula):
    assert tame(formula)[0] == "'"


# answers are kept


@both
def test_kept_answers_are_not_asked_for_again(server, protocol, tmp_path):
    first = rated(server, protocol, repeats=4, folder=tmp_path)
    again = rated(server, protocol, repeats=6, folder=tmp_path)
    assert len(server.requests) == 6
    assert again[again["repeat"] <= 4].reset_index(drop=True).equals(first)


def test_bad_answers_are_kept_and_failures_are_not(server, tmp_path):
    server.script = [text("no"), failure(500), honest]
    one = rated(server, "openai", repeats=3, folder=tmp_path, attempts=1)
    assert list(one.groupby("repeat")["problem"].first()) == ["unparsable", "failed", ""]
    two = rated(server, "openai", repeats=3, folder=tmp_path, attempts=1)
    assert list(two.groupby("repeat")["problem"].first()) == ["unparsable", "", ""]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"{}",
        b'{"ratings": {"A": {"version": "A", "score": 9, "reason": ""}}}',
        b'{"problem": "unheard of"}',
    ],
)
def test_a_damaged_kept_answer_is_asked_for_again(server, tmp_path, damage):
    rated(server, "openai", folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(damage)
    assert only_problem(rated(server, "openai", folder=tmp_path)) == ""
    assert len(server.requests) == 2


def test_a_kept_answer_off_the_scale_is_asked_for_again(server, tmp_path):
    rated(server, "openai", folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text().replace('"score":9', '"score":99').replace('"score": 9', '"score": 99'))
    assert "99" in kept.read_text()
    assert rated(server, "openai", folder=tmp_path)["score"].max() == 9


@pytest.mark.parametrize(
    "change", [{"repeats": 2}, {"scale": "1-10"}, {"seed": 5}, {"longest_side": 64}, {"model": "n"}, {"picture": 60}]
)
def test_the_kept_answers_name_hangs_on_all_that_matters(change):
    def key(model="m", picture=120, **settings):
        edits = {"a": grey(picture), "b": grey(200), "c": grey(220), "d": grey(240)}
        big = Sample("t", grey(250, 128), edits)
        return [q.key(f"openai:{model}") for q in questions(big, Protocol(**{"repeats": 1} | settings))][-1]

    assert key() == key()
    assert key(**change) != key()


def test_an_interrupted_run_keeps_what_it_had(server, tmp_path):
    stream = rate([sample()], rater(server, "openai"), Protocol(repeats=9), tmp_path)
    next(stream), next(stream)
    stream.close()
    assert len(server.requests) == len(list(tmp_path.iterdir())) == 2


def test_several_requests_at_a_time_give_the_same_table(server):
    chosen, protocol = rater(server, "openai"), Protocol(repeats=8)
    samples = [sample(), sample("goose", {"a": 1, "b": 2})]
    assert table(rate(samples, chosen, protocol, parallel=4)).equals(table(rate(samples, chosen, protocol)))


# keys


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_key_that_the_server_echoes_in_an_error_is_taken_out(server, protocol, status):
    server.otherwise = failure(status, f"bad key {KEY}")
    if status in (401, 403, 404):
        with pytest.raises(BadInput) as error:
            rated(server, protocol, attempts=1)
        said = "".join(traceback.format_exception(error.value))
    else:
        said = rated(server, protocol, attempts=1)["detail"][0]
    assert "[key]" in said
    assert KEY not in said


@both
@pytest.mark.parametrize("spell", [str, lambda key: "".join(rf"\u{ord(c):04x}" for c in key)])
@pytest.mark.parametrize("fits", [True, False])
def test_a_key_that_the_model_echoes_is_neither_kept_nor_shown(server, protocol, tmp_path, spell, fits):
    server.otherwise = text(
        lambda asked: asked.ratings(reason="KEY")[: None if fits else -1].replace("KEY", spell(KEY))
    )
    found = rated(server, protocol, folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    for said in (found.to_csv(), kept.read_text()):
        assert "[key]" in said
        assert KEY not in said
        assert KEY not in re.sub(r"\\+u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), said)


def test_a_key_shows_itself_to_nobody(monkeypatch):
    key = Key("OPENAI_API_KEY", needed=True)
    assert KEY not in repr(key) + str(key) + repr(vars(connect("openai", "m")))
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize(("kind", "name"), [("gemini", "GEMINI_API_KEY"), ("openai", "OPENAI_API_KEY")])
def test_a_missing_key_is_one_sentence(monkeypatch, kind, name):
    monkeypatch.setenv(name, " ")
    with pytest.raises(BadInput, match=f"key for this rater is missing.*{name}"):
        connect(kind, "m")


def test_a_local_server_needs_no_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert only_problem(rated(server, "openai")) == ""


@both
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ftp://x", "address is none"),
        ("localhost:8000", "address is none"),
        ("https://me:secret@example.com/v1", "holds a name, a password"),
        ("https://example.com/v1?key=secret", "holds a name, a password"),
        ("http://example.com/v1", "unencrypted"),
    ],
)
def test_addresses_that_would_give_the_key_away_are_refused(protocol, address, sentence):
    with pytest.raises(BadInput, match=sentence) as error:
        connect(protocol, "m", address)
    assert "secret" not in str(error.value)


# choosing a rater, and what it costs


def test_unknown_raters_and_missing_models_are_refused():
    with pytest.raises(BadInput, match="no rater 'oracle'"):
        connect("oracle")
    with pytest.raises(BadInput, match="needs a model"):
        connect("gemini")


@pytest.mark.parametrize(("kind", "package"), [("gemini", "google"), ("openai", "openai"), ("openai", "tenacity")])
def test_a_missing_package_is_one_sentence(monkeypatch, kind, package):
    for name in ("gemini", "openai_protocol", "patience", "wire"):
        monkeypatch.delitem(__import__("sys").modules, f"gooddrag.metrics.gscore.{name}", raising=False)
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(BadInput, match=r"missing, which raters need: get it with pip install 'gooddrag\[gscore\]'"):
        connect(kind, "m")


def test_the_stand_in_is_repeatable_and_likes_what_changed_little():
    one = Sample("t", grey(200), {"little": grey(190), "much": grey(150)})
    found = [table(rate([one], StandIn(), Protocol(repeats=5))) for _ in range(2)]
    assert found[0].equals(found[1])
    means = found[0].groupby("method")["score"].mean()
    assert means["little"] > means["much"] + 3


def test_a_forecast_counts_what_is_not_known_by_the_published_rules(server, tmp_path):
    chosen, protocol = rater(server, "openai"), Protocol(repeats=4)
    large = Sample("t", Image.new("RGB", (1024, 1024)), {"a": grey(100)})
    before = forecast([large], chosen, protocol, tmp_path)
    for _ in zip(range(3), rate([large], chosen, protocol, tmp_path), strict=False):
        pass
    after = forecast([large], chosen, protocol, tmp_path)
    assert (before.requests, before.known, after.requests, after.known) == (4, 0, 1, 3)
    pictures = 85 + 170 * 4 + 85 + 170  # the published example: 1024×1024 costs 765
    assert pictures + 200 < before.input_tokens / 4 < pictures + 500
    assert before.price(2.0, 10.0)[0] == pytest.approx((2 * before.input_tokens + 10 * before.output_tokens) / 1e6)
    assert before.price(0, 1)[1] == pytest.approx(4 * 8192 / 1e6)


def test_tokens_used_are_those_that_the_provider_counts(server):
    for protocol in PROTOCOLS:
        (answer,) = rate([sample()], rater(server, protocol), Protocol(repeats=1))
        assert (answer.outcome.input_tokens, answer.outcome.output_tokens) == (1000, 57)


def test_a_task_without_edits_is_refused():
    with pytest.raises(BadInput, match="has 0 edits"):
        Sample("t", grey(0), {})


def test_a_picture_that_is_none_is_one_sentence(server, tmp_path):
    Path(tmp_path, "x.png").write_bytes(b"!")
    with pytest.raises(BadInput, match="not a picture"):
        list(rate([Sample("t", grey(0), {"a": tmp_path / "x.png"})], rater(server, "openai")))
    assert server.requests == []
