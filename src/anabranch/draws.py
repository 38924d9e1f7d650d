"""Where random numbers come from: one generator for all that is drawn within a block, in this thread alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from anabranch.checks import seed_number
from anabranch.torch_internals import (
    DispatchMode,
    function_modes,
    pop_function_mode,
    push_function_mode,
    sample_dirichlet,
    standard_gamma,
)

_THREAD = threading.local()


def drawing(
    source: torch.Generator | int | None, alike: int | None = None, recorded: bool = False
) -> AbstractContextManager[None]:
    """Take every random number that PyTorch draws within the block, in this thread, from a generator.

    Functions of the library that draw take a generator or a seed themselves, and so need no block; it serves for what
    takes none, such as the initial weights of a model. PyTorch's global generators are neither read nor set within, so
    that other threads, and draws of the caller's own, are what they would be without the block. Blocks may be nested: the
    inner one has the draws. A call that is given a generator keeps it. Other devices than the generator's get one each,
    from a seed that is drawn from it.

    Args:
        source: a `torch.Generator`, which goes on from where it is; or a seed for a new one; None changes nothing.
        alike: a dimension along which all numbers of `torch.rand`, `randn` and their `_like` are the same, if there is one:
            what is drawn for one element then depends on no other.
        recorded: whether the generator is registered with the CUDA graph that is recorded within the block.

    Raises:
        ValueError: anything else.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> def first_weight():
        ...     with ab.drawing(0):
        ...         return next(ab.flows.realnvp(features=2).parameters())
        >>> torch.equal(first_weight(), first_weight())
        True
    """
    return nullcontext() if source is None else _block(_Source(source, alike, recorded))


@contextmanager
def calling_compiled(draws: bool = True) -> Iterator[None]:
    """For calls of what `torch.compile` made: it would compile anew within a block, and its graphs take no generators.

    Args:
        draws: whether anything may be drawn in the call, which then gets its seeds from the block's generator.
    """
    mode = getattr(_THREAD, "mode", None)
    stack = function_modes()
    if mode is None or mode not in stack:
        yield
        return
    above = stack[stack.index(mode) + 1 :]
    for _ in (mode, *above):
        pop_function_mode()
    for other in above:
        push_function_mode(other)
    _THREAD.mode = None
    try:
        with nullcontext() if mode.source is None or not draws else _Operations(mode.source):
            yield
    finally:
        _THREAD.mode = mode
        for _ in above:
            pop_function_mode()
        for other in (mode, *above):
            push_function_mode(other)


class _Source:
    """A generator for every device that draws."""

    def __init__(self, source: Any, alike: int | None = None, recorded: bool = False) -> None:
        self.alike, self.recorded = alike, recorded
        self.made: dict[torch.device, torch.Generator] = {}
        if isinstance(source, torch.Generator):
            self.made[_numbered(source.device)] = source
            self.seed: Callable[[], int] = lambda: int(
                torch.randint(2**63 - 1, (), generator=source, device=source.device)
            )
        elif hasattr(source, "__index__"):
            number = seed_number(source)
            self.seed = lambda: number
        else:
            raise ValueError(f"generator: expected a torch.Generator or a seed, got {type(source).__name__}")

    def on(self, device: torch.device) -> torch.Generator | None:
        """The generator of a device; None where no numbers are, and where a CUDA graph is recorded that knows none."""
        if device.type == "meta":
            return None
        if device.type == "cuda":
            if torch.cuda.is_current_stream_capturing() and not self.recorded:
                return None
            device = _numbered(device)
        if device not in self.made:
            if self.recorded:  # a graph would repeat the numbers that are drawn now
                raise RuntimeError(f"random numbers are drawn on {device}")
            self.made[device] = torch.Generator(device).manual_seed(self.seed())
        return self.made[device]


def _numbered(device: torch.device) -> torch.device:
    """The device with its number: "cuda" is the current one."""
    if str(device) == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return device


class _Mode(TorchFunctionMode):
    """Hands the source's generator to whatever draws. There is one on a thread, whose source a block changes."""

    source: _Source | None = None

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        # A compiler knows no generators: what it makes draws a seed when it runs, and that draw comes by here.
        if function not in _DRAW or self.source is None or torch.compiler.is_compiling():
            return function(*arguments, **keywords) if keywords else function(*arguments)
        keywords = keywords or {}
        if keywords.get("generator") is not None:
            return function(*arguments, **keywords)
        if function in _WITHOUT_GENERATOR:
            with _Operations(self.source):
                return function(*arguments, **keywords)
        generator = self.source.on(_device(arguments, keywords))
        if generator is None:
            return function(*arguments, **keywords)
        if self.source.alike is not None and function in _BY_SHAPE:
            return _alike(function, self.source.alike, arguments, {**keywords, "generator": generator})
        return _WITH_GENERATOR.get(function, function)(*arguments, **{**keywords, "generator": generator})


class _Operations(DispatchMode):
    """The same one floor down, for functions of PyTorch that draw and take no generator, such as dropout."""

    def __init__(self, source: _Source) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.source = source

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """What is compiled runs compiled; the default is that it would not."""
        return True

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        keywords = keywords or {}
        if function is torch.ops.aten.native_dropout.default:
            return self._dropout(*arguments)
        if keywords.get("generator") is None and (drawing := _drawing_overload(function)):
            keywords = {**keywords, "generator": self.source.on(_device(arguments, keywords))}
            return drawing(*arguments, **keywords)
        return function(*arguments, **keywords)

    def _dropout(self, x: Tensor, p: float, train: bool | None = True) -> tuple[Tensor, Tensor]:
        """What CUDA has as one kernel that takes no generator."""
        if train is False:
            return x, torch.ones_like(x, dtype=torch.bool)
        kept = torch.empty_like(x).bernoulli_(1 - p, generator=self.source.on(x.device))
        return x * kept * (0.0 if p == 1 else 1 / (1 - p)), kept.bool()


@contextmanager
def _block(source: _Source | None) -> Iterator[None]:
    mode = getattr(_THREAD, "mode", None)
    if mode is None:
        mode = _THREAD.mode = _Mode()
        mode.source = source
        try:
            with mode:
                yield
        finally:
            _THREAD.mode = None
        return
    before, mode.source = mode.source, source
    try:
        yield
    finally:
        mode.source = before


@cache
def _drawing_overload(function: Any) -> Any:
    """The operation itself if it takes a generator, or its form that does; None for what draws nothing."""
    if any(argument.name == "generator" for argument in function._schema.arguments):
        return function
    if function in _WITH_GENERATOR:
        return _WITH_GENERATOR[function]
    return getattr(function.overloadpacket, "generator", None) if function._overloadname == "default" else None


def _device(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> torch.device:
    """Where a call draws."""
    if keywords.get("device") is not None:
        return torch.device(keywords["device"])
    for value in (*arguments, *keywords.values()):
        if isinstance(value, Tensor):
            return value.device
    return torch.get_default_device()


def _alike(function: Any, dim: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    """What `rand` and its kin give, the same along a dimension, and in every precision up to rounding."""
    if function in (torch.rand_like, torch.randn_like):
        like: Tensor = arguments[0]
        shape, keywords = like.shape, {"dtype": like.dtype, "device": like.device, **keywords}
    else:
        sizes = arguments or (keywords.pop("size"),)
        shape = torch.Size(sizes[0] if isinstance(sizes[0], (tuple, list)) else sizes)
    dtype = keywords.pop("dtype", None) or torch.get_default_dtype()
    one = torch.Size([min(1, size) if place == dim else size for place, size in enumerate(shape)])
    drawn = _BY_SHAPE[function](one, dtype=torch.float64, **keywords).to(dtype)
    if _BY_SHAPE[function] is torch.rand:
        drawn = drawn.clamp(max=1 - torch.finfo(dtype).eps / 2)  # 1 itself is not among them
    return drawn.expand(shape)


# Those whose numbers can be the same along a dimension, and what draws by a shape for them.
_BY_SHAPE: dict[Any, Callable[..., Tensor]] = {
    torch.rand: torch.rand,
    torch.rand_like: torch.rand,
    torch.randn: torch.randn,
    torch.randn_like: torch.randn,
}

# A compiled graph draws one seed for all of its random numbers.
_WITH_GENERATOR: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.randint.low_out: torch.ops.aten.randint.low_generator_out
}

_WITHOUT_GENERATOR = {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
    functional.rrelu,
    functional.gumbel_softmax,
    functional.multi_head_attention_forward,
    functional.scaled_dot_product_attention,
    torch.dropout,
    torch.dropout_,
    torch.alpha_dropout,
    torch.alpha_dropout_,
    torch.feature_dropout,
    torch.feature_dropout_,
    torch.feature_alpha_dropout,
    torch.feature_alpha_dropout_,
    torch.rrelu,
    torch.rrelu_,
    torch.lstm,
    torch.gru,
    torch.rnn_tanh,
    torch.rnn_relu,
}

_DRAW = {
    *_WITH_GENERATOR,
    *_WITHOUT_GENERATOR,
    torch.rand,
    torch.randn,
    torch.randint,
    torch.randperm,
    torch.rand_like,
    torch.randn_like,
    torch.randint_like,
    torch.normal,
    torch.bernoulli,
    torch.multinomial,
    torch.poisson,
    torch.binomial,
    standard_gamma,
    sample_dirichlet,
    Tensor.normal_,
    Tensor.uniform_,
    Tensor.exponential_,
    Tensor.bernoulli_,
    Tensor.bernoulli,
    Tensor.multinomial,
    Tensor.cauchy_,
    Tensor.geometric_,
    Tensor.log_normal_,
    Tensor.random_,
    nn.init.uniform_,
    nn.init.normal_,
    nn.init.trunc_normal_,
    nn.init.xavier_uniform_,
    nn.init.xavier_normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
    nn.init.orthogonal_,
    nn.init.sparse_,
}
