"""One affine chain with three bases: a standard normal, a resampled one (LARS), and, by its gate, a depth mixture's.

python benchmarks/resampled.py

The acceptance network and the gate have the same hidden layers. Log-likelihoods are nats per row in the toy's units, on
fresh rows; the resampled ones are estimates, with the standard error of log Z, which is common to all rows.
"""

import math
import statistics

import torch
from boxes import RECTANGLES
from trials import OPTIONS, Row, fitted, gaussian_mixture, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Density, Normal, Resampled
from anabranch.draws import drawing
from anabranch.gallery.results import Stopwatch, count_parameters, mean_log_prob
from anabranch.gallery.toys import TOYS, Rows, Toy
from anabranch.networks import MLP
from anabranch.transforms import Chain

EPOCHS, BLOCKS, GATE, TRUNCATION = 80, 6, (32, 32), 100


def toys() -> dict[str, Toy]:
    apart = Toy(RECTANGLES, test=2500, splines=True, hold=0, epochs=EPOCHS)
    return {"pinwheel-3": TOYS["pinwheel-3"](), "circles": TOYS["circles"](), "rectangles": apart}


def chain() -> Chain:
    return ab.flows.realnvp(2, blocks=BLOCKS, hidden=(32, 32), activation="silu")


def resampled() -> Density:
    base = Resampled(Normal.standard(2), MLP(2, 1, hidden=GATE), truncation=TRUNCATION)
    return ab.Flow(chain(), base)


MODELS = {
    "standard normal": lambda: ab.Flow(chain()),
    "resampled (LARS)": resampled,
    "depth mixture": lambda: ab.DepthMixture(chain(), hidden=GATE),
}


def cost_of_samples(density: Density) -> Row:
    """Draws from the normal and blocks for each sample, and the milliseconds of 20,000."""
    draws, blocks = 1.0, float(BLOCKS)
    more: Row = {}
    if isinstance(density, ab.DepthMixture):
        blocks = density.expected_depth()
    if isinstance(density, ab.Flow) and isinstance(density.base, Resampled):
        z, error = (float(value) for value in density.base.normaliser(samples=1_000_000))
        draws = (1 - (1 - z) ** TRUNCATION) / z
        # log_prob takes 16 x samples draws for its Z, this estimate a million
        error_of_log = error / z * math.sqrt(1_000_000 / (16 * density.base.samples))
        more = {"Z": z, "error of log Z": error_of_log}
    times = []
    for turn in range(5):
        with drawing(turn):
            watch = Stopwatch()
            density.sample((20_000,))
            times.append(1000 * watch())
    return more | {"draws a sample": draws, "blocks a sample": blocks, "20,000 samples, ms": statistics.median(times)}


def sum_of_shares(density: ab.DepthMixture) -> Row:
    """Each depth's share is the normaliser of its base: they sum to 1 but for the error of the estimates."""
    found = [density.component_base(depth).normaliser() for depth in density.depths]
    shares = [float(z) for z, _ in found]
    error = math.hypot(*(float(e) for _, e in found))
    return {"shares": shares, "sum of shares": sum(shares), "error of the sum": error}


def main(seeds: int = 4) -> None:
    """Fit, score, print and write."""
    rows: list[Row] = []
    for name, toy in toys().items():
        for seed in range(seeds):
            data = Rows(toy, seed)
            start = {"toy": name, "seed": seed}
            original = data.test * data.scale + data.mean
            best = mean_log_prob(toy.density.density if name == "rectangles" else toy.density, original)
            note(rows, start | {"base": "optimum", "log-likelihood": best})
            watch = Stopwatch()
            baseline, count = gaussian_mixture(data.x, seed)
            row = start | {"base": "none: a Gaussian mixture", "log-likelihood": data.score(baseline)}
            note(rows, row | {"parameters": count, "seconds": watch()})
            for method, build in MODELS.items():
                density, seconds = fitted(build, data.x, seed, EPOCHS)
                row = start | {"base": method, "log-likelihood": data.score(density), "seconds": seconds}
                row |= {"parameters": count_parameters(density)} | cost_of_samples(density)
                if isinstance(density, ab.DepthMixture):
                    torch.manual_seed(seed)
                    row |= sum_of_shares(density)
                note(rows, row)
    forms = {"log-likelihood": ".3f", "error of log Z": ".4f", "parameters": ",.0f", "seconds": ".0f"}
    forms |= {"draws a sample": ".2f", "blocks a sample": ".2f", "20,000 samples, ms": ".0f"}
    table = over_seeds(rows, ("toy", "base"), forms)
    sums = [(row["sum of shares"], row["error of the sum"]) for row in rows if "shares" in row]
    furthest = max(abs(total - 1) / error for total, error in sums)
    low, high = min(total for total, _ in sums), max(total for total, _ in sums)
    table += (
        f"\n\nThe shares of the depths, each the normaliser of its own resampled base, sum to {low:.4f} to {high:.4f} over "
        f"{len(sums)} fits: at most {furthest:.1f} standard errors from 1."
    )
    write("resampled", OPTIONS | {"epochs": EPOCHS, "truncation": TRUNCATION}, rows, table)


if __name__ == "__main__":
    main()
