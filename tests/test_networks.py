"""Networks: what they compute, and what the suite finds in causal ones that break their promise."""

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.networks import MLP, CausalNetwork, Constant, MaskedMLP, Network, ResidualMLP
from anabranch.testing import check_causal_network, check_network, peak_memory, randomize
from anabranch.testing.networks import all_steps, check_steps, check_work

# PyTorch warns itself where it first differentiates forwards.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Odd(Network):
    """y = x W + c; each fault below breaks one promise."""

    def __init__(self, fault=""):
        super().__init__(3, 2, 2)
        self.fault = fault
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, x, context=None):
        fault, y = self.fault, x @ self.weight
        if fault == "mixes rows":
            y = y + x.mean()
        if fault == "fails on an empty batch":
            y = y + 0 * (x.flatten(0, -2)[0, 0] if x.dim() > 1 else 0)
        if fault == "takes one context for each row":
            context = context.expand(*x.shape[:-1], 2)
        if fault == "takes rows alone" and x.dim() != 2:
            y = None
        if fault == "infinite gradient":
            y = y + 0 * (self.weight - self.weight).abs().sum().sqrt()
        if fault == "branches on values" and bool((x > 100).all()):
            y = 2 * y
        y = y + context
        if fault == "outputs of another shape":
            return y[..., :1]
        return y.float() if fault == "float32 inside" else y


def test_the_suite_accepts_a_network_of_ones_own():
    check_network(Odd(), normal(4, 3), normal(4, 2, seed=1))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("mixes rows", "one event: expected a difference within"),
        ("fails on an empty batch", "an empty batch: expected no error, got IndexError"),
        ("outputs of another shape", r"a batch: expected outputs of shape \(4, 2\), got \(4, 1\)"),
        ("takes one context for each row", "one event, many contexts: expected no error, got RuntimeError"),
        ("takes rows alone", "one event: expected no error, got TypeError"),
        ("float32 inside", r"in float64: expected torch\.float64, got torch\.float32"),
        ("infinite gradient", "expected finite gradients, got others"),
        ("branches on values", r"expected torch\.compile\(fullgraph=True\) to take it"),
    ],
)
def test_the_suite_finds_in_a_network(fault, message):
    with pytest.raises(AssertionError, match=f"Odd: {message}") as caught:
        check_network(Odd(fault), normal(4, 3), normal(4, 2, seed=1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("build", [MLP, ResidualMLP, MaskedMLP])
def test_zero_start(build):
    network = build(3, 4, 2, zero_start=True)
    assert not network(normal(5, 3), normal(5, 2)).any()


def test_a_linear_network_starts_at_zero_in_the_context_too():
    assert not MLP(3, 4, 2, hidden=(), zero_start=True)(normal(5, 3), normal(5, 2)).any()


def test_mlp_by_hand():
    network = randomize(MLP(3, 2, 2, hidden=(4,), activation="tanh"))
    x, c = normal(5, 3), normal(5, 2, seed=1)
    first, last = network.layers
    inner = torch.tanh(x @ first.weight.T + first.bias + c @ network.context_layer.weight.T)
    assert torch.allclose(network(x, c), inner @ last.weight.T + last.bias, atol=1e-6)


def test_residual_mlp_starts_as_a_linear_map_of_an_activation():
    network = ResidualMLP(3, 2, hidden=8, blocks=3, activation="tanh")
    x = normal(5, 3)
    assert torch.allclose(network(x), network.last(torch.tanh(network.first(x))), atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "elu", "tanh"])
def test_every_activation_in_a_masked_mlp(activation):
    # relu units may all be off for one row: wide enough for every output to see something
    network = randomize(MaskedMLP(4, 2, hidden=(24, 24), activation=activation))
    check_causal_network(network, normal(3, 4))


def test_masked_mlp_with_fewer_units_than_features_keeps_its_masks():
    # some outputs see nothing then, which the whole suite would not take
    network = randomize(MaskedMLP(8, 3, 2, hidden=(3, 5), activation="tanh"))
    x, c = normal(4, 8), normal(4, 2, seed=1)
    jacobian = torch.autograd.functional.jacobian(lambda v: network(v, c[0]), x[0])
    assert not jacobian.abs().amax(dim=1).triu().any()
    check_steps(network, x, c)
    check_work(network, x, c)


@pytest.mark.parametrize("features", [16, 17, 40])
def test_steps_in_blocks_are_those_of_forward(features):
    network = randomize(MaskedMLP(features, 3, context=2, hidden=(24, 70), activation="silu").double(), seed=1)
    x, c = normal(5, features).double(), normal(2).double()
    with torch.no_grad():
        state, steps = network.start(torch.Size([5]), c), []
        for i in range(features):
            y, state = network.step(state, x[:, i - 1] if i else None)
            steps.append(y)
        torch.testing.assert_close(torch.stack(steps, dim=1), network(x, c))


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("context", [0, 2])
def test_steps_under_transforms_of_functions_are_those_of_forward(grad, context):
    network = randomize(MaskedMLP(18, 2, context, hidden=(40, 40), activation="tanh").double())
    x, v = normal(4, 3, 18).double(), normal(4, 3, 18, seed=1).double()
    c = normal(2, seed=2).double() if context else None

    def steps(x):
        return all_steps(network, x, c)

    def forward(x):
        return network(x, c)

    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(torch.func.vmap(steps)(x), forward(x))
        torch.testing.assert_close(torch.func.jvp(steps, (x,), (v,)), torch.func.jvp(forward, (x,), (v,)))
        torch.testing.assert_close(torch.func.jacrev(steps)(x[0, 0]), torch.func.jacrev(forward)(x[0, 0]))
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, v)
            tangents = [torch.autograd.forward_ad.unpack_dual(f(dual)).tangent for f in (steps, forward)]
            torch.testing.assert_close(*tangents)


@pytest.mark.parametrize("grad", [True, False])
def test_the_inverse_of_an_autoregressive_layer_under_transforms_of_functions(grad):
    layer = randomize(ab.transforms.Autoregressive(ab.transforms.Affine(), MaskedMLP(5, 2, hidden=(16,)))).double()
    z = normal(3, 5).double()
    with torch.set_grad_enabled(grad):
        x, log_det = layer.inverse(z)
        found = torch.func.vmap(layer.inverse)(z)
        torch.testing.assert_close(found, (x, log_det))
        jacobians = torch.func.vmap(torch.func.jacfwd(lambda z: layer.inverse(z)[0]))(z)
        torch.testing.assert_close(torch.linalg.slogdet(jacobians)[1], log_det)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_steps_take_no_other_dtype_than_forward(grad, dtype):
    network, x = MaskedMLP(3, 2, hidden=(8,)), torch.ones(4, 3, dtype=dtype)
    with torch.set_grad_enabled(grad):
        with pytest.raises(RuntimeError, match="same dtype"):
            network(x)
        state = network.start(torch.Size([4]))
        _, state = network.step(state, None)
        with pytest.raises(
            ValueError, match=rf"x_previous: expected dtype torch.float32 \(the network's\), got {dtype}"
        ):
            network.step(state, x[:, 0])


@pytest.mark.parametrize("grad", [True, False])
def test_steps_multiply_in_full_precision(grad):
    network, x, c = randomize(MaskedMLP(5, 2, 2, hidden=(40, 40))), normal(6, 5), normal(6, 2, seed=1)
    with torch.set_grad_enabled(grad):
        exact = network(x, c)
        with torch.autocast("cpu"):
            assert not torch.allclose(network(x, c), exact, atol=1e-6)
            steps = all_steps(network, x, c)
            torch.testing.assert_close(steps, exact, rtol=1e-5, atol=1e-6)
            # what a network before this one made under autocast
            half = all_steps(network, x, c.bfloat16())
            torch.testing.assert_close(half, all_steps(network, x, c.bfloat16().float()))
        network.product_dtype = torch.bfloat16
        assert not torch.allclose(network(x, c), exact, atol=1e-6)
        torch.testing.assert_close(all_steps(network, x, c), exact, rtol=1e-5, atol=1e-6)


def test_steps_hold_the_outputs_of_few_positions():
    features, outputs, rows = 63, 23, 64
    network = MaskedMLP(features, outputs, hidden=(32,))

    def run():
        state, x = network.start(torch.Size([rows])), None
        for _ in range(features):
            y, state = network.step(state, x)
            x = y[:, 0]

    with torch.no_grad():
        everything = features * outputs * rows * 4
        assert peak_memory(run) < 0.65 * everything  # two blocks of 16 positions, one of them the caller's


def test_steps_leave_the_outputs_of_earlier_positions_alone():
    network = randomize(MaskedMLP(40, 2, hidden=(16,)))
    with torch.no_grad():
        state, x = network.start(torch.Size([3])), normal(3, 40)
        kept = []
        for i in range(40):
            y, state = network.step(state, x[:, i - 1] if i else None)
            kept.append((y, y.clone()))
    for y, then in kept:
        assert torch.equal(y, then)


def test_steps_without_data():
    network = MaskedMLP(3, 2, 1, hidden=(8,)).to("meta")
    with torch.no_grad():
        assert all_steps(network, torch.empty(4, 3, device="meta"), torch.empty(1, device="meta")).shape == (4, 3, 2)


def test_steps_of_a_batch_without_rows():
    network = MaskedMLP(3, 2, hidden=(8,))
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            state = network.start(torch.Size([0]))
            y, _ = network.step(state, None)
        assert y.shape == (0, 2)


def test_randomize_is_repeatable_and_leaves_the_generator_alone():
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    first = randomize(MLP(2, 2, zero_start=True), seed=3)
    torch.manual_seed(0)
    second = randomize(MLP(2, 2, zero_start=True), seed=3)
    torch.manual_seed(0)
    other = randomize(MLP(2, 2, zero_start=True), seed=4)
    for one, same, different in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)
    torch.manual_seed(0)
    network = Constant(2, 2)
    randomize(network)
    assert torch.equal(torch.rand(2), wanted)


class Prefix(CausalNetwork):
    """y_d = f(sum of w_e x_e over e < d), in one obvious way; each fault below breaks one promise."""

    def __init__(self, fault=""):
        super().__init__(4, 2, context=1)
        self.fault = fault
        self.weight = torch.nn.Parameter(torch.tensor([0.5, -1.0, 0.7, 0.3]))
        self.matrix = torch.nn.Linear(2, 2)

    def forward(self, x, context=None):
        sums = (x * self.weight).cumsum(dim=-1)
        before = sums if self.fault == "looks ahead" else sums - x * self.weight
        if self.fault == "blind":
            before = 0 * before
        given = torch.zeros_like(before) if self.fault == "ignores the context" else context.expand_as(before)
        return self.matrix(torch.stack([before.tanh(), given], dim=-1))

    def start(self, batch_shape, context=None):
        return torch.zeros(batch_shape, dtype=self.weight.dtype), 0, context

    def step(self, state, x_previous):
        total, position, context = state
        if x_previous is not None:
            weight = self.weight.detach() if self.fault == "detached" else self.weight
            total = total + weight[position - 1] * x_previous
        if self.fault == "wrong step" and position == 3:
            total = total + 0.1
        given = context.expand(*total.shape, 1).squeeze(-1)
        if self.fault == "ignores the context":
            given = torch.zeros_like(given)
        before = 0 * total if self.fault == "blind" else total
        y = self.matrix(torch.stack([before.tanh(), given], dim=-1))
        if self.fault == "repeats work":
            for _ in range(4):
                y = y + 0 * self.matrix(y)
        return y, (total, position + 1, context)


def test_the_suite_accepts_a_causal_network_of_ones_own():
    check_causal_network(Prefix(), normal(5, 4), normal(5, 1))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("looks ahead", r"expected outputs that look only before their position, got .*\[\[0, 0\], \[1, 1\]"),
        ("blind", r"expected outputs that see positions before their own, got none at \[1, 2, 3\]"),
        ("ignores the context", r"expected outputs that move with the context, got none at \[0, 1, 2, 3\]"),
        ("wrong step", "steps without gradients: expected a difference within 1e-09"),
        ("detached", "gradients of steps against those of forward"),
        ("repeats work", r"expected all steps to take at most forward's \d+ operations, got \d+"),
    ],
)
def test_the_suite_finds(fault, message):
    with pytest.raises(AssertionError, match=f"Prefix: {message}"):
        check_causal_network(Prefix(fault), normal(5, 4), normal(5, 1))
