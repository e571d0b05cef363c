"""What adversarial training consists of, besides the model and its networks.

module        | what it holds
--------------|----------------------------------------------------------------------------------
`losses`      | adversarial losses: js, ls, wasserstein, hinge, relativistic, margin
`regularizer` | the hooks of a Lipschitz method or a trick, and what they may touch
`lipschitz`   | Lipschitz methods: none, weight clipping, gradient penalties, spectral norm
`tricks`      | what else changes training, from label smoothing to averaged weights
`augment`     | differentiable augmentation of images
`criterion`   | a loss, a Lipschitz method and tricks as one object, which a model receives
"""

from gentrain.adversarial import augment, criterion, lipschitz, losses, regularizer, tricks
from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer

__all__ = [
    "AdversarialCriterion",
    "AdversarialLoss",
    "Regularizer",
    "augment",
    "criterion",
    "lipschitz",
    "losses",
    "regularizer",
    "tricks",
]
