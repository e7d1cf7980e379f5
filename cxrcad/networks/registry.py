"""Networks by name: a NetworkConfig -> a module that keeps the contract (B, 1, H, W) -> {task: (B, 2, H, W)}."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from cxrcad.config import NetworkConfig
from cxrcad.core import NetworkError
from cxrcad.networks.deeplabv3plus import DeepLabV3Plus
from cxrcad.networks.ensemble import TwoLooks
from cxrcad.networks.mosegnet import MOSegNet, mo_segnet_rows
from cxrcad.networks.pspnet import PSPNet

__all__ = ["NETWORKS", "RESIDUAL", "build_network", "tasks_of"]

RESIDUAL = ("deeplabv3plus", "pspnet")
"""Networks on a residual encoder, whose width is a setting."""

NETWORKS = ("mo-segnet", "u-net", *RESIDUAL)


def tasks_of(config: NetworkConfig) -> tuple[str, ...]:
    """The outputs of the network: ("nodule", "lung") or ("nodule",)."""
    return ("nodule", "lung") if config.tasks == "multi" else ("nodule",)


def build_network(config: NetworkConfig, side: int) -> nn.Module:
    """The untrained network that `config` names, for images whose shorter side is `side` pixels.

    `u-net` is MO-SegNet without ASPP (the paper's Figure 3 b). `table1` as norm means batch norm for PSPNet and
    DeepLabV3+. With `look`, a second look stands beside the network, which is then for half the side unless `halve` is
    off. Initial weights come from torch's global seed. Raises NetworkError.
    """
    tasks = tasks_of(config)
    channels = tuple(name.strip() for name in config.channels.split(",") if name.strip())
    if config.look:
        times = 2 if config.halve else 1
        return TwoLooks(build_network(replace(config, look=False), side // times), channels, side, times, config.patch)
    if config.image_head and config.network != "deeplabv3plus":
        raise NetworkError(f"{config.network} has no image-level head; take deeplabv3plus, or --no-image-head")
    if config.network in ("mo-segnet", "u-net"):
        aspp = config.aspp and config.network == "mo-segnet"
        rows = mo_segnet_rows(tasks=tasks, norm=config.norm, aspp=aspp, skips=config.skips)
        return MOSegNet(rows, groups=config.groups, channels=channels, side=side)
    if config.network not in NETWORKS:
        raise NetworkError(f"there is no network {config.network!r}; choose from {', '.join(NETWORKS)}")
    if not (config.aspp and config.skips):
        raise NetworkError(f"{config.network} has no variant without ASPP or skips; those are of mo-segnet (Figure 3)")
    norm = "GN" if config.norm == "group" else "BN"
    if config.width % config.groups or config.width % 8:
        raise NetworkError(f"--width {config.width}: is no multiple of 8 and of the {config.groups} groups; take one")
    shared: dict[str, Any] = {"width": config.width, "norm": norm, "groups": config.groups}
    shared |= {"channels": channels, "side": side}
    if config.network == "pspnet":
        return PSPNet(tasks, **shared)
    return DeepLabV3Plus(tasks, **shared, image_head=config.image_head)
