"""Certificates of the tricks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.adversarial import tricks
from gentrain.adversarial.tricks.networks import MinibatchSimilarity
from gentrain.certificates.base import Certificate, error, largest, recorded


class Trick(Certificate):
    """A certificate of a trick of the system."""

    def parts(self, kind: type, **options: Any) -> tuple[Any, Any]:
        """The model and its trick of a kind."""
        model = self.subject.model(**options)
        return model, next(one for one in model.each_regularizer() if type(one) is kind)


class AveragedWeights(Trick):
    of = (tricks.EMA,)
    property = "samples come from mean <- d mean + (1 - d) w, with the warm-up of d"
    source = "Karras et al., 2018, section 6; Yazici et al., 2019"

    def measure(self) -> float:
        model, _ = self.parts(tricks.EMA)
        mean = [p.detach().clone() for p in model.generator.parameters()]
        for t in range(3):
            with torch.no_grad():
                for p in model.generator.parameters():
                    p += 0.1 * torch.randn_like(p)
            model.after_generator_step()
            decay = float(self.node["decay"])
            decay = min(decay, (1 + t) / (10 + t)) if self.node["warm_up"] else decay
            new = [p.detach() for p in model.generator.parameters()]
            mean = [decay * m + (1 - decay) * p for m, p in zip(mean, new, strict=True)]
        return largest(*map(error, model.ema_generator.parameters(), mean))


class MeansOfFeatures(Trick):
    of = (tricks.FeatureMatching,)
    property = "|| mean f(x) - mean f(G) ||^2, with the gradient of the fakes alone"
    source = "Salimans et al., 2016, section 3.1"

    def measure(self) -> float:
        model, trick = self.parts(tricks.FeatureMatching)
        with recorded(trick, "generator_term") as calls:
            losses = model.generator_loss(self.subject.batch).losses
        logged = [t for name, t in losses.items() if name.startswith("feature_matching")]
        if [t.item() for t in logged] != [call.result.item() for call in calls]:
            return float("inf")
        _, real, fake = calls[0].args
        f, weight = FixedFeatures(), float(self.node["weight"])
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        value = trick.generator_term(f, real, fake)
        expected = weight * ((f.features(real).mean(0) - f.features(fake).mean(0)) ** 2).sum()
        on_real, on_fake = torch.autograd.grad(value, (real, fake), allow_unused=True)
        (slope,) = torch.autograd.grad(expected, fake)
        detached = 0.0 if on_real is None else float(on_real.abs().max())
        return largest(error(value, expected), error(on_fake, slope), detached)


class FixedFeatures:
    """A critic whose features are sines of the pixels."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.features(x).sum(1)

    def features(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, F)."""
        return torch.sin(3 * x.flatten(1))


class Cosines(Trick):
    of = (tricks.PullingAway,)
    property = "the mean squared cosine of all pairs of fakes' features, by a double loop"
    source = "Zhao et al., 2017, eq. 4"

    def measure(self) -> float:
        model, trick = self.parts(tricks.PullingAway)
        with recorded(trick, "generator_term") as calls:
            model.generator_loss(self.subject.batch)
        critic, real, fake = calls[0].args
        torch.manual_seed(self.subject.seed)  # of a critic with dropout
        found = trick.generator_term(critic, real, fake)
        torch.manual_seed(self.subject.seed)
        S = critic.features(fake)
        pairs = [(i, j) for i in range(len(S)) for j in range(len(S)) if i != j]
        cosines = [S[i] @ S[j] / (S[i].norm() * S[j].norm()) for i, j in pairs]
        mean = torch.stack(cosines).square().mean()
        return error(found, float(self.node["weight"]) * mean)


class DistanceToThePast(Trick):
    of = (tricks.HistoricalAveraging,)
    property = "the squared distance of the weights to the mean of all earlier ones, of both"
    source = "Salimans et al., 2016, section 3.3"

    def measure(self) -> float:
        model, _ = self.parts(tricks.HistoricalAveraging)
        past: dict[str, list[list[Tensor]]] = {"critic": [], "generator": []}
        for _ in range(3):
            for player, each in past.items():
                with torch.no_grad():
                    for p in model.player(player).parameters():
                        p += 0.1 * torch.randn_like(p)
                each.append([p.detach().clone() for p in model.player(player).parameters()])
            model.after_critic_step({})
            model.after_generator_step()
        with torch.no_grad():
            for p in model.parameters():
                p += 0.1
        batch = self.subject.batch
        found = model.critic_loss(batch).losses, model.generator_loss(batch).losses
        errors = []
        for (player, each), losses in zip(past.items(), found, strict=True):
            means = [torch.stack(ps).mean(0) for ps in zip(*each, strict=True)]
            now = model.player(player).parameters()
            squares = [(p - mean).square().sum() for p, mean in zip(now, means, strict=True)]
            expected = float(self.node["weight"]) * torch.stack(squares).sum()
            errors.append(error(losses["historical_averaging"], expected))
        return largest(*errors)


class FiltersApart(Trick):
    of = (tricks.Orthogonal,)
    property = "sum over weights of || W W^T off its diagonal ||^2, by a loop over rows"
    source = "Brock et al., 2019, eq. 3"

    def measure(self) -> float:
        model, trick = self.parts(tricks.Orthogonal)
        found = model.generator_loss(self.subject.batch).losses["orthogonal"]
        total = torch.zeros(())
        for weight, scale in trick.weights:
            rows = scale * weight.detach().flatten(1)
            squares = (rows @ rows.T).square()
            total = total + squares.sum() - rows.norm(dim=1).pow(4).sum()
        return error(found, float(self.node["weight"]) * total) if trick.weights else float("inf")


class Similarities(Trick):
    of = (tricks.MinibatchDiscrimination,)
    property = "the critic sees sums of exp(-|M_i - M_j|_1), by a double loop"
    source = "Salimans et al., 2016, section 3.2"

    def measure(self) -> float:
        model, _ = self.parts(tricks.MinibatchDiscrimination)
        found = [one for one in model.critic.modules() if type(one) is MinibatchSimilarity]
        if not found:
            return float("inf")
        (layer,) = found
        h = torch.randn(5, layer.T.in_features)
        M = layer.T(h).view(5, layer.kernels, layer.dim)
        rows = [
            sum((-(M[i] - M[j]).abs().sum(1)).exp() for j in range(5) if j != i) for i in range(5)
        ]
        return error(layer(h), torch.cat([h, torch.stack(rows)], 1))  # type: ignore[arg-type]


class Packs(Trick):
    of = (tricks.Packing,)
    property = "the critic scores m images at once: each pack has m of one kind, on its channels"
    source = "Lin et al., 2018, section 3"

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        m, x = int(self.node["m"]), batch[0]
        with recorded(model, "scores") as calls:
            model.critic_loss(batch)
        _, real, fake = calls[0].args
        rows = [torch.cat(list(x[i : i + m])) for i in range(0, len(x), m)]
        shaped = fake.shape == real.shape and len(calls[0].result[0]) == len(rows)
        return error(real, torch.stack(rows)) if shaped else float("inf")


class OldFakes(Trick):
    of = (tricks.Replay,)
    property = "the critic sees a new fake or one of the pool, never a real image or another size"
    source = "Shrivastava et al., 2017, section 2.3"
    bound = 0.0

    def measure(self) -> float:
        model, trick = self.parts(tricks.Replay)
        domain, shape = model.domains[0], (3, *self.subject.batch[0].shape[1:])
        past: list[Tensor] = []
        wrong = 0
        for t in range(4):
            real, fake = torch.full(shape, -1.0), t + torch.rand(shape)
            past += list(fake)
            seen_real, seen = trick.transform_batch(real, fake, True, domain)
            again = trick.transform_batch(real, fake, False, domain)[1]
            known = all(any(torch.equal(x, old) for old in past) for x in seen)
            wrong += not (known and torch.equal(seen_real, real) and torch.equal(again, fake))
        return float(wrong)


class BestFakes(Trick):
    of = (tricks.TopK,)
    property = "the generator's loss is of the max(gamma^n, nu) B highest scores, the critic's of B"
    source = "Sinha et al., 2020, section 3"
    bound = 0.0

    def measure(self) -> float:
        model, trick = self.parts(tricks.TopK)
        wrong = 0
        for decays in (0, 7, 1000):
            trick.updates = decays * int(self.node["every"])
            share = max(float(self.node["gamma"]) ** decays, float(self.node["nu"]))
            with recorded(trick, "transform_scores") as calls:
                model.critic_loss(self.subject.batch)
                model.generator_loss(self.subject.batch)
            for call in calls:
                *_, scores, critics_turn = call.args
                k = len(scores) if critics_turn else max(1, round(share * len(scores)))
                best = sorted(scores.tolist())[-k:]
                wrong += sorted(call.result[1].tolist()) != best
            wrong += not calls
        return float(wrong)


class ForeseenCritic(Trick):
    of = (tricks.Unrolled,)
    property = "the term is the generator's loss of the critic after K real steps of descent"
    source = "Metz et al., 2017, eq. 5 to 7"

    def measure(self) -> float:
        model, trick = self.parts(tricks.Unrolled)
        with recorded(trick, "generator_term") as calls:
            model.generator_loss(self.subject.batch)
        critic, *images = calls[0].args
        real, fake = (x.detach() for x in images)
        buffers = {name: b.clone() for name, b in model.critic.named_buffers()}
        torch.manual_seed(self.subject.seed)
        found = trick.generator_term(critic, real, fake)
        for name, buffer in model.critic.named_buffers():
            buffer.copy_(buffers[name])
        torch.manual_seed(self.subject.seed)
        for _ in range(int(self.node["inner_steps"])):
            weights = [p for p in model.critic.parameters() if p.requires_grad]
            slopes = torch.autograd.grad(
                model.critic_objective(critic, real, fake), weights, allow_unused=True
            )
            with torch.no_grad():
                for p, slope in zip(weights, slopes, strict=True):
                    if slope is not None:
                        p -= float(self.node["rate"]) * slope
        return error(found, model.generator_objective(critic, real, fake))
