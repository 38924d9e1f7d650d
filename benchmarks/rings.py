"""Whether the consistency term finds two rings by itself: a variational mixture of flows from several kinds of starts.

python benchmarks/rings.py

Likelihood, plus 50 times the consistency of the posterior between nearest neighbours, plus 50 times its information. The
spectral start is where the gallery begins; "random" is a network's own, k-means cuts both rings in two halves.
"""

import torch
from trials import Row, note, over_seeds, write

import anabranch as ab
from anabranch.draws import drawing
from anabranch.gallery.results import clusters_of, scores
from anabranch.gallery.toys import TOYS, Rows, untrained
from anabranch.objectives import Batch, Consistency, Information, Likelihood

OPTIONS = {"epochs": 60, "batch_size": 512, "learning_rate": 5e-3, "patience": None}
WEIGHT = 50.0
RANDOM = 3


def fitted(start: str, number: int, rows: Rows, seed: int) -> ab.FlowMixture:
    toy = TOYS["circles"]()
    with drawing(seed):
        mixture = untrained(toy, 100 * seed + number, posterior=True)
        if start != "random":
            ab.start_from(mixture, rows.x, start, epochs=20, seed=seed)
        objective = Likelihood() + WEIGHT * Consistency("neighbours") + WEIGHT * Information()
        ab.fit(mixture, rows.x, objective=objective, seed=seed, progress=False, compile=False, **OPTIONS)
    return mixture.eval()


def inconsistency(mixture: ab.FlowMixture, rows: Rows, seed: int) -> float:
    """The mean over the training rows of what the consistency term is, nats."""
    term = Consistency("neighbours")
    term.prepare(Batch(mixture, rows.x, None, None, torch.arange(len(rows.x)), 0.0), epochs=0)
    with drawing(seed), torch.no_grad():
        numbers = torch.arange(len(rows.x)).repeat(20)
        return float(term(Batch(mixture, rows.x[numbers], None, None, numbers, 0.0)).mean())


def main(seeds: int = 4) -> None:
    """Fit, score, print and write."""
    rows: list[Row] = []
    for seed in range(seeds):
        data = Rows(TOYS["circles"](), seed)
        for start in ("spectral", "k-means", *["random"] * RANDOM):
            mixture = fitted(start, len(rows), data, seed)
            accuracy = scores(data.test_classes, clusters_of(mixture, data.test))["accuracy"]
            term = inconsistency(mixture, data, seed)
            likelihood = data.score(mixture)
            row = {"start": start, "seed": seed, "accuracy": accuracy, "consistency term": term}
            note(rows, row | {"log-likelihood": likelihood})
    forms = {"accuracy": ".3f", "consistency term": ".4f", "log-likelihood": ".3f"}
    write("rings", OPTIONS | {"weight": WEIGHT}, rows, over_seeds(rows, ("start",), forms))


if __name__ == "__main__":
    main()
