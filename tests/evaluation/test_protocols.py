"""What of a hit rule and an axis is not the protocol's own, as the flags that give it again."""

from __future__ import annotations

import pytest

from cxrcad.config import EvaluateConfig, build
from cxrcad.core import ModelIdentity
from cxrcad.evaluation.protocols import TABLE, protocol_of, rule_changes
from cxrcad.evaluation.records import ScoringContext, context_flags


@pytest.mark.parametrize("name", [row.name for row in TABLE])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hit_rule": "iou"},
        {"hit_rule": "iou", "min_iou": 0.35},
        {"hit_rule": "distance", "max_distance_mm": 12.5, "fp_axis": "normals"},
        {"hit_rule": "center", "duplicates": "false-positives"},
    ],
    ids=str,
)
def test_the_flags_of_a_context_give_its_rule_and_axis_again(name: str, changes: dict) -> None:
    protocol, images = protocol_of(build(EvaluateConfig, {"protocol": name, **changes}))
    model = ModelIdentity("m", "0" * 64, 0.5, "CPU")
    context = ScoringContext(
        "d", name, protocol.rule, model, "u-net", "multi", "card", images=images, fp_axis=protocol.fp_axis
    )
    words = context_flags(context).split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    told = {flag[2:].replace("-", "_"): value for flag, value in given.items() if flag != "--data"}
    typed = {key: float(value) if key in ("min_iou", "max_distance_mm") else value for key, value in told.items()}
    again, _ = protocol_of(build(EvaluateConfig, typed))
    assert (again.rule, again.fp_axis) == (protocol.rule, protocol.fp_axis)


def test_what_the_protocol_has_itself_is_no_change() -> None:
    assert all(rule_changes(row.name, row.rule, row.fp_axis) == {} for row in TABLE)
    assert rule_changes("no protocol", TABLE[0].rule, "all") == {}
