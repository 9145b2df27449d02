"""Messages from service providers: taken off their binding within bounds, then held to the rules.

Three steps, because who may hear about a refusal depends on how far it got: `received` and `known`
end in a page, `checked` in a Response to the registered address. Facts C3 and C8 for Entra; SAML
Core 3.4 and Bindings 3.4, 3.5 for all.
"""

from __future__ import annotations

import datetime
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import g, request

from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.saml_errors import SamlRefusal
from devidp.saml_faces import SamlFace
from devidp.saml_sps import ServiceProvider
from devidp.saml_state import Pending
from devidp.saml_xml import DS, SAML, SAMLP, Element
from devidp.state import State

LARGEST = 128 * 1024
# xs:ID is an NCName. Letters beyond ASCII are lawful and never sent.
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,255}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_KNOWN = {
    "attributes": {
        "ID", "Version", "IssueInstant", "Destination", "Consent", "ForceAuthn", "IsPassive",
        "ProtocolBinding", "AssertionConsumerServiceIndex", "AssertionConsumerServiceURL",
        "AttributeConsumingServiceIndex", "ProviderName",
    },
    "order": ("Issuer", "Signature", "Extensions", "Subject", "NameIDPolicy", "Conditions",
              "RequestedAuthnContext", "Scoping"),
}  # fmt: skip
_LOGOUT = {
    "attributes": {"ID", "Version", "IssueInstant", "Destination", "Consent", "NotOnOrAfter", "Reason"},
    "order": ("Issuer", "Signature", "Extensions", "BaseID", "NameID", "EncryptedID", "SessionIndex"),
}


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message off the wire. `raw` is the query string when it came by redirect."""

    tree: Element
    parameter: str
    raw: str | None
    relay_state: str | None

    @property
    def id(self) -> str | None:
        """None if it is no ID that could be answered."""
        value = self.tree.get("ID", "")
        return value if _ID.fullmatch(value) else None

    @property
    def signed(self) -> bool:
        if self.raw is not None:
            return bool({"Signature", "SigAlg"} & set(request.args))
        return self.tree.find(sx.q(DS, "Signature")) is not None


def received(face: SamlFace, *kinds: str) -> Received:
    """`kinds`: the local names that may come here."""
    posted = request.method == "POST"
    values = request.form if posted else request.args
    if any(len(values.getlist(name)) > 1 for name in values):
        raise SamlRefusal("repeated")
    present = [name for name in ("SAMLRequest", "SAMLResponse") if name in values]
    if len(present) != 1:
        raise SamlRefusal("missing")
    relay_state = values.get("RelayState")
    if face.relay_state_limit and len((relay_state or "").encode()) > face.relay_state_limit:
        raise SamlRefusal("relay_state")
    try:
        data = sx.unb64(values[present[0]])
    except sx.NotXml as error:
        raise SamlRefusal("undecodable") from error
    try:
        tree = sx.parse(data if posted else _inflated(data), largest=LARGEST)
    except sx.NotXml as error:
        raise SamlRefusal("not_xml") from error
    if tree.tag not in {sx.q(SAMLP, kind) for kind in kinds}:
        raise SamlRefusal("not_a_request")
    raw = None if posted else request.query_string.decode("ascii", "replace")
    return Received(tree=tree, parameter=present[0], raw=raw, relay_state=relay_state)


def _inflated(data: bytes) -> bytes:
    """Bindings 3.4.4.1: raw DEFLATE, all of it, and not a bomb (row S15)."""
    if request.args.get("SAMLEncoding", f"{sx.BINDING}URL-Encoding:DEFLATE") != (
        f"{sx.BINDING}URL-Encoding:DEFLATE"
    ):
        raise SamlRefusal("undecodable")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = inflater.decompress(data, LARGEST + 1)
    except zlib.error as error:
        raise SamlRefusal("undecodable") from error
    if not inflater.eof or inflater.unused_data or len(text) > LARGEST:
        raise SamlRefusal("undecodable")
    return text


def known(state: State, message: Received) -> ServiceProvider:
    """Fact C3: the Issuer must be a registered entity id."""
    issuer = message.tree.find(sx.q(SAML, "Issuer"))
    entity_id = sx.text(issuer).strip()
    sp = state.saml.service_providers.get(entity_id) if entity_id else None
    if sp is None or issuer.get("Format", sx.FORMATS["entity"]) != sx.FORMATS["entity"]:
        raise SamlRefusal("unknown_sp")
    return sp


def answer_to(message: Received, sp: ServiceProvider) -> str:
    """A registered address, compared as strings; by URL or by index, not both (Core 3.4.1)."""
    url: str | None = message.tree.get("AssertionConsumerServiceURL")
    index = message.tree.get("AssertionConsumerServiceIndex")
    if url is not None and index is not None:
        raise SamlRefusal("unknown_acs")
    if index is not None:
        url = sp.acs_at(index)
    elif url is None:
        return sp.acs
    if url is None or url not in {one.location for one in sp.consumers}:
        raise SamlRefusal("unknown_acs")
    return url


# -- the rules ---------------------------------------------------------------------------------------


def checked(state: State, face: SamlFace, message: Received, sp: ServiceProvider) -> None:
    """What every message must keep to, and its signature."""
    tree = message.tree
    logout = tree.tag != sx.q(SAMLP, "AuthnRequest")
    # Profiles 4.4.4.1: a LogoutRequest must be signed. Entra takes unsigned ones (fact C8).
    signature(message, sp, needed=bool(sp.signing) and not face.aadsts if logout else sp.requests_signed)
    if message.id is None:
        raise SamlRefusal("bad_id")
    if tree.get("Version") != "2.0":
        raise SamlRefusal("version")
    if not _is_instant(tree.get("IssueInstant", "")):
        raise SamlRefusal("bad_instant")
    _shape(tree, _LOGOUT if logout else _KNOWN)
    destination = tree.get("Destination")
    if face.checks_destination:
        # Bindings 3.4.5.2 and 3.5.5.2: a signed message must name where it goes.
        here = state.base + (face.slo if logout else face.sso)
        if destination != here and (destination is not None or message.signed):
            raise SamlRefusal("destination")


def _is_instant(value: str) -> bool:
    if not _INSTANT.fullmatch(value):
        return False
    try:
        datetime.datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def _shape(tree: Element, rules: dict[str, Any]) -> None:
    """Known attributes, known children, in the schema's order, and no empty text where there must be some."""
    if not set(tree.attrib) <= rules["attributes"]:
        raise SamlRefusal("malformed")
    order = rules["order"]
    places: list[int] = []
    for child in sx.children(tree):
        name = child.tag.rpartition("}")[2]
        if name not in order or (name != "SessionIndex" and name in [order[place] for place in places]):
            raise SamlRefusal("malformed")
        places.append(order.index(name))
    if places != sorted(places):
        raise SamlRefusal("malformed")
    for name in ("ForceAuthn", "IsPassive"):
        if tree.get(name, "false") not in ("true", "false", "1", "0"):
            raise SamlRefusal("malformed")


def signature(message: Received, sp: ServiceProvider, *, needed: bool) -> None:
    """Where the metadata promises one, it must be there; where one is, it must hold."""
    if not message.signed:
        if needed:
            raise SamlRefusal("signature_missing")
        return
    try:
        if message.raw is not None:
            if message.tree.find(f".//{sx.q(DS, 'Signature')}") is not None:
                # Bindings 3.4.4.1: the XML signature must be taken out before the encoding.
                raise saml_sign.BadSignature("an XML signature in the redirect binding")
            saml_sign.verify_query(message.raw, message.parameter, sp.signing)
        else:
            saml_sign.verify(message.tree, sp.signing)
    except (saml_sign.BadSignature, sx.NotXml) as error:
        raise SamlRefusal("signature_wrong") from error


def wanted(state: State, face: SamlFace, message: Received, sp: ServiceProvider, acs: str) -> Pending:
    """The whole AuthnRequest, checked, as what is to be done about it."""
    checked(state, face, message, sp)
    tree = message.tree
    if tree.get("ProtocolBinding", sx.POST) != sx.POST:
        raise SamlRefusal("binding")
    if tree.find(sx.q(SAML, "Subject")) is not None:
        raise SamlRefusal("subject")
    for rule in (_authn_context, _scoping):
        rule(tree)
    return Pending(
        sp=sp,
        acs=acs,
        request_id=message.id,
        relay_state=message.relay_state,
        name_id_format=_name_id_format(face, tree, sp),
        force_authn=tree.get("ForceAuthn") in ("true", "1"),
        is_passive=tree.get("IsPassive") in ("true", "1"),
    )


def _name_id_format(face: SamlFace, tree: Element, sp: ServiceProvider) -> str | None:
    """Fact C6: Entra knows five and refuses the rest. The others give what they were set up for."""
    policy = tree.find(sx.q(SAMLP, "NameIDPolicy"))
    if policy is None:
        return None
    asked = policy.get("Format", sx.FORMATS["unspecified"])
    name = next((name for name, uri in sx.FORMATS.items() if uri == asked), None)
    if policy.get("SPNameQualifier", sp.entity_id) != sp.entity_id:
        raise SamlRefusal("name_id_policy")
    if name not in (face.name_id_choice or (face.name_id_format, "unspecified")):
        raise SamlRefusal("name_id_policy")
    return None if name == "unspecified" else name


def _authn_context(tree: Element) -> None:
    """Fact C3: a mismatch is AADSTS75011, and only `exact` is understood."""
    context = tree.find(sx.q(SAMLP, "RequestedAuthnContext"))
    if context is None:
        return
    asked = {sx.text(child).strip() for child in sx.children(context)}
    if context.get("Comparison", "exact") != "exact" or not asked & {sx.PASSWORD, sx.PASSWORD_OVER_TLS}:
        raise SamlRefusal("authn_context")


def _scoping(tree: Element) -> None:
    if tree.find(sx.q(SAMLP, "Scoping")) is not None:
        raise SamlRefusal("malformed")


def note(message: Received, face: SamlFace) -> None:
    """For the request log: facts about the request that a test may assert, and no value that identifies."""
    tree = message.tree
    policy = tree.find(sx.q(SAMLP, "NameIDPolicy"))
    facts: dict[str, Callable[[], Any]] = {
        "message": lambda: tree.tag.rpartition("}")[2],
        "binding": lambda: "POST" if message.raw is None else "redirect",
        "signed": lambda: message.signed,
        "signature_algorithm": lambda: request.args.get("SigAlg"),
        "issuer": lambda: sx.text(tree.find(sx.q(SAML, "Issuer"))),
        "destination": lambda: tree.get("Destination"),
        "id_first": lambda: tree.get("ID", "")[:1],
        "id_length": lambda: len(tree.get("ID", "")),
        "acs_url": lambda: tree.get("AssertionConsumerServiceURL"),
        "acs_index": lambda: tree.get("AssertionConsumerServiceIndex"),
        "protocol_binding": lambda: tree.get("ProtocolBinding"),
        "force_authn": lambda: tree.get("ForceAuthn") in ("true", "1"),
        "is_passive": lambda: tree.get("IsPassive") in ("true", "1"),
        "name_id_policy": lambda: policy is not None,
        "name_id_policy_format": lambda: None if policy is None else policy.get("Format"),
        "requested_authn_context": lambda: tree.find(sx.q(SAMLP, "RequestedAuthnContext")) is not None,
        "subject": lambda: tree.find(sx.q(SAML, "Subject")) is not None,
        "relay_state": lambda: message.relay_state is not None,
        "session_indexes": lambda: len(tree.findall(sx.q(SAMLP, "SessionIndex"))),
    }
    g.saml = {"face": face.name, **{name: fact() for name, fact in facts.items()}}
