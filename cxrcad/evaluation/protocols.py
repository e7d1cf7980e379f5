"""The protocols of the field in one table: which images, what is a hit, over what false positives are counted.

A protocol is a name for choices that decide a figure as much as the detector does. `context_lines` prints them with
every figure; a flag that changes one is named there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxrcad.config import HIT_KINDS, PROTOCOLS, EvaluateConfig
from cxrcad.core import UsageError
from cxrcad.evaluation.matching import HitRule

__all__ = ["TABLE", "Protocol", "protocol_of", "rule_changes"]


@dataclass(frozen=True)
class Protocol:
    """One row of the table; `fp_axis` is all or normals."""

    name: str
    rule: HitRule
    fp_axis: str = "all"

    @property
    def images(self) -> str:
        """positives, in-lung or all."""
        return PROTOCOLS[self.name]


TABLE: tuple[Protocol, ...] = (
    # Park, Jeong, Moon 2020, section 4.1: 154 positives, five folds. Open: hit rule, threshold, duplicates.
    Protocol("paper", HitRule("center")),
    # Schilham, van Ginneken, Loog 2006; Hardie et al. 2008: the 140 positives with a nodule in the lung fields. Open:
    # hit rule and duplicates differ from paper to paper.
    Protocol("jsrt-140", HitRule("center")),
    # Shiraishi et al. 2000: all of JSRT. Open: hit rule, duplicates.
    Protocol("jsrt-247", HitRule("center")),
    # node21.grand-challenge.org: 0.75 AUC + 0.25 sensitivity at 0.25 false positives per image, IoU above 0.2. Open:
    # duplicates; its public script computes the AUC only.
    Protocol("node21", HitRule("iou", 0.2, strict=True)),
    # luna16.grand-challenge.org/Evaluation: within the nodule's radius; further findings on a nodule are ignored.
    Protocol("luna16", HitRule("center", strict=True)),
    # JSRT papers that count a centre within 22 or 25 mm. Open: duplicates.
    Protocol("distance-22mm", HitRule("distance", 22.0)),
    Protocol("distance-25mm", HitRule("distance", 25.0)),
    # Chakraborty and Berbaum, Medical Physics 31:2313, 2004: lesions against the highest finding of normal images.
    # Open: hit rule.
    Protocol("jafroc", HitRule("center"), fp_axis="normals"),
    # Ours, for lesions that readers boxed loosely among radiographs without any.
    Protocol("boxed", HitRule("box", strict=True), fp_axis="normals"),
)


def rule_changes(name: str, rule: HitRule, fp_axis: str) -> dict[str, str]:
    """What of a hit rule and an axis differs from the protocol `name`, but for the kind of rule: settings and values.

    Empty for a protocol that is not known.
    """
    named = next((row for row in TABLE if row.name == name), None)
    if named is None:
        return {}
    usual, limit = _rule_of(named, rule.kind), HIT_KINDS[rule.kind].limit
    found = {} if limit is None or rule.limit == usual.limit else {limit.name: f"{rule.limit:g}"}
    if rule.duplicates != usual.duplicates:
        found["duplicates"] = rule.duplicates
    return found if fp_axis == named.fp_axis else {**found, "fp_axis": fp_axis}


def _rule_of(protocol: Protocol, kind: str) -> HitRule:
    """The protocol's hit rule, or that of another kind with the kind's own limit."""
    return protocol.rule if kind == protocol.rule.kind else HitRule(kind, duplicates=protocol.rule.duplicates)


def protocol_of(config: EvaluateConfig) -> tuple[Protocol, str | None]:
    """The protocol that `config` names, with what its flags change; and the image set where a flag changes that.

    Raises UsageError for a flag that the hit rule does not use.
    """
    named = next(row for row in TABLE if row.name == config.data.protocol)
    rule = _rule_of(named, config.hit_rule or named.rule.kind)
    for kind, row in HIT_KINDS.items():
        value = None if row.limit is None else getattr(config.hit_limits, row.limit.name)
        if row.limit is None or value is None:
            continue
        if kind != rule.kind:
            flag = "--" + row.limit.name.replace("_", "-")
            raise UsageError(f"{flag}: hit rule {rule.kind} does not use it; add --hit-rule {kind}, or leave it out")
        rule = replace(rule, limit=value)
    if config.duplicates is not None:
        rule = replace(rule, duplicates=config.duplicates)
    images = config.images if config.images not in (None, named.images) else None
    return replace(named, rule=rule, fp_axis=config.fp_axis or named.fp_axis), images
