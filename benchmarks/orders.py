"""How far the orders of a model of any order are apart, and what training for agreement costs.

python benchmarks/orders.py DATA_FOLDER [--tables california,adult] [--seeds 0,1,2] [--epochs 30]

Three losses, the rest as in `fit_table(epochs=30)`, so that all take as many steps: random sets of known columns alone
(orderless NADE), a quarter of the rows in the order of the joint, and that with the term that compares two orders, which
is the default. Of test rows, in nats:

- the joint: the mean log p in the order of the joint; random orders: the mean over ORDERS others;
- average: the mean of the log of the average density of all these, which is another exact density;
- spread: the standard deviation of a row's log p over orders, its mean over rows;
- most: the difference between the highest and the lowest order, its 99 % quantile over rows.

Adult has 15,000 of its rows, drawn by the seed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tables import read
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.draws import drawing
from anabranch.models import AnyOrder
from anabranch.models.order_loss import OrderLoss
from anabranch.models.orders import fullest_first
from anabranch.tables import Schema
from anabranch.training.pace import ANY_ORDER
from anabranch.training.splitting import split_rows

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
ORDERS, ROWS = 20, 15_000
BY = ("table", "loss")
COLUMNS = {
    "the joint": ".3f",
    "random orders": ".3f",
    "average": ".3f",
    "spread": ".3f",
    "most": ".2f",
    "processor minutes": ".1f",
}
# share of the rows in order, weight of the agreement
LOSSES = {"random sets": (0.0, 0.0), "and in order": (0.25, 0.0), "and agreement": (0.25, 0.1)}


def table_of(folder: Path, name: str, seed: int) -> pd.DataFrame:
    """Rows as a user has them."""
    arrays = np.load(folder / f"{name}.npz", allow_pickle=False)
    if "num" in arrays:
        frame = read(folder / f"{name}.npz").to_pandas()
    else:
        frame = pd.DataFrame(arrays["x"], columns=[str(name) for name in arrays["names"]])
    return frame.sample(min(len(frame), ROWS), random_state=seed) if name == "adult" else frame


def fitted(frame: pd.DataFrame, loss: str, seed: int, epochs: int) -> Row:
    """A fit by one of the losses, and its numbers of test rows."""
    train, validate, test = split_rows(len(frame), seed)
    schema = Schema.infer(frame, rows=train)
    x = schema.encode(frame)[0]
    rows = [schema.tensor(x[index], torch.float32) for index in (train, validate, test)]
    in_order, agreement = LOSSES[loss]
    with drawing(seed):
        families = schema.families()
        model = AnyOrder(families, order=fullest_first(rows[0], families), agreement=agreement)
    model._order_loss = OrderLoss(model.network, [model.order], agreement, in_order)
    model.initialize(rows[0])
    begun = time.process_time()
    pace = ANY_ORDER.options(len(train), epochs)
    history = ab.fit(model, rows[0], validation=rows[1], **pace, seed=seed, progress=False)
    seconds = time.process_time() - begun
    log_det = schema.log_det(x[test])
    with torch.no_grad(), drawing(0):
        joint = model.log_prob(rows[2]).double().numpy() + log_det
        others = model.log_prob_of_orders(rows[2], ORDERS).double().numpy() + log_det[:, None]
    every = np.concatenate([joint[:, None], others], axis=1)
    return {
        "the joint": float(joint.mean()),
        "random orders": float(others.mean()),
        "average": float((np.logaddexp.reduce(every, axis=1) - np.log(every.shape[1])).mean()),
        "spread": float(every.std(axis=1).mean()),
        "most": float(np.quantile(np.ptp(every, axis=1), 0.99)),
        "processor minutes": seconds / 60,
        "best epoch": history.best_epoch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="california,adult")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = earlier("orders")
    for name in arguments.tables.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            frame = table_of(arguments.folder, name, seed)
            for loss in LOSSES:
                row: Row = {"table": name, "loss": loss, "seed": seed}
                found = [one for one in found if tuple(one[key] for key in row) != tuple(row.values())]
                note(found, row | fitted(frame, loss, seed, arguments.epochs))
    setting = {"orders": ORDERS, "rows of adult": ROWS, "epochs": arguments.epochs}
    write("orders", setting, found, over_seeds(found, BY, COLUMNS), PAGE)


if __name__ == "__main__":
    main()
