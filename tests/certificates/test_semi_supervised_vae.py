"""M2 of Kingma et al. (2014): its terms by a loop over labels, its bound where log p(x) is known,
and what the images without labels do.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from gentrain.models.pixels import Unchanged
from gentrain.models.vae import likelihoods
from gentrain.models.vae.semi_supervised import SemiSupervisedVAE, marginal
from gentrain.networks import mlp
from gentrain.networks.classifier import Classifier
from gentrain.networks.vae import ConvEncoder, Decoder, MLPDecoder, MLPEncoder

D, K, SHAPE = torch.float64, 3, [1, 4, 4]


def model(**options: Any) -> SemiSupervisedVAE:
    coders = (
        partial(MLPEncoder, SHAPE, width=16, classes=K),
        partial(MLPDecoder, SHAPE, latent=3, width=16, classes=K),
    )
    classifier = Classifier(partial(mlp.Critic, width=16, depth=1), SHAPE, K)
    made = SemiSupervisedVAE(*coders, classifier, likelihoods.Gaussian(0.5), **options).to(D)
    made.pixels = Unchanged()  # nothing random
    return made


def images(n: int) -> Tensor:
    return torch.rand(n, *SHAPE, dtype=D) * 2 - 1


def test_the_terms_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    m2 = model(alpha=7.0, labelled=0.3, unlabelled=0.8)
    x, few, y, noise = images(5), images(4), torch.tensor([0, 2, 1, 1]), torch.randn(3, dtype=D)
    # one z of a posterior, by a noise that is known
    monkeypatch.setattr(m2, "noise", lambda n, device: noise.expand(n, 3))

    def bound(x: Tensor, y: int) -> Tensor:
        """L(x, y) of one image."""
        label = torch.tensor([y])
        mean, log_variance, _ = m2.encoder(x[None], label)
        sd = torch.exp(log_variance / 2)
        decoded = m2.decoder(mean + sd * noise, label)[0, 0]
        log_p = Normal(decoded, torch.exp(m2.likelihood.log_sd)).log_prob(x).sum()
        return (
            log_p
            + math.log(1 / K)
            - kl_divergence(Normal(mean, sd), Normal(torch.zeros_like(mean), 1.0)).sum()
        )

    q = m2.classifier(x).softmax(1)
    U = [sum(q[i, k] * (bound(x[i], k) - q[i, k].log()) for k in range(K)) for i in range(5)]
    L = [bound(few[i], int(y[i])) for i in range(4)]
    want = {
        "unlabelled": -0.8 * torch.stack(U).mean(),  # type: ignore[arg-type]
        "labelled": -0.3 * torch.stack(L).mean(),
        "classification": 7 * F.nll_loss(m2.classifier(few).log_softmax(1), y),
    }
    objective = m2.objective((x, few, y))
    assert objective.losses.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(objective.losses[name], value)


def test_the_sum_over_labels_is_the_evidence_less_the_classifiers_divergence() -> None:
    """U = log sum_y exp L(x, y) - KL(q(y | x) || p(y | x)): tight where the classifier is the
    model's own posterior.
    """
    costs, logits = torch.randn(K, 6, dtype=D) * 3, torch.randn(6, K, dtype=D)
    evidence, posterior = torch.logsumexp(-costs, 0), (-costs.T).log_softmax(1)
    torch.testing.assert_close(marginal(costs, posterior)[0], -evidence)
    off = F.kl_div(posterior, logits.log_softmax(1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(marginal(costs, logits)[0], off - evidence)
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(marginal(costs, logits)[1], entropy)


class Labelled(nn.Module):
    """W z + b_y as the decoder's body, of (z, one-hot y)."""

    def __init__(self, W: Tensor, b: Tensor) -> None:
        super().__init__()
        self.W, self.b = W, b

    def forward(self, zy: Tensor) -> Tensor:
        z, y = zy.split([self.W.shape[1], K], 1)
        return (z @ self.W.T + y @ self.b)[:, None]


class Posterior(nn.Module):
    """Of z given x and y, off by `shift`: N(S W^T (x - b_y) / sd^2, S), 1/S = I + W^T W / sd^2, W's
    columns orthogonal.
    """

    def __init__(self, W: Tensor, b: Tensor, sd: float, shift: float) -> None:
        super().__init__()
        self.W, self.b, self.sd, self.shift, self.classes = W, b, sd, shift, K

    def forward(self, v: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        variance = 1 / (1 + self.W.square().sum(0) / self.sd**2)
        mean = variance * ((v - self.b[y]) @ self.W) / self.sd**2 + self.shift
        return mean, variance.log().expand_as(mean), mean[:, :0]


def mixture(shift: float) -> tuple[SemiSupervisedVAE, Tensor, Tensor]:
    """A mixture of K factor analysers, some points, and their log p = log sum_y 1/K N(x; b_y, W W^T
    + sd^2 I).
    """
    sd, W, b = 0.5, torch.linalg.qr(torch.randn(6, 2, dtype=D))[0] * 1.3, torch.randn(K, 6, dtype=D)
    decoder, encoder = Decoder(Labelled(W, b), [6], 2, K), Posterior(W, b, sd, shift)
    m2 = SemiSupervisedVAE(
        lambda **_: encoder,
        lambda **_: decoder,
        nn.Linear(6, K),
        likelihoods.Gaussian(sd, learned=False).to(D),
    )  # type: ignore[arg-type, return-value]
    x = torch.randn(5, 6, dtype=D)
    parts = torch.stack(
        [
            MultivariateNormal(mean, W @ W.T + sd**2 * torch.eye(6, dtype=D)).log_prob(x)
            for mean in b
        ]
    )
    return m2, x, torch.logsumexp(parts, 0) - math.log(K)


def test_the_likelihood_is_the_mixtures() -> None:
    m2, x, exact = mixture(0.0)
    torch.testing.assert_close(m2.log_likelihood((x,), 1), exact)
    m2, x, exact = mixture(0.4)
    by_samples = [
        torch.stack([m2.log_likelihood((x,), s) for _ in range(200)]).mean() for s in (1, 3, 10)
    ]
    assert by_samples == sorted(by_samples) and by_samples[-1] < exact.mean()
    torch.testing.assert_close(m2.log_likelihood((x,), 20_000), exact, atol=0.06, rtol=0)


def test_the_baseline_is_the_classifier_alone() -> None:
    """unlabelled=0: no image without a label counts, and the classifier's gradient is that of the
    cross-entropy.
    """
    m2, few, y = model(unlabelled=0.0, alpha=2.0), images(4), torch.tensor([0, 2, 1, 1])
    gradients = []
    for x in (images(5), images(5)):
        torch.manual_seed(0)
        m2.zero_grad()
        m2.objective((x, few, y)).loss.backward()
        gradients.append([p.grad.clone() for p in m2.parameters() if p.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    alone = torch.autograd.grad(
        2 * F.cross_entropy(m2.classifier(few), y), list(m2.classifier.parameters())
    )
    for p, g in zip(m2.classifier.parameters(), alone, strict=True):
        torch.testing.assert_close(p.grad, g)


def test_a_label_that_is_not_given_is_the_classifiers() -> None:
    m2, x = model(), images(6)
    y = m2.classify(x).argmax(1)
    torch.testing.assert_close(m2.encode(x), m2.encode(x, y))
    torch.testing.assert_close(m2.reconstruct(x), m2.reconstruct(x, y))
    assert not torch.allclose(m2.reconstruct(x), m2.reconstruct(x, (y + 1) % K))


def test_labels_tried_at_once_are_those_tried_one_by_one() -> None:
    for encoder, shape in (
        (MLPEncoder(SHAPE, 3, 16, 2, K), SHAPE),
        (ConvEncoder([1, 8, 8], 3, 4, 8, K), [1, 8, 8]),
    ):
        encoder, x = encoder.to(D), torch.rand(5, *shape, dtype=D)
        together = encoder(x, torch.arange(K).repeat_interleave(5))[0].view(K, 5, 3)
        for y in range(K):
            torch.testing.assert_close(together[y], encoder(x, torch.full((5,), y))[0])
        assert not torch.allclose(together[0], together[1])


def test_images_without_labels_teach_the_classifier() -> None:
    """Three prototypes under much noise, one labelled image of each: what the noise of these three
    is, all images together show.
    """
    draw = torch.Generator().manual_seed(0)
    prototypes = torch.randint(2, (K, 16), generator=draw) - 0.5

    def noisy(n: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(n) % K
        return (prototypes[y] + 0.5 * torch.randn(n, 16, generator=draw)).view(n, *SHAPE), y

    (few, y), (x, _), (test, truth) = noisy(K), noisy(300), noisy(600)
    errors = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        m2 = model(alpha=1.0, labelled=0.1, unlabelled=weight).float()
        optimizer = torch.optim.Adam(m2.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            m2.objective((x, few, y)).loss.backward()
            optimizer.step()
        errors[weight] = float((m2.classify(test).argmax(1) != truth).float().mean())
    assert errors[1.0] < 0.5 * errors[0.0], errors
