"""The results in brief, as the README shows them."""

from pathlib import Path

from contest.table import OURS, number, table

BEGIN, END = "<!-- speed: written by benchmarks/speed.py -->", "<!-- end of speed -->"


def summary(result: dict) -> str:
    """One row for each kind of flow: for training, log_prob and sample our time, the fastest peer's, and the ratio."""
    works = list(result["cases"][0]["works"])
    rows = []
    for case in result["cases"]:
        row = [f"{case['univariate']} {case['structure']}, {case['features']} features"]
        for work in works:
            entry = case["works"][work]
            peer = entry["fastest_peer"]
            times = " / ".join(number(entry["times"][ours]["median_ms"]) for ours in OURS)
            ratios = " / ".join(number(entry["peer_over_ours"][ours]) for ours in OURS)
            row.append(f"{times} ({peer} {number(entry['times'][peer]['median_ms'])}): **{ratios}**")
        rows.append(row)
    return table(["ms compiled / eager (fastest peer): **peer over ours**", *works], rows)


def show_in(readme: Path, result: dict) -> None:
    """Put the summary between the two marks of a README."""
    before, rest = readme.read_text().split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(f"{before}{BEGIN}\n\n{summary(result)}\n{END}{after}")
