"""Rows on their way from data to noise, and pictures of it."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.gallery import drawing, plane, run_experiment, toys
from anabranch.gallery.frames import frames_of
from anabranch.gallery.transport import colours_by_place, levels_of, transport_picture
from anabranch.networks import VelocityMLP
from anabranch.transforms import Chain, Continuous, Elementwise, Householder, Log


@pytest.fixture
def rows():
    return torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).numpy()


def moved_at_random(density):
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in density.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return density


def as_rows(frame):
    """In the order of the rows that were given."""
    return torch.as_tensor(frame.points, dtype=torch.float32)


def test_the_frames_of_a_flow_are_its_prefixes(rows):
    flow = moved_at_random(ab.Flow(ab.flows.realnvp(2, blocks=3, hidden=(8,)))).eval()
    frames = frames_of(flow, rows)
    assert [frame.name for frame in frames] == ["data", "affine 1", "affine 2", "affine 3"]
    assert [frame.noise for frame in frames] == [False, False, False, True]
    assert sorted(frames[0].points[:, 0]) == pytest.approx(sorted(rows[:, 0].tolist()))
    with torch.no_grad():
        for frame, (z, _) in zip(frames[1:], flow.transform.prefixes(as_rows(frames[0])), strict=True):
            torch.testing.assert_close(as_rows(frame), z)


def test_a_layer_alone_has_the_name_of_its_kind(rows):
    names = [frame.name for frame in frames_of(ab.Flow(Householder(2)), rows)]
    assert names == ["data", "Householder"]


def test_a_mixture_has_frames_behind_its_heads(rows):
    mixture = moved_at_random(ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,)), depths=(0, 2), lead=0)).eval()
    frames = frames_of(mixture, rows)
    assert [frame.name for frame in frames] == ["data", "spline 1", "spline 2", "head of depth 0", "head of depth 2"]
    assert [frame.column for frame in frames] == [0, 1, 2, 0, 2]
    assert [frame.noise for frame in frames] == [False, False, False, True, True]
    x = as_rows(frames[0])
    with torch.no_grad():
        torch.testing.assert_close(as_rows(frames[3]), mixture.heads[0](x)[0])
        torch.testing.assert_close(as_rows(frames[4]), mixture.heads[1](mixture.chain(x)[0])[0])
        shares = mixture.responsibilities(x).mean(dim=0)
    assert [frame.below for frame in frames[3:]] == [f"{float(share):.0%} of the rows" for share in shares]


def test_without_heads_the_base_reads_the_layers(rows):
    mixture = ab.DepthMixture(ab.flows.realnvp(2, blocks=2, hidden=(8,)), heads="none")
    frames = frames_of(mixture, rows)
    assert [frame.noise for frame in frames] == [False, True, True] and not any(frame.head for frame in frames)


def test_continuous_time_is_cut_into_equal_parts(rows):
    layer = moved_at_random(Continuous(VelocityMLP(2, hidden=(8,))))
    flow = ab.Flow(Chain({"turn": Householder(2), "drift": layer}))
    frames = frames_of(flow, rows, times=4)
    assert [frame.name for frame in frames] == ["data", "turn", "time 0.25", "time 0.5", "time 0.75", "time 1"]
    with torch.no_grad():
        torch.testing.assert_close(as_rows(frames[-1]), flow.transform(as_rows(frames[0]))[0], atol=1e-4, rtol=1e-4)
    steps = [np.abs(b.points - a.points).max() for a, b in pairwise(frames)]
    assert min(steps) > 0.01


def test_colours_tell_directions_and_distances():
    around = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    colours = colours_by_place(np.concatenate([around, 3 * around]))
    assert colours.shape == (8, 3) and colours.min() >= 0 and colours.max() <= 1
    assert np.linalg.norm(colours[:4, None] - colours[None, :4], axis=-1)[~np.eye(4, dtype=bool)].min() > 0.2
    assert (colours[4:].mean(axis=1) > colours[:4].mean(axis=1)).all()


def test_levels_hold_so_much_of_the_mass():
    middles = np.linspace(-5, 5, 201)
    density = np.exp(-0.5 * (middles[:, None] ** 2 + middles[None] ** 2))
    # of a standard normal in the plane, what lies within a radius r is 1 - exp(-r^2 / 2)
    assert levels_of(density) == pytest.approx([0.01, 0.1, 0.5], rel=0.05)
    assert levels_of(np.zeros((3, 3))) == []


def test_a_picture_is_drawn_of_each_kind(rows, tmp_path):
    for i, density in enumerate(
        [
            ab.Flow(ab.flows.realnvp(2, blocks=9, hidden=(8,))),
            ab.DepthMixture(ab.flows.realnvp(2, blocks=2, hidden=(8,))),
            ab.Flow(Elementwise(Log(), 2)),  # log x: NaN where x is below 0
        ]
    ):
        transport_picture(tmp_path / f"{i}.png", density, rows, title="way")
        assert (tmp_path / f"{i}.png").stat().st_size > 5000


def test_what_cannot_be_drawn_is_refused(rows, tmp_path):
    with pytest.raises(ValueError, match="density: expected a Flow or a DepthMixture, got a Normal"):
        transport_picture(tmp_path / "x.png", ab.densities.Normal(torch.zeros(2)), rows, title="way")
    with pytest.raises(ValueError, match=r"x: expected shape \(rows, 2\), got \(40, 1\)"):
        frames_of(ab.Flow(ab.flows.realnvp(2)), rows[:, :1])
    with pytest.raises(ValueError, match="density: expected one of two features and no context"):
        frames_of(ab.Flow(ab.flows.realnvp(3)), rows)
    with pytest.raises(ValueError, match="times: expected"):
        frames_of(ab.Flow(ab.flows.realnvp(2)), rows, times=0)
    assert not list(tmp_path.iterdir())


def test_plane_writes_results_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(plane, "TOY_NAMES", ("circles",))
    monkeypatch.setattr(plane, "_STEPS", 2)
    small = toys.TOYS["circles"]()
    small.rows, small.test = 60, 50
    monkeypatch.setitem(toys.TOYS, "circles", lambda: small)
    results = run_experiment("plane", tmp_path, seeds=1)
    methods = [f"circles: {name}" for name in ("optimum", *plane.METHODS)]
    assert [row.method for row in results] == methods
    assert [row["method"] for row in json.loads((tmp_path / "plane.json").read_text())] == methods
    names = {drawing._file_name(name) for name in methods[1:]}
    assert {path.name for path in tmp_path.glob("*.png")} == {f"plane-{name}.png" for name in names}
