"""What a certificate is: one property of a system, measured against an independent reference.

A certificate names the classes or functions that it is `of`. A system has the certificates of all
that its configuration names, and of their base classes. Of two with the same `name`, that of the
more derived class counts, as with methods. So a new model, loss or trick enrols by a class:

    class ScoreIsBounded(Certificate):
        of = (MyCritic,)
        property = "scores lie in [-1, 1]"
        source = "My paper, section 2"

        def measure(self) -> float: ...
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from hydra.utils import get_object

from gentrain.certificates.subject import Subject, seeded
from gentrain.errors import UserError
from gentrain.layers.precision import default_dtype

ENROLLED: dict[Any, list[type[Certificate]]] = {}
ROUNDING = 1e-9  # of float64, in which everything is computed


class Certificate(ABC):
    """One property of a system.

    Args:
        subject: the system, at a small size.
        node: the part of its configuration that names what this is of.
    """

    of: ClassVar[tuple[Any, ...]] = ()  # classes or functions
    property: ClassVar[str] = ""  # what holds, in a few words
    source: ClassVar[str] = ""  # the paper, and its section or equation
    name: ClassVar[str] = ""  # a certificate of a derived class replaces one of the same name
    bound: ClassVar[float] = ROUNDING  # the largest error with which the property holds

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls) and not cls.name:
            cls.name = cls.__name__
        for kind in vars(cls).get("of", ()):
            ENROLLED.setdefault(kind, []).append(cls)

    def __init__(self, subject: Subject, node: dict[str, Any]) -> None:
        self.subject, self.node = subject, node

    @abstractmethod
    def measure(self) -> float | None:
        """The largest error; None where the options leave nothing to measure."""


@dataclass(frozen=True)
class Finding:
    """A row of the table.

    Args:
        certificate: what was measured.
        measured: the largest error; infinite where it could not be computed.
        reason: why it could not.
    """

    certificate: Certificate
    measured: float
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether the error is within the bound."""
        return self.measured <= self.certificate.bound


def certificates(subject: Subject) -> Iterator[Certificate]:
    """Every certificate of a system, in the order of its configuration."""
    made = set()
    for node in nodes(subject.config["model"], subject.config["scheme"]):
        thing = get_object(node["_target_"])
        for kind in chosen(thing).values():
            if (key := (kind, repr(node))) not in made:
                made.add(key)
                yield kind(subject, defaults(thing) | node)


def defaults(thing: Any) -> dict[str, Any]:
    """The arguments that a class or a function has if they are not given."""
    parameters = inspect.signature(thing).parameters.items()
    return {name: p.default for name, p in parameters if p.default is not p.empty}


def chosen(thing: Any) -> dict[str, type[Certificate]]:
    """The certificates of a class or a function, by their names."""
    found: dict[str, type[Certificate]] = {}
    for kind in inspect.getmro(thing) if inspect.isclass(thing) else (thing,):
        for certificate in ENROLLED.get(kind, ()):
            found.setdefault(certificate.name, certificate)
    return found


def nodes(*values: Any) -> Iterator[dict[str, Any]]:
    """The parts of a configuration that name a class or a function."""
    for value in values:
        match value:
            case {"_target_": _}:
                yield value
                yield from nodes(*value.values())
            case dict():
                yield from nodes(*value.values())
            case list():
                yield from nodes(*value)


def measured(subject: Subject) -> list[Finding]:
    """Measure every certificate of a system.

    Raises:
        UserError: for a system that cannot be built.
    """
    subject.model()  # a refusal is the user's mistake, and no broken certificate
    return [found for each in certificates(subject) if (found := finding(each)) is not None]


def finding(certificate: Certificate) -> Finding | None:
    """Measure one certificate; None where there is nothing to measure."""
    try:
        with seeded(certificate.subject.seed), default_dtype(torch.float64):
            measured = certificate.measure()
    except UserError:
        raise
    except Exception as error:  # what is broken may fail in any way
        return Finding(certificate, float("inf"), f"{type(error).__name__}: {error}")
    return None if measured is None else Finding(certificate, as_error(measured))


def as_error(measured: float) -> float:
    """A number that is compared with a bound: what is not defined is infinitely wrong."""
    return float("inf") if measured != measured else float(measured)


# --- help for measuring ---------------------------------------------------------------------------


class Call(NamedTuple):
    """One call of a recorded function."""

    args: tuple[Any, ...]
    result: Any


@contextmanager
def recorded(owner: Any, name: str) -> Iterator[list[Call]]:
    """Every call of a method or function of an object, while inside.

    Args:
        owner: the object.
        name: of the function; "forward" for the calls of a module.
    """
    calls: list[Call] = []
    own, function = vars(owner).get(name), getattr(owner, name)

    def recording(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        calls.append(Call((*args, *options.values()), result))
        return result

    setattr(owner, name, recording)
    try:
        yield calls
    finally:
        delattr(owner, name)
        if own is not None:
            setattr(owner, name, own)


def error(found: Any, expected: Any) -> float:
    """The largest difference, relative to the size of what is expected where that is above 1."""
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    if found.shape != expected.shape:
        return float("inf")
    scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    return float((found - expected).detach().abs().max()) / scale if expected.numel() else 0.0


def largest(*errors: float) -> float:
    """The largest of some errors, of which one that is not a number is the worst."""
    return max(map(as_error, errors), default=0.0)
