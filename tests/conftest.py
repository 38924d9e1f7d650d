"""What all tests share: one thread, and short baselines."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Products are tiny here, and sums are the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _short_baselines():
    """The densities beside which a table's model is reported take most of the time of a short fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anabranch.tables.baselines._STEPS", 20)
        yield
