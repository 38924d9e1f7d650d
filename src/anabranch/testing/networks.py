"""The conformance suite of the CausalNetwork contract."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from anabranch.networks import CausalNetwork
from anabranch.testing.expectations import checking, expect, expect_close


def check_causal_network(network: CausalNetwork, x: Tensor, context: Tensor | None = None) -> None:
    """Put a causal network through the contract.

    Outputs of a position do not move with the inputs at or after it; steps agree with forward, with and without gradients;
    a whole pass of steps costs no more multiply-adds than one forward.

    Args:
        network: the network, with weights away from their start (`randomize`).
        x: (rows, *positions) or (rows, *positions, channels), in float32.
        context: (rows, *context), if it takes one.

    Raises:
        AssertionError: it does not conform; one line says where.

    Example:
        >>> import torch
        >>> from anabranch.networks import MaskedMLP
        >>> from anabranch.testing import check_causal_network, randomize
        >>> check_causal_network(randomize(MaskedMLP(4, 2, hidden=(16,))), torch.randn(5, 4))
    """
    with checking(network, "causality"):
        check_causality(network, x, context)
    with checking(network, "steps"):
        check_steps(network, x, context)
    with checking(network, "work"):
        check_work(network, x, context)


def check_causality(network: CausalNetwork, x: Tensor, context: Tensor | None = None) -> None:
    """dy_d / dx_e = 0 for e >= d, some dy_d / dx_e is not 0 for each d > 0, and the context reaches the outputs."""
    exact = copy.deepcopy(network).double()
    given = None if context is None else context[0].double()
    shape = torch.Size([*network.positions, network.outputs])
    got = exact(x[0].double(), given).shape
    expect(got == shape, network, f"expected outputs of shape {tuple(shape)}, got {tuple(got)}")
    jacobian = torch.autograd.functional.jacobian(lambda v: exact(v, given), x[0].double())
    count = network.features
    # by position: how far its outputs move with the numbers of each other one
    reach = jacobian.reshape(count, network.outputs, count, -1).abs().amax(dim=(1, 3))
    # NaN must count as reach
    late = (reach.triu() != 0).nonzero().tolist()
    expect(not late, network, f"expected outputs that look only before their position, got (position, input) {late}")
    blind = [d for d in range(1, network.features) if not bool((reach[d] > 0).any())]
    expect(not blind, network, f"expected outputs that see positions before their own, got none at {blind}")
    if given is not None:
        moved = (exact(x[0].double(), given + 1) - exact(x[0].double(), given)).reshape(count, -1)
        still = [d for d in range(network.features) if not bool((moved[d] != 0).any())]
        expect(not still, network, f"expected outputs that move with the context, got none at {still}")


def check_steps(network: CausalNetwork, x: Tensor, context: Tensor | None = None) -> None:
    """Steps give what forward gives, for several batch shapes, with one context for all rows, and the same gradients."""
    exact = copy.deepcopy(network).double()
    data, given = x.double(), None if context is None else context.double()
    wanted = exact(data, given)
    with torch.no_grad():
        expect_close(all_steps(exact, data, given), wanted, network, "steps without gradients", 1e-9)
        one = None if given is None else given[0]
        expect_close(all_steps(exact, data[0], one), wanted[0], network, "steps of one event", 1e-9)
        if given is not None:
            shared = exact(data, given[0])
            expect_close(all_steps(exact, data, given[0]), shared, network, "steps with one context for all", 1e-9)
        deep = None if given is None else given.expand(2, *given.shape)
        batches = data.expand(2, *data.shape)
        expect_close(
            all_steps(exact, batches, deep), wanted.expand(2, *wanted.shape), network, "steps of batches", 1e-9
        )
    parameters = [p for p in exact.parameters() if p.requires_grad]
    start = data.clone().requires_grad_()
    inputs = [start, *parameters]
    # a network over one position looks at no input at all
    by_steps, by_forward = (
        torch.autograd.grad(y.square().sum(), inputs, allow_unused=True, materialize_grads=True)
        for y in (all_steps(exact, start, given), exact(start, given))
    )
    for got, expected in zip(by_steps, by_forward, strict=True):
        expect_close(got, expected, network, "gradients of steps against those of forward", 1e-7)


def check_work(network: CausalNetwork, x: Tensor, context: Tensor | None = None) -> None:
    """All steps together make no more multiply-adds than one forward."""
    with torch.no_grad():
        with FlopCounterMode(display=False) as steps:
            all_steps(network, x, context)
        with FlopCounterMode(display=False) as forward:
            network(x, context)
    got, wanted = steps.get_total_flops(), forward.get_total_flops()
    expect(got <= wanted, network, f"expected all steps to take at most forward's {wanted} operations, got {got}")


def all_steps(network: CausalNetwork, x: Tensor, context: Tensor | None = None) -> Tensor:
    """The outputs of all positions, one step after the other: (*batch, *positions, outputs)."""
    batch = x.shape[: x.dim() - len(network.event_shape)]
    values = x.reshape(*batch, network.features, *([] if network.channels is None else [network.channels]))
    state = network.start(batch, context)
    previous: Tensor | None = None
    outputs = []
    for value in values.unbind(dim=len(batch)):
        y, state = network.step(state, previous)
        outputs.append(y)
        previous = value
    return torch.stack(outputs, dim=-2).unflatten(-2, network.positions)
