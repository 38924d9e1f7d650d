"""Guards on work, none of them a timing: graph breaks, precision, what a compilation changes."""

import copy
import logging
import shutil

import pytest
import torch

import anabranch as ab
from anabranch.compiled import is_compiled
from anabranch.networks import MLP, MaskedMLP, ResidualMLP
from anabranch.testing import randomize
from anabranch.training import compiling

RECIPES = {
    "spline autoregressive": lambda: ab.flows.nsf(4, blocks=2, hidden=(8,), bins=4),
    "spline coupling": lambda: ab.flows.nsf(4, blocks=2, hidden=(8,), bins=4, structure="coupling"),
    "maf": lambda: ab.flows.maf(4, blocks=2, hidden=(8,)),
    "iaf": lambda: ab.flows.iaf(4, blocks=2, hidden=(8,)),
    "realnvp": lambda: ab.flows.realnvp(4, blocks=2, hidden=(8,)),
    "nice": lambda: ab.flows.nice(4, blocks=2, hidden=(8,)),
}
needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="no C++ compiler here"
)


@pytest.mark.parametrize("model", [ab.Flow, ab.DepthMixture])
@pytest.mark.parametrize("name", RECIPES)
def test_log_prob_of_every_recipe_is_one_graph(name, model):
    density = model(RECIPES[name]())
    torch._dynamo.reset()
    found = torch._dynamo.explain(density._log_prob)(torch.randn(5, 4), None)
    assert (found.graph_count, found.graph_break_count) == (1, 0)


@pytest.mark.parametrize("network", [MLP(3, 4), ResidualMLP(3, 4), MaskedMLP(3, 4)])
def test_networks_multiply_in_the_dtype_they_are_told_and_answer_in_their_own(network):
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    exact = network(x).detach()
    network.product_dtype = torch.bfloat16
    rounded = network(x).detach()
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < 0.05


def small_fit(**options):
    torch.manual_seed(0)
    model = ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(8,)))
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(1)) * 2 + 1
    history = ab.fit(model, x, epochs=3, batch_size=100, seed=0, progress=False, **options)
    return model, history


def test_bfloat16_fits_about_the_same_and_leaves_nothing_behind():
    model, history = small_fit(precision="bfloat16")
    _, exact = small_fit()
    assert 0 < abs(history.epochs[-1].loss - exact.epochs[-1].loss) < 0.05
    assert all(getattr(module, "product_dtype", None) is None for module in model.modules())
    with pytest.raises(ValueError, match="precision: expected one of 'float32', 'tf32', 'bfloat16', got 'half'"):
        small_fit(precision="half")


def test_auto_compiles_by_the_work_and_says_so_if_not(monkeypatch, caplog):
    model, cpu = ab.Flow(ab.flows.maf(4)), torch.device("cpu")
    with caplog.at_level(logging.INFO, logger="anabranch"):
        monkeypatch.setattr(compiling, "_missing_compiler", lambda device: "")
        assert compiling.shall_compile("auto", model, cpu, rows=1024, steps=100_000)
        assert not caplog.records
        assert not compiling.shall_compile("auto", model, cpu, rows=1024, steps=10)
        assert "too few to pay it back" in caplog.messages[-1]
        monkeypatch.setattr(compiling, "_missing_compiler", lambda device: "C++ compiler")
        assert not compiling.shall_compile("auto", model, cpu, rows=1024, steps=100_000)
        assert "there is no C++ compiler" in caplog.messages[-1] and len(caplog.records) == 2
    with pytest.raises(ValueError, match="expected C\\+\\+ compiler, found none"):
        compiling.shall_compile(True, model, cpu, rows=1, steps=1)
    with pytest.raises(ValueError, match="compile: expected one of 'auto', got 'yes'"):
        small_fit(compile="yes")


@pytest.mark.slow
@needs_compiler
def test_a_compiled_fit_has_the_same_numbers_and_leaves_nothing_compiled():
    model, history = small_fit(compile=True)
    plain, expected = small_fit(compile=False)
    assert history.compiled and not expected.compiled
    assert not is_compiled(model) and not is_compiled(model.transform)
    assert [e.loss for e in history.epochs] == pytest.approx([e.loss for e in expected.epochs], abs=1e-4)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.log_prob(x), plain.log_prob(x), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_density_scores_and_samples_the_same_and_its_copy_is_its_own():
    model = randomize(ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,), bins=4, structure="coupling")), 0.3)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))

    def results(density):
        torch.manual_seed(1)
        density.zero_grad()
        density.loss(x).mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in density.parameters() if p.grad is not None])
        return density.log_prob(x).detach(), gradient, density.sample((30,))

    expected = results(model)
    model.compile()
    torch.testing.assert_close(results(model), expected, rtol=1e-3, atol=1e-4)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert not is_compiled(other)
    assert not torch.allclose(other.log_prob(x), model.log_prob(x))
