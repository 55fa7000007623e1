"""The engine against the literal reference: same latents, same tracked points, in every mode."""

import numpy as np
import pytest
import torch

from gooddrag.attention import mutual, recorded
from gooddrag.editor import iter_edit
from gooddrag.features import Frame
from gooddrag.methods import GoodDrag
from gooddrag.steps import Denoised, Dragged
from gooddrag.task import DragTask
from tests.conftest import make_tiny_backbone
from tests.reference.literal import LiteralSettings, literal_edit


def tiny64(**how):
    """Double precision, since Adam makes rounding errors large where a gradient is almost zero."""
    return make_tiny_backbone(dtype=torch.float64, **how)


SHORT = {"steps": 20, "strength": 0.75, "r1": 3, "r2": 4, "beta": 3.0, "reach": 2.0}


def picture_task(points, mask=True, size=(64, 64)):
    rng = np.random.default_rng(4)
    width, height = size
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    area = np.zeros((height, width), bool)
    area[8 : height - 8, 4 : width - 8] = True
    return DragTask(image, [p for p, _ in points], [g for _, g in points], area if mask else None)


MIDDLE = [((24, 30), (40, 31)), ((38, 26), (30, 44))]
EDGE = [((2, 30), (14, 2)), ((59, 60), (50, 40))]  # patches leave the map; its outermost cells are ties, so avoid them


def both_ways(task, backbone, supervision="ipms", schedule="aldd", compat="paper", drags=12, lam=0.1):
    per_denoise = 4 if schedule == "aldd" else drags
    method = GoodDrag(
        **SHORT, drags=drags, per_denoise=per_denoise, schedule=schedule, supervision=supervision, compat=compat,
        mask_weight=lam, lora=None,
    )  # fmt: skip
    ours = list(iter_edit(backbone, task, method, use_cache=False))
    frame = Frame.fit(task.size, 4, 4, 64, official=compat == "official")
    z0 = backbone.encode(frame.to_tensor(task.image).to(backbone.unet.dtype))
    m = None if task.mask is None else frame.to_latent_mask(task.mask, (z0.shape[2], z0.shape[3])).to(z0)
    handles, targets = (frame.to_cells(p).flip(1).to(z0) for p in (task.handles, task.targets))
    settings = LiteralSettings(
        steps=20, strength=0.75, r1=3, r2=4, beta=3.0, lam=lam, t2=drags // per_denoise, per_denoise=per_denoise,
        supervision=supervision, compat=compat,
    )  # fmt: skip
    literal = literal_edit(
        backbone.unet, backbone.context, backbone.alphas, z0, handles, targets, m, settings,
        prediction_type=backbone.prediction,
    )  # fmt: skip
    return ours, literal, frame


def assert_equal(ours, literal, frame, tolerance=1e-4):
    drags = [s for s in ours if isinstance(s, Dragged)]
    assert len(drags) == len(literal.points) > 0
    for step, points, latent in zip(drags, literal.points, literal.latents, strict=True):
        cells = frame.to_cells(step.handles)
        assert cells.tolist() == points.flip(1).tolist()
        assert (step.latent - latent).abs().max() <= tolerance
    denoised = [s for s in ours if isinstance(s, Denoised)]
    assert (denoised[-1].latent - literal.final).abs().max() <= tolerance


@pytest.mark.parametrize("compat", ["paper", "official"])
@pytest.mark.parametrize("schedule", ["aldd", "drag_then_denoise"])
@pytest.mark.parametrize("supervision", ["ipms", "standard"])
def test_the_engine_is_the_literal_algorithm(supervision, schedule, compat):
    ours, literal, frame = both_ways(picture_task(MIDDLE), tiny64(), supervision, schedule, compat)
    assert sum(isinstance(s, Dragged) for s in ours) == 12
    assert_equal(ours, literal, frame)


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_it_is_so_for_v_prediction_and_without_a_mask(compat):
    backbone = tiny64(prediction="v_prediction", seed=2)
    assert_equal(*both_ways(picture_task(MIDDLE, mask=False), backbone, compat=compat))


@pytest.mark.parametrize("supervision", ["ipms", "standard"])
def test_it_is_so_at_the_pictures_border(supervision):
    assert_equal(*both_ways(picture_task(EDGE), tiny64(seed=1), supervision))


def test_it_is_so_for_a_picture_that_is_not_square():
    task = picture_task([((20, 30), (30, 42))], size=(48, 84))
    assert_equal(*both_ways(task, tiny64(seed=3)))


def test_each_quirk_changes_the_result():
    """What the two modes differ in must be visible at all, else the comparison above proves nothing."""
    task, results = picture_task(MIDDLE), []
    for compat in ("paper", "official"):
        ours, *_ = both_ways(task, tiny64(), compat=compat)
        results.append([s.latent for s in ours if isinstance(s, Dragged)][-1])
    assert (results[0] - results[1]).abs().max() > 1e-2


def test_mutual_attention_with_the_source_itself_changes_nothing(tiny):
    z = torch.randn(1, 4, 16, 16)
    with torch.no_grad():
        with recorded(tiny.late_self_attention) as inputs:
            plain = tiny.predict(z, 401).eps
        with mutual(tiny.late_self_attention, inputs):
            same = tiny.predict(z, 401).eps
        with mutual(tiny.late_self_attention, [torch.randn_like(x) for x in inputs]):
            other = tiny.predict(z, 401).eps
    torch.testing.assert_close(same, plain)
    assert not torch.allclose(other, plain, atol=1e-4)


def test_mutual_attention_acts_on_the_last_two_up_blocks_only(tiny):
    names = {id(m): n for n, m in tiny.unet.named_modules()}
    found = [names[id(layer)] for layer in tiny.late_self_attention]
    assert found
    assert all(n.startswith(("up_blocks.2.", "up_blocks.3.")) and n.endswith("attn1") for n in found)
