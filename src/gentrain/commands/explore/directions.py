"""Directions of the noise along which images change most.

Härkönen, Hertzmann, Lehtinen & Paris, "GANSpace: discovering interpretable GAN controls", 2020: the
principal components of many draws, and the noise that belongs to each by linear regression. There
the components are of a layer's activations; here they are of the images, so that every model whose
images are a function of noise has them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.commands.sample.mode import repeat_labels
from gentrain.commands.sample.session import SampleSession

DRAWS, DRAWS_OF_SEQUENTIAL = 512, 64  # a sequential model takes seconds for each hundred


def principal_directions(session: SampleSession, count: int, draws: int | None = None) -> Tensor:
    """Unit vectors of the noise, the one that changes images most first.

    With noise z_i and centred images x_i of N draws, and the principal components u_k of the
    images:

        s_ik = <x_i, u_k>,    v_k ~ sum_i s_ik z_i

    which is the least-squares fit of s_k by the noise, N(0, I), up to its length.

    Args:
        session: draws the noise, and the images of its first label.
        count: K, at most the length L of the noise.
        draws: N; None for 512, or for 64 of a model that draws value by value.

    Returns:
        (K, L); the largest value of each is positive.
    """
    n = draws or (DRAWS_OF_SEQUENTIAL if session.model.sequential else DRAWS)
    z = session.noise(n)
    x = session.images(z, repeat_labels(session.labels(1), n)).flatten(1).double()
    x = x - x.mean(0)
    # the scores of principal components are eigenvectors of the images' Gram matrix
    scores = torch.linalg.eigh(x @ x.T).eigenvectors.flip(1)[:, :count]
    v = F.normalize(scores.T @ z.flatten(1).double(), dim=1)
    largest = v.gather(1, v.abs().argmax(1, keepdim=True))
    return (v * largest.sign()).float()
