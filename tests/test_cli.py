"""The command line as people meet it: what it writes, what it says, and how it ends."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from rich.console import Console

from gooddrag import backbone, cli, doctor, editor, watch
from gooddrag.methods import GoodDrag
from gooddrag.steps import Dragged, Inverted, Learned
from gooddrag.task import DragTask
from gooddrag.trace import Trace
from tests.test_backbone import make_sd
from tests.test_task import contents, png

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


def small_task(folder="small", **changes):
    """Write a task of pocket's size, with some of its files changed."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    DragTask(picture, [(24, 30)], [(34.5, 30.5)], np.ones((64, 64))).write(folder)
    for name, content in changes.items():
        Path(folder, name.replace("_", ".")).write_text(content)
    return folder


def test_an_edit_leaves_picture_animation_trace_and_settings(run):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    code, _, err = run("edit", small_task(), "--out", "out", "--animate", "--frames", 2, *QUICK)
    assert code == 0, err
    assert {p.name for p in Path("out").iterdir()} == {
        "edited.png", "animation.gif", "trace.parquet", "settings.json", "task"
    }  # fmt: skip
    assert Trace.load("out/trace.parquet").drags["drag"].max() == 2
    with Image.open("out/animation.gif") as film:
        assert film.n_frames > 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_replay_gives_the_same_bytes(run):
    run("edit", small_task(), "--out", "one", *QUICK)
    code, _, err = run("edit", "--replay", "one")
    assert code == 0
    assert "other weights" not in err
    assert Path("one/edited.png").read_bytes() == Path("runs/one-again/edited.png").read_bytes()


def test_a_replay_keeps_method_prompt_and_backbone(run, tmp_path):
    model = make_sd(tmp_path)
    choice = ["--method", "dragdiffusion", "--backbone", model, "--prompt", "a cat", "--set", "supervision_steps=2"]
    run("edit", small_task(), "--out", "one", *choice, *QUICK)
    assert run("edit", "--replay", "one", "--out", "two")[0] == 0
    one, two = (json.loads(Path(name, "settings.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert (one["method"], one["backbone"], one["prompt"]) == ("dragdiffusion", str(model), "a cat")


def test_a_replay_with_other_weights_says_so(run):
    small_task("one/task")
    settings = {"steps": 10, "drags": 1, "lora": None}
    Path("one/settings.json").write_text(json.dumps({"settings": settings, "fingerprint": "of older weights"}))
    code, _, err = run("edit", "--replay", "one")
    assert code == 0
    assert "Note: The stored result was made with other weights" in err


def test_without_drags_the_picture_comes_back_and_that_is_said(run):
    code, out, _ = run("edit", small_task(), "--out", "out", *QUICK, "--set", "drags=0")
    assert code == 0
    assert "No drags" in out
    assert Path("out/edited.png").exists()


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
    run("edit", small_task(), "--out", "one", "--settings", "s.yaml", "--set", "drags=1")
    stored = json.loads(Path("one/settings.json").read_text())
    assert (stored["settings"]["drags"], stored["settings"]["steps"], stored["settings"]["lora"]) == (1, 10, None)
    run("edit", "small", "--out", "two", "--settings", "one/settings.json")
    assert json.loads(Path("two/settings.json").read_text())["settings"] == stored["settings"]


def damaged_weights(file):
    """Pocket's weights, of which one file was not copied to its end."""
    shutil.copytree(backbone.POCKET_WEIGHTS, "weights")
    os.truncate(Path("weights", file), 1000)
    return Path("weights")


@pytest.mark.parametrize("file", ["codec.safetensors", "unet/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_damaged_pocket_weights_get_one_sentence(run, monkeypatch, file):
    monkeypatch.setattr(backbone, "POCKET_WEIGHTS", damaged_weights(file))
    code, _, err = run("edit", small_task(), "--out", "out")
    assert code == 2
    assert err.startswith("gooddrag: The pocket weights in 'weights' are damaged")
    assert err.count("\n") == 1
    assert not Path("out").exists()


def test_training_on_a_device_that_isnt_there_gets_one_sentence(run):
    code, _, err = run("train-pocket", "--device", "cuda:7", "--folder", "out")
    assert code == 2
    assert err.startswith("gooddrag: The device 'cuda:7' can't be used on this machine")
    assert err.count("\n") == 1


BESIDE = "settings: {drags: 5}\nsteps: 10\n"
OTHER = {"settings_json": '{"method": "dragdiffusion", "settings": {}}'}


def bad(name, *arguments, **changes):
    return pytest.param(arguments, changes, id=name)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        bad("no task"),
        bad("a missing folder", "nowhere"),
        bad("a file", "small/points.json"),
        bad("no points", "small", points_json='{"points": []}'),
        bad("an odd number of points", "small", points_json='{"points": [[1, 2], [3, 4], [5, 6]]}'),
        bad("a point outside", "small", points_json='{"points": [[1, 2], [64, 4]]}'),
        bad("NaN", "small", points_json='{"points": [[1, NaN], [6, 4]]}'),
        bad("broken JSON", "small", points_json="{"),
        bad("a corrupt picture", "small", original_png="no picture"),
        bad("a corrupt mask", "small", mask_png="no picture"),
        bad("an unknown method", "small", "--method", "magic"),
        bad("a hub that can't be reached", "small", "--backbone", "sd15"),
        bad("a folder that is no backbone", "small", "--backbone", "./creature"),
        bad("an unknown setting", "small", "--set", "colour=red"),
        bad("a word for a number", "small", "--set", "drags=many"),
        bad("a number out of range", "small", "--set", "strength=1.5"),
        bad("an unknown setting of the adapter", "small", "--set", "lora.size=3"),
        bad("a setting without a value", "small", "--set", "drags"),
        bad("more drags than timesteps allow", "small", "--set", "drags=500", "--set", "per_denoise=1"),
        bad("no settings file", "small", "--settings", "nowhere.yaml"),
        bad("bad YAML", "small", "--settings", "small/bad.yaml", bad_yaml="a: [1"),
        bad("a YAML list", "small", "--settings", "small/bad.yaml", bad_yaml="- 1\n- 2\n"),
        bad("binary settings", "small", "--settings", "small/original.png"),
        bad("an output that can't be written", "small", "--out", "small/points.json/out"),
        bad("a parameter's name for a setting", "small", "--set", "self=5"),
        bad("a parameter's name in a file", "small", "--settings", "small/bad.yaml", bad_yaml="backbone: sd15"),
        bad("an alias", "small", "--settings", "small/bad.yaml", bad_yaml="drags: &a 5\nsteps: *a\n"),
        bad("a setting beside the settings", "small", "--settings", "small/bad.yaml", bad_yaml=BESIDE),
        bad("a device that nobody has", "small", "--device", "abacus"),
        bad("a replay of no result", "--replay", "small"),
        bad("a replay that lacks its task", "--replay", "small", settings_json='{"settings": {}}'),
        bad("a replay with another method", "small", "--replay", "small", "--method", "gooddrag", **OTHER),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(run, arguments, changes):
    small_task(**changes)
    before = sorted(Path().rglob("*"))
    code, _, err = run("edit", *(("--out", "out") if "--out" not in arguments else ()), *arguments)
    assert code == 2
    assert err.startswith("gooddrag: ")
    assert err.endswith(".\n")
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_named(run):
    code, _, err = run("edit", small_task(), "--out", "out", "--device", "cuda")
    assert code == 2
    assert err.startswith("gooddrag: The device 'cuda' can't be used on this machine")
    assert err.count("\n") == 1


def test_a_huge_picture_is_refused_before_it_is_decoded(run):
    small_task()
    Path("small/original.png").write_bytes(png(20_000, 20_000, 8, 2, b""))
    code, _, err = run("edit", "small", "--out", "out")
    assert code == 2
    assert "too large" in err


def test_a_full_disk_ends_with_one_sentence_and_keeps_what_was_there(run, monkeypatch):
    run("edit", small_task(), "--out", "out", *QUICK)
    before = contents(Path("out"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gooddrag.files.os.replace", full)
    code, _, err = run("edit", "small", "--out", "out", "--no-cache", *QUICK, "--set", "seed=2")
    assert code == 1
    assert "disk is full" in err
    assert contents(Path("out")) == before


def test_the_first_interrupt_keeps_what_there_is():
    small_task()
    command = [sys.executable, "-c", "from gooddrag.cli import main; main()", "edit", "small", "--out", "out"]
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


def interrupt_at(kind, monkeypatch, again=False):
    """Let Ctrl-C be pressed at the first step of a kind, and again while the picture is being finished."""
    real = editor.iter_edit

    def iter_edit(*arguments, **options):
        with closing(real(*arguments, **options)) as steps:
            for step in steps:
                if isinstance(step, kind):
                    signal.raise_signal(signal.SIGINT)
                    if again:
                        step = replace(step, finish=lambda: signal.raise_signal(signal.SIGINT))
                yield step

    monkeypatch.setattr(editor, "iter_edit", iter_edit)


def test_the_second_interrupt_leaves_nothing(run, monkeypatch):
    interrupt_at(Dragged, monkeypatch, again=True)
    code, _, err = run("edit", small_task(), "--out", "out", *QUICK)
    assert code == 1
    assert err.endswith("gooddrag: Interrupted; nothing was written.\n")
    assert not Path("out").exists()


def test_an_interrupt_before_the_first_drag_has_nothing_to_keep(run, monkeypatch):
    interrupt_at(Inverted, monkeypatch)
    code, _, err = run("edit", small_task(), "--out", "out", "--no-cache", *QUICK)
    assert code == 1
    assert "nothing to save" in err
    assert not Path("out").exists()


def test_a_stopped_edit_tells_how_far_it_came(run, monkeypatch):
    interrupt_at(Dragged, monkeypatch)
    code, out, _ = run("edit", small_task(), "--out", "out", *QUICK)
    assert code == 1
    assert "Stopped after 1 of 2 drags" in out
    assert json.loads(Path("out/settings.json").read_text())["stopped"] is True


def ascii_only(*arguments):
    """Call `gooddrag …` where nothing but ASCII can be shown."""
    command = [sys.executable, "-c", "from gooddrag.cli import main; main()", *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True)


@pytest.mark.parametrize("width", [50, 66, 80, 120])
def test_the_bars_fit_into_the_terminal(width):
    shown = Console(width=width, file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    with watch.Display(shown, GoodDrag.for_pocket()) as display:
        display.show(Learned(300, 300, 0.123))
        display.show(Inverted(44, 44))
    text = shown.file.getvalue()
    assert "step 300 of 300" in text
    assert "0:00 taken" in text
    assert ("loss 0.123" in text) == (width > 50)
    assert ("━━━━" in text) == (width > 66)
    assert "…" not in text


def test_a_narrow_terminal_cuts_no_number_of_the_report(run, monkeypatch):
    monkeypatch.setattr(cli, "output", Console(width=50))
    _, out, _ = run("edit", small_task(), "--out", "out", *QUICK)
    assert "…" not in out
    assert {"(24.0,", "30.0)", "(34.5,", "30.5)"} <= set(out.split())


def test_where_only_ascii_can_be_shown_arrows_and_signs_are_spelled():
    checked = ascii_only("task", "check", small_task())
    assert checked.returncode == 0, checked.stderr
    assert b"64x64 px" in checked.stdout
    assert b") -> (" in checked.stdout
    refused = ascii_only("task", "new", "small/original.png", "--drag", "1,2:3,4", "--box", "9,9,5,5", "--out", "x")
    assert refused.returncode == 2
    assert b"left <= right" in refused.stderr


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


def test_the_doctor_finds_damaged_weights(run, monkeypatch):
    monkeypatch.setattr(doctor, "WEIGHTS", damaged_weights("context.safetensors"))
    code, out, _ = run("doctor")
    assert code == 1
    assert "damaged" in out


def test_the_doctor_finds_missing_weights(run, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    code, out, _ = run("doctor")
    assert code == 1
    assert "incomplete" in out


def test_the_doctor_works_without_torch():
    code = "import sys; sys.modules['torch'] = None; from gooddrag.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    assert "torch can't be" in ran.stdout
    assert "disk" in ran.stdout


def test_an_unknown_option_is_bad_input(run):
    assert run("edit", "--sideways")[0] == 2


def test_a_known_truth_task_is_made_by_kind_and_seed(run):
    code, out, _ = run("task", "make", "open-mouth", "--seed", 4, "--out", "mouth")
    assert code == 0
    assert "1 drag(s)" in out
    assert {"original.png", "mask.png", "points.json", "truth.png", "truth.json"} <= {
        p.name for p in Path("mouth").iterdir()
    }
    code, _, err = run("task", "make", "somersault", "--out", "none")
    assert code == 2
    assert "turn-head" in err
    assert not Path("none").exists()


def test_results_are_measured_and_what_is_no_result_is_refused(run):
    run("edit", small_task(), "--out", "one", *QUICK)
    code, out, _ = run("measure", "one")
    assert code == 0
    assert "20 px" in out
    assert out.count("0.") >= 5
    code, _, err = run("measure", "small")
    assert code == 2
    assert err.endswith(".\n")
