"""Single sign-on: the request is checked, somebody is chosen, and a form carries the Response back.

An unknown service provider or address gets a page and never a post (the address could be anybody's).
Every other refusal goes to the registered address as a status. The provider can also begin by itself
(fact C10).
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from flask import Response, g, request

from devidp import page, saml_request
from devidp import saml_xml as sx
from devidp.authorize import COOKIE
from devidp.faces import Face
from devidp.people import Person
from devidp.saml_errors import SAML_REASONS, SamlReason, SamlRefusal, words
from devidp.saml_faces import SAML_FACES, SamlFace
from devidp.saml_response import Recipe, build, good, refused
from devidp.saml_state import Participant, Pending
from devidp.state import State


def stopped(state: State, face: Face, name: str) -> Response:
    g.outcome = name
    reason = SAML_REASONS[name]
    text = words(SAML_FACES[face.name], reason, state.now())
    return page.message(_shown(face), "Sign-in stopped", text, code=reason.status[-1], status=400)


def _shown(face: Face) -> Face:
    return replace(face, label=SAML_FACES[face.name].label)


def handle(state: State, face: Face) -> Response:
    saml = SAML_FACES[face.name]
    if "ticket" in request.args:
        return _chosen(state, face, request.args["ticket"])
    try:
        message = saml_request.received(saml, "AuthnRequest")
        saml_request.note(message, saml)
        sp = saml_request.known(state, message)
        acs = saml_request.answer_to(message, sp)
    except SamlRefusal as refusal:
        return stopped(state, face, refusal.name)
    back = Pending(sp=sp, acs=acs, request_id=message.id, relay_state=message.relay_state)
    try:
        pending = saml_request.wanted(state, saml, message, sp, acs)
        return _signed_in_or_asked(state, face, pending)
    except SamlRefusal as refusal:
        g.outcome = refusal.name
        return _say_no(state, face, back, refusal.reason)


def start(state: State, face: Face) -> Response:
    """What My Apps, the PingOne dock or startSSO.ping do (facts C10, D19, E7): no request, so no ID."""
    saml = SAML_FACES[face.name]
    name = request.args.get(saml.start_parameter, "")
    providers = state.saml.service_providers
    sp = providers.get(name)
    if sp is None and name == state.client.client_id and len(providers.all()) == 1:
        # Entra's address names the application by its id, not by its entity id.
        sp = providers.all()[0]
    if sp is None:
        return stopped(state, face, "unknown_sp")
    relay_state = request.args.get("RelayState", request.args.get("TargetResource"))
    return _ask(state, face, Pending(sp=sp, acs=sp.acs, request_id=None, relay_state=relay_state))


# -- who is it ---------------------------------------------------------------------------------------


def _signed_in_or_asked(state: State, face: Face, pending: Pending) -> Response:
    session = state.browser_session(request.cookies.get(COOKIE), face)
    person = state.people.get(session.person) if session is not None else None
    here = person is not None and not person.disabled and not pending.force_authn
    if pending.is_passive and not here:
        raise SamlRefusal("no_session")
    quiet = pending.is_passive or state.knobs.take("saml.silent", face.name)
    if person is not None and session is not None and here and quiet:
        return _answer(state, face, pending, person, session.auth_time)
    chosen = state.knobs.take("authorize.person", face.name)
    return _ask(state, face, pending) if chosen is None else _be(state, face, pending, chosen)


def _ask(state: State, face: Face, pending: Pending) -> Response:
    chosen = None if pending.request_id else state.knobs.take("authorize.person", face.name)
    if chosen is not None:
        return _be(state, face, pending, chosen)
    g.outcome = "page"
    action = f"{request.script_root}{SAML_FACES[face.name].sso}?ticket={state.saml.keep(pending)}"
    return page.choose(
        _shown(face), state.people.all(), action=action, destination="/".join(pending.acs.split("/")[:3])
    )


def _chosen(state: State, face: Face, ticket: str) -> Response:
    pending = state.saml.pending(ticket)
    if pending is None or request.method != "POST" or "person" not in request.form:
        return stopped(state, face, "unknown_ticket")
    return _be(state, face, pending, request.form["person"])


def _be(state: State, face: Face, pending: Pending, chosen: str) -> Response:
    if chosen == "":
        g.outcome = "declined"
        return _say_no(state, face, pending, SAML_REASONS["declined"])
    person = state.people.get(chosen)
    if person is None or person.disabled:
        return stopped(state, face, "disabled" if person else "unknown_person")
    cookie, session = state.sign_in_browser(request.cookies.get(COOKIE), face, person)
    response = _answer(state, face, pending, person, session.auth_time)
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax", path="/")
    return response


# -- the way back ------------------------------------------------------------------------------------


def _answer(state: State, face: Face, pending: Pending, person: Person, auth_time: float) -> Response:
    saml = SAML_FACES[face.name]
    wrong = state.knobs.take("saml.status", face.name)
    if wrong is not None:
        g.outcome = f"fault: {wrong}"
        status = ("Responder", wrong)
        return _say_no(state, face, pending, replace(SAML_REASONS["knob"], status=status))
    recipe = recipe_for(state, saml, person, pending)
    recipe = replace(recipe, authn_instant=auth_time - recipe.now)
    attack = state.knobs.take("saml.attack", face.name)
    g.outcome = "response"
    if attack is not None:
        return _attacked(state, face, pending, recipe, attack)
    state.saml.told(
        Participant(
            face=face.name,
            person=person.name,
            sp=pending.sp.entity_id,
            name_id=recipe.name_id or "",
            name_id_format=recipe.name_id_format,
            session_index=recipe.session_index,
        )
    )
    return _post(state, face, pending, sx.b64(build(recipe, state.saml.rings[face.name].signing)))


def recipe_for(state: State, face: SamlFace, person: Person, pending: Pending) -> Recipe:
    """The honest recipe, with the knobs for what an administrator may set up otherwise."""
    take = state.knobs.take
    named = take("saml.name_id_format", face.name) or pending.name_id_format
    recipe = good(state, face, person, pending.sp, pending.request_id, acs=pending.acs, name_id_format=named)
    changes: dict[str, Any] = {
        "name_id": take("saml.name_id", face.name),
        "signed": take("saml.signed", face.name),
        "signature": take("saml.signature", face.name),
        "encrypt": take("saml.encrypt", face.name),
        "block_cipher": take("saml.block_cipher", face.name),
        "key_transport": take("saml.key_transport", face.name),
    }
    if take("saml.prefixes", face.name):
        changes |= {"response_prefix": "saml", "assertion_prefix": "saml2", "protocol_prefix": "saml2p"}
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _attacked(state: State, face: Face, pending: Pending, recipe: Recipe, name: str) -> Response:
    """The victim is Ada, who administers, unless it is she who signs in."""
    from devidp import saml_attacks

    g.outcome = f"attack: {name}"
    context = saml_attacks.context_for(state, face.name, recipe, pending.sp)
    return _post(state, face, pending, saml_attacks.posted(name, context))


def _say_no(state: State, face: Face, pending: Pending, reason: SamlReason) -> Response:
    saml = SAML_FACES[face.name]
    text = words(saml, reason, state.now())
    recipe = refused(state, saml, pending.acs, pending.request_id, reason.status, text)
    return _post(state, face, pending, sx.b64(build(recipe, state.saml.rings[face.name].signing)))


def _post(state: State, face: Face, pending: Pending, message: str) -> Response:
    fields = {"SAMLResponse": message}
    relay_state = {
        "missing": None,
        "wrong": secrets.token_urlsafe(24),
        "evil_url": "https://evil.example/",
    }.get(state.knobs.take("saml.relay_state", face.name, ""), pending.relay_state)
    if relay_state is not None:
        fields["RelayState"] = relay_state
    return page.post(_shown(face), pending.acs, fields)
