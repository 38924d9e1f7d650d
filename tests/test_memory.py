"""What chains keep for the gradients: the gradients are those of the stored chain, and the memory is what was promised."""

import copy
import functools

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.networks import MLP
from anabranch.testing import peak_memory, randomize
from anabranch.transforms import (
    ActNorm,
    Affine,
    Autoregressive,
    Chain,
    Checkpoint,
    Coupling,
    Householder,
    Inverse,
    Invert,
    Linear,
    LULinear,
    Memory,
    Permutation,
    RationalQuadraticSpline,
    Shift,
    Store,
    Transform,
)
from anabranch.transforms.recovery import _Block

F = 4
STRATEGIES = {
    "checkpoint": "checkpoint",
    "segments": Checkpoint(every=3),
    "invert": "invert",
    "ends only": Invert(every=None),
    "anchors": Invert(every=2),
}


def coupling(g, context=0, flip=False):
    mask = [(i + flip) % 2 == 1 for i in range(F)]
    return Coupling(mask, g, MLP(F // 2, F // 2 * g.size, context, hidden=(12,), activation="tanh"))


def spline():
    return RationalQuadraticSpline(bins=4, bound=3.0)


def chain_of(kind, memory):
    """The same weights whatever the memory."""
    torch.manual_seed(0)
    shared = coupling(spline())
    blocks = {
        "spline": lambda: [coupling(spline(), flip=i % 2) for i in range(5)],
        "affine": lambda: [coupling(Affine(), flip=i % 2) for i in range(5)],
        "additive": lambda: [coupling(Shift(), flip=i % 2) for i in range(5)],
        "context": lambda: [coupling(spline(), 2), LULinear(F), coupling(Affine(), 2, flip=True)],
        "linear": lambda: [ActNorm(F), LULinear(F), Householder(F), Permutation([2, 0, 3, 1]), Linear(F)],
        "nested": lambda: [
            Chain([LULinear(F), coupling(spline()), coupling(Affine(), flip=True)], memory=memory),
            Inverse(Chain([Householder(F), coupling(spline(), flip=True)], memory=memory)),
            Permutation([2, 0, 3, 1]),
        ],
        "shared": lambda: [shared, Permutation([2, 0, 3, 1]), shared, Inverse(shared), coupling(Affine()), shared],
        "one block": lambda: [coupling(spline())],
    }[kind]()
    return randomize(Chain(blocks, memory=memory), 0.5).double()


KINDS = ["spline", "affine", "additive", "context", "linear", "nested", "shared", "one block"]


def data(rows=6, context=True):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, F, generator=generator, dtype=torch.float64)
    return x, torch.randn(rows, 2, generator=generator, dtype=torch.float64) if context else None


def gradients(run, chain, x, context, of_x=True):
    """Gradients of a loss in which z and log_det both enter unevenly, by x, context and every parameter."""
    x = x.clone().requires_grad_(of_x)
    context = None if context is None else context.clone().requires_grad_()
    z, log_det = run(x, context)
    loss = (z.square() * torch.linspace(0.5, 2, F, dtype=z.dtype)).sum() - 1.3 * log_det.sin().sum()
    inputs = [v for v in (x, context) if v is not None and v.requires_grad] + list(chain.parameters())
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


def assert_equal_gradients(got, wanted):
    assert len(got) == len(wanted) and any(bool(w.any()) for w in wanted)
    for g, w in zip(got, wanted, strict=True):
        assert g.shape == w.shape and torch.allclose(g, w, atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_the_stored_ones(kind, strategy, direction):
    stored, chain = chain_of(kind, "store"), chain_of(kind, STRATEGIES[strategy])
    x, context = data(context=kind == "context")
    z, log_det = getattr(chain, direction)(x, context)
    stored_z, stored_log_det = getattr(stored, direction)(x, context)
    # a sum over segments is rounded in another order
    assert torch.equal(z, stored_z) and torch.allclose(log_det, stored_log_det, atol=1e-13)
    for of_x in (True, False):
        wanted = gradients(getattr(stored, direction), stored, x, context, of_x)
        assert_equal_gradients(gradients(getattr(chain, direction), chain, x, context, of_x), wanted)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["context", "nested", "shared"])
def test_gradients_of_prefixes_equal_the_stored_ones(kind, strategy):
    def summed(chain):
        def run(x, context):
            pairs = list(chain.prefixes(x, context))
            return sum(z for z, _ in pairs), sum(log_det for _, log_det in pairs)

        return run

    stored, chain = chain_of(kind, "store"), chain_of(kind, STRATEGIES[strategy])
    x, context = data(context=kind == "context")
    wanted = gradients(summed(stored), stored, x, context)
    assert_equal_gradients(gradients(summed(chain), chain, x, context), wanted)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_context_that_widens_x_and_one_for_all_rows(strategy):
    torch.manual_seed(0)
    before = [LULinear(F), coupling(spline()), Householder(F)]
    stored = randomize(Chain([*before, *chain_of("context", "store"), Householder(F)]).double())
    chain = Chain(dict(stored.blocks.items()), memory=STRATEGIES[strategy])
    x, context = data()
    for rows, given in ((x[0], context), (x, context[0]), (x[:, None], context)):
        assert_equal_gradients(gradients(chain, chain, rows, given), gradients(stored, stored, rows, given))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parts_that_are_frozen_and_losses_that_see_only_one_output(strategy):
    stored, chain = chain_of("spline", "store"), chain_of("spline", STRATEGIES[strategy])
    x, _ = data()
    for frozen in ([0, 1], [1, 3], [4], []):
        found = []
        for c in (stored, chain):
            c.requires_grad_(True)
            for i in frozen:
                c.blocks[str(i)].requires_grad_(False)
            trained = [p for p in c.parameters() if p.requires_grad]
            z, log_det = c(x)
            found.append(torch.autograd.grad(z.square().sum(), trained, retain_graph=True))
            found[-1] += torch.autograd.grad(log_det.sum(), trained, retain_graph=True)
            # some of them only, late then early, and all again from the same graph
            found[-1] += torch.autograd.grad(z.sum(), trained[-1:], retain_graph=True)
            found[-1] += torch.autograd.grad(z.sum(), trained[:1], retain_graph=True)
            found[-1] += torch.autograd.grad(z.square().sum() + log_det.sum(), trained)
        assert_equal_gradients(found[1], found[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parameters_lent_by_functional_call_get_the_gradients(strategy):
    chain = chain_of("shared", STRATEGIES[strategy])
    x, _ = data()
    found = []
    for c in (chain, chain_of("shared", "store")):
        lent = {name: (p.detach() + 0.3).requires_grad_() for name, p in c.named_parameters()}
        z, log_det = torch.func.functional_call(c, lent, (x,))
        found.append(torch.autograd.grad(z.square().sum() - log_det.sum(), list(lent.values())))
    assert_equal_gradients(*found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hooks_of_parameters_run_once_with_the_whole_gradient(strategy):
    chain = chain_of("shared", STRATEGIES[strategy])
    calls = []
    for p in chain.parameters():
        p.register_hook(lambda g: calls.append(g.clone()))
    x, _ = data()
    chain(x)[0].square().sum().backward()
    assert len(calls) == len(list(chain.parameters()))
    assert all(any(torch.equal(call, p.grad) for call in calls) for p in chain.parameters())


@pytest.mark.parametrize("strategy", ["invert", "ends only", "anchors"])
def test_parameters_changed_between_the_passes_are_an_error(strategy):
    chain = chain_of("affine", STRATEGIES[strategy])
    loss = chain(data()[0])[0].sum()
    with torch.no_grad():
        next(chain.blocks["2"].parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives_are_refused_by_invert_and_right_for_checkpoint():
    x = data()[0].requires_grad_()
    with pytest.raises(RuntimeError, match='memory="store"'):
        torch.autograd.grad(chain_of("spline", "invert")(x)[1].sum(), x, create_graph=True)
    found = []
    for memory in ("checkpoint", "store"):
        chain = chain_of("spline", memory)
        (g,) = torch.autograd.grad(chain(x)[1].sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), list(chain.parameters())))
    assert_equal_gradients(*found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_autocast_in_the_backward_pass_is_as_it_was_in_the_forward_pass(strategy):
    x = data()[0].float()
    stored, chain = chain_of("affine", "store").float(), chain_of("affine", STRATEGIES[strategy]).float()
    for inside in (True, False):
        found = []
        for c in (stored, chain):
            c.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                z, log_det = c(x)
                loss = z.square().sum() - log_det.sum()
                # the same parameters once more, beside the chain: what autocast remembers of them must have gradients
                loss = loss + next(iter(c))(x)[0].sum()
                if inside:
                    loss.backward()
            if not inside:
                loss.backward()
            found.append(torch.cat([p.grad.flatten() for p in c.parameters()]))
        # bfloat16 has 8 bits: a recovered value off by rounding may fall to the other side
        assert float((found[1] - found[0]).norm() / found[0].norm()) < 0.02
        assert not torch.equal(found[0], torch.zeros_like(found[0]))
    seen = []
    for block in chain:
        block.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    for outside in (True, False):
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16, enabled=outside):
            loss = chain(x)[0].sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=not outside):
            loss.backward()
        assert len(seen) == 2 * len(chain) and set(seen) == {outside}


@pytest.mark.parametrize(
    "strategy",
    [name if name == "invert" else pytest.param(name, marks=pytest.mark.slow) for name in STRATEGIES],
)
def test_compiled_chains_have_the_same_gradients(strategy):
    stored, chain = chain_of("context", "store"), chain_of("context", STRATEGIES[strategy])
    x, context = data()
    torch.compiler.reset()
    compiled = torch.compile(chain, backend="aot_eager")
    assert_equal_gradients(gradients(compiled, chain, x, context), gradients(stored, stored, x, context))
    with torch.no_grad():
        torch.compile(chain, backend="eager", fullgraph=True)(x, context)
    torch.compiler.reset()


@pytest.mark.parametrize("kind", ["affine", "additive", "spline"])
def test_drift_over_32_blocks_in_float32_is_within_that_of_float32_itself(kind):
    g = {"affine": Affine, "additive": Shift, "spline": spline}[kind]
    torch.manual_seed(0)
    blocks = [coupling(g(), flip=i % 2) for i in range(32)]
    stored = randomize(Chain(blocks), 0.2)
    x = data(500, context=False)[0]
    values = [x.float()]
    with torch.no_grad():
        for block in blocks:
            values.append(block(values[-1])[0])
        z, drift = values[-1], {}
        for i, block in reversed(list(enumerate(blocks))):
            z = block.inverse(z)[0]
            drift[i] = float(((z - values[i]).abs() / (1 + values[i].abs())).max())
            z = values[i] if i % Invert().every == 0 else z
    assert 0 < max(drift.values()) < 1e-3

    def gradient(chain, x):
        z, log_det = chain(x)
        loss = (z.square().sum(-1) / 2 - log_det).mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(chain.parameters()))]).double()

    exact = gradient(copy.deepcopy(stored).double(), x)
    errors = {}
    for memory in ("store", "invert"):
        errors[memory] = float((gradient(Chain(blocks, memory=memory), x.float()) - exact).norm() / exact.norm())
    assert errors["invert"] < max(3 * errors["store"], 1e-5) < 1e-2


def test_training_goes_the_same_way_in_float32():
    torch.manual_seed(0)
    x = torch.randn(600, F) @ torch.randn(F, F) + torch.randn(600, 1).sign()
    losses = []
    for memory in ("store", "invert"):
        torch.manual_seed(1)
        chain = Chain([coupling(Affine(), flip=i % 2) for i in range(16)], memory=memory)
        history = ab.fit(ab.Flow(chain), x, epochs=6, batch_size=100, seed=0, progress=False)
        losses.append([epoch.loss for epoch in history.epochs])
    assert losses[0][-1] < losses[0][0] - 0.3
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


@functools.cache
def peak(kind, blocks, memory, run=lambda chain, x: chain(x)):
    structure = {"affine": ab.flows.realnvp, "additive": ab.flows.nice, "spline": ab.flows.nsf}[kind]
    options = {"structure": "coupling", "linear": False} if kind == "spline" else {}
    made = structure(8, blocks=blocks, hidden=(64, 64), **options)
    chain = Chain(dict(made.blocks.items()), memory=memory)
    x = torch.randn(256, 8)

    def step():
        z, log_det = run(chain, x)
        (z.square().sum() / 2 - log_det.sum()).backward()

    return peak_memory(step)


@pytest.mark.parametrize("kind", ["affine", "additive", "spline"])
def test_32_blocks_that_invert_peak_at_no_more_than_1_3_times_4_blocks(kind):
    assert peak(kind, 32, "invert") <= 1.3 * peak(kind, 4, "invert")
    # the measure sees what is kept: stored, 8 times the blocks take several times the memory (one block's working memory
    # comes on top)
    assert 4 < peak(kind, 32, "store") / peak(kind, 4, "store") < 8.5
    assert peak(kind, 32, "invert") < peak(kind, 32, "store") / 6
    assert peak(kind, 32, "checkpoint") < peak(kind, 32, "store") / 4


@pytest.mark.slow
def test_the_inverse_direction_and_prefixes_save_memory_too():
    def inverse(chain, x):
        return chain.inverse(x)

    def prefixes(chain, x):
        pairs = list(chain.prefixes(x))
        return sum(z for z, _ in pairs), sum(log_det for _, log_det in pairs)

    assert peak("spline", 32, "invert", inverse) <= 1.3 * peak("spline", 4, "invert", inverse)
    assert peak("spline", 32, "store", inverse) > 4 * peak("spline", 4, "store", inverse)
    for memory in ("invert", "checkpoint"):
        assert peak("spline", 32, memory, prefixes) < peak("spline", 32, "store", prefixes) / 5


def test_peak_memory_counts_what_comes_and_goes():
    weight = nn.Parameter(torch.ones(1000))

    def step():
        a = torch.zeros(1000) + 1  # two at once
        b = a.view(10, 100).exp()  # the view is free
        del a
        return (b * 2).sum()

    assert peak_memory(step) == 2 * 4000
    assert peak_memory(lambda: torch.zeros(1000)) == 0  # what is returned stays
    # exp keeps its result; the gradients of sum (a view of one number) and of exp; the last stays as weight.grad
    assert peak_memory(lambda: weight.exp().sum().backward()) == 4000 + 4 + 4
    assert peak_memory(step) == 2 * 4000


def test_names_and_strategies_survive_files_copies_slices_and_truncation(tmp_path):
    for memory, wanted in (("store", Store), ("checkpoint", Checkpoint), ("invert", Invert), (Invert(every=5), Invert)):
        chain = Chain(list(ab.flows.realnvp(2, blocks=3, hidden=(8,))), memory=memory)
        model = ab.DepthMixture(chain, gate="constant")
        ab.save(model, tmp_path / "model.safetensors")
        again = ab.load(tmp_path / "model.safetensors").chain
        for c in (chain, again, copy.deepcopy(chain), chain[:2], chain[1:], model.truncate(2).chain):
            assert type(c.memory) is wanted
            assert getattr(c.memory, "every", None) == getattr(chain.memory, "every", None)
        ab.save(chain[:2], tmp_path / "slice.safetensors")
        assert type(ab.load(tmp_path / "slice.safetensors").memory) is wanted
        assert not [name for name in chain.state_dict() if "memory" in name]


def test_a_strategy_of_ones_own():
    class Counting(Memory):
        def __init__(self):
            super().__init__()
            self.runs = 0

        def run(self, blocks, x, context, inverse=False):
            self.runs += 1
            return Store().run(blocks, x, context, inverse)

        def step(self, block, x, context):
            return block(x, context)

    chain = Chain([LULinear(2), LULinear(2)], memory=Counting())
    chain.inverse(chain(torch.randn(3, 2))[0])
    assert chain.memory.runs == 2


def test_blocks_without_a_formula_for_the_inverse_are_refused_by_name():
    class OneWay(Transform):
        inversion = "none"

        def _forward(self, x, context):
            return x, x.sum(-1)

        def _inverse(self, z, context):
            raise NotImplementedError

    layer = next(iter(ab.flows.maf(3, blocks=1))).blocks["layer"]
    for bad in (layer, Inverse(layer), Chain([LULinear(3), layer]), OneWay()):
        with pytest.raises(ValueError, match=r"(?s)closed.*got.*'second'.*checkpoint"):
            Chain({"first": LULinear(3), "second": bad}, memory="invert")
        Chain({"first": LULinear(3), "second": bad}, memory="checkpoint")
    assert isinstance(layer, Autoregressive)


@pytest.mark.parametrize("memory", ["inverse", None, 3, Invert])
def test_other_memories_are_refused(memory):
    with pytest.raises(ValueError, match=r"memory: expected .*'invert'.*got"):
        Chain([LULinear(2)], memory=memory)


@pytest.mark.parametrize("strategy", [Checkpoint, Invert])
@pytest.mark.parametrize("every", [0, -1, 1.5, True, "all"])
def test_intervals_are_whole_numbers(strategy, every):
    with pytest.raises(ValueError, match="every: expected a whole number"):
        strategy(every=every)


def test_nothing_is_kept_where_no_gradients_are_recorded(monkeypatch):
    def fail(*arguments):
        raise AssertionError("expected the plain blocks to run")

    monkeypatch.setattr(_Block, "apply", fail)
    x, _ = data()
    with torch.no_grad():
        for strategy in STRATEGIES.values():
            z, _ = chain_of("spline", strategy)(x)
            assert torch.equal(z, chain_of("spline", "store")(x)[0])


# PyTorch's own rules of forward mode use what other parts of it call deprecated
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("memory", ["store", "checkpoint", "invert"])
def test_torch_func_differentiates_through_every_strategy(memory):
    torch.manual_seed(0)
    blocks = list(ab.flows.nsf(features=3, blocks=2, hidden=(8,), structure="coupling"))
    flow = randomize(ab.Flow(Chain(blocks, memory=memory))).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    parameters = dict(flow.named_parameters())
    found = torch.func.grad(lambda p: torch.func.functional_call(flow, p, (x,)).mean())(parameters)
    flow.loss(x).mean().backward()
    assert all(torch.allclose(found[name], p.grad, atol=1e-12) for name, p in parameters.items())

    given = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(flow.log_prob(given).sum(), given)
    assert torch.allclose(torch.func.vmap(torch.func.grad(flow.log_prob))(x), gradient, atol=1e-12)
    tangent = torch.func.jvp(flow.log_prob, (x,), (torch.ones_like(x),))[1]
    assert torch.allclose(tangent, gradient.sum(-1), atol=1e-12)
    hessian = torch.func.hessian(flow.log_prob)(x[0])
    assert torch.allclose(hessian, hessian.mT, atol=1e-9)
