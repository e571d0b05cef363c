"""Sources -> uint8 tensors -> batches on the device."""

from gentrain.data.arrays import ArrayDataset
from gentrain.data.attributes import AttributeTable
from gentrain.data.base import Data
from gentrain.data.batches import Batches, BatchSampler
from gentrain.data.cifar10 import CIFAR10
from gentrain.data.coloured_digits import ColouredDigits, DigitDomains
from gentrain.data.gaussians import GaussianGrid, GaussianRing, Gaussians
from gentrain.data.image_folder import ImageFolder
from gentrain.data.images import Images
from gentrain.data.mnist import MNIST, FashionMNIST
from gentrain.data.mnist_5k import MNIST5k
from gentrain.data.pairs import Pairs, SideBySide, Unpaired
from gentrain.data.plane import Checkerboard, Plane, Rings, TwoMoons
from gentrain.data.stacked_mnist import StackedMNIST

__all__ = [
    "CIFAR10",
    "MNIST",
    "ArrayDataset",
    "AttributeTable",
    "BatchSampler",
    "Batches",
    "Checkerboard",
    "ColouredDigits",
    "Data",
    "DigitDomains",
    "FashionMNIST",
    "GaussianGrid",
    "GaussianRing",
    "Gaussians",
    "ImageFolder",
    "Images",
    "MNIST5k",
    "Pairs",
    "Plane",
    "Rings",
    "SideBySide",
    "StackedMNIST",
    "TwoMoons",
    "Unpaired",
]
