"""Networks: what models receive as backbones (`network=` on the command line).

module               | networks                                   | paper
---------------------|--------------------------------------------|---------------------------------
`base`               | what generators, translators and critics   |
                     | have in common; `Backbone`                 |
`mlp`                | perceptrons; maxout; a critic with noise   | Goodfellow et al., 2014;
                     |                                            | Salimans et al., 2016
`dcgan`              | strided convolutions                       | Radford, Metz & Chintala, 2016
`sngan`              | convolutions of 3 and 4 pixels             | Miyato et al., 2018 (SN-GAN)
`ali`                | an encoder, a generator and a critic of    | Dumoulin et al., 2017 (ALI)
                     | pairs                                      |
`resnet`             | residual networks                          | Gulrajani et al., 2017;
                     |                                            | Miyato et al., 2018
`conditional_resnet` | a residual generator of labels, with       | Miyato & Koyama, 2018;
                     | self-attention                             | Zhang et al., 2019 (SAGAN)
`biggan`             | the same, with noise in every block        | Brock et al., 2019 (BigGAN)
`normfree`           | residual networks without norms            | Huang et al., 2024 (R3GAN)
`progan`             | networks that grow                         | Karras et al., 2018
`autoencoder`        | critics whose score is minus an energy     | Zhao et al., 2017 (EBGAN)
`translator`         | residual image-to-image network            | Johnson et al., 2016;
                     |                                            | Zhu et al., 2017 (CycleGAN)
`unet`               | U-Net                                      | Isola et al., 2017 (pix2pix)
`context_encoder`    | an encoder-decoder through one vector      | Pathak et al., 2016
`srresnet`           | super-resolution, and its critic           | Ledig et al., 2017 (SRGAN)
`patchgan`           | critics of patches                         | Isola et al., 2017;
                     |                                            | Choi et al., 2018 (StarGAN)
`conditional`        | wrappers that give a label to a network    | Mirza & Osindero, 2014;
                     |                                            | Miyato & Koyama, 2018
`classifier`         | wrappers that let a critic name classes    | Odena et al., 2017;
                     |                                            | Salimans et al., 2016
`vae`                | encoders and decoders of autoencoders      | Kingma & Welling, 2014
`energy`             | energies of energy-based models            |
`wavegan`            | strided convolutions along time, for       | Donahue et al., 2019
                     | sounds                                     |

Modules are exported, not classes: most hold a `Generator` or a `Translator`, and a `Critic`.
"""

from gentrain.networks import (
    ali,
    autoencoder,
    base,
    biggan,
    classifier,
    conditional,
    conditional_resnet,
    context_encoder,
    dcgan,
    energy,
    mlp,
    normfree,
    patchgan,
    progan,
    resnet,
    sngan,
    srresnet,
    translator,
    unet,
    vae,
    wavegan,
)
from gentrain.networks.base import Backbone

__all__ = [
    "Backbone",
    "ali",
    "autoencoder",
    "base",
    "biggan",
    "classifier",
    "conditional",
    "conditional_resnet",
    "context_encoder",
    "dcgan",
    "energy",
    "mlp",
    "normfree",
    "patchgan",
    "progan",
    "resnet",
    "sngan",
    "srresnet",
    "translator",
    "unet",
    "vae",
    "wavegan",
]
