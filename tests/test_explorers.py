"""The explorers: right numbers, nothing computed twice, and a picture where no kernel runs."""

import asyncio
import base64
import io
from collections import Counter

import ipywidgets as ipw
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import figures
from gooddrag.diffusion import Timeline, predict_x0
from gooddrag.editor import edit
from gooddrag.errors import BadInput
from gooddrag.features import Frame
from gooddrag.metrics.ground_truth import score
from gooddrag.pocket.tasks import make_task
from gooddrag.schedule import Denoise, Drag, aldd, drag_then_denoise
from gooddrag.supervision import Points, ipms_loss
from widgets import (
    BlindRating,
    ExperimentForm,
    LoraExplorer,
    LossLandscape,
    ScheduleStrip,
    SimilarityExplorer,
    TimestepScrubber,
    TraceViewer,
)
from widgets.explorers.blind_rating import shuffled

METHODS = ("one", "two", "three")


@pytest.fixture
def passes(tiny):
    """Counts the passes of the U-Net."""
    count = Counter()
    tiny.unet.register_forward_hook(lambda *_: count.update(["passes"]))
    return count


@pytest.fixture
def result(tiny, task, quick):
    return edit(tiny, task, quick, use_cache=False, frames=4)


@pytest.fixture
def landscape(tiny, task, quick):
    return LossLandscape(tiny, task, quick)


def pictures(tasks=3):
    shades = {name: Image.new("RGB", (32, 32), (80 * k, 80, 80)) for k, name in enumerate(("original", *METHODS))}
    return {f"task {k}": shades for k in range(tasks)}


def make_all(tiny, task, quick):
    yield TimestepScrubber(tiny, task.image, Timeline(10))
    yield SimilarityExplorer(tiny, task.image, 101)
    yield LossLandscape(tiny, task, quick)
    yield ScheduleStrip(8, 10, 2)
    yield TraceViewer(edit(tiny, task, quick, use_cache=False))
    yield LoraExplorer(tiny, task.image, timeline=Timeline(4))
    yield BlindRating(pictures())
    yield ExperimentForm(tiny, [make_task("move", 1)], quick, {"beta": (2.0, 8.0)})


def test_each_leaves_a_still_picture_and_a_sentence(tiny, task, quick):
    for explorer in make_all(tiny, task, quick):
        data = explorer._repr_mimebundle_()
        still = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        assert min(still.size) > 100, type(explorer)
        assert data["text/plain"].startswith(type(explorer).__name__)
        assert explorer.text.endswith("."), explorer.text


def other_value(control):
    if hasattr(control, "options"):
        return next(value for _, value in labelled(control.options) if value not in (control.value, ()))
    return control.max if control.value != control.max else control.min


def labelled(options):
    pairs = options.items() if isinstance(options, dict) else options
    return [pair if isinstance(pair, tuple) else (pair, pair) for pair in pairs]


def test_every_control_changes_what_is_seen(tiny, task, quick):
    for explorer in list(make_all(tiny, task, quick))[:5]:
        for control in explorer.controls:
            if isinstance(control, ipw.Button):
                continue
            before = explorer.picture.value, explorer.text
            new = other_value(control)
            control.value = (new,) if isinstance(control, ipw.SelectMultiple) else new
            assert (explorer.picture.value, explorer.text) != before, (type(explorer), control.description)


def test_the_scrubber_shows_what_the_model_predicts(tiny, task):
    scrubber = TimestepScrubber(tiny, task.image, Timeline(10))
    for inverted in (True, False):
        z = scrubber.latent(301, inverted)
        expected = predict_x0(z, tiny.predict(z, 301).eps, tiny.alpha_bar(301))
        assert torch.equal(scrubber.x0(301, inverted), expected)
    shown = scrubber.pictures(301)
    assert shown["source"] == task.image
    assert shown["predicted x0"] == scrubber.frame.to_image(tiny.decode(scrubber.x0(301)))


def test_random_noise_leaves_the_signal_that_the_level_says(tiny, task):
    scrubber = TimestepScrubber(tiny, task.image, Timeline(10))
    level = tiny.alpha_bar(301)
    noise = (scrubber.latent(301, inverted=False) - level**0.5 * scrubber.z0) / (1 - level) ** 0.5
    assert abs(float(noise.std()) - 1) < 0.1


def test_going_back_to_a_timestep_asks_the_model_nothing(tiny, task, passes):
    scrubber = TimestepScrubber(tiny, task.image, Timeline(10))
    start, seen = scrubber.timestep.value, scrubber.picture.value
    scrubber.timestep.value = 1
    before = passes["passes"]
    scrubber.timestep.value = start
    assert passes["passes"] == before
    assert scrubber.picture.value == seen


def test_a_similarity_map_is_highest_at_the_point_it_was_asked_for(tiny, task):
    explorer = SimilarityExplorer(tiny, task.image, 101)
    maps = explorer.maps((45, 18))
    assert len(maps) == len(tiny.unet.down_blocks) + 1 + len(tiny.unet.up_blocks)
    for name, heat in maps.items():
        height, width = heat.shape
        row, column = 18 * height // 64, 45 * width // 64
        assert heat[row, column] == pytest.approx(1, abs=1e-5), name
        assert heat.max() <= 1 + 1e-5, name


def test_all_points_share_one_pass_and_no_hook_stays(tiny, task, passes):
    explorer = SimilarityExplorer(tiny, task.image, 101)
    before = passes["passes"]
    first = explorer.text
    explorer.x.value, explorer.y.value = 3, 60
    assert explorer.text != first
    assert "(3, 60)" in explorer.text
    assert passes["passes"] == before
    assert not any(block._forward_hooks for block in (*tiny.unet.down_blocks, tiny.unet.mid_block))


def test_the_block_that_gooddrag_reads_is_named_and_read_alike(tiny, task):
    explorer = SimilarityExplorer(tiny, task.image, 1)
    frame = Frame.fit(task.image.size, tiny.latent_scale, tiny.image_multiple, tiny.working_side)
    z0 = tiny.encode(frame.to_tensor(task.image))
    eps = tiny.predict(z0, 1).eps
    level, after = tiny.alpha_bar(1), tiny.alpha_bar(-19)
    z = level**0.5 * predict_x0(z0, eps, after) + (1 - level) ** 0.5 * eps
    (used,) = [name for label, name in explorer.blocks.options if "GoodDrag" in label]
    assert torch.allclose(explorer.features[used], tiny.predict(z, 1, features=True).features, atol=1e-4)


def test_a_timestep_off_the_ladder_is_refused_with_the_nearest(tiny, task):
    with pytest.raises(BadInput, match="use 401"):
        SimilarityExplorer(tiny, task.image, 405)


@pytest.mark.parametrize("loss", ["ipms", "standard"])
def test_an_undragged_source_has_its_least_loss_at_offset_0(landscape, loss):
    heat = landscape.landscape(0, 2, landscape.timestep.value, loss, radius=5)
    assert heat[5, 5] == 0
    assert np.nanargmin(heat) == 5 * 11 + 5
    assert np.sort(heat[~np.isnan(heat)])[1] > 0


def test_only_ipms_remembers_where_a_slipped_handle_came_from(landscape):
    ipms, standard = (landscape.landscape(0, 2, 1, loss, slip=3, radius=5) for loss in ("ipms", "standard"))
    assert divmod(int(np.nanargmin(ipms)), 11) == (5, 2)
    assert divmod(int(np.nanargmin(standard)), 11) == (5, 5)


def test_the_landscape_is_the_library_s_loss_for_each_offset(landscape, quick):
    t = landscape.timestep.value
    F, p0 = landscape.path.features(quick.timeline.timesteps.index(t)), landscape.p0[1:]
    for x, y in ((3, 0), (-2, 4)):
        points = Points(p0, p0, p0 + torch.tensor([[x, y]]), landscape.frame.grid, reach=0)
        expected = ipms_loss(F, F, points, 3, 99, quick.quirks.norm)
        assert landscape.landscape(1, 3, t, "ipms", radius=5)[5 + y, 5 + x] == pytest.approx(float(expected), rel=1e-5)


def test_handles_to_choose_from_are_counted_from_1(tiny, task, quick, result, landscape):
    alone = TraceViewer(edit(tiny, task.with_points([(24, 30)], [(34, 30)]), quick, use_cache=False))
    assert [labels(e) for e in (landscape, TraceViewer(result), alone)] == [["1", "2"], ["all (mean)", "1", "2"], ["1"]]
    for handle, name in enumerate(("handle 1", "handle 2")):
        landscape.handle.value = handle
        assert f"loss of {name} is least" in landscape.text
    assert "handle 1 is" in alone.text


def labels(explorer):
    return [label for label, _ in explorer.handle.options]


def test_offsets_beyond_the_picture_have_no_loss(tiny, task, quick):
    corner = task.with_points([(1, 1)], [(12, 12)])
    heat = LossLandscape(tiny, corner, quick).landscape(0, 1, 1, "ipms", radius=4)
    assert np.isnan(heat[:3]).all()
    assert not np.isnan(heat[3:, 3:]).any()


def test_the_step_goes_beta_cells_towards_the_target(landscape):
    assert landscape.step(0, 4).tolist() == [4, 0]
    assert landscape.step(0, 40).tolist() == [10, 0]


def test_the_strip_is_the_schedule_that_its_sliders_say():
    strip = ScheduleStrip(7, 5, 3)
    assert strip.schedule == aldd(7, 3, 5)
    strip.rule.value = "drag_then_denoise"
    assert strip.schedule == drag_then_denoise(7, 5)


def test_a_schedule_made_by_hand_is_valid_and_counted_right():
    strip = ScheduleStrip(4, 3, 2, supervision_steps=3)
    strip.chosen.value = 2
    strip.more.click()
    strip.chosen.value = 0
    strip.fewer.click()
    strip.fewer.click()
    strip.fewer.click()  # there is none left to take
    assert strip.counts == (0, 2, 1)
    assert strip.schedule == (Denoise(0), Drag(1, 1), Drag(2, 1), Denoise(1), Drag(3, 2), Denoise(2))
    assert "3 drags at 2 timesteps" in strip.text
    assert "9 gradient steps" in strip.text


def test_an_impossible_rule_is_explained_and_changes_nothing():
    strip = ScheduleStrip(8, 4, 2)
    strip.per_denoise.value = 1
    assert strip.counts == (2, 2, 2, 2)
    assert "need 8 timesteps" in strip.text
    strip.drags.value = 4
    assert strip.schedule == aldd(4, 1, 4)
    assert "need" not in strip.text


def test_the_viewer_starts_at_the_end_and_tells_each_drag(result):
    viewer = TraceViewer(result)
    assert viewer.drag.value == viewer.last == result.trace.drags["drag"].max()
    viewer.drag.value = 2
    rows = result.trace.drags.query("drag == 2")
    assert viewer.at(2)[["x", "y"]].equals(rows[["x", "y"]].reset_index(drop=True))
    assert f"{rows['distance'].mean():.1f} px" in viewer.text


def test_the_viewer_tells_of_one_handle_where_it_is_chosen(result, monkeypatch):
    viewer = TraceViewer(result)
    drawn = []
    monkeypatch.setattr(figures, "drift_curve", lambda t, draw=figures.drift_curve: drawn.append(t.table) or draw(t))
    viewer.drag.value = 2
    mean = viewer.picture.value
    for label, point in (("2", 1), ("1", 0)):
        viewer.handle.label = label
        row = result.trace.drags.query("drag == 2 and point == @point").iloc[0]
        assert f"handle {label} is {row['distance']:.1f} px from its target; drift {row['drift']:.3f}" in viewer.text
        assert drawn[-1]["point"].unique() == [point]
        assert viewer.picture.value != mean
    viewer.handle.label = "all (mean)"
    assert viewer.picture.value == mean


def test_the_viewer_shows_only_what_had_happened_by_then(result):
    viewer = TraceViewer(result)
    assert viewer.until(0).table["phase"].unique().tolist() == ["start"]
    done = viewer.until(3).table
    assert done["drag"].max() == 3
    assert done.iloc[-1]["phase"] == "drag"


def test_the_viewer_s_pictures_run_from_the_source_to_the_edit(result):
    viewer = TraceViewer(result)
    assert viewer.frame(0) == result.task.image
    assert viewer.frame(viewer.last) == result.image
    assert viewer.frame(2) == result.frames[2]


def test_an_adapter_is_trained_once_and_leaves_the_model_as_it_was(tiny, task, passes):
    before = {name: value.clone() for name, value in tiny.unet.state_dict().items()}
    explorer = LoraExplorer(tiny, task.image, ranks=(1, 2), steps=(3,), timeline=Timeline(4))
    assert explorer.trained == {}
    explorer.rank.value = 2
    asyncio.run(explorer.train())
    asked = passes["passes"]
    kept = explorer.learn(2, 3)
    assert passes["passes"] == asked
    assert len(kept.losses) == 3
    assert {w.shape[0] for name, w in kept.weights.items() if name.endswith("down")} == {2}
    assert kept.guess_error != explorer.without.guess_error
    assert all(torch.equal(value, before[name]) for name, value in tiny.unet.state_dict().items())
    assert "with rank 2 (3 steps)" in explorer.text


@pytest.mark.parametrize("seed", range(5))
def test_no_method_always_stands_at_the_same_letter(seed):
    rating = BlindRating(pictures(3), seed)
    for k in range(3):
        assert {order[k] for order in rating.orders.values()} == set(METHODS)
    assert BlindRating(pictures(3), seed).orders == rating.orders


def test_seeds_shuffle_differently():
    assert len({tuple(shuffled({"task": METHODS}, seed)["task"]) for seed in range(20)}) == 6


def test_scores_go_to_the_method_behind_the_letter():
    rating = BlindRating(pictures(3), seed=1)
    wanted = {"one": 9, "two": 2, "three": 7}
    for task in rating.tasks:
        for slider, method in zip(rating.sliders, rating.orders[task], strict=True):
            slider.value = wanted[method]
        rating.next.click()
    table = rating.ratings
    assert len(table) == 9
    assert (table["score"] == table["method"].map(wanted)).all()
    assert (table.groupby("method")["shown_as"].nunique() == 3).all()


def test_pages_count_once_next_is_pressed_and_are_remembered():
    rating = BlindRating(pictures(2))
    rating.sliders[0].value = 8
    assert rating.ratings.empty
    rating.next.click()
    assert [slider.value for slider in rating.sliders] == [5, 5, 5]
    rating.back.click()
    assert rating.sliders[0].value == 8
    assert rating.ratings["task"].unique().tolist() == ["task 0"]


def test_nothing_on_the_page_names_a_method():
    rating = BlindRating(pictures(1))
    said = rating.text + str(rating._repr_mimebundle_()["text/plain"]) + "".join(s.description for s in rating.sliders)
    assert not any(method in said for method in METHODS)


def test_ratings_are_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    rating = BlindRating(pictures(1))
    rating.rater.value = "me"
    rating.next.click()
    path = tmp_path / "ratings.csv"
    rating.save(path)
    pd.testing.assert_frame_equal(pd.read_csv(path), rating.ratings)
    old = path.read_text()

    def half(self, part, **_):
        part.write_text("task,meth")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(RuntimeError, match="disk is full"):
        rating.save(path)
    assert path.read_text() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_rating_without_original_is_refused():
    with pytest.raises(BadInput, match="original"):
        BlindRating({"t": {"one": Image.new("RGB", (32, 32))}})


# Experiments


@pytest.fixture
def form(tiny, quick):
    tasks = [make_task("move", seed) for seed in (1, 2)]
    form = ExperimentForm(tiny, tasks, quick, {"per_denoise": (2, 4), "supervision": ("ipms", "standard")})
    form.tasks.value = 1
    return form


def test_an_experiment_compares_each_value_with_the_usual_one_on_the_same_task(form, tiny, quick):
    assert list(form.methods) == ["as it is", "per_denoise = 4"]  # 2 is the usual one
    assert form.differences() == {}
    form.run()
    known = form.known[0]
    four, usual = (
        score(known, edit(tiny, known.task, method).image) for method in (quick.with_settings(per_denoise=4), quick)
    )
    (d,) = form.differences()["per_denoise = 4"]
    assert d == pytest.approx(four.error_share - usual.error_share, abs=1e-4)
    assert "per_denoise = 4" in form.text


def test_no_edit_of_an_experiment_is_made_twice(form, passes):
    asyncio.run(form._run())
    before, seen = passes["passes"], form.text
    form.run()
    form.measure.value = "brokenness"
    assert passes["passes"] == before
    assert form.text != seen
    form.setting.value = "supervision"
    form.run()
    assert len(form.tried) == 3
    assert list(form.differences()) == ["supervision = standard"]
