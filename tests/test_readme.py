"""The README's Python runs as it stands."""

import re
from pathlib import Path

import torch

import anabranch as ab

README = Path(__file__).parent.parent / "README.md"


def test_the_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    torch.manual_seed(0)
    x = torch.randn(400, 7)
    names = {"x": x}
    for block in blocks:
        exec(block, names)
    model = names["model"]
    assert isinstance(model, ab.DepthMixture)
    assert model.log_prob(x).shape == (400,)
    assert model.sample((1000,)).shape == (1000, 7)
    assert model.responsibilities(x).shape == (400, 5)
    assert 1 <= model.expected_depth() <= 5
    assert (tmp_path / "model.safetensors").exists()
    assert names["flow"].log_prob(names["flow"].sample((3,))).shape == (3,)
    assert names["density"].score_samples(x.numpy()).shape == (400,)
    assert (names["outliers"] == -1).sum() == 4
    rings, mixture = names["rings"], names["mixture"]
    assert mixture.log_prob(rings).shape == mixture.gap(rings).shape == (400,)


def test_the_page_on_estimators_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = README.parent / "docs" / "estimators.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["bayes"].score(names["new"], names["sorts_new"]) > 0.9
    assert names["model"].score_samples(names["new"]).shape == (len(names["new"]),)
    assert not names["imputer"].transform(names["gaps"]).isna().any(axis=None)
