"""The stream of steps: its order and counts, what closing it leaves behind, seeds, caches and stopping."""

from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from gooddrag.editor import Editing, edit, iter_edit
from gooddrag.errors import BadInput, EditFailed
from gooddrag.features import Frame
from gooddrag.loop import perturbation
from gooddrag.methods import DragDiffusion, GoodDrag, LoraSettings
from gooddrag.result import Recorder
from gooddrag.steps import Denoised, Dragged, Finished, Inverted, Learned, Started, Supervised

KINDS = ["Learned", "Inverted", "Started", "Supervised", "Dragged", "Denoised"]


def kinds(steps):
    return [type(s).__name__ for s in steps]


def snapshot(backbone):
    return {name: value.clone() for name, value in backbone.unet.state_dict().items()}


def assert_untouched(backbone, before):
    after = backbone.unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in backbone.unet.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.unet.modules())


def test_the_stream_tells_the_story_in_order(tiny, task, quick):
    steps = list(iter_edit(tiny, task, quick, use_cache=False))
    drag = ["Supervised", "Supervised", "Dragged"]
    assert kinds(steps) == ["Inverted"] * 8 + ["Started"] + [
        *drag * 2, "Denoised", *drag * 2, "Denoised", *["Denoised"] * 6, "Finished"
    ]  # fmt: skip
    assert [(s.drag, s.step, s.of) for s in steps if isinstance(s, Supervised)][:3] == [(1, 1, 2), (1, 2, 2), (2, 1, 2)]
    assert [s.at for s in steps if isinstance(s, Denoised)] == list(range(8))
    assert steps[-1].image.size == task.size


def test_drag_all_first_differs_in_the_order_of_steps_only(tiny, task, quick):
    first = quick.with_settings(schedule="drag_then_denoise")
    steps = [s for s in iter_edit(tiny, task, first, use_cache=False) if isinstance(s, Dragged | Denoised)]
    assert kinds(steps) == ["Dragged"] * 4 + ["Denoised"] * 8


@pytest.mark.parametrize("after", KINDS)
def test_closing_the_stream_early_leaves_the_model_bit_for_bit(tiny, task, quick, after):
    before = snapshot(tiny)
    method = quick.with_settings(lora={"steps": 2, "rank": 2})
    with closing(iter_edit(tiny, task, method, use_cache=False)) as stream:
        for step in stream:
            if type(step).__name__ == after:
                break
    assert_untouched(tiny, before)


def test_a_finished_edit_leaves_the_model_bit_for_bit(tiny, task, quick):
    before = snapshot(tiny)
    edit(tiny, task, quick.with_settings(lora={"steps": 2, "rank": 2}), use_cache=False)
    assert_untouched(tiny, before)


def test_an_error_inside_the_stream_leaves_the_model_bit_for_bit(tiny, task, quick, monkeypatch):
    before = snapshot(tiny)
    monkeypatch.setattr("gooddrag.loop.track_points", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        edit(tiny, task, quick.with_settings(lora={"steps": 1, "rank": 2}), use_cache=False)
    assert_untouched(tiny, before)


@pytest.mark.parametrize("compat", ["paper", "official"])
@pytest.mark.parametrize("after", KINDS)
def test_an_edit_that_was_left_goes_on_bit_for_bit(tiny, task, quick, after, compat):
    """Left at some steps of a kind, with another edit on the same model in between."""
    method = quick.with_settings(lora={"steps": 2, "rank": 2}, compat=compat, r2=3)
    whole = [s for s in iter_edit(tiny, task, method, use_cache=False) if isinstance(s, Dragged | Denoised | Finished)]
    before, editing, pieces, last = snapshot(tiny), Editing(tiny, task, method, use_cache=False), [], None
    leave = iter([True, False])
    while not isinstance(last, Finished):
        with closing(editing.steps()) as stream:
            for step in stream:
                last = step
                pieces += [step] if isinstance(step, Dragged | Denoised | Finished) else []
                if type(step).__name__ == after and next(leave, False):
                    break
        assert_untouched(tiny, before)
        edit(tiny, task, method.with_settings(drags=0, strength=0.2), use_cache=False)

    assert next(leave, None) is not True, "it was never left"
    assert kinds(pieces) == kinds(whole)
    for piece, step in zip(pieces[:-1], whole[:-1], strict=True):
        assert torch.equal(piece.latent, step.latent)
        assert piece.handles.tolist() == step.handles.tolist()
        assert (piece.loss_drag, piece.loss_mask) == pytest.approx((step.loss_drag, step.loss_mask), abs=0, nan_ok=True)
    assert pieces[-1].image.tobytes() == whole[-1].image.tobytes()


def test_a_model_at_work_refuses_a_second_edit(tiny, task, quick):
    method = quick.with_settings(lora={"steps": 1, "rank": 2})
    with closing(iter_edit(tiny, task, method)) as stream:
        next(step for step in stream if isinstance(step, Dragged))
        with pytest.raises(BadInput, match="at work on another edit"):
            edit(tiny, task, quick)
    assert edit(tiny, task, quick).image.size == task.size


def test_the_same_seed_gives_the_same_bytes(tiny, task, quick):
    method = quick.with_settings(lora={"steps": 2, "rank": 2}, seed=5)
    one, two = (edit(tiny, task, method, use_cache=False) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.trace.table.equals(two.trace.table)
    other = edit(tiny, task, method.with_settings(seed=6), use_cache=False)
    assert other.image.tobytes() != one.image.tobytes()


def test_a_second_edit_of_the_picture_neither_learns_nor_inverts(tiny, task, quick):
    method = quick.with_settings(lora={"steps": 2, "rank": 2}, seed=11)
    first = list(iter_edit(tiny, task, method))
    elsewhere = task.with_points(task.handles, task.targets + np.array([2, 3]))
    second = list(iter_edit(tiny, elsewhere, method))
    assert any(isinstance(s, Learned) for s in first)
    assert not any(isinstance(s, Learned | Inverted) for s in second)
    again = list(iter_edit(tiny, task, method))
    assert again[-1].image.tobytes() == first[-1].image.tobytes()


def test_a_damaged_cache_file_is_done_without(tiny, task, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("GOODDRAG_CACHE", str(tmp_path))
    first = edit(tiny, task, quick)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    assert edit(tiny, task, quick).image.tobytes() == first.image.tobytes()


def test_a_cache_that_cannot_be_written_is_done_without(tiny, task, quick, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GOODDRAG_CACHE", str(tmp_path / "file" / "below"))
    assert edit(tiny, task, quick).image.size == task.size


def test_dragging_ends_when_every_handle_has_arrived(tiny, task, quick):
    near = task.with_points(task.handles, task.handles + np.array([[3, 0], [0, 3]]))
    generous = quick.with_settings(reach=4.0)
    steps = list(iter_edit(tiny, near, generous, use_cache=False))
    assert not any(isinstance(s, Dragged) for s in steps)
    assert steps[-1].reached


def test_patience_ends_dragging_that_moves_nothing(tiny, task, quick, monkeypatch):
    monkeypatch.setattr("gooddrag.loop.track_points", lambda F, f0, p, r2, grid: (p, torch.zeros(len(p))))
    impatient = quick.with_settings(drags=8, per_denoise=8, patience=3)
    steps = list(iter_edit(tiny, task, impatient, use_cache=False))
    assert sum(isinstance(s, Dragged) for s in steps) == 3


def test_official_numbers_of_steps_are_those_of_the_published_code(tiny, task, monkeypatch):
    """B=10, J=3, 7 timesteps, never arriving: 210 gradient steps, 70 counted and 7 uncounted trackings."""
    calls = {"track": 0, "step": 0}
    jitter = iter(range(10**6))

    def never_arrive(F, f0, p, r2, grid):
        calls["track"] += 1
        return p + (1.0 if next(jitter) % 2 else -1.0) * torch.tensor([0.0, 1.0]), torch.zeros(len(p))

    real_step = torch.optim.Adam.step
    monkeypatch.setattr("gooddrag.loop.track_points", never_arrive)
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *a: calls.update(step=calls["step"] + 1) or real_step(self, *a)
    )
    method = GoodDrag(compat="official", lora=None)
    steps = list(iter_edit(tiny, task, method, use_cache=False))
    assert calls == {"track": 77, "step": 210}
    assert sum(isinstance(s, Dragged) for s in steps) == 70


def test_official_code_fails_at_the_border_and_ours_does_not(tiny, task, quick):
    at_the_edge = task.with_points([(1, 30)], [(12, 30)])
    with pytest.raises(EditFailed, match="border"):
        edit(tiny, at_the_edge, quick.with_settings(compat="official"), use_cache=False)
    assert edit(tiny, at_the_edge, quick, use_cache=False).image.size == task.size


def test_without_a_mask_everything_may_change_unless_official(tiny, task, quick):
    bare = task.with_mask(None)
    ours = [s for s in iter_edit(tiny, bare, quick, use_cache=False) if isinstance(s, Dragged)]
    official = quick.with_settings(compat="official", r2=3)
    theirs = [s for s in iter_edit(tiny, bare, official, use_cache=False) if isinstance(s, Dragged)]
    assert all(s.loss_mask == 0 for s in ours)
    assert theirs[-1].loss_mask > 0


def test_the_mask_term_holds_the_rest_in_place(tiny, task, quick):
    free, held = (
        [
            s
            for s in iter_edit(tiny, task, quick.with_settings(mask_weight=w), use_cache=False)
            if isinstance(s, Dragged)
        ]
        for w in (0.0, 100.0)
    )
    assert held[-1].perturbation[1] < free[-1].perturbation[1]


def test_pixels_outside_the_mask_are_pasted_back_on_request(tiny, task, quick):
    plain, sharp, soft = (
        np.asarray(edit(tiny, task, quick.with_settings(**how), use_cache=False).image, int)
        for how in ({}, {"keep_outside": True, "feather": 0}, {"keep_outside": True, "feather": 4})
    )
    original = np.asarray(task.image, int)
    assert np.array_equal(sharp[~task.mask], original[~task.mask])
    assert np.array_equal(sharp[task.mask], plain[task.mask])
    edge = np.s_[8, 8:56]  # the first row of the mask: half original, half edit, where the seam is soft
    assert np.abs(soft - original)[edge].mean() < 0.7 * np.abs(plain - original)[edge].mean()


def test_a_stop_finishes_the_picture_from_where_it_is(tiny, task, quick):
    recorder = Recorder(task, quick, tiny)
    with closing(iter_edit(tiny, task, quick, use_cache=False)) as stream:
        for step in stream:
            recorder.see(step)
            if isinstance(step, Dragged) and step.drag == 3:
                at_the_drag = step.finish()
            if isinstance(step, Supervised) and step.drag == 4:  # half a drag doesn't count
                result = recorder.stopped()
                break
    assert result.stopped
    assert result.image.tobytes() == at_the_drag.tobytes()
    assert result.image.size == task.size
    assert result.trace.drags["drag"].max() == 3


@pytest.mark.parametrize("changes", [{}, {"eta": 1.0}, {"eta": 1.0, "hold_outside": True}, {"source_path": "inverted"}])
def test_finishing_from_the_last_drag_is_what_the_stream_does(tiny, task, quick, changes):
    steps = iter_edit(tiny, task, quick.with_settings(**changes), use_cache=False)
    for step in steps:
        if isinstance(step, Dragged) and step.drag == 4:
            early = step.finish()
        if isinstance(step, Finished):
            assert early.tobytes() == step.image.tobytes()


def test_fresh_noise_comes_inside_the_mask_only(tiny, task, quick):
    plain, renewed, again, other = (
        next(s.latent for s in iter_edit(tiny, task, method, use_cache=False) if isinstance(s, Denoised))
        for method in (quick, *(quick.with_settings(eta=1.0, seed=seed) for seed in (0, 0, 1)))
    )
    inside = (plain != renewed).any(1)[0]
    assert inside[2:14, 2:14].all()
    assert inside.sum() == 12 * 12
    assert torch.equal(renewed, again)
    assert not torch.equal(renewed, other)


def test_without_a_mask_no_noise_is_renewed(tiny, task, quick):
    """It would be renewed everywhere, and the rest of the picture would be another one."""
    free = replace(task, mask=None)
    plain, renewed = (edit(tiny, free, quick.with_settings(eta=eta), use_cache=False).image for eta in (0.0, 1.0))
    assert plain.tobytes() == renewed.tobytes()


def test_what_is_held_outside_the_mask_is_the_source(tiny, task, quick):
    plain, held = (
        [s for s in iter_edit(tiny, task, method, use_cache=False) if isinstance(s, Denoised)]
        for method in (quick, quick.with_settings(hold_outside=True))
    )
    assert all(step.perturbation[1] > 0 for step in plain)
    assert all(step.perturbation[1] == 0 and step.perturbation[0] > 0 for step in held)


def test_what_is_held_comes_home_to_the_picture_itself_on_a_path_that_inversion_made(tiny, task, quick):
    held = quick.with_settings(hold_outside=True, source_path="inverted")
    first, again = (edit(tiny, task, held).image for _ in range(2))
    frame = Frame.fit(task.size, 4, 4, 64)
    home = frame.to_image(tiny.decode(tiny.encode(frame.to_tensor(task.image))))
    outside = ~task.mask
    assert np.array_equal(np.asarray(first)[outside], np.asarray(home)[outside])
    assert first.tobytes() == again.tobytes()
    assert edit(tiny, task, held.with_settings(source_path="denoised")).image.tobytes() != first.tobytes()


def test_without_a_mask_nothing_is_held(tiny, task, quick):
    free = replace(task, mask=None)
    plain, held = (
        edit(tiny, free, quick.with_settings(hold_outside=hold), use_cache=False).image for hold in (False, True)
    )
    assert plain.tobytes() == held.tobytes()


def test_previews_are_pictures_of_the_tasks_size(tiny, task, quick):
    for step in iter_edit(tiny, task, quick, use_cache=False):
        if isinstance(step, Started | Dragged | Denoised):
            assert step.preview().size == task.size


def test_a_task_without_anything_to_drag_is_refused(tiny, task, quick):
    with pytest.raises(BadInput, match="nothing to drag"):
        edit(tiny, task.with_points([(20, 20)], [(20, 20)]), quick)


def test_numbers_that_break_down_end_in_one_sentence(tiny, task, quick, monkeypatch):
    monkeypatch.setattr(
        "gooddrag.loop.track_points", lambda F, f0, p, r2, grid: (p * float("nan"), torch.zeros(len(p)))
    )
    with pytest.raises(EditFailed, match="broke down"):
        edit(tiny, task, quick, use_cache=False)


def test_the_perturbation_is_an_rms_in_each_region():
    z, source = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    z[..., :2] = 3
    M = torch.zeros(1, 1, 4, 4)
    M[..., :2] = 1
    assert [v.item() for v in perturbation(z, source, M)] == [3.0, 0.0]
    everything = perturbation(z, source, None)
    assert everything[0].item() == pytest.approx(4.5**0.5)
    assert everything[1].isnan()


def test_perturbation_is_zero_at_the_start_and_grows_with_drags(tiny, task, quick):
    steps = [s for s in iter_edit(tiny, task, quick, use_cache=False) if isinstance(s, Started | Dragged)]
    inside = [s.perturbation[0] for s in steps[:3]]
    assert inside[0] == 0
    assert all(a < b for a, b in pairwise(inside))


def test_a_tall_picture_keeps_its_size(tiny, quick):
    from gooddrag.task import DragTask

    picture = np.random.default_rng(1).integers(0, 256, (143, 91, 3)).astype(np.uint8)
    tall = DragTask(picture, [(30, 40)], [(60, 90)])
    result = edit(tiny, tall, quick, use_cache=False)
    assert result.image.size == (91, 143)


def test_dragdiffusion_is_a_change_of_settings():
    dd = DragDiffusion()
    assert dd.timeline.timesteps[0] == 681
    assert {s.at for s in dd.steps_to_take() if hasattr(s, "number")} == {0}
    assert (dd.supervision, dd.supervision_steps, dd.lora) == ("standard", 1, LoraSettings(steps=80))
