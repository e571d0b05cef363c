"""Certificates of normalising flows."""

from __future__ import annotations

import math

import torch
from torch import distributions

from gentrain.certificates.base import Certificate, error, largest, recorded
from gentrain.models.flow.base import FlowDensity
from gentrain.models.flow.distillation import Distilled
from gentrain.models.pixels import Logit

STIR = 0.05  # of weights, so that no map is the identity
SIDE, REACH = 700, 24.0  # of a grid over the plane, in standard deviations of the data


class ChangeOfVariables(Certificate):
    """log |det df/dx| of the flow against the Jacobian matrix, entry by entry, by autograd."""

    of = (FlowDensity,)
    property = "log |det df/dx| is that of the Jacobian matrix by autograd"
    source = "Dinh et al., 2017, eq. 3; Papamakarios et al., 2017, eq. 2"
    bound = 1e-8

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR).eval()
        values = model.pixels(self.subject.batch[0][:2])[0].flatten(1).detach()
        with torch.no_grad():
            found = model.flow(values)[1]
        each = [
            torch.linalg.slogdet(
                torch.autograd.functional.jacobian(
                    lambda v: model.flow(v[None])[0][0], value, vectorize=True
                )
            )[1]
            for value in values
        ]
        return error(found, torch.stack(each))


class ThereAndBack(Certificate):
    of = (FlowDensity,)
    property = "f^-1(f(x)) = x, and the two determinants are each other's inverse"
    source = "Dinh et al., 2017, section 3.1"
    bound = 1e-7

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR).eval()
        values = model.pixels(self.subject.batch[0])[0].flatten(1)
        with torch.no_grad():
            u, log_det = model.flow(values)
            back, log_det_back = model.flow.inverse(u)
        return largest(error(back, values), error(log_det_back, -log_det))


class NegativeLogLikelihood(Certificate):
    of = (FlowDensity,)
    name = "objective"
    property = "-log N(f(v); 0, I) - log |det df/dv| - log |det dv/dx|, by torch.distributions"
    source = "Dinh et al., 2017, eq. 2"

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR)
        with (
            recorded(model.pixels, "forward") as pixels,
            recorded(model.flow, "forward") as flows,
        ):
            found = model.objective(self.subject.batch).losses
        u, log_det = flows[0].result
        log_p = distributions.Normal(0.0, 1.0).log_prob(u).sum(1) + log_det + pixels[0].result[1]
        return error(found["nll"], -log_p.mean()) if set(found) == {"nll"} else float("inf")


class SumsToOne(Certificate):
    """The density of points in the plane, summed over a fine grid."""

    of = (FlowDensity,)
    property = "the density of the plane integrates to one, over a grid"
    source = "Rezende & Mohamed, 2015, eq. 5"
    bound = 1e-3  # of the grid

    def measure(self) -> float | None:
        model = self.subject.model(stirred=STIR).eval()
        if math.prod(model.shape) != 2:
            return None
        sd = float(model.pixels(self.subject.batch[0])[0].std())
        axis = torch.linspace(-REACH * sd, REACH * sd, SIDE)
        with torch.no_grad():
            density = model.log_prob(torch.cartesian_prod(axis, axis)).exp()
        return error(density.sum() * (axis[1] - axis[0]) ** 2, 1.0)


class Distillation(Certificate):
    """Cross-entropy and entropy of the student's samples, by both densities."""

    of = (Distilled,)
    name = "objective"
    property = "KL(S || T) of the student's own samples, by the densities of both flows"
    source = "van den Oord et al., 2018, eq. 6"

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR)
        model.set_step(model.teacher_steps)
        with recorded(model.flow, "inverse") as samples, torch.no_grad():
            found = model.objective(self.subject.batch).losses
            v, u = samples[0].result[0], samples[0].args[0]
            entropy = 0.5 * u.shape[1] * math.log(2 * math.pi * math.e)
            normal = distributions.Normal(0.0, 1.0).log_prob(u).sum(1)
            expected = {
                "cross_entropy": -model.teacher.log_prob(v).mean(),
                "negative_entropy": (model.log_prob(v) - normal).mean() - entropy,
            }
        if found.keys() != expected.keys():
            return float("inf")
        return largest(*(error(found[name], value) for name, value in expected.items()))


class TeacherFirst(Certificate):
    of = (Distilled,)
    property = "the first steps train the teacher alone, and later ones the student alone"
    source = "van den Oord et al., 2018, section 3"
    bound = 0.0

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        wrong = 0.0
        for step, player in ((0, model.teacher), (model.teacher_steps, model.flow)):
            model.set_step(step)
            model.zero_grad()
            model.objective(batch).loss.backward()
            mine = {id(p) for p in player.parameters()}
            slopes = {id(p): p.grad for p in model.parameters() if p.grad is not None}
            others = [g.abs().max() for key, g in slopes.items() if key not in mine]
            wrong += float(sum(others)) + float(not mine & slopes.keys())
        return wrong


class LogitJacobian(Certificate):
    """log |dv/dt| of v = logit(alpha + (1 - 2 alpha) t / 256), t the brightness, by autograd."""

    of = (Logit,)
    property = "log |det dv/dk| of the logits of 8-bit pixels is that of autograd"
    source = "Papamakarios et al., 2017, appendix E.2; Dinh et al., 2017, section 4.1"
    bound = 1e-8

    def measure(self) -> float:
        alpha = float(self.node["alpha"])
        x = (torch.randint(256, (3, 1, 4, 4)) / 127.5 - 1).double()
        v, found = Logit(alpha)(x)
        t = (torch.sigmoid(v) - alpha) / (1 - 2 * alpha) * 256
        t = t.detach().requires_grad_()
        again = torch.logit(alpha + (1 - 2 * alpha) * t / 256)
        (slope,) = torch.autograd.grad(again.sum(), t)
        inside = float(((t.detach().floor() / 127.5 - 1) - x).abs().max())
        return largest(error(again, v), error(found, slope.log().flatten(1).sum(1)), inside)
