"""Search and safe cleanup on any Docker/OCI registry that speaks the v2 API."""

from __future__ import annotations

__version__ = "2.0.0"
