"""What the encoder of model=bigan has learned of digits after 1,000 steps: slow, since it must be
trained (some 3 minutes of a core).
"""

import lightning as L
import pytest
import torch
from torch import Tensor

from gentrain.config import validate
from gentrain.config.build import build
from gentrain.data.arrays import to_float
from gentrain.training.datamodule import DataModule
from tests.support.compose import composed


def probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Test accuracy of a logistic regression with little weight decay, on standardised features."""
    (f, y), (g, t) = train, test
    mean, sd = f.mean(0), f.std(0) + 1e-3
    f, g = (f - mean) / sd, (g - mean) / sd
    layer = torch.nn.Linear(f.shape[1], 10)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(f), y) + 1e-2 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return float((layer(g).argmax(1) == t).float().mean())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_codes_of_digits() -> None:
    """Reconstructions are nearer than other images', and of 100 labels a linear probe makes more of
    the codes than of the pixels.
    """
    checked = validate.check(composed("model=bigan", "experiment=codes", "data=mnist_5k"))
    model, data = build(checked["model"], "model"), build(checked["data"], "data")
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=1000,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(build(checked["scheme"], "scheme", model=model), datamodule=DataModule(data))
    (x, y), (u, t) = (
        (to_float(images), labels) for images, labels, _ in (data.load("train"), data.load("test"))
    )
    own, other = model.reconstruct(u), model.reconstruct(u.roll(7, 0))
    assert (own - u).flatten(1).norm(dim=1).mean() < 0.95 * (other - u).flatten(1).norm(
        dim=1
    ).mean()
    views = {"codes": model.encode, "pixels": lambda images: images.flatten(1)}
    of_class = [(y == k).nonzero()[:, 0] for k in range(10)]
    found: dict[str, float] = dict.fromkeys(views, 0.0)
    for draw in range(5):
        g = torch.Generator().manual_seed(draw)
        few = torch.cat([rows[torch.randperm(len(rows), generator=g)[:10]] for rows in of_class])
        for name, view in views.items():
            found[name] += probe((view(x[few]), y[few]), (view(u), t)) / 5
    print(f"probe on 100 labels: {found}")
    assert found["codes"] > found["pixels"] + 0.02
