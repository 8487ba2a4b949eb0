"""The task that runs, without importing asyncio for those who have no event loop."""

from __future__ import annotations

import sys

__all__ = ["current_task"]


def current_task() -> object:
    """The running task; None outside of an event loop."""
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
