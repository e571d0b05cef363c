"""Training: what a step is, and the run around it.

`module` has the base class, `adversarial` and `single_objective` the two kinds of steps, `job` the
whole run, and `callbacks` what happens beside the steps.
"""

from gentrain.training.adversarial import AdversarialModule
from gentrain.training.module import TrainingModule
from gentrain.training.single_objective import SingleObjective

__all__ = ["AdversarialModule", "SingleObjective", "TrainingModule"]
