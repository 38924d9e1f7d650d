"""Files keep their meaning: those of earlier versions give the numbers that were written with them."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import anabranch as ab

FOLDER = Path(__file__).parent / "golden"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def tensor(values):
    return None if values is None else torch.tensor(np.array(values, dtype=np.float32))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_file_gives_the_numbers_that_were_written_with_it(name):
    entry = EXPECTED[name]
    model = ab.load(FOLDER / f"{name}.safetensors")
    if isinstance(entry["x"], str):
        scores = getattr(model, entry["method"])(pd.read_csv(io.StringIO(entry["x"]), parse_dates=["seen"]))
    else:
        given = [tensor(value) for value in (entry["x"], entry["context"]) if value is not None]
        with torch.no_grad():
            keywords = {"generator": 0} if entry["method"] == "estimate" else {}
            scores = getattr(model.eval(), entry["method"])(*given, **keywords)
    scores = np.asarray(scores[0] if isinstance(scores, tuple) else scores, dtype=np.float64).ravel()
    wanted, errors = (np.array(entry[name], dtype=np.float64) for name in ("scores", "errors"))
    # an estimate may draw in another order
    assert (np.abs(scores - wanted) <= 1e-5 * (1 + np.abs(wanted)) + 5 * errors).all(), (scores, wanted)


def test_every_file_has_its_numbers():
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == set(EXPECTED)


def test_every_kind_of_density_has_a_file():
    kinds = {entry["kind"] for entry in EXPECTED.values()}
    public = {name for package in (ab.densities, ab.models) for name in package.__all__}
    for name in public:
        part = getattr(ab.densities, name, None) or getattr(ab.models, name)
        concrete = isinstance(part, type) and issubclass(part, ab.densities.Density) and not part.__abstractmethods__
        # an alias (VAE) is the class that it names
        assert not concrete or part.__name__ in kinds, f"{name} has no golden file; run tests/golden/write.py"
