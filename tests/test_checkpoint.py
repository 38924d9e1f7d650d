"""Fits that go on from a file: the same weights bit for bit, whatever ended them and when."""

import json
import os
import subprocess
import sys
import threading
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import anabranch as ab
from anabranch.fingerprint import fingerprint
from anabranch.objectives import Annihilation, Consistency, Likelihood, Objective
from anabranch.tables import TableStream, fit_table
from anabranch.testing import randomize
from anabranch.training import Muon
from anabranch.training.checkpoint import Checkpoint
from anabranch.training.loop import Loop
from anabranch.training.packing import pack, unpack


def rows(count=200, seed=0):
    return 3 + 2 * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def with_gaps(count=120):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    return x.masked_fill(torch.rand(count, 3, generator=generator) < 0.2, torch.nan)


def small_flow():
    with ab.drawing(0):
        return ab.Flow(ab.flows.maf(features=2, blocks=2, hidden=(8,)))


def any_order():
    with ab.drawing(0):
        return ab.models.AnyOrder(3, hidden=8)


def mixture():
    with ab.drawing(0):
        posterior = ab.networks.MLP(2, 4, hidden=(8,))
        components = [ab.densities.Normal.standard(2) for _ in range(4)]
        model = ab.FlowMixture(components, heads="affine", posterior=posterior)
        randomize(model, 0.3)
    return model


QUICK = {"epochs": 6, "batch_size": 50, "seed": 0, "progress": False}


def shaken(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator) * torch.rand(())


# what is fitted, to which rows, how
FITS = {
    "flow": (small_flow, rows, {"average": 0.9, "noise": 0.3}),
    "patience": (small_flow, rows, {"learning_rate": 0.3, "patience": 2, "epochs": 30}),
    "completion": (any_order, with_gaps, {"epochs": 8}),
    "labels": (
        mixture,
        rows,
        {"objective": lambda: Likelihood(labels_until=0.5) + Consistency(0.1), "labels": torch.arange(200) % 5 - 1},
    ),
    "annihilation": (
        mixture,
        rows,
        {"objective": lambda: Likelihood() + Annihilation(support=2), "epochs": 12},
    ),
    "weights": (small_flow, rows, {"weights": torch.arange(200) % 3, "validation": 0, "weight_decay": 0.1}),
    "momentum": (small_flow, rows, {"optimizer": partial(torch.optim.SGD, momentum=0.9), "augment": shaken}),
    "muon": (small_flow, rows, {"optimizer": Muon, "learning_rate": 2e-2, "weight_decay": 0.1}),
    "budget": (small_flow, rows, {"minutes": 100.0, "epochs": 10, "average": 0.9}),
}


def options_of(name):
    _, _, options = FITS[name]
    made = {key: value() if key == "objective" else value for key, value in options.items()}
    return QUICK | made


def fitted(name, **options):
    build, data, _ = FITS[name]
    density = build()
    history = ab.fit(density, data(), **options_of(name) | options)
    return density, history


class Killed(BaseException):
    """Ends a fit as a kill would, in the midst of a step, without a word to the checkpoint."""


@pytest.fixture
def killing(monkeypatch):
    """Let the next fits end after so many steps, or looks at a clock."""

    def after(steps):
        real, left = Loop._look, [steps]

        def look(loop, *arguments):
            real(loop, *arguments)
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        monkeypatch.setattr(Loop, "_look", look)
        return lambda: monkeypatch.setattr(Loop, "_look", real)

    return after


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", FITS)
def test_a_fit_that_was_killed_again_and_again_ends_with_the_same_weights(name, tmp_path, killing):
    alone, expected = fitted(name)
    steps = (1, 4, 2, 7)
    for some in steps:
        restore = killing(some)
        with pytest.raises(Killed):
            fitted(name, checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=0.0)
        restore()
    density, history = fitted(name, checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=0.0)
    assert same(alone, density)
    plain, wanted = history.to_dict(), expected.to_dict()
    for record in (*plain["epochs"], *wanted["epochs"]):
        record["seconds"] = 0.0
    assert plain == wanted


def test_a_file_is_written_now_and_then(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, state, seconds, finished=False: written.append(finished))
    fitted("flow", checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=1e9)
    assert written == [
        False,
        True,
    ]  # at the beginning, so that a file that cannot be written is told at once; and the end


class TestGoesOn:
    """From a file that is there."""

    def test_a_fit_that_has_ended_gives_what_it_gave(self, tmp_path):
        density, history = fitted("flow", checkpoint=tmp_path / "fit.ckpt")
        seen = []
        again, repeated = fitted("flow", checkpoint=tmp_path / "fit.ckpt", callback=seen.append)
        assert same(density, again) and repeated == history and not seen

    def test_what_an_objective_had_found_too(self, tmp_path):
        def found():
            objective = Annihilation(support=2)
            fitted("annihilation", objective=Likelihood() + objective, checkpoint=tmp_path / "fit.ckpt")
            return objective.found, objective.lengths

        assert found() == found() != (None, {})

    def test_a_fit_that_a_callback_stopped_goes_on(self, tmp_path):
        alone, _ = fitted("flow")
        options = {"checkpoint": tmp_path / "fit.ckpt"}
        _, stopped = fitted("flow", callback=lambda epoch: epoch.epoch == 2, **options)
        seen = []
        density, history = fitted("flow", callback=seen.append, **options)
        assert (stopped.stopped, history.stopped) == ("callback", "epochs")
        assert [epoch.epoch for epoch in seen] == [3, 4, 5, 6] and len(history.epochs) == 6
        assert same(alone, density)

    def test_without_a_seed_that_of_the_file_is_taken(self, tmp_path, killing):
        restore = killing(5)
        with pytest.raises(Killed):
            fitted("flow", seed=None, checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=0.0)
        restore()
        density, history = fitted("flow", seed=None, checkpoint=tmp_path / "fit.ckpt")
        alone, _ = fitted("flow", seed=history.seed)
        assert same(alone, density)

    def test_time_that_was_used_counts(self, tmp_path, killing, monkeypatch):
        class Clock:
            now = 0.0

            def __call__(self):
                self.now += 1.0
                return self.now

        monkeypatch.setattr(sys.modules["anabranch.training.fit"], "perf_counter", Clock())
        options = {"minutes": 2.0, "epochs": None, "checkpoint": tmp_path / "fit.ckpt", "checkpoint_seconds": 0.0}
        restore = killing(60)
        with pytest.raises(Killed):
            fitted("budget", **options)
        restore()
        _, history = fitted("budget", **options)
        assert history.stopped == "minutes"
        assert history.epochs[-1].seconds == pytest.approx(120, abs=3)

    def test_the_device_and_what_watches_may_be_others(self, tmp_path, killing):
        restore = killing(5)
        with pytest.raises(Killed):
            fitted("flow", checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=0.0)
        restore()
        alone, _ = fitted("flow")
        density, _ = fitted(
            "flow", device="cpu", keep=True, checkpoint=tmp_path / "fit.ckpt", callback=lambda epoch: None
        )
        assert same(alone, density)

    def test_a_table_and_a_stream(self, tmp_path, killing):
        x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).double().numpy()
        pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 0] + x[:, 1]}), tmp_path / "table.parquet")
        for kind, source in (
            ("table", pq.read_table),
            ("stream", lambda path: TableStream(path, sample=100, buffer=64)),
        ):

            def made(source=source, **options):
                quick = {"blocks": 1, "hidden": (8,), "epochs": 3, "batch_size": 32, "progress": False}
                return fit_table(source(tmp_path / "table.parquet"), model="flow", **quick, **options)

            alone, report = made()
            restore = killing(7)
            with pytest.raises(Killed):
                made(checkpoint=tmp_path / kind, checkpoint_seconds=0.0)
            restore()
            model, again = made(checkpoint=tmp_path / kind)
            assert same(alone, model) and again.scores == report.scores and again.steps == report.steps


def forge(file, change):
    """Write the file anew, with fingerprints that are right, and a header or state changed."""
    with safe_open(file, framework="pt") as opened:
        about = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    header = json.loads(about["anabranch checkpoint"])
    state = unpack(header["state"], tensors)
    header, state = change(header, state)
    if state is not None:
        plain, packed = pack(state)
        tensors = {name: value.contiguous().clone() for name, value in packed.items()}
        header |= {"state": plain, "tensors": fingerprint(tensors)}
    text = json.dumps(header)
    save_file(tensors, file, metadata={"anabranch checkpoint": text, "fingerprint": fingerprint({}, text)})


def without(*names):
    def change(header, state):
        place = header
        for name in names[:-1]:
            place = place[name]
        del place[names[-1]]
        return header, None

    return change


def instead(value, *names):
    def change(header, state):
        place = header
        for name in names[:-1]:
            place = place[name]
        place[names[-1]] = value
        return header, None

    return change


def in_state(where, value):
    def change(header, state):
        place = state
        for name in where[:-1]:
            place = place[name]
        place[where[-1]] = value
        return header, state

    return change


# changes of a header whose fingerprints are right all the same
CRAFTED = {
    **{f"no {' '.join(names)}": without(*names) for names in [
        ("format",), ("finished",), ("fit",), ("state",), ("tensors",), ("fit", "density"), ("fit", "rows"),
        ("fit", "settings"), ("fit", "settings", "seed"), ("fit", "density", "description"), ("fit", "density", "weights"),
    ]},
    **{f"{' '.join(names)} is {value!r}": instead(value, *names) for value, *names in [
        ({}, "state"), (None, "state"), ([], "state"), (3, "state"), ("text", "state"), ({"odd": 1}, "state"),
        ({"mapping": 3}, "state"), ({"mapping": [["a"]]}, "state"), ({"mapping": [[["list"], 1]]}, "state"),
        ({"mapping": []}, "state"), ({"tensor": "none"}, "state"), ({"tensor": []}, "state"), ({"epoch": 3}, "state"),
        ({"float": "abc"}, "state"), ({"float": None}, "state"), ({"floats": "none"}, "state"), ({"tuple": None}, "state"),
        ({"epoch": {"mapping": []}}, "state"), ({"mapping": [], "tuple": []}, "state"),
        (None, "fit"), ([], "fit"), ({}, "fit"), ("yes", "finished"), (None, "finished"), (None, "fit", "rows"),
        ([], "fit", "settings"), ("0", "fit", "settings", "seed"), (None, "fit", "density"),
    ]},
    "a list": lambda header, state: ([header], None),
    "nothing": lambda header, state: (None, None),
}  # fmt: skip

MIDWAY = [
    (("steps_done",), "three"),
    (("steps_done",), -1),
    (("steps_done",), 1.5),
    (("odd",), 1),
    (("epochs",), [1]),
    (("epochs",), None),
    (("best_epoch",), 99),
    (("used",), "long"),
    (("density",), {}),
    (("density",), None),
    (("average",), (0,)),
    (("average",), (0, [torch.zeros(3)])),
    (("optimiser",), None),
    (("optimiser",), {}),
    (("optimiser", "param_groups"), []),
    (("course",), {}),
    (("course", "ended"), 3),
    (("course", "ended"), "epochs"),
    (("course", "odd"), 3),
    (("dealer",), {}),
    (("dealer", "dealt"), -2),
    (("dealer", "generator"), torch.zeros(3)),
    (("dealer", "generator"), None),
    (("kept",), {}),
    (("kept", "best"), {}),
    (("objective",), None),
    (("objective", "terms"), []),
    (("total",), torch.zeros(2)),
]


SCALE = 1.0


def scaled(x, generator):
    return x * SCALE


class Jitter:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x, generator):
        return x + self.scale * torch.randn(x.shape, generator=generator)

    def other(self, x, generator):
        return x * self.scale


class Slotted:
    __slots__ = ("scale",)

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x, generator):
        return x * self.scale


class Shift(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.register_buffer("by", torch.full((2,), scale))

    def forward(self, x, generator):
        return x + self.by


def of_class(scale):
    class Times:
        factor = scale

        def __call__(self, x, generator):
            return x * self.factor

    return Times()


def adding(by):
    return lambda x, generator: x + torch.as_tensor(by)


def calling(inner):
    return lambda x, generator: 1.0 * inner(x, generator)


# they differ in the innermost function alone
twice, thrice = (
    lambda x, generator: torch.func.vmap(lambda row: row * 2)(x),
    lambda x, generator: torch.func.vmap(lambda row: row * 3)(x),
)


def with_global(function):
    def make(value, monkeypatch):
        monkeypatch.setitem(globals(), "SCALE", value)
        return function

    return make


def keyword(x, generator, *, scale=1.0):
    return x * scale


def with_keyword(scale, monkeypatch):
    monkeypatch.setattr(keyword, "__kwdefaults__", {"scale": scale})
    return keyword


# what changes the rows, by a number
CHANGERS = {
    "an object": lambda scale, _: Jitter(scale),
    "its method": lambda scale, _: Jitter(scale).other,
    "slots": lambda scale, _: Slotted(scale),
    "a module": lambda scale, _: Shift(scale),
    "an attribute of a class": lambda scale, _: of_class(scale),
    "around": lambda scale, _: lambda x, generator: x * scale,
    "a tensor around": lambda scale, _: adding(torch.full((2,), scale)),
    "an array around": lambda scale, _: adding(np.full(2, scale, np.float32)),
    "a function around": lambda scale, _: calling(Jitter(scale)),
    "a default": lambda scale, _: lambda x, generator, by=scale: x + by,
    "a keyword": with_keyword,
    "partial": lambda scale, _: partial(keyword, scale=scale),
    "a global of a lambda": with_global(lambda x, generator: x * SCALE),
    "a global of a named function": with_global(scaled),
    "a global of a function that it calls": with_global(lambda x, generator: scaled(x, None)),
    "a global of a nested function": with_global(lambda x, generator: torch.func.vmap(lambda row: row * SCALE)(x)),
    "a cache": lambda scale, _: calling(lru_cache(lambda x, generator: x * scale)),
    "without gradients": lambda scale, _: torch.no_grad()(lambda x, generator: x * scale),
    "nested code": lambda scale, _: twice if scale < 1 else thrice,
}


class TestRefuses:
    """Files of other fits, and torn ones: one line, and nothing is overwritten."""

    @pytest.fixture
    def file(self, tmp_path, killing):
        restore = killing(5)
        with pytest.raises(Killed):
            fitted("labels", checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=0.0)
        restore()
        return tmp_path / "fit.ckpt"

    def complaint(self, file, build=mixture, x=None, **options):
        before = file.read_bytes()
        with pytest.raises(ValueError, match=r"^checkpoint: ") as caught:
            ab.fit(build(), rows() if x is None else x, checkpoint=file, **options_of("labels") | options)
        assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
        assert "\n" not in str(caught.value) and str(file) in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                {"learning_rate": 0.02},
                "of another one: learning_rate was 0.005 and is 0.02; name another file, or remove it",
            ),
            ({"epochs": 7, "seed": 1}, "another one: epochs was 6 and is 7; seed was 0 and is 1; name"),
            ({"validation": 0.2}, "another one: validation was 0.1 and is 0.2; name"),
            ({"validation": torch.zeros(3, 2)}, "the rows are others (validation x)"),
            ({"x": rows() + 1}, "another one: the rows are others (x); name"),
            ({"labels": torch.arange(200) % 3}, "another one: the rows are others (labels); name"),
            ({"weights": torch.ones(200)}, "another one: the rows are others (weights); name"),
            ({"objective": Likelihood() + Consistency(0.2)}, "'change': 0.1"),
            ({"build": lambda: randomize(mixture(), 0.1)}, "another one: the density began with other weights; name"),
            (
                {"build": lambda: ab.densities.GaussianMixture(torch.zeros(4, 2), learnable=True)},
                "the density is another",
            ),
            ({"minutes": 3.0}, "minutes was None and is 3.0"),
            ({"augment": shaken}, "augment was None and is 'shaken "),
            (
                {"optimizer": partial(torch.optim.SGD, momentum=0.8)},
                "is ['torch.optim.sgd.SGD', [], {'momentum': 0.8}]",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else " ".join(value),
    )
    def test_what_differs_is_said(self, file, change, said):
        assert said in self.complaint(file, **change)

    def test_functions_without_a_name_are_told_by_their_code(self, tmp_path):
        def by(momentum):
            return lambda groups: torch.optim.SGD(groups, momentum=momentum)

        file = tmp_path / "fit.ckpt"
        first, _ = fitted("labels", optimizer=by(0.5), checkpoint=file)
        assert same(first, fitted("labels", optimizer=by(0.5), checkpoint=file)[0])
        for other in (by(0.6), lambda groups: torch.optim.SGD(groups, momentum=0.5)):
            assert "optimizer was 'TestRefuses" in self.complaint(file, optimizer=other)

    @pytest.mark.parametrize("name", CHANGERS)
    def test_what_a_function_or_an_object_reads_counts(self, tmp_path, monkeypatch, name):
        file, make = tmp_path / "fit.ckpt", CHANGERS[name]
        fitted("labels", augment=make(0.1, monkeypatch), checkpoint=file)
        fitted("labels", augment=make(0.1, monkeypatch), checkpoint=file)
        assert "augment was " in self.complaint(file, augment=make(5.0, monkeypatch))

    def test_a_name_that_no_function_reads_does_not_count(self, tmp_path, monkeypatch):
        file, changed = tmp_path / "fit.ckpt", lambda x, generator: x + 0 * SCALE
        fitted("labels", augment=changed, checkpoint=file)
        monkeypatch.setitem(globals(), "OTHER", object())
        fitted("labels", augment=changed, checkpoint=file)

    @pytest.mark.parametrize("held", [threading.Lock(), (i for i in ())], ids=lambda held: type(held).__name__)
    def test_what_cannot_be_told_is_refused(self, tmp_path, held):
        jitter = Jitter(0.1)
        jitter.held = held
        for augment in (lambda x, generator: (held, x)[1], jitter):
            with pytest.raises(
                ValueError, match=r"^augment: expected what a checkpoint can tell .*leave that"
            ) as caught:
                fitted("labels", augment=augment, checkpoint=tmp_path / "fit.ckpt")
            assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
            fitted("labels", augment=augment)

    def test_a_torn_file_or_one_that_was_edited(self, file):
        whole = file.read_bytes()
        for cut in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:cut])
            assert "remove it to begin anew" in self.complaint(file)
        generator = torch.Generator().manual_seed(0)
        for place in torch.randint(len(whole), (60,), generator=generator).tolist():
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            self.complaint(file)

    @pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
    @pytest.mark.parametrize("finished", [False, True], ids=["midway", "finished"])
    def test_a_crafted_file(self, file, change, finished):
        if finished:
            fitted("labels", checkpoint=file)
        forge(file, change)
        density = mixture()
        before = {name: value.clone() for name, value in density.state_dict().items()}
        assert "remove it to begin anew" in self.complaint(file, build=lambda: density)
        assert all(torch.equal(value, before[name]) for name, value in density.state_dict().items())

    @pytest.mark.parametrize(("where", "value"), MIDWAY, ids=[" ".join(map(str, where)) for where, _ in MIDWAY])
    def test_a_crafted_state_of_a_fit_that_goes_on(self, file, where, value):
        forge(file, in_state(where, value))
        assert "remove it to begin anew" in self.complaint(file)

    @pytest.mark.parametrize(
        ("where", "value"),
        [
            (("history",), None),
            (("history", "rows"), "many"),
            (("history", "best_epoch"), 99),
            (("history", "best_epoch"), None),
            (("history", "epochs"), [{"epoch": 1}]),
            (("history", "epochs"), 3),
            (("history", "schedule"), {"warmup": 1}),
            (("history", "odd"), 1),
            (("objective",), {"ended": 0}),
            (("density",), {}),
        ],
    )
    def test_a_crafted_result(self, file, where, value):
        fitted("labels", checkpoint=file)
        forge(file, in_state(where, value))
        assert "remove it to begin anew" in self.complaint(file)

    def test_other_files_and_folders(self, tmp_path):
        file = tmp_path / "model"
        ab.save(small_flow(), file)
        assert "another file; name one that is not there yet" in self.complaint(file)
        file.unlink()
        file.mkdir()
        with pytest.raises(ValueError, match="is a folder"):
            fitted("flow", checkpoint=file)
        with pytest.raises(FileNotFoundError, match="does not exist"):
            fitted("flow", checkpoint=tmp_path / "none" / "fit.ckpt")

    def test_a_later_format(self, file, monkeypatch):
        monkeypatch.setattr("anabranch.training.checkpoint._FORMAT", 2)
        assert "in format 1, and this version" in self.complaint(file)

    def test_an_objective_with_a_state_that_no_file_holds(self, tmp_path):
        class Odd(Objective):
            def __init__(self):
                self.model = small_flow()

            def __call__(self, batch):
                return batch.density.loss(batch.x)

        with pytest.raises(TypeError, match=r"\['objective'\]\['model'\] is a .*Flow, which no file can hold"):
            fitted("flow", objective=Odd(), checkpoint=tmp_path / "fit.ckpt")

    def test_seconds_below_zero(self, tmp_path):
        with pytest.raises(ValueError, match="checkpoint_seconds"):
            fitted("flow", checkpoint=tmp_path / "fit.ckpt", checkpoint_seconds=-1.0)


@pytest.mark.slow
def test_fifty_kills():
    script = Path(__file__).parents[1] / "benchmarks" / "kills.py"
    command = [sys.executable, str(script), "--kills", "50", "--only", "flow"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 50 times" in done.stdout
