"""Autoregressive flows: each value is transformed with parameters that depend on those before it.

- Inverse autoregressive flow (Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, "Improved
  Variational Inference with Inverse Autoregressive Flow", 2016): noise to data in one pass.
- Masked autoregressive flow (Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for
  Density Estimation", 2017): data to noise in one pass.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Positive, Whole
from gentrain.errors import UserError
from gentrain.layers.masked import MADE
from gentrain.models.flow.base import Flow, Pair

STATISTICS = 10_000  # training samples whose mean and variance are those of batch norm at test


class Identity(Flow):
    """The values themselves."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return z, z.new_zeros(len(z))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self(z)


class BatchNorm(Flow):
    """Batch normalisation as an invertible map (Dinh et al., 2017, section 3.7).

        y_i = exp(g_i) (x_i - m_i) / sqrt(v_i) + b_i,    log |det dy/dx| = sum_i g_i - log(v_i) / 2

    In training, m and v are mean and variance of the batch, and the gradient goes through them.
    Otherwise, and for the inverse, they are those of the data of `set_statistics`.

    Args:
        size: D, the number of values.
        eps: is added to the variances.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.log_gain = nn.Parameter(torch.zeros(size))
        self.shift = nn.Parameter(torch.zeros(size))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        mean, variance = self.moments(z) if self.training else (self.mean, self.variance)
        log_slope = self.log_gain - variance.log() / 2
        y = (z - mean) * log_slope.exp() + self.shift
        return y, log_slope.sum().expand(len(z))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        log_slope = self.variance.log() / 2 - self.log_gain
        x = (z - self.shift) * log_slope.exp() + self.mean
        return x, log_slope.sum().expand(len(z))

    def set_statistics(self, z: Tensor) -> None:
        mean, variance = self.moments(z)
        self.mean.copy_(mean)
        self.variance.copy_(variance)

    def moments(self, z: Tensor) -> Pair:
        """Mean and variance (D,) of a batch (B, D).

        Raises:
            UserError: for a batch of one sample.
        """
        if len(z) < 2:
            raise UserError(
                "a batch of 1 has no variance for batch norm (data.batch_size); use more"
            )
        return z.mean(0), z.var(0, unbiased=False) + self.eps


class AutoregressiveFlow(Flow):
    """A stack of elementwise maps whose parameters come from the values before, by a MADE each.

    The order of the values is reversed between the maps. `forward` takes one pass; `inverse`
    computes the values one after the other.

    Args:
        size: D, the number of values.
        layers: the number of maps.
        width: hidden units of each MADE, at least `size`.
        depth: hidden layers of each MADE.
        context: numbers of each sample that every map may depend on.
        bound: c of a log-slope c tanh(a / c) for a free number a, so that it stays in (-c, c); None
            for a itself. Far from the data a grows without limit, and since the next map sees
            exp(a), a few maps overflow.
        batch_norm: a `BatchNorm` after each map.

    Raises:
        UserError: where there are fewer hidden units than values.
    """

    sequential = True

    def __init__(
        self,
        size: int,
        layers: int,
        width: int,
        depth: int,
        context: int = 0,
        bound: float | None = None,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if width < size:
            raise UserError(
                f"{width} hidden units for {size} values (model.flow.width): a value could not see "
                f"all before it; give {size} or more"
            )
        self.context, self.bound = context, bound
        self.maps = nn.ModuleList(MADE(size, 2, width, depth, context) for _ in range(layers))
        self.norms = nn.ModuleList(
            BatchNorm(size) if batch_norm else Identity() for _ in range(layers)
        )
        self.reference_size = STATISTICS if batch_norm else 0

    @abstractmethod
    def transform(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        """Values and their two parameters, all of one shape -> new values, and log-slopes."""

    @abstractmethod
    def invert(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        """The inverse of `transform`, and the log-slopes of the inverse."""

    def log_slope(self, a: Tensor) -> Tensor:
        """The bounded log-slope of a free number."""
        return a if self.bound is None else self.bound * torch.tanh(a / self.bound)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for made, norm in zip(self.maps, self.norms, strict=True):
            z, slopes = self.transform(z, *made(z, context).unbind(1))
            z, log_det = norm(z)
            z, total = z.flip(1), total + slopes.sum(1) + log_det
        return z, total

    @torch.no_grad()
    def set_statistics(self, z: Tensor) -> None:
        for made, norm in zip(self.maps, self.norms, strict=True):
            z = self.transform(z, *made(z).unbind(1))[0]
            norm.set_statistics(z)  # type: ignore[operator]
            z = norm(z)[0].flip(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        # the cache writes in place, which autograd does not allow
        invert = self.invert_by_passes if torch.is_grad_enabled() else self.invert_with_cache
        total = z.new_zeros(len(z))
        for made, norm in zip(reversed(self.maps), reversed(self.norms), strict=True):
            z, of_norm = norm.inverse(z.flip(1))  # type: ignore[operator]
            z, log_det = invert(made, z, context)
            total = total + of_norm + log_det
        return z, total

    def invert_with_cache(self, made: Any, z: Tensor, context: Tensor | None) -> Pair:
        """Invert one map without gradients; each hidden unit is computed once."""
        slopes = []

        def fill(i: int, parameters: Tensor) -> Tensor:
            x, slope = self.invert(z[:, i], *parameters.unbind(1))
            slopes.append(slope)
            return x

        x = made.fill_sequentially(fill, z, context)
        return x, torch.stack(slopes).sum(0)

    def invert_by_passes(self, made: Any, z: Tensor, context: Tensor | None) -> Pair:
        """Invert one map with gradients: after k of D passes the first k values are right."""
        x, slopes = torch.zeros_like(z), torch.zeros_like(z)
        place = torch.arange(z.shape[1], device=z.device)
        for k in range(z.shape[1]):
            x, slopes = self.invert(z, *made(x, context).unbind(1))
            x = torch.where(place <= k, x, 0.0)
        return x, slopes.sum(1)


class InverseAutoregressive(AutoregressiveFlow):
    """IAF (Kingma et al., 2016), from noise to data.

        gated:      z_i <- s_i z_i + (1 - s_i) m_i,     s_i = sigmoid(a_i + 2)
        otherwise:  z_i <- exp(a_i) z_i + m_i           (Papamakarios et al., 2017)

    m_i and a_i are functions of z_0 ... z_(i-1) and of the context. A gated map starts near the
    identity, and no slope is above 1.

    Args:
        latent: D, the number of values.
        layers: the number of maps.
        width: hidden units of each MADE.
        depth: hidden layers of each MADE.
        context: numbers of each sample that every map may depend on.
        gated: the form of the map.
        bound: bound of the log-slopes, where not gated; see `AutoregressiveFlow`.

    Raises:
        UserError: for a bound of gated maps.
    """

    def __init__(
        self,
        latent: Count,
        layers: Count = 4,
        width: Count = 320,
        depth: Count = 1,
        context: Whole = 0,
        gated: bool = True,
        bound: Positive | None = None,
    ) -> None:
        if gated and bound is not None:
            raise UserError(
                "the slope of a gated map is below 1, and has no other bound "
                "(model.flow: gated, bound); write gated=false, or bound=null"
            )
        super().__init__(latent, layers, width, depth, context, bound)
        self.gated = gated

    def transform(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        if self.gated:
            gate = torch.sigmoid(second + 2)
            return gate * z + (1 - gate) * first, F.logsigmoid(second + 2)
        a = self.log_slope(second)
        return z * torch.exp(a) + first, a

    def invert(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        if self.gated:
            gate = torch.sigmoid(second + 2)
            return (z - (1 - gate) * first) / gate, -F.logsigmoid(second + 2)
        a = self.log_slope(second)
        return (z - first) * torch.exp(-a), -a


class MaskedAutoregressive(AutoregressiveFlow):
    """MAF (Papamakarios, Pavlakou & Murray, 2017), from data to noise.

        u_i = (x_i - m_i) exp(-a_i),        log |det du/dx| = -sum_i a_i

    m_i and a_i are functions of x_0 ... x_(i-1). The paper has no `bound`.

    Args:
        shape: shape of the data.
        layers: the number of maps.
        width: hidden units of each MADE.
        depth: hidden layers of each MADE.
        bound: bound of the log-slopes; see `AutoregressiveFlow`.
        batch_norm: a `BatchNorm` after each map.
    """

    def __init__(
        self,
        shape: list[int],
        layers: Count = 5,
        width: Count = 1024,
        depth: Count = 1,
        bound: Positive | None = None,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(math.prod(shape), layers, width, depth, bound=bound, batch_norm=batch_norm)

    def transform(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        a = self.log_slope(second)
        return (z - first) * torch.exp(-a), -a

    def invert(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        a = self.log_slope(second)
        return z * torch.exp(a) + first, a
