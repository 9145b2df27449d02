"""What a refused refresh token says about a person: facts A19 and H7, as one table.

Pure. What must stay true: OAuth's word decides first and the vendor's code only refines it; nothing but
the first row of fact A19 says that somebody is disabled; and our own faults are nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from airflow_sso.refresh import Refused

#: ``unusable``: the account; ``again``: nothing but that the person must sign in anew; ``ours``: our own
#: configuration; ``transient``: nothing at all.
Kind = Literal["unusable", "again", "ours", "transient"]

#: Only these two say anything about a person (fact H7).
_ABOUT_A_PERSON = frozenset({"invalid_grant", "interaction_required"})
#: RFC 6749, section 5.2: what is wrong with us or our request.
_OURS = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_request",
        "invalid_scope",
        "invalid_resource",
    }
)

_UNUSABLE = {
    50057: "disabled in the directory",
    50034: "not found in the directory",
    50020: "not in the tenant",
    500341: "deleted from the directory",
}
_GRANT_OVER = (50173, 50132, 50133, 700082, 70008, 70000, 700084, 70043, 54005)
_INTERACTION = (
    50076, 50079, 50074, 50078, 53000, 53001, 53002, 53003, 530032, 50058, 65001, 65004, 50055, 50053,
)  # fmt: skip
_NOT_ASSIGNED = 50105
_CONFIGURATION = (
    7000215, 7000222, 700027, 7000218, 700025, 700016, 7000112, 700213, 70021, 50011, 90002, 501481, 50194,
)  # fmt: skip
_LATER = (90033, 90055, 50196)

#: The rows of fact A19.
CODES: Mapping[int, tuple[Kind, str]] = {
    **{code: ("unusable", words) for code, words in _UNUSABLE.items()},
    **dict.fromkeys(_GRANT_OVER, ("again", "the provider's grant is over")),
    **dict.fromkeys(_INTERACTION, ("again", "the provider asks for a new sign-in")),
    _NOT_ASSIGNED: ("again", "no longer assigned to the application"),
    **dict.fromkeys(_CONFIGURATION, ("ours", "our configuration")),
    **dict.fromkeys(_LATER, ("transient", "the provider asks to wait")),
}
#: Of several codes the one that does least to the person counts.
_LEAST: tuple[Kind, ...] = ("transient", "ours", "again", "unusable")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``said`` is the code or word that it rests on, for counting and for the log."""

    kind: Kind
    said: str
    words: str

    @property
    def reason(self) -> str:
        return f"{self.words} ({self.said})"


def judge(refused: Refused) -> Verdict:
    """What a refusal means."""
    known = sorted(
        (code for code in refused.codes if code in CODES), key=lambda code: _LEAST.index(CODES[code][0])
    )
    kind, words = CODES[known[0]] if known else ("again", "the provider's grant is over")
    said = f"AADSTS{(known or refused.codes)[0]}" if refused.codes else refused.word
    if known and kind == "transient":
        return Verdict(kind, said, words)
    if refused.word in _OURS:
        return Verdict("ours", said, "our configuration")
    if refused.word not in _ABOUT_A_PERSON:
        return Verdict("transient", said, "the provider could not answer")
    if not known and refused.word == "interaction_required":
        words = "the provider asks for a new sign-in"
    return Verdict(kind, said, words)
