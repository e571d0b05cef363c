"""Distances between two clouds of features, each a closed formula.

Features are (N, F), logits (N, K); all arithmetic is float64. torchmetrics' FID is not used: it
takes the eigenvalues of a non-symmetric product (3 times slower at F = 2048), and its IS divides
the standard deviation by n - 1, unlike every published one.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 5_000  # features that are held in float64 at a time


class Moments(NamedTuple):
    """Mean (F,) and unbiased covariance (F, F) of features, float64."""

    mean: Tensor
    cov: Tensor


def moments(features: Tensor) -> Moments:
    """mu = sum x / N,  Sigma = sum (x - mu)(x - mu)^T / (N - 1), CHUNK features at a time."""
    n, chunks = len(features), features.split(CHUNK)
    mean = torch.stack([chunk.double().sum(0) for chunk in chunks]).sum(0) / n
    products = (centred.T @ centred for centred in (chunk.double() - mean for chunk in chunks))
    return Moments(mean, functools.reduce(torch.add, products) / (n - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mu_a - mu_b|^2 + tr(Sigma_a + Sigma_b - 2 (Sigma_a Sigma_b)^1/2).

    Heusel et al., "GANs trained by a two time-scale update rule" (2017), equation 6.

    With Sigma_a = R R^T, the product has the eigenvalues of the symmetric R^T Sigma_b R, which are
    real also for a singular Sigma.
    """
    values, vectors = torch.linalg.eigh(a.cov)
    root = vectors * values.clamp(min=0).sqrt()
    overlap = torch.linalg.eigvalsh(root.T @ b.cov @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * overlap
    return distance.clamp(min=0).item()  # rounding may leave -1e-12


def inception_score(logits: Tensor, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over splits of exp E_x KL(p(y|x) || p(y)).

    Salimans et al., "Improved techniques for training GANs" (2016).

    Args:
        logits: (N, K).
        splits: parts of the samples, of equal size.
        seed: seed for the order in which the samples are split.
    """
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    log_p = logits.double()[order.to(logits.device)].log_softmax(1)
    bounds = [i * len(log_p) // splits for i in range(splits + 1)]
    scores = torch.stack([_exp_mean_kl(log_p[start:end]) for start, end in pairwise(bounds)])
    return scores.mean().item(), scores.std(correction=0).item()


def _exp_mean_kl(log_p: Tensor) -> Tensor:
    # the log of the mean, finite also where all p underflow
    log_q = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_q)).sum(1).mean().exp()


class KernelDistance(NamedTuple):
    """Mean and standard deviation over subsets: see `kernel_distance`."""

    mean: float
    std: float | None


def kernel_distance(
    fake: Tensor, real: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """KID: the mean over random subsets of the unbiased MMD^2 with k(x, y) = (x.y / F + 1)^3.

    Binkowski et al., "Demystifying MMD GANs" (2018). The standard deviation over subsets, divided
    by their number and not by one less, is torch-fidelity's `kernel_inception_distance_std`. It is
    None where a subset would be the whole set: all subsets are then equal.

    Args:
        fake: (N, F) features of samples.
        real: (M, F) features of images.
        subsets: how many are drawn.
        subset_size: at most N and M.
        seed: seed for the subsets.
    """
    from torchmetrics.image.kid import poly_mmd  # a slow import

    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        drawn = torch.randperm(len(features), generator=generator)[:subset_size]
        return features[drawn.to(features.device)].double()

    found = torch.stack([poly_mmd(subset(real), subset(fake)) for _ in range(subsets)])
    whole = subset_size >= min(len(fake), len(real))
    return KernelDistance(found.mean().item(), None if whole else found.std(correction=0).item())


class Manifold(NamedTuple):
    """Four shares: see `prdc`."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> Manifold:
    """Precision and recall (Kynkaanniemi et al., 2019), density and coverage (Naeem et al., 2020).

    A ball around each point reaches its k-th nearest neighbour of the same cloud.

    precision: share of fakes in a real ball.
    recall: share of reals in a fake ball.
    density: mean number of real balls around a fake, divided by k.
    coverage: share of real balls with a fake in them.
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
    """What a classifier sees in samples: see `class_histogram`."""

    confident: float
    classes_covered: int
    class_entropy: float


def class_histogram(logits: Tensor, threshold: float = 0.9, least: float = 0.01) -> ClassHistogram:
    """How sure a classifier is, and how the classes of samples are spread.

    confident: share of samples with max p(y|x) > `threshold`.
    classes_covered: classes with at least the share `least` of the confident samples.
    class_entropy: entropy of all predictions, divided by log K; it needs two classes or more.
    """
    classes = logits.shape[1]
    top, predicted = logits.double().softmax(1).max(1)
    confident = top > threshold
    shares = predicted[confident].bincount(minlength=classes) / max(1, int(confident.sum()))
    p = predicted.bincount(minlength=classes).double() / len(predicted)
    entropy = torch.special.entr(p).sum().item() / math.log(classes)
    return ClassHistogram(_share(confident), int((shares >= least).sum()), entropy)


class Agreement(NamedTuple):
    """Whether a classifier sees the class that was asked for: see `agreement`."""

    label_agreement: float
    label_agreement_permuted: float


def agreement(logits: Tensor, labels: Tensor, seed: int) -> Agreement:
    """Share of samples whose most likely class is their label; by chance, with permuted labels.

    Args:
        logits: (N, K) of the samples.
        labels: (N,) for which the samples were made.
        seed: seed for the permutation.
    """
    predicted = logits.argmax(1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    permuted = labels[order.to(labels.device)]
    return Agreement(_share(predicted == labels), _share(predicted == permuted))
