"""Data sets: sources of images, sounds or points, which become tensors and batches on a device.

=====================  ============================  ============================================
class                  chosen by                     what it is
=====================  ============================  ============================================
`MNIST`                data=mnist                    70,000 grey digits
`FashionMNIST`         data=fashion_mnist            70,000 grey clothes
`StaticMNIST`          data=mnist_static             70,000 digits, binarised once for all
`MNIST5k`              data=mnist_5k                 5,000 digits, without a network
`StackedMNIST`         data=stacked_mnist            three digits as colours: 1,000 modes
`CIFAR10`              data=cifar10                  60,000 photographs in ten classes
`ImageFolder`          data=image_folder             any folder or zip of images
`AttributeTable`       data=celeba                   images with a table of attributes
`ColouredDigits`       data=coloured_digits          digits of several colours
`DigitDomains`         data=digit_domains            two domains of digits, without pairs
`CaptionedDigits`      data=captioned_digits         digits with captions, and rules for them
`CaptionedFolder`      data=captions                 any folder or zip of images with a text each
`SideBySide`           data=facades                  two pictures in each file
`Pairs`, `Unpaired`    data=pairs, unpaired          pictures in two folders
`GaussianRing`         data=gaussian_ring            8 Gaussians in the plane
`GaussianGrid`         data=gaussian_grid            25 Gaussians in the plane
`TwoMoons`             data=two_moons                two half circles
`Checkerboard`         data=checkerboard             8 squares
`Rings`                data=rings                    4 circles
`HuggingFace`          data=huggingface              images of the hub, or of a copy of it
`Shards`               data=shards                   pictures in .tar files
`Tensors`              data=tensors                  images in arrays: .npz, .npy, .safetensors
`Points`               data=points                   rows of a table, of any dimension
`AudioFolder`          data=audio_folder             any folder or zip of sounds
`Tones`                data=tones                    notes of several pitches and timbres
=====================  ============================  ============================================

`Data` (base.py) is the base class of all, `Images` (images.py) that of image data sets, `Sounds`
(sounds.py) that of sounds. `degrade` makes paired data of any images. What is shared:
`ArrayDataset` (arrays.py) holds the samples of a split, `BatchSampler` and `Batches` (batches.py)
make the training stream, `pictures` decodes files, `files` downloads and locks, `grids` draws
pictures of batches, `spectra` those of sounds, `loose_images` reads what `gentrain eval
images=PATH` scores.
"""

from gentrain.data.arrays import ArrayDataset
from gentrain.data.attributes import AttributeTable
from gentrain.data.audio_folder import AudioFolder
from gentrain.data.base import Data
from gentrain.data.batches import Batches, BatchSampler
from gentrain.data.captioned_digits import CaptionedDigits
from gentrain.data.captions import CaptionedFolder
from gentrain.data.cifar10 import CIFAR10
from gentrain.data.coloured_digits import ColouredDigits, DigitDomains
from gentrain.data.gaussians import GaussianGrid, GaussianRing, Gaussians
from gentrain.data.huggingface import HuggingFace
from gentrain.data.image_folder import ImageFolder
from gentrain.data.images import Images
from gentrain.data.mnist import MNIST, FashionMNIST
from gentrain.data.mnist_5k import MNIST5k
from gentrain.data.mnist_static import StaticMNIST
from gentrain.data.pairs import Pairs, SideBySide, Unpaired
from gentrain.data.plane import Checkerboard, Plane, Rings, TwoMoons
from gentrain.data.points import Points
from gentrain.data.shards import Shards
from gentrain.data.stacked_mnist import StackedMNIST
from gentrain.data.tensors import Tensors
from gentrain.data.tones import Tones

__all__ = [
    "CIFAR10",
    "MNIST",
    "ArrayDataset",
    "AttributeTable",
    "AudioFolder",
    "BatchSampler",
    "Batches",
    "CaptionedDigits",
    "CaptionedFolder",
    "Checkerboard",
    "ColouredDigits",
    "Data",
    "DigitDomains",
    "FashionMNIST",
    "GaussianGrid",
    "GaussianRing",
    "Gaussians",
    "HuggingFace",
    "ImageFolder",
    "Images",
    "MNIST5k",
    "Pairs",
    "Plane",
    "Points",
    "Rings",
    "Shards",
    "SideBySide",
    "StackedMNIST",
    "StaticMNIST",
    "Tensors",
    "Tones",
    "TwoMoons",
    "Unpaired",
]
