"""Transforms of torch.distributions, and so those of zuko and pyro, as blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import positive_int
from anabranch.transforms.domain import of_features, some_point
from anabranch.transforms.transform import Transform


class TorchTransform(Transform):
    r"""z = t(x) for a `torch.distributions.Transform` t, or for a module that gives one from a context.

    A transform of numbers (such as `ExpTransform`) is applied to each feature, and its log-derivatives are summed. The
    tensors inside a `torch.distributions.Transform` are its own: they stay on their device and are not trained. Those of
    a module are trained with the model. (A zuko lazy transform is such a module: calling it with a context, or with None,
    returns a transform.)

    Args:
        transform: the transform, or a module that returns one when it is called with the context.
        features: number of features, if only one number will do.
        context: size of the context that the module takes, 0 for none.

    Raises:
        ValueError: it is neither, or it is not a bijection.

    Example:
        >>> import torch
        >>> from anabranch.transforms import TorchTransform
        >>> TorchTransform(torch.distributions.transforms.ExpTransform())(torch.zeros(2))
        (tensor([1., 1.]), tensor(0.))
    """

    def __init__(
        self,
        transform: torch.distributions.transforms.Transform | nn.Module,
        features: int | None = None,
        context: int = 0,
    ) -> None:
        super().__init__(
            None if features is None else (positive_int("features", features),),
            (positive_int("context", context),) if context else None,
        )
        if isinstance(transform, torch.distributions.transforms.Transform):
            if not transform.bijective:
                raise ValueError(f"transform: expected a bijection, got {type(transform).__name__}")
            self.event_dim = max(1, transform.domain.event_dim)
        elif not isinstance(transform, nn.Module):
            raise ValueError(f"transform: expected a torch.distributions Transform, got {type(transform).__name__}")
        self.transform = transform

    @property
    def domain(self) -> Constraint:
        """The transform's own; that of a module is not known, and taken to be everything."""
        return self._where("domain")

    @property
    def codomain(self) -> Constraint:
        """The transform's own; that of a module is not known, and taken to be everything."""
        return self._where("codomain")

    def _where(self, which: str) -> Constraint:
        if isinstance(self.transform, nn.Module):
            return constraints.real_vector
        found: Constraint = getattr(self.transform, which)
        # of domains that are no intervals (simplices, matrices) torch's own formulas say what is outside
        return constraints.real_vector if some_point(found) is None else of_features(found, self.event_dim)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, t = self._at(x, context)
        z = t(x)
        return z, self._per_event(t, t.log_abs_det_jacobian(x, z))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, t = self._at(z, context)
        x = t.inv(z)
        return x, -self._per_event(t, t.log_abs_det_jacobian(x, z))

    def _at(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, torch.distributions.transforms.Transform]:
        if not isinstance(self.transform, nn.Module):
            return x, self.transform
        # in a chain the context of other blocks comes here too
        context = None if self.context_shape is None else context
        if context is not None:
            # such modules expect a context for every row
            batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
            x, context = x.expand(*batch, -1), context.expand(*batch, -1)
        found = self.transform(context)
        if not isinstance(found, torch.distributions.transforms.Transform):
            raise ValueError(f"transform: expected a module that gives a Transform, it gave {type(found).__name__}")
        return x, found

    def _per_event(self, t: torch.distributions.transforms.Transform, log_det: Tensor) -> Tensor:
        extra = self.event_dim - t.domain.event_dim
        return log_det.sum(dim=tuple(range(-extra, 0))) if extra else log_det
