"""Short hashes and lines of protocols: what is ranked together has one hash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gentrain.protocols import by_score, comparable, lines, of_score, readable, short_hash
from tests.support import made_runs as made
from tests.support.program import Program

OTHER = made.PROTOCOL | {"samples": 500}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (dict(reversed(made.PROTOCOL.items())), True),
        (json.loads(json.dumps(made.PROTOCOL)), True),
        (made.PROTOCOL | {"floor": {"value": 1.23456789}}, False),
        (OTHER, False),
    ],
)
def test_a_hash_is_equal_where_scores_may_be_ranked(other: dict[str, Any], same: bool) -> None:
    assert (short_hash(made.PROTOCOL) == short_hash(other)) is same
    assert (comparable(made.PROTOCOL) == comparable(other)) is same
    assert len(short_hash(other)) == 8


def test_what_is_rounded_and_what_is_left_out() -> None:
    one, other = {"floor": 1.23456, "seed": 0}, {"floor": 1.234561, "seed": 1}
    assert short_hash(one) != short_hash(other)
    assert short_hash(one, across=["seed"]) == short_hash(other, across=["seed"])
    assert short_hash({"shape": (1, 2)}) == short_hash({"shape": [1, 2]})


def test_a_score_finds_its_protocol() -> None:
    protocols = {"quality": made.PROTOCOL, "test/quality": OTHER, "paired": {"images": 3}}
    measured_by = {"quality/fid": "quality", "test/fid": "test/quality", "quality/l1": "paired"}
    found = by_score(protocols, measured_by | {"quality/gone": "gone"})
    assert of_score(found, "quality/fid") == made.PROTOCOL
    assert of_score(found, "test/fid") == OTHER
    assert of_score(found, "quality/l1") == {"images": 3}
    # nobody has said which metric these are of: not the one that is called quality
    for name in ("quality/psnr", "test/l1", "quality/gone", "quality/quality"):
        assert of_score(found, name) is None
    assert of_score({}, "quality/fid", "unknown") == "unknown"
    assert lines(protocols)["quality"] == readable(made.PROTOCOL)
    assert readable(made.PROTOCOL).startswith(f"{short_hash(made.PROTOCOL)}: classifier 856a")
    assert readable(None) == "" and readable("not known") == "not known"


def test_compare_ranks_equal_hashes_alone_and_prints_them(program: Program, tmp_path: Any) -> None:
    for seed, protocol in enumerate((made.PROTOCOL, made.PROTOCOL, OTHER)):
        made.run(tmp_path / str(seed), model=("gan", "dcgan", "lsgan")[seed], protocol=protocol)
    done = program("compare", f"runs={tmp_path}", "page=false")
    assert done.status == 0, done
    for protocol in (made.PROTOCOL, OTHER):
        assert done.stdout.count(f"protocol: {readable(protocol)}") == 1
    ranks = [line.split()[0] for line in done.stdout.splitlines() if "completed" in line]
    assert sorted(ranks) == ["1", "1", "2"]
