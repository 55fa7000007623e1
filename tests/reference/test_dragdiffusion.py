"""DragDiffusion's official settings in the engine against its published algorithm, written literally."""

import pytest

from gooddrag.editor import iter_edit
from gooddrag.features import Frame
from gooddrag.methods import DragDiffusion
from gooddrag.steps import Denoised, Dragged
from tests.reference.literal_dragdiffusion import literal_dragdiffusion
from tests.reference.test_engine import EDGE, MIDDLE, picture_task, tiny64

STEPS, RADIUS = 8, 3  # such patches leave the map in EDGE: what is left of them weighs as whole ones


@pytest.mark.parametrize("points", [MIDDLE, EDGE], ids=["middle", "border"])
@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
def test_the_official_settings_are_the_published_algorithm(points, mask):
    backbone, task = tiny64(), picture_task(points, mask=mask)
    method = DragDiffusion(compat="official", steps=10, drags=STEPS, latent_lr=0.05, r1=RADIUS, lora=None)
    ours = list(iter_edit(backbone, task, method, use_cache=False))

    frame = Frame.fit(task.size, 4, 4, 64, official=True)
    z0 = backbone.encode(frame.to_tensor(task.image).to(backbone.unet.dtype))
    m = None if task.mask is None else frame.to_latent_mask(task.mask, (z0.shape[2], z0.shape[3])).to(z0)
    handles, targets = (frame.to_cells(p).flip(1).to(z0) for p in (task.handles, task.targets))
    theirs = literal_dragdiffusion(
        backbone.unet, backbone.context, backbone.alphas, z0, handles, targets, m, STEPS, steps=10, lr=0.05, r_m=RADIUS
    )

    drags = [s for s in ours if isinstance(s, Dragged)]
    assert len(drags) == len(theirs.latents) == STEPS
    for step, latent in zip(drags, theirs.latents, strict=True):
        assert (step.latent - latent).abs().max() <= 1e-4
    seen = [frame.to_cells(s.handles).flip(1).tolist() for s in drags]
    assert seen[:-1] == [points.tolist() for points in theirs.points[1:]]
    assert len({str(p) for p in seen}) > 1, "the handles must move, or tracking is not compared"
    last = [s for s in ours if isinstance(s, Denoised)][-1]
    assert (last.latent - theirs.final).abs().max() <= 1e-4


def test_gooddrags_quirks_are_not_dragdiffusions():
    quirks = DragDiffusion(compat="official").quirks
    off = (quirks.stale_tracking, quirks.retrack, quirks.empty_mask_locks, quirks.border_fails, quirks.patience)
    assert not any(off)
