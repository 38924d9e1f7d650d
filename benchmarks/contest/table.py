"""The results as a page of Markdown."""

import statistics

from contest.case import BATCH, BINS, BLOCKS, HIDDEN

PEERS = ("zuko", "nflows", "normflows", "flowjax")
OURS = ("anabranch compiled", "anabranch")


def page(result: dict) -> str:
    """The whole page: how it was measured, the contest, the mixtures, who is absent and who differs."""
    machine, rates = result["machine"], result["rates"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    intro = f"""# The same work for all

Written by `{machine["command"]}` on {machine["date"][:10]}.

{BLOCKS} blocks, ReLU networks of {" x ".join(map(str, HIDDEN))}, {BINS} bins, {BATCH:,} rows, float32. A training step is
loss, backward and Adam. Milliseconds: the median over rounds in which all take turns; in brackets the quartiles. "Peer over
ours" is the fastest peer's time over ours, the median over the rounds: above 1 we are faster. The floor is what the matrix
products and the maps' parameters take at the rates below; `benchmarks/contest/floor.py` has the formula.

- {machine["processor"]}, {machine["cores"]} cores, device {machine["device"]}; torch threads: {machine["torch_threads"]}
  (JAX: {machine["jax_threads"]}); other processes took {busy(result):.2f} cores in the mean
- a large product {rates["operations_a_second"] / 1e9:,.0f} Gflop/s, a large copy {rates["bytes_a_second"] / 1e9:,.1f} GB/s
- {versions}
"""
    parts = [intro, contest(result["cases"])]
    if result["mixtures"]:
        parts.append(mixtures(result["mixtures"]))
    parts.append(parameters(result["cases"]))
    parts.append(first_calls(result["cases"]))
    parts.append(remarks(result["cases"]))
    return "\n".join(parts)


def busy(result: dict) -> float:
    """The cores that others took while we timed, in the mean over all rounds."""
    works = [work for case in result["cases"] for work in case["works"].values()]
    return statistics.mean([share for part in (*works, *result["mixtures"]) for share in part["others_cores"]] or [0.0])


def contest(cases: list[dict]) -> str:
    head = [
        "work",
        "ours, compiled",
        "ours, eager",
        "fastest peer",
        *PEERS,
        "peer over ours, compiled",
        "peer over ours, eager",
        "ours over floor",
    ]
    rows = []
    for case in cases:
        for name, work in case["works"].items():
            times, against = work["times"], work["peer_over_ours"]
            fastest = work["fastest_peer"]
            rows.append(
                [
                    f"{case['univariate']} {case['structure']}, {case['features']} features, {name}",
                    *(spread(times.get(ours)) for ours in OURS),
                    f"{fastest} {number(times[fastest]['median_ms'])}" if fastest else "-",
                    *(spread(times.get(peer)) for peer in PEERS),
                    *(number(against.get(ours)) for ours in OURS),
                    number(work["ours_over_floor"]),
                ]
            )
    return table(head, rows)


def mixtures(rows: list[dict]) -> str:
    head = [
        "training step",
        "flow, ms",
        "depth mixture, ms",
        "mixture of flows, ms",
        "depth mixture over flow",
        "mixture of flows over depth mixture",
    ]
    body = [
        [
            f"{row['univariate']} {row['structure']}, {row['features']} features, {row['way']}",
            *(spread(row["times"].get(kind)) for kind in ("flow", "depth mixture", "mixture of flows")),
            number(row["depth_mixture_over_flow"]),
            number(row["mixture_of_flows_over_depth_mixture"]),
        ]
        for row in rows
    ]
    title = (
        f"## Mixtures\n\nA mixture from depth of {BLOCKS} components, beside the plain flow on the same chain and beside a\n"
        f"mixture of {BLOCKS} flows of {BLOCKS} blocks each.\n"
    )
    return f"{title}\n{table(head, body)}"


def parameters(cases: list[dict]) -> str:
    """How many numbers each trains: that the work is the same."""
    head = ["parameters", "ours", *PEERS]
    rows = [
        [f"{case['univariate']} {case['structure']}, {case['features']} features"]
        + [f"{n:,}" if (n := case["parameters"].get(name)) else "-" for name in ("anabranch", *PEERS)]
        for case in cases
    ]
    return f"## Parameters\n\nA masked matrix counts as a whole.\n\n{table(head, rows)}"


def first_calls(cases: list[dict]) -> str:
    """What those who compile take for it, which the times above leave out."""
    compilers = (OURS[0], "flowjax")
    rows = []
    for case in cases:
        for name, work in case["works"].items():
            seconds = [work["times"].get(compiler, {}).get("first_call_s") for compiler in compilers]
            rows.append(
                [
                    f"{case['univariate']} {case['structure']}, {case['features']} features, {name}",
                    *map(number, seconds),
                ]
            )
    return f"## First calls\n\nSeconds, compilation included.\n\n{table(['work', *compilers], rows)}"


def remarks(cases: list[dict]) -> str:
    """Who is absent and who differs, each said once."""
    said: dict[str, list[str]] = {}
    for case in cases:
        kind = f"{case['univariate']} {case['structure']}"
        for name, notes in case["notes"].items():
            for note in notes:
                said.setdefault(f"{name}: {note}", []).append(kind)
        for work, entry in case["works"].items():
            for name, reason in entry["absent"].items():
                said.setdefault(f"{name} is absent: {reason}", []).append(f"{kind}, {work}")
    lines = [f"- {remark} ({'; '.join(dict.fromkeys(kinds))})" for remark, kinds in said.items()]
    return "## Differences and absences\n\n" + "\n".join(lines or ["None."]) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def spread(times: dict | None) -> str:
    if times is None:
        return "-"
    low, high = times["quartiles_ms"]
    return f"{number(times['median_ms'])} ({number(low)} to {number(high)})"


def number(value: float | None) -> str:
    """Three figures."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
