"""Updates whose matrices are orthogonal."""

import pytest
import torch

import anabranch as ab
from anabranch.training import Muon
from anabranch.training.muon import orthogonal


def parameter(*shape, seed=0):
    return torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def updated(parameters, gradients, matrices=True, **options):
    """How far one step moves each parameter."""
    before = [p.detach().clone() for p in parameters]
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient
    Muon([{"params": parameters, "matrices": matrices}], lr=1.0, **options).step()
    return [p.detach() - old for p, old in zip(parameters, before, strict=True)]


@pytest.mark.parametrize("shape", [(8, 8), (3, 40), (40, 3), (2, 5, 16, 16)])
def test_singular_values_come_near_to_one_and_directions_stay(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turned = orthogonal(1e-3 * x, iterations=8)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    inside = u.mT @ turned @ v.mT
    values = inside.diagonal(dim1=-2, dim2=-1)
    assert bool(((values > 0.6) & (values < 1.3)).all())
    assert (inside - torch.diag_embed(values)).abs().max() < 1e-6
    assert bool(orthogonal(torch.zeros(4, 4)).isfinite().all())


def test_a_matrix_moves_against_its_gradient_by_the_same_length_everywhere():
    for shape in ((16, 16), (32, 8), (16, 2, 3, 3)):
        gradient = parameter(*shape, seed=1).detach()
        (moved,) = updated([parameter(*shape)], [gradient])
        values = torch.linalg.svdvals(moved.flatten(1))
        longer = max(1, shape[0] / moved[0].numel()) ** 0.5
        assert bool(((values > 0.6 * longer) & (values < 1.3 * longer)).all())
        assert float((moved * gradient).sum()) < 0


def test_all_else_moves_by_adam():
    shapes = ((16,), (16, 4), (1, 16), (16, 16))
    gradients = [parameter(*shape, seed=1).detach() for shape in shapes]
    moved = updated([parameter(*shape) for shape in shapes], gradients, others=0.25)
    for some, gradient in list(zip(moved, gradients, strict=True))[:3]:
        assert torch.allclose(some, -0.25 * gradient.sign(), atol=1e-4)
    (whole,) = updated([parameter(16, 16)], gradients[3:], matrices=False, others=0.25)
    assert torch.allclose(whole, -0.25 * gradients[3].sign(), atol=1e-4)


def test_matrices_of_one_shape_do_not_mix():
    gradients = [parameter(12, 9, seed=i).detach() for i in (1, 2)]
    together = updated([parameter(12, 9), parameter(12, 9)], gradients)
    alone = [updated([parameter(12, 9)], [gradient])[0] for gradient in gradients]
    assert all(torch.allclose(a, b) for a, b in zip(together, alone, strict=True))


def test_weights_decay_and_those_without_a_gradient_stay():
    kept, moved = parameter(8, 8), parameter(8, 8)
    before = moved.detach().clone()
    moved.grad = torch.zeros_like(moved)
    Muon([{"params": [kept, moved], "matrices": True, "weight_decay": 0.1}], lr=0.5).step()
    assert torch.allclose(moved.detach(), 0.95 * before)
    assert torch.equal(kept.detach(), parameter(8, 8).detach())


def test_a_fit_by_it_finds_a_rule():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (512, 6), generator=generator)
    x[:, 3:] = x[:, :3] ^ x[:, [1, 2, 0]]  # the last three bits follow from the first three
    with ab.drawing(0):
        model = ab.models.Autoregressive(ab.families.Bernoulli(), ab.networks.MaskedMLP(6, 1, hidden=(32, 32)))
    ab.fit(model, x, epochs=40, batch_size=64, seed=0, progress=False, optimizer=Muon, learning_rate=2e-2)
    assert -2.3 < float(model.log_prob(x).mean().detach()) < -3 * 0.6931 + 0.01


def test_arguments_out_of_range():
    for options, said in (({"lr": -1.0}, "lr"), ({"momentum": 1.5}, "momentum"), ({"others": 0.0}, "others")):
        with pytest.raises(ValueError, match=f"{said}: expected"):
            Muon([parameter(8, 8)], **options)
    with pytest.raises(ValueError, match="closure: expected None"):
        Muon([parameter(8, 8)]).step(lambda: 0.0)
