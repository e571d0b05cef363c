from gentrain.training.adversarial import AdversarialModule
from gentrain.training.module import TrainingModule
from gentrain.training.single_objective import Energy, Likelihood

__all__ = ["AdversarialModule", "Energy", "Likelihood", "TrainingModule"]
