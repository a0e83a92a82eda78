"""The ECR Layer Resolver as a construct for AWS CDK; as a wheel, the package `ecr_layer_resolver`.

from ecr_layer_resolver import EcrLayerResolver

resolver = EcrLayerResolver(self, "Layers", repositories=["team/*"])
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .construct import EcrLayerResolver as EcrLayerResolver
    from .edge import Edge as Edge
    from .monitoring import EdgeAlarms as EdgeAlarms
    from .options import SettingsError as SettingsError
    from .trust_rules import TrustRule as TrustRule

_MODULES = {
    "EcrLayerResolver": "construct",
    "Edge": "edge",
    "EdgeAlarms": "monitoring",
    "SettingsError": "options",
    "TrustRule": "trust_rules",
}

__all__ = ["EcrLayerResolver", "Edge", "EdgeAlarms", "SettingsError", "TrustRule"]


def __getattr__(name: str) -> object:
    # CDK starts Node, which tools that only build the package don't need.
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
