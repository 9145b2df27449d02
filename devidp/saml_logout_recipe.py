"""A LogoutRequest from a recipe, in which everything can be changed, and the two ways it can be sent.

What must stay true: the honest recipe, signed, is what the provider sends; one changed field changes one
thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus

from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.saml_faces import SAML_FACES
from devidp.saml_keys import SamlKey
from devidp.saml_logout import deflated
from devidp.saml_state import Participant
from devidp.saml_xml import SAML, SAMLP, Element
from devidp.state import State

Sent = dict[str, Any]
Pairs = list[tuple[str, str]]
_PROTOCOL_NAMES: dict[str | None, str] = {"samlp": SAMLP, "saml": SAML}


@dataclass(frozen=True, kw_only=True)
class LogoutRecipe:
    """A LogoutRequest. Times are seconds from `now`; None leaves a part out, "" writes it empty."""

    now: float
    issuer: str | None
    destination: str | None
    name_ids: tuple[str, ...]
    name_id_format: str | None
    session_indexes: tuple[str, ...]
    id: str | None
    version: str | None = "2.0"
    issue_instant: float = 0
    not_on_or_after: float | None = 300
    sp_name_qualifier: str | None = None
    encrypted_for: bytes | None = None

    def tree(self, name: str = "LogoutRequest") -> Element:
        end = None if self.not_on_or_after is None else sx.instant(self.now + self.not_on_or_after)
        tree = sx.root(
            SAMLP,
            name,
            _PROTOCOL_NAMES,
            {
                "ID": self.id,
                "Version": self.version,
                "IssueInstant": sx.instant(self.now + self.issue_instant),
                "Destination": self.destination,
                "NotOnOrAfter": end,
            },
        )
        if self.issuer is not None:
            sx.add(tree, SAML, "Issuer", self.issuer)
        named = {"Format": self.name_id_format, "SPNameQualifier": self.sp_name_qualifier}
        for name_id in self.name_ids:
            sx.add(tree, SAML, "NameID", name_id, named)
        for index in self.session_indexes:
            sx.add(tree, SAMLP, "SessionIndex", index)
        return tree if self.encrypted_for is None else self._encrypted(tree, self.encrypted_for)

    def _encrypted(self, tree: Element, certificate: bytes) -> Element:
        element = sx.need(tree, "NameID")
        wrapper = sx.root(SAML, "EncryptedID", {"saml": SAML})
        wrapper.append(sx.hole("data"))
        element.addnext(wrapper)
        plain = sx.canonical(element)
        sx.remove(element)
        return sx.own(sx.spliced(tree, {"data": saml_sign.encrypted(plain, certificate)}))


@dataclass(frozen=True, kw_only=True)
class LogoutContext:
    """`honest` is about the victim, `own` about the attacker, whom the provider would sign anything for."""

    honest: LogoutRecipe
    own: LogoutRecipe
    slo: str
    key: SamlKey

    @classmethod
    def of(cls, state: State, face: str, victim: Participant, own: Participant, slo: str) -> LogoutContext:
        issuer, now = SAML_FACES[face].issuer(state.base), state.now()
        made = [
            LogoutRecipe(
                now=now,
                issuer=issuer,
                destination=slo,
                name_ids=(one.name_id,),
                name_id_format=one.name_id_format,
                session_indexes=(one.session_index or "",),
                id=sx.new_id(),
            )
            for one in (victim, own)
        ]
        return cls(honest=made[0], own=made[1], slo=slo, key=state.saml.rings[face].signing)

    def changed(self, **changes: Any) -> Element:
        return replace(self.honest, **changes).tree()

    def redirect(self, tree: Element, **how: Any) -> Sent:
        """`how`: for `signed_query`; `key` None signs nothing."""
        key = how.pop("key", self.key)
        pairs = [("SAMLRequest", deflated(sx.text_of(tree)))]
        if key is None:
            return self.query("&".join(f"{name}={escaped(value)}" for name, value in pairs))
        return self.query(saml_sign.signed_query(pairs, key, **how))

    def query(self, text: str) -> Sent:
        return {"binding": sx.REDIRECT, "url": f"{self.slo}?{text}", "fields": []}

    def post(self, tree: Element, **how: Any) -> Sent:
        """`how`: for `sign`; `key` None signs nothing."""
        key = how.pop("key", self.key)
        if key is not None:
            saml_sign.sign(tree, key, **how)
        return self.form([("SAMLRequest", sx.b64(sx.document(tree)))])

    def form(self, fields: Pairs) -> Sent:
        return {"binding": sx.POST, "url": self.slo, "fields": fields}


def escaped(value: str) -> str:
    return quote_plus(value)
