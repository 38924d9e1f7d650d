"""PyTorch's private names: all are there, in one file, and without them every number stays what it is."""

import pathlib
import re

import pytest
import torch
from torch import func
from torch.autograd import forward_ad

import anabranch as ab
from anabranch import bounded, draws, torch_internals
from anabranch.kernels import modes, spline_operator, staircase
from anabranch.testing import randomize
from anabranch.training import averaging

SOURCES = sorted(pathlib.Path(torch_internals.__file__).parent.rglob("*.py"))
# a private name of torch, or of a part of it
PRIVATE = re.compile(r"\b(torch(\.\w+)*|forward_ad|functional|nn)\._[a-z]\w*|from torch[\w.]* import [^#\n]*\b_[a-z]")


def without(monkeypatch):
    """As under a version of PyTorch that has none of the names."""
    monkeypatch.setattr(modes, "functorch_is_active", torch_internals.yes)
    for module in (modes, spline_operator):
        monkeypatch.setattr(module, "forward_mode", torch_internals.yes)
    monkeypatch.setattr(staircase, "is_legacy_batched", torch_internals.yes)
    monkeypatch.setattr(draws, "function_modes", list)
    monkeypatch.setattr(averaging, "foreach_lerp", torch_internals.lerp_each)
    monkeypatch.setattr(bounded, "tree_leaves", torch_internals.leaves)
    monkeypatch.setattr(bounded, "tree_map", torch_internals.mapped)


def test_the_version_installed_has_every_name():
    assert torch_internals.MISSING == []


def test_no_other_file_reads_a_private_name():
    found = {path.name for path in SOURCES if PRIVATE.search(path.read_text())}
    assert found == {"torch_internals.py"}


def test_a_name_that_vanished_is_noted_and_stood_in_for(monkeypatch, caplog):
    monkeypatch.setattr(torch_internals, "MISSING", [])
    assert torch_internals.private("torch", "_no_such_name", 5) == 5
    assert torch_internals.private("torch._no_such_module", "name", 6) == 6
    assert torch_internals.MISSING == ["torch._no_such_name", "torch._no_such_module.name"]
    assert "has no torch._no_such_name" in caplog.text


def numbers(model, x):
    """Densities, gradients of the weights and of x, draws and a jump along a direction."""
    log_p = model.log_prob(x)
    (to_x,) = torch.autograd.grad(log_p.sum(), x, retain_graph=True)
    to_weights = torch.autograd.grad(log_p.sum(), list(model.parameters()), allow_unused=True)
    with torch.no_grad():
        drawn = model.sample((7,), generator=torch.Generator().manual_seed(1))
    tangents = func.jvp(model.log_prob, (x.detach(),), (torch.ones_like(x),))
    return [log_p, to_x, drawn, *tangents, *(part for part in to_weights if part is not None)]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("memory", ["store", "invert"])
def test_without_the_names_numbers_are_the_same(monkeypatch, memory):
    options = {"structure": "coupling", "linear": False, "memory": memory} if memory == "invert" else {}
    with ab.drawing(0):
        model = ab.Flow(ab.flows.nsf(features=12, blocks=2, hidden=(200, 200), **options))
    randomize(model, seed=0).double()
    x = torch.randn(9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    expected = numbers(model, x)
    without(monkeypatch)
    for value, want in zip(numbers(model, x), expected, strict=True):
        scale = float(want.detach().abs().max())  # of sums that come near to zero
        torch.testing.assert_close(value / scale, want / scale, rtol=0.0, atol=1e-8)


def test_without_the_names_a_fit_and_a_bound_on_memory_are_the_same(monkeypatch):
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    def fitted():
        with ab.drawing(0):
            model = ab.Flow(ab.flows.realnvp(features=2, blocks=2, hidden=(8,)))
        ab.fit(model, x, epochs=2, seed=0, average=0.9, compile=False)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    expected = fitted()
    without(monkeypatch)
    torch.testing.assert_close(fitted(), expected, rtol=1e-6, atol=1e-7)
    with bounded.Bounded(100_000) as limit:
        torch.zeros(100, 100).split(10)
    assert limit.left == 100_000 - 40_000 - 4096  # a view counts as small
    with bounded.Bounded(1_000), pytest.raises(MemoryError):
        torch.zeros(10_000)


def test_a_compiled_flow_without_the_names_draws_from_the_generator_still(monkeypatch):
    model = ab.densities.Normal.standard(2)
    without(monkeypatch)
    compiled = torch.compile(lambda: model.sample((3,)), backend="eager")
    drawn = []
    for _ in range(2):
        with ab.drawing(5), draws.calling_compiled():
            drawn.append(compiled())
    assert torch.equal(*drawn)


def test_what_cannot_be_stood_in_for_says_so():
    with (
        pytest.raises(RuntimeError, match=r"expected a version with .*TorchDispatchMode, got"),
        torch_internals.NoDispatchMode(),
    ):
        pass


def test_draws_of_the_public_gamma_are_seeded():
    with ab.drawing(3):
        one = torch_internals.gamma_by_distribution(torch.full((4,), 2.5))
    with ab.drawing(3):
        assert torch.equal(one, torch_internals.standard_gamma(torch.full((4,), 2.5)))


def test_forward_mode_is_seen_in_both_ways():
    seen = []
    func.jvp(lambda v: seen.append(modes.takes_operations_alone()) or v, (torch.ones(1),), (torch.ones(1),))
    with forward_ad.dual_level():
        seen.append(torch_internals.forward_mode())
    assert seen == [True, True]
    assert not modes.takes_operations_alone()
