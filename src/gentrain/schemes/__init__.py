from .adversarial import Adversarial
from .scheme import Scheme

__all__ = ["Adversarial", "Scheme"]
