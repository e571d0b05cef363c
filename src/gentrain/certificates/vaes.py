"""Certificates of variational autoencoders and of their likelihoods."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, distributions

from gentrain.certificates.base import Certificate, error, largest, recorded
from gentrain.models.vae.inpainting import InpaintingVAE
from gentrain.models.vae.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian
from gentrain.models.vae.semi_supervised import SemiSupervisedVAE
from gentrain.models.vae.vae import VAE

SIDE, ENDS = 81, 6.0  # of the grid of codes of two numbers
SAMPLES = 3000


class Bound(Certificate):
    """Both terms of the bound from what the networks gave, by torch.distributions."""

    of = (VAE,)
    name = "objective"
    property = "E log p(x|z) and beta KL(q || N(0, I)), by torch.distributions"
    source = "Kingma & Welling, 2014, eq. 3 and appendix B"

    def measure(self) -> float:
        model = self.subject.model()
        with (
            recorded(model.likelihood, "log_prob") as log_probs,
            recorded(model, "draw_code") as codes,
        ):
            found = model.objective(self.subject.batch).losses
        rate = self.rate(model, codes[0]).mean()
        expected = {"reconstruction": -log_probs[0].result.mean(), "kl": self.weight(model) * rate}
        if found.keys() != expected.keys():
            return float("inf")
        return largest(*(error(found[name], value) for name, value in expected.items()))

    def weight(self, model: VAE) -> float:
        """Of the divergence at the first step."""
        return 0.0 if self.node["warm_up"] else float(self.node["beta"])

    def rate(self, model: VAE, code: Any) -> Tensor:
        """KL(q || p) of each image: exact, or of the code that was drawn where q has a flow."""
        posterior, (z, _) = code.args[0], code.result
        q = distributions.Normal(posterior.mean, (posterior.log_variance / 2).exp())
        if model.flow is None:
            return distributions.kl_divergence(q, distributions.Normal(0.0, 1.0)).sum(1)
        return torch.zeros(len(z))  # whose weight is 0 at the first step; see `FlowPosterior`


class FlowPosterior(Certificate):
    """log q(z|x) of a posterior with a flow, with the determinant of the Jacobian by autograd."""

    of = (VAE,)
    property = "log q(z|x) = log N(z0) - log |det dz/dz0|, the Jacobian by autograd"
    source = "Rezende & Mohamed, 2015, eq. 13"

    def measure(self) -> float | None:
        model = self.subject.model(stirred=0.05)
        if model.flow is None:
            return None
        v = model.pixels(self.subject.batch[0][:2])[0]
        posterior = model.posterior(v, None)
        noise = torch.randn_like(posterior.mean)
        _, log_q = model.draw_code(posterior, noise)
        sd = (posterior.log_variance / 2).exp()
        start = posterior.mean + sd * noise
        log_start = distributions.Normal(posterior.mean, sd).log_prob(start).sum(1)
        expected = []
        for z0, context, log_p in zip(start, posterior.context, log_start, strict=True):
            jacobian = torch.autograd.functional.jacobian(
                lambda u, context=context: model.flow(u[None], context[None])[0][0], z0.detach()
            )
            expected.append(log_p - torch.linalg.slogdet(jacobian)[1])
        return error(log_q, torch.stack(expected))


class Evidence(Certificate):
    """log p(x) of codes of two numbers, by the sum over a fine grid, against importance samples."""

    of: ClassVar[tuple[Any, ...]] = (VAE,)
    property = "the importance-weighted bound comes to log p(x), which a grid of codes sums"
    source = "Burda et al., 2016, theorem 1"
    bound = 0.15  # nats, of the importance samples

    def measure(self) -> float:
        model = self.subject.model(shape=[1, 4, 4], latent=2, layers=1).eval()
        with torch.no_grad():
            v = model.pixels(2 * torch.rand(3, 1, 4, 4) - 1)[0]
            y = torch.arange(3) if model.labelled else None
            found = model.log_likelihood_of_values(v, y, SAMPLES)
            return error(found / 16, self.summed(model, v, y) / 16) * 16

    def summed(self, model: Any, v: Tensor, y: Tensor | None) -> Tensor:
        """log of the integral of p(x | z) p(z) over all codes z, given labels or without."""
        axis = torch.linspace(-ENDS, ENDS, SIDE)
        z = torch.cartesian_prod(axis, axis)
        log_area = 2 * math.log(2 * ENDS / (SIDE - 1))
        log_p = distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + log_area
        found = []
        for i, x in enumerate(v):
            labels = None if y is None else y[i].expand(len(z))
            given = model.likelihood.log_prob(x.expand(len(z), *x.shape), model.decoder(z, labels))
            found.append(torch.logsumexp(given + log_p, 0))
        return torch.stack(found)


class EvidenceOfLabels(Evidence):
    of = (SemiSupervisedVAE,)
    name = Evidence.name
    property = "log p(x) = log mean_y p(x|y), which a grid of codes sums for each label"
    source = "Kingma et al., 2014, section 2.1"

    def summed(self, model: Any, v: Tensor, y: Tensor | None) -> Tensor:
        labels = [torch.full((len(v),), k) for k in range(model.classes)]
        each = torch.stack([super(EvidenceOfLabels, self).summed(model, v, k) for k in labels])
        return torch.logsumexp(each, 0) - math.log(model.classes)


class FewLabels(Certificate):
    """The three terms of M2 from the K costs of each image, with sums over labels by loops."""

    of = (SemiSupervisedVAE,)
    name = "objective"
    property = "L of labelled images, U of the others summed over labels, alpha E[-log q(y|x)]"
    source = "Kingma et al., 2014, eq. 6 to 9"

    def measure(self) -> float:
        model, (x, labelled, y) = self.subject.model().eval(), self.subject.batch
        with recorded(model, "costs") as costs:
            found = model.objective(self.subject.batch).losses
        log_q = model.classify(labelled).log_softmax(1)
        known = -sum(log_q[i, k] for i, k in enumerate(y.tolist())) / len(y)
        expected = {
            "labelled": self.node["labelled"] * costs[0].result.mean(),
            "classification": self.node["alpha"] * known,
        }
        if self.node["unlabelled"]:
            of_all = costs[1].result.view(model.classes, len(x))
            q = model.classify(x).softmax(1)
            bounds = [
                sum(q[i, k] * (of_all[k, i] + q[i, k].log()) for k in range(model.classes))
                for i in range(len(x))
            ]
            expected["unlabelled"] = self.node["unlabelled"] * sum(bounds) / len(x)
        if found.keys() != expected.keys():
            return float("inf")
        return largest(*(error(found[name], value) for name, value in expected.items()))


class CostOfALabel(Certificate):
    of = (SemiSupervisedVAE,)
    property = "-L(x, y) = -log p(x|y,z) + KL + log K, by torch.distributions"
    source = "Kingma et al., 2014, eq. 6"

    def measure(self) -> float:
        model, (_, labelled, y) = self.subject.model().eval(), self.subject.batch
        with (
            recorded(model.likelihood, "log_prob") as log_probs,
            recorded(model, "posterior") as posteriors,
        ):
            found = model.costs(labelled, y)
        mean, log_variance, _ = posteriors[0].result
        q = distributions.Normal(mean, (log_variance / 2).exp())
        rate = distributions.kl_divergence(q, distributions.Normal(0.0, 1.0)).sum(1)
        weight = 0.0 if self.node["warm_up"] else self.node["beta"]
        return error(found, weight * rate - log_probs[0].result + math.log(model.classes))


class HiddenPixels(Certificate):
    of = (InpaintingVAE,)
    property = "the code hangs on known pixels alone, and these stay when an image is completed"
    source = "Ivanov et al., 2019, section 4.1"
    bound = 0.0

    def measure(self) -> float:
        model, x = self.subject.model().eval(), self.subject.batch[0]
        v = model.pixels(x)[0]
        known = torch.rand(len(v), 1, *v.shape[2:]) < 0.5
        one = model.posterior(v, None, known)
        other = model.posterior(torch.where(known, v, 1 - v), None, known)
        unseen = largest(*map(error, one, other))
        kept = torch.where(known, model.complete((x,), known) - x, torch.zeros(()))
        seen = error(model.posterior(1 - v, None, known).mean, one.mean)
        return largest(unseen, float(kept.abs().max())) if seen else float("inf")


# --- likelihoods ----------------------------------------------------------------------------------


class BernoulliNats(Certificate):
    of = (Bernoulli,)
    property = "log p(v) is that of torch.distributions.Bernoulli"
    source = "Kingma & Welling, 2014, appendix C.1"

    def measure(self) -> float:
        logits = 3 * torch.randn(4, 1, 1, 3, 3)
        v = (torch.rand(4, 1, 3, 3) < 0.5).double()
        expected = distributions.Bernoulli(logits=logits[:, 0]).log_prob(v).flatten(1).sum(1)
        return error(Bernoulli().log_prob(v, logits), expected)


class GaussianNats(Certificate):
    of = (Gaussian,)
    property = "log p(v) is that of torch.distributions.Normal"
    source = "Kingma & Welling, 2014, appendix C.2"

    def measure(self) -> float:
        made = Gaussian(sd=float(self.node["sd"]))
        v, mean = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 1, 3, 3)
        expected = distributions.Normal(mean[:, 0], float(self.node["sd"])).log_prob(v)
        return error(made.log_prob(v, mean), expected.flatten(1).sum(1))


class LogisticNats(Certificate):
    of = (DiscretisedLogistic,)
    property = "the probabilities of the 256 levels sum to one"
    source = "Kingma et al., 2016, appendix C"

    def measure(self) -> float:
        levels = torch.arange(256.0)
        parameters = torch.tensor([0.2, -2.0]).view(1, 2, 1).expand(256, -1, -1)
        total = DiscretisedLogistic().log_prob(levels[:, None], parameters).exp().sum()
        return error(total, 1.0)
