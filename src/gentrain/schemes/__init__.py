from .adversarial import Adversarial
from .likelihood import Likelihood
from .scheme import Scheme

__all__ = ["Adversarial", "Likelihood", "Scheme"]
