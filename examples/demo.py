"""The main job on bundled real data: fit, score, sample, look. `make demo` runs this."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet

import anabranch.datasets

OUTPUT = Path("demo")


def run(command: str) -> None:
    """Show a command, run it, stop if it fails."""
    print(f"\n$ {command}", flush=True)
    program = Path(sys.executable).parent / "anabranch"
    # Steps of this size gain nothing from a second thread, and lose much to it where the machine has other work.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([program, *shlex.split(command)[1:]], check=True, env=environment)


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    table = anabranch.datasets.load_magic()
    measured = table.drop_columns(["gamma"])
    pyarrow.parquet.write_table(measured, OUTPUT / "magic.parquet")
    print(f"MAGIC gamma telescope: {measured.num_rows:,} rows, {measured.num_columns} columns, in demo/magic.parquet")

    run("anabranch fit demo/magic.parquet -o demo/magic.safetensors --epochs 12")
    run("anabranch score demo/magic.safetensors demo/magic.parquet -o demo/scored.parquet")
    run("anabranch sample demo/magic.safetensors -n 1000 -o demo/new.csv --seed 0")
    run("anabranch info demo/magic.safetensors")

    scored = pyarrow.parquet.read_table(OUTPUT / "scored.parquet").sort_by("log_likelihood")
    print("\nThe three least likely rows (nats):")
    for row in scored.slice(0, 3).select(["fLength", "fWidth", "fSize", "log_likelihood"]).to_pylist():
        print("  " + "  ".join(f"{name} {value:.3f}" for name, value in row.items()))
    print("\nWritten to demo/:")
    for path in sorted(OUTPUT.iterdir()):
        print(f"  {path.name:20s} {path.stat().st_size / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()
