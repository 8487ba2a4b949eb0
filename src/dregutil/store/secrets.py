"""Passwords in addresses of databases, as they may stand in a text by mistake: they are replaced."""

from __future__ import annotations

import re

__all__ = ["without_store_passwords"]

_USER = re.compile(r"(postgres(?:ql)?:/+[^\s:/?#@]*):[^\s]*@", re.IGNORECASE)
_PARAMETER = re.compile(r"([?& ](?:ssl)?password=)[^\s&'\"]*", re.IGNORECASE)


def without_store_passwords(text: str) -> str:
    """`text`, with the password of each address of a PostgreSQL database in it replaced by `…`."""
    if "postgres" not in text.lower():
        return text
    return _PARAMETER.sub(r"\1…", _USER.sub(r"\1:…@", text))
