"""Certificates of what single GAN papers add: labels, codes, cycles, known pixels, growth."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributions

from gentrain.certificates.base import Certificate, error, largest, recorded
from gentrain.certificates.regression import PairedContent
from gentrain.models.base import eval_mode
from gentrain.models.gan.acgan import AuxiliaryClassifierGAN
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.models.gan.colorization import Colorization
from gentrain.models.gan.cyclegan import CycleGAN
from gentrain.models.gan.infogan import InfoGAN
from gentrain.models.gan.inpainting import Inpainting
from gentrain.models.gan.progan import ProgressiveGAN, body
from gentrain.models.gan.semi_supervised import SemiSupervisedGAN
from gentrain.models.gan.stargan import StarGAN

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-mean log softmax(logits)_y, by a loop."""
    each = [row[k] - row.exp().sum().log() for row, k in zip(logits, y.tolist(), strict=True)]
    return -torch.stack(each).mean()


def compared(found: dict[str, Tensor], expected: dict[str, Any]) -> float:
    """The largest error of the terms that are expected; one that is missing is no term at all."""
    if not expected.keys() <= found.keys():
        return float("inf")
    return largest(*(error(found[name], value) for name, value in expected.items()))


# --- labels ---------------------------------------------------------------------------------------


class LabelsAreSeen(Certificate):
    """Images of the same noise differ by their label, and so do the scores of one image.

    Of a critic that is shown wrong labels as well, the last batch has these alone.
    """

    of = (ConditionalGAN,)
    property = "the generator and the critic see the label, the right one beside each image"
    source = "Mirza & Osindero, 2014, eq. 2; Reed et al., 2016, algorithm 1"
    bound = 0.0

    def measure(self) -> float:
        model, (x, y) = self.subject.model(stirred=0.05), self.subject.batch
        other = (y + 1) % self.subject.config["model"]["classes"]
        with recorded(model.critic, "forward") as calls:
            model.critic_loss((x, y))
        labels = torch.cat([call.args[1] for call in calls])
        differ = labels.view(-1, len(y)) != y
        if model.matching_aware:
            differ[-1].logical_not_()
        wrong = int(differ.sum())
        with eval_mode(model):
            z = model.noise(len(y), "cpu")
            made = [model.generate(model.generator, (x, each), z) for each in (y, other)]
            scores = [model.critic(x, each) for each in (y, other)]
        seen = error(*made) and error(*scores)
        return float(wrong) if seen else float("inf")


class Classification(Certificate):
    """Both players' cross-entropies, from the logits that the critic gave."""

    of = (AuxiliaryClassifierGAN,)
    property = "L_C is the cross-entropy of both batches (critic) or of the fakes (generator)"
    source = "Odena et al., 2017, eq. 3"

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        y, weight = batch[1], float(self.node["weight"])
        with recorded(model.critic, "classify") as of_critic:
            critic = model.critic_loss(batch).losses
        with recorded(model.critic, "classify") as of_generator:
            generator = model.generator_loss(batch).losses
        losses = zip((critic, generator), (of_critic, of_generator), (2, 1), strict=True)
        return largest(*(self.error(found, calls, n, y, weight) for found, calls, n in losses))

    def error(
        self, losses: dict[str, Tensor], calls: list[Any], n: int, y: Tensor, weight: float
    ) -> float:
        """How far a player's term is from the cross-entropies of n batches."""
        expected = weight * sum(cross_entropy(call.result, y) for call in calls)
        return compared(losses, {"classification": expected}) if len(calls) == n else float("inf")


class FewLabels(Certificate):
    """The critic's score is log sum exp of its logits, and only few images are classified."""

    of = (SemiSupervisedGAN,)
    property = "D = log sum_k exp l_k, and -log softmax(l)_y of the labelled images alone"
    source = "Salimans et al., 2016, section 5"

    def measure(self) -> float:
        model, (x, labelled, y) = self.subject.model(), self.subject.batch
        with recorded(model.critic, "logits") as calls:
            losses = model.critic_loss((x, labelled, y)).losses
        shown = [call for call in calls if torch.equal(call.args[0], labelled)]
        if len(shown) != 1:
            return float("inf")
        expected = self.node["weight"] * cross_entropy(shown[0].result, y)
        model.critic.eval()
        logits = model.critic.logits(x)
        score = error(model.critic(x), logits.exp().sum(1).log())
        return largest(score, compared(losses, {"classification": expected}))


class AveragedCritic(Certificate):
    of = (SemiSupervisedGAN,)
    property = "classes are named by the moving average of the critic's weights"
    source = "Salimans et al., 2016, the authors' code"

    def measure(self) -> float:
        model = self.subject.model()
        mean = [p.detach().clone() for p in model.critic.parameters()]
        for t in range(1, 4):
            with torch.no_grad():
                for p in model.critic.parameters():
                    p += 0.1 * torch.randn_like(p)
            model.after_critic_step({})
            keep = min(float(self.node["decay"]), (t + 1) / (t + 10))
            new = [p.detach() for p in model.critic.parameters()]
            mean = [keep * m + (1 - keep) * p for m, p in zip(mean, new, strict=True)]
        return largest(*map(error, model.averaged_critic.parameters(), mean))


# --- codes ----------------------------------------------------------------------------------------


class Information(Certificate):
    """-lambda (H(c) + E log q(c | G(z, c))) of the codes that the fakes were made of."""

    of = (InfoGAN,)
    property = "the information is H(c) + E log q(c|x) of the fakes' own codes"
    source = "Chen et al., 2016, eq. 5"

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        errors = []
        for objective in (model.critic_loss, model.generator_loss):
            with (
                recorded(model, "scores") as of_both,
                recorded(model, "generator_scores") as of_fakes,
                recorded(model.critic, "classify") as read,
                recorded(model.generator, "noise") as drawn,
            ):
                losses = objective(batch).losses
            _, fakes = [*of_fakes, *of_both][0].result  # Q may also read other images
            outputs = [call.result for call in read if call.args[0] is fakes]
            if len(outputs) != 1:
                return float("inf")
            bound = self.bound_of(drawn[0].result, outputs[0])
            errors.append(compared(losses, {"information": -bound}))
        return largest(*errors)

    def bound_of(self, z: Tensor, outputs: Tensor) -> Tensor:
        """The weighted bound of the codes at the end of z, by torch.distributions."""
        sizes, continuous = self.node["categories"], self.node["continuous"]
        codes = z[:, -(sum(sizes) + continuous) :]
        total, at = torch.zeros(()), 0
        for k in sizes:
            q = distributions.Categorical(logits=outputs[:, at : at + k])
            log_q = q.log_prob(codes[:, at : at + k].argmax(1)).mean()
            total, at = total + self.node["information"] * (math.log(k) + log_q), at + k
        weight = self.node["continuous_information"]
        weight = self.node["information"] if weight is None else weight
        mean, rest = outputs[:, at : at + continuous], outputs[:, at + continuous :]
        sd = (rest / 2).exp() if self.node["deviation"] is None else self.node["deviation"]
        log_q = distributions.Normal(mean, sd).log_prob(codes[:, at:]).sum(1).mean()
        return total + weight * (continuous * math.log(2) + log_q)


class RolesExchanged(Certificate):
    """The loss that trains the encoder is that of the generator with the roles exchanged."""

    of = (BiGAN,)
    property = "the encoder's term is the loss of real pairs that shall be taken for fake"
    source = "Donahue et al., 2017, section 3.4"

    def measure(self) -> float | None:
        if str(self.subject.option("loss._target_")).rpartition(".")[2] != "js":
            return None
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model, "scores") as calls:
            losses = model.generator_loss(batch).losses
        on_real, on_fake = calls[0].result
        expected = {
            "adversarial": -torch.sigmoid(on_fake).log().mean(),
            "inference": -torch.sigmoid(-on_real).log().mean(),
        }
        return compared(losses, expected)


# --- translation ----------------------------------------------------------------------------------


class Cycles(Certificate):
    of = (CycleGAN,)
    property = "cycle |F(G(a)) - a| and identity |F(a) - a| of both domains, by their weights"
    source = "Zhu et al., 2017, eq. 2 and section 5.2"

    def measure(self) -> float:
        model, (b, a) = self.subject.model(), self.subject.batch[:2]
        found = model.generator_loss(self.subject.batch).losses
        G, back, cycle = model.generator.there, model.generator.back, float(self.node["cycle"])
        expected = {
            "target_cycle": cycle * (G(back(b)) - b).abs().mean(),
            "source_cycle": cycle * (back(G(a)) - a).abs().mean(),
        }
        if self.node["identity"]:
            share = cycle * float(self.node["identity"])
            expected["target_identity"] = share * (G(b) - b).abs().mean()
            expected["source_identity"] = share * (back(a) - a).abs().mean()
        return compared(found, expected)


class Domains(Certificate):
    """The domains of real images, of translated ones, and the way back."""

    of = (StarGAN,)
    property = "the critic names domains of real images alone; G(G(x, c), c') comes back to x"
    source = "Choi et al., 2018, eq. 2 to 4"

    def measure(self) -> float:
        model, (x, y) = self.subject.model(), self.subject.batch
        with recorded(model.critic, "classify") as of_critic:
            critic = model.critic_loss((x, y)).losses
        with (
            recorded(model.critic, "classify") as of_generator,
            recorded(model.generator, "forward") as made,
        ):
            generator = model.generator_loss((x, y)).losses
        (there, target), (again, home) = (call.args for call in made[:2])
        if self.subject.option("data.label_kind._target_", "").rpartition(".")[2] != "Exclusive":
            return error(there, x)
        names = cross_entropy(of_critic[0].result, y)
        expected = self.node["reconstruction"] * (made[1].result - x).abs().mean()
        of_target = self.node["classification"] * cross_entropy(of_generator[0].result, target)
        return largest(
            compared(critic, {"classification": self.node["classification"] * names}),
            compared(generator, {"reconstruction": expected, "classification": of_target}),
            error(there, x),
            error(again, made[0].result),
            error(home, y),
            0.0 if len(of_critic) == 1 else float("inf"),
        )


class Holes(PairedContent):
    """The squared error of holes and of known pixels, by a loop over the masks."""

    of = (Inpainting,)
    property = "w times the error of the pixels that are asked for, by their masks"
    source = "Pathak et al., 2016, eq. 1, and the authors' code"

    def measure(self) -> float | None:
        content = str(self.subject.option("content._target_")).rpartition(".")[2]
        if content != "l2" or self.node["overlap"] is not None:
            return None
        model, (target, source) = self.subject.model(), self.subject.batch[:2]
        with recorded(model, "generate") as calls:
            losses = model.generator_loss(self.subject.batch).losses
        known = (source[:, -1:] > 0).expand_as(target)
        squares = (calls[0].result - target).square()
        weight = float(self.node["known_weight"])
        asked = target.numel() if weight else int((~known).sum())
        total = squares[~known].sum() + weight * squares[known].sum()
        return compared(losses, {"content": self.node["content_weight"] * total / asked})


class KnownPixels(Certificate):
    of = (Inpainting,)
    property = "known pixels of a completed image are as they were, bit for bit"
    source = "Pathak et al., 2016, section 3.2"
    bound = 0.0

    def measure(self) -> float:
        model, (target, source) = self.subject.model(), self.subject.batch[:2]
        made = model.sample(self.subject.batch)
        known = (source[:, -1:] > 0).expand_as(target)
        changed = bool((made != target)[~known].any())
        return float((made - target)[known].abs().max()) if changed else float("inf")


class Luma(Certificate):
    of = (Colorization,)
    property = "the luma of a coloured image is the source"
    source = "Isola et al., 2017, section 4.2; ITU-R BT.601"
    bound = 1e-6

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        made = model.generate(model.generator, batch)
        luma = sum(w * made[:, i : i + 1] for i, w in enumerate(LUMA))
        return error(luma, batch[1])


# --- growth ---------------------------------------------------------------------------------------


class FadingIn(Certificate):
    """A level that has not faded in gives the images and scores of the level before."""

    of = (ProgressiveGAN,)
    property = "a new level starts as the old one, and alpha blends the two"
    source = "Karras et al., 2018, section 2 and figure 2"

    def measure(self) -> float:
        model, x = self.subject.model(), self.subject.batch[0]
        G, D = body(model.generator), body(model.critic)
        z, errors = model.noise(4, "cpu"), []
        x = x[:4]
        with eval_mode(model):
            for level in range(1, len(G.sides)):
                images, scores = [], []
                for stage in ((level - 1, 1.0), (level, 0.0), (level, 0.25), (level, 1.0)):
                    G.grow(*stage)
                    D.grow(*stage)
                    images.append(model.generator(z))
                    scores.append(model.critic(x))
                blended = 0.75 * images[1] + 0.25 * images[3]
                errors += [error(images[1], images[0]), error(images[2], blended)]
                errors.append(error(scores[1], scores[0]))
        return largest(*errors)


class RealImagesShrink(Certificate):
    of = (ProgressiveGAN,)
    property = "the critic sees real images of the level's size, and fading detail of them"
    source = "Karras et al., 2018, section 3, and the authors' code"

    def measure(self) -> float:
        model, x = self.subject.model(), self.subject.batch[0]
        D, growth, errors = body(model.critic), model.regularizers["growth"], []
        for level, side in enumerate(D.sides):
            for alpha in (0.25, 1.0) if level else (1.0,):
                D.grow(level, alpha)
                real, _ = growth.transform_batch(x, x, critics_turn=True)
                factor = max(x.shape[2:]) // side
                sharp = F.avg_pool2d(x, factor)
                dull = F.interpolate(F.avg_pool2d(sharp, 2), scale_factor=2) if level else sharp
                errors.append(error(real, alpha * sharp + (1 - alpha) * dull))
        return largest(*errors)


# --- networks -------------------------------------------------------------------------------------


class OneScoreEach(Certificate):
    """Scores of a batch in another order are the scores in that order; of one image, its own."""

    of = (AdversarialModel,)
    property = "the critic gives one score for each image, whatever its place in the batch"
    source = "Goodfellow et al., 2014, section 3"
    bound = 1e-6

    def measure(self) -> float | None:
        if self.subject.option("tricks.packing"):
            return None  # a pack of images has one score; see `Packs`
        model, x = self.subject.model(), self.subject.batch[0]
        batch = tuple(each.flip(0) for each in self.subject.batch)
        with eval_mode(model):
            scores = [model.critic_scores(each) for each in (self.subject.batch, batch)]
            if not torch.equal(scores[0], model.critic_scores(self.subject.batch)):
                return None  # a trick changes images at random: they have no score of their own
        shaped = scores[0].shape == (len(x),)
        return error(scores[0].flip(0), scores[1]) if shaped else float("inf")
