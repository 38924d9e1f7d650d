"""The conformance suite of the Network and CausalNetwork contracts."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from anabranch.networks import CausalNetwork, Network
from anabranch.storage import load, save
from anabranch.testing.expectations import checking, expect, expect_close, expect_fullgraph


def check_network(
    network: Network,
    x: Tensor,
    context: Tensor | None = None,
    *,
    savable: bool = True,
    compiles: bool = True,
) -> None:
    """Put a plain network through the contract.

    Outputs of the shape it names for any batch, with one context for all rows and one row at many contexts; rows that do not
    move each other; float64; derivatives that are finite; copies and files that give equal numbers;
    `torch.compile(fullgraph=True)`.

    Args:
        network: the network, in float32, with weights away from their start (`randomize`).
        x: (rows, *in_shape), a few rows (3 to 10) in float32.
        context: (rows, *context_shape), if it takes one.
        savable: False for one that holds parts which no file can describe.
        compiles: False for one whose parts are not ours and do not compile.

    Raises:
        AssertionError: it does not conform; one line says where.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP
        >>> from anabranch.testing import check_network, randomize
        >>> check_network(randomize(MLP(3, 2, hidden=(8,))), torch.randn(5, 3))
    """
    with checking(network, "shapes"):
        check_outputs(network, x, context)
    with checking(network, "gradients"):
        inputs = [x.clone().requires_grad_(), *(p for p in network.parameters() if p.requires_grad)]
        loss = network(inputs[0], context).square().sum()
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
        expect(all(bool(g.isfinite().all()) for g in gradients), network, "expected finite gradients, got others")
    wanted = network(x, context)
    with checking(network, "a deep copy"):
        expect_close(copy.deepcopy(network)(x, context), wanted, network, "a deep copy", 0.0)
    if savable:
        with checking(network, "save and load"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.safetensors"
            save(network, path)
            expect_close(load(path)(x, context), wanted, network, "what a file gives back", 0.0)
    if compiles:
        expect_fullgraph(network, (x, context), network)


def check_outputs(network: Network, x: Tensor, context: Tensor | None = None) -> None:
    """Outputs for a batch, one event, no event, a deeper batch, contexts that broadcast, in float32 and float64."""
    shapes = (x.shape[1:], None if context is None else context.shape[1:])
    known = (network.in_shape, network.context_shape)
    expect(shapes == known, network, f"in_shape, context_shape: expected {shapes}, those to check with, got {known}")
    rows = network(x, context)
    wanted = torch.Size([len(x), *network.out_shape])
    expect(
        rows.shape == wanted, network, f"a batch: expected outputs of shape {tuple(wanted)}, got {tuple(rows.shape)}"
    )
    expect(bool(rows.isfinite().all()), network, "a batch: expected finite outputs, got others")
    first, none = (None, None) if context is None else (context[0], context[:0])
    cases: dict[str, tuple[Tensor, Tensor | None, Tensor]] = {
        "one event": (x[0], first, rows[0]),
        "an empty batch": (x[:0], none, rows[:0]),
        "a batch of batches": (
            x.expand(2, *x.shape),
            None if context is None else context.expand(2, *context.shape),
            rows.expand(2, *rows.shape),
        ),
    }
    if context is not None:
        cases["one context for all"] = (x, first, network(x, context[:1].expand_as(context)))
        cases["one event, many contexts"] = (x[0], context, network(x[:1].expand_as(x), context))
        cases["a batch of batches, one context for each row"] = (
            x.expand(2, *x.shape),
            context,
            rows.expand(2, *rows.shape),
        )
    for case, (data, given, expected) in cases.items():
        with checking(network, case):
            expect_close(network(data, given), expected, network, case, 1e-5)
    other = torch.cat([x[:1], x[1:] + 1])
    expect_close(network(other, context)[0], rows[0], network, "a row beside others that changed", 1e-5)
    exact = copy.deepcopy(network).double()(x.double(), None if context is None else context.double())
    expect(exact.dtype == torch.float64, network, f"in float64: expected torch.float64, got {exact.dtype}")
    expect_close(rows, exact, network, "in float32 against float64", 1e-3)


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
