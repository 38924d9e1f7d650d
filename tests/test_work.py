"""Guards on work, none of them a timing: graph breaks, precision, what a compilation changes."""

import copy
import gc
import logging
import shutil
import subprocess
import sys
import weakref

import pytest
import torch

import anabranch as ab
from anabranch.compiled import is_compiled
from anabranch.kernels.spline_bins import Spacing
from anabranch.kernels.spline_curve import Curve
from anabranch.kernels.spline_operator import _compiled, _forward
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
# a compiler takes as long as its graphs are large
SMALLEST = {
    "spline autoregressive": lambda: ab.flows.nsf(2, blocks=1, hidden=(4,), bins=4),
    "maf": lambda: ab.flows.maf(2, blocks=1, hidden=(4,)),
}
needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="no C++ compiler here"
)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        # all of one kind of layers, and the other kind of model once
        *((name, ab.Flow) for name in ("spline autoregressive", "realnvp", "iaf")),
        ("maf", ab.DepthMixture),
        *(pytest.param(name, ab.Flow, marks=pytest.mark.slow) for name in ("spline coupling", "maf", "nice")),
        *(pytest.param(name, ab.DepthMixture, marks=pytest.mark.slow) for name in RECIPES if name != "maf"),
    ],
)
def test_log_prob_of_every_recipe_is_one_graph(name, model):
    density = model(RECIPES[name]())
    torch.compiler.reset()
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
    model = ab.Flow(ab.flows.realnvp(2, blocks=1, hidden=(4,)))
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
        assert not compiling.shall_compile("auto", ab.models.AnyOrder(3), cpu, rows=1024, steps=100_000)
        assert "about as long as the fit" in caplog.messages[-1]
        monkeypatch.setattr(compiling, "_missing_compiler", lambda device: "C++ compiler")
        assert not compiling.shall_compile("auto", model, cpu, rows=1024, steps=100_000)
        assert "there is no C++ compiler" in caplog.messages[-1] and len(caplog.records) == 3
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


class CountingBackend:
    """A compiler that compiles nothing, and counts how often it is asked to."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.mark.slow
def test_the_tenth_model_in_a_process_is_compiled_like_the_first_and_none_is_kept_alive():
    x, gone = torch.randn(5, 2), []
    for _ in range(10):
        model, backend = ab.Flow(ab.flows.realnvp(2, blocks=1, hidden=(4,))), CountingBackend()
        model.compile(backend=backend)
        assert torch.equal(model.log_prob(x), model._log_prob(x, None))
        assert backend.graphs == 1
        gone.append(weakref.ref(model))
    del model
    gc.collect()
    assert all(reference() is None for reference in gone)


def test_the_library_is_there_before_the_compiler_is_loaded():
    code = "import sys, anabranch, anabranch.tables, anabranch.cli; print('torch._dynamo' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_every_spline_has_compiled_loops_of_its_own():
    made = [_compiled(_forward, Curve(Spacing(bins, 3.0, 1e-3), 3.0)) for bins in (4, 5, 4)]
    assert made[0] is made[2] and made[0] is not made[1]
    codes = [function._torchdynamo_orig_callable.__code__ for function in made[:2]]
    assert codes[0] is not codes[1] and codes[0].co_name != codes[1].co_name


def test_what_takes_one_step_per_feature_is_not_unrolled(caplog):
    model, backend = ab.Flow(RECIPES["iaf"]()), CountingBackend()
    with caplog.at_level(logging.INFO, logger="anabranch"):
        assert not compiling.shall_compile("auto", model, torch.device("cpu"), rows=1024, steps=10**7)
    assert "one step per feature" in caplog.messages[-1]
    model.compile(backend=backend)
    x = torch.randn(5, 4)
    model.log_prob(x)
    assert backend.graphs == 0
    assert is_compiled(model)


@pytest.mark.parametrize("model", [ab.Flow, pytest.param(ab.DepthMixture, marks=pytest.mark.slow)])
def test_sampling_is_compiled_where_inverses_are_formulas(model):
    density, backend = model(RECIPES["spline coupling"]()), CountingBackend()
    density.compile(backend=backend)
    density.sample((20,))
    assert backend.graphs > 0


@pytest.mark.parametrize("name", ["maf", pytest.param("spline autoregressive", marks=pytest.mark.slow)])
def test_derivatives_inside_what_is_compiled(name):
    """A compiler that looks into `torch.func` transforms must not meet operations that have no rules for them."""
    flow = randomize(ab.Flow(SMALLEST[name]()).double(), 0.3)
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(x):
        return torch.func.grad(lambda x: flow._log_prob(x, None).sum())(x)

    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(flow.log_prob(leaf).sum(), leaf)
    for univariate in [part for part in flow.modules() if hasattr(part, "fused")]:
        univariate.fused = True
    torch.testing.assert_close(torch.compile(gradient, backend="aot_eager")(x), expected)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_density_scores_and_samples_the_same_and_its_copy_is_its_own():
    model = randomize(ab.DepthMixture(ab.flows.nsf(2, blocks=1, hidden=(4,), bins=4, structure="coupling")), 0.3)
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
