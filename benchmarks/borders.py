"""Where the borders of a PiecewiseFlow end that starts at random, and where those start that `models.pieces.cut` places.

python benchmarks/borders.py

A piece is what one branch, or one branch of each fold, is given; a box is split if less than 95 % of its rows are in one
piece.
"Alone" is how many boxes have a piece to themselves: it holds 95 % of their rows, and they are 95 % of its rows.
"""

import torch
from pieces import EPOCHS, PIECES, TOYS, models
from trials import OPTIONS, Row, fitted, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.toys import Rows, Toy

FOLD, CUT = "PiecewiseFlow, fold at random, twice", "PiecewiseFlow, cut"


def pieces_of(density: Density, x: torch.Tensor) -> torch.Tensor:
    """The piece of each row: (rows)."""
    piece = torch.zeros(len(x), dtype=torch.long)
    with torch.no_grad():
        while isinstance(density, ab.PiecewiseFlow):
            branch = density.joint_log_prob(x).argmax(dim=-1)
            images = torch.stack([f(x)[0] for f in density.branches])
            x = images[branch, torch.arange(len(x))]
            piece = piece * density.components + branch
            density = density.base
    return piece


def found(density: Density, x: torch.Tensor, boxes: torch.Tensor) -> Row:
    counts = torch.zeros(PIECES, PIECES)
    counts.index_put_((boxes, pieces_of(density, x)), torch.ones(len(x)), accumulate=True)
    of_box, of_piece = counts / counts.sum(1, keepdim=True), counts / counts.sum(0).clamp(min=1)
    alone = ((of_box >= 0.95) & (of_piece >= 0.95)).any(dim=1)
    return {"split boxes": int((of_box.amax(dim=1) < 0.95).sum()), "boxes alone": int(alone.sum())}


def main(seeds: int = 4) -> None:
    """Build, fit, look, print and write."""
    rows: list[Row] = []
    for name, toy in TOYS.items():
        for seed in range(seeds):
            data = Rows(Toy(toy, test=2500, splines=True, hold=0, epochs=EPOCHS), seed)
            builders = models(data.x)
            for method, when in ((CUT, "before the fit"), (FOLD, "before the fit"), (FOLD, "after it")):
                build, epochs = builders[method]
                with drawing(seed):
                    density = build()
                if when == "after it":
                    density, _ = fitted(build, data.x, seed, epochs)
                row = {"toy": name, "seed": seed, "method": method, "when": when}
                note(rows, row | found(density, data.x, data.classes))
    forms = {"split boxes": ".1f", "boxes alone": ".1f"}
    write("borders", OPTIONS | {"epochs": EPOCHS}, rows, over_seeds(rows, ("toy", "method", "when"), forms))


if __name__ == "__main__":
    main()
