"""The log, on standard error: as text, or a JSON object per line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dregutil.errors import UsageError

if TYPE_CHECKING:
    import logging

__all__ = ["LOG_FORMATS", "set_up_log"]

LOG_FORMATS = ("text", "json")
_LEVELS = ("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL")
_ALWAYS_SHOWN = ("WARNING", "WARN", "ERROR", "CRITICAL")  # the commands print warnings and errors themselves


def set_up_log(level: str, form: str) -> None:
    """Log messages of `level` (in any case) and above. Raises UsageError if there is no such level.

    The logging module is only imported if it is needed: a query from the cache starts faster without it.
    """
    name = level.upper()
    if name not in _LEVELS:
        raise UsageError(f"-l {level}: no such level", advice="one of debug, info, warning, error, critical")
    if name in _ALWAYS_SHOWN:
        return
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_formatter() if form == "json" else _text_formatter())
    logging.basicConfig(level=name, handlers=[handler])


def _text_formatter() -> logging.Formatter:
    import logging

    return logging.Formatter("%(asctime)s [%(levelname)s] %(name)s - %(message)s")


def _json_formatter() -> logging.Formatter:
    import json
    import logging
    from datetime import UTC, datetime

    class JsonLines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps(
                {
                    "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                    "level": record.levelname.lower(),
                    "logger": record.name,
                    "message": record.getMessage(),
                },
                ensure_ascii=False,
            )

    return JsonLines()
