"""Peak memory of a fit that streams a Parquet file, for files of growing length: it must not grow with them.

python benchmarks/streaming.py [--rows 100000,400000,1600000]

Every fit is a process of its own, which says the most memory that it ever held.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from trials import Row, note, over_seeds, write

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
NUMBERS = 8
SAMPLE = BUFFER = 20_000
COLUMNS = {"file MiB": ",.0f", "in memory MiB": ",.0f", "peak MiB": ",.0f", "processor seconds": ",.0f"}


def make(path: Path, rows: int) -> None:
    """A table of mixed columns with gaps, written piece by piece."""
    rng = np.random.default_rng(0)
    writer = None
    for begun in range(0, rows, 50_000):
        n = min(50_000, rows - begun)
        z = rng.normal(size=(n, NUMBERS))
        z[:, 1:] += z[:, :-1]
        z[rng.random(z.shape) < 0.05] = np.nan
        columns = {f"x{i}": pa.array(z[:, i], from_pandas=True) for i in range(NUMBERS)}
        columns["colour"] = pa.array(np.array(["red", "green", "blue"])[rng.integers(0, 3, n)])
        columns["count"] = pa.array(rng.poisson(30, n))
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def fit(path: str) -> None:
    from anabranch.tables import TableStream, fit_table  # noqa: PLC0415

    begun = time.process_time()
    _, report = fit_table(
        TableStream(path, sample=SAMPLE, buffer=BUFFER), hidden=16, blocks=1, epochs=1, batch_size=4096, progress=False
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.process_time() - begun
    print(json.dumps({"rows": report.rows["all"], "peak MiB": round(peak), "processor seconds": round(seconds)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="100000,400000,1600000")
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit)
        return
    results: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in map(int, arguments.rows.split(",")):
            path = Path(folder) / f"{rows}.parquet"
            make(path, rows)
            command = [sys.executable, __file__, "--fit", str(path)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            result = json.loads(done.stdout)
            result["file MiB"] = round(path.stat().st_size / 2**20, 1)
            result["in memory MiB"] = round(pq.ParquetFile(path).read().nbytes / 2**20)
            note(results, result)
            path.unlink()
    write("streaming", {"buffer": BUFFER, "sample": SAMPLE}, results, over_seeds(results, ("rows",), COLUMNS), PAGE)


if __name__ == "__main__":
    main()
