"""flowjax: flows in JAX and equinox, compiled by XLA."""

import torch
from torch import Tensor

from contest.case import BATCH, BINS, BLOCKS, BOUND, HIDDEN, LEARNING_RATE, Case, endlessly
from contest.entrant import Entrant


def entrant(case: Case, device: torch.device) -> Entrant:
    """Its premade flows, its own jitted training step with optax's Adam, `filter_jit` around log_prob and sample.

    Raises:
        ValueError: for a device other than the CPU.
    """
    if device.type != "cpu":
        raise ValueError("run on the CPU only")
    import equinox as eqx  # noqa: PLC0415 (a peer need not be installed)
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415
    import jax.random as jr  # noqa: PLC0415
    import optax  # noqa: PLC0415
    import paramax  # noqa: PLC0415
    from flowjax.bijections import RationalQuadraticSpline  # noqa: PLC0415
    from flowjax.distributions import Normal  # noqa: PLC0415
    from flowjax.flows import coupling_flow, masked_autoregressive_flow  # noqa: PLC0415
    from flowjax.train.losses import MaximumLikelihoodLoss  # noqa: PLC0415
    from flowjax.train.train_utils import step  # noqa: PLC0415

    recipe = {"coupling": coupling_flow, "autoregressive": masked_autoregressive_flow}[case.structure]
    # its `knots` are the inner ones: 7 of them part 8 bins
    spline = RationalQuadraticSpline(knots=BINS - 1, interval=BOUND) if case.univariate == "spline" else None
    flow = recipe(
        jr.key(0),
        base_dist=paramax.non_trainable(Normal(jnp.zeros(case.features))),
        transformer=spline,
        flow_layers=BLOCKS,
        nn_width=HIDDEN[0],
        nn_depth=len(HIDDEN),
        invert=True,  # scoring takes one pass
    )
    is_fixed = lambda leaf: isinstance(leaf, paramax.NonTrainable)  # noqa: E731
    parameters, static = eqx.partition(flow, eqx.is_inexact_array, is_leaf=is_fixed)
    optimizer, loss = optax.adam(LEARNING_RATE), MaximumLikelihoodLoss()
    state = {"parameters": parameters, "optimizer": optimizer.init(parameters), "key": jr.key(1)}
    batches = endlessly([jnp.asarray(batch) for batch in case.batches()])
    log_prob = eqx.filter_jit(lambda flow, x: flow.log_prob(x))
    sample = eqx.filter_jit(lambda flow, key: flow.sample(key, (BATCH,)))

    def train() -> None:
        updated, state["optimizer"], value = step(
            state["parameters"],
            static,
            next(batches),
            optimizer=optimizer,
            opt_state=state["optimizer"],
            loss_fn=loss,
        )
        state["parameters"] = jax.block_until_ready((updated, value))[0]

    def score() -> object:
        return log_prob(flow, next(batches)).block_until_ready()

    def draw() -> object:
        state["key"], key = jr.split(state["key"])
        return sample(flow, key).block_until_ready()

    def density(x: Tensor) -> Tensor:
        return torch.tensor(jax.device_get(log_prob(flow, jnp.asarray(x.numpy()))))

    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    notes = ["uses XLA's own threads, as many as the machine has cores"]
    if spline is not None:
        notes.append(
            f"its splines take {3 * BINS + 1} numbers, the two outermost slopes too, where ours take {3 * BINS - 1}"
        )
    return Entrant("flowjax", count, {"training": train, "log_prob": score, "sample": draw}, density, notes=notes)
