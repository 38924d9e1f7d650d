"""The bundled tables."""

import numpy as np
import pytest

from anabranch import datasets


def test_magic():
    table = datasets.load_magic()
    assert table.shape == (19_020, 11)
    assert np.bincount(table["gamma"].to_numpy()).tolist() == [6_688, 12_332]
    # a shower's axis points at the source for gamma rays, anywhere for hadrons
    alpha, gamma = table["fAlpha"].to_numpy(), table["gamma"].to_numpy()
    assert alpha[gamma == 1].mean() < 20
    assert alpha[gamma == 0].mean() > 40
    assert all(np.isfinite(column.to_numpy()).all() for column in table.columns)


def test_penguins():
    table = datasets.load_penguins()
    assert table.num_rows == 344
    assert table["bill_length_mm"].null_count == 2
    assert table["sex"].null_count == 11


def test_names_and_licences():
    for name in ("magic", "penguins"):
        assert datasets.path(name).is_file()
        assert datasets.path(name).name in (datasets.path(name).parent / "README.md").read_text()
    with pytest.raises(ValueError, match="expected one of 'magic', 'penguins', got 'iris'"):
        datasets.path("iris")
