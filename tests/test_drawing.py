"""Draws come from the generator or the seed that was given, in every thread; global generators are left alone."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributions as D
from torch import nn

import anabranch as ab
from anabranch.densities import Density, GaussianMixture, Resampled
from anabranch.networks import MLP
from anabranch.tables import fit_table

OPTIONS = {"epochs": 1, "progress": False}


def states():
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),
        repr(random.getstate()),
    )


@contextmanager
def global_generators_left_alone():
    before = states()
    yield
    assert states() == before


@contextmanager
def never_rewound():
    """What is drawn before, and after, of the global generator are different numbers."""
    torch.manual_seed(123)
    whole = torch.rand(10_000)
    torch.manual_seed(123)
    first = torch.rand(10)
    yield
    after = torch.rand(10)
    assert torch.equal(first, whole[:10])
    assert not set(after.tolist()) & set(first.tolist())


def flow(**options):
    return ab.Flow(ab.flows.nsf(features=2, blocks=1, hidden=(8,), **options))


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(200, 2))


@pytest.fixture(scope="module")
def frame(rows):
    k = np.random.default_rng(1).choice(["u", "v"], len(rows))
    return pd.DataFrame(rows, columns=["a", "b"]).assign(k=k)


@pytest.fixture(scope="module")
def table(frame):
    return fit_table(frame, hidden=16, **OPTIONS)[0]


ATTENTION, RECURRENT = nn.MultiheadAttention(4, 2, dropout=0.5), nn.LSTM(3, 3, 2, dropout=0.5)
ONES, HALVES, SEQUENCE = torch.ones(3, 3), torch.full((3, 3), 0.5), torch.ones(2, 3, 4)
DRAWS = {
    "rand": lambda: torch.rand(3),
    "randn": lambda: torch.randn(3),
    "randint": lambda: torch.randint(1000, (3,)),
    "randperm": lambda: torch.randperm(100),
    "rand_like": lambda: torch.rand_like(ONES),
    "randn_like": lambda: torch.randn_like(ONES),
    "randint_like": lambda: torch.randint_like(ONES, 1000),
    "normal of tensors": lambda: torch.normal(ONES, ONES),
    "normal of a size": lambda: torch.normal(0.0, 1.0, (3,)),
    "bernoulli": lambda: torch.bernoulli(HALVES.expand(9, 3, 3)),
    "multinomial": lambda: torch.multinomial(torch.ones(100), 9),
    "poisson": lambda: torch.poisson(9 * ONES),
    "binomial": lambda: torch.binomial(99 * ONES, HALVES),
    "in place": lambda: torch.stack(
        [
            ONES.clone().normal_(),
            ONES.clone().uniform_(),
            ONES.clone().exponential_(),
            ONES.clone().cauchy_(),
            ONES.clone().geometric_(0.3),
            ONES.clone().log_normal_(),
            ONES.clone().random_(),
            ONES.clone().bernoulli_(),
        ]
    ),
    "methods": lambda: torch.cat([torch.ones(100).multinomial(9), HALVES.bernoulli().flatten()]),
    "StudentT": lambda: D.StudentT(ONES).sample(),
    "Gamma": lambda: D.Gamma(ONES, ONES).rsample(),
    "Dirichlet": lambda: D.Dirichlet(ONES).sample(),
    "Categorical": lambda: D.Categorical(torch.ones(100)).sample((9,)),
    "VonMises": lambda: D.VonMises(ONES, ONES).sample(),
    "Poisson": lambda: D.Poisson(9 * ONES).sample(),
    "Linear": lambda: nn.Linear(3, 3).weight,
    "Embedding": lambda: nn.Embedding(3, 3).weight,
    "GRU": lambda: nn.GRU(3, 3).weight_hh_l0,
    "orthogonal_": lambda: nn.init.orthogonal_(torch.empty(3, 3)),
    "trunc_normal_": lambda: nn.init.trunc_normal_(torch.empty(3, 3)),
    "sparse_": lambda: nn.init.sparse_(torch.empty(9, 9), 0.3),
    "dropout": lambda: nn.Dropout()(torch.ones(99)),
    "dropout of channels": lambda: nn.Dropout2d()(torch.ones(9, 9, 2, 2)),
    "alpha dropout": lambda: nn.AlphaDropout()(torch.ones(99)),
    "attention": lambda: ATTENTION(SEQUENCE, SEQUENCE, SEQUENCE)[0],
    "recurrent": lambda: RECURRENT(torch.ones(9, 3, 3))[0],
    "gumbel_softmax": lambda: nn.functional.gumbel_softmax(ONES),
    "rrelu": lambda: nn.functional.rrelu(-ONES, training=True),
}


@pytest.mark.parametrize("name", DRAWS)
def test_what_pytorch_draws_comes_from_the_generator(name):
    with global_generators_left_alone():
        found = []
        for seed in (0, 0, 1):
            with ab.drawing(seed):
                found.append(DRAWS[name]())
        with ab.drawing(torch.Generator().manual_seed(0)):
            found.append(DRAWS[name]())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[3])
    assert not torch.equal(found[0], found[2])
    torch.manual_seed(0)  # the numbers are those that the global generator has from that seed
    assert torch.equal(found[0], DRAWS[name]())


def test_the_inner_block_has_the_draws_and_a_generator_given_is_kept():
    generator = torch.Generator().manual_seed(7)
    with ab.drawing(0):
        first = torch.rand(3)
        with ab.drawing(1):
            inner = torch.rand(3)
            given = torch.rand(3, generator=generator)
            with ab.drawing(None):
                more = torch.rand(3)
        second = torch.rand(3)
    with ab.drawing(0):
        assert torch.equal(torch.cat([first, second]), torch.rand(6)[:6].clone())
    with ab.drawing(1):
        assert torch.equal(torch.cat([inner, more]), torch.rand(6))
    assert torch.equal(given, torch.rand(3, generator=generator.manual_seed(7)))
    with pytest.raises(ValueError, match=r"generator: expected a torch\.Generator or a seed, got str"):
        ab.drawing("0")
    with pytest.raises(ValueError, match="seed: expected a whole number of at least 0, got -1"):
        ab.drawing(-1)


def test_a_block_ends_with_an_error_and_does_not_reach_other_threads():
    with pytest.raises(ZeroDivisionError), ab.drawing(0):
        1 / 0  # noqa: B018
    torch.manual_seed(0)
    free = torch.rand(3)
    torch.manual_seed(0)
    with ab.drawing(5), ThreadPoolExecutor(1) as threads:
        assert torch.equal(threads.submit(torch.rand, 3).result(), free)


def test_other_devices_get_a_generator_each():
    with ab.drawing(0):
        assert torch.rand(3, device="meta").is_meta
        assert nn.Linear(3, 3, device="meta").weight.is_meta


def test_initial_weights_are_those_of_the_seed():
    with global_generators_left_alone():
        found = []
        for seed in (0, 0, 1):
            with ab.drawing(seed):
                found.append(torch.cat([p.flatten() for p in flow().parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.filterwarnings("ignore::anabranch.objectives.UnsettledWarning")
@pytest.mark.slow
def test_public_calls_with_a_seed_leave_the_global_generators_alone(rows, frame, table, tmp_path):
    x = torch.tensor(rows, dtype=torch.float32)
    gappy = x.clone()
    gappy[:50, 0] = torch.nan
    with ab.drawing(0):
        model = flow()
        depth = ab.DepthMixture(ab.flows.nsf(features=2, blocks=2, hidden=(8,)))
        any_order = ab.models.AnyOrder(2, hidden=8)
        other = ab.models.AnyOrder(2, hidden=8)
    holes = frame.copy()
    holes.loc[:20, "a"] = np.nan
    calls = {
        "fit": lambda: ab.fit(model, x, epochs=1, seed=0, noise=0.1, progress=False).best_epoch,
        "fit any order": lambda: ab.fit(other, gappy, epochs=1, seed=0, progress=False).best_epoch,
        "sample": lambda: model.sample((3,), generator=0),
        "expected_depth": lambda: depth.expected_depth(100, generator=0),
        "prune": lambda: depth.prune(0.0, samples=100, generator=0).components,
        "sample_and_log_prob": lambda: depth.sample_and_log_prob((3,), generator=0),
        "loss of any order": lambda: any_order.eval().loss(gappy),
        "save and load": lambda: (ab.save(model, tmp_path / "m"), ab.load(tmp_path / "m").log_prob(x))[1],
        "expectation": lambda: ab.queries.expectation(model, "mean", given={0: 0.5}, seed=0, samples=500).value,
        "probability": lambda: ab.queries.probability(model, lambda x: x[:, 0] > 0, seed=0, samples=500).value,
        "quantile": lambda: ab.queries.quantile(depth, 0, [0.5], seed=0, samples=500).value,
        "mode": lambda: ab.queries.mode(model, seed=0).x,
        "impute": lambda: ab.queries.impute(any_order, gappy, draws=2, seed=0),
        "conditional": lambda: ab.queries.conditional(model, {0: 0.1}, seed=0).sample((3,), generator=0),
        "marginal": lambda: ab.queries.marginal(depth, [0], seed=0).log_prob(x[:3, :1]),
        "fit_table": lambda: fit_table(frame, hidden=16, seed=0, **OPTIONS)[1].scores[0],
        "table.sample": lambda: table.sample(5, seed=0).to_pydict(),
        "table.impute": lambda: [one.to_dict() for one in table.impute(holes, draws=2, seed=0)],
        "table.ask": lambda: str(table.ask("P(a > 0 | k = u)")),
        "table.log_prob": lambda: table.log_prob(holes),
    }
    for name, call in calls.items():
        found = []
        for _ in range(2):
            with global_generators_left_alone():
                found.append(call())
        if name.startswith("fit ") or name == "fit":
            continue  # goes on from the weights of the first call
        one, again = found
        assert torch.equal(one, again) if isinstance(one, torch.Tensor) else str(one) == str(again), name


def test_without_a_seed_the_global_generator_goes_on(rows, table):
    model = flow()
    x = torch.tensor(rows, dtype=torch.float32)
    for call in (
        lambda: model.sample((3,)),
        lambda: table.sample(3),
        lambda: ab.fit(model, x, epochs=1, progress=False),
        lambda: ab.queries.expectation(model, "mean", given={0: 0.5}, samples=64),
        lambda: table.ask("E[a | k = u]"),
    ):
        with never_rewound():
            call()
    torch.manual_seed(0)
    one = model.sample((3,))
    assert not torch.equal(one, model.sample((3,)))
    torch.manual_seed(0)
    assert torch.equal(one, model.sample((3,)))


def test_draws_between_questions_are_all_distinct(table):
    torch.manual_seed(1)
    drawn = []
    for _ in range(20):
        drawn.append(torch.rand(1000, dtype=torch.float64))
        table.ask("P(a > 0 | k = u)")
        table.sample(1, seed=0)
    assert len(torch.cat(drawn).unique()) == 20_000


def test_threads_draw_and_score_as_one_does(rows, table, frame):
    with ab.drawing(3):
        depth = ab.DepthMixture(ab.flows.nsf(features=2, blocks=2, hidden=(8,)))
    x = torch.tensor(rows, dtype=torch.float32)

    def work(seed):
        noise = torch.rand(100)  # another thread's draws, of the global generator
        found = (
            depth.sample((50,), generator=seed),
            torch.tensor(np.asarray(table.sample(20, seed=seed).column("a"))),
            torch.tensor(list(str(table.ask("E[a | k = u]", seed=seed)).encode())),
            torch.tensor(table.log_prob(frame)),
            depth.log_prob(x).detach(),
        )
        return noise, found

    def trained(seed):
        with ab.drawing(seed):
            model = flow()
        ab.fit(model, x, epochs=2, seed=seed, noise=0.1, progress=False)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    with ThreadPoolExecutor(4) as threads:
        for task in (work, trained):
            alone = [task(seed) for seed in range(4)]
            for _ in range(3):
                together = list(threads.map(task, range(4)))
                for one, other in zip(alone, together, strict=True):
                    if isinstance(one, torch.Tensor):
                        assert torch.equal(one, other)
                        continue
                    assert all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


def test_a_compiled_density_draws_the_same_and_is_compiled_once():
    """A block is no reason to compile anew, and what is compiled draws the same as what is not."""
    with ab.drawing(0):
        model = ab.Flow(ab.flows.realnvp(features=2, blocks=2, hidden=(8,)))
    wanted = model.sample((40,), generator=3)
    log_p = model.log_prob(wanted).detach()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    try:
        model.compile(backend=backend, fullgraph=True)
        for seed in (3, None, 3):
            drawn = model.sample((40,), generator=seed)
        assert torch.allclose(drawn, wanted, atol=1e-5)
        with ab.drawing(1):
            assert torch.allclose(model.log_prob(wanted), log_p, atol=1e-5)
        assert torch.allclose(model.log_prob(wanted), log_p, atol=1e-5)
        assert len(graphs) == 2  # sampling, and log_prob
    finally:
        torch.compiler.reset()


class Shaken(Density):
    """A normal whose loss draws."""

    def __init__(self):
        super().__init__((3,))
        self.loc = nn.Parameter(torch.zeros(3))

    def _log_prob(self, x, context):
        return D.Normal(self.loc, 1.0, validate_args=False).log_prob(x).sum(-1)

    def _sample(self, shape, context):
        return self.loc + torch.randn(*shape, 3)

    def _loss(self, x, context):
        return -self._log_prob(x + torch.rand_like(x), context)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_loss_draws_of_the_generator(backend):
    model = Shaken()
    model.compile(backend=backend, fullgraph=True)

    def run(seed):
        with ab.drawing(seed):
            return model.loss(ONES).detach()

    with global_generators_left_alone():
        found = [run(seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_loss_that_draws_repeats_compiled_or_not(rows):
    x = torch.tensor(rows, dtype=torch.float32)
    for build in (
        lambda: Resampled(GaussianMixture(np.eye(2), learnable=True), MLP(2, 1, hidden=(8,)), samples=64),
        flow,
    ):
        found = []
        for _ in range(2):
            with ab.drawing(0):
                model = build()
            with global_generators_left_alone():
                ab.fit(model, x, epochs=1, seed=0, noise=0.1, progress=False)
            found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert torch.equal(*found)
