"""The playground: it drags what the canvas shows as the form says, stops, goes on, compares, steps back and keeps."""

import asyncio
import builtins
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gooddrag import DragTask, edit
from gooddrag.automask import suggest_mask
from gooddrag.methods import METHODS, DragDiffusion, FreeDrag, GoodDrag, method_for
from gooddrag.settings import read_order
from gooddrag.steps import Inverted, Supervised
from gooddrag.watch import tell
from widgets.playground import Playground
from widgets.playground.curves import curves
from widgets.playground.form import SettingsForm


@pytest.fixture
def playground(tiny, task, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Playground(tiny, task, quick)


@pytest.fixture
def stop_at(playground, monkeypatch):
    """`stop_at(condition)` presses Stop while the first step that fits is seen → the list of the steps after it."""

    def press(condition):
        pressed, after = [], []

        def spy(step, marks):
            if pressed:
                after.append(step)
            elif condition(step):
                pressed.append(step)
                playground.stop()
            return tell(step, marks)

        monkeypatch.setattr("widgets.playground.playground.tell", spy)
        return after

    return press


def drag(playground):
    asyncio.run(playground.drag())


def go_on(playground):
    asyncio.run(playground.go_on())


def in_drag(number):
    return lambda step: isinstance(step, Supervised) and step.drag == number


def test_a_drag_gives_what_edit_gives(playground, tiny, task, quick):
    drag(playground)

    straight = edit(tiny, task, quick)
    assert playground.said.startswith("Done after")
    assert playground.result.image.tobytes() == straight.image.tobytes()
    assert playground.result.trace.table.equals(straight.trace.table)
    assert playground.canvas.preview is playground.result.image
    assert [len(path) for path in playground.canvas.trails] == [straight.trace.drags["drag"].max() + 1] * 2
    assert not playground.canvas.locked


def test_stop_acts_within_one_gradient_step_and_keeps_the_last_whole_drag(playground, stop_at, tiny, task, quick):
    after = stop_at(in_drag(3))
    drag(playground)

    assert after == []
    assert playground.result.stopped
    assert playground.result.trace.drags["drag"].max() == 2
    assert playground.said.startswith("Stopped after drag 2 of 4")
    assert edit(tiny, task, quick).image.size == task.size  # the model is free for others


def test_continue_after_stops_equals_an_undisturbed_drag_bit_for_bit(playground, stop_at, tiny, task, quick):
    stop_at(in_drag(2))
    drag(playground)
    stop_at(in_drag(4))
    go_on(playground)
    assert playground.result.stopped
    go_on(playground)

    straight = edit(tiny, task, quick)
    assert not playground.result.stopped
    assert playground.result.image.tobytes() == straight.image.tobytes()
    assert playground.result.trace.table.equals(straight.trace.table)
    assert len(playground.gallery.attempts) == 1


def test_all_that_tells_how_far_there_is_to_go_is_the_named_mean(playground, monkeypatch):
    notes = []
    say = playground.panel.say
    monkeypatch.setattr(playground.panel, "say", lambda text: notes.append((text, list(distances()))) or say(text))

    def distances():
        return playground.attempt.distances

    drag(playground)
    told = [(text, seen[-1]) for text, seen in notes if "px" in text]
    assert any(text.startswith("dragging: drag 3 of 4") for text, _ in told)
    assert any(text.startswith("denoising") for text, _ in told)
    assert all(f"{mean:.1f} px to go on average" in text for text, mean in told)
    end = f"{playground.result.trace.drags.groupby('drag')['distance'].mean().iloc[-1]:.1f} px"
    assert f"{end} to go on average" in playground.said
    assert f"to go on average <b>{end}</b>" in playground.panel.curves.value
    assert f"{end} to go on average" in playground.gallery.children[0].children[1].description


def test_a_stop_before_the_first_drag_keeps_nothing_and_can_go_on(playground, stop_at, monkeypatch, tmp_path):
    monkeypatch.setenv("GOODDRAG_CACHE", str(tmp_path / "empty"))
    stop_at(lambda step: isinstance(step, Inverted))
    drag(playground)
    assert playground.result is None
    assert "before anything was dragged" in playground.said

    go_on(playground)
    assert playground.said.startswith("Done")


def test_continue_after_a_change_says_so_and_begins_anew(playground, stop_at):
    stop_at(in_drag(2))
    drag(playground)
    playground.canvas.points = [[24, 30], [36, 30]]
    go_on(playground)

    assert playground.said.startswith("You have changed the picture, the arrows or the mask, so this began anew.")
    assert len(playground.result.task.handles) == 1

    stop_at(in_drag(2))
    drag(playground)
    playground.form.controls["latent_lr"].value = 0.03
    go_on(playground)
    assert playground.said.startswith("You have changed the settings, so this began anew.")
    assert playground.result.settings["settings"]["latent_lr"] == 0.03


def test_continue_without_a_stop_says_what_to_do(playground):
    go_on(playground)
    assert "press Drag" in playground.said
    assert playground.panel.buttons["Continue"].disabled


def test_the_buttons_can_be_pressed_when_they_mean_something(playground, stop_at):
    able = []
    stop_at(lambda step: in_drag(2)(step) and not able.append(enabled(playground)))
    drag(playground)

    assert able == [{"Stop"}]
    assert enabled(playground) == {"Drag", "Continue", "Reset"}


def enabled(playground):
    return {name for name, button in playground.panel.buttons.items() if not button.disabled}


def test_reset_brings_the_beginning_back(playground, task, quick):
    playground.canvas.points = [[1, 2], [3, 40]]
    playground.form.controls["drags"].value = 2
    drag(playground)
    playground.reset()

    assert playground.canvas.task.handles.tolist() == task.handles.tolist()
    assert np.array_equal(playground.canvas.mask, task.mask)
    assert playground.form.method == quick
    assert (playground.result, playground.canvas.preview, playground.gallery.children) == (None, None, ())


@pytest.mark.parametrize(
    ("points", "mask", "warning"),
    [
        ([[24, 30], [34, 30]], np.zeros((64, 64), bool), "is empty, so nothing may change"),
        ([[2, 2], [34, 30]], None, "Handle 1 lies outside the mask"),
        ([[24, 30], [90, 30]], None, "The target (90, 30) lies outside the picture"),
        ([], None, "There are no points"),
    ],
)
def test_what_speaks_against_a_task_is_said_before_it_starts(playground, points, mask, warning):
    playground.canvas.points = points
    if mask is not None:
        playground.canvas.mask = mask
    assert warning in playground.panel.warnings.value
    if "lies outside the mask" not in warning:  # that is allowed
        drag(playground)
        assert warning in playground.said
        assert playground.attempt is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("latent_lr", -1.0, "The setting 'latent_lr' can't be"),
        ("patience", "soon", "The setting 'patience' can't be 'soon'"),
        ("drags", 100, "need"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(playground, name, value, sentence):
    control = playground.form.controls[name]
    if hasattr(control, "max"):
        control.max = value
    control.value = value
    assert sentence in playground.panel.warnings.value.replace("&#x27;", "'")
    drag(playground)
    assert sentence in playground.said
    assert "Traceback" not in playground.said
    assert playground.result is None


def test_an_unexpected_failure_is_one_sentence_and_frees_the_canvas(playground, monkeypatch):
    monkeypatch.setattr("widgets.playground.playground.tell", lambda *a: 1 / 0)
    drag(playground)
    assert "ZeroDivisionError: division by zero" in playground.said
    assert enabled(playground) == {"Drag", "Reset"}
    assert not playground.canvas.locked


def test_the_form_shows_every_field_and_gives_the_method_back():
    for method in (GoodDrag.for_pocket(), GoodDrag(lora=None, patience=3), GoodDrag(lora={"steps": 7, "lr": 1e-3})):
        form = SettingsForm(method, "pocket")
        assert form.method == method
        assert set(form.controls) >= {*type(method).model_fields, "lora.steps", "lora.rank"}
        assert all(control.tooltip for control in form.controls.values())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_form(name):
    method = method_for(name, "pocket")
    assert SettingsForm(method, "pocket").method == method


def test_the_form_follows_the_chosen_method():
    form = SettingsForm(GoodDrag.for_pocket(), "pocket")
    form.chooser.value = "dragdiffusion"
    assert form.method.name == "DragDiffusion"
    assert form.method.lora.steps == 20  # what suits pocket


def test_the_short_cut_is_a_choice_of_its_own_and_can_be_changed():
    form = SettingsForm(GoodDrag.for_pocket(), "pocket")
    assert ("GoodDrag, fast", "gooddrag-fast") in form.chooser.options
    form.chooser.value = "gooddrag-fast"
    assert form.method == GoodDrag.fast()
    form.controls["drags"].value = 20
    assert form.method == GoodDrag.fast(drags=20)
    form.chooser.value = "gooddrag"
    assert form.method == GoodDrag.for_pocket()


def test_a_long_path_is_said_to_need_more_drags(playground):
    handle, target = playground.canvas.points[:2]
    playground.canvas.via = [[[handle[0], 2.0], [target[0], 2.0]], []]
    assert "raise drags" in playground.panel.warnings.value


def test_seeds_come_side_by_side_and_each_can_be_shown(playground):
    playground.panel.runs.value = "seeds"
    playground.form.controls["lora"].value = True
    playground.form.controls["lora.steps"].value = 1
    drag(playground)

    first, second, third = playground.gallery.attempts
    assert [a.method.seed for a in (first, second, third)] == [0, 1, 2]
    assert first.result.image.tobytes() != second.result.image.tobytes()
    playground.gallery.children[1].children[1].click()
    assert playground.result is second.result
    assert playground.canvas.preview is second.result.image


def test_where_nothing_is_drawn_at_random_seeds_are_tried_once_and_it_says_why(playground):
    playground.panel.runs.value = "seeds"
    drag(playground)

    assert len(playground.gallery.attempts) == 1
    assert playground.said.startswith("Done after")
    assert playground.said.endswith("with these settings GoodDrag draws nothing at random.")


def test_strengths_come_side_by_side_and_are_named(playground, quick):
    playground.panel.runs.value = "strengths"
    drag(playground)

    attempts = playground.gallery.attempts
    assert [a.method.strength for a in attempts] == [0.8, 0.72, 0.88]
    assert {a.method.with_settings(strength=0.8) for a in attempts} == {quick}
    assert len({a.result.image.tobytes() for a in attempts}) == 3
    assert "strength 0.72" in playground.gallery.children[1].children[1].description


@pytest.mark.parametrize(
    ("strength", "steps", "wanted"), [(1.0, 10, [1.0, 0.92]), (0.06, 50, [0.06, 0.14]), (0.8, 5, [0.8])]
)
def test_strengths_that_cannot_be_or_change_nothing_are_left_out(playground, strength, steps, wanted):
    playground.form.show(GoodDrag(steps=steps, strength=strength, drags=1, per_denoise=1, lora=None, r1=1, r2=1))
    playground.panel.runs.value = "strengths"
    drag(playground)

    assert [a.method.strength for a in playground.gallery.attempts] == wanted
    assert ("they come to as many" in playground.said) == (len(wanted) == 1)


def test_every_method_comes_side_by_side_and_those_that_cannot_say_why(playground, quick, monkeypatch):
    others = {"dragdiffusion": DragDiffusion(steps=10, drags=1, lora=None), "toomany": quick.with_settings(drags=99)}
    monkeypatch.setattr("widgets.playground.playground.METHODS", {"gooddrag": GoodDrag, **others})
    monkeypatch.setattr("widgets.playground.playground.method_for", lambda name, engine: others[name])
    playground.panel.runs.value = "methods"
    drag(playground)

    assert [a.method.name for a in playground.gallery.attempts] == ["GoodDrag", "DragDiffusion"]
    assert playground.said.startswith("Done after 1 drag:")
    assert "99" in playground.said


def test_a_shown_result_brings_its_own_arrows_along(playground, task):
    drag(playground)
    playground.canvas.points = [[24, 30], [24, 40]]
    assert playground.canvas.preview is None
    playground.show(playground.gallery.attempts[0])

    assert playground.canvas.task.handles.tolist() == task.handles.tolist()
    assert playground.canvas.preview is playground.result.image


def test_a_suggested_mask_is_that_of_the_drags_and_says_how_much_it_covers(playground, tiny, task):
    playground.canvas.mask = np.zeros((64, 64), bool)  # which would be no task
    playground.panel.suggest.click()

    mask = suggest_mask(tiny, task)
    assert np.array_equal(playground.canvas.mask, mask)
    assert playground.said == f"The mask now covers {100 * mask.mean():.0f} % of the picture: where these drags pull."
    assert not playground.canvas.locked
    playground.reset()
    assert np.array_equal(playground.canvas.mask, task.mask)


def test_without_arrows_no_mask_is_suggested_and_it_says_why(playground, task):
    playground.canvas.points = []
    playground.panel.suggest.click()

    assert "There are no points" in playground.said
    assert np.array_equal(playground.canvas.mask, task.mask)


def test_no_mask_is_suggested_during_the_work(playground, stop_at, task):
    def press(step):
        assert playground.panel.suggest.disabled
        playground.suggest()
        return in_drag(2)(step)

    stop_at(press)
    drag(playground)
    assert np.array_equal(playground.canvas.mask, task.mask)
    assert not playground.panel.suggest.disabled


def test_a_path_is_dragged_along_and_belongs_to_the_task(playground, stop_at, tiny, task, quick):
    via = [[[26, 40], [30, 44]], []]
    playground.canvas.via = via
    stop_at(in_drag(2))
    drag(playground)
    go_on(playground)
    curved = task.with_points(task.handles, task.targets, via)
    assert playground.result.image.tobytes() == edit(tiny, curved, quick).image.tobytes()

    playground.canvas.via = []
    assert playground.canvas.preview is None
    playground.show(playground.gallery.attempts[0])
    assert playground.canvas.via == via

    stop_at(in_drag(2))
    drag(playground)
    playground.canvas.via = [[[26, 40]], []]
    go_on(playground)
    assert playground.said.startswith("You have changed the picture, the arrows or the mask, so this began anew.")
    playground.reset()
    assert playground.canvas.via == []


def test_a_method_that_drags_straight_says_so_before_it_is_asked_to_follow_a_path(playground):
    playground.canvas.via = [[[26, 40]], []]
    assert "straight" not in playground.panel.warnings.value
    playground.form.show(FreeDrag(lora=None))
    assert "FreeDrag drags straight" in playground.panel.warnings.value
    drag(playground)
    assert playground.said.startswith("FreeDrag drags straight")
    playground.canvas.via = []
    assert "straight" not in playground.panel.warnings.value


def test_one_can_step_back_through_the_drags(playground):
    drag(playground)
    attempt = playground.attempt
    playground.panel.steps.index = 0
    assert playground.canvas.preview.tobytes() == attempt.task.image.tobytes()
    assert [len(path) for path in playground.canvas.trails] == [1, 1]
    playground.panel.steps.index = 1
    assert playground.canvas.preview is attempt.moments[1].picture
    playground.panel.steps.index = len(attempt.moments)
    assert playground.canvas.preview is playground.result.image


def test_what_is_shown_can_become_the_next_picture(playground):
    drag(playground)
    playground.adopt()
    assert playground.canvas.image.tobytes() == playground.result.image.tobytes()
    assert playground.canvas.points == []
    assert "There are no points" in playground.panel.warnings.value


def test_a_kept_result_replays_byte_for_byte(playground, tiny):
    drag(playground)
    playground.keeper.name.value = "kept/one"
    playground.keeper.save("Result")

    assert playground.said == "Saved: kept/one"
    order = read_order(replay=Path("kept/one"))
    again = edit(tiny, order.task, GoodDrag(**order.settings))
    assert again.image.tobytes() == Image.open("kept/one/edited.png").tobytes()
    assert Image.open("kept/one/animation.gif").n_frames >= 3


def upload(playground, content):
    now = datetime.now(UTC)
    file = {"name": "one.json", "type": "", "size": len(content), "content": content, "last_modified": now}
    playground.panel.load.value = (file,)


def test_kept_settings_can_be_loaded_and_a_bad_file_changes_nothing(playground, quick):
    drag(playground)
    playground.keeper.name.value = "one"
    playground.keeper.save("Settings")
    kept = Path("one.json").read_bytes()
    playground.form.show(quick.with_settings(drags=1, per_denoise=1))
    for content in (b'{"settings": {"drags": -3}}', b'{"drags": ', b"\xff\xfe", b"speed: 3"):
        upload(playground, content)
        assert playground.said.endswith(".")
        assert playground.form.method.drags == 1
    upload(playground, kept)
    assert playground.form.method == quick
    assert playground.panel.load.value == ()


def test_kept_settings_are_read_by_the_command_line(playground, quick, task):
    drag(playground)
    playground.keeper.name.value = "one"
    playground.keeper.save("Settings")
    task.write("task")
    order = read_order(Path("task"), settings=Path("one.json"))
    assert (order.method, GoodDrag(**order.settings)) == ("gooddrag", quick)


def test_animation_and_film_are_kept(playground):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    drag(playground)
    playground.keeper.save("GIF")
    assert Image.open("runs/noise.gif").size == (256, 256)
    playground.keeper.save("MP4")
    film = imageio_ffmpeg.read_frames("runs/noise.mp4")
    assert next(film)["size"] == (512, 512)


def test_without_ffmpeg_a_film_is_one_sentence(playground, monkeypatch):
    real = builtins.__import__

    def without(name, *how):
        if name == "imageio_ffmpeg":
            raise ImportError(name)
        return real(name, *how)

    drag(playground)
    monkeypatch.setattr(builtins, "__import__", without)
    playground.keeper.save("MP4")
    assert "pip install imageio-ffmpeg" in playground.said


@pytest.mark.parametrize(("name", "sentence"), [("", "needs a name"), ("in/", "needs a name"), ("file/x", "file")])
def test_a_result_that_cannot_be_kept_says_why(playground, name, sentence):
    Path("file").write_text("")
    playground.keeper.save("GIF")
    assert "There is no result yet" in playground.said
    drag(playground)
    playground.keeper.name.value = name
    playground.keeper.save("Result")
    assert sentence in playground.said
    assert not playground.said.startswith("Saved")


def test_a_stored_notebook_shows_canvas_and_result(playground):
    bundle = playground._repr_mimebundle_()
    assert bundle["text/plain"] == "Playground with 2 drag(s)"
    before = bundle["image/png"]
    drag(playground)
    assert len(playground._repr_mimebundle_()["image/png"]) > len(before)


def test_a_playground_without_a_picture_asks_for_one(tiny):
    playground = Playground(tiny)
    assert "There is no picture yet" in playground.panel.warnings.value
    drag(playground)
    assert "There is no picture yet" in playground.said
    playground.reset()


def test_curves_say_their_values_to_those_who_cannot_see_them():
    drawn = curves([10.0, 8.0, 4.5], [2.0, float("nan")], 70)
    assert 'aria-label="to go on average: 4.5 px, at first 10"' in drawn
    assert "nan" not in drawn.split("<svg", 1)[1].split("</svg>")[0]
    assert "nothing yet" in curves([], [], 0)


def test_a_large_picture_is_compared_and_shown_like_a_small_one(tiny, quick):
    picture = np.random.default_rng(1).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    playground = Playground(tiny, DragTask(picture, [(30, 40)], [(60, 60)]), quick)
    assert "works small" in playground.panel.warnings.value
