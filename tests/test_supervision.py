"""The losses: closed forms, gradients against finite differences, and what each of them must not look at."""

import pytest
import torch
from torch.autograd import gradcheck

from gooddrag.supervision import (
    Points,
    ipms_loss,
    mask_loss,
    patch_official,
    patch_sum,
    standard_loss,
    step_vector,
)

GRID = (32, 32)


def points(p0, p, g, reach=2.0):
    p0, p, g = (torch.tensor([v], dtype=torch.float64) for v in (p0, p, g))
    return Points(p0, p, g, GRID, reach)


@pytest.mark.parametrize(("target", "d"), [((30, 10), (4, 0)), ((13, 10), (3, 0)), ((10, 0), (0, -4))])
def test_the_step_vector_is_beta_long_but_never_beyond_the_target(target, d):
    here = points((10, 10), (10, 10), target)
    assert step_vector(here, 4.0)[0].tolist() == pytest.approx(d)


@pytest.mark.parametrize(
    ("norm", "r1", "expected"), [(patch_sum, 1, 9), (patch_sum, 4, 81), (patch_official, 4, 64), (patch_official, 1, 4)]
)
def test_a_difference_of_one_everywhere_costs_the_patch_weight(norm, r1, expected):
    F, F_src = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    here = points((16, 16), (16, 16), (24, 16))
    assert ipms_loss(F, F_src, here, r1, 2.0, norm).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [ipms_loss, standard_loss])
def test_a_handle_that_has_arrived_is_left_alone(loss):
    F = torch.randn(1, 3, 8, 8, requires_grad=True)
    near = points((16, 16), (15, 16), (16, 16))
    value = loss(F, torch.randn(1, 3, 8, 8), near, 2, 2.0, patch_sum)
    assert value.item() == 0
    value.backward()
    assert F.grad is not None
    assert not F.grad.any()


def test_a_patch_at_the_border_counts_only_what_is_on_the_map():
    F, F_src = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    here = points((1, 16), (1, 16), (1, 24))
    assert ipms_loss(F, F_src, here, 3, 2.0, patch_sum).item() == pytest.approx(7 * 5)


@pytest.mark.parametrize("norm", [patch_sum, patch_official])
def test_the_gradient_of_ipms_is_that_of_finite_differences(norm):
    F, F_src = torch.randn(2, 1, 2, 8, 8, dtype=torch.float64)
    here = points((12, 13), (14, 15), (20.5, 18))
    assert gradcheck(lambda x: ipms_loss(x, F_src, here, 2, 2.0, norm), F.clone().requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("norm", [patch_sum, patch_official])
def test_the_gradient_of_standard_supervision_is_that_with_its_reference_held_still(norm):
    F = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    here = points((12, 13), (14, 15), (20.5, 18))
    standing_there = points((14, 15), (14, 15), (20.5, 18))
    x, y = F.clone().requires_grad_(), F.clone().requires_grad_()
    standard_loss(x, torch.zeros_like(F), here, 2, 2.0, norm).backward()
    ipms_loss(y, F, standing_there, 2, 2.0, norm).backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert gradcheck(lambda v: ipms_loss(v, F, standing_there, 2, 2.0, norm), (F + 0.1).requires_grad_(), atol=1e-6)


def test_the_gradient_of_the_mask_term_is_that_of_finite_differences():
    z, source = torch.randn(2, 1, 3, 5, 5, dtype=torch.float64)
    M = torch.rand(1, 1, 5, 5, dtype=torch.float64)
    assert gradcheck(lambda x: mask_loss(x, source, M), z.clone().requires_grad_())


def test_the_mask_term_counts_every_locked_latent_element():
    z, source, M = torch.ones(1, 4, 64, 64), torch.zeros(1, 4, 64, 64), torch.zeros(1, 1, 64, 64)
    assert mask_loss(z, source, M).item() == 16384
    assert mask_loss(z, source, 1 - M).item() == 0


def test_standard_supervision_follows_the_handle_and_ipms_stays_with_the_original():
    F, F_src = torch.randn(2, 1, 3, 8, 8)
    here, elsewhere = points((10, 10), (14, 15), (22, 18)), points((6, 21), (14, 15), (22, 18))
    args = (2, 2.0, patch_sum)
    assert standard_loss(F, F_src, here, *args) == standard_loss(F, F_src * 2, elsewhere, *args)
    assert ipms_loss(F, F_src, here, *args) != ipms_loss(F, F_src, elsewhere, *args)
