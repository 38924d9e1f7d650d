"""The spline's own backward pass, and its two ways to find a bin."""

import shutil

import pytest
import torch

from anabranch.kernels import spline_operator
from anabranch.kernels.spline_bins import GatheredSearch, UnrolledSearch
from anabranch.kernels.spline_curve import differentiate, evaluate
from anabranch.transforms import RationalQuadraticSpline

BOTH = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def values(shape, size, scale=1.5, dtype=torch.float64):
    """Values within the bounds and beyond them, and parameters."""
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(shape, generator=generator, dtype=dtype)
    return x, scale * torch.randn(*shape, size, generator=generator, dtype=dtype)


@BOTH
@pytest.mark.parametrize("bins", [2, 3, 8])
def test_first_and_second_derivatives_are_those_of_finite_differences(inverse, bins):
    spline = RationalQuadraticSpline(bins=bins, bound=3.0)
    run = spline.inverse if inverse else spline.forward
    x, parameters = (v.requires_grad_() for v in values((7,), spline.size))
    assert torch.autograd.gradcheck(run, (x, parameters))
    assert torch.autograd.gradgradcheck(run, (x, parameters))


@BOTH
def test_parameters_shared_by_many_values_have_the_sum_of_their_gradients(inverse):
    spline = RationalQuadraticSpline(bins=4)
    run = spline.inverse if inverse else spline.forward
    x, _ = values((5, 3), spline.size)
    _, parameters = values((3,), spline.size)
    assert torch.autograd.gradcheck(run, (x.requires_grad_(), parameters.requires_grad_()))


@BOTH
@pytest.mark.parametrize("shape", [(50,), (6, 20)])
@pytest.mark.parametrize("bins", [2, 3, 8])
def test_gathered_and_unrolled_searches_agree(inverse, shape, bins):
    spline = RationalQuadraticSpline(bins=bins)
    x, parameters = values(shape, spline.size, scale=3.0)
    x.view(-1)[:3] = torch.tensor([-5.0, 5.0, 0.0])  # bounds, and with some parameters a knot
    parameters.view(-1, spline.size)[2] = 0.0
    gathered, unrolled = (evaluate(x, parameters, spline.curve, inverse, s()) for s in (GatheredSearch, UnrolledSearch))
    torch.testing.assert_close(gathered, unrolled, rtol=1e-11, atol=1e-11)
    u, v = torch.randn(2, *shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    inside = gathered[0] if inverse else x
    one, two = (
        differentiate(inside, parameters, u, v, spline.curve, inverse, s()) for s in (GatheredSearch, UnrolledSearch)
    )
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@BOTH
@pytest.mark.parametrize("shape", [(7,), (3, 8), (2, 3, 5)])
def test_large_batches_are_taken_in_pieces_with_the_same_results(inverse, shape, monkeypatch):
    spline = RationalQuadraticSpline(bins=3)
    run = spline.inverse if inverse else spline.forward
    x, parameters = (v.requires_grad_() for v in values(shape, spline.size))
    sizes = []

    def results(*arguments):
        z, log_derivative = run(*arguments)
        loss = (z.sin() + log_derivative.square()).sum()
        first = torch.autograd.grad(loss, arguments, create_graph=True)
        return z, log_derivative, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), arguments)

    whole = results(x, parameters)
    recorded = spline_operator.evaluate
    monkeypatch.setattr(spline_operator, "_PIECE", 4)
    monkeypatch.setattr(spline_operator, "evaluate", lambda v, *rest: sizes.append(v.numel()) or recorded(v, *rest))
    torch.testing.assert_close(results(x, parameters), whole)
    assert max(sizes) <= 4
    shared = parameters[..., :1, :]  # one set of parameters for all rows
    pieces = results(x, shared)
    monkeypatch.undo()
    torch.testing.assert_close(pieces, results(x, shared))


def test_only_the_inputs_are_kept_for_the_gradient():
    spline = RationalQuadraticSpline(bins=8)
    x, parameters = (v.requires_grad_() for v in values((64,), spline.size))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        spline(x, parameters)
    assert sum(kept) == x.numel() + parameters.numel()


def test_nan_stays_in_its_row_and_reaches_its_gradient():
    spline = RationalQuadraticSpline(bins=4)
    x, parameters = values((4,), spline.size, dtype=torch.float32)
    x[1], parameters[2, 0] = torch.nan, torch.nan
    for search in (GatheredSearch(), UnrolledSearch()):
        z, log_derivative = evaluate(x, parameters, spline.curve, False, search)
        assert z.isnan().tolist() == log_derivative.isnan().tolist() == [False, True, True, False]


@pytest.mark.slow
@BOTH
def test_the_fused_loops_give_the_same_numbers(inverse):
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        pytest.skip("no C++ compiler here")
    spline, fused = RationalQuadraticSpline(bins=4), RationalQuadraticSpline(bins=4)
    fused.fused = True
    results = []
    for one in (spline, fused):
        x, parameters = (v.requires_grad_() for v in values((3, 40), spline.size, dtype=torch.float32))
        z, log_derivative = (one.inverse if inverse else one.forward)(x, parameters)
        (z * torch.linspace(-1, 1, 40) + log_derivative.square()).sum().backward()
        results.append([z.detach(), log_derivative.detach(), x.grad, parameters.grad])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


# PyTorch's own rules of forward mode use what other parts of it call deprecated
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@BOTH
def test_forward_mode_derivatives_are_those_of_finite_differences(inverse):
    spline = RationalQuadraticSpline(bins=4, bound=3.0)
    run = spline.inverse if inverse else spline.forward
    x, parameters = (v.requires_grad_() for v in values((5,), spline.size))
    assert torch.autograd.gradcheck(run, (x, parameters), check_forward_ad=True, check_batched_forward_grad=True)
    shared = parameters[0].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: run(x.detach(), p), (shared,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, (x, parameters), check_fwd_over_rev=True)


# PyTorch's own rules of forward mode use what other parts of it call deprecated
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@BOTH
def test_torch_func_takes_the_spline_in_any_order_of_modes(inverse):
    spline = RationalQuadraticSpline(bins=4, bound=3.0)
    x, parameters = values((5,), spline.size)

    def run(x):
        z, log_derivative = (spline.inverse if inverse else spline.forward)(x, parameters)
        return (z.sin() + log_derivative).sum()

    wanted = torch.func.jacrev(torch.func.jacrev(run))(x)
    for outer, inner in ((torch.func.jacfwd, torch.func.jacrev), (torch.func.jacrev, torch.func.jacfwd)):
        assert torch.allclose(outer(inner(run))(x), wanted, atol=1e-9)
    assert torch.allclose(torch.func.jacfwd(torch.func.jacfwd(run))(x), wanted, atol=1e-9)

    def of_one(x, parameters):
        return torch.func.jvp(lambda x: spline.forward(x, parameters)[0], (x,), (torch.ones_like(x),))[1]

    slope = spline.forward(x, parameters)[1].exp()
    assert torch.allclose(torch.func.vmap(of_one)(x, parameters), slope, atol=1e-12)
    assert torch.allclose(torch.func.vmap(of_one, (0, None))(x, parameters[0])[:1], slope[:1], atol=1e-12)
