"""The literal reference against closed forms, so that it can be trusted to check something else."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from tests.reference.literal import (
    LiteralSettings,
    abar,
    ddim_step,
    drag_loss,
    invert,
    keep_area,
    literal_edit,
    live_timesteps,
    mask_loss,
    mutual_modules,
    numbered_self_attentions,
    official_patch_loss,
    paper_patch_loss,
    run_mutually,
    run_unet,
    step_vector,
    to_eps,
    track,
)

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)
CONTEXT = torch.zeros(1, 2, 8, dtype=torch.float64)
MIDDLE = torch.tensor([[32.0, 32.0]], dtype=torch.float64)
FAR = torch.tensor([[32.0, 60.0]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Stub(nn.Module):
    """Constant noise, and features that are a slope over the full grid plus a trace of the latent.

    A slope makes each cell its own, so that handles stay put. With `moves` they go 4 cells to
    and fro from call to call.
    """

    def __init__(self, size: int = 16, moves: bool = False) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList()
        self.mid_block = None
        self.up_blocks = nn.ModuleList(nn.Identity() for _ in range(4))
        rows, cols = torch.meshgrid(*[torch.arange(4.0 * size, dtype=torch.float64)] * 2, indexing="ij")
        self.slope = torch.stack([rows, cols])[None]
        self.moves = moves
        self.calls = {"drag": 0, "plain": 0, "pair": 0}

    def forward(self, z, t, encoder_hidden_states):
        assert len(encoder_hidden_states) == len(z)
        kind = "pair" if len(z) == 2 else "drag" if torch.is_grad_enabled() else "plain"
        self.calls[kind] += 1
        slope = self.slope + (4 * (sum(self.calls.values()) % 2) if self.moves else 0)
        trace = nn.functional.interpolate(z[:, :2], scale_factor=4, mode="nearest")
        self.up_blocks[2](slope + 1e-3 * trace)
        return SimpleNamespace(sample=torch.full_like(z, 0.3))


def tiny_unet(seed: int = 0) -> UNet2DConditionModel:
    """Stable Diffusion 1.5's layout with hardly any channels."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=2,
    )
    return unet.double().eval()


def stub_edit(stub: Stub, **settings):
    z0 = torch.randn(1, 4, 16, 16, dtype=torch.float64)
    return literal_edit(stub, CONTEXT, ALPHAS, z0, MIDDLE, FAR, None, LiteralSettings(**settings))


# ------------------------------------------------------------------------------------------------------ DDIM, schedule


def test_live_timesteps():
    live = live_timesteps(50, 0.75)
    assert (len(live), live[0], live[1], live[-1]) == (38, 741, 721, 1)
    assert (len(live_timesteps(50, 0.7)), live_timesteps(50, 0.7)[0]) == (35, 681)
    assert live_timesteps(10, 0.5) == [401, 301, 201, 101, 1]


def test_abar():
    assert abar(ALPHAS, 741) == pytest.approx(0.060356, abs=1e-6)
    assert abar(ALPHAS, -19) == float(ALPHAS[0]) == pytest.approx(0.99915)


def test_ddim_step_is_the_known_linear_map():
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert ddim_step(zero, 741, one, ALPHAS, 20).item() == pytest.approx(1.080881, abs=1e-6)
    assert ddim_step(one, 741, zero, ALPHAS, 20).item() == pytest.approx(-0.083656, abs=1e-6)
    assert ddim_step(zero, 681, one, ALPHAS, 20).item() == pytest.approx(1.071918, abs=1e-6)


def test_invert_then_denoise_is_nothing_when_eps_is_constant():
    z0, eps = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    live = live_timesteps(50, 0.75)
    z = invert(lambda z, t: eps, z0, live, ALPHAS, 20)
    assert (z - z0).abs().max() > 0.1
    for t in live:
        z = ddim_step(eps, t, z, ALPHAS, 20)
    assert torch.allclose(z, z0, atol=1e-10)


def test_v_prediction_gives_back_the_noise():
    x0, noise = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    a = 0.3
    z, v = a**0.5 * x0 + (1 - a) ** 0.5 * noise, a**0.5 * noise - (1 - a) ** 0.5 * x0
    assert torch.allclose(to_eps(v, z, a, "v_prediction"), noise)


# ------------------------------------------------------------------------------------------------------- loss, tracking


@pytest.mark.parametrize(("target", "d"), [((10, 30), (0, 4)), ((10, 13), (0, 3)), ((4, 2), (-2.4, -3.2))])
def test_step_vector(target, d):
    step = step_vector(torch.tensor([10.0, 10.0]), torch.tensor(target, dtype=torch.float32), 4.0)
    assert step.tolist() == pytest.approx(d)


def test_a_difference_of_one_costs_64_or_81():
    A, B = torch.zeros(1, 5, 32, 32), torch.ones(1, 5, 32, 32)
    a, b = torch.tensor([16.0, 16.0]), torch.tensor([17.3, 12.8])
    assert official_patch_loss(A, a, B, b, 4).item() == pytest.approx(64)
    assert paper_patch_loss(A, a, B, b, 4).item() == pytest.approx(81)


def test_patch_losses_blend_linearly():
    F = Stub().slope
    a, b = torch.tensor([16.0, 16.0]), torch.tensor([17.25, 13.5])
    mean = (1.25 + 2.5) / 2  # over the two channels; the same at each position of a slope
    assert official_patch_loss(F, a, F, b, 4).item() == pytest.approx(64 * mean)
    assert paper_patch_loss(F, a, F, b, 4).item() == pytest.approx(81 * mean)


def test_at_the_border_paper_leaves_out_and_official_fails():
    A, B = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    a = torch.tensor([1.0, 8.0])
    # A has rows -3..5, of which 6 exist; B has rows -1.5..6.5, of which those from offset -2 on exist: 7
    assert paper_patch_loss(A, a, B, torch.tensor([2.5, 8.0]), 4).item() == pytest.approx(6 * 9)
    # on the last column exactly is still on the map
    assert paper_patch_loss(A, torch.tensor([8.0, 8.0]), B, torch.tensor([8.0, 11.0]), 4).item() == pytest.approx(81)
    assert paper_patch_loss(A, torch.tensor([8.0, 8.0]), B, torch.tensor([8.0, 11.5]), 4).item() == pytest.approx(72)
    with pytest.raises(RuntimeError, match="leaves"):
        official_patch_loss(A, a, B, torch.tensor([8.0, 8.0]), 4)


def test_reached_handles_cost_nothing_and_standard_supervision_compares_with_now():
    F_src, F = torch.zeros(1, 1, 32, 32), Stub(8).slope[:, 1:].float().requires_grad_()
    P0 = torch.tensor([[16.0, 8.0], [16.0, 16.0]])
    P = torch.tensor([[16.0, 9.0], [16.0, 16.0]])
    T = torch.tensor([[16.0, 20.0], [16.0, 17.0]])
    ipms = drag_loss(F_src, F, P, P0, T, LiteralSettings())
    assert ipms.item() == pytest.approx(81 * 13)  # zeros against the columns 9..17, 4 further
    standard = drag_loss(F_src, F, P, P0, T, LiteralSettings(supervision="standard"))
    assert standard.item() == pytest.approx(81 * 4)
    (gradient,) = torch.autograd.grad(standard, F)
    assert gradient.sum().item() == pytest.approx(81)  # the reference patch has no share in it


def test_mask_loss():
    z = torch.zeros(1, 4, 64, 64)
    keep = keep_area(None, z, "official")
    assert mask_loss(z + 1, z, keep).item() == 16384
    assert keep_area(None, z, "paper") is None
    assert keep_area(torch.zeros(1, 1, 64, 64), z, "paper") is None  # Q6: empty means no mask
    half = torch.zeros(1, 1, 64, 64)
    half[..., :32] = 1
    assert mask_loss(z + 1, z, keep_area(half, z, "paper")).item() == 16384 / 2


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_track_finds_a_shift(compat):
    F_src = torch.randn(1, 6, 48, 48)
    F = F_src.roll((5, -7), dims=(2, 3))
    P0 = torch.tensor([[20.0, 24.0], [25.0, 22.0]])
    assert track(F_src, F, P0, P0, 12, compat).tolist() == [[25, 17], [30, 15]]
    flat = torch.zeros(1, 6, 48, 48)  # all equal: the window's first cell
    assert track(flat, flat, P0, P0, 12, compat).tolist() == [[8, 12], [13, 10]]


def test_track_at_the_border():
    F_src = torch.randn(1, 6, 48, 48)
    F = F_src.roll((2, 3), dims=(2, 3))
    P0 = torch.tensor([[1.0, 44.0]])
    assert track(F_src, F, P0, P0, 12, "paper").tolist() == [[3, 47]]
    with pytest.raises(RuntimeError, match="begins before"):
        track(F_src, F, P0, P0, 12, "official")
    P0 = torch.tensor([[44.0, 43.0]])  # beyond the map's end the published slice is cut, and all is well
    assert track(F_src, F, P0, P0, 12, "official").tolist() == [[46, 46]]


# ---------------------------------------------------------------------------------------------------- mutual attention


def test_which_attentions_become_mutual():
    unet = tiny_unet()
    everything, mutual = numbered_self_attentions(unet), mutual_modules(unet, 2)
    assert (len(everything), len(mutual)) == (16, 6)
    assert all(a is b for a, b in zip(everything[10:], mutual, strict=True))


def test_mutual_attention_looks_at_the_first_element():
    unet = tiny_unet()
    before = dict(unet.attn_processors)
    context = torch.randn(1, 2, 8, dtype=torch.float64)
    x, y = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)

    def outputs(z, mutual):
        def call():
            return run_unet(unet, z, 401, context, 2)

        with torch.no_grad():
            return (run_mutually(unet, 2, call) if mutual else call())[0]

    twins, pair = torch.cat([x, x]), torch.cat([x, y])
    assert torch.allclose(outputs(twins, True), outputs(twins, False), atol=1e-12)
    plain, mutual = outputs(pair, False), outputs(pair, True)
    assert torch.allclose(plain[0], mutual[0], atol=1e-12)
    assert not torch.allclose(plain[1], mutual[1], atol=1e-6)
    assert all(before[name] is processor for name, processor in unet.attn_processors.items())


# ------------------------------------------------------------------------------------------------------- the whole edit


def test_counts_official():
    stub = Stub(moves=True)
    result = stub_edit(stub, compat="official")
    assert (result.gradient_steps, result.counted_trackings, result.uncounted_trackings) == (210, 70, 7)
    assert len(result.latents) == len(result.points) == 70
    assert result.mutual_from == 7
    assert stub.calls == {"plain": 38 + 8, "drag": 210, "pair": 38}
    assert len({tuple(points.flatten().tolist()) for points in result.points}) > 1


def test_counts_paper():
    stub = Stub()
    result = stub_edit(stub)
    assert (result.gradient_steps, result.counted_trackings, result.uncounted_trackings) == (210, 70, 0)
    assert result.mutual_from == 7
    assert stub.calls == {"plain": 38 + 8 + 70, "drag": 210, "pair": 38}  # one fresh look per drag operation


def test_official_stops_when_nothing_moves_and_paper_does_not():
    result = stub_edit(Stub(), compat="official")
    assert (result.gradient_steps, result.counted_trackings, result.uncounted_trackings) == (15, 5, 1)
    assert result.mutual_from == 1
    assert stub_edit(Stub(), compat="official", max_unchanged=None, t2=2).counted_trackings == 20


def test_a_run_of_unchanged_trackings_goes_on_over_timesteps():
    # 2 per timestep: the fifth is the first of the third timestep, which is entered and so denoises plainly
    result = stub_edit(Stub(), compat="official", per_denoise=2)
    assert (result.counted_trackings, result.uncounted_trackings, result.mutual_from) == (5, 3, 3)
    # 5 per timestep: the limit is met as the timestep ends, and the next one is not entered
    result = stub_edit(Stub(), compat="official", per_denoise=5)
    assert (result.counted_trackings, result.uncounted_trackings, result.mutual_from) == (5, 1, 1)


@pytest.mark.parametrize(("compat", "mutual_from"), [("official", 1), ("paper", 0)])
def test_handles_that_begin_at_their_targets(compat, mutual_from):
    z0 = torch.randn(1, 4, 16, 16, dtype=torch.float64)
    result = literal_edit(Stub(), CONTEXT, ALPHAS, z0, MIDDLE, MIDDLE + 1, None, LiteralSettings(compat=compat))
    assert (result.gradient_steps, result.counted_trackings, result.mutual_from) == (0, 0, mutual_from)
    assert torch.allclose(result.final, z0, atol=1e-10)


def test_all_drags_first_and_never_mutual():
    result = stub_edit(Stub(), t2=1, per_denoise=4)
    assert (result.counted_trackings, result.mutual_from) == (4, 1)
    assert stub_edit(Stub(), t2=1, per_denoise=1, mutual=False).mutual_from is None


@pytest.mark.parametrize("compat", ["official", "paper"])
@pytest.mark.parametrize("supervision", ["ipms", "standard"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_real_unet(compat, supervision, prediction_type):
    unet = tiny_unet()
    before = [weight.clone() for weight in unet.parameters()]
    z0, mask = torch.randn(1, 4, 8, 8, dtype=torch.float64), torch.ones(1, 1, 8, 8, dtype=torch.float64)
    mask[..., :2] = 0
    handles, targets = torch.tensor([[16.0, 12.0]]), torch.tensor([[16.0, 22.0]])
    # no tracking window, so that nothing wanders to where "official" would fail
    settings = LiteralSettings(
        steps=10, t2=2, per_denoise=2, J=2, r1=2, r2=0, compat=compat, supervision=supervision, max_unchanged=None
    )
    result = literal_edit(unet, CONTEXT, ALPHAS, z0, handles, targets, mask, settings, 2, prediction_type)
    assert result.gradient_steps == 8
    assert result.mutual_from == 2
    first_move = (result.latents[0] - result.inverted).abs()
    assert 0 < first_move.max() <= 2 * settings.lr * 1.001  # two steps of Adam
    assert torch.isfinite(result.final).all()
    assert not torch.allclose(result.final, z0)
    # nothing is left behind on the U-Net
    assert all(weight.equal(old) for weight, old in zip(unet.parameters(), before, strict=True))
    assert not any(block._forward_hooks for block in unet.up_blocks)
