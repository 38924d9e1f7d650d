"""Data in pieces that lie apart: one flow, and flows and mixtures that can leave the gaps empty.

python benchmarks/pieces.py

All flows have about the same number of parameters. Log-likelihoods are nats per row in the toy's units, on fresh rows;
"outside" is the share of 20,000 samples that lie in no piece, "in the gaps" of those further than 0.1 from every piece
(the gaps are 0.7 to 1.4 wide). The truth has 0 of both.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from boxes import INTERVALS, RECTANGLES, Boxes
from trials import OPTIONS, Row, fitted, gaussian_mixture, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.grids import density_grid, square_around
from anabranch.gallery.panels import DENSITY_COLOURS, new_figure, save_png, square_panel, strength_of
from anabranch.gallery.results import Stopwatch, count_parameters, mean_log_prob
from anabranch.gallery.toys import Rows, Toy
from anabranch.models import pieces
from anabranch.transforms import Chain, Elementwise, RationalQuadraticSpline

TOYS = {"intervals, 1-D": INTERVALS, "rectangles, 2-D": RECTANGLES}
EPOCHS, GATE, PIECES = 50, (8,), 4
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "pieces.png"
DRAWN = ("one flow", "FlowMixture of 4, k-means start", "PiecewiseFlow, cut")


def chain(features: int, blocks: int = 4, bins: int = 16, hidden: int = 32) -> Chain:
    """Splines: of one feature `blocks` of so many `bins`; of two, couplings whose networks are so wide."""
    if features == 1:
        return Chain([Elementwise(RationalQuadraticSpline(bins, bound=4.0), 1) for _ in range(blocks)])
    return ab.flows.nsf(2, blocks=3, hidden=(hidden, hidden), bound=4.0, structure="coupling")


def folded(features: int) -> Density:
    """Two folds, one as the base of the other: four pieces, whose borders start at random."""
    density: Density = ab.Flow(chain(features, blocks=3, bins=12))
    for _ in range(2):
        density = ab.PiecewiseFlow(pieces.fold(features), density, hidden=GATE)
    return density


def separate(x: torch.Tensor) -> Density:
    parts = [ab.Flow(chain(x.shape[1], blocks=1, hidden=12)) for _ in range(PIECES)]
    mixture = ab.FlowMixture(parts, heads="affine")
    ab.start_from(mixture, x, "k-means", epochs=0, seed=0)
    return mixture


def models(x: torch.Tensor) -> dict[str, tuple[Callable[[], Density], int]]:
    """Builders by name, and for how many epochs each is fitted."""
    features = x.shape[1]
    return {
        "one flow": (lambda: ab.Flow(chain(features)), EPOCHS),
        "one flow, twice the epochs": (lambda: ab.Flow(chain(features)), 2 * EPOCHS),
        "DepthMixture": (lambda: ab.DepthMixture(chain(features, blocks=3), hidden=GATE), EPOCHS),
        "FlowMixture of 4, k-means start": (lambda: separate(x), EPOCHS),
        "PiecewiseFlow, fold at random, twice": (lambda: folded(features), EPOCHS),
        "PiecewiseFlow, cut": (
            lambda: ab.PiecewiseFlow(pieces.cut(x, PIECES), ab.Flow(chain(features, blocks=3, bins=12)), hidden=GATE),
            EPOCHS,
        ),
    }


def measured(toy: Boxes, rows: Rows, density: Density, seed: int) -> Row:
    with drawing(seed):
        samples = density.sample((20_000,)).float() * rows.scale + rows.mean
    away = toy.distance(samples)
    return {
        "log-likelihood": rows.score(density),
        "% outside": 100 * float((away > 0).float().mean()),
        "% in the gaps": 100 * float((away > 0.1).float().mean()),
        "parameters": count_parameters(density),
    }


def draw(path: Path, x: torch.Tensor, fits: dict[str, Density]) -> None:
    figure = new_figure(4 * (1 + len(fits)), 4.6, "Four rectangles that lie apart: rows, and what was fitted to them")
    extent = square_around(x, margin=0.12)
    panel = square_panel(figure, (1, 1 + len(fits), 1), extent)
    panel.plot(*x.T.numpy(), ".", markersize=2, color="#0072B2")
    panel.set_title("rows")
    grids = {name: density_grid(density, extent, 300) for name, density in fits.items()}
    for place, (name, grid) in enumerate(grids.items(), start=2):
        panel = square_panel(figure, (1, 1 + len(fits), place), extent)
        strength = strength_of(grid, 0.3)
        panel.imshow(strength, extent=extent, origin="lower", cmap=DENSITY_COLOURS, vmin=0, vmax=1)
        panel.set_title(name)
    save_png(figure, path)


def main(seeds: int = 4) -> None:
    """Fit, score, draw, print and write."""
    rows_of_table: list[Row] = []
    for name, toy in TOYS.items():
        for seed in range(seeds):
            rows = Rows(Toy(toy, test=2500, splines=True, hold=0, epochs=EPOCHS), seed)
            best = mean_log_prob(toy.density, rows.test * rows.scale + rows.mean)
            start = {"toy": name, "seed": seed}
            note(rows_of_table, start | {"method": "optimum", "log-likelihood": best, "below the optimum": 0.0})
            watch = Stopwatch()
            density, count = gaussian_mixture(rows.x, seed)
            row = start | {"method": "Gaussian mixture, size by validation"} | measured(toy, rows, density, seed)
            row |= {"parameters": count, "seconds": watch()}
            note(rows_of_table, row | {"below the optimum": best - row["log-likelihood"]})
            fits: dict[str, Density] = {}
            for method, (build, epochs) in models(rows.x).items():
                fits[method], seconds = fitted(build, rows.x, seed, epochs)
                row = start | {"method": method} | measured(toy, rows, fits[method], seed) | {"seconds": seconds}
                note(rows_of_table, row | {"below the optimum": best - row["log-likelihood"]})
            if toy is RECTANGLES and seed == 0:
                draw(PICTURE, rows.x, {method: fits[method] for method in DRAWN})
    forms = {
        "log-likelihood": ".3f",
        "below the optimum": ".3f",
        "% outside": ".1f",
        "% in the gaps": ".2f",
        "parameters": ",.0f",
    }
    setting = OPTIONS | {"epochs": EPOCHS, "rows": 512 * PIECES}
    table = over_seeds(rows_of_table, ("toy", "method"), forms | {"seconds": ".0f"})
    write("pieces", setting, rows_of_table, table)


if __name__ == "__main__":
    main()
