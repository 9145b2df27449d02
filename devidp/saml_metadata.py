"""The identity provider's metadata: built when it is asked for, so that a rollover shows at once.

Entra's begins with a byte order mark, is signed, and has `fed:` roles beside the SAML one (fact C1).
Where the vendor shows other keys to somebody who names no application, so does its face (C1, E7).
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, g, make_response, request

from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.faces import Face
from devidp.saml_faces import SAML_FACES, SamlFace
from devidp.saml_keys import SamlKey, stranger
from devidp.saml_xml import DS, MD, SAML, SAMLP, XSI, Element
from devidp.state import State

BOM = b"\xef\xbb\xbf"
FED = "http://docs.oasis-open.org/wsfed/federation/200706"
_HUGE = 6 * 1024 * 1024


def handle(state: State, face: Face) -> Response:
    saml = SAML_FACES[face.name]
    fault = state.knobs.take("saml.metadata", face.name)
    g.outcome = "answered" if fault is None else f"fault: {fault}"
    body = FAULTS[fault](state, saml) if fault else honest(state, saml, partner=_partner(saml))
    response = make_response(body)
    response.headers["Content-Type"] = (
        "application/xml; charset=utf-8" if saml.aadsts else "application/samlmetadata+xml"
    )
    return response


def _partner(face: SamlFace) -> bool:
    return face.partner_parameter is None or bool(request.args.get(face.partner_parameter))


def honest(state: State, face: SamlFace, *, partner: bool = True) -> bytes:
    """What the address answers. `partner`: somebody said which application they are."""
    ring = state.saml.rings[face.name]
    keys = ring.published() if partner else [ring.key("server_default")]
    tree = entity(state, face, keys)
    if not face.aadsts:
        return sx.document(tree)
    # Marked [M] in fact C1: the root is signed.
    saml_sign.sign(tree, ring.signing if partner else keys[0])
    return BOM + sx.document(tree)


def entity(
    state: State,
    face: SamlFace,
    keys: list[SamlKey],
    *,
    entity_id: str | None = None,
    valid_until: float | None = None,
    roles: bool = True,
    sso: bool = True,
) -> Element:
    named = {"ID": sx.new_id(), "entityID": entity_id or face.issuer(state.base)}
    if valid_until is not None:
        named["validUntil"] = sx.instant(state.now() + valid_until)
    made = sx.root(MD, "EntityDescriptor", {None: MD, "ds": DS}, named)
    if face.aadsts:
        _federation_role(made, keys, state.base + face.sso)
    if not roles:
        return made
    role = sx.add(
        made,
        MD,
        "IDPSSODescriptor",
        None,
        {
            "protocolSupportEnumeration": SAMLP,
            "WantAuthnRequestsSigned": None if face.aadsts else "false",
        },
    )
    for key in keys:
        _descriptor(role, key)
    for binding in face.slo_bindings:
        sx.add(role, MD, "SingleLogoutService", None, _at(binding, state.base + face.slo))
    if not face.aadsts:
        sx.add(role, MD, "NameIDFormat", sx.FORMATS[face.name_id_format])
    if sso:
        for binding in face.sso_bindings:
            sx.add(role, MD, "SingleSignOnService", None, _at(binding, state.base + face.sso))
    return made


def _at(binding: str, location: str) -> dict[str, str | None]:
    return {"Binding": binding, "Location": location}


def _descriptor(role: Element, key: SamlKey) -> None:
    info = sx.add(sx.add(role, MD, "KeyDescriptor", None, {"use": "signing"}), DS, "KeyInfo")
    sx.add(sx.add(info, DS, "X509Data"), DS, "X509Certificate", key.certificate_text)


def _federation_role(parent: Element, keys: list[SamlKey], address: str) -> None:
    """A role of WS-Federation, which a SAML party must step over. It lists the same keys."""
    role = sx.add(
        parent,
        MD,
        "RoleDescriptor",
        None,
        {"protocolSupportEnumeration": FED},
        nsmap={"xsi": XSI, "fed": FED},
    )
    role.set(sx.q(XSI, "type"), "fed:SecurityTokenServiceType")
    for key in keys:
        _descriptor(role, key)
    offered = sx.add(role, FED, "ClaimTypesOffered")
    auth = "http://docs.oasis-open.org/wsfed/authorization/200706"
    sx.add(offered, auth, "ClaimType", None, {"Uri": f"{SAML}:name"}, nsmap={"auth": auth})
    endpoint = sx.add(role, FED, "PassiveRequestorEndpoint")
    wsa = "http://www.w3.org/2005/08/addressing"
    reference = sx.add(endpoint, wsa, "EndpointReference", nsmap={"wsa": wsa})
    sx.add(reference, wsa, "Address", address)


# -- faults ------------------------------------------------------------------------------------------


def _varied(state: State, face: SamlFace, **changes: object) -> bytes:
    published = state.saml.rings[face.name].published()
    keys: list[SamlKey] = changes.pop("keys", published)  # type: ignore[assignment]
    return sx.document(entity(state, face, keys, **changes))  # type: ignore[arg-type]


def _huge(state: State, face: SamlFace) -> bytes:
    text = _varied(state, face)
    return text + b"<!--" + b"x" * _HUGE + b"-->"


def _doctype(state: State, face: SamlFace) -> bytes:
    head, _, rest = _varied(state, face).partition(b"\n")
    return head + b'\n<!DOCTYPE EntityDescriptor [<!ENTITY e SYSTEM "file:///etc/hostname">]>\n' + rest


def _many(state: State, face: SamlFace) -> bytes:
    """The true ones stand among others, of which no one signs."""
    strangers = [stranger(f"devidp unused {n}") for n in range(2)]
    return _varied(state, face, keys=[strangers[0], *state.saml.rings[face.name].published(), strangers[1]])


def _two_entities(state: State, face: SamlFace) -> bytes:
    made = sx.root(MD, "EntitiesDescriptor", {None: MD})
    for other in (f"{state.base}/another", None):
        text = _varied(state, face, entity_id=other)
        made.append(sx.own(text))
    return sx.document(made)


def _foreign_signature(state: State, face: SamlFace) -> bytes:
    tree = entity(state, face, state.saml.rings[face.name].published())
    saml_sign.sign(tree, stranger("devidp foreign"))
    return sx.document(tree)


FAULTS: dict[str, Callable[[State, SamlFace], bytes]] = {
    "garbage": lambda _state, _face: b"\x00\x01 this is no XML <<<",
    "empty": lambda _state, _face: b"",
    "truncated": lambda state, face: _varied(state, face)[:-200],
    "huge": _huge,
    "doctype": _doctype,
    "no_bom": lambda state, face: honest(state, face).removeprefix(BOM),
    "expired": lambda state, face: _varied(state, face, valid_until=-3600),
    "no_certificate": lambda state, face: _varied(state, face, keys=[]),
    "many_certificates": _many,
    "other_entity_id": lambda state, face: _varied(state, face, entity_id=f"{state.base}/another"),
    "no_idp": lambda state, face: _varied(state, face, roles=False),
    "no_sso": lambda state, face: _varied(state, face, sso=False),
    "two_entities": _two_entities,
    "foreign_signature": _foreign_signature,
}
