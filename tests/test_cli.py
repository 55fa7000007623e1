"""The command line as people meet it: what it writes, what it says, and how it ends."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gooddrag import cli
from gooddrag.task import DragTask
from gooddrag.trace import Trace
from tests.test_task import png

QUICK = ["--set", "steps=10", "--set", "drags=2", "--set", "lora=null"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch, capsys):
    """Call `gooddrag …` in this process; returns exit code, standard output and error output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gooddrag", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


def creature(folder="creature", **changes):
    from gooddrag.pocket.tasks import make_task

    make_task("lift", 1).task.write(folder)
    for name, content in changes.items():
        Path(folder, name.replace("_", ".")).write_text(content)
    return folder


def test_an_edit_leaves_picture_animation_trace_and_settings(run):
    code, _, err = run("edit", creature(), "--out", "out", "--animate", "--frames", 2, *QUICK)
    assert code == 0, err
    assert {p.name for p in Path("out").iterdir()} == {
        "edited.png", "animation.gif", "trace.parquet", "settings.json", "task"
    }  # fmt: skip
    assert Trace.load("out/trace.parquet").drags["drag"].max() == 2
    with Image.open("out/animation.gif") as film:
        assert film.n_frames > 1


def test_a_replay_gives_the_same_bytes(run):
    run("edit", creature(), "--out", "one", *QUICK)
    assert run("edit", "--replay", "one", "--out", "two")[0] == 0
    assert Path("one/edited.png").read_bytes() == Path("two/edited.png").read_bytes()


def test_a_photo_of_odd_size_keeps_it_and_pocket_says_what_it_knows(run):
    noise = np.random.default_rng(0).integers(0, 256, (717, 512, 3)).astype(np.uint8)
    Path("photo").mkdir()
    Image.fromarray(noise).filter(ImageFilter.GaussianBlur(9)).save("photo/original.jpg")
    mask = np.zeros((717, 512), np.uint8)
    mask[100:500, 100:400] = 255
    Image.fromarray(mask).save("photo/mask.png")
    Path("photo/points.json").write_text(json.dumps({"points": [[200, 300], [260, 320]]}))
    code, _, err = run("edit", "photo", "--out", "out", *QUICK)
    assert code == 0
    assert "creatures" in err
    assert Image.open("out/edited.png").size == (512, 717)


def test_settings_come_from_files_and_single_settings_override_them(run):
    Path("s.yaml").write_text("drags: 5\nsteps: 10\nlora: null\n")
    run("edit", creature(), "--out", "one", "--settings", "s.yaml", "--set", "drags=1")
    stored = json.loads(Path("one/settings.json").read_text())
    assert (stored["settings"]["drags"], stored["settings"]["steps"], stored["settings"]["lora"]) == (1, 10, None)
    run("edit", "creature", "--out", "two", "--settings", "one/settings.json")
    assert json.loads(Path("two/settings.json").read_text())["settings"] == stored["settings"]


def bad(name, *arguments, **changes):
    return pytest.param(arguments, changes, id=name)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        bad("no task"),
        bad("a missing folder", "nowhere"),
        bad("a file", "creature/points.json"),
        bad("no points", "creature", points_json='{"points": []}'),
        bad("an odd number of points", "creature", points_json='{"points": [[1, 2], [3, 4], [5, 6]]}'),
        bad("a point outside", "creature", points_json='{"points": [[1, 2], [64, 4]]}'),
        bad("NaN", "creature", points_json='{"points": [[1, NaN], [6, 4]]}'),
        bad("broken JSON", "creature", points_json="{"),
        bad("a corrupt picture", "creature", original_png="no picture"),
        bad("a corrupt mask", "creature", mask_png="no picture"),
        bad("an unknown method", "creature", "--method", "magic"),
        bad("a hub that can't be reached", "creature", "--backbone", "sd15"),
        bad("a folder that is no backbone", "creature", "--backbone", "./creature"),
        bad("an unknown setting", "creature", "--set", "colour=red"),
        bad("a word for a number", "creature", "--set", "drags=many"),
        bad("a number out of range", "creature", "--set", "strength=1.5"),
        bad("an unknown setting of the adapter", "creature", "--set", "lora.size=3"),
        bad("a setting without a value", "creature", "--set", "drags"),
        bad("more drags than timesteps allow", "creature", "--set", "drags=500", "--set", "per_denoise=1"),
        bad("no settings file", "creature", "--settings", "nowhere.yaml"),
        bad("bad YAML", "creature", "--settings", "creature/bad.yaml", bad_yaml="a: [1"),
        bad("a YAML list", "creature", "--settings", "creature/bad.yaml", bad_yaml="- 1\n- 2\n"),
        bad("binary settings", "creature", "--settings", "creature/original.png"),
        bad("an output that can't be written", "creature", "--out", "creature/points.json/out"),
        bad("a replay of no result", "--replay", "creature"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(run, arguments, changes):
    creature(**changes)
    before = sorted(Path().rglob("*"))
    code, _, err = run("edit", *(("--out", "out") if "--out" not in arguments else ()), *arguments)
    assert code == 2
    assert err.startswith("gooddrag: ")
    assert err.endswith(".\n")
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before


def test_a_huge_picture_is_refused_before_it_is_decoded(run):
    creature()
    Path("creature/original.png").write_bytes(png(20_000, 20_000, 8, 2, b""))
    code, _, err = run("edit", "creature", "--out", "out")
    assert code == 2
    assert "too large" in err


def test_a_full_disk_ends_with_one_sentence_and_keeps_what_was_there(run, monkeypatch):
    run("edit", creature(), "--out", "out", *QUICK)
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gooddrag.files.os.replace", full)
    code, _, err = run("edit", "creature", "--out", "out", "--no-cache", *QUICK, "--set", "seed=2")
    assert code == 1
    assert "disk is full" in err
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == before


def test_the_first_interrupt_keeps_what_there_is():
    creature()
    command = [sys.executable, "-c", "from gooddrag.cli import main; main()", "edit", "creature", "--out", "out"]
    settings = ["--set", "lora=null", "--set", "reach=0.01", "--set", "drags=300", "--set", "per_denoise=100"]
    running = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    said = iter(running.stderr.readline, "")
    assert any("dragging" in line for line in said)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 1, err
    assert json.loads(Path("out/settings.json").read_text())["stopped"] is True
    assert Image.open("out/edited.png").size == (64, 64)


def test_a_task_is_made_from_a_picture_and_checked(run):
    Image.new("RGB", (80, 60), "teal").save("p.png")
    code, out, _ = run("task", "new", "p.png", "--drag", "10,20:30,20", "--box", "5,5,60,50", "--out", "made")
    assert code == 0
    assert "80×60" in out
    assert DragTask.read("made").mask.sum() == 56 * 46
    assert run("task", "check", "made")[0] == 0
    assert run("task", "check", "nowhere")[0] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["--drag", "10,20"],
        ["--drag", "10,20:90,20"],
        ["--drag", "1,2:3,4", "--box", "5,5,80,50"],
        ["--drag", "1,2:3,4", "--box", "5,5"],
        ["--drag", "1,2:3,4", "--box", "5,5,9,9", "--mask", "p.png"],
    ],
)
def test_a_task_that_makes_no_sense_is_not_made(run, wrong):
    Image.new("RGB", (80, 60), "teal").save("p.png")
    code, _, err = run("task", "new", "p.png", *wrong, "--out", "made")
    assert code == 2
    assert err.count("\n") == 1
    assert not Path("made").exists()


def test_the_doctor_looks_at_everything(run):
    code, out, _ = run("doctor")
    assert code == 0, out
    assert all(word in out for word in ("torch", "device", "threads", "pocket weights", "cache", "disk"))


def test_an_unknown_option_is_bad_input(run):
    assert run("edit", "--sideways")[0] == 2
