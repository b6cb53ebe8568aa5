"""Networks that fuse information over time, one file per strategy in `vidfusion.strategies`."""

from vidfusion.strategies import create, list_strategies

__all__ = ["create", "list_strategies"]
