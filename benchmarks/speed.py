"""Our speed beside our peers': the same work for all, in one process, in turns.

python benchmarks/speed.py [-o benchmarks/results/speed.json]
python benchmarks/speed.py --only spline-autoregressive --features 63 --work training --libraries anabranch,zuko

Writes the numbers as JSON and, beside it, a page of Markdown; the README shows them in brief. A run of a part is written
only where -o says. What the floor is and how it is counted: `contest/floor.py`.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from contest import floor, machine, of_anabranch, of_flowjax, of_nflows, of_normflows, of_zuko
from contest.case import WORKS, Case, all_cases
from contest.heats import Make, run_case, run_mixtures, synchronizer
from contest.summary import show_in
from contest.table import page

RESULTS = Path(__file__).parent / "results"
ENTRANTS: dict[str, Make] = {
    "anabranch": of_anabranch.eager,
    "anabranch compiled": of_anabranch.compiled,
    "zuko": of_zuko.entrant,
    "nflows": of_nflows.entrant,
    "normflows": of_normflows.entrant,
    "flowjax": of_flowjax.entrant,
}
KINDS = tuple(dict.fromkeys(case.kind for case in all_cases()))


def main(
    only: Annotated[str, typer.Option(help="Kinds of flow, by commas.")] = ",".join(KINDS),
    features: Annotated[str, typer.Option(help="Numbers of features, by commas.")] = "8,63",
    work: Annotated[str, typer.Option(help="Works, by commas.")] = ",".join(WORKS),
    libraries: Annotated[str, typer.Option(help="Who takes part, by commas.")] = ",".join(ENTRANTS),
    with_mixtures: Annotated[bool, typer.Option("--mixtures/--no-mixtures", help="Whether mixtures are timed.")] = True,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    rounds: Annotated[int, typer.Option(help="In how many rounds all take turns; 5 at least.", min=5)] = 15,
    cap: Annotated[float, typer.Option(help="Seconds for the rounds of one entrant at one work, about.")] = 12.0,
    patience: Annotated[float, typer.Option(help="Seconds to wait, at each work, for other processes to end.")] = 30.0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON; the Markdown goes beside it.")] = None,
) -> None:
    """Time everyone at everything; print and write the result."""
    kinds, works = chosen("--only", only, KINDS), chosen("--work", work, WORKS)
    names = chosen("--libraries", libraries, tuple(ENTRANTS))
    sizes = tuple(int(size) for size in features.split(","))
    is_whole = (kinds, works, names, sizes) == (list(KINDS), list(WORKS), list(ENTRANTS), (8, 63)) and with_mixtures
    torch.set_num_threads(threads)
    on = torch.device(device)
    if on.type == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("--device: expected a device that is there, got cuda, which torch does not find")
    rates = floor.measure(on, synchronizer(on))
    print(
        f"a large product {rates.operations_a_second / 1e9:.0f} Gflop/s, a copy {rates.bytes_a_second / 1e9:.1f} GB/s"
    )

    makers = {name: ENTRANTS[name] for name in names}
    cases = [case for case in all_cases(sizes) if case.kind in kinds]
    ways = tuple(way for way, name in (("eager", "anabranch"), ("compiled", "anabranch compiled")) if name in names)
    # an empty cache of its own: what an earlier run has compiled would make the first calls look quick
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        done = [run_case(case, makers, works, on, rates, rounds, cap, patience) for case in cases]
        mixture_cases = [Case(size, "spline", "autoregressive") for size in sizes] if with_mixtures else []
        mixed = [row for case in mixture_cases for row in run_mixtures(case, on, rounds, cap, patience, ways)]
    result = {
        "machine": machine.description(on),
        "rates": vars(rates),
        "cases": done,
        "mixtures": mixed,
    }
    print("\n" + page(result))
    if output is None and not is_whole:
        print("A part only, and no -o: nothing is written.")
        return
    if output is None and on.type == "cpu":
        show_in(RESULTS.parent.parent / "README.md", result)
    output = output or RESULTS / ("speed.json" if on.type == "cpu" else f"speed_{on.type}.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    output.with_suffix(".md").write_text(page(result))
    print(f"Wrote {output} and {output.with_suffix('.md')}")


def chosen(option: str, names: str, among: tuple[str, ...]) -> list[str]:
    """The names, in the order in which they are known."""
    wanted = {name.strip() for name in names.split(",")}
    if unknown := wanted - set(among):
        raise typer.BadParameter(f"{option}: expected some of {', '.join(among)}, got {', '.join(sorted(unknown))}")
    return [name for name in among if name in wanted]


if __name__ == "__main__":
    typer.run(main)
