"""Tricks: small changes of adversarial training, each a `Regularizer` (`tricks=[...]`).

trick                       | what it changes                               | paper
----------------------------|-----------------------------------------------|---------------------
`Replay`                    | the critic sees old fakes among new ones      | Shrivastava, 2017
`DiffAugment`               | the critic sees augmented images              | Zhao, 2020
`InstanceNoise`             | the critic sees images with Gaussian noise    | Sonderby, 2017
`Packing`                   | the critic scores m samples at once           | Lin, 2018 (PacGAN)
`VirtualBatchNormalization` | batch norm with a fixed reference batch       | Salimans, 2016
`MinibatchDiscrimination`   | the critic sees how near samples are          | Salimans, 2016
`FeatureMatching`           | the generator matches means of features       | Salimans, 2016
`LabelSmoothing`            | the critic's target for real images           | Salimans, 2016
`PullingAway`               | fakes have orthogonal features                | Zhao, 2017 (EBGAN)
`TopK`                      | the generator learns from its best fakes      | Sinha, 2020
`Unrolled`                  | the generator foresees updates of the critic  | Metz, 2017
`HistoricalAveraging`       | weights stay near their past mean             | Salimans, 2016
`Orthogonal`                | the generator's filters are orthogonal        | Brock, 2019 (BigGAN)
`EMA`                       | samples come from averaged weights            | Karras, 2018

They act in this order, which `order` gives; `images`, `networks`, `terms`, `top_k`, `unrolled`
and `weights` hold them.
"""

from gentrain.adversarial.tricks.images import DiffAugment, InstanceNoise, Packing, Pool, Replay
from gentrain.adversarial.tricks.networks import (
    MinibatchDiscrimination,
    MinibatchSimilarity,
    VirtualBatchNormalization,
)
from gentrain.adversarial.tricks.terms import FeatureMatching, LabelSmoothing, PullingAway
from gentrain.adversarial.tricks.top_k import TopK
from gentrain.adversarial.tricks.unrolled import Unrolled
from gentrain.adversarial.tricks.weights import EMA, HistoricalAveraging, Orthogonal

__all__ = [
    "EMA",
    "DiffAugment",
    "FeatureMatching",
    "HistoricalAveraging",
    "InstanceNoise",
    "LabelSmoothing",
    "MinibatchDiscrimination",
    "MinibatchSimilarity",
    "Orthogonal",
    "Packing",
    "Pool",
    "PullingAway",
    "Replay",
    "TopK",
    "Unrolled",
    "VirtualBatchNormalization",
]
