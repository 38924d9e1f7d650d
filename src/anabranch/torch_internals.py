"""PyTorch's private names that the library uses, all in this file, and what stands in where a version has one no longer.

Each stand-in keeps every number right: the modes are then taken to be on, and the plain operations run. `MISSING` says which
names were not there, and the log says it once; a test expects none in the version installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_LOG = logging.getLogger("anabranch")
MISSING: list[str] = []


def private(module: str, name: str, stand_in: Any) -> Any:
    """The name of a module of PyTorch; the stand-in, noted in `MISSING`, where there is none."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        MISSING.append(f"{module}.{name}")
        _LOG.warning("torch %s has no %s: slower operations stand in for it", torch.__version__, MISSING[-1])
        return stand_in


def yes(*_: Any) -> bool:
    """What is said of a mode that cannot be told: it is on."""
    return True


def lerp_each(ends: Sequence[Tensor], towards: Sequence[Tensor], weight: float) -> None:
    """Move tensors in place towards others, one by one, by that share of the way."""
    for end, goal in zip(ends, towards, strict=True):
        end.lerp_(goal, weight)


def gamma_by_distribution(concentration: Tensor) -> Tensor:
    """Draws of Gamma(concentration, 1), of the same shape, by the public class."""
    return torch.distributions.Gamma(concentration, torch.ones_like(concentration)).sample()


def leaves(tree: Any) -> list[Any]:
    """What lies in tuples, lists and dictionaries within each other."""
    if isinstance(tree, (tuple, list, dict)):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]
    return [tree]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tuples, lists and dictionaries with a function of every leaf."""
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(function, part) for part in tree)
    return function(tree)


class NoDispatchMode:
    """Refuses a block that would look on at operations; all that needs none works."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """As PyTorch's."""
        return True

    def __enter__(self) -> NoDispatchMode:
        raise RuntimeError(
            f"torch: expected a version with torch.utils._python_dispatch.TorchDispatchMode, got {torch.__version__}; "
            "install one that has it, such as 2.9"
        )

    def __exit__(self, *_: object) -> None: ...


# Whether a transform of `torch.func` is active.
functorch_is_active: Callable[[], bool] = private("torch._C", "_are_functorch_transforms_active", yes)

# Whether `torch.autograd.grad(is_grads_batched=True)`, which batches in a way of its own, has batched a tensor.
is_legacy_batched: Callable[[Tensor], bool] = private("torch._C._functorch", "is_legacy_batchedtensor", yes)

# Of the functions that `torch.distributions` draws by, those that are private.
standard_gamma: Callable[[Tensor], Tensor] = private("torch", "_standard_gamma", gamma_by_distribution)
sample_dirichlet: Callable[..., Tensor] = private("torch", "_sample_dirichlet", yes)

foreach_lerp: Callable[[Sequence[Tensor], Sequence[Tensor], float], None] = private(
    "torch", "_foreach_lerp_", lerp_each
)

# The modes under which functions run, and how to take them off and put them on. Without all three none is told: what is
# compiled then runs, and is compiled anew, with the modes on.
function_modes: Callable[[], list[Any]] = private("torch.overrides", "_get_current_function_mode_stack", list)
push_function_mode: Callable[[Any], None] = private("torch.overrides", "_push_mode", yes)
pop_function_mode: Callable[[], Any] = private("torch.overrides", "_pop_mode", yes)
if yes in (push_function_mode, pop_function_mode):
    function_modes = list

if TYPE_CHECKING:
    from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode
    from torch.utils._pytree import tree_leaves, tree_map
else:
    DispatchMode = private("torch.utils._python_dispatch", "TorchDispatchMode", NoDispatchMode)
    tree_leaves = private("torch.utils._pytree", "tree_leaves", leaves)
    tree_map = private("torch.utils._pytree", "tree_map", mapped)

private("torch.autograd.forward_ad", "_current_level", None)


def leaves_updates_out(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser makes no update where its attribute `found_inf`, a tensor on the device, is 1.

    Fused optimisers say so to `torch.amp.GradScaler` by an attribute. Without it the answer is no, and a fit looks at the
    tensor before each update.
    """
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def forward_mode() -> bool:
    """Whether tangents are computed along, by `torch.func.jvp` or `torch.autograd.forward_ad`."""
    # read anew each time, and by name: a compiler watches it
    return forward_ad._current_level >= 0


if "torch.autograd.forward_ad._current_level" in MISSING:
    forward_mode = yes

__all__ = [
    "MISSING",
    "DispatchMode",
    "foreach_lerp",
    "forward_mode",
    "function_modes",
    "functorch_is_active",
    "is_legacy_batched",
    "leaves_updates_out",
    "pop_function_mode",
    "private",
    "push_function_mode",
    "sample_dirichlet",
    "standard_gamma",
    "tree_leaves",
    "tree_map",
]
