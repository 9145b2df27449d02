"""Single logout, as far as a provider goes: it takes LogoutRequests, answers them, and can send its own.

It does not walk from one service provider to the next; a test that wants several sends several.
Facts C8 and J4 (Entra: redirect only, another Issuer in the response), D19 (PingOne answers by POST).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

from flask import Response, g, make_response, redirect, request

from devidp import page, saml_request, saml_sign, saml_sso
from devidp import saml_xml as sx
from devidp.authorize import COOKIE
from devidp.faces import Face
from devidp.saml_errors import SamlRefusal
from devidp.saml_faces import SAML_FACES, SamlFace
from devidp.saml_keys import SamlKey, stranger
from devidp.saml_sps import ServiceProvider
from devidp.saml_state import Participant
from devidp.saml_xml import SAML, SAMLP, STATUS, Element
from devidp.state import State


def sso_or_slo(state: State, face: Face) -> Response:
    """Entra's one address: an AuthnRequest and a ticket go to sign-in, all else is looked at here."""
    if "ticket" in request.args:
        return saml_sso.handle(state, face)
    try:
        kinds = ("AuthnRequest", "LogoutRequest", "LogoutResponse")
        tree = saml_request.received(SAML_FACES[face.name], *kinds).tree
    except SamlRefusal as refusal:
        return saml_sso.stopped(state, face, refusal.name)
    sign_in = tree.tag == sx.q(SAMLP, "AuthnRequest")
    return saml_sso.handle(state, face) if sign_in else handle(state, face)


def handle(state: State, face: Face) -> Response:
    saml = SAML_FACES[face.name]
    try:
        message = saml_request.received(saml, "LogoutRequest", "LogoutResponse")
        saml_request.note(message, saml)
        sp = saml_request.known(state, message)
        if message.parameter == "SAMLResponse":
            return _answered(state, face, message, sp)
        saml_request.checked(state, saml, message, sp)
    except SamlRefusal as refusal:
        return saml_sso.stopped(state, face, refusal.name)
    gone = state.saml.ended(face.name, _name_of(message.tree), set(_indexes(message.tree)))
    state.sign_out_browser(request.cookies.get(COOKIE), face)
    # Fact C8: at Entra the NameID "is not considered", so nobody is told that it was not known.
    g.outcome = "logout" if gone else "logout: nobody known"
    sent = _answer(state, saml, sp, message.id or "", message.relay_state)
    if sent is None:
        return page.message(face, "You are signed out", "You can close this window.")
    return _as_response(face, sent)


def _answered(state: State, face: Face, message: saml_request.Received, sp: ServiceProvider) -> Response:
    """The end of a logout that began here."""
    saml_request.signature(message, sp, needed=False)
    code = sx.find(message.tree, "Status/StatusCode")
    g.outcome = f"logout response: {'' if code is None else code.get('Value', '').rpartition(':')[2]}"
    state.sign_out_browser(request.cookies.get(COOKIE), face)
    return page.message(face, "You are signed out", "You can close this window.")


def _name_of(tree: Element) -> str:
    return sx.text(tree.find(sx.q(SAML, "NameID"))).strip()


def _indexes(tree: Element) -> Iterator[str]:
    for element in tree.findall(sx.q(SAMLP, "SessionIndex")):
        yield sx.text(element).strip()


# -- messages of our own -----------------------------------------------------------------------------

Sent = dict[str, Any]


def _message(state: State, name: str, issuer: str, destination: str, in_response_to: str | None) -> Element:
    tree = sx.root(
        SAMLP,
        name,
        {"samlp": SAMLP, "saml": SAML},
        {
            "ID": sx.new_id(),
            "Version": "2.0",
            "IssueInstant": sx.instant(state.now()),
            "Destination": destination,
            "InResponseTo": in_response_to,
        },
    )
    sx.add(tree, SAML, "Issuer", issuer)
    return tree


def _answer(
    state: State, face: SamlFace, sp: ServiceProvider, in_response_to: str, relay_state: str | None
) -> Sent | None:
    endpoint = sp.logout_at(face.logout_binding) or (sp.logouts[0] if sp.logouts else None)
    if endpoint is None:
        return None
    fault = state.knobs.take("saml.logout", face.name)
    where = endpoint.response_location or endpoint.location
    issuer = face.logout_issuer or face.issuer(state.base)
    answered = sx.new_id() if fault == "wrong_in_response_to" else in_response_to
    tree = _message(state, "LogoutResponse", _issuer(state, issuer, fault), where, answered)
    status = sx.add(tree, SAMLP, "Status")
    outer = "Responder" if fault in ("partial", "refused") else "Success"
    code = sx.add(status, SAMLP, "StatusCode", None, {"Value": STATUS + outer})
    if outer != "Success":
        inner = "PartialLogout" if fault == "partial" else "RequestDenied"
        sx.add(code, SAMLP, "StatusCode", None, {"Value": STATUS + inner})
    return _sent(state, face, tree, endpoint.binding, where, relay_state, fault)


def logout_request(
    state: State,
    face: SamlFace | str,
    participant: Participant,
    *,
    session_index: str | None = None,
    binding: str | None = None,
    relay_state: str | None = None,
    name_id: str | None = None,
) -> Sent:
    """A LogoutRequest to the service provider, as {"binding", "url", "fields"}.

    `session_index` "" leaves it out. `url` is complete for a redirect; for a post, `fields` is the form.
    """
    face = SAML_FACES[face] if isinstance(face, str) else face
    sp = state.saml.service_providers.get(participant.sp)
    endpoint = None
    if sp is not None:
        wanted = (binding,) if binding else (face.logout_binding, sx.REDIRECT, sx.POST)
        endpoint = next((found for one in wanted if (found := sp.logout_at(one))), None)
    if endpoint is None:
        raise ValueError("the service provider has no SingleLogoutService for this binding")
    fault = state.knobs.take("saml.logout", face.name)
    issuer = _issuer(state, face.issuer(state.base), fault)
    tree = _message(state, "LogoutRequest", issuer, endpoint.location, None)
    tree.set("NotOnOrAfter", sx.instant(state.now() + 300))
    said = {"Format": participant.name_id_format}
    sx.add(tree, SAML, "NameID", participant.name_id if name_id is None else name_id, said)
    index = participant.session_index if session_index is None else session_index
    if index:
        sx.add(tree, SAMLP, "SessionIndex", index)
    return _sent(state, face, tree, endpoint.binding, endpoint.location, relay_state, fault)


def _issuer(state: State, honest: str, fault: str | None) -> str:
    return f"{state.base}/another" if fault == "other_issuer" else honest


def _sent(
    state: State,
    face: SamlFace,
    tree: Element,
    binding: str,
    where: str,
    relay_state: str | None,
    fault: str | None,
) -> Sent:
    key: SamlKey | None = state.saml.rings[face.name].signing
    if fault is not None and fault in ("unsigned", "foreign_key"):
        key = None if fault == "unsigned" else stranger("devidp foreign")
    parameter = "SAMLRequest" if tree.tag.endswith("Request") else "SAMLResponse"
    extra = [] if relay_state is None else [("RelayState", relay_state)]
    if binding == sx.POST:
        if key is not None:
            saml_sign.sign(tree, key)
        fields = {parameter: sx.b64(sx.document(tree)), **dict(extra)}
        return {"binding": binding, "url": where, "fields": fields}
    query = redirect_query([(parameter, deflated(sx.text_of(tree))), *extra], key)
    return {"binding": binding, "url": f"{where}{'&' if '?' in where else '?'}{query}", "fields": {}}


def deflated(text: bytes) -> str:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return sx.b64(packer.compress(text) + packer.flush())


def redirect_query(pairs: list[tuple[str, str]], key: SamlKey | None) -> str:
    if key is not None:
        return saml_sign.signed_query(pairs, key)
    return "&".join(f"{name}={quote_plus(value)}" for name, value in pairs)


def _as_response(face: Face, sent: Sent) -> Response:
    if sent["binding"] == sx.POST:
        return page.post(face, sent["url"], sent["fields"])
    response = make_response(redirect(sent["url"], 302))
    response.headers["Cache-Control"] = "no-store"
    return response
