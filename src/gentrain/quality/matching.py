"""Whether the groups into which a model sorts images are their classes.

A group has no name. Groups and classes are matched one to one, so that most images are right: the
assignment problem (Kuhn, "The Hungarian method", 1955), here by shortest augmenting paths (Jonker &
Volgenant, 1987).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.data.base import Data
from gentrain.data.labels import Exclusive
from gentrain.errors import UserError
from gentrain.models.base import Clusters, GenerativeModel
from gentrain.quality.base import BINOMIAL, Score
from gentrain.quality.test_error import LabelMetric


class MatchedAccuracy(LabelMetric):
    """The share of held-out images whose group is the one that is matched to their class.

    The matching is the best one for the images that are scored: it is the only use of labels.
    Images of a group or a class that is matched to none are wrong.
    """

    key = "callbacks.matched_accuracy"
    requires = Clusters
    optional = True  # data may have no labels
    scores: ClassVar = {
        "matched_accuracy": Score("share of images", higher_is_better=True, error=BINOMIAL)
    }

    def check(self, data: Data, model: Any) -> None:
        super().check(data, model)
        if not model.categories:
            raise UserError(
                f"the model has no categories to match with classes (model.categories, {self.key});"
                " give model.categories=[10]"
            )
        if type(data.label_kind) is not Exclusive:
            raise UserError(
                f"images of data={data.name} have several attributes each, and a group is matched "
                f"to one class ({self.key}); leave the metric out"
            )

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return super().protocol(data, model) | {
            "groups": model.categories,  # type: ignore[attr-defined]
            "matching": "one to one, the best for these images",
        }

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        group, labels = self.said(data, model, lambda x: model.cluster(x).argmax(1), device)
        assert data.classes is not None
        counts = torch.zeros(model.categories, data.classes, dtype=torch.int64)
        counts.index_put_((group, labels), torch.ones_like(labels), accumulate=True)
        right = sum(int(counts[pair]) for pair in matching(counts))
        return {"matched_accuracy": right / len(labels)}


def matching(gain: Tensor) -> list[tuple[int, int]]:
    """Pair rows and columns one to one, so that the sum of their gains is largest.

    Rows are added one by one. A row u_i and a column v_j have a price; on the shortest path of
    reduced costs -gain_ij - u_i - v_j to a free column, all pairs change.

    Args:
        gain: (n, m).

    Returns:
        min(n, m) pairs (row, column), rows in order.

    >>> matching(torch.tensor([[1, 5], [4, 9]]))
    [(0, 0), (1, 1)]
    """
    if len(gain) > gain.shape[1]:
        return sorted((row, column) for column, row in matching(gain.T))
    cost = [[-float(value) for value in row] for row in gain.tolist()]
    n, m = gain.shape
    u, v, row_of = [0.0] * n, [0.0] * (m + 1), [-1] * (m + 1)  # column m is where a row starts
    for row in range(n):
        row_of[m], column = row, m
        distance, before, done = [math.inf] * m, [m] * m, [False] * (m + 1)
        while row_of[column] >= 0:
            done[column] = True
            i, free = row_of[column], [j for j in range(m) if not done[j]]
            for j in free:
                if (reduced := cost[i][j] - u[i] - v[j]) < distance[j]:
                    distance[j], before[j] = reduced, column
            nearest = min(free, key=distance.__getitem__)
            step = distance[nearest]
            for j in range(m + 1):
                if done[j]:
                    u[row_of[j]] += step
                    v[j] -= step
                elif j < m:
                    distance[j] -= step
            column = nearest
        while column != m:
            row_of[column] = row_of[before[column]]
            column = before[column]
    return sorted((row_of[j], j) for j in range(m) if row_of[j] >= 0)
