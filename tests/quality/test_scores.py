"""Every score against an oracle: torch-fidelity on the same features, a closed form, or brute
force.
"""

import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from gentrain.quality import distances
from gentrain.quality.coverage import coverage, kl_to_uniform
from gentrain.quality.distances import (
    Moments,
    class_histogram,
    frechet_distance,
    inception_score,
    kernel_distance,
    moments,
    prdc,
)


def clouds(n: int = 400, m: int = 300, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    real = torch.randn(n, width, generator=generator, dtype=torch.float64)
    fake = torch.randn(m, width, generator=generator, dtype=torch.float64) @ mix * 0.4 + 0.3
    return real, fake


def test_fid_equals_torch_fidelity():
    real, fake = clouds()
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(real), fid_features_to_statistics(fake), False
    )
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-10
    )


def test_fid_equals_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = clouds()
    same = torch.nn.Identity()
    same.num_features = real.shape[1]
    metric = FrechetInceptionDistance(same)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(
        metric.compute().item(), rel=1e-9
    )


def test_fid_of_two_gaussians_that_commute():
    """With diagonal covariances: |mu - nu|^2 + sum (s - t)^2 of the standard deviations."""
    s, t = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.1]).double()
    mu, nu = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([1.0, 1.0, 0.0]).double()
    expected = (mu - nu).square().sum() + (s - t).square().sum()
    assert frechet_distance(
        Moments(mu, s.square().diag()), Moments(nu, t.square().diag())
    ) == pytest.approx(expected.item(), rel=1e-12)


def test_fid_is_symmetric_and_zero_on_itself():
    real, fake = moments(clouds()[0]), moments(clouds()[1])
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-10)
    assert frechet_distance(real, real) < 1e-10


def test_fid_of_few_and_equal_samples_is_finite():
    """Singular covariances: fewer samples than features, a dead feature, all fakes alike."""
    real, fake = clouds(n=5, m=4)
    real[:, 0] = 0
    assert frechet_distance(moments(real), moments(real)) < 1e-10
    assert math.isfinite(frechet_distance(moments(real), moments(fake)))
    assert math.isfinite(frechet_distance(moments(real), moments(torch.ones(7, 12))))


def test_covariance_is_unbiased():
    x = clouds()[0]
    assert np.allclose(moments(x).cov, np.cov(x.numpy(), rowvar=False), rtol=1e-12, atol=1e-14)


def test_moments_are_the_same_by_parts(monkeypatch):
    """Also of features that are far from zero, with a last part that is shorter."""
    x = clouds()[0].float() + 100
    monkeypatch.setattr(distances, "CHUNK", 7)
    assert np.allclose(moments(x).mean, x.double().mean(0), rtol=1e-14)
    expected = np.cov(x.double().numpy(), rowvar=False)
    assert np.allclose(moments(x).cov, expected, rtol=1e-12, atol=1e-14)


def test_inception_score_equals_torch_fidelity_but_for_the_shuffle(monkeypatch):
    """N = 1003 does not divide by 10; the same order is given to both."""
    logits = 3 * torch.randn(1003, 7, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(1003, generator=torch.Generator().manual_seed(5))
    theirs = isc_features_to_metric(logits[order], splits=10, shuffle=False)
    mean, sd = inception_score(logits, 10, seed=5)
    assert mean == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert sd == pytest.approx(theirs["inception_score_std"], rel=1e-10)


def test_inception_score_by_definition():
    """Certain and balanced: K. Undecided: 1. Certain to the point of underflow: still a number."""
    certain = 2000 * torch.eye(10).repeat(100, 1)
    assert inception_score(certain, 1)[0] == pytest.approx(10)
    assert inception_score(torch.zeros(100, 10))[0] == pytest.approx(1)


def test_kid_of_whole_clouds_equals_torch_fidelity():
    """Subsets of everything: their order does not matter."""
    real, fake = clouds(300, 300)
    theirs = kid_features_to_metric(fake, real, kid_subsets=1, kid_subset_size=300, verbose=False)
    assert kernel_distance(fake, real, 1, 300).mean == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-10
    )


def test_kid_of_subsets_equals_torch_fidelity_within_its_noise():
    real, fake = clouds(300, 300)
    theirs = kid_features_to_metric(fake, real, kid_subsets=200, kid_subset_size=100, verbose=False)
    noise = theirs["kernel_inception_distance_std"] / math.sqrt(200)
    ours = kernel_distance(fake, real, 200, 100)
    assert abs(ours.mean - theirs["kernel_inception_distance_mean"]) < 5 * noise
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=0.25)
    assert ours == kernel_distance(fake, real, 200, 100)


def test_prdc_equals_brute_force():
    real, fake = clouds(60, 50, 3)
    k = 4

    def radius(cloud, i):
        return sorted(
            math.dist(cloud[i], other) for j, other in enumerate(cloud.tolist()) if j != i
        )[k - 1]

    r, f = real.tolist(), fake.tolist()
    real_radius = [radius(real, i) for i in range(len(r))]
    fake_radius = [radius(fake, j) for j in range(len(f))]
    inside = [[math.dist(a, b) < real_radius[i] for b in f] for i, a in enumerate(r)]
    precision = sum(any(row[j] for row in inside) for j in range(len(f))) / len(f)
    recall = sum(any(math.dist(a, b) < fake_radius[j] for j, b in enumerate(f)) for a in r) / len(r)
    density = sum(map(sum, inside)) / (k * len(f))
    coverage = sum(map(any, inside)) / len(r)
    assert prdc(real, fake, k) == pytest.approx((precision, recall, density, coverage), rel=1e-12)


def test_prdc_equals_the_package_of_its_authors():
    """Naeem et al. (2020), whose k-th neighbour of a point in its own set does not count itself."""
    real, fake = clouds(120, 80, 4)
    theirs = compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    names = ("precision", "recall", "density", "coverage")
    assert prdc(real, fake, 5) == pytest.approx(tuple(theirs[n] for n in names), rel=1e-12)


def test_precision_and_recall_equal_torch_fidelity():
    real, fake = clouds(width=4)
    theirs = prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
    )
    ours = prdc(real, fake, 3)
    assert (ours.precision, ours.recall) == pytest.approx((theirs["precision"], theirs["recall"]))


def test_census():
    """Of 10 fakes 6 are surely class 0, 2 surely class 1, 2 undecided between 2 and 3 (which reads
    as 2).
    """
    logits = torch.zeros(10, 4)
    logits[:6, 0], logits[6:8, 1], logits[8:, 2:] = 50, 50, 50
    result = class_histogram(logits)
    p = torch.tensor([0.6, 0.2, 0.2]).double()
    assert result.confident == pytest.approx(0.8) and result.classes_covered == 2
    assert result.class_entropy == pytest.approx((-(p * p.log()).sum() / math.log(4)).item())


def test_modes_found():
    """Three samples reach mode 0, one lies at 3.1 sd of mode 1, none near mode 2."""
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = torch.tensor([[0.0, 0.0], [0.029, 0.0], [0.0, -0.01], [1.031, 0.0]])
    assert coverage(points, centres, sd=0.01) == (1, 0.75)


def test_kl_to_uniform():
    assert kl_to_uniform(torch.full((1000,), 26)) == pytest.approx(0, abs=1e-12)
    assert kl_to_uniform(torch.eye(1000, dtype=torch.long)[3] * 50) == pytest.approx(math.log(1000))


def test_kid_of_whole_sets_has_no_deviation():
    """All subsets are equal then; a printed 1e-16 would say that the error is nothing."""
    fake, real = torch.randn(60, 8), torch.randn(90, 8)
    assert kernel_distance(fake, real, 10, 60).std is None
    assert kernel_distance(real, fake, 10, 60).std is None
    assert kernel_distance(fake, real, 10, 59).std > 1e-6
