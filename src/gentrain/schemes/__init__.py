from .adversarial import Adversarial
from .energy import Energy
from .likelihood import Likelihood
from .scheme import Scheme

__all__ = ["Adversarial", "Energy", "Likelihood", "Scheme"]
