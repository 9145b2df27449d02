"""The control API's SAML part, under /_control/saml/: service providers, keys, logout."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from devidp import saml_logout
from devidp.saml_faces import SAML_FACES
from devidp.saml_keys import SamlRing
from devidp.saml_xml import POST, REDIRECT
from devidp.state import State

Body = Callable[..., dict[str, Any]]


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a string")
    return value


def _face(body: dict[str, Any]) -> str:
    face = body.get("face")
    if face not in SAML_FACES:
        raise ValueError(f"face must be one of {', '.join(SAML_FACES)}")
    return str(face)


def _rings(state: State, body: dict[str, Any]) -> dict[str, SamlRing]:
    return state.saml.rings if "face" not in body else {_face(body): state.saml.rings[_face(body)]}


def add(control: Blueprint, state: State, body_of: Body) -> None:
    _add_providers(control, state, body_of)
    _add_keys(control, state, body_of)
    _add_logout(control, state, body_of)


def _add_providers(control: Blueprint, state: State, body_of: Body) -> None:
    providers = state.saml.service_providers

    def shown() -> Response:
        return jsonify(
            {
                sp.entity_id: {
                    "acs": [one.location for one in sp.consumers],
                    "slo": [dataclasses.asdict(one) for one in sp.logouts],
                    "signing": len(sp.signing),
                    "encryption": len(sp.encryption),
                    "requests_signed": sp.requests_signed,
                }
                for sp in providers.all()
            }
        )

    @control.get("/saml/service-providers")
    def read_providers() -> Response:
        return shown()

    @control.post("/saml/service-providers")
    def register() -> Response:
        """{"metadata": "<xml>"}; a second one of the same entity id takes the place of the first."""
        metadata = body_of("metadata").get("metadata")
        if not isinstance(metadata, str):
            raise ValueError("metadata must be a string of XML")
        providers.register(metadata.encode())
        return shown()


def _add_keys(control: Blueprint, state: State, body_of: Body) -> None:
    @control.post("/saml/keys/rotate")
    def rotate_saml_keys() -> Response:
        """One step; what is not given stays. `forget_old` comes first: new becomes old, both honest."""
        body = body_of("face", "publish", "sign_with", "kind", "forget_old")
        forget = body.get("forget_old", False)
        if not isinstance(forget, bool):
            raise ValueError("forget_old must be true or false")
        steps = {name: _text(body, name) for name in ("publish", "sign_with", "kind")}
        rings = _rings(state, body)
        for ring in rings.values():
            ring.rotate(**steps, forget_old=forget)
        return jsonify({name: ring.as_json() for name, ring in rings.items()})


def _add_logout(control: Blueprint, state: State, body_of: Body) -> None:
    @control.get("/saml/sessions")
    def sessions() -> Response:
        """Who was told about whom, newest first, by face."""
        return jsonify(
            {name: [dataclasses.asdict(one) for one in state.saml.participants(name)] for name in SAML_FACES}
        )

    @control.post("/saml/logout")
    def logout() -> Response:
        """A LogoutRequest for the person's newest session (or that of `session_index`), not yet sent.

        `session_index` "" leaves the index out; `binding` is redirect or post.
        """
        body = body_of("face", "person", "session_index", "sp", "binding", "relay_state", "name_id")
        face = _face(body)
        binding = _text(body, "binding")
        if binding not in (None, "redirect", "post"):
            raise ValueError("binding must be redirect or post")
        index, sp = _text(body, "session_index"), _text(body, "sp")
        found = [
            one
            for one in state.saml.participants(face, _text(body, "person"))
            if sp in (None, one.sp) and (not index or one.session_index == index)
        ]
        if not found:
            raise ValueError("nobody signed in like this; GET /_control/saml/sessions lists who did")
        return jsonify(
            saml_logout.logout_request(
                state,
                face,
                found[0],
                session_index=index,
                binding={"redirect": REDIRECT, "post": POST}.get(binding or ""),
                relay_state=_text(body, "relay_state"),
                name_id=_text(body, "name_id"),
            )
        )
