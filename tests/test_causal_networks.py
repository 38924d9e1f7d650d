"""Causal networks of layers: how far back they look, what is beyond the suite, and what they refuse."""

import pytest
import torch

import anabranch as ab
from anabranch.densities.compilation import unrolls
from anabranch.families import Bernoulli
from anabranch.networks import (
    CausalConvolution,
    CausalTransformer,
    FiniteMemory,
    InOrder,
    MaskedMLP,
    PixelCNN,
    Recurrent,
)
from anabranch.networks.transformer_block import attention
from anabranch.testing import randomize
from anabranch.testing.networks import all_steps

# PyTorch warns itself where it first differentiates forwards.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen(network):
    """By autodiff: (features, features), at [d, e] whether the outputs of position d move with x_e."""
    network = randomize(network.double(), scale=0.3)
    x = normal(*network.event_shape)
    jacobian = torch.autograd.functional.jacobian(network, x)
    return jacobian.reshape(network.features, network.outputs, network.features, -1).abs().amax(dim=(1, 3)) > 0


# Receptive fields.


@pytest.mark.parametrize(
    "build",
    [
        lambda: FiniteMemory(9, 2, memory=1, hidden=6, activation="tanh"),
        lambda: FiniteMemory(9, 2, memory=4, hidden=6, activation="tanh", channels=2),
        lambda: FiniteMemory(5, 2, memory=100, hidden=6, activation="tanh"),
        lambda: FiniteMemory((4, 5), 1, memory=7, hidden=6, activation="tanh"),
        lambda: FiniteMemory((4, 5), 1, memory=(2, 1), hidden=6, activation="tanh"),
        lambda: FiniteMemory((4, 5), 1, memory=(1, 3), hidden=6, activation="tanh", embed_positions=True, channels=3),
        lambda: FiniteMemory((4, 5), 1, memory=(0, 2), hidden=6, activation="tanh"),
        lambda: FiniteMemory((4, 5), 1, memory=(2, 0), hidden=6, activation="tanh"),
        lambda: FiniteMemory((4, 5), 1, memory=(9, 9), hidden=6, activation="tanh"),
        lambda: CausalConvolution(12, 1, hidden=4, skip=16, layers=2),
        lambda: CausalConvolution(12, 2, hidden=4, skip=16, layers=3, kernel_size=3, channels=2),
        lambda: CausalConvolution((3, 4), 1, hidden=4, skip=16, layers=4, dilations=(3,)),
        lambda: CausalConvolution(6, 1, hidden=4, skip=16, layers=2, kernel_size=1, embed_positions=True),
        lambda: CausalConvolution(6, 1, hidden=4, skip=16, layers=2, dilations=(9, 1)),
        lambda: CausalConvolution(2, 1, hidden=4, skip=16, layers=2),
        lambda: CausalTransformer(9, 1, hidden=8, layers=1, heads=2),
        lambda: CausalTransformer((3, 2, 2), 1, hidden=8, layers=1, heads=2, reads="first", channels=3),
        lambda: PixelCNN((7, 9), 1, hidden=6, layers=1, first_kernel_size=3),
        lambda: PixelCNN((7, 9), 1, hidden=6, layers=2, first_kernel_size=3, channels=2),
        lambda: PixelCNN((6, 6), 1, hidden=6, layers=1, kernel_size=5, first_kernel_size=3, embed_positions=False),
        lambda: PixelCNN((3, 5, 3), 1, hidden=6, layers=1, first_kernel_size=3),
        lambda: PixelCNN((2, 4, 2), 1, hidden=6, layers=3, channels=3),
        lambda: PixelCNN((1, 6), 1, hidden=6, layers=1, first_kernel_size=3),
        lambda: PixelCNN((6, 1), 1, hidden=6, layers=1, first_kernel_size=3),
    ],
)
def test_outputs_look_at_all_of_their_receptive_field_and_no_further(build):
    network = build()
    claimed = network.receptive_field
    assert torch.equal(seen(network), claimed)
    assert not claimed.triu().any()


def test_how_far_a_memory_reaches():
    assert FiniteMemory(9, 1, memory=4).receptive_field.sum(dim=1).tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 4]
    everything = torch.ones(20, 20, dtype=torch.bool).tril(-1)
    assert torch.equal(FiniteMemory((4, 5), 1, memory=19).receptive_field, everything)
    assert torch.equal(FiniteMemory((4, 5), 1, memory=(3, 4)).receptive_field, everything)


# Memories.


def test_finite_memory_by_hand():
    network = randomize(FiniteMemory(5, 2, 3, memory=2, hidden=4, layers=1, activation="tanh", embed_positions=True))
    x, c = normal(5).float(), normal(3, seed=1).float()
    block, window, shifts = network.blocks[0], network.window, network.shifts.product.weight @ c
    for d in range(5):
        values = torch.tensor([float(x[e]) if e >= 0 else 0.0 for e in (d - 2, d - 1)])
        outside = torch.tensor([float(e < 0) for e in (d - 2, d - 1)])
        h = window.product(values) + window.mark(outside) + window.embedding[d] + shifts[:4]
        h = h + block.outer(torch.tanh(block.inner(torch.tanh(h)) + shifts[4:]))
        assert torch.allclose(network(x, c)[d], network.last(torch.tanh(h)), atol=1e-6)


def test_a_finite_memory_tells_zeros_from_nothing():
    network = randomize(FiniteMemory(6, 2, memory=2, hidden=8, activation="tanh"))
    y = network(torch.zeros(6))
    assert not torch.allclose(y[0], y[2]) and not torch.allclose(y[1], y[2])
    assert torch.allclose(y[2:], y[2].expand(4, 2))


def test_a_finite_memory_deepens_for_rows_alone():
    network = randomize(FiniteMemory(5, 2, 3, memory=2, hidden=8, layers=3, activation="tanh")).double()
    x, c = normal(4, 5), normal(4, 3, seed=1)
    wanted, stay = network.hidden(x, c), torch.tensor([0, 3])
    assert [h.shape for h in wanted] == [(4, 5, 8)] * 3
    with torch.no_grad():
        state, previous = network.start(torch.Size([4]), c), None
        for d in range(5):
            h, state = network.enter(state, previous)
            h, state = network.deepen(state, 1, h)
            assert torch.allclose(h, wanted[0][:, d], atol=1e-12)
            # two rows leave at every other position
            rows = stay if d % 2 else None
            if rows is not None:
                h = h[rows]
            for depth in (2, 3):
                h, state = network.deepen(state, depth, h, rows)
            there = wanted[2][:, d]
            assert torch.allclose(h, there if rows is None else there[rows], atol=1e-12)
            previous = x[:, d]


@pytest.mark.parametrize("memory", [0, True, (1,), (0, 0), (-1, 2), (1.5, 2), "all"])
def test_memories_that_cannot_be(memory):
    with pytest.raises(ValueError, match="memory: expected"):
        FiniteMemory((4, 4), 1, memory=memory)


def test_a_window_takes_an_image():
    with pytest.raises(ValueError, match=r"memory: expected how many positions, or \(rows, columns\) for features"):
        FiniteMemory(16, 1, memory=(2, 2))


# Convolutions.


def test_how_far_convolutions_reach():
    def reach(**arguments):
        return CausalConvolution(64, 1, hidden=2, skip=2, **arguments).receptive_field.sum(dim=1)

    assert reach(layers=3).tolist() == [min(d, 8) for d in range(64)]
    assert reach(layers=3, kernel_size=3).tolist() == [min(d, 15) for d in range(64)]
    assert reach(layers=6).tolist() == list(range(64))
    assert reach(layers=4, dilations=(1, 2)).tolist() == [min(d, 7) for d in range(64)]


def test_dilations_go_round():
    assert CausalConvolution(5, 1, layers=8).dilations == [1, 2, 4, 1, 2, 4, 1, 2]
    assert CausalConvolution(1, 1, layers=2).dilations == [1, 1]
    assert CausalConvolution(5, 1, layers=3, dilations=(3, 1)).dilations == [3, 1, 3]


@pytest.mark.parametrize("dilations", [(), (0,), (1, 1.5), 0])
def test_dilations_that_cannot_be(dilations):
    with pytest.raises(ValueError, match="dilations: expected"):
        CausalConvolution(5, 1, dilations=dilations)


def test_causal_convolution_by_hand():
    network = CausalConvolution(6, 2, 3, hidden=4, skip=3, layers=2, kernel_size=3, dilations=(1, 2))
    network = randomize(network.double())
    x, c = normal(6), normal(3, seed=1)
    u = torch.stack([network.window.product.bias + network.window.mark.weight[:, 0], *network.window(x[None])[0, 1:]])
    h = network.beginning.expand(6, 3)
    shifts = (network.shifts.product.weight @ c).view(2, 8)
    for layer, (dilation, mixing) in enumerate(zip((1, 2), network.mixing, strict=True)):
        taps = network.convolutions[layer].product.weight.view(8, 3, 4)
        z = torch.zeros(6, 8, dtype=torch.float64) + network.convolutions[layer].product.bias + shifts[layer]
        for d in range(6):
            for j in range(3):
                if d - j * dilation >= 0:
                    z[d] += taps[:, 2 - j] @ u[d - j * dilation]
        mixed = (z[:, :4].tanh() * z[:, 4:].sigmoid()) @ mixing.weight.T
        if layer == 0:
            u, mixed = u + mixed[:, :4], mixed[:, 4:]
        h = h + mixed
        assert torch.allclose(network.hidden(x, c)[layer], h, atol=1e-12)
    assert torch.allclose(network(x, c), network.last(network.inner(h.relu()).relu()), atol=1e-12)


# Recurrences.


def test_recurrent_by_hand():
    network = randomize(Recurrent(4, 2, 3, hidden=5, layers=2)).double()
    x, c = normal(4), normal(3, seed=1)
    shifts = (network.shifts.product.weight @ c).view(2, 5)
    h = network.window(x[None])[0]
    for recurrence, shift in zip(network.recurrences, shifts, strict=True):
        weight_u, weight_s, bias_u, bias_s = recurrence.parameters()
        s, states = torch.zeros(5, dtype=torch.float64), []
        for u in h + shift:
            (r_u, z_u, n_u), (r_s, z_s, n_s) = (weight_u @ u + bias_u).split(5), (weight_s @ s + bias_s).split(5)
            r, z = torch.sigmoid(r_u + r_s), torch.sigmoid(z_u + z_s)
            s = (1 - z) * torch.tanh(n_u + r * n_s) + z * s
            states.append(s)
        h = h + torch.stack(states)
    assert torch.allclose(network(x, c), network.last(h), atol=1e-12)


def test_outputs_of_a_recurrence_look_at_everything_before():
    assert torch.equal(seen(Recurrent(12, 2, hidden=4)), torch.ones(12, 12, dtype=torch.bool).tril(-1))


# Images.


def test_a_pixelcnn_has_no_blind_spot():
    # the last pixel but one of the third row: two rows above from end to end, and its left
    field = PixelCNN((4, 5), 1, layers=1, first_kernel_size=5).receptive_field[13].reshape(4, 5)
    assert field.tolist() == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2, [False] * 5]


def test_pixelcnn_by_hand():
    """Sums over masked windows of the whole image, as the paper has them, in place of shifts."""
    network = randomize(PixelCNN((4, 5), 2, 3, hidden=3, layers=2, first_kernel_size=3)).double()
    x, c = normal(4, 5), normal(3, seed=1)

    def gate(u):
        a, b = u.chunk(2, dim=-1)
        return torch.tanh(a / 2) * torch.sigmoid(b)

    def at(values, row, column):
        inside = 0 <= row < 4 and 0 <= column < 5
        return values[row, column] if inside else torch.zeros_like(values[0, 0])

    def convolved(layer, values, rows, columns, bias):
        y = torch.zeros(4, 5, layer.out_channels, dtype=torch.float64)
        for r in range(4):
            for k in range(5):
                for i, up in enumerate(rows):
                    for j, left in enumerate(columns):
                        y[r, k] += layer.weight[:, :, i, j] @ at(values, r - up, k - left)
        return y + layer.bias if bias else y

    v = convolved(network.first_above, x[..., None], [1], [1, 0, -1], True) + network.place_above
    h = convolved(network.first_left, x[..., None], [0], [1], True) + network.place_left
    for above, left, of_context in zip(network.above, network.left, network.of_context, strict=True):
        to_gate, to_message = (of_context.weight @ c).chunk(2)
        v = v + gate(convolved(above.convolution, v, [1, 0], [1, 0, -1], True) + to_gate)
        told = v @ above.message.weight.T + above.message.bias + to_message
        h = h + gate(convolved(left.convolution, h, [0], [1, 0], False) + told) @ left.out.weight[:, :, 0, 0].T
    assert torch.allclose(network.hidden(x, c)[-1], h, atol=1e-12)
    silu = torch.nn.functional.silu
    assert torch.allclose(network(x, c), network.read_outer(silu(network.read_inner(silu(h)))), atol=1e-12)


def test_dropout_is_for_fits_alone():
    network = randomize(PixelCNN((5, 5), 2, hidden=8, layers=2, dropout=0.5))
    x = normal(3, 5, 5).float()
    assert not torch.equal(network(x), network(x))
    steps = all_steps(network, x)
    network.eval()
    assert torch.equal(network(x), network(x))
    assert torch.allclose(network(x), steps, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": (8,)}, r"features: expected \(height, width\) or .*, got \(8,\)"),
        ({"features": (2, 2, 2, 2)}, r"features: expected"),
        ({"context": (1, 3, 4)}, r"context: expected the size of a vector or \(channels, 4, 4\), got \(1, 3, 4\)"),
        ({"context": (4, 4)}, r"context: expected"),
        ({"kernel_size": 4}, "kernel_size: expected an odd number, got 4"),
        ({"kernel_size": 1}, "kernel_size: expected a whole number of at least 3, got 1"),
        ({"first_kernel_size": 2}, "first_kernel_size: expected"),
        ({"dropout": 1.0}, "dropout: expected a fraction"),
        ({"layers": 0}, "layers: expected"),
        ({"hidden": 0}, "hidden: expected"),
    ],
)
def test_a_pixelcnn_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelCNN(**{"features": (4, 4), "outputs": 1, **arguments})


def test_a_density_of_a_recurrence_is_compiled_in_its_maps_alone():
    model = ab.models.Autoregressive(Bernoulli(), Recurrent(6, 1, hidden=4))
    x = torch.randint(2, (5, 6), dtype=torch.uint8)
    wanted = model.log_prob(x)
    model.compile()
    assert torch.equal(model.log_prob(x), wanted)
    assert unrolls(model) and not unrolls(ab.models.Autoregressive(Bernoulli(), CausalConvolution(6, 1)))


# Attention.


@pytest.mark.parametrize("reads", ["each", "first"])
def test_causal_transformer_by_hand(reads):
    network = CausalTransformer((2, 3), 2, 3, hidden=6, layers=2, heads=2, expansion=2, reads=reads, channels=2)
    network = randomize(network.double())
    x, c = normal(2, 3, 2), normal(3, seed=1)
    rows, columns = network.places
    h = (rows[:, None] + columns).flatten(0, 1) + network.of_context.weight @ c
    h = h + torch.cat([network.beginning[None], x.flatten(0, 1)[:-1] @ network.first.weight.T])
    first = network.source_norm(h) if reads == "first" else None
    for block in network.blocks:
        normed = block.attention_norm(h)
        keys, values = block.keys_values(normed if first is None else first).chunk(2, dim=-1)
        queries, attended = block.query(normed), torch.zeros_like(h)
        for d in range(6):
            for part in (slice(0, 3), slice(3, 6)):
                weights = torch.softmax(keys[: d + 1, part] @ queries[d, part] / 3**0.5, dim=0)
                attended[d, part] = weights @ values[: d + 1, part]
        h = h + block.attended(attended)
        h = h + block.outer(torch.nn.functional.gelu(block.inner(block.mlp_norm(h))))
    assert torch.allclose(network(x, c).flatten(0, 1), network.last(network.norm(h)), atol=1e-12)


def test_a_transformer_of_the_first_layer_deepens_for_rows_alone():
    network = randomize(CausalTransformer(5, 2, 3, hidden=8, layers=3, heads=2, reads="first")).double()
    x, c = normal(4, 5), normal(4, 3, seed=1)
    wanted, stay = network.hidden(x, c), torch.tensor([0, 3])
    assert network.leaves_early and not CausalTransformer(5, 2, hidden=8).leaves_early
    for recording in (False, True):
        with torch.set_grad_enabled(recording):
            state, previous = network.start(torch.Size([4]), c), None
            for d in range(5):
                h, state = network.enter(state, previous)
                h, state = network.deepen(state, 1, h)
                assert torch.allclose(h, wanted[0][:, d], atol=1e-12)
                if d % 2:  # two rows leave
                    h, state = network.deepen(state, 2, h[stay], stay)
                    assert torch.allclose(h, wanted[1][stay, d], atol=1e-12)
                if d == 4:
                    for depth in (2, 3):
                        h, state = network.deepen(state, depth, h)
                    assert torch.allclose(h, wanted[2][:, d], atol=1e-12)
                previous = x[:, d]


def test_attention_in_bfloat16_that_is_learned_is_that_of_float32():
    # and so are its gradients, which on a CPU take several times as long in bfloat16
    q, k, v = (normal(2, 2, 9, 4).bfloat16().requires_grad_() for _ in range(3))
    exact = attention(q.float(), k.float(), v.float(), causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attention(q, k, v, causal=True)
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.bfloat16())
    weights = normal(2, 2, 9, 4).bfloat16()
    for one, other in zip(
        torch.autograd.grad(rounded, (q, k, v), weights),
        torch.autograd.grad(exact, (q, k, v), weights.float()),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_transformers_drop_in_fits_alone():
    network = randomize(CausalTransformer(5, 2, hidden=8, layers=2, heads=2, dropout=0.5))
    x = normal(3, 5).float()
    assert not torch.equal(network(x), network(x))
    steps = all_steps(network, x)
    network.eval()
    assert torch.allclose(network(x), steps, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 10, "heads": 4}, "hidden: expected a multiple of 4, the number of heads, got 10"),
        ({"reads": "last"}, "reads: expected one of 'each', 'first', got 'last'"),
        ({"dropout": -0.1}, "dropout: expected a fraction"),
        ({"layers": 0}, "layers: expected"),
        ({"expansion": 0}, "expansion: expected"),
    ],
)
def test_a_transformer_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        CausalTransformer(4, 1, **arguments)


# Orders.


def test_outputs_in_an_order_look_at_the_places_before_them_in_it():
    order = [3, 1, 4, 0, 2]
    shared = randomize(MaskedMLP(5, 2, hidden=(40, 40), activation="tanh").double(), scale=0.3)
    x, plain = normal(5), InOrder(shared, range(5))
    assert torch.equal(plain(x), shared(x))
    assert torch.equal(seen(InOrder(shared, order)), torch.ones(5, 5, dtype=torch.bool).tril(-1))
    # position 2 reads and writes by the weights of place 4
    turned = InOrder(shared, order)
    with torch.no_grad():
        shared.layers[0].weight[:, 4] = 0
        before = turned(x)
        x[2] += 1
        assert torch.equal(turned(x), before)
        shared.layers[-1].bias.view(5, 2)[4] += 1
        moved = (turned(x) - before).abs().amax(dim=1)
    assert (moved > 0).tolist() == [False, False, True, False, False]


def test_made_of_several_orders_is_one_density_with_one_set_of_weights(tmp_path):
    shared = randomize(MaskedMLP(4, 1, hidden=(12,)), scale=0.5)
    orders = [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]]
    members = [ab.models.Autoregressive(Bernoulli(), InOrder(shared, order), order=order) for order in orders]
    ensemble = ab.Ensemble(members)
    every = torch.tensor([[i >> k & 1 for k in range(4)] for i in range(16)], dtype=torch.uint8)
    each = torch.stack([member.log_prob(every) for member in members])
    assert torch.allclose(each.exp().sum(dim=1), torch.ones(3), atol=1e-5)
    assert (each[0] - each[1]).abs().max() > 0.01
    assert torch.allclose(ensemble.log_prob(every), each.exp().mean(dim=0).log(), atol=1e-5)
    ab.save(ensemble, tmp_path / "made.safetensors")
    again = ab.load(tmp_path / "made.safetensors")
    assert torch.equal(again.log_prob(every), ensemble.log_prob(every))
    first, second, _ = (member.chain.network.network for member in again.members)
    assert first is second
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in shared.parameters()) + 3 * 4


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], "012"])
def test_orders_that_are_none(order):
    with pytest.raises(ValueError, match="order: expected"):
        InOrder(MaskedMLP(3, 1), order)


# What all of them do.

EACH = {
    "finite memory": lambda **more: FiniteMemory((3, 3), 2, **more),
    "window": lambda **more: FiniteMemory((3, 3), 2, memory=(2, 1), **more),
    "convolution": lambda **more: CausalConvolution((3, 3), 2, hidden=6, skip=7, layers=5, **more),
    "recurrent": lambda **more: Recurrent((3, 3), 2, **more),
    "transformer": lambda **more: CausalTransformer((3, 3), 2, hidden=8, layers=2, heads=2, **more),
    "transformer of the first layer": lambda **more: CausalTransformer(
        (3, 3), 2, hidden=8, layers=2, heads=2, reads="first", **more
    ),
    "PixelCNN": lambda **more: PixelCNN((3, 3), 2, hidden=6, layers=2, **more),
}


@pytest.mark.parametrize("name", EACH)
def test_outputs_start_at_zero(name):
    network = EACH[name](context=2, zero_start=True)
    assert not network(normal(4, 3, 3).float(), normal(4, 2).float()).any()


@pytest.mark.parametrize("name", EACH)
def test_no_rows_and_batches_of_batches(name):
    network = randomize(EACH[name](channels=2)).double()  # in float32 products of other numbers of rows differ by 7e-6
    x = normal(2, 5, 3, 3, 2)
    assert torch.allclose(network(x)[1], network(x[1]), atol=1e-12)
    assert network(x[:, :0]).shape == (2, 0, 3, 3, 2)
    for recording in (False, True):
        with torch.set_grad_enabled(recording):
            assert all_steps(network, x[:, :0]).shape == (2, 0, 3, 3, 2)


@pytest.mark.parametrize("name", EACH)
def test_products_in_bfloat16_are_close_and_come_back_in_float32(name):
    network = randomize(EACH[name](context=2))
    x, c = normal(4, 3, 3).float(), normal(4, 2).float()
    exact = network(x, c).detach()
    network.product_dtype = torch.bfloat16
    rounded = network(x, c)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, exact, atol=0.05 * float(exact.abs().max()))
    assert not torch.equal(rounded, exact)


@pytest.mark.parametrize("name", EACH)
def test_steps_refuse_values_of_another_dtype(name):
    network = EACH[name]()
    state = network.start(torch.Size([4]))
    _, state = network.step(state, None)
    with pytest.raises(
        ValueError, match=r"x_previous: expected dtype torch\.float32 \(the network's\), got torch\.int64"
    ):
        network.step(state, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("name", sorted({*EACH} - {"recurrent"}))
def test_forward_is_one_graph(name):
    network = randomize(EACH[name](context=2, channels=2))
    x, c = normal(4, 3, 3, 2).float(), normal(4, 2).float()
    graph = torch.compile(network, fullgraph=True, backend="eager")
    assert torch.allclose(graph(x, c), network(x, c), atol=1e-6)


@pytest.mark.parametrize("name", EACH)
def test_transforms_of_functions_take_forward_and_steps(name):
    network = randomize(EACH[name](context=2)).double()
    x, c = normal(4, 3, 3), normal(4, 2)
    wanted = network(x, c)
    assert torch.allclose(torch.func.vmap(network)(x, c), wanted, atol=1e-12)
    assert torch.allclose(torch.func.vmap(lambda a, b: all_steps(network, a, b))(x, c), wanted, atol=1e-12)
    _, tangent = torch.func.jvp(lambda a: network(a, c), (x,), (x,))
    difference = (network(x + 1e-6 * x, c) - network(x - 1e-6 * x, c)) / 2e-6
    assert torch.allclose(tangent, difference, atol=1e-6)
