"""Rows in files that are mapped into memory: fitted from where they are, like those in memory."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.checks import finite_rows
from anabranch.training.mapped import mapped_tensor
from anabranch.training.part import Part
from anabranch.training.rows import read_rows

QUICK = {"epochs": 3, "batch_size": 60, "seed": 0, "progress": False}


def flow(context=0):
    with ab.drawing(0):
        return ab.Flow(ab.flows.maf(features=2, context=context, blocks=2, hidden=(8,)))


def saved(tmp_path, values, name="x"):
    np.save(tmp_path / f"{name}.npy", values)
    return np.load(tmp_path / f"{name}.npy", mmap_mode="r")


def numbers(dtype="<f4", count=200):
    return (100 * np.random.default_rng(0).standard_normal((count, 2))).astype(dtype)


def same(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8", "<i2", "<i8", "<u2"])
def test_the_same_fit_as_that_of_an_array_in_memory(dtype, tmp_path):
    x, context = numbers(dtype), np.linspace(-1, 1, 200)[:, None]
    one, other = flow(context=1), flow(context=1)
    options = {"weights": np.arange(200) % 3, "noise": 0.1, "augment": lambda x, _: x.mul_(0.01), **QUICK}
    ab.fit(one, x, context, **options)
    file = saved(tmp_path, x)
    ab.fit(other, file, saved(tmp_path, context, "context"), **options)
    assert same(one, other)
    np.testing.assert_array_equal(file, x)


def test_slices_and_validation_rows(tmp_path):
    x = numbers()
    one, other = flow(), flow()
    ab.fit(one, x[20:160:2], validation=x[160:], **QUICK)
    file = saved(tmp_path, x)
    ab.fit(other, file[20:160:2], validation=file[160:], **QUICK)
    assert same(one, other)


def test_nothing_is_copied_by_reading_and_splitting(tmp_path):
    for values, dtype in ((numbers(), torch.float32), (numbers("<f8"), torch.float64)):
        file = saved(tmp_path, values)
        part = Part(read_rows(flow(), file, None))
        for some in (part, *part.split(0.1, torch.Generator().manual_seed(0))):
            assert (some.rows.x.data_ptr(), some.rows.x.dtype) == (file.ctypes.data, dtype)
            assert some.take(torch.tensor([3])).x.dtype == torch.float32
    x = torch.from_numpy(numbers())
    assert Part(read_rows(flow(), x, None)).split(0.1, torch.Generator())[0].rows.x.data_ptr() == x.data_ptr()


def test_what_torch_cannot_read_where_it_is_is_read_as_any_array(tmp_path):
    for values in (numbers(">f4"), numbers("<u2"), numbers().astype(np.longdouble)):
        assert mapped_tensor(saved(tmp_path, values)) is None
    file = saved(tmp_path, numbers())
    assert mapped_tensor(file[::-1]) is None and mapped_tensor(np.array(file)) is None
    assert mapped_tensor(np.asarray(file)[2:]) is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.__setitem__((150, 1), np.nan), "got nan in row 150, column 1 (1 of 200 rows hold one)"),
        (lambda x: x.__setitem__(slice(7, None, 50), 1e300), "got inf in row 7, column 0 (4 of 200 rows hold one)"),
    ],
)
def test_numbers_that_are_not_finite_are_told_from_piece_to_piece(change, said, tmp_path, monkeypatch):
    monkeypatch.setattr("anabranch.checks._AT_ONCE", 64)
    x = numbers("<f8")
    change(x)
    with pytest.raises(ValueError, match=re.escape(said)):
        ab.fit(flow(), saved(tmp_path, x), **QUICK)
    with pytest.raises(ValueError, match=re.escape(said)):
        finite_rows("x", torch.from_numpy(x).float())


def test_whole_numbers_beyond_what_floats_hold(tmp_path):
    x = numbers("<i8")
    x[3, 1] = 2**60
    with pytest.raises(ValueError, match="whole numbers up to 2\\^53, got 1152921504606846976 in row 3, column 1"):
        ab.fit(flow(), saved(tmp_path, x), **QUICK)


def test_a_start_and_a_mixture_from_a_file(tmp_path):
    x = numbers("<f8") + 500 * (np.arange(200) % 2)[:, None]
    mixture = ab.FlowMixture([ab.densities.Normal.standard(2) for _ in range(2)], heads="affine")
    assigned = ab.start_from(mixture, saved(tmp_path, x), seed=0)
    assert len(set(assigned[::2].tolist())) == len(set(assigned[1::2].tolist())) == 1
    assert ab.fit(mixture, saved(tmp_path, x), labels=assigned, **QUICK).rows == 180


IN_A_PROCESS = """
import resource
from pathlib import Path

import numpy as np
import torch

import anabranch as ab

torch.set_num_threads(1)
file = np.load(PATH, mmap_mode="r")
density = ab.densities.Bernoulli(torch.zeros(1, 28, 28), learnable=True)
small = {"batch_size": 1024, "validation": 0.01, "minutes": 0.005, "seed": 0, "progress": False}
# what is set up once, by the first fit of a process
ab.fit(density, file[:4000], **small)
# pages of files that are only read do not count
lines = Path("/proc/self/status").read_text().splitlines()
now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (now + 130 * 2**20, resource.getrlimit(resource.RLIMIT_DATA)[1]))
try:
    np.array(file)
except MemoryError:
    pass
else:
    raise SystemExit("the limit does not hold")
history = ab.fit(density, file, **small)
assert history.rows + history.validation_rows == len(file)
assert history.epochs[-1].validation < 700
print("fitted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a limit")
@pytest.mark.slow
def test_a_fit_to_200_megabytes_of_images_takes_less_memory_than_they_would(tmp_path):
    path = tmp_path / "images.npy"
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (200 * 2**20 // 784, 1, 28, 28))
    file[::1000] = 1
    file.flush()
    # a process of its own: the limit would end threads of this one
    script = IN_A_PROCESS.replace("PATH", repr(str(path)))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.stdout == "fitted\n", ended.stderr
