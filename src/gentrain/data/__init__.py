"""Sources -> uint8 tensors -> batches on the device."""

from gentrain.data.attributes import AttributeTable
from gentrain.data.base import Data, Images
from gentrain.data.cifar10 import CIFAR10
from gentrain.data.coloured_digits import ColouredDigits, DigitDomains
from gentrain.data.gaussians import GaussianGrid, GaussianRing, Gaussians
from gentrain.data.image_folder import ImageFolder
from gentrain.data.mnist import MNIST, FashionMNIST
from gentrain.data.mnist_5k import MNIST5k
from gentrain.data.pairs import Pairs, SideBySide, Unpaired
from gentrain.data.plane import Checkerboard, Plane, Rings, TwoMoons
from gentrain.data.samples import Samples
from gentrain.data.stacked_mnist import StackedMNIST
from gentrain.data.stream import Batches, Order

__all__ = [
    "CIFAR10",
    "MNIST",
    "AttributeTable",
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
    "Order",
    "Pairs",
    "Plane",
    "Rings",
    "Samples",
    "SideBySide",
    "StackedMNIST",
    "TwoMoons",
    "Unpaired",
]
