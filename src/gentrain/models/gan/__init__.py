"""Adversarial models: a generator against a critic. A file for each paper.

module            | model                                    | paper
------------------|------------------------------------------|------------------------------------
`base`            | what all of them have in common          |
`gan`             | `GAN`: noise in, images out; also LSGAN, | Goodfellow et al., 2014
                  | WGAN, SN-GAN, EBGAN and R3GAN, by preset |
`cgan`            | `ConditionalGAN`; also SAGAN and BigGAN  | Mirza & Osindero, 2014
`gan_cls`         | `GANCLS`: text to image, GAN-INT-CLS     | Reed et al., 2016
`acgan`           | `AuxiliaryClassifierGAN`                 | Odena, Olah & Shlens, 2017
`semi_supervised` | `SemiSupervisedGAN`                      | Salimans et al., 2016
`infogan`         | `InfoGAN`                                | Chen et al., 2016
`bigan`           | `BiGAN`; also ALI, by preset             | Donahue et al., 2017;
                  |                                          | Dumoulin et al., 2017
`bigbigan`        | `BigBiGAN`                               | Donahue & Simonyan, 2019
`progan`          | `ProgressiveGAN`                         | Karras et al., 2018
`pix2pix`         | `Pix2Pix`; also SRGAN                    | Isola et al., 2017;
                  |                                          | Ledig et al., 2017
`colorization`    | `Colorization`                           | Isola et al., 2017
`inpainting`      | `Inpainting`, context encoders           | Pathak et al., 2016
`cyclegan`        | `CycleGAN`                               | Zhu et al., 2017
`stargan`         | `StarGAN`                                | Choi et al., 2018
"""

from gentrain.models.gan.acgan import AuxiliaryClassifierGAN
from gentrain.models.gan.base import AdversarialModel, ConditionedCritic, SingleCriticModel
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.bigbigan import BigBiGAN
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.models.gan.colorization import Colorization
from gentrain.models.gan.cyclegan import CycleGAN
from gentrain.models.gan.gan import GAN
from gentrain.models.gan.gan_cls import GANCLS
from gentrain.models.gan.infogan import InfoGAN
from gentrain.models.gan.inpainting import Inpainting
from gentrain.models.gan.pix2pix import Pix2Pix
from gentrain.models.gan.progan import ProgressiveGAN
from gentrain.models.gan.semi_supervised import SemiSupervisedGAN
from gentrain.models.gan.stargan import StarGAN

__all__ = [
    "GAN",
    "GANCLS",
    "AdversarialModel",
    "AuxiliaryClassifierGAN",
    "BiGAN",
    "BigBiGAN",
    "Colorization",
    "ConditionalGAN",
    "ConditionedCritic",
    "CycleGAN",
    "InfoGAN",
    "Inpainting",
    "Pix2Pix",
    "ProgressiveGAN",
    "SemiSupervisedGAN",
    "SingleCriticModel",
    "StarGAN",
]
