"""Distances between two clouds of features, each a closed formula; torch-fidelity and brute force are the tests' oracles.

Features are (N, F), logits (N, K); all arithmetic is float64. torchmetrics' FID is not used: it takes the eigenvalues of a non-symmetric
product (3 times slower at F = 2048) and its IS divides the sd by n - 1, unlike every published one.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean (F,) and unbiased covariance (F, F) of features, float64."""

    mean: Tensor
    cov: Tensor


def moments(features: Tensor) -> Moments:
    """mu = sum x / N,  Sigma = sum (x - mu)(x - mu)^T / (N - 1)."""
    x = features.double()
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (len(x) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mu_a - mu_b|^2 + tr(Sigma_a + Sigma_b - 2 (Sigma_a Sigma_b)^1/2)  (Heusel et al., 2017, eq. 6).

    With Sigma_a = R R^T, the product has the eigenvalues of the symmetric R^T Sigma_b R: real, and fit for singular Sigma.
    """
    values, vectors = torch.linalg.eigh(a.cov)
    root = vectors * values.clamp(min=0).sqrt()
    overlap = torch.linalg.eigvalsh(root.T @ b.cov @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * overlap
    return distance.clamp(min=0).item()  # rounding may leave -1e-12


def inception_score(logits: Tensor, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Mean and sd over `splits` of exp E_x KL(p(y|x) || p(y))  (Salimans et al., 2016), the samples shuffled first."""
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    log_p = logits.double()[order.to(logits.device)].log_softmax(1)
    bounds = [i * len(log_p) // splits for i in range(splits + 1)]
    scores = torch.stack([_exp_mean_kl(log_p[start:end]) for start, end in pairwise(bounds)])
    return scores.mean().item(), scores.std(correction=0).item()


def _exp_mean_kl(log_p: Tensor) -> Tensor:
    log_q = log_p.logsumexp(0) - math.log(
        len(log_p)
    )  # the log of the mean, finite where all p underflow
    return (log_p.exp() * (log_p - log_q)).sum(1).mean().exp()


def kernel_distance(
    fake: Tensor, real: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> float:
    """Mean over random subsets of the unbiased MMD^2 with k(x, y) = (x.y / F + 1)^3  (Binkowski et al., 2018)."""
    from torchmetrics.image.kid import poly_mmd  # a slow import

    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        drawn = torch.randperm(len(features), generator=generator)[:subset_size]
        return features[drawn.to(features.device)].double()

    return torch.stack([poly_mmd(subset(real), subset(fake)) for _ in range(subsets)]).mean().item()


class Manifold(NamedTuple):
    """Four shares: see `prdc`."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> Manifold:
    """Precision and recall (Kynkaanniemi et al., 2019), density and coverage (Naeem et al., 2020).

    A ball around each point reaches its k-th nearest neighbour of the same cloud. Precision: share of fakes in a real ball. Recall:
    share of reals in a fake ball. Density: mean number of real balls around a fake, / k. Coverage: share of real balls with a fake.
    """
    real, fake = real.double(), fake.double()
    real_radius, fake_radius = _radius(real, k), _radius(fake, k)
    distance = torch.cdist(real, fake)
    in_real_ball = distance < real_radius[:, None]
    in_fake_ball = distance < fake_radius[None, :]
    return Manifold(
        precision=_share(in_real_ball.any(0)),
        recall=_share(in_fake_ball.any(1)),
        density=in_real_ball.sum(0).double().mean().item() / k,
        coverage=_share(in_real_ball.any(1)),
    )


def _radius(features: Tensor, k: int) -> Tensor:
    """Distance to the k-th neighbour, (N,); the point itself is the 0-th."""
    return torch.cdist(features, features).kthvalue(k + 1, dim=1).values


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()


class ClassHistogram(NamedTuple):
    """What a classifier makes of the fakes: see `class_histogram`."""

    confident: float
    classes_covered: int
    class_entropy: float


def class_histogram(logits: Tensor, sure: float = 0.9, held: float = 0.01) -> ClassHistogram:
    """Share of fakes with max p(y|x) > `sure`; classes that hold at least `held` of those; entropy of all predictions / log K."""
    classes = logits.shape[1]
    top, predicted = logits.double().softmax(1).max(1)
    confident = top > sure
    held_by = predicted[confident].bincount(minlength=classes) / max(1, int(confident.sum()))
    p = predicted.bincount(minlength=classes).double() / len(predicted)
    entropy = torch.special.entr(p).sum().item() / math.log(classes)
    return ClassHistogram(_share(confident), int((held_by >= held).sum()), entropy)


class Agreement(NamedTuple):
    """Does a classifier see the class that was asked for? See `agreement`."""

    label_agreement: float
    label_agreement_permuted: float


def agreement(logits: Tensor, asked: Tensor, seed: int) -> Agreement:
    """Share of fakes whose most likely class is the label (N,) they were made for; and, for what chance gives, the labels permuted."""
    predicted = logits.argmax(1)
    permuted = asked[
        torch.randperm(len(asked), generator=torch.Generator().manual_seed(seed)).to(asked.device)
    ]
    return Agreement(_share(predicted == asked), _share(predicted == permuted))
