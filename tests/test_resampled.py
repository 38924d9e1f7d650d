"""The normaliser of a resampled density, in fits of whatever it is a part of."""

import pytest
import torch

import anabranch as ab
from anabranch.densities import Normal, Resampled
from anabranch.families import Gaussians
from anabranch.models import HierarchicalVAE, LatentLevel
from anabranch.networks import MLP
from anabranch.objectives import ImportanceWeighted
from anabranch.objectives.objective import Batch


def flow(base):
    return ab.Flow(ab.flows.maf(2, blocks=1, hidden=(4,)), base)


def autoencoder(prior):
    return ab.vaes.vae(2, Gaussians(1, floor=0.1), 2, prior, hidden=(4,))


def hierarchy(prior):
    def normal(context):
        return Normal(torch.zeros(2), context=context, learnable=True)

    return HierarchicalVAE([LatentLevel(normal(2), normal(4)), LatentLevel(prior, normal(2))], decoder=normal(2))


def diffusion(prior):
    model = ab.diffusions.vectors(2, hidden=4)
    return ab.models.Diffusion(model.denoiser, prior=prior, steps=10)


WHOLES = {
    "itself": lambda prior: prior,
    "base of a flow": flow,
    "prior of an autoencoder": autoencoder,
    "base of the prior of an autoencoder": lambda prior: autoencoder(flow(prior)),
    "prior of a hierarchy": hierarchy,
    "prior of a diffusion": diffusion,
}


def by_weights(model, x):
    return ImportanceWeighted(3)(Batch(model, x, None, None, torch.arange(len(x)), 0.5))


ASKED = {
    "loss": lambda model, x: model.loss(x),
    "lower_bound": lambda model, x: model.lower_bound(x),
    "weighed_bound": lambda model, x: model.weighed_bound(x, lambda likely, divergence: likely - divergence.sum(-1)),
    "importance weights": by_weights,
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("whole", WHOLES)
def test_no_fit_adapts_to_the_draws_that_a_likelihood_is_judged_by(whole, asked, monkeypatch):
    """Or acceptance learns to refuse these, and Z comes out too small: by a factor of 11 in an autoencoder of digits."""
    torch.manual_seed(0)
    model, judged = WHOLES[whole](Resampled(Normal.standard(2), MLP(2, 1, hidden=(4,)), samples=64)), []
    taken = Resampled._seeded
    monkeypatch.setattr(Resampled, "_seeded", lambda self, *rest: judged.append(1) or taken(self, *rest))
    x = torch.randn(6, 2)
    ASKED[asked](model, x).sum().backward()
    assert not judged
    with torch.no_grad():
        ASKED[asked](model, x)
    assert judged
    judged.clear()
    ASKED[asked](model.eval(), x)
    assert judged


def test_log_prob_is_the_same_at_every_call():
    torch.manual_seed(0)
    model, x = Resampled(Normal.standard(2), MLP(2, 1, hidden=(4,)), samples=64), torch.randn(6, 2)
    assert model.training and torch.equal(model.log_prob(x), model.log_prob(x))
    assert not torch.equal(model.loss(x), model.loss(x))


def test_steps_by_the_bound_leave_the_normaliser_what_more_draws_say():
    """As many steps with the draws that log_prob takes come to a Z that is too small by a factor above 2."""
    with ab.drawing(0):
        model = Resampled(Normal.standard(8), MLP(8, 1, hidden=(64,)), samples=32)
        x = 0.8 * torch.randn(400, 8)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            (-model.lower_bound(x).mean()).backward()
            optimizer.step()
    truth, error = model.normaliser(samples=100_000, generator=1)
    with torch.no_grad():
        log_z = model._fixed_log_normaliser(None)
    assert float(error / truth) < 0.01
    assert float(log_z - truth.log()) == pytest.approx(0.0, abs=0.3)
