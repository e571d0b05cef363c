"""The K + 1 classes of Salimans et al. (2016): the objective from probabilities, the few labels and
no others, a test error that falls.
"""

import itertools
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch

from gentrain.adversarial import tricks
from gentrain.adversarial.lipschitz import GradientPenalty
from gentrain.adversarial.regularizer import Regularizer
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.gan.gan import GAN
from gentrain.models.gan.semi_supervised import SemiSupervisedGAN
from gentrain.networks import mlp
from gentrain.networks.classifier import LogitCritic
from gentrain.quality.test_error import TestError
from gentrain.training.adversarial import AdversarialModule
from gentrain.training.callbacks.evaluation import Evaluation
from gentrain.training.datamodule import DataModule
from gentrain.training.job import refuse_labels
from tests.support.backbones import criterion

K, SHAPE = 3, [1, 8, 8]


def make(
    *chosen: Regularizer,
    lipschitz: Regularizer | None = None,
    critic: type = mlp.Critic,
    width: int = 32,
) -> SemiSupervisedGAN:
    return SemiSupervisedGAN(
        partial(mlp.Generator, shape=SHAPE, latent=8, width=32),
        partial(critic, shape=SHAPE, width=width),
        criterion(*chosen, lipschitz=lipschitz),
        classes=K,
    )


class Bars(Data):
    """Noisy images of a bright row: its number is the class.

    `hidden` replaces the labels of all images but the few.
    """

    hidden: int | None = None
    kept: ArrayDataset | None = None

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(int(split == "test"))
        y = torch.randint(K, (300,), generator=draw)
        images = torch.rand(300, *SHAPE, generator=draw) * 120
        images[torch.arange(300), 0, 2 * y + 1] += 110
        return ArrayDataset(images.byte(), y)

    def labelled_subset(self) -> ArrayDataset:
        if self.hidden is None:
            return super().labelled_subset()
        # the few are chosen first, and so are the same; then all labels are lost
        if self.kept is None:
            self.kept = super().labelled_subset()
            samples = self.load("train")
            self._samples["train"] = ArrayDataset(
                samples.images, torch.full_like(samples.labels, self.hidden)
            )  # type: ignore[arg-type]
        return self.kept


def bars(**changes: object) -> Bars:
    return Bars(
        **(
            {"name": "bars", "shape": (1, 8, 8), "classes": K, "batch_size": 20, "labelled": 15}
            | changes
        )
    )  # type: ignore[arg-type]


def logits(model: SemiSupervisedGAN, x: torch.Tensor) -> np.ndarray:
    return model.critic.logits(x).detach().double().numpy()


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    top = values.max(1)
    return top + np.log(np.exp(values - top[:, None]).sum(1))


def softplus(values: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(values))) + np.maximum(values, 0)


def test_the_objective_is_that_of_the_authors() -> None:
    """Their loss_lab and loss_unl in numpy (openai/improved-gan, train_mnist_feature_matching)."""
    model = make()
    with torch.no_grad():
        model.critic.critic.head.weight.mul_(20)
    images, x, y = torch.randn(6, *SHAPE), torch.randn(4, *SHAPE), torch.tensor([0, 2, 1, 1])
    torch.manual_seed(1)
    found = model.critic_loss((images, x, y)).losses
    torch.manual_seed(1)
    with torch.no_grad():
        fake = model.generate(model.generator, (images,))
    of_labelled, of_real, of_fake = (logits(model, v) for v in (x, images, fake))
    supervised = -of_labelled[range(4), y].mean() + log_sum_exp(of_labelled).mean()
    real, generated = log_sum_exp(of_real), log_sum_exp(of_fake)
    unsupervised = (
        -0.5 * real.mean() + 0.5 * softplus(real).mean() + 0.5 * softplus(generated).mean()
    )
    assert float(found["classification"].detach()) == pytest.approx(supervised, rel=1e-5)
    assert float(found["adversarial"].detach()) == pytest.approx(unsupervised, rel=1e-5)


def test_the_objective_is_that_of_k_plus_one_classes() -> None:
    """A softmax over K + 1 logits, the last of them zero, gives every term of the paper."""
    model = make()
    images, x, y = torch.randn(6, *SHAPE), torch.randn(4, *SHAPE), torch.tensor([0, 2, 1, 1])
    torch.manual_seed(1)
    objective = model.critic_loss((images, x, y))
    torch.manual_seed(1)
    with torch.no_grad():
        fake = model.generate(model.generator, (images,))

    def p(v: torch.Tensor) -> torch.Tensor:
        return torch.cat([model.classify(v), torch.zeros(len(v), 1)], 1).softmax(1)

    # log p(y | x, y < K + 1)
    supervised = -(p(x)[torch.arange(4), y] / p(x)[:, :K].sum(1)).log().mean()
    unsupervised = -(1 - p(images)[:, K]).log().mean() - p(fake)[:, K].log().mean()
    torch.testing.assert_close(objective.losses["classification"], supervised)
    # real images and fakes are half each
    torch.testing.assert_close(objective.losses["adversarial"], unsupervised / 2)
    score = model.critic(images)
    Z = model.classify(images).exp().sum(1)
    torch.testing.assert_close(score.sigmoid(), Z / (Z + 1))


def test_classes_are_named_by_averaged_weights() -> None:
    """mean <- d mean + (1 - d) theta, d = min(decay, (1 + t) / (10 + t))."""
    model, x = make(), torch.randn(5, *SHAPE)
    model.decay = 0.3  # reached at t = 3
    mean = model.critic.critic.head.bias.detach().double().clone()
    for t in range(1, 6):
        with torch.no_grad():
            for p in model.critic.parameters():
                p.add_(torch.randn_like(p))
        model.after_critic_step({})
        keep = min(0.3, (1 + t) / (10 + t))
        mean = keep * mean + (1 - keep) * model.critic.critic.head.bias.detach().double()
    torch.testing.assert_close(model.averaged_critic.critic.head.bias.double(), mean)
    torch.testing.assert_close(model.classify(x), model.averaged_critic.logits(x))
    assert not torch.allclose(model.classify(x), model.critic.logits(x))
    trained = {id(p) for p in model.critic.parameters()}
    assert not any(id(p) in trained or p.requires_grad for p in model.averaged_critic.parameters())


def test_there_is_no_second_head() -> None:
    """The score is a function of the K logits alone."""
    model = make()
    x = torch.randn(5, *SHAPE)
    assert model.critic.critic.head.out_features == K
    torch.testing.assert_close(model.critic(x), model.classify(x).logsumexp(1))
    names = [name for name, _ in model.critic.named_parameters() if "body" not in name]
    assert names == ["critic.head.weight", "critic.head.bias"]


def test_tricks_and_penalties_act_on_the_logits() -> None:
    batch = (torch.randn(6, *SHAPE), torch.randn(3, *SHAPE), torch.tensor([0, 1, 2]))
    model = make(tricks.FeatureMatching(), tricks.Replay(4, 1.0), lipschitz=GradientPenalty())
    assert set(model.critic_loss(batch).losses) == {
        "adversarial",
        "classification",
        "gradient_penalty",
    }
    assert set(model.generator_loss(batch).losses) == {"FeatureMatching"}
    model = make(tricks.MinibatchDiscrimination(3, 2))
    assert model.classify(batch[0]).shape == (6, K) and model.critic_loss(batch).loss.isfinite()
    with pytest.raises(UserError, match="classifier"):
        make(tricks.Packing())


def test_the_noisy_critic_is_that_of_the_paper() -> None:
    critic = mlp.NoisyCritic([1, 28, 28])
    assert [m.out_features for m in critic.body if isinstance(m, torch.nn.Linear)] == [
        1000,
        500,
        250,
        250,
        250,
    ]
    x = torch.rand(64, 1, 28, 28) * 2 - 1
    assert not torch.equal(critic(x), critic(x))
    assert torch.equal(critic.eval()(x), critic(x))
    assert 0.2 < critic.features(x).square().mean().sqrt() < 2  # the noise of 0.5 does not drown it


def test_features_come_before_the_last_noise() -> None:
    """What the generator matches is rectified, and the logits see it with noise."""
    critic = LogitCritic(partial(mlp.NoisyCritic, shape=SHAPE, width=64), K)
    h = critic.features(torch.randn(50, *SHAPE))
    assert h.min() == 0 and isinstance(critic.critic.neck, mlp.GaussianNoise)
    assert critic.critic.neck.sd == 0.5
    noisy = critic.critic.neck(h)
    assert 0.4 < (noisy - h).std() < 0.6


@pytest.mark.parametrize("weight_norm", [True, False])
def test_a_first_batch_gives_units_mean_0_and_variance_1(weight_norm: bool) -> None:
    critic = mlp.NoisyCritic(SHAPE, 64, 0.0, 0.0, weight_norm)
    x = torch.rand(200, *SHAPE)
    critic.init_from_batch(x)
    h = x.flatten(1).double().numpy()
    for layer in critic.body:
        if isinstance(layer, torch.nn.Linear):
            weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
            h = h @ weight.T + bias
            assert np.abs(h.mean(0)).max() < 1e-3
            assert np.abs(h.std(0) - 1).max() < 1e-2 or not h.std(0).all()
            h = np.maximum(h, 0)


def test_the_generator_is_that_of_the_authors() -> None:
    """Softplus and batch norm without gains; sigmoid((g / |v|) v h + b) of pixels in [0, 1]."""
    generator = mlp.SoftplusGenerator([1, 3, 3], latent=4, width=6)
    first, norm, _, second, _, _, last, *_ = generator.body
    with torch.no_grad():
        for layer in (norm, last):
            layer.bias.normal_()
    z = generator.noise(20, "cpu")

    def hidden(x: np.ndarray, layer: torch.nn.Linear, shift: torch.Tensor) -> np.ndarray:
        x = x @ layer.weight.detach().double().numpy().T
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        return softplus(x + shift.detach().double().numpy())

    h = hidden(z.double().numpy(), first, norm.bias)
    h = hidden(h, second, torch.zeros(6))
    v = last.parametrizations.weight.original1.detach().double().numpy()
    a = h @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T  # their first lengths are 1
    wanted = 1 / (1 + np.exp(-(a + 2 * last.bias.detach().double().numpy())))
    np.testing.assert_allclose((generator(z).detach().flatten(1) + 1) / 2, wanted, atol=1e-5)
    trained = {name for name, p in generator.named_parameters() if p.requires_grad}
    assert trained == {
        *(f"body.{i}.{name}" for i, name in ((0, "weight"), (1, "bias"), (3, "weight"))),
        "body.4.bias",
        "body.6.bias",
        "body.6.parametrizations.weight.original0",
        "body.6.parametrizations.weight.original1",
    }


# --- the few labels -------------------------------------------------------------------------------


def test_as_many_of_each_class_chosen_by_the_seed() -> None:
    data = bars(labelled=15)
    few = data.labelled_subset()
    assert torch.bincount(few.labels).tolist() == [5, 5, 5]  # type: ignore[arg-type]
    images, labels, _ = data.load("train")
    rows = [(images == one).flatten(1).all(1).nonzero().item() for one in few.images]
    assert torch.equal(labels[rows], few.labels)  # type: ignore[index]
    assert torch.equal(few.images, bars().labelled_subset().images)
    assert not torch.equal(few.images, bars(seed=1).labelled_subset().images)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_a_function_of_the_position(resident: bool) -> None:
    def first(
        data: Bars, n: int, position: int = 0, batches_per_step: int | None = None
    ) -> list[tuple[torch.Tensor, ...]]:
        batches = data.batches(position=lambda: position, batches_per_step=batches_per_step)
        return list(itertools.islice(batches, n))

    whole = first(bars(resident=resident, workers=0, flip=True), 24)
    few = bars().labelled_subset()
    known = {(one.float() / 127.5 - 1).flip(-1).numpy().tobytes() for one in few.images}
    known |= {(one.float() / 127.5 - 1).numpy().tobytes() for one in few.images}
    for images, x, y in whole:
        assert images.shape == (20, 1, 8, 8) and x.shape == (15, 1, 8, 8) and y.shape == (15,)
        assert all(one.numpy().tobytes() in known for one in x)
    for position in (1, 14, 15, 16):  # 15 batches an epoch
        data = bars(resident=resident, workers=0, flip=True)
        for one, other in zip(first(data, 24 - position, position), whole[position:], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert [len(item) for item in first(bars(), 2, batches_per_step=2)] == [2, 2]
    # the images are those of a run with all labels
    plain = first(bars(labelled=None, flip=True), 3)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(plain, whole, strict=False))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labelled": 16}, "multiple of 3"),
        ({"labelled": 0}, "whole number"),
        ({"labelled": 600}, "200 for each class"),
        ({"classes": None}, "no labels"),
    ],
)
def test_labels_that_cannot_be_had(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=rf"{words}.*data\.labelled|data\.labelled.*{words}"):
        bars(**changes).labelled_subset()


def trained(data: Bars, model: SemiSupervisedGAN, steps: int) -> AdversarialModule:
    def adam(parameters: object) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, 2e-3, betas=(0.5, 0.999))  # type: ignore[arg-type]

    scheme = AdversarialModule(model, {"critic": adam, "generator": adam}, log_every=10)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation({"error_rate": TestError(every=steps)})],
    )
    trainer.fit(scheme, datamodule=DataModule(data))
    return scheme


def test_hidden_labels_never_reach_the_weights() -> None:
    """The same run, whatever the labels of the other images are: to the last bit."""
    ended = []
    for hidden in (None, 0, 2):
        torch.manual_seed(4)
        data = bars()
        data.hidden = hidden
        ended.append(trained(data, make(tricks.FeatureMatching()), 5).model.state_dict())
    for other in ended[1:]:
        assert all(
            torch.equal(ended[0][name], other[name])
            for name in ended[0]
            if torch.is_tensor(other[name])
        )


def test_the_test_error_falls_and_is_recorded() -> None:
    torch.manual_seed(1)  # 60 steps are few: from some weights the error is still at a third
    scheme = trained(bars(), make(tricks.FeatureMatching(), critic=mlp.NoisyCritic, width=64), 120)
    x, y, _ = (part for part in scheme.trainer.datamodule.data.load("test"))
    x = x.float() / 127.5 - 1
    scheme.model.eval()
    assert scheme.latest["quality/error_rate"] == pytest.approx(
        float((scheme.model.classify(x).argmax(1) != y).float().mean())
    )
    assert scheme.latest["quality/error_rate"] < 0.1
    assert scheme.protocols["error_rate"]["labelled"] == 15


def test_few_labels_and_their_model_belong_together() -> None:
    """By the configuration of a command; a model that would not use them refuses them, and the
    other way round.
    """
    model = make()
    refuse_labels(bars(), model)
    with pytest.raises(UserError, match=r"data\.labelled=100"):
        refuse_labels(bars(labelled=None), model)
    other = GAN(partial(mlp.Generator, shape=SHAPE), partial(mlp.Critic, shape=SHAPE), criterion())
    refuse_labels(bars(labelled=None), other)
    with pytest.raises(UserError, match="does not learn from 15 labels"):
        refuse_labels(bars(), other)
    with pytest.raises(UserError, match=r"classifies images.*\(callbacks.error_rate\)"):
        TestError().check(bars(), other)
