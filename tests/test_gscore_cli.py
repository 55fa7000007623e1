"""`gooddrag gscore` and `gooddrag agreement` as people meet them."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from gooddrag import cli
from gooddrag.errors import BadInput
from gooddrag.metrics.gscore.samples import read_samples
from tests.rater_server import RaterServer, Reply, failure, honest, text

KEY = "sk-test-SeCrEt-0123456789"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    for method, score in {"original": 12, "gooddrag": 9, "sde-drag": 3}.items():
        save(Path("duck", f"{method}.png"), 20 * score)


@pytest.fixture
def server():
    with RaterServer() as running:
        yield running


@pytest.fixture
def run(monkeypatch, capsys):
    """Call `gooddrag …` in this process; returns exit code, standard output and error output."""

    def call(*arguments, answer=""):
        monkeypatch.setattr(sys, "argv", ["gooddrag", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (value,) * 3).save(path)


def asking(server, protocol="openai", **options):
    given = {"rater": protocol, "model": "m", "base_url": server.address(protocol), "out": "out"} | options
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize("protocol", ["gemini", "openai"])
def test_a_folder_of_pictures_gives_ratings_and_a_summary(run, server, protocol):
    code, out, err = run("gscore", "duck", "--yes", *asking(server, protocol, repeats=3))
    assert code == 0, err
    assert "3 request(s) to send, 0 answer(s) already known" in out
    assert "Estimate" in out
    assert "position" in err
    ratings = pd.read_csv("out/ratings.csv")
    assert ratings.groupby("method")["score"].mean().to_dict() == {"gooddrag": 9, "sde-drag": 3}
    assert ratings.drop(columns=["reason", "problem", "detail"]).equals(
        pd.read_parquet("out/ratings.parquet").drop(columns=["reason", "problem", "detail"])
    )
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["gscore"]["gooddrag"]["value"] == 9
    assert (summary["input_tokens"], summary["output_tokens"]) == (3000, 171)


def test_a_dry_run_sends_and_writes_nothing(run, server):
    prices = {"price_in": 2, "price_out": 10}
    code, out, _ = run("gscore", "duck", "--dry-run", *asking(server, **prices))
    assert code == 0
    assert "10 request(s)" in out
    assert "At your prices about" in out
    assert server.requests == []
    assert not Path("out").exists()


@pytest.mark.parametrize(("answer", "sent"), [("n\n", 0), ("", 0), ("\n", 0), ("y\n", 10)])
def test_nothing_is_sent_without_consent(run, server, answer, sent):
    code, _, err = run("gscore", "duck", *asking(server), answer=answer)
    assert len(server.requests) == sent
    assert code == (0 if sent else 1)
    assert sent or "Nothing was sent" in err


def test_one_picture_can_be_named_by_its_files(run, server):
    edits = ["--original", "duck/original.png", "--edit", "a=duck/gooddrag.png", "--edit", "b=duck/sde-drag.png"]
    code, _, err = run("gscore", *edits, "--yes", *asking(server, repeats=1))
    assert code == 0, err
    assert pd.read_csv("out/ratings.csv").set_index("method")["score"].to_dict() == {"a": 9, "b": 3}


def test_the_stand_in_needs_neither_key_nor_consent(run, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("GEMINI_API_KEY")
    code, out, err = run("gscore", "duck", "--rater", "stand-in")
    assert code == 0, err
    assert Path("runs/gscore/summary.json").exists()
    assert "tokens" not in out


def test_answers_that_are_no_good_are_reported_by_kind(run, server):
    server.script = [text("no"), honest, text("", "length")]
    code, _, err = run("gscore", "duck", "--yes", *asking(server, repeats=3))
    assert code == 0
    assert "1 of 3 answer(s): unparsable" in err
    assert "1 of 3 answer(s): truncated" in err
    assert json.loads(Path("out/summary.json").read_text())["problems"] == {"unparsable": 1, "truncated": 1}


def test_failed_requests_end_with_1_and_the_next_run_sends_only_those(run, server):
    server.script = [honest, failure(400), honest]
    code, _, err = run("gscore", "duck", "--yes", *asking(server, repeats=3))
    assert code == 1
    assert "1 request(s) failed: run this again" in err
    assert len(pd.read_csv("out/ratings.csv")) == 6
    code, out, _ = run("gscore", "duck", "--yes", *asking(server, repeats=3))
    assert code == 0
    assert "1 request(s) to send, 2 answer(s) already known" in out
    assert len(server.requests) == 4


def test_a_run_without_any_usable_answer_ends_with_1(run, server):
    server.otherwise = text("no")
    code, _, err = run("gscore", "duck", "--yes", *asking(server, repeats=2))
    assert code == 1
    assert "No answer was usable" in err


def test_the_key_is_in_no_file_and_no_output_whatever_the_server_sends_back(run, server):
    echoes = [failure(500, KEY), failure(400, KEY), text(KEY), lambda a: Reply(body=a.envelope("", refusal=KEY))]
    said = ""
    for protocol in ("openai", "gemini"):
        server.script = [*echoes, text(lambda asked: asked.ratings(reason=f"my key is {KEY}"))]
        for extra in ((), ("--dry-run",)):
            options = asking(server, protocol, repeats=6, attempts=1)
            said += "".join(map(str, run("gscore", "duck", "--yes", *extra, *options)))
    server.script = [failure(401, f"wrong: {KEY}")]
    code, out, err = run("gscore", "duck", "--yes", *asking(server, repeats=9))
    assert code == 2
    assert "refuses the key" in err
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert len(files) > 12
    assert KEY not in said + out + err
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert "[key]" in pd.read_parquet("out/ratings.parquet").to_csv(), "the echo came, and was taken out"


def test_a_hostile_answer_reaches_the_terminal_as_plain_text_or_not_at_all(run, server):
    server.script = [failure(403, "\x1b[2J[bold red]hello[/] \x07\u202e")]
    code, out, err = run("gscore", "duck", "--yes", *asking(server))
    assert code == 2
    assert "[bold red]hello[/]" in err
    assert not {"\x1b", "\x07", "\u202e"} & set(out + err)


def test_a_killed_run_goes_on_without_asking_anything_twice(server, run):
    reached = threading.Event()

    def hang(_):
        reached.set()
        server.over.wait(60)
        return Reply(500)

    server.script = 4 * [honest] + [hang]
    command = [sys.executable, "-m", "gooddrag.cli", "gscore", "duck", "--yes", *asking(server)]
    code = "import sys; from gooddrag.cli import main; sys.argv[0] = 'gooddrag'; main()"
    command[1:3] = ["-c", code]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE) as process:
        try:
            assert reached.wait(60), "the fifth request never came"
        finally:
            process.send_signal(signal.SIGKILL)
    assert not Path("out/summary.json").exists()
    code, out, err = run("gscore", "duck", "--yes", *asking(server))
    assert code == 0, err
    assert "6 request(s) to send, 4 answer(s) already known" in out
    assert len(server.requests) == 5 + 6
    assert not list(Path("out").rglob("*.part"))
    assert len(pd.read_csv("out/ratings.csv")) == 20


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to rate"),
        (["duck", "--original", "duck/original.png"], "use one of them"),
        (["--original", "duck/original.png", "--edit", "x"], "write METHOD=PICTURE"),
        (["--original", "duck/original.png", "--edit", "a=x.png", "--edit", "a=y.png"], "same name"),
        (["goose"], "There is no folder 'goose'"),
        (["."], "holds no edits|no model"),
        (["duck", "--scale", "0-5"], "no scale '0-5'"),
        (["duck", "--price-in", "1"], "One price is missing"),
        (["duck", "--rater", "oracle"], "no rater 'oracle'"),
        (["duck", "--rater", "gemini"], "needs a model"),
    ],
)
def test_mistakes_are_one_sentence_and_end_with_2(run, arguments, sentence):
    if arguments == ["."]:
        Path("duck/original.png").unlink()
    code, _, err = run("gscore", *arguments)
    assert code == 2
    assert any(part in " ".join(err.split()) for part in sentence.split("|"))


# what is found in folders


def result(folder, value, method, points="{}"):
    save(Path(folder, "edited.png"), value)
    save(Path(folder, "task", "original.png"), 100)
    Path(folder, "task", "points.json").write_text(points)
    Path(folder, "settings.json").write_text(json.dumps({"method": method}))


def test_results_of_edits_are_gathered_by_their_tasks():
    result("runs/one", 10, "gooddrag")
    result("runs/two", 20, "dragdiffusion")
    result("runs/three", 30, "gooddrag", points="[1]")  # the same picture, dragged elsewhere
    found = read_samples([Path("runs")])
    assert [(s.task, list(s.edits)) for s in found] == [("one", ["gooddrag", "dragdiffusion"]), ("three", ["gooddrag"])]


def test_two_results_by_one_method_are_told_apart_by_their_folders():
    result("runs/few", 10, "gooddrag")
    result("runs/many", 20, "gooddrag")
    (found,) = read_samples([Path("runs/few"), Path("runs/many")])
    assert list(found.edits) == ["gooddrag (few)", "gooddrag (many)"]


def test_masks_and_truths_beside_an_original_are_no_edits():
    for name in ("mask", "image_with_points", "truth"):
        save(Path("duck", f"{name}.png"), 0)
    (found,) = read_samples([Path("duck")])
    assert list(found.edits) == ["gooddrag", "sde-drag"]


def test_a_csv_file_names_pictures_relative_to_itself():
    Path("duck/list.csv").write_text(
        "task,original,method,edited\n"
        "one,original.png,a,gooddrag.png\none,original.png,b,sde-drag.png\ntwo,original.png,a,gooddrag.png\n"
    )
    found = read_samples([Path("duck/list.csv")])
    assert [(s.task, list(s.edits)) for s in found] == [("one", ["a", "b"]), ("two", ["a"])]
    assert found[0].edits["b"] == Path("duck/sde-drag.png")


@pytest.mark.parametrize("content", ["", "task,method\n", "task,original,method,edited\n", "\x00\xff"])
def test_csv_files_that_name_nothing_are_refused(content):
    Path("x.csv").write_text(content)
    with pytest.raises(BadInput, match=r"x\.csv"):
        read_samples([Path("x.csv")])


# agreement


def ratings(name, rater, **scores):
    rows = [(t, m, s, rater) for t in ("one", "two") for m, s in scores.items()]
    pd.DataFrame(rows, columns=["task", "method", "score", "rater"]).to_csv(name, index=False)


def test_agreement_prints_every_pair_and_the_papers_values(run):
    ratings("model.csv", "gemini:m", a=1, b=2, c=3)
    ratings("ann.csv", "ann", a=1, b=2, c=3)
    ratings("bob.csv", "bob", a=1, b=4, c=3)
    code, out, err = run("agreement", "model.csv", "--people", "ann.csv", "--people", "bob.csv")
    assert code == 0, err
    assert "people" in out
    assert "ann" not in out
    assert "0.87 [0.87, 0.87]" in out  # b and c tie for people: ranks 1, 2.5, 2.5 against 1, 2, 3
    assert "GScore 0.708" in " ".join(err.split())


def test_agreement_of_a_single_rater_is_refused(run):
    ratings("model.csv", "gemini:m", a=1, b=2)
    code, _, err = run("agreement", "model.csv")
    assert code == 2
    assert "only one rater" in err
