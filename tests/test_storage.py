"""Model files: equal numbers back, whole or not at all, and clear words about what is no model."""

import itertools
import json
import random
import signal
import struct
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import anabranch as ab
from anabranch.fingerprint import fingerprint
from anabranch.storage import read_metadata


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ab.DepthMixture(ab.flows.nsf(features=3, blocks=2, hidden=(8,)))


def test_equal_numbers_and_no_trace_in_the_generator(model, tmp_path):
    path = tmp_path / "model.safetensors"
    x = torch.randn(20, 3)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    ab.save(model, path)
    loaded = ab.load(path)
    assert torch.equal(torch.rand(2), expected)
    assert type(loaded) is ab.DepthMixture
    assert torch.equal(loaded.log_prob(x), model.log_prob(x))


def test_float64_is_kept(model, tmp_path):
    ab.save(model.double(), tmp_path / "m.safetensors")
    loaded = ab.load(tmp_path / "m.safetensors")
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(loaded.log_prob(x), model.log_prob(x))


def test_the_header_is_readable_json(model, tmp_path):
    path = tmp_path / "m.safetensors"
    ab.save(model, path, metadata={"rows": 17})
    with safe_open(path, framework="pt") as opened:
        header = json.loads(opened.metadata()["anabranch"])
    assert header["description"]["class"] == "anabranch.models.DepthMixture"
    assert header["version"] == ab.__version__
    assert read_metadata(path)["metadata"] == {"rows": 17}


def test_truncation_changes_the_saved_model_too(model, tmp_path):
    shallow = model.truncate(1)
    ab.save(shallow, tmp_path / "m.safetensors")
    x = torch.randn(5, 3)
    assert torch.equal(ab.load(tmp_path / "m.safetensors").log_prob(x), shallow.log_prob(x))


def test_shared_parts_stay_shared(tmp_path):
    layer = ab.transforms.LULinear(2)
    chain = ab.transforms.Chain({"a": layer, "b": ab.transforms.Permutation([1, 0]), "c": layer})
    ab.save(chain, tmp_path / "m.safetensors")
    loaded = ab.load(tmp_path / "m.safetensors")
    assert loaded.blocks["a"] is loaded.blocks["c"]


def test_tied_parameters_stay_tied(tmp_path):
    class Tied(ab.networks.Network):
        def __init__(self):
            super().__init__(2, 2)
            self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
            self.two.weight = self.one.weight

        def forward(self, x, context=None):
            return self.two(self.one(x))

    network = Tied()
    with torch.no_grad():
        network.one.weight.mul_(3)
    ab.save(network, tmp_path / "m.safetensors")
    loaded = ab.load(tmp_path / "m.safetensors")
    assert loaded.one.weight is loaded.two.weight
    assert torch.equal(loaded(torch.ones(2)), network(torch.ones(2)))


def test_a_plain_module_inside_is_refused_by_name(tmp_path):
    class Odd(ab.networks.Network):
        def __init__(self, inner):
            super().__init__(2, 2)
            self.inner = inner

        def forward(self, x, context=None):
            return self.inner(x)

    path = tmp_path / "m.safetensors"
    with pytest.raises(TypeError, match=r"Odd\.inner is a torch\.nn\.modules\.linear\.Linear"):
        ab.save(Odd(nn.Linear(2, 2)), path)
    assert list(tmp_path.iterdir()) == []


def test_replaced_parts_are_refused(model, tmp_path):
    model.chain.blocks["spline_1"].blocks["layer"].network.layers[0] = nn.Linear(3, 4)
    with pytest.raises(ValueError, match="parts were replaced after the model was built"):
        ab.save(model, tmp_path / "m.safetensors")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        ab.load(tmp_path / "none.safetensors")


def test_missing_folder(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        ab.save(model, tmp_path / "nowhere" / "m.safetensors")


def test_truncated_file(model, tmp_path):
    path = tmp_path / "m.safetensors"
    ab.save(model, path)
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a safetensors file, or truncated"):
            ab.load(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(ValueError, match="not a safetensors file"):
        ab.load(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not one that anabranch wrote"):
        ab.load(path)
    with pytest.raises(ValueError, match="got a folder"):
        ab.load(tmp_path)


def edit_header(path, change, signed=True):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    outer = json.loads(data[8 : 8 + size])
    header = json.loads(outer["__metadata__"]["anabranch"])
    change(header)
    outer["__metadata__"]["anabranch"] = json.dumps(header)
    if signed:
        outer["__metadata__"]["fingerprint"] = fingerprint({}, outer["__metadata__"]["anabranch"])
    text = json.dumps(outer).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format=99), "in format 99"),
        (lambda h: h.update(format=1), "in format 1, without the settings that were defaults then"),
        (lambda h: h.pop("format"), "header is damaged"),
        (lambda h: h["description"].update({"class": "os.system"}), "class os.system, which is not defined"),
        (lambda h: h["description"]["arguments"].update(nonsense=1), "does not take the described arguments"),
        (lambda h: h["description"]["arguments"].update(hidden={"tuple": [7]}), "weights do not fit its description"),
        (lambda h: h["description"]["arguments"].update(gate="nothing"), "gate: expected one of"),
        (lambda h: h["description"]["arguments"].update(base={"tensor": "argument.7"}), "damaged"),
        (lambda h: h["description"]["arguments"].update(base={"code": "1"}), "unknown kind of value"),
        (lambda h: h.pop("description"), "damaged"),
        (lambda h: h.update(description=["no mapping"]), "damaged"),
        (lambda h: h.update(description={}), "damaged"),
        (lambda h: h.update(metadata=None), "damaged"),
        (lambda h: h["description"].pop("arguments"), "damaged"),
        (lambda h: h["description"]["arguments"].update(base=nested(150)), "damaged"),
        (lambda h: h["description"]["arguments"].update(base=nested(400)), "damaged"),
        (lambda h: h["description"]["arguments"].update(hidden={"tuple": [200_000, 200_000]}), "asks for"),
        (lambda h: h["description"]["arguments"].update(hidden={"tuple": [10**30]}), "Overflow"),
    ],
)
def test_edited_headers(model, tmp_path, change, message):
    path = tmp_path / "m.safetensors"
    ab.save(model, path)
    edit_header(path, change)
    with pytest.raises(ValueError, match=message):
        ab.load(path)


def test_an_edit_that_is_not_signed_is_found(model, tmp_path):
    path = tmp_path / "m.safetensors"
    ab.save(model, path)
    edit_header(path, lambda h: h["metadata"].update(rows=7), signed=False)
    for read in (ab.load, read_metadata):
        with pytest.raises(ValueError, match="header is not the one that was saved"):
            read(path)


def test_every_flipped_bit_is_found(model, tmp_path):
    path, other = tmp_path / "m.safetensors", tmp_path / "flipped.safetensors"
    ab.save(model, path)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(100):
        place = rng.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        other.write_bytes(flipped)
        with pytest.raises(ValueError):
            ab.load(other)


def test_tensors_that_changed_places_are_found(tmp_path):
    path = tmp_path / "m.safetensors"
    ab.save(ab.densities.Normal(torch.tensor([1.0, 2.0, 3.0]), 2 * torch.ones(3)), path)
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    outer = json.loads(data[8 : 8 + size])
    names = [name for name in outer if name.startswith("state.")]
    for one, two in itertools.combinations(names, 2):
        if outer[one]["shape"] == outer[two]["shape"]:
            swapped = outer | {one: outer[two], two: outer[one]}
            text = json.dumps(swapped).encode()
            path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
            with pytest.raises(ValueError, match="its tensors are not those that were saved"):
                ab.load(path)
            return
    pytest.fail("no two tensors of one shape")


def test_defaults_are_stored(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    spline = ab.transforms.Elementwise(ab.transforms.RationalQuadraticSpline(), features=2)
    ab.save(spline, path)
    stored = read_metadata(path)["description"]["arguments"]["univariate"]["arguments"]
    assert stored == {"bins": 8, "bound": 5.0, "least": None, "max_ratio": 4.0, "unit_tails": False}
    x = torch.tensor([0.5, 7.0])
    want = spline(x)
    monkeypatch.setattr(ab.transforms.RationalQuadraticSpline.__init__, "__defaults__", (8, 99.0, None, 4.0, False))
    torch.testing.assert_close(ab.load(path)(x), want, rtol=0, atol=0)


def test_a_failed_save_keeps_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    ab.save(model, path)
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        ab.save(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_kill_in_the_middle_of_a_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "m.safetensors"
    script = f"""
import time, torch, anabranch as ab, safetensors.torch as st
normal = ab.densities.Normal(torch.zeros(2))
ab.save(normal, {str(path)!r})
write = st.save_file
def slow(tensors, name, metadata):
    open(name, "wb").write(b"half")
    print("writing", flush=True)
    time.sleep(60)
st.save_file = slow
ab.save(normal, {str(path)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait(timeout=30)
        process.stdout.close()
    assert ab.load(path).event_shape == (2,)


def test_permissions_are_those_of_an_ordinary_file(model, tmp_path):
    path = tmp_path / "m.safetensors"
    (tmp_path / "plain").write_text("")
    ab.save(model, path)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def replaced_permutation():
    chain = ab.transforms.Chain({"swap": ab.transforms.Permutation([2, 0, 1])})
    chain.blocks["swap"] = ab.transforms.Permutation([1, 2, 0])
    return chain


def replaced_spline():
    layer = ab.transforms.Elementwise(ab.transforms.RationalQuadraticSpline(bins=4, bound=3.0), features=3)
    layer.univariate = ab.transforms.RationalQuadraticSpline(bins=4, bound=5.0)
    return layer


def turned_round():
    flow = ab.Flow(ab.transforms.Chain([ab.transforms.Householder(3)]))
    flow.transform = ab.transforms.Inverse(flow.transform)
    return flow


def changed_buffer():
    layer = ab.transforms.Permutation([2, 0, 1])
    layer.order.copy_(torch.tensor([0, 1, 2]))
    return layer


@pytest.mark.parametrize("build", [replaced_permutation, replaced_spline, turned_round, changed_buffer])
def test_a_part_replaced_by_one_of_equal_shapes_is_refused(build, tmp_path):
    with pytest.raises(ValueError, match="is not as the constructor made it; parts were replaced"):
        ab.save(build(), tmp_path / "m.safetensors")


def test_models_of_other_dtypes_are_as_their_constructors_made_them(model, tmp_path):
    for dtype in (torch.float64, torch.bfloat16):
        ab.save(ab.Flow(ab.flows.nsf(2, blocks=1)).to(dtype), tmp_path / "m.safetensors")


def test_frozen_parameters_stay_frozen(model, tmp_path):
    model.chain.blocks["spline_1"].requires_grad_(False)
    model.eval()
    ab.save(model, tmp_path / "m.safetensors")
    loaded = ab.load(tmp_path / "m.safetensors")
    assert loaded.training
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in loaded.named_parameters()} == wanted
    assert len(set(wanted.values())) == 2


@pytest.mark.parametrize("kind", ["CatTransform", "StackTransform"])
def test_a_torch_transform_that_forgets_its_arguments_is_refused_by_name(kind, tmp_path):
    parts = torch.distributions.transforms
    transform = getattr(parts, kind)([parts.ExpTransform(), parts.SigmoidTransform()], dim=-1)
    with pytest.raises(TypeError, match=rf"TorchTransform\.transform is a torch.*{kind}, which cannot be described"):
        ab.save(ab.transforms.TorchTransform(transform), tmp_path / "m.safetensors")
