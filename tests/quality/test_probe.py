"""The linear probe: scikit-learn's regression, and its error on the same images."""

from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.labels import Attributes
from gentrain.errors import UserError
from gentrain.models.base import Encodes, GenerativeModel
from gentrain.quality.base import error_of
from gentrain.quality.probe import LinearProbe, balanced_rows, logistic_regression
from tests.support.toy import Noise

CPU = torch.device("cpu")


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_the_regression_is_scikit_learns(C: float) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 7, generator=draw, dtype=torch.float64)
    y = (x[:, :3] + torch.randn(60, 3, generator=draw)).argmax(1)
    with torch.inference_mode():  # as a caller may be
        weight, bias = logistic_regression(x, y, 3, C)
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(weight, torch.tensor(theirs.coef_), atol=1e-4, rtol=1e-4)
    found, wanted = bias - bias.mean(), torch.tensor(theirs.intercept_)
    torch.testing.assert_close(found, wanted - wanted.mean(), atol=1e-4, rtol=1e-4)


class Stripes(Noise):
    """Noise whose class a code of three numbers tells better than pixels do."""

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(len(split))
        y = torch.arange(240) % 3
        images = torch.randint(256, (240, *self.shape), generator=draw, dtype=torch.uint8)
        images[torch.arange(240), 0, y] //= 2
        return ArrayDataset(images, y)


class Rows(GenerativeModel, Encodes):
    """Codes are means of rows, features their first two; nothing is made."""

    generator = ema_generator = None

    def sample(self, batch: Any, noise: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        assert not self.training
        return x[:, 0, :3].mean(2)

    def features(self, x: Tensor) -> Tensor | None:
        return self.encode(x)[:, :2]


class Plain(Rows):
    def features(self, x: Tensor) -> Tensor | None:
        return None


def data() -> Stripes:
    return Stripes(name="stripes", shape=(1, 6, 6), classes=3, batch_size=8)


def test_the_error_is_that_of_scikit_learns_probe() -> None:
    source, model = data(), Rows()
    metric = LinearProbe(labels=[9, 60], draws=2, C=0.5, batch_size=50, seed=4)
    metric.split = "test"
    metric.check(source, model)
    scores = metric.compute(source, model, CPU)
    train, test = source.load("train"), source.load("test")
    x, u = to_float(train.images), to_float(test.images)
    model.eval()
    views = {"codes": model.encode, "features": model.features, "pixels": lambda v: v.flatten(1)}
    names = set()
    for name, view in views.items():
        for n in (9, 60):
            errors = []
            for draw in range(2):
                rows = balanced_rows(train.labels, n // 3, 3, 4, draw)
                assert torch.bincount(train.labels[rows]).tolist() == [n // 3] * 3
                assert len(set(rows.tolist())) == n
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
                probe.fit(view(x[rows]).double().numpy(), train.labels[rows].numpy())
                right = probe.score(view(u).double().numpy(), test.labels.numpy())
                errors.append(1 - right)
            mean = sum(errors) / 2
            assert scores[f"probe_{name}_{n}"] == pytest.approx(mean, abs=2 / 240)
            sd = abs(errors[0] - errors[1]) / 2**0.5
            assert scores[f"probe_{name}_{n}_sd"] == pytest.approx(sd, abs=4 / 240)
            names |= {f"probe_{name}_{n}", f"probe_{name}_{n}_sd"}
    assert scores.keys() == names
    assert scores["probe_codes_60"] < scores["probe_pixels_60"] - 0.05
    assert error_of("probe_codes_60", scores) == "probe_codes_60_sd"
    assert error_of("probe_pixels_9", scores) == "probe_pixels_9_sd"
    other = LinearProbe(labels=[9], draws=1, seed=5)
    assert "probe_features_9" not in other.compute(source, Plain(), CPU)
    assert not any(name.endswith("_sd") for name in other.compute(source, Plain(), CPU))
    assert other.protocol(source, model)["seed"] == 5


def test_what_cannot_be_probed() -> None:
    metric, source = LinearProbe(labels=[9]), data()
    metric.check(source, Rows())
    for labels, words in (
        ([10], "multiples of 3"),
        ([270], "at most 216"),
        ([9, 2], "multiples of 3"),
    ):
        with pytest.raises(UserError, match=rf"quality\.labels.*{words}"):
            LinearProbe(labels=labels).check(source, Rows())
    told = Rows()
    told.labelled = True
    with pytest.raises(UserError, match="given the label"):
        metric.check(source, told)
    source.label_kind = Attributes(("a", "b", "c"))
    with pytest.raises(UserError, match="several attributes"):
        metric.check(source, Rows())
