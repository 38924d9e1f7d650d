"""Draw a mixture from depth on a pinwheel: data, density, samples coloured by the depth that made them.

python examples/draw_mixture.py docs/pictures/pinwheel.png
"""

import math
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.colors import ListedColormap

import anabranch as ab

WINGS, PER_WING = 5, 2000
COLOURS = ListedColormap(["#35618f", "#3fa796", "#f2b134", "#e4572e", "#8b4a9c"])


def pinwheel(rows_per_wing: int, generator: torch.Generator) -> torch.Tensor:
    """Rows (wings * rows_per_wing, 2) of a pinwheel: stretched Gaussians, turned further the further out they lie."""
    wing = torch.arange(WINGS).repeat_interleave(rows_per_wing)
    xy = torch.randn(len(wing), 2, generator=generator) * torch.tensor([0.3, 0.05]) + torch.tensor([1.0, 0.0])
    angle = 2 * math.pi * wing / WINGS + 0.4 * xy[:, 0].exp()
    turned = [xy[:, 0] * angle.cos() - xy[:, 1] * angle.sin(), xy[:, 0] * angle.sin() + xy[:, 1] * angle.cos()]
    return torch.stack(turned, dim=-1)


def main(path: str) -> None:
    torch.manual_seed(0)
    x = pinwheel(PER_WING, torch.Generator().manual_seed(0))
    model = ab.DepthMixture(ab.flows.nsf(features=2, blocks=5, hidden=(64, 64)))
    ab.fit(model, x, epochs=120, batch_size=512, learning_rate=5e-3, seed=0)

    reach = 2.0
    axis = torch.linspace(-reach, reach, 400)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = torch.cat([model.log_prob(rows) for rows in grid.split(20_000)]).exp()
        drawn = model.sample((6000,))
        depth = model.responsibilities(drawn).argmax(dim=-1)
    mass = float(density.sum()) * float(axis[1] - axis[0]) ** 2
    print(f"the density sums to {mass:.4f} over the picture")

    figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    panels[0].scatter(*x.T, s=1, color="#35618f", alpha=0.5, linewidths=0)
    panels[0].set_title(f"data, {len(x):,} rows")
    panels[1].imshow(density.reshape(400, 400).T.sqrt(), origin="lower", extent=[-reach, reach] * 2, cmap="magma")
    panels[1].set_title("density p(x)")
    shown = panels[2].scatter(*drawn.T, c=depth + 1, s=2, cmap=COLOURS, vmin=0.5, vmax=5.5, linewidths=0)
    panels[2].set_title("samples, by most likely depth")
    bar = figure.colorbar(shown, ax=panels[2], ticks=range(1, 6), shrink=0.8)
    bar.set_label("blocks run through")
    for panel in panels:
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    figure.savefig(path, dpi=120)
    print(f"mean blocks a sample runs through: {model.expected_depth():.2f} of 5; wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "pinwheel.png")
