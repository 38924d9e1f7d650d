"""How parameters and time of a mixture of flows grow with its number of components, by what the components share.

python benchmarks/components.py

Times are ratios to the same mixture of one component, measured in the same round; the median over rounds is shown.
"""

import statistics
import time
from collections.abc import Callable

import torch
from trials import Row, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Normal
from anabranch.draws import drawing
from anabranch.gallery.results import count_parameters

FEATURES, ROWS, BLOCKS, HIDDEN, VECTOR = 8, 1024, 3, (64, 64), 4
COUNTS = (1, 2, 4, 8, 16)
WORKS = ("training step", "log_prob")


def chain(context: int = 0) -> ab.transforms.Chain:
    return ab.flows.nsf(FEATURES, context, blocks=BLOCKS, hidden=HIDDEN, structure="coupling")


KINDS: dict[str, Callable[[int], ab.FlowMixture]] = {
    "separate flows": lambda k: ab.FlowMixture([ab.Flow(chain()) for _ in range(k)]),
    "Embedded, one flow with a learned vector": lambda k: ab.FlowMixture(
        ab.models.Embedded(ab.Flow(chain(VECTOR)), k), heads="affine"
    ),
    "shared trunk, affine heads": lambda k: ab.FlowMixture(
        [Normal.standard(FEATURES) for _ in range(k)], trunk=chain(), heads="affine"
    ),
}


def works_of(model: ab.FlowMixture, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(x).mean().backward()
        optimizer.step()

    def score() -> None:
        with torch.no_grad():
            model.log_prob(x)

    return dict(zip(WORKS, (step, score), strict=True))


def timed(work: Callable[[], object]) -> float:
    """In milliseconds of the processor's time, which other processes on the machine take nothing of."""
    begun = time.process_time()
    work()
    return 1000 * (time.process_time() - begun)


def main(rounds: int = 9) -> None:
    """Time all in turn, print and write."""
    x = torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))
    rows: list[Row] = []
    for kind, build in KINDS.items():
        with drawing(0):
            models = {k: build(k) for k in COUNTS}
        works = {k: works_of(model, x) for k, model in models.items()}
        times: dict[tuple[str, int], list[float]] = {}
        for turn in range(rounds + 1):
            for k in COUNTS:
                for work in WORKS:
                    spent = timed(works[k][work])
                    if turn:  # the first is a warm-up
                        times.setdefault((work, k), []).append(spent)
        counts = {k: count_parameters(model) for k, model in models.items()}
        for k in COUNTS:
            row: Row = {"kind": kind, "K": k, "parameters": counts[k], "parameters, K = 1 is 1": counts[k] / counts[1]}
            for work in WORKS:
                row[f"{work}, K = 1 is 1"] = statistics.median(
                    mine / one for mine, one in zip(times[work, k], times[work, 1], strict=True)
                )
                row[f"{work}, ms"] = statistics.median(times[work, k])
            note(rows, row)
        print(f"{kind}: {counts[2] - counts[1]:,} parameters more for each component")
    forms = {"parameters": ",.0f", "parameters, K = 1 is 1": ".2f"}
    forms |= {f"{work}, K = 1 is 1": ".2f" for work in WORKS}
    setting = {"features": FEATURES, "rows": ROWS, "blocks": BLOCKS, "hidden": HIDDEN, "vector": VECTOR}
    write("components", setting | {"rounds": rounds}, rows, over_seeds(rows, ("kind", "K"), forms))


if __name__ == "__main__":
    main()
