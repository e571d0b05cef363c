"""What `gentrain verify` measures: properties of each system against independent references.

- `base`: what a certificate is, how one enrols, and how those of a system are found
- `subject`: the system that is verified, at a small size
- `tiny`: that size
- `bands`: the first steps of a training, beside those that are stored
- `departures`: where a preset, or a command, differs from the paper

The certificates are in a file for each family: `adversarial`, `lipschitz`, `tricks`, `gans`,
`captions`, `vaes`, `flows`, `autoregressive`, `energies`, `regression` and `training`.
"""

from gentrain.certificates import (
    adversarial,
    autoregressive,
    captions,
    energies,
    flows,
    gans,
    lipschitz,
    regression,
    training,
    tricks,
    vaes,
)
from gentrain.certificates.base import Certificate, Finding, certificates, measured
from gentrain.certificates.subject import Subject

FAMILIES = (
    adversarial,
    autoregressive,
    captions,
    energies,
    flows,
    gans,
    lipschitz,
    regression,
    training,
    tricks,
    vaes,
)

__all__ = ["Certificate", "Finding", "Subject", "certificates", "measured"]
