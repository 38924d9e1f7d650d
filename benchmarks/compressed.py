"""Tables compressed by models of any order, beside zstd, xz and Parquet, with and without the model's file.

python benchmarks/compressed.py DATA_FOLDER [--tables adult,support2] [--arrays digits] [--held-out] [--minutes 5]
    [--models FOLDER]

The folder holds the archives that benchmarks/tables.py reads. A model is fitted to four fifths of the rows (of adult to the
rows that it calls training rows), and compresses the others, which it has not seen, and all rows. Every file is read back,
and the table compared. The model's file is as `save` writes it, in float32.

Arrays are those of benchmarks/autoregressive.py, digits, letters or mnist: the rows that it scores, and all rows, unless
--held-out says these alone. A model of the folder is taken (NAME-SEED.safetensors), or else a PixelCNN is fitted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import autoregressive
import numpy as np
import pyarrow as pa
import torch
from tables import model_of, read
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.compression import compress, compress_array, decompress, decompress_array
from anabranch.compression.others import other_sizes, other_sizes_of_array
from anabranch.draws import drawing
from anabranch.models import Autoregressive
from anabranch.tables import TableModel, TableWarning, fit_table

PAGE = Path(__file__).parent.parent / "docs" / "compression.md"
BY = ("table", "rows", "as")
COLUMNS = {"bytes": ",.0f", "with the model": ",.0f", "bits a row": ",.1f", "times ours": ".2f"}
# how large a part of the rows a model does not see
HELD_OUT = 5


def parts(folder: Path, name: str, seed: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """All rows, those a model is fitted to, and those it is not."""
    table = read(folder / f"{name}.npz")
    archive = np.load(folder / f"{name}.npz", allow_pickle=False)
    drawn = np.random.default_rng(seed).permutation(table.num_rows) % HELD_OUT == 0
    out = archive["test"] if "test" in archive.files else drawn
    return table, table.filter(pa.array(~out)), table.filter(pa.array(out))


def sizes(model: TableModel | Autoregressive, x: Any, weight: int) -> list[Row]:
    """Rows of numbers of one table or array, ours first."""
    begun = time.perf_counter()
    found = compress(x, model) if isinstance(model, TableModel) else compress_array(x, model)
    between = time.perf_counter()
    if isinstance(model, TableModel):
        same = decompress(found.data, model).equals(x)
    else:
        same = np.array_equal(decompress_array(found.data, model), x)
    ended = time.perf_counter()
    if not same:
        raise AssertionError("what came back is not what was compressed")
    ours = len(found.data)
    others = other_sizes(x) if isinstance(model, TableModel) else other_sizes_of_array(x)
    rows: list[Row] = [
        {
            "as": "anabranch",
            "bytes": ours,
            "with the model": ours + weight,
            "model's -log2 p, bytes": found.model_bits / 8,
            "gaps, bytes": found.gaps / 8,
            "description, bytes": found.described,
            "tape over -log2 p and gaps": (ours - found.described) / (found.model_bits / 8 + found.gaps / 8),
            "cells kept": found.raw,
            "seconds to write": between - begun,
            "seconds to read": ended - between,
        }
    ]
    rows += [{"as": name, "bytes": size, "with the model": size} for name, size in others.items()]
    for row in rows:
        row |= {"bits a row": 8 * row["bytes"] / found.rows, "times ours": row["bytes"] / ours}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="adult,support2")
    parser.add_argument("--arrays", default="")
    parser.add_argument("--minutes", type=float, default=5, help="of each fit, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="only these rows of arrays, and not all of them")
    parser.add_argument("--models", type=Path, help="a folder to keep the models in, and to take them from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = earlier("compression")
    with tempfile.TemporaryDirectory() as temporary:
        models = arguments.models or Path(temporary)
        models.mkdir(parents=True, exist_ok=True)
        for name in filter(None, arguments.tables.split(",")):
            table, seen, unseen = parts(arguments.folder, name, arguments.seed)
            path = model_of(models, name, arguments.seed)
            if not path.exists():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TableWarning)
                    model, _ = fit_table(
                        seen, model="any-order", seed=arguments.seed, minutes=arguments.minutes, progress=False
                    )
                ab.save(model, path)
            model = ab.load(path)
            kept = noted(kept, name, arguments, model, {"held out": unseen, "all": table}, path)
        for name in filter(None, arguments.arrays.split(",")):
            train, validation, test, family = autoregressive.read(name, arguments.folder)
            path = model_of(models, name, arguments.seed)
            if not path.exists():
                with drawing(arguments.seed):
                    model, options = autoregressive.build(name, "pixelcnn", family, train.shape[1:])
                options = {**options, "epochs": None, "minutes": arguments.minutes, "patience": None}
                ab.fit(model, train, validation=validation, seed=arguments.seed, progress=False, **options)
                ab.save(model, path)
            model = ab.load(path)
            arrays = {"held out": test.numpy()}
            if not arguments.held_out:
                arrays["all"] = torch.cat([train, validation, test]).numpy()
            kept = noted(kept, name, arguments, model, arrays, path)


def noted(
    kept: list[Row], name: str, arguments: argparse.Namespace, model: Any, rows: dict[str, Any], path: Path
) -> list[Row]:
    """Rows of numbers with those of one table or array in place of earlier ones, written down."""
    kept = [row for row in kept if row["table"] != name]
    for which, some in rows.items():
        setting = {"table": name, "rows": f"{which} ({len(some):,})", "seed": arguments.seed}
        for row in sizes(model, some, path.stat().st_size):
            note(kept, {**setting, "fit": f"{arguments.minutes:g} min", **row})
    write("compression", {"minutes": arguments.minutes}, kept, over_seeds(kept, BY, COLUMNS), PAGE)
    return kept


if __name__ == "__main__":
    main()
