"""Steps that wait for no device: what is found late is named as if it were found at once, and graphs take the same steps."""

import logging
from contextlib import nullcontext

import pytest
import torch

import anabranch as ab
from anabranch.draws import drawing
from anabranch.objectives import Completion, Consistency, Information, Likelihood
from anabranch.testing import randomize
from anabranch.training import graph
from anabranch.training.loop import Loop
from anabranch.training.processes import Processes
from anabranch.training.step import Step, seed_at
from anabranch.transforms import ActNorm, Chain, Transform

QUICK = {"epochs": 4, "batch_size": 40, "seed": 0, "progress": False}
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def rows(count=210, features=2):
    return 3 + 2 * torch.randn(count, features, generator=torch.Generator().manual_seed(0))


def flow(features=2, context=0):
    with ab.drawing(0):
        return ab.Flow(ab.flows.nsf(features, context, blocks=2, hidden=(16,), bins=4))


def mixture():
    with ab.drawing(0):
        posterior = ab.networks.MLP(2, 3, hidden=(8,))
        model = ab.FlowMixture([ab.densities.Normal.standard(2) for _ in range(3)], heads="affine", posterior=posterior)
        return randomize(model, 0.3) or model


class Breaking(Transform):
    """Gives NaN for rows whose first column is above 100, or, where told so, a gradient of NaN alone."""

    def __init__(self, gradient: bool = False) -> None:
        super().__init__()
        self.gradient = gradient

    def _forward(self, x, context):
        far = x[..., :1] > 100
        z = torch.where(far, x.abs().sqrt() * 0 + x, x) if self.gradient else torch.where(far, torch.nan, x)
        if self.gradient:
            z = z + torch.where(far, (x - x).abs().sqrt() * 0, 0.0)
        return z, x.new_zeros(x.shape[:-1])

    def _inverse(self, z, context):
        return z, z.new_zeros(z.shape[:-1])


def breaking(gradient=False):
    first, last = ActNorm(2), ActNorm(2)
    for layer in (first, last):
        layer.get_buffer("initialized").fill_(True)
    return ab.Flow(Chain({"first": first, "breaking": Breaking(gradient), "last": last}))


def weights(density):
    return torch.cat([p.detach().cpu().flatten() for p in density.parameters()])


@pytest.fixture
def seldom(monkeypatch):
    """As on a GPU: the flag is read on the device, and looked at only now and then."""
    begin = Loop.__init__

    def seldom(loop, *arguments, **options):
        begin(loop, *arguments, **options)
        loop.between_looks = 25
        loop.weights.optimiser.on_device = True

    monkeypatch.setattr(Loop, "__init__", seldom)


class TestSeldom:
    """The host looks at what the device has come to every 25 steps, and at the end of each pass."""

    def test_changes_no_number(self, request):
        options = QUICK | {"average": 0.9, "noise": 0.1}
        at_once, late = flow(), flow()
        one = ab.fit(at_once, rows(), **options)
        request.getfixturevalue("seldom")
        two = ab.fit(late, rows(), **options)
        assert torch.equal(weights(at_once), weights(late))
        assert [e.loss for e in one.epochs] == [e.loss for e in two.epochs]

    @pytest.mark.parametrize("noise", [0.0, 1e-3])
    def test_a_loss_that_is_not_finite_is_named_by_its_step_row_and_layer(self, seldom, noise):
        x = rows()
        x[123, 0] = 1000.0
        order = torch.randperm(210, generator=torch.Generator().manual_seed(0))
        batch = next(i for i, index in enumerate(order.tensor_split(6)) if 123 in index)
        density = breaking()
        before = weights(density)
        with pytest.raises(ab.NonFiniteError, match=r"the loss became nan at step \d+, row 123 of the data") as caught:
            ab.fit(density, x, validation=0, noise=noise, **QUICK)
        error = caught.value
        assert (error.step, error.row, error.layer) == (batch + 1, 123, "transform.blocks.breaking (Breaking)")
        assert torch.equal(weights(density), before)  # those that it began with: no pass was over

    def test_a_gradient_that_is_not_finite_is_named_too(self, seldom):
        x = rows()
        x[123, 0] = 1000.0
        density = breaking(gradient=True)
        before = weights(density)
        with pytest.raises(ab.NonFiniteError, match=r"the gradient of transform\.blocks\.first\.loc is not finite"):
            ab.fit(density, x, validation=0, **QUICK)
        assert torch.equal(weights(density), before)

    def test_no_update_is_made_after_the_flag_is_up(self):
        density = ab.densities.Normal(torch.zeros(2), learnable=True)
        step = Step(density, None, optimiser(density), 5.0, Processes(torch.device("cpu"), unused=False))
        step.optimiser.on_device = True
        read = ab.training.rows.read_rows
        sound, bad = read(density, rows(10), None), read(density, rows(10), None)
        bad.x[3] = torch.inf
        index = torch.arange(10)
        step(sound, index, 10, 0.0, 0)
        after_one = weights(density)
        for batch in (bad, sound, sound):
            step(batch, index, 10, 0.0, 0)
        assert torch.equal(weights(density), after_one)
        assert int(step.made) == 1 and step.look()[0] is False

    def test_an_optimiser_that_reads_no_flag_is_waited_for(self):
        density = ab.densities.Normal(torch.zeros(2), learnable=True)
        step = Step(density, None, optimiser(density), 5.0, Processes(torch.device("cpu"), unused=False))
        assert not step.optimiser.on_device
        bad = ab.training.rows.read_rows(density, rows(10), None)
        bad.x[3] = torch.inf
        before = weights(density)
        step(bad, torch.arange(10), 10, 0.0, 0)
        assert torch.equal(weights(density), before)


def optimiser(density):
    return ab.training.optimiser.Optimiser(density, 0.1, 0.0, torch.device("cpu"))


def test_seeds_of_places_are_all_different():
    places = [(step, what) for step in range(200) for what in range(4)]
    seeds = {seed_at(seed, *place) for place in places for seed in (0, 1, 2**63 - 1)}
    assert len(seeds) == 3 * len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


class Replayed:
    """Stands for a graph on a machine that has no GPU: the step over the same buffers, run instead of replayed."""

    def __init__(self, recorded, shape, count):
        self.recorded, self.shape, self.count = recorded, shape, count

    def replay(self):
        with drawing(self.recorded.generator):
            self.recorded.step.run(self.shape.rows, self.shape.index, self.count, -1.0)


class Stream:
    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass


@pytest.fixture
def without_a_gpu(monkeypatch):
    """What is recorded is run. It is no test of CUDA, but of the buffers, the shapes, the seeds and the order of it all."""

    def record(recorded, shape, count, progress, seed):
        shape.graph = Replayed(recorded, shape, count)

    monkeypatch.setattr(graph, "shall_record", lambda *arguments: True)
    monkeypatch.setattr(ab.training.loop, "shall_record", lambda *arguments: True)
    monkeypatch.setattr(graph.Recorded, "_record", record)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())


def depths():
    with ab.drawing(0):
        return ab.DepthMixture(flow().transform)


# what is fitted, and how
CASES = {
    "flow": (flow, {}),
    "context": (lambda: flow(context=1), {"context": lambda: rows()[:, :1]}),
    "weights": (flow, {"weights": lambda: torch.arange(210) % 3}),
    "labels": (mixture, {"labels": lambda: torch.arange(210) % 4 - 1}),
    "draws": (mixture, {"objective": lambda: Likelihood() + Consistency(0.1) + Information()}),
    "depths": (depths, {"noise": lambda: 0.1, "average": lambda: 0.9, "weight_decay": lambda: 0.1}),
}


def fitted(case, there="cpu", **options):
    """A density fitted to rows that lie on some device, and the history."""
    build, own = CASES[case]
    values = {name: value() for name, value in own.items()}
    values = {name: value.to(there) if isinstance(value, torch.Tensor) else value for name, value in values.items()}
    density = build()
    return ab.fit(density, rows().to(there), **QUICK | values | options), density


@pytest.mark.parametrize("case", CASES)
def test_static_buffers_take_the_same_steps(case, request):
    expected, plain = fitted(case)
    request.getfixturevalue("without_a_gpu")
    history, density = fitted(case)
    assert history.graphs == 2  # batches differ in size by one
    assert torch.equal(weights(plain), weights(density))
    assert [e.loss for e in history.epochs] == [e.loss for e in expected.epochs]


def test_more_shapes_than_are_kept_run_as_they_are(without_a_gpu, monkeypatch):
    monkeypatch.setattr(graph, "_MOST", 1)
    expected = flow()
    ab.fit(expected, rows(), graph=False, **QUICK)
    density = flow()
    history = ab.fit(density, rows(), **QUICK)
    assert history.graphs == 1


def test_a_step_that_cannot_be_recorded_is_said_and_run_as_it_is(without_a_gpu, monkeypatch, caplog):
    def fails(*arguments):
        raise RuntimeError("called a synchronizing CUDA operation\nand more")

    expected = flow()
    ab.fit(expected, rows(), graph=False, **QUICK)
    monkeypatch.setattr(graph.Recorded, "_record", fails)
    density = flow()
    with caplog.at_level(logging.INFO, logger="anabranch"):
        history = ab.fit(density, rows(), **QUICK)
    said = [message for message in caplog.messages if "graph" in message]
    assert said == ["fit: no CUDA graph, since a step could not be recorded (called a synchronizing CUDA operation)"]
    assert history.graphs == 0 and torch.equal(weights(expected), weights(density))
    with pytest.raises(RuntimeError, match="synchronizing"):
        ab.fit(flow(), rows(), graph=True, **QUICK)


def test_where_there_can_be_none():
    with pytest.raises(ValueError, match="graph: expected False or 'auto', since the fit runs on cpu, got True"):
        ab.fit(flow(), rows(), graph=True, device="cpu", **QUICK)
    with pytest.raises(ValueError, match="graph: expected one of 'auto', got 'yes'"):
        ab.fit(flow(), rows(), graph="yes", **QUICK)


@pytest.mark.parametrize(
    ("objective", "said"),
    [(Likelihood(labels_until=0.5), "a step of Likelihood is not"), (Completion(), "a step of Completion is not")],
)
def test_objectives_that_no_graph_can_hold(objective, said, caplog):
    density = mixture()
    step = Step(density, objective, optimiser(density), 5.0, Processes(torch.device("cpu"), unused=True))
    with caplog.at_level(logging.INFO, logger="anabranch"):
        assert not graph.shall_record("auto", step, torch.device("cuda"))
    assert said in caplog.text
    assert Likelihood().static and (Likelihood() + Consistency(0.1)).static and not Consistency("neighbours").static


# On a GPU: python3 -m pytest -m gpu tests/test_graph.py


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("there", ["cpu", "cuda"])
@pytest.mark.parametrize("case", CASES)
def test_recorded_fits_are_those_that_are_not(case, there):
    expected, plain = fitted(case, there, device="cuda", graph=False)
    history, density = fitted(case, there, device="cuda", graph=True)
    assert (expected.graphs, history.graphs) == (0, 2)
    assert [e.loss for e in history.epochs] == pytest.approx([e.loss for e in expected.epochs], rel=1e-4)
    torch.testing.assert_close(weights(density), weights(plain), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@on_gpu
def test_a_recorded_step_that_is_not_finite_is_named():
    x = rows()
    x[123, 0] = 1000.0
    density = breaking()
    before = weights(density)
    # the row comes once a pass, and in the first pass no graph is recorded yet: let it be harmless then
    with pytest.raises(ab.NonFiniteError, match="row 123 of the data") as caught:
        ab.fit(density, x, validation=0, device="cuda", graph=True, **QUICK)
    assert caught.value.layer == "transform.blocks.breaking (Breaking)"
    assert torch.equal(weights(density), before)


class Exploding(Transform):
    """Gives NaN once its scale has become larger than a limit, so that a recorded step is the first to do so."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(2))

    def _forward(self, x, context):
        z = torch.where(self.log_scale.abs() > 0.15, torch.nan, x * self.log_scale.exp())
        return z, self.log_scale.sum().expand(x.shape[:-1])

    def _inverse(self, z, context):
        return z * (-self.log_scale).exp(), -self.log_scale.sum().expand(z.shape[:-1])


def explodes(**options):
    density = ab.Flow(Chain({"exploding": Exploding()}), base=ab.densities.Normal.standard(2))
    with pytest.raises(ab.NonFiniteError) as caught:
        ab.fit(density, rows(), validation=0, **QUICK | {"epochs": 50, "warmup": 0.0} | options)
    assert caught.value.layer == "transform.blocks.exploding (Exploding)"
    assert bool(torch.isfinite(density.log_prob(rows())).all())
    return caught.value


def test_a_replayed_step_that_is_not_finite_is_named_as_one_that_is_not_replayed(request):
    error = explodes()
    assert error.step > 24  # by then both shapes are replayed
    request.getfixturevalue("seldom")
    request.getfixturevalue("without_a_gpu")
    late = explodes()
    assert (late.step, late.row, str(late)) == (error.step, error.row, str(error))


@pytest.mark.gpu
@on_gpu
def test_a_recorded_one_too():
    error = explodes()
    late = explodes(device="cuda", graph=True)
    assert abs(late.step - error.step) <= 1  # the weights come to the limit in one step or the next


class Waiting(Transform):
    """Waits for the device in each step."""

    def _forward(self, x, context):
        return x + 0 * float(x.sum()), x.new_zeros(x.shape[:-1])

    def _inverse(self, z, context):
        return z, z.new_zeros(z.shape[:-1])


@pytest.mark.gpu
@on_gpu
def test_a_step_that_waits_for_the_device_is_said_and_nothing_is_spoilt(caplog):
    density = ab.Flow(Chain([Waiting(), ActNorm(2)]))
    with caplog.at_level(logging.INFO, logger="anabranch"):
        history = ab.fit(density, rows(), device="cuda", **QUICK)
    assert history.graphs == 0 and "no CUDA graph, since a step could not be recorded" in caplog.text
    assert bool(torch.isfinite(torch.randn(3, device="cuda")).all())
    with pytest.raises(RuntimeError):
        ab.fit(density, rows(), device="cuda", graph=True, **QUICK)


@pytest.mark.gpu
@on_gpu
def test_the_global_generator_is_left_alone():
    torch.cuda.manual_seed(5)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(5)
    fitted("draws", device="cuda", graph=True)
    assert torch.equal(torch.rand(3, device="cuda"), expected)


@pytest.mark.gpu
@on_gpu
def test_a_recorded_fit_goes_on_from_its_checkpoint(tmp_path):
    _, plain = fitted("flow", device="cuda", graph=False)
    options = {"device": "cuda", "graph": True, "checkpoint": tmp_path / "fit.ckpt", "checkpoint_seconds": 0.0}
    fitted("flow", callback=lambda epoch: epoch.epoch == 2, **options)
    history, density = fitted("flow", **options)
    assert len(history.epochs) == 4
    torch.testing.assert_close(weights(density), weights(plain), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.slow
@on_gpu
def test_a_compiled_fit_is_recorded_too():
    _, plain = fitted("flow", device="cuda", graph=False, compile=False)
    history, density = fitted("flow", device="cuda", graph=True, compile=True)
    assert history.compiled and history.graphs == 2
    torch.testing.assert_close(weights(density), weights(plain), rtol=1e-2, atol=1e-2)
