"""One case, from those who enter to the numbers: who is how fast at each of its works."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from contest import floor
from contest.case import Case
from contest.entrant import Entrant
from contest.mixtures import KINDS, training_steps
from contest.rounds import Times, race, ratio
from contest.table import OURS, number

Synchronize = Callable[[], None]
Make = Callable[[Case, torch.device], Entrant]


def synchronizer(device: torch.device) -> Synchronize:
    """What waits for the device to be done."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def run_case(
    case: Case,
    makers: Mapping[str, Make],
    works: list[str],
    device: torch.device,
    rates: floor.Machine,
    rounds: int,
    cap_s: float,
    patience_s: float,
) -> dict[str, object]:
    """Times, ratios and floors of a case's works.

    `peer_over_ours` is the fastest peer's time over ours, `ours_over_floor` the compiled one's (the eager one's, where
    there is no compiled one).
    """
    entrants: dict[str, Entrant] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        torch.manual_seed(0)
        try:
            entrants[name] = make(case, device)
        except ImportError as error:
            missing[name] = f"not installed ({error.name})"
        except Exception as error:  # a peer may fail in any way: the table says so, the others go on
            missing[name] = f"{type(error).__name__}: {error}"
    result = {
        "features": case.features,
        "univariate": case.univariate,
        "structure": case.structure,
        "parameters": {name: entrant.parameters for name, entrant in entrants.items()},
        "notes": {name: entrant.notes for name, entrant in entrants.items() if entrant.notes},
        "works": {},
    }
    for work in works:
        begun = time.perf_counter()
        actions = {name: entrant.actions[work] for name, entrant in entrants.items() if work in entrant.actions}
        heat = race(actions, synchronizer(device), rounds, cap_s, patience_s)
        times = heat.times
        absent = missing | heat.failed
        absent |= {name: entrant.absent[work] for name, entrant in entrants.items() if work in entrant.absent}
        result["works"][work] = compared(times, floor.work(case, work), rates) | {
            "absent": absent,
            "others_cores": heat.others,
        }
        shown = ", ".join(f"{name} {number(t.median)}" for name, t in times.items())
        seconds = time.perf_counter() - begun
        others = statistics.mean(heat.others or [0.0])
        print(f"{case.kind}, {case.features} features, {work}: {shown} ms", end=" ")
        print(f"({seconds:.0f} s; others took {others:.2f} cores)", flush=True)
        for name, reason in absent.items():
            print(f"    {name} is absent: {reason}", flush=True)
    forget_compiled()
    return result


def compared(times: dict[str, Times], least: floor.Work, rates: floor.Machine) -> dict[str, object]:
    peers = {name: t for name, t in times.items() if name not in OURS}
    fastest = min(peers, key=lambda name: peers[name].median, default=None)
    ours = next((times[name] for name in OURS if name in times), None)
    return {
        "times": {name: t.as_numbers() for name, t in times.items()},
        "fastest_peer": fastest,
        "peer_over_ours": {name: ratio(peers[fastest], times[name]) for name in OURS if fastest and name in times},
        "floor": least.as_numbers(rates),
        "ours_over_floor": ours and ours.median / (1000 * least.seconds(rates)),
    }


def run_mixtures(
    case: Case, device: torch.device, rounds: int, cap_s: float, patience_s: float, ways: tuple[str, ...]
) -> list[dict[str, object]]:
    """Training steps of a mixture from depth, of the flow on its chain and of a mixture of flows, eager and compiled."""
    rows = []
    for way in ways:
        torch.manual_seed(0)
        steps = training_steps(case, device, is_compiled=way == "compiled")
        heat = race(steps, synchronizer(device), rounds, cap_s, patience_s)
        times = heat.times
        flow, depth, flows = (times.get(kind) for kind in KINDS)
        rows.append(
            {
                "features": case.features,
                "univariate": case.univariate,
                "structure": case.structure,
                "way": way,
                "times": {name: t.as_numbers() for name, t in times.items()},
                "depth_mixture_over_flow": ratio(depth, flow) if depth and flow else None,
                "mixture_of_flows_over_depth_mixture": ratio(flows, depth) if flows and depth else None,
                "failed": heat.failed,
                "others_cores": heat.others,
            }
        )
        shown = ", ".join(f"{name} {number(t.median)}" for name, t in times.items())
        print(f"mixtures, {case.kind}, {case.features} features, {way}: {shown} ms {heat.failed or ''}", flush=True)
        forget_compiled()
    return rows


def forget_compiled() -> None:
    """Dynamo keeps what it compiled by the line of code: after eight flows of one class it would stop to compile."""
    torch._dynamo.reset()
    gc.collect()
