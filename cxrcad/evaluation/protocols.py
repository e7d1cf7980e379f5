"""The protocols of the field in one table: which images, what is a hit, over what false positives are counted.

A protocol is a name for choices that decide a figure as much as the detector does. `context_lines` prints them with
every figure; a flag that changes one is named there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxrcad.config import PROTOCOLS, EvaluateConfig
from cxrcad.core import UsageError
from cxrcad.evaluation.matching import HitRule

__all__ = ["TABLE", "Protocol", "protocol_of", "rule_changes"]


@dataclass(frozen=True)
class Protocol:
    """One row of the table.

    `images` is positives, in-lung or all; `fp_axis` all or normals; `figures` names the figures that the protocol is
    known by, as `evaluation.figures` names them; `source` says where it is defined, and `open` what it leaves open.
    """

    name: str
    rule: HitRule
    figures: tuple[str, ...]
    source: str
    open: str = ""
    fp_axis: str = "all"

    @property
    def images(self) -> str:
        """positives, in-lung or all."""
        return PROTOCOLS[self.name]


RATE_FIGURES = tuple(f"sensitivity at {rate}" for rate in ("1/8", "1/4", "1/2", "1", "2", "4", "8"))

TABLE: tuple[Protocol, ...] = (
    Protocol(
        "paper",
        HitRule("center"),
        ("F1", "recall", "precision"),
        "Park, Jeong, Moon 2020, section 4.1: 154 positives, five folds",
        "hit rule, threshold, duplicates",
    ),
    Protocol(
        "jsrt-140",
        HitRule("center"),
        RATE_FIGURES,
        "Schilham, van Ginneken, Loog 2006; Hardie et al. 2008: the 140 positives with a nodule in the lung fields",
        "hit rule and duplicates differ from paper to paper",
    ),
    Protocol("jsrt-247", HitRule("center"), RATE_FIGURES, "Shiraishi et al. 2000: all of JSRT", "hit rule, duplicates"),
    Protocol(
        "node21",
        HitRule("iou", min_iou=0.2, strict=True),
        ("NODE21 score", "image AUC", "sensitivity at 1/4"),
        "node21.grand-challenge.org: 0.75 AUC + 0.25 sensitivity at 0.25 false positives per image, IoU above 0.2",
        "duplicates; its public script computes the AUC only",
    ),
    Protocol(
        "luna16",
        HitRule("center", strict=True),
        ("CPM", *RATE_FIGURES),
        "luna16.grand-challenge.org/Evaluation: within the nodule's radius; further findings on a nodule are ignored",
    ),
    Protocol(
        "distance-22mm",
        HitRule("distance", max_distance_mm=22.0),
        RATE_FIGURES,
        "JSRT papers that count a centre within 22 mm",
        "duplicates",
    ),
    Protocol(
        "distance-25mm",
        HitRule("distance", max_distance_mm=25.0),
        RATE_FIGURES,
        "JSRT papers that count a centre within 25 mm",
        "duplicates",
    ),
    Protocol(
        "jafroc",
        HitRule("center"),
        ("JAFROC",),
        "Chakraborty and Berbaum, Medical Physics 31:2313, 2004: lesions against the highest finding of normal images",
        "hit rule",
        fp_axis="normals",
    ),
)


def rule_changes(name: str, rule: HitRule, fp_axis: str) -> dict[str, str]:
    """What of a hit rule and an axis differs from the protocol `name`, but for the kind of rule: settings and values.

    Empty for a protocol that is not known.
    """
    named = next((row for row in TABLE if row.name == name), None)
    if named is None:
        return {}
    usual = named.rule if rule.kind == named.rule.kind else HitRule(rule.kind, duplicates=named.rule.duplicates)
    limit = {"iou": "min_iou", "distance": "max_distance_mm"}.get(rule.kind)
    found = {} if limit is None else {limit: (f"{getattr(rule, limit):g}", f"{getattr(usual, limit):g}")}
    found |= {"duplicates": (rule.duplicates, usual.duplicates), "fp_axis": (fp_axis, named.fp_axis)}
    return {setting: own for setting, (own, other) in found.items() if own != other}


def protocol_of(config: EvaluateConfig) -> tuple[Protocol, str | None]:
    """The protocol that `config` names, with what its flags change; and the image set where a flag changes that.

    Raises UsageError for a flag that the hit rule does not use.
    """
    named = next(row for row in TABLE if row.name == config.data.protocol)
    kind = config.hit_rule or named.rule.kind
    rule = named.rule if kind == named.rule.kind else HitRule(kind, duplicates=named.rule.duplicates)
    for name, user in (("min_iou", "iou"), ("max_distance_mm", "distance")):
        value = getattr(config, name)
        if value is None:
            continue
        if kind != user:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag}: hit rule {kind} does not use it; add --hit-rule {user}, or leave it out")
        rule = replace(rule, **{name: value})
    if config.duplicates is not None:
        rule = replace(rule, duplicates=config.duplicates)
    images = config.images if config.images not in (None, named.images) else None
    return replace(named, rule=rule, fp_axis=config.fp_axis or named.fp_axis), images
