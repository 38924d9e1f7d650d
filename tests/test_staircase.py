"""Staircase products: panels, derivatives in every mode, operations for compilers, networks wide enough for panels."""

import pytest
import torch
from torch import func
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from anabranch.kernels.staircase import (
    Panel,
    _opaque_product,
    _opaque_to_h,
    _opaque_to_weight,
    panels,
    staircase_product,
)
from anabranch.networks import MaskedMLP
from anabranch.testing import randomize
from anabranch.testing.networks import all_steps

# PyTorch warns itself where it first differentiates forwards.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

STEPS = (Panel(0, 4, 1), Panel(4, 8, 3), Panel(8, 12, 5))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def staircase(steps=STEPS):
    mask = torch.zeros(steps[-1].end, steps[-1].columns, dtype=torch.float64)
    for a, b, c in steps:
        mask[a:b, :c] = 1
    return mask


def product(weight, bias, h):
    return staircase_product(weight * staircase(), bias, h, STEPS)


def dense(weight, bias, h):
    return (weight * staircase()) @ h + bias[:, None]


def operations(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def test_panels_cover_a_staircase_and_skip_its_zeros():
    reach = [row // 10 for row in range(1000)]
    cut = panels(reach, columns=99)
    assert [panel.begin for panel in cut] == [0, *(panel.end for panel in cut[:-1])] and cut[-1].end == 1000
    assert all(max(reach[a:b]) <= c for a, b, c in cut)
    network = MaskedMLP(63, 23, hidden=(128, 128))
    dense = 2 * 10 * sum(layer.weight.numel() for layer in network.layers)
    assert operations(lambda: network(torch.randn(10, 63))) < 0.7 * dense


@pytest.fixture
def inputs():
    return tuple(normal(*shape, seed=i) for i, shape in enumerate(((12, 5), (12,), (5, 7))))


def test_staircase_product_is_the_product_with_the_zeros(inputs):
    inputs = [x.requires_grad_() for x in inputs]
    torch.testing.assert_close(product(*inputs), dense(*inputs))
    assert torch.autograd.gradcheck(
        product, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(product, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


@pytest.mark.parametrize("batched", [(0,), (1,), (2,), (0, 1, 2)])
def test_staircase_products_of_batches(inputs, batched):
    dims = tuple(0 if i in batched else None for i in range(3))
    many = [x.expand(3, *x.shape) + torch.arange(3.0).view(3, *(1,) * x.dim()) for x in inputs]
    given = [m if i in batched else x for i, (m, x) in enumerate(zip(many, inputs, strict=True))]
    one_by_one = torch.stack([dense(*(m[k] if i in batched else m for i, m in enumerate(given))) for k in range(3)])
    torch.testing.assert_close(func.vmap(product, dims)(*given), one_by_one)


@pytest.mark.parametrize("argument", [0, 1, 2])
@pytest.mark.parametrize("first", [func.jacfwd, func.jacrev])
@pytest.mark.parametrize("second", [func.jacfwd, func.jacrev])
def test_jacobians_of_jacobians(inputs, argument, first, second):
    def derivative(f):
        # squared, or a product has no second derivative in one argument
        return second(first(lambda *xs: f(*xs).square().mean(dim=1), argument), argument)(*inputs)

    torch.testing.assert_close(derivative(product), derivative(dense))


def test_a_tangent_of_some_arguments_alone(inputs):
    for given in ((0,), (1,), (2,), (0, 2)):

        def tangent(f, given=given):
            def of_given(*xs):
                full = list(inputs)
                for i, x in zip(given, xs, strict=True):
                    full[i] = x
                return f(*full)

            primals = tuple(inputs[i] for i in given)
            return func.jvp(of_given, primals, tuple(x + 1 for x in primals))[1]

        torch.testing.assert_close(tangent(product), tangent(dense))


def test_gradients_of_dual_numbers(inputs):
    weight, bias, h = (x.requires_grad_() for x in inputs)
    found = []
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(h, normal(5, 7, seed=3))
        for f in (product, dense):
            gradient = torch.autograd.grad(f(weight, bias, dual).square().sum(), weight)[0]
            found.append(torch.autograd.forward_ad.unpack_dual(gradient).tangent)
    torch.testing.assert_close(*found)


class Called(TorchDispatchMode):
    """The names of the operations called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("wanted", "plain", "opaque"), [(0, "mm", "staircase_to_weight"), (1, "sum", "sum"), (2, "addmm", "staircase_to_h")]
)
def test_gradients_not_asked_for_are_not_computed(inputs, wanted, plain, opaque):
    inputs = [x.requires_grad_(i == wanted) for i, x in enumerate(inputs)]
    sizes = [size for step in STEPS for size in step]
    every = {"mm", "sum", "addmm", "staircase_to_weight", "staircase_to_h"}
    for y, expected in ((staircase_product(*inputs, STEPS), plain), (_opaque_product(*inputs, sizes), opaque)):
        with Called() as called:
            torch.autograd.grad(y, inputs[wanted], torch.ones_like(y))
        assert called.names & every == {expected}


def test_an_absent_tangent_is_not_multiplied(inputs):
    weight, bias, h = inputs
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(h, torch.ones_like(h))
        with FlopCounterMode(display=False) as counter:
            staircase_product(weight, bias, dual, STEPS)
    by_panels, tangent = sum((b - a) * c for a, b, c in STEPS), weight.numel()
    assert counter.get_total_flops() == 2 * 7 * (by_panels + tangent)


def test_the_staircase_is_a_sound_operation_for_compilers(inputs):
    weight, bias, h = inputs
    h = h.mT.contiguous().mT
    weight, bias, h = ((x * m).requires_grad_() for x, m in ((weight, staircase()), (bias, 1), (h, 1)))
    steps = [size for step in STEPS for size in step]
    torch.testing.assert_close(_opaque_product(weight, bias, h, steps), dense(weight, bias, h))
    torch.library.opcheck(_opaque_product, (weight, bias, h, steps))
    to_y = normal(12, 7, seed=3)
    expected = torch.autograd.grad(dense(weight, bias, h), (weight, bias, h), to_y)
    torch.testing.assert_close(
        torch.autograd.grad(_opaque_product(weight, bias, h, steps), (weight, bias, h), to_y), expected
    )
    torch.library.opcheck(_opaque_to_weight, (to_y, h.detach(), steps))
    torch.library.opcheck(_opaque_to_h, (to_y, weight.detach(), steps))


def wide(context):
    network = randomize(MaskedMLP(5, 2, context, hidden=(700, 701), activation="tanh").double())
    assert min(len(cut) for cut in network._panels[:-1]) > 1
    return network


def masked(network, x, context=None):
    """The same network with every zero multiplied out."""
    for i, layer in enumerate(network.layers):
        x = x @ (layer.weight * network.get_buffer(f"mask_{i}")).T + layer.bias
        if i == 0 and context is not None:
            x = x + context @ network.context_layer.weight.T
        if i + 1 < len(network.layers):
            x = network.activation(x)
    return x.unflatten(-1, (network.features, network.outputs))


@pytest.mark.parametrize("context", [0, 3])
def test_a_wide_masked_mlp_is_the_dense_one_masked(context):
    network = wide(context)
    x, c = normal(6, 5).requires_grad_(), normal(6, 3, seed=1).requires_grad_() if context else None
    inputs = [x, *([c] if context else []), *network.parameters()]
    to_y = normal(6, 5, 2, seed=2)
    found, expected = network(x, c), masked(network, x, c)
    torch.testing.assert_close(found, expected)
    gradients, wanted = (torch.autograd.grad(y, inputs, to_y) for y in (found, expected))
    torch.testing.assert_close(gradients, wanted)
    torch.testing.assert_close(all_steps(network, x, c), expected)
    with torch.no_grad():
        torch.testing.assert_close(all_steps(network, x, c), expected)


def test_torch_func_of_a_wide_masked_mlp():
    network, x, v = wide(0), normal(3, 5), normal(3, 5, seed=1)

    def both(derivative):
        torch.testing.assert_close(derivative(network), derivative(lambda x: masked(network, x)))

    both(lambda f: func.jvp(f, (x,), (v,)))
    both(lambda f: func.jacfwd(f)(x))
    both(lambda f: func.jacrev(f)(x))
    both(lambda f: func.hessian(lambda x: f(x).square().sum())(x))
    both(lambda f: func.vmap(func.jacrev(f))(x))
    both(lambda f: func.vmap(lambda t: func.vjp(f, x)[1](t)[0])(normal(4, 3, 5, 2, seed=2)))
    inputs = [x.requires_grad_(), *network.parameters()]
    to_y = normal(4, 3, 5, 2, seed=2)
    both(lambda f: torch.autograd.grad(f(x), inputs, to_y, is_grads_batched=True))


def test_a_wide_masked_mlp_without_data():
    assert wide(0).to("meta")(torch.empty(3, 5, dtype=torch.float64, device="meta")).shape == (3, 5, 2)
