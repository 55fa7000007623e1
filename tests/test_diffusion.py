"""DDIM steps, timesteps and inversion: closed forms of the notes, diffusers as the yardstick, round trips."""

from contextlib import nullcontext

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from gooddrag.backbone import Look
from gooddrag.diffusion import SourcePath, Timeline, ddim_invert, ddim_step, predict_x0, renewing_step
from gooddrag.errors import BadInput

SD = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@pytest.fixture(scope="module")
def alphas() -> list[float]:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).tolist()


@pytest.mark.parametrize(
    ("t", "value"),
    [(0, 0.999150), (1, 0.998296), (21, 0.980381), (201, 0.752143), (681, 0.094637), (741, 0.060356), (999, 0.004660)],
)
def test_the_pocket_schedule_is_stable_diffusions(pocket, t, value):
    assert pocket.alpha_bar(t) == pytest.approx(value, abs=2e-6)


@pytest.mark.parametrize(
    ("strength", "count", "first"), [(0.75, 38, 741), (0.7, 35, 681), (1.0, 50, 981), (0.02, 1, 1)]
)
def test_strength_says_where_on_the_timeline_an_edit_begins(strength, count, first):
    timesteps = Timeline(50, strength).timesteps
    assert (len(timesteps), timesteps[0], timesteps[-1]) == (count, first, 1)


@pytest.mark.parametrize("bad", [(0, 0.5), (50, 0.0), (50, 1.1), (50, 0.001), (1001, 0.5)])
def test_an_impossible_timeline_is_refused(bad):
    with pytest.raises(BadInput):
        Timeline(*bad)


@pytest.mark.parametrize(
    ("t", "s", "a", "b"),
    [(741, 721, 1.080881, -0.083656), (721, 741, 0.925171, 0.077397), (681, 661, 1.071918, -0.075869)],
)
def test_a_ddim_step_is_linear_with_the_known_coefficients(alphas, t, s, a, b):
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert ddim_step(one, zero, alphas[t], alphas[s]).item() == pytest.approx(a, abs=1e-6)
    assert ddim_step(zero, one, alphas[t], alphas[s]).item() == pytest.approx(b, abs=1e-6)


@pytest.mark.parametrize("t", [981, 741, 21, 1])
def test_our_step_is_diffusers_step(alphas, t):
    theirs = DDIMScheduler(**SD)
    theirs.set_timesteps(50)
    z, eps = torch.randn(2, 1, 4, 8, 8)
    expected = theirs.step(eps, t, z)
    ours = ddim_step(z, eps, alphas[t], alphas[max(t - 20, 0)])
    torch.testing.assert_close(ours, expected.prev_sample, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(predict_x0(z, eps, alphas[t]), expected.pred_original_sample, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("t", [981, 741, 501, 21])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_our_renewing_step_is_diffusers_step(alphas, t, eta):
    scheduler = DDIMScheduler(**SD)
    scheduler.set_timesteps(50)
    z, eps, noise = torch.randn(3, 1, 4, 8, 8, dtype=torch.float64)
    theirs = scheduler.step(eps, t, z, eta=eta, variance_noise=noise).prev_sample
    assert torch.allclose(renewing_step(z, eps, noise, alphas[t], alphas[t - 20], eta), theirs, atol=1e-5)


def test_a_renewing_step_keeps_the_level_of_noise(alphas):
    """A latent that is nothing but noise stays one of the right strength."""
    z0, noise, eps = torch.zeros(1, 1, 1, 1), *torch.randn(2, 1, 4, 128, 128, dtype=torch.float64)
    z = renewing_step((1 - alphas[741]) ** 0.5 * eps + z0, eps, noise, alphas[741], alphas[721], 1.0)
    assert z.var().item() == pytest.approx(1 - alphas[721], rel=0.02)


def test_our_inversion_visits_diffusers_inverse_timesteps():
    theirs = DDIMInverseScheduler(**SD)
    theirs.set_timesteps(50)
    assert tuple(reversed(Timeline(50, 1.0).timesteps)) == tuple(theirs.timesteps.tolist())


class ConstantNoise:
    """A backbone whose noise prediction depends on the timestep only."""

    memory = "normal"

    def __init__(self, alphas):
        self.alphas = alphas

    def alpha_bar(self, t):
        return self.alphas[max(t, 0)]

    def recording(self):
        return nullcontext([])

    def predict(self, z, t, features=False):
        eps = torch.full_like(z, (t % 7 - 3) / 4)
        return Look(eps, eps)


@pytest.mark.parametrize("strength", [0.1, 0.75, 1.0])
def test_inversion_then_denoising_returns_the_latent(alphas, strength):
    backbone, timeline = ConstantNoise(alphas), Timeline(50, strength)
    z0 = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    *_, inverted = ddim_invert(backbone, z0, timeline)
    path = SourcePath.denoise(backbone, inverted, timeline)
    torch.testing.assert_close(path.latents[-1], z0, atol=1e-9, rtol=1e-9)
    assert len(path.latents) == len(timeline) + 1


def test_a_path_that_inversion_made_ends_at_the_picture_and_costs_one_pass_a_timestep(tiny):
    timeline, asked = Timeline(10, 0.8), []
    hook = tiny.unet.register_forward_pre_hook(lambda _, args: asked.append(args[1]))
    z0 = torch.randn(1, 4, 16, 16)
    *_, path = SourcePath.invert(tiny, z0, timeline)
    look_again = SourcePath(tiny, timeline, path.latents)
    made = [(path.features(i), *path.attention(i)) for i in range(len(timeline))]
    assert len(asked) == 1 + len(timeline)
    assert path.latents[-1] is z0
    for i, kept in enumerate(made):
        assert all(map(torch.equal, kept, (look_again.features(i), *look_again.attention(i))))
    hook.remove()


def test_where_noise_is_the_same_everywhere_both_ways_to_a_path_agree(alphas):
    backbone, timeline = ConstantNoise(alphas), Timeline(50, 0.75)
    backbone.predict = lambda z, t, features=False: Look(torch.full_like(z, 0.3), z)  # type: ignore[method-assign]
    z0 = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    *_, inverted = ddim_invert(backbone, z0, timeline)
    *_, path = SourcePath.invert(backbone, z0, timeline)
    for one, other in zip(path.latents, SourcePath.denoise(backbone, inverted, timeline).latents, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
