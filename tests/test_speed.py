"""Speed, memory and exactness: the table that the doctor prints, and the published code's way of working.

No test here looks at a clock: what is held is that all is measured, and that what is compared gives equal results.
"""

from copy import deepcopy
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gooddrag import cli, speed
from gooddrag.editor import iter_edit
from gooddrag.errors import BadInput
from gooddrag.methods import GoodDrag
from gooddrag.speed import Speed, largest_difference, latents, measure, shipped_task
from gooddrag.steps import Dragged
from tests.conftest import make_tiny_backbone

engine, published = import_module("benchmarks.engine"), import_module("benchmarks.published")
MEASURED = Speed("sd15", (512, 512), "cuda: a GPU, 80 GB", "bfloat16", "torch 2", {"decode": 0.25}, 7.5, 0.00123)


def rows(text):
    """A Markdown table with two columns, as a dict."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    assert all(len(line) == 2 for line in lines)
    assert lines[1] == ["---", "---"]
    return dict(lines)


def bench(monkeypatch, *model):
    """`gooddrag doctor --bench`, with the tiny backbone under whatever name is asked for."""
    tiny = make_tiny_backbone()
    monkeypatch.setattr("gooddrag.backbone.load_backbone", lambda name: replace(tiny, name=name))
    ran = CliRunner().invoke(cli.app, ["doctor", "--bench", *model])
    assert ran.exit_code == 0, ran.output
    return rows(ran.stdout)


def test_the_doctor_prints_a_table_with_all_rows(monkeypatch):
    table = bench(monkeypatch)
    assert list(table) == [
        "`gooddrag doctor --bench pocket`", "---", "device", "weights", "versions", "picture", "inversion step",
        "drag (J = 3)", "denoise step", "decode", "peak memory", "difference to the CPU in float32",
    ]  # fmt: skip
    assert table["device"].startswith("cpu: ")
    assert "torch" in table["versions"]
    assert table["picture"] == "64×64 px"
    assert table["difference to the CPU in float32"] == "not compared: this is the CPU"


def test_the_doctor_measures_the_model_that_is_named(monkeypatch):
    assert "`gooddrag doctor --bench sd15`" in bench(monkeypatch, "sd15")


def test_all_that_is_measured_is_a_positive_number(tiny):
    found = measure(tiny)
    for number in [*found.seconds.values(), found.peak]:
        assert np.isfinite(number)
        assert number > 0


def test_stable_diffusion_gets_a_picture_of_its_own_size(tiny, monkeypatch):
    sides = []
    monkeypatch.setattr(speed, "shipped_task", lambda side: sides.append(side) or shipped_task())
    measure(tiny)
    measure(replace(tiny, working_side=None))
    assert sides == [None, 512]


def test_a_gpus_table_names_its_memory_and_the_difference_to_the_cpu():
    table = rows(str(MEASURED))
    assert table["peak memory"] == "7.50 GB of the GPU's memory"
    assert table["difference to the CPU in float32"] == "1.2e-03"
    assert rows(str(replace(MEASURED, peak=float("nan"))))["peak memory"] == "not told here"


def test_what_is_not_float32_on_the_cpu_is_compared_with_it(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(speed, "load_backbone", lambda *how, **more: asked.append((how, more)) or tiny)
    finer = replace(tiny, unet=deepcopy(tiny.unet).double(), context=tiny.context.double())
    apart = measure(finer).apart
    assert asked == [(("tiny",), {"device": "cpu", "dtype": torch.float32})]
    assert apart is not None
    assert 0 < apart < 0.1


def test_latents_are_compared_step_by_step(quick):
    task = shipped_task()
    same, again, other = (latents(make_tiny_backbone(seed=seed), task, quick) for seed in (0, 0, 1))
    assert len(same) == 1 + quick.drags + len(quick.timeline)
    assert largest_difference(same, again) == 0
    assert largest_difference(same, other) > 1e-3


def test_no_handle_of_the_short_edit_arrives_before_its_drags_are_done(tiny):
    steps = iter_edit(tiny, shipped_task(), GoodDrag(**speed.SHORT), use_cache=False)
    assert sum(isinstance(step, Dragged) for step in steps) == speed.SHORT["drags"]


def test_a_scaled_task_has_its_points_and_mask_at_the_same_places():
    small, large = shipped_task(), shipped_task(512)
    assert large.size == (512, 512)
    np.testing.assert_allclose((large.handles + 0.5) / 8, small.handles + 0.5)
    np.testing.assert_allclose((large.targets + 0.5) / 8, small.targets + 0.5)
    assert large.mask.mean() == pytest.approx(small.mask.mean(), abs=1e-3)


def test_plan_and_bench_together_are_refused_in_one_sentence():
    ran = CliRunner().invoke(cli.app, ["doctor", "--bench", "--plan", "512x512"])
    assert isinstance(ran.exception, BadInput)
    assert str(ran.exception).endswith("use one of them.")


def test_an_unknown_model_is_refused_in_one_sentence():
    ran = CliRunner().invoke(cli.app, ["doctor", "--bench", "./nowhere"])
    assert isinstance(ran.exception, BadInput)
    assert "nowhere" in str(ran.exception)


# Double precision, since Adam makes rounding errors large where a gradient is almost zero.
SHORT = GoodDrag(steps=10, drags=4, per_denoise=2, supervision_steps=2, r1=2, r2=4, beta=3.0, lora=None)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_published_way_of_working_gives_the_engines_latents(prediction):
    tiny, task = make_tiny_backbone(dtype=torch.float64, prediction=prediction), shipped_task()
    adapter = published.some_adapter(tiny.unet)
    modes = ("official", "paper")
    official, paper = (engine.ours(tiny, task, SHORT.with_settings(compat=compat), adapter) for compat in modes)
    assert (published.published_edit(tiny, task, SHORT, adapter) - official).abs().max() < 1e-4
    assert (engine.ours(tiny, task, SHORT, {}) - paper).abs().max() > 1e-3, "the adapter must matter"
    assert (paper - official).abs().max() > 1e-3, "the modes must differ, else nothing is held"


def test_the_published_way_of_working_leaves_the_model_as_it_was(tiny):
    before = {name: value.clone() for name, value in tiny.unet.state_dict().items()}
    published.published_edit(tiny, shipped_task(), SHORT, published.some_adapter(tiny.unet))
    assert not any(weight.requires_grad or weight.grad is not None for weight in tiny.unet.parameters())
    assert all(torch.equal(value, before[name]) for name, value in tiny.unet.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.unet.modules())


def test_it_collects_gradients_in_every_weight_that_drags_use(tiny, monkeypatch):
    collected = []
    plain = published.gradient_step

    def watched(*what):
        plain(*what)
        collected.append(sum(weight.grad is not None for weight in tiny.unet.parameters()))

    monkeypatch.setattr(published, "gradient_step", watched)
    published.published_edit(tiny, shipped_task(), SHORT, published.some_adapter(tiny.unet))
    assert len(collected) == SHORT.drags * SHORT.supervision_steps
    assert min(collected) >= len(list(tiny.unet.parameters()))


def test_the_clock_counts_each_pass_and_each_way_back(tiny):
    z = torch.randn(1, 4, 16, 16)
    with engine.unet_clock() as seconds:
        with torch.no_grad():
            tiny.predict(z, 401)
        assert len(seconds) == 1
        z.requires_grad_()
        look = tiny.predict(z, 401, features=True)
        (look.eps.sum() + look.features.sum()).backward()
        assert len(seconds) == 3
        tiny.features(z, 401).sum().backward()
        assert len(seconds) == 5
    assert all(s > 0 for s in seconds)
    gradient = z.grad.clone()
    z.grad = None
    look = tiny.predict(z, 401, features=True)
    (look.eps.sum() + look.features.sum() + tiny.features(z, 401).sum()).backward()
    assert len(seconds) == 5
    torch.testing.assert_close(z.grad, gradient)


def test_a_comparison_prints_ratio_share_and_difference(tiny):
    method, adapter = SHORT.with_settings(compat="official"), published.some_adapter(tiny.unet)
    runs = [engine.compare(published.published_edit, tiny, shipped_task(), method, adapter)]
    (engine_seconds, other_seconds, share, apart), line = runs[0], engine.line("published", runs)
    assert 0 < share < 1
    assert line.startswith("published")
    assert f"{other_seconds / engine_seconds:.2f} ×" in line
    assert line.endswith(f"{apart:.1e}")
