"""How a score was measured: a protocol in one line, with a short hash.

A protocol is a dictionary of everything that must be equal before two scores are compared. Only
scores whose hashes are equal are ranked together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

TEST = "test/"  # begins the names of scores of the test split at the end of a training
DIGITS = 8  # of a hash
NOT_KNOWN = "not known"  # in the place of a hash
# keys of a protocol that say how something is measured
METHODS = ("likelihood", "protocol", "mixing", "matching", "probe")


def canonical(value: Any) -> str:
    """JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def comparable(protocol: Any, across: Sequence[str] = ()) -> str:
    """A key that is equal for protocols whose scores may be ranked.

    Numbers are compared after rounding to five digits, and the keys in `across` are left out.
    """

    def reduced(value: Any) -> Any:
        match value:
            case dict():
                return {key: reduced(part) for key, part in value.items() if key not in across}
            case float():
                return f"{value:.5g}"
            case tuple():  # a list, once it has been written
                return list(value)
            case _:
                return value

    return canonical(reduced(protocol))


def short_hash(protocol: Any, across: Sequence[str] = ()) -> str:
    """Eight digits that are equal for protocols whose scores may be ranked.

    Without a protocol there are none: scores that nobody knows the protocol of are not alike.

    >>> short_hash({"samples": 5000, "floor": 1.23456789}), short_hash({"samples": 500})
    ('04b81338', '368ec1b8')
    >>> short_hash(None)
    'not known'
    """
    if not protocol:
        return NOT_KNOWN
    return hashlib.sha256(comparable(protocol, across).encode()).hexdigest()[:DIGITS]


def readable(protocol: Any, across: Sequence[str] = ()) -> str:
    """A protocol in one line: its hash, and what it is about in a few words."""
    match protocol:
        case dict():
            return f"{short_hash(protocol, across)}: {about(protocol)}"
        case _:
            return about(protocol)


def lines(protocols: Mapping[str, Any]) -> dict[str, str]:
    """The line of each protocol, by the key of its metric."""
    return {name: readable(protocol) for name, protocol in protocols.items()}


def by_score(protocols: Mapping[str, Any], measured_by: Mapping[str, str]) -> dict[str, Any]:
    """The protocol of each score; a score whose metric left none is missing.

    Args:
        protocols: by the key of their metric, such as "paired" or "test/quality".
        measured_by: for each score, such as "quality/l1", the key of the metric that computed it.
    """
    return {score: protocols[key] for score, key in measured_by.items() if key in protocols}


def of_score(protocols: Mapping[str, Any], score: str, missing: Any = None) -> Any:
    """The protocol of a score such as "quality/nats" or "test/fid".

    Args:
        protocols: what `by_score` found.
        score: its name.
        missing: what is returned where nothing says how it was measured.
    """
    return protocols.get(score, missing)


def about(protocol: Any) -> str:
    """A protocol in a few words."""
    match protocol:
        case dict():
            return summary_of(protocol)
        case _:
            return str(protocol) if protocol else ""


def summary_of(protocol: dict[str, Any]) -> str:
    """Features or method, number of images, data, pixels and weights of a protocol."""
    reference = protocol
    match protocol.get("reference"):
        case dict() as inner:
            reference = inner
    features = " ".join(
        str(protocol[key]) for key in ("features", "features_hash") if protocol.get(key)
    )
    method = features or str(next((protocol[key] for key in METHODS if protocol.get(key)), ""))
    counts = [
        f"{protocol[key]} {word}"
        for key, word in (("samples", "fakes"), ("images", "images"))
        if protocol.get(key)
    ]
    data = " ".join(str(reference[key]) for key in ("data", "split") if reference.get(key))
    weights = ""
    match protocol.get("ema"):
        case bool() as averaged:
            weights = "averaged weights" if averaged else "the last weights"
    parts = [method, *counts[:1], data, str(protocol.get("pixels") or ""), weights]
    return ", ".join(part for part in parts if part)
