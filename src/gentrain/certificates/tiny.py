"""The small size at which a system is verified: a few channels, small images, small batches."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from gentrain.config.schema import resolved

# sizes of networks, by the names of their options; an option that is not here stays as it is
WIDTHS = {
    "width": 8, "blocks": 1, "depth": 1, "kernels": 3, "dim": 2, "embedding": 4, "code": 4,
    "bottleneck": 8, "inner_steps": 1,
}  # fmt: skip
# others, by a part of the name of the class that has them
EXCEPTIONS: dict[str, dict[str, int]] = {
    # its last layers are a quarter as wide: of two rectifiers both may be off
    "NoisyCritic": {"width": 64},
    # as many hidden units as values of 8 x 8 images, or more
    "flow.autoregressive": {"width": 64},
    # with 1 the one has no norms, and the other no hidden layer
    "unet": {"depth": 2},
    "autoencoder.MLP": {"depth": 2},
}
# what takes so many steps or images, so that it comes within a short training
DURATIONS = {"teacher_steps": 100, "fade": 400, "stable": 400}
# of a critic's warm-up, which would be most of a short training
WARM_UP = {"steps": 10, "first": 5}
BATCH = 8
SIDES = {
    "gentrain.models.flow": 8,
    "gentrain.models.autoregressive": 8,
    "gentrain.models.energy": 8,
}


def small(node: Any, **durations: int) -> Any:
    """The same networks, a few channels wide."""
    if not isinstance(node, dict):
        return node
    sizes = WIDTHS | durations
    for part, other in EXCEPTIONS.items():
        if part in node.get("_target_", ""):
            sizes |= other
    return {
        key: small(value, **durations)
        if value is None or isinstance(value, dict)
        else sizes.get(key, value)
        for key, value in node.items()
    }


def tiny(values: dict[str, Any], steps: int | None = None) -> dict[str, Any]:
    """The resolved configuration of a training at the small size.

    Args:
        values: as composed, not resolved.
        steps: its length; None for that of the preset.
    """
    values = values | ({} if steps is None else {"steps": steps})
    data = dict(values["data"])
    data["batch_size"] = min(data["batch_size"], BATCH)
    side = next((n for of, n in SIDES.items() if values["model"]["_target_"].startswith(of)), None)
    if side is not None and "size" in data:
        data["size"] = side
    config = resolved(OmegaConf.create(values | {"data": data}))
    scheme = config["scheme"]
    if scheme.get("critic_warmup"):
        scheme = scheme | {"critic_warmup": scheme["critic_warmup"] | WARM_UP}
    return config | {"model": small(config["model"], **DURATIONS), "scheme": scheme}
