"""Text of strangers on one line, as a log, a terminal and a record may have it.

Names of groups, roles and people come from providers and files. What must stay true: nothing in a name can
forge a line, turn one around, colour it, or be taken for a command by whatever reads the output.
"""

from __future__ import annotations

import unicodedata

#: Unicode's control, format (bidirectional overrides among them), surrogate and line-ending characters.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str) -> str:
    """``text``, with each such character written out: ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if unicodedata.category(char) not in _HIDDEN else char.encode("unicode_escape").decode()
        for char in text
    )
