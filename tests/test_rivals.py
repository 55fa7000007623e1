"""Rivals: what all methods promise alike, then what each does otherwise, in closed form where there is one."""

import math
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch

from gooddrag import backbone as backbones
from gooddrag import cli
from gooddrag.adapter import applied, folded
from gooddrag.diffusion import fresh_noise_scale
from gooddrag.editor import Editing, edit, iter_edit
from gooddrag.errors import BadInput
from gooddrag.features import Frame, sample_patch
from gooddrag.loop import Edit
from gooddrag.methods import (
    METHODS,
    Abilities,
    DragDiffusion,
    DragNoise,
    FastDrag,
    FreeDrag,
    GoodDrag,
    SdeDrag,
    method_for,
)
from gooddrag.result import Recorder
from gooddrag.rivals.drag_noise import replaced
from gooddrag.rivals.fast_drag import displacement, filled, latent_coordinates, warped
from gooddrag.rivals.free_drag import adaptation, next_aims, template_losses
from gooddrag.rivals.sde_drag import copied, cycle_step, noised, randn_like, rounds_for, time_grid
from gooddrag.steps import Denoised, Dragged, Finished, Inverted, Learned, Measured, Started, Supervised
from gooddrag.supervision import Points
from gooddrag.trace import COLUMNS, Trace
from tests.conftest import make_tiny_backbone
from tests.test_editor import assert_untouched, kinds, snapshot

ROOT = Path(__file__).parents[1]
SHORT = {"steps": 10, "lora": {"steps": 1, "rank": 2}}
DRAGS = {"drags": 2, "r1": 2, "reach": 1.0}
QUICK = {
    "gooddrag": GoodDrag(**SHORT, **DRAGS, per_denoise=1, supervision_steps=2, r2=4),
    "dragdiffusion": DragDiffusion(**SHORT, **DRAGS),
    "dragnoise": DragNoise(**SHORT, **DRAGS, free_steps=3, latent_lr=0.2),
    "freedrag": FreeDrag(**SHORT, **DRAGS, supervision_steps=2, expected_loss=0.1),
    "fastdrag": FastDrag(**SHORT),
    "sdedrag": SdeDrag(**SHORT, radius=2),
}
PRECISIONS = (torch.float32, torch.float64)
every_method = pytest.mark.parametrize("name", METHODS)


def test_every_method_is_tried_here():
    assert list(QUICK) == list(METHODS)


# ------------------------------------------------------------------------------------------- what all promise alike


@every_method
def test_the_stream_tells_the_story_in_order(tiny, task, name):
    method = QUICK[name]
    steps = list(iter_edit(tiny, task, method, use_cache=False))
    seen = list(dict.fromkeys(kinds(steps)))
    assert [kind for kind in seen if kind != "Supervised"] == [
        "Learned", *(["Inverted"] if method.abilities.inverts else []), "Started", "Dragged", "Denoised", "Finished"
    ]  # fmt: skip
    drags = [s for s in steps if isinstance(s, Dragged)]
    assert [s.drag for s in drags] == list(range(1, len(drags) + 1))
    assert {s.of for s in drags} == {len(drags)}
    assert [s.at for s in steps if isinstance(s, Denoised)] == sorted(s.at for s in steps if isinstance(s, Denoised))
    assert steps[-1].image.size == task.size


@every_method
def test_the_trace_has_sensible_columns(tiny, task, name):
    table = Trace.of(iter_edit(tiny, task, QUICK[name], use_cache=False)).table
    numbers = table[[c for c in COLUMNS if c not in ("phase", "loss_drag", "loss_mask")]]
    assert np.isfinite(numbers.to_numpy(float)).all()
    start = table[table["phase"] == "start"]
    assert np.allclose(start[["x", "y"]], task.handles, atol=0.5)
    assert (start["perturbation_inside"] == 0).all()
    assert (table[table["phase"] == "drag"]["drift"] > 0).all()
    assert table["t"].between(0, 999).all()
    assert (table.tail(1)["perturbation_inside"] > 0).all()


@every_method
def test_every_pull_pulls_at_the_handles_also_without_a_mask(tiny, task, name, monkeypatch):
    """A pass that one part of a drag makes without gradients mustn't be all that its pull has."""
    pulled = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: pulled.append(self.param_groups[0]["params"][0].grad) or step(self)
    )
    result = edit(tiny, replace(task, mask=None), QUICK[name].with_settings(lora=None), use_cache=False)
    assert (result.trace.table["perturbation_inside"].tail(1) > 0).all()
    assert bool(pulled) == QUICK[name].abilities.gradients
    assert all(gradient.count_nonzero() for gradient in pulled)


@every_method
def test_the_same_seed_gives_the_same_bytes(tiny, task, name):
    one, two = (edit(tiny, task, QUICK[name], use_cache=False) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.trace.table.equals(two.trace.table)


@every_method
@pytest.mark.parametrize("after", [Learned, Inverted, Started, Supervised, Dragged, Denoised], ids=lambda k: k.__name__)
def test_closing_the_stream_early_leaves_the_model_bit_for_bit(tiny, task, name, after):
    before = snapshot(tiny)
    with closing(iter_edit(tiny, task, QUICK[name])) as stream:
        next((s for s in stream if isinstance(s, after)), None)
    assert_untouched(tiny, before)


@every_method
def test_an_edit_that_was_left_goes_on_bit_for_bit(tiny, task, name):
    kept = Dragged | Denoised | Finished
    whole = [s for s in iter_edit(tiny, task, QUICK[name]) if isinstance(s, kept)]
    editing, pieces = Editing(tiny, task, QUICK[name]), []
    while not (pieces and isinstance(pieces[-1], Finished)):
        with closing(editing.steps()) as stream:
            for step in stream:
                pieces += [step] if isinstance(step, kept) else []
                if isinstance(step, Supervised | kept):
                    break
    assert kinds(pieces) == kinds(whole)
    assert all(torch.equal(a.latent, b.latent) for a, b in zip(pieces[:-1], whole[:-1], strict=True))
    assert pieces[-1].image.tobytes() == whole[-1].image.tobytes()


@every_method
def test_a_stop_finishes_the_picture_from_the_last_whole_step(tiny, task, name):
    recorder, early = Recorder(task, QUICK[name], tiny), None
    with closing(iter_edit(tiny, task, QUICK[name])) as stream:
        for step in stream:
            recorder.see(step)
            if early is not None:
                break
            if isinstance(step, Dragged):
                early = step.finish()
        if isinstance(step, Supervised):  # half a drag doesn't count, and has not changed what the whole one gave
            assert recorder.stopped().image.tobytes() == early.tobytes()
        assert recorder.stopped().image.size == task.size
    assert recorder.drags == 1


@every_method
def test_finishing_from_the_last_drag_is_what_the_stream_does(tiny, task, name):
    for step in iter_edit(tiny, task, QUICK[name]):
        if isinstance(step, Measured):
            assert step.preview().size == task.size
        if isinstance(step, Dragged):
            early = step.finish()
        if isinstance(step, Finished):
            assert early.tobytes() == step.image.tobytes()


@every_method
def test_the_mask_is_kept_to(tiny, task, name):
    """A drag changes the latent inside of the mask more than outside of it; the warp and the paste only inside."""
    drags = [s for s in iter_edit(tiny, task, QUICK[name]) if isinstance(s, Dragged | Denoised)]
    inside, outside = drags[-1].perturbation
    assert outside < inside
    if name in ("fastdrag", "sdedrag"):
        assert drags[0 if name == "fastdrag" else -1].perturbation[1] < 1e-4


@every_method
def test_abilities_say_what_a_method_asks_for(tiny, task, name, monkeypatch):
    method = QUICK[name]
    assert issubclass(resolve_name(method.loop), Edit)
    assert method.abilities.adapter == (type(method)().lora is not None)
    plain = method.with_settings(lora=None)
    calls = []
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: calls.append("gradient") or backward(self))
    track = "gooddrag.loop.track_points"
    real = resolve_name(track.replace("loop.", "loop:"))
    monkeypatch.setattr(track, lambda *a: calls.append("track") or real(*a))
    edit(tiny, task, plain, use_cache=False)
    assert ("gradient" in calls) == method.abilities.gradients
    assert ("track" in calls) == method.abilities.tracks


class Picky(FastDrag):
    """A method that can do very little."""

    abilities = Abilities(several=False, mask=False)


def test_what_a_method_cannot_do_is_refused_in_one_sentence(tiny, task):
    with pytest.raises(BadInput, match="Picky moves one handle, and this task has 2"):
        edit(tiny, task, Picky())
    with pytest.raises(BadInput, match="can't keep to a mask"):
        edit(tiny, task.with_points([(24, 30)], [(34, 30)]), Picky())
    outside = task.with_points([(24, 30), (3, 3)], [(34, 30), (12, 12)])
    with pytest.raises(BadInput, match="a handle lies outside"):
        edit(tiny, outside, FastDrag())
    within = task.with_points([(24, 28)], [(26, 28)])  # the same latent cell
    for method in (FastDrag(), SdeDrag()):
        with pytest.raises(BadInput, match=r"own latent cell.*at least 4 px"):
            edit(tiny, within, method)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (FastDrag, {"r1": 3}),
        (SdeDrag, {"drags": 5}),
        (FreeDrag, {"r2": 5}),
        (FreeDrag, {"compat": "official"}),
        (DragNoise, {"compat": "official"}),
        (SdeDrag, {"strength": 1.0}),
    ],
)
def test_a_setting_that_means_nothing_to_a_method_is_refused(kind, settings):
    with pytest.raises(BadInput, match=next(iter(settings))):
        kind(**settings)


@every_method
def test_the_command_line_runs_each_by_name(tiny, task, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backbones, "load_backbone", lambda *_, **__: tiny)
    task.write("task")
    short = {"lora": "null", "steps": "10", "drags": "2", "free_steps": "3"}
    changes = {setting: value for setting, value in short.items() if setting in METHODS[name].model_fields}
    sets = [part for pair in changes.items() for part in ("--set", "=".join(pair))]
    monkeypatch.setattr("sys.argv", ["gooddrag", "edit", "task", "--method", name, *sets, "--out", "out", "--animate"])
    with suppress(SystemExit):
        cli.main()
    out, err = capsys.readouterr()
    assert "Results in" in out, err
    assert {p.name for p in Path("out").iterdir()} >= {"edited.png", "trace.parquet", "settings.json", "animation.gif"}
    assert f'"method": "{name}"' in Path("out/settings.json").read_text()


def test_the_help_names_every_method(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gooddrag", "edit", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    assert all(name in said for name in METHODS)


def test_the_page_on_rivals_lists_exactly_the_methods_that_exist():
    lines = (ROOT / "docs/rivals.md").read_text(encoding="utf-8").splitlines()
    listed = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert listed == list(METHODS)


@every_method
def test_pocket_has_settings_for_each(name):
    assert isinstance(method_for(name, "pocket"), METHODS[name])


# --------------------------------------------------------------------------------------------------------- DragNoise


def test_gradients_reach_the_bottleneck_as_finite_differences_say(task):
    tiny = make_tiny_backbone(dtype=torch.float64)
    z = torch.randn(1, 4, 16, 16, dtype=torch.float64)
    h = torch.randn(1, 16, 2, 2, dtype=torch.float64)

    def loss(h):
        with replaced(tiny.unet.mid_block, h):
            return tiny.predict(z, 401, features=True).features.square().sum()

    h.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(h), h)
    for where in [(0, 0, 0, 0), (0, 5, 1, 0), (0, 15, 1, 1)]:
        change = torch.zeros_like(h)
        change[where] = 1e-5
        slope = (loss(h.detach() + change) - loss(h.detach() - change)) / 2e-5
        assert gradient[where].item() == pytest.approx(slope.item(), rel=1e-4)


def test_dragnoise_leaves_the_latent_alone_until_it_is_denoised(tiny, task):
    steps = list(iter_edit(tiny, task, QUICK["dragnoise"]))
    assert all(s.perturbation == (0, 0) for s in steps if isinstance(s, Dragged))
    assert next(s for s in steps if isinstance(s, Denoised)).perturbation[0] > 0


@pytest.mark.parametrize("free", [0, 3, 6])
def test_the_bottleneck_is_kept_until_the_free_steps(tiny, task, monkeypatch, free):
    put_in = []
    real = replaced
    monkeypatch.setattr("gooddrag.rivals.drag_noise.replaced", lambda block, h: put_in.append(1) or real(block, h))
    denoised = []
    for step in iter_edit(tiny, task, QUICK["dragnoise"].with_settings(free_steps=free)):
        if isinstance(step, Denoised):
            denoised.append(bool(put_in))
        put_in.clear()
    assert denoised == [True] * (7 - free) + [False] * free


def test_dragnoise_wants_at_least_one_step_with_its_bottleneck():
    with pytest.raises(BadInput, match="free_steps"):
        QUICK["dragnoise"].with_settings(free_steps=7).steps_to_take()


# ---------------------------------------------------------------------------------------------------------- FreeDrag


def line_of_features(n=64, slope=0.1):
    """A map on which the difference between two places is `slope` for each cell that they lie apart in x."""
    x = torch.arange(n, dtype=torch.float64) * slope
    return x.expand(1, 2, n, n)


def aims(p, first, last, g=(50.0, 30.0), start=(20.0, 30.0), d_max=5.0, expected=0.3):
    F = line_of_features()
    points = Points(*(torch.tensor([v], dtype=torch.float64) for v in (start, start, g)), (64, 64))
    templates = sample_patch(F, points.p0, 2, points.grid)
    points = replace(points, p=torch.tensor([p], dtype=torch.float64))
    losses = (torch.tensor([v], dtype=torch.float64) for v in (first, last))
    return next_aims(F, points, templates, *losses, 2, d_max, expected)[0].tolist()


def test_the_aim_goes_to_where_the_features_differ_by_the_expected_loss():
    assert aims((20.0, 30.0), 0, 0, expected=0.3) == pytest.approx([23, 30])
    assert aims((20.0, 30.0), 0, 0, expected=0.1) == pytest.approx([21, 30])
    assert aims((20.0, 30.0), 0, 0, expected=9.0) == pytest.approx([25, 30])  # never more than d_max
    assert aims((20.0, 30.0), 0, 0, expected=9.0, g=(22.0, 30.0)) == pytest.approx([22, 30])  # nor beyond the target


def test_the_aim_stays_while_the_features_are_coming():
    assert aims((24.0, 30.0), first=0.4, last=0.3) == [24, 30]


def test_the_aim_goes_back_when_a_drag_made_it_worse():
    """From 5 cells behind, of the places up to 10 ahead, the one most like the template: the start, if it is one."""
    assert aims((25.0, 30.0), first=0.3, last=0.4) == pytest.approx([21, 30])
    assert aims((26.0, 30.0), first=0.3, last=0.4) == pytest.approx([22, 30])


def test_templates_adapt_as_the_paper_says():
    loss = torch.tensor([0.4, 1.6, 0.0, 100.0])
    expected = [0.5, 0.1, 1 / (1 + math.exp(-math.log(9) / 3)), 0.0]
    assert adaptation(loss, 2.0).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_template_loss_is_a_mean_and_its_gradient_right():
    points = Points(*(torch.tensor([v], dtype=torch.float64) for v in ((9, 9), (9.3, 8.6), (20, 9))), (32, 32))
    F = torch.rand(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    template = torch.rand(1, 3, 3, 2, dtype=torch.float64) + 2  # away from the kink of |·|
    assert torch.autograd.gradcheck(lambda F: template_losses(F, points, template, 1), F)
    ones = torch.ones(1, 2, 8, 8, dtype=torch.float64)
    assert template_losses(ones, points, torch.zeros_like(template), 1).item() == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------------- FastDrag


def test_the_warp_moves_a_blob_by_exactly_the_drag():
    z = torch.zeros(1, 2, 32, 32)
    z[0, :, 12, 10] = torch.tensor([3.0, -2.0])
    area = torch.ones(32, 32, dtype=torch.bool)
    out = warped(z, area, torch.tensor([[10.0, 12.0]]), torch.tensor([[15.0, 9.0]]))
    assert out[0, :, 9, 15].tolist() == [3, -2]
    assert z[0, :, 12, 10].tolist() == [3, -2], "the source stays as it was"


def test_the_circle_stays_where_it_is_and_the_handle_goes_all_the_way():
    side = torch.arange(11.0)
    cells = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1).reshape(-1, 2)
    A, B = torch.tensor([[4.0, 5.0]]), torch.tensor([[7.0, 5.0]])
    v = displacement(cells, A, B).reshape(11, 11, 2)
    assert v[5, 4].tolist() == pytest.approx([3, 0], abs=1e-4)
    assert v[[0, 0, 10, 10], [0, 10, 0, 10]].abs().max() < 1e-4  # the corners lie on the circle
    R = math.hypot(5, 5)
    share = (5 + R - 8) / (1 + R)  # from A to the right the circle is 1 + R away; (8, 5) is 4 cells on
    assert v[5, 8].tolist() == pytest.approx([3 * share, 0], abs=1e-4)


def test_several_drags_are_weighed_by_nearness():
    cells = torch.tensor([[0.0, 0.0], [20.0, 20.0], [4.0, 10.0], [10.0, 10.0]])
    A, B = torch.tensor([[4.0, 10.0], [16.0, 10.0]]), torch.tensor([[6.0, 10.0], [14.0, 10.0]])
    v = displacement(cells, A, B)
    assert v[2].tolist() == pytest.approx([2, 0], abs=1e-3)  # at a handle its own drag decides
    assert v[3].tolist() == pytest.approx([0, 0], abs=1e-5)  # halfway between opposite drags nothing moves


def test_nothing_outside_the_mask_is_warped():
    z, area = torch.randn(1, 3, 16, 16), torch.zeros(16, 16, dtype=torch.bool)
    area[4:10, 3:12] = True
    out = warped(z, area, torch.tensor([[6.0, 6.0]]), torch.tensor([[14.0, 6.0]]))
    assert torch.equal(out[:, :, ~area], z[:, :, ~area])
    assert not torch.equal(out[:, :, area], z[:, :, area])


def test_holes_are_filled_from_the_nearest_cells_in_four_directions():
    z = torch.arange(25.0).reshape(1, 1, 5, 5)
    holes = torch.zeros(5, 5, dtype=torch.bool)
    holes[2, 1:4] = True
    out = filled(z, holes)[0, 0]
    left, right, above, below = (10, 1), (14, 3), (6, 1), (16, 1)  # value and distance seen from (x=1, y=2)
    expected = sum(v / d for v, d in (left, right, above, below)) / sum(1 / d for _, d in (left, right, above, below))
    assert out[2, 1].item() == pytest.approx(expected)
    assert torch.equal(out[~holes], z[0, 0][~holes])
    assert torch.equal(filled(z, torch.ones_like(holes)), z)


def test_feature_cells_and_latent_cells_share_their_centres():
    assert latent_coordinates(torch.tensor([[1.5, 5.5], [-0.5, 3.5]])).tolist() == [[0, 1], [-0.5, 0.5]]


# ---------------------------------------------------------------------------------------------------------- SDE-Drag


def test_the_time_grid_is_the_published_one():
    grid = time_grid(200, 0.6)
    assert len(grid) == 121
    assert (grid[0], grid[1]) == (5, 10)
    assert grid[98:102] == (495, 500, 504, 509)
    assert grid[118:] == (594, 599, 604)
    assert max(time_grid(999, 0.9999)) <= 999


def test_the_noise_of_a_step_is_the_published_one():
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = (1 - beta).cumprod(0)
    assert fresh_noise_scale(alphas[604].item(), alphas[599].item()) == pytest.approx(0.171980, abs=1e-6)


@pytest.mark.parametrize(("distance", "rounds"), [(2, 1), (3, 2), (5, 3), (9, 5), (11.3, 6), (0.5, 1)])
def test_a_drag_is_cut_into_rounds(distance, rounds):
    assert rounds_for(distance, 2.0) == rounds


def test_noise_is_added_so_that_each_state_has_its_level():
    chance, levels = torch.Generator().manual_seed(0), [0.99, 0.7, 0.4, 0.1]
    states = noised(torch.full((1, 1, 200, 200), 2.0), levels, chance)
    for state, level in zip(states[1:], levels[1:], strict=True):
        share = level / levels[0]
        assert state.mean().item() == pytest.approx(2 * share**0.5, abs=0.02)
        assert state.var().item() == pytest.approx(1 - share, abs=0.02)


def test_a_step_of_cycle_sde_is_the_ddpm_step_with_the_noise_that_leads_the_original_back():
    y, e, o, e_o, o_next = torch.randn(5, 1, 2, 4, 4, dtype=torch.float64)
    a_t, a_s = 0.3, 0.4
    sigma = fresh_noise_scale(a_t, a_s)

    def mean(v, eps):
        return a_s**0.5 * (v - (1 - a_t) ** 0.5 * eps) / a_t**0.5 + (1 - a_s - sigma**2) ** 0.5 * eps

    w = (o_next - mean(o, e_o)) / sigma
    torch.testing.assert_close(cycle_step(y, e, o, e_o, o_next, a_t, a_s), mean(y, e) + sigma * w)
    torch.testing.assert_close(cycle_step(o, e_o, o, e_o, o_next, a_t, a_s), o_next)


@pytest.mark.parametrize("lora", [None, {"steps": 1, "rank": 2}], ids=["plain", "adapter"])
def test_without_the_paste_the_latent_comes_back(task, monkeypatch, lora):
    tiny = make_tiny_backbone(dtype=torch.float64)
    monkeypatch.setattr("gooddrag.rivals.sde_drag.copied", lambda x, *_: x)
    method = QUICK["sdedrag"].with_settings(lora=lora)
    steps = list(iter_edit(tiny, task.with_mask(None), method, use_cache=False))
    last = [s for s in steps if isinstance(s, Denoised)][-1]
    z0 = tiny.encode(Frame.fit(task.size, 4, 4, 64).to_tensor(task.image).double())
    assert sum(isinstance(s, Dragged) for s in steps) == 2
    assert (last.latent - z0).abs().max() < 1e-9
    assert all(s.perturbation[0] < 1e-9 for s in steps if isinstance(s, Measured))


def test_the_paste_leaves_noise_behind_and_gains_where_it_goes():
    x, chance = torch.zeros(1, 4, 40, 40), torch.Generator().manual_seed(0)
    x[:, :, 5:15, 5:15] = 3
    out = copied(x, torch.tensor([[10, 10]]), torch.tensor([[30, 28]]), 5, 0.3, 1.1, chance)
    assert torch.allclose(out[:, :, 23:33, 25:35], torch.tensor(3.3))
    erased = out[:, :, 5:15, 5:15]
    assert erased.mean().item() == pytest.approx(0.9, abs=0.15)
    assert erased.var().item() == pytest.approx(1 - 0.3**2, abs=0.15)
    rest = torch.ones_like(x, dtype=torch.bool)
    rest[:, :, 5:15, 5:15] = rest[:, :, 23:33, 25:35] = False
    assert torch.equal(out[rest], x[rest])


def test_the_paste_is_cut_alike_at_both_ends_of_the_drag():
    x = torch.arange(100.0).reshape(1, 1, 10, 10)
    out = copied(x, torch.tensor([[5, 5]]), torch.tensor([[1, 8]]), 3, 1.0, 1.0, torch.Generator())
    assert torch.equal(out[0, 0, 5:9, 0:4], x[0, 0, 2:6, 4:8])  # 1 cell before, 3 after in x; 3 and 1 in y


def test_outside_the_mask_the_unedited_states_stay(tiny, task):
    steps = [s for s in iter_edit(tiny, task, QUICK["sdedrag"]) if isinstance(s, Denoised)]
    z0 = tiny.encode(Frame.fit(task.size, 4, 4, 64).to_tensor(task.image))
    change = (steps[-1].latent - z0).abs().amax(1)[0]
    assert change[2:14, 2:14].max() > 0.1
    assert change[:2].max() == change[:, :2].max() == change[14:].max() == change[:, 14:].max() == 0


def test_adapter_weights_go_from_one_to_their_end_along_half_a_cosine(tiny, task, monkeypatch):
    scales = []
    monkeypatch.setattr(
        "gooddrag.rivals.sde_drag.folded", lambda unet, adapter, scale: scales.append(1 + scale) or folded(unet, {}, 0)
    )
    edit(tiny, task, QUICK["sdedrag"])
    one_round = scales[: len(scales) // 2]
    assert one_round == scales[len(scales) // 2 :]
    assert one_round[0] == pytest.approx(0.5)
    assert one_round[-1] == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(one_round))


def test_folding_inside_of_an_adapter_weakens_it_and_gives_the_weights_back(tiny):
    name = next(n for n, _ in tiny.unet.named_modules() if n.endswith("to_q"))
    weight = tiny.unet.get_parameter(f"{name}.weight")
    plain = weight.data.clone()
    adapter = {f"{name}.down": torch.randn(2, plain.shape[1]), f"{name}.up": torch.randn(plain.shape[0], 2)}
    change = adapter[f"{name}.up"] @ adapter[f"{name}.down"]
    with applied(tiny.unet, adapter):
        with folded(tiny.unet, adapter, -0.75):
            torch.testing.assert_close(weight.data, plain + 0.25 * change, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weight.data, plain + change, atol=1e-5, rtol=1e-5)
    assert torch.equal(weight.data, plain)


def test_noise_is_the_same_for_every_precision():
    single, double = (randn_like(torch.zeros(3, dtype=d), torch.Generator().manual_seed(1)) for d in PRECISIONS)
    assert torch.equal(single, double.float())
