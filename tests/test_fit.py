"""The training loop: what it finds, what it keeps, what it refuses."""

import math

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.transforms import ActNorm, Chain


def rows(count=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(count, 2, generator=generator)


def normal():
    return ab.densities.Normal(torch.zeros(2), learnable=True)


def small_flow(seed=0, context=0):
    torch.manual_seed(seed)
    return ab.Flow(ab.flows.maf(features=2, context=context, blocks=2, hidden=(8,)))


def test_finds_the_maximum_likelihood():
    x = rows()
    density = normal()
    ab.fit(density, x, validation=0, epochs=60, batch_size=100, learning_rate=0.1, weight_decay=0.0, seed=0)
    optimum = torch.distributions.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(-1).mean()
    assert density.log_prob(x).mean().item() == pytest.approx(optimum.item(), abs=5e-3)


def test_same_seed_same_weights_other_seed_other_weights():
    def fitted(seed):
        flow = small_flow()
        ab.fit(flow, rows(), epochs=2, batch_size=64, seed=seed)
        return torch.cat([p.flatten() for p in flow.parameters()])

    assert torch.equal(fitted(1), fitted(1))
    assert not torch.equal(fitted(1), fitted(2))


def test_without_a_seed_the_global_one_decides():
    def fitted():
        flow = small_flow(seed=3)
        ab.fit(flow, rows(), epochs=1, batch_size=64)
        return torch.cat([p.flatten() for p in flow.parameters()])

    assert torch.equal(fitted(), fitted())


def test_a_fit_with_a_seed_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    density = normal()
    ab.fit(density, rows(), epochs=1, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_weights_are_restored():
    x = rows()
    density = normal()
    seen = []

    def watch(epoch):
        seen.append((epoch.validation, density.theta.loc.detach().clone()))

    held_out = rows(100, seed=1) - 3.0  # their optimum is passed on the way from 0 to 3
    history = ab.fit(
        density,
        x,
        validation=held_out,
        epochs=30,
        batch_size=100,
        learning_rate=0.3,
        patience=None,
        callback=watch,
        seed=0,
    )
    losses = [loss for loss, _ in seen]
    best = losses.index(min(losses))
    assert best < len(losses) - 1
    assert history.best_epoch == best + 1
    assert history.best_loss == losses[best]
    assert torch.equal(density.theta.loc, seen[best][1])
    assert density.loss(held_out).mean().item() == pytest.approx(losses[best], rel=1e-5)


def test_patience_stops():
    held_out = rows(100, seed=1) - 3.0
    history = ab.fit(
        normal(), rows(), validation=held_out, epochs=50, batch_size=100, learning_rate=0.3, patience=3, seed=0
    )
    assert history.stopped == "patience"
    assert len(history.epochs) == history.best_epoch + 3 < 50


def test_a_callback_stops():
    history = ab.fit(normal(), rows(), epochs=50, callback=lambda epoch: epoch.epoch == 2, seed=0)
    assert history.stopped == "callback"
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]


def test_history_counts_rows_and_steps():
    history = ab.fit(normal(), rows(), validation=0.25, epochs=2, batch_size=100, seed=7)
    assert (history.rows, history.validation_rows, history.seed) == (300, 100, 7)
    assert [epoch.step for epoch in history.epochs] == [3, 6]
    # the rates of steps 1 and 4 of 6: the first is the whole warm-up, a half cosine follows
    assert [epoch.learning_rate for epoch in history.epochs] == pytest.approx(
        [5e-3, 0.5 * 5e-3 * (1 + math.cos(0.4 * math.pi))]
    )
    assert history.to_dict()["epochs"][1]["step"] == 6
    assert history.stopped == "epochs"


def test_an_interrupt_leaves_the_best_weights():
    density = normal()
    kept = []

    def interrupt(epoch):
        kept.append(density.theta.loc.detach().clone())
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ab.fit(density, rows(), epochs=10, batch_size=50, learning_rate=0.05, callback=interrupt, seed=0)
    assert torch.equal(density.theta.loc, kept[-1])


class Breaking(ab.transforms.Transform):
    """Gives NaN for rows whose first column is above 100, forward only."""

    def _forward(self, x, context):
        z = torch.where(x[..., :1] > 100, torch.nan, x)
        return z, x.new_zeros(x.shape[:-1])

    def _inverse(self, z, context):
        return z, z.new_zeros(z.shape[:-1])


def test_a_loss_that_is_not_finite_names_step_row_and_layer():
    x = rows()
    x[123, 0] = 1000.0
    chain = Chain({"first": ActNorm(2), "breaking": Breaking(), "last": ActNorm(2)})
    chain.blocks["first"].get_buffer("initialized").fill_(True)
    flow = ab.Flow(chain)
    with pytest.raises(
        ab.NonFiniteError, match=r"nan at step \d+, row 123 .* transform\.blocks\.breaking \(Breaking\)"
    ) as e:
        ab.fit(flow, x, validation=0, epochs=3, batch_size=50, seed=0)
    assert e.value.row == 123
    assert e.value.layer == "transform.blocks.breaking (Breaking)"
    assert 1 <= e.value.step <= 8
    assert all(bool(torch.isfinite(p).all()) for p in flow.parameters())


def test_a_validation_loss_that_is_not_finite_stops_too():
    x = rows()
    x[:, 0] = 1.0
    bad = rows(50)
    bad[7, 0] = 200.0
    flow = ab.Flow(Chain([Breaking(), ActNorm(2)]))
    with pytest.raises(ab.NonFiniteError, match="row 7"):
        ab.fit(flow, x, validation=bad, epochs=2, seed=0)


def test_a_huge_learning_rate_ends_in_one_clear_error_or_sound_weights():
    flow = small_flow()
    x = rows()
    try:
        ab.fit(flow, x, epochs=20, batch_size=32, learning_rate=1e4, clip=1e9, seed=0)
    except ab.NonFiniteError as error:
        assert "last good weights are kept" in str(error)
    assert bool(torch.isfinite(flow.log_prob(x)).all())


def test_actnorm_starts_from_the_first_batch():
    x = rows()
    flow = ab.Flow(Chain([ActNorm(2)]))
    ab.fit(flow, x, validation=0, epochs=1, batch_size=400, learning_rate=1e-9, seed=0)
    layer = flow.transform.blocks["0"]
    assert torch.allclose(layer.loc, x.mean(0), atol=1e-4)
    assert torch.allclose(layer.log_scale, -x.std(0, correction=0).log(), atol=1e-4)


def test_context_and_arrays():
    c = np.random.default_rng(0).normal(size=(300, 1))
    x = np.concatenate([c, -c], axis=1) + 0.1 * np.random.default_rng(1).normal(size=(300, 2))
    flow = small_flow(context=1)
    before = flow.log_prob(x, c).mean().item()
    ab.fit(flow, x, c, epochs=15, batch_size=50, learning_rate=2e-2, seed=0)
    assert flow.log_prob(x, c).mean().item() > before + 1
    assert flow.log_prob(x, c).dtype == torch.float32


def test_float64_stays_float64():
    flow = small_flow().double()
    ab.fit(flow, rows().double(), epochs=1, seed=0)
    assert all(p.dtype == torch.float64 for p in flow.parameters())


def test_validation_rows_with_context():
    flow = small_flow(context=1)
    x, c = rows(), rows()[:, :1]
    history = ab.fit(flow, x, c, validation=(rows(50), rows(50)[:, :1]), epochs=1, seed=0)
    assert (history.rows, history.validation_rows) == (400, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(10, 3)}, r"x: expected shape \(\.\.\., 2\), got \(10, 3\)"),
        ({"x": torch.ones(2)}, r"x: expected shape \(rows, 2\), got \(2,\)"),
        ({"x": torch.ones(0, 2)}, "at least one row"),
        ({"x": torch.ones(10, 2, dtype=torch.float64)}, "expected dtype torch.float32"),
        ({"x": "text"}, "expected a tensor or an array of numbers, got str"),
        ({"x": torch.tensor([[1.0, 2.0], [3.0, math.nan]])}, "got nan in row 1, column 1"),
        ({"x": np.array([[1.0, 2.0], [1e300, 2.0]])}, "got inf in row 1, column 0"),
        ({"x": torch.ones(3, 2)}, "0.1 of 3 rows is 0"),
        ({"validation": 1.0}, "fraction in"),
        ({"validation": True}, "fraction in"),
        ({"validation": math.nan}, "fraction in"),
        ({"validation": np.float32(1.5)}, "fraction in"),
        ({"validation": torch.ones(0, 2)}, "validation: expected at least one row, got none"),
        ({"validation": (torch.ones(3, 2),)}, "validation: expected a tuple of rows and contexts, got one of 1"),
        ({"seed": "a"}, "seed: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number of at least 0"),
        ({"seed": 2**70}, "seed: expected a whole number below"),
        ({"device": "nowhere"}, "device: expected one that torch has here"),
        ({"density": "a"}, "density: expected a Density, got str"),
        ({"weight_decay": math.nan}, "weight_decay: expected a number above 0"),
        ({"warmup": math.nan}, "warmup: expected a fraction"),
        ({"validation": torch.tensor([[math.inf, 0.0]])}, "validation: .* row 0, column 0"),
        ({"epochs": 0}, "epochs: expected a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate: expected a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"clip": 0.0}, "clip"),
        ({"warmup": 1.0}, "warmup"),
        ({"patience": 0}, "patience"),
        ({"context": torch.ones(400, 1)}, "context: expected None"),
        ({"density": ab.densities.Normal.standard(2)}, "trainable"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    arguments = {"density": normal(), "x": rows(), "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        ab.fit(**arguments)


def test_refuses_parameters_made_in_inference_mode():
    with torch.inference_mode():
        density = normal()
    with pytest.raises(ValueError, match="density: expected parameters that can be trained"):
        ab.fit(density, rows(), seed=0)


@pytest.mark.parametrize("context", [None, torch.ones(399, 1), torch.ones(400, 2), torch.full((400, 1), math.nan)])
def test_refuses_contexts_that_do_not_fit(context):
    with pytest.raises(ValueError, match="context: expected"):
        ab.fit(small_flow(context=1), rows(), context, seed=0)


def test_every_epoch_takes_every_row_in_batches_of_nearly_equal_size(monkeypatch):
    density = normal()
    seen = []
    loss = density._loss

    def watch(x, context):
        if torch.is_grad_enabled():
            seen.append(x)
        return loss(x, context)

    monkeypatch.setattr(density, "_loss", watch)
    x = rows(100)
    history = ab.fit(density, x, validation=0, epochs=2, batch_size=30, seed=0)
    assert [len(batch) for batch in seen] == 8 * [25]
    assert history.epochs[-1].step == 8
    for epoch in (seen[:4], seen[4:]):
        assert torch.equal(torch.cat(epoch).sort(dim=0).values, x.sort(dim=0).values)


def test_the_loss_of_an_epoch_is_the_mean_over_its_rows():
    x = rows(5)
    history = ab.fit(normal(), x, validation=0, epochs=1, batch_size=3, learning_rate=1e-12, seed=0)
    assert history.epochs[0].loss == pytest.approx(normal().loss(x).mean().item(), rel=1e-5)


def test_only_weights_of_networks_decay():
    mixture = ab.densities.GaussianMixture([[-2.0, 3.0], [2.0, 3.0]], scale=0.5, learnable=True)
    layer = ab.transforms.Elementwise(ab.transforms.Affine(), features=2)
    linear = ab.transforms.Linear(2)
    network = ab.networks.MLP(2, 2, hidden=(4,))
    flow = ab.DepthMixture(Chain([layer, linear]), base=mixture, gate=network)
    with torch.no_grad():
        layer.constants.fill_(1.0)
    before = {name: p.detach().clone() for name, p in flow.named_parameters()}
    # so low a rate moves nothing, and so high a decay halves what it acts on
    ab.fit(
        flow, rows(100), epochs=1, batch_size=100, learning_rate=1e-7, weight_decay=5e6, warmup=0, validation=0, seed=0
    )
    halved = {name for name, p in flow.named_parameters() if not torch.allclose(p, before[name], atol=1e-5)}
    assert halved == {"gate.layers.0.weight", "gate.layers.1.weight"}


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_a_fit_where_gradients_are_switched_off_or_rows_have_some(switched_off):
    flow = small_flow()
    with switched_off():
        ab.fit(flow, rows() * 1.0, validation=np.float32(0.1), epochs=1, batch_size=100, seed=0)
    x = rows().requires_grad_() * 2
    ab.fit(flow, x, validation=x, epochs=1, batch_size=100, seed=0)
    assert all(not p.is_inference() for p in flow.parameters())


def test_a_validation_loss_beyond_every_float_is_never_the_best():
    class Overflowing(ab.densities.Normal):
        def _log_prob(self, x, context):
            return 0 * super()._log_prob(x, context) - (1.0 if torch.is_grad_enabled() else 3e38)

    density = Overflowing(torch.zeros(2), learnable=True)
    history = ab.fit(density, rows(), epochs=2, seed=0)
    assert history.epochs[0].validation == math.inf
    assert history.best_epoch == 0 and math.isnan(history.best_loss)


def test_rows_outside_the_support_of_a_base_are_told_from_accidents():
    box = ab.densities.Uniform([0.0, 0.0], [1.0, 1.0])
    flow = ab.Flow(ab.transforms.Elementwise(ab.transforms.Affine(), features=2), base=box)
    with pytest.raises(
        ab.NonFiniteError, match=r"first in base \(Uniform\); .* outside the support of a base"
    ) as caught:
        ab.fit(flow, rows(), epochs=1, seed=0)
    assert caught.value.layer == "base (Uniform)"
    assert "log_prob" not in box.__dict__


def test_one_row():
    history = ab.fit(normal(), rows(1), validation=0, epochs=2, seed=0)
    assert history.rows == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_trains_on_a_gpu_and_comes_home():
    flow = small_flow()
    ab.fit(flow, rows(), epochs=2, device="cuda", seed=0)
    assert all(p.device.type == "cpu" for p in flow.parameters())
    flow.cuda()
    ab.fit(flow, rows(), epochs=2, seed=0)
    assert all(p.device.type == "cuda" for p in flow.parameters())


def test_a_weight_counts_a_row_so_many_times():
    x = rows(60)
    weights = torch.where(x[:, 0] > 3, 3, torch.arange(60) % 2)
    once, repeated = normal(), normal()
    options = {"validation": 0, "epochs": 3, "batch_size": 1000, "learning_rate": 0.1, "seed": 0, "progress": False}
    weighted = ab.fit(once, x, weights=weights, **options)
    many = ab.fit(repeated, x.repeat_interleave(weights, dim=0), **options)
    assert once.theta.loc.tolist() == pytest.approx(repeated.theta.loc.tolist(), abs=1e-5)
    assert [e.loss for e in weighted.epochs] == pytest.approx([e.loss for e in many.epochs], rel=1e-5)
    assert weighted.rows == int((weights > 0).sum()) < 60  # of weight 0 nothing is seen
    unweighted = normal()
    ab.fit(unweighted, x, **{**options, "epochs": 30})
    ab.fit(once, x, weights=weights, **{**options, "epochs": 30})
    assert unweighted.theta.loc.tolist() != pytest.approx(once.theta.loc.tolist(), abs=1e-3)


def test_validation_rows_have_weights_too():
    x, held_out, weights = rows(60), rows(20, seed=1), torch.arange(20) % 3
    options = {"epochs": 1, "seed": 0, "progress": False}
    weighted = ab.fit(normal(), x, validation=held_out, validation_weights=weights, **options)
    repeated = ab.fit(normal(), x, validation=held_out.repeat_interleave(weights, dim=0), **options)
    assert weighted.best_loss == pytest.approx(repeated.best_loss, rel=1e-6)
    assert weighted.best_loss != pytest.approx(ab.fit(normal(), x, validation=held_out, **options).best_loss, rel=1e-6)


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (torch.ones(59), "one for each of the 60 rows"),
        (-torch.ones(60), "at least 0, got -1.0 in row 0"),
        (torch.full((60,), torch.inf), "finite"),
        (torch.zeros(60), "some above zero"),
    ],
)
def test_refuses_weights_that_are_none(weights, complaint):
    with pytest.raises(ValueError, match=complaint):
        ab.fit(normal(), rows(60), weights=weights, epochs=1)
    with pytest.raises(ValueError, match="fraction"):
        ab.fit(normal(), rows(60), validation_weights=torch.ones(6), epochs=1)


def test_an_optimiser_by_hand_is_the_one_that_is_built_in():
    def adamw(groups):
        assert [group["lr"] for group in groups] == [5e-3, 5e-3]
        assert [group["weight_decay"] for group in groups] == [1e-2, 0.0]
        return torch.optim.AdamW(groups, fused=True)

    one, other, third = small_flow(), small_flow(), small_flow()
    options = {"epochs": 3, "seed": 0, "batch_size": 100, "weight_decay": 1e-2}
    ab.fit(one, rows(), **options)
    ab.fit(other, rows(), optimizer=adamw, **options)
    ab.fit(third, rows(), optimizer=torch.optim.SGD, **options)
    for p, q, r in zip(one.parameters(), other.parameters(), third.parameters(), strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, r)


def test_rates_are_shares_of_those_that_the_groups_of_an_optimiser_have():
    def faster(groups):
        return torch.optim.SGD([group | {"lr": 0.1} for group in groups])

    one, other = normal(), normal()
    options = {"epochs": 2, "batch_size": 400, "validation": 0, "warmup": 0.5, "clip": 1e9, "seed": 0}
    ab.fit(one, rows(), optimizer=torch.optim.SGD, learning_rate=0.1, **options)
    ab.fit(other, rows(), optimizer=faster, **options)
    assert torch.equal(one.theta.loc, other.theta.loc)
    assert (one.theta.loc - normal().theta.loc).abs().max() > 0.01


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("sgd", "optimizer: expected a function or None, got str"),
        (lambda groups: None, "expected a function that makes a torch.optim.Optimizer, got a NoneType"),
        (lambda groups: torch.optim.LBFGS(groups[1]["params"]), "got an LBFGS, which asks for losses"),
        (lambda groups: torch.optim.SGD(groups[1]["params"][:1]), "of all 2 parameters .* one that lacks 1; freeze"),
    ],
)
def test_optimisers_that_are_none(optimizer, message):
    with pytest.raises(ValueError, match=message) as caught:
        ab.fit(normal(), rows(), optimizer=optimizer, epochs=1)
    assert "\n" not in str(caught.value)


def test_rows_for_training_are_augmented_and_others_are_not():
    seen = []

    def shifted(x, generator):
        seen.append(torch.rand((), generator=generator) + torch.rand(()))
        return x + 100

    density = normal()
    state = torch.get_rng_state()
    history = ab.fit(density, rows(), augment=shifted, epochs=2, batch_size=180, learning_rate=1e-4, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert history.epochs[0].loss > 10 * history.epochs[0].validation
    drawn, seen = seen, []
    ab.fit(normal(), rows(), augment=shifted, epochs=2, batch_size=180, learning_rate=1e-4, seed=0)
    assert seen == drawn and len(set(map(float, drawn))) == 4


def test_an_augmentation_is_drawn_apart_from_noise():
    def noisy(x, generator):
        return x + torch.randn(x.shape, generator=generator)

    one, other = normal(), normal()
    options = {"epochs": 1, "batch_size": 400, "validation": 0, "seed": 0, "learning_rate": 0.1, "warmup": 0}
    losses = [
        ab.fit(density, torch.zeros(400, 2).index_fill(0, torch.tensor([0]), 1.0), **options, **changes).epochs[0].loss
        for density, changes in ((one, {"augment": noisy}), (other, {"augment": noisy, "noise": 20.0}))
    ]
    # noise of deviation 20 / 20 on top of the other, and not the same numbers twice: 1 + 1, and not 2 * 2
    assert losses[0] == pytest.approx(math.log(math.tau) + 1, abs=0.15)
    assert losses[1] == pytest.approx(math.log(math.tau) + 2, abs=0.3)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (3, "augment: expected a function or None, got int"),
        (lambda x, generator: None, "expected a function that gives a tensor, got NoneType"),
        (lambda x, generator: x[:3], r"of shape \(360, 2\), got dtype torch.float32, on cpu, of shape \(3, 2\)"),
        (lambda x, generator: x.double(), "got dtype torch.float64"),
    ],
)
def test_augmentations_that_are_none(augment, message):
    with pytest.raises(ValueError, match=message) as caught:
        ab.fit(normal(), rows(), augment=augment, epochs=1)
    assert "\n" not in str(caught.value)


WHOLE = {
    "Bernoulli": lambda: ab.densities.Bernoulli(torch.zeros(3), learnable=True),
    "Categorical": lambda: ab.densities.Categorical(torch.zeros(3, 2), learnable=True),
    "a mixture": lambda: ab.Ensemble(
        [ab.densities.Bernoulli(torch.full((3,), start), learnable=True) for start in (-1.0, 1.0)]
    ),
}


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
@pytest.mark.parametrize("build", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_take_an_augmentation_and_no_noise(build, dtype):
    x = torch.randint(2, (50, 3), generator=torch.Generator().manual_seed(0)).to(dtype)
    with pytest.raises(
        ValueError, match=r"^noise: expected 0 with a density of whole numbers, .*, got 0.1; "
    ) as caught:
        ab.fit(build(), x, noise=0.1, epochs=1, seed=0)
    assert "\n" not in str(caught.value)
    history = ab.fit(build(), x, augment=lambda rows, generator: 1 - rows, epochs=1, seed=0)
    assert math.isfinite(history.best_loss)


class Penalised(ab.densities.Density):
    """A normal trained by more than its likelihood."""

    def __init__(self):
        super().__init__((2,))
        self.loc = torch.nn.Parameter(torch.zeros(2))

    def _log_prob(self, x, context):
        return torch.distributions.Normal(self.loc, 1.0).log_prob(x).sum(-1)

    def _loss(self, x, context):
        return 5.0 - self._log_prob(x, context)

    def _sample(self, shape, context):
        raise NotImplementedError


def test_early_stopping_goes_by_the_lower_bound_whatever_is_minimised():
    held_out, density = rows(50, seed=1), Penalised()
    history = ab.fit(density, rows(), validation=held_out, epochs=2, seed=0)
    bound = -density.lower_bound(held_out).mean().item()
    assert history.best_loss == pytest.approx(bound, rel=1e-5)
    assert density.loss(held_out).mean().item() == pytest.approx(bound + 5, rel=1e-5)
