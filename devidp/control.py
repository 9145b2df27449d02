"""The control API under /_control/: knobs, people, keys, the client, the log, hand-made tokens, SAML.

Loopback only, and closed to web pages: a request with an Origin, or for a host name that is not
ours, is refused, because any site open in a developer's browser can reach this machine's ports.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from devidp import directory_control, knobs, logout_control, saml_control, sign
from devidp.errors import REASONS
from devidp.faces import FACES
from devidp.settings import LOOPBACK_NAMES
from devidp.state import State

_ADDRESSES = ("redirect_uris", "post_logout_redirect_uris", "backchannel_logout_uris")


def blueprint(state: State) -> Blueprint:
    control = Blueprint("control", __name__, url_prefix="/_control")
    control.before_request(lambda: _only_from_here(state))
    control.register_error_handler(ValueError, _bad_request)
    control.register_error_handler(BadRequest, lambda error: _bad_request(error.description))
    for add in (_add_knobs, _add_log, _add_people, _add_keys, _add_client):
        add(control, state)
    saml_control.add(control, state, _body)
    logout_control.add(control, state, _body)
    directory_control.add(control, state, _body)
    return control


def _only_from_here(state: State) -> tuple[Response, int] | None:
    try:
        local = ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        local = False
    host = request.host.rsplit(":", 1)[0].strip("[]")
    ours = host in LOOPBACK_NAMES or request.host == state.base.partition("://")[2]
    if local and ours and "Origin" not in request.headers:
        return None
    return jsonify({"error": "The control API answers this machine's own programs only."}), 403


def _bad_request(error: Any) -> tuple[Response, int]:
    return jsonify({"error": str(error)}), 400


def _body(*known: str) -> dict[str, Any]:
    """The JSON object sent; a field that is not known is refused, so that no typing error is silent."""
    if not request.get_data():
        return {}
    body = request.get_json()
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    unknown = sorted(set(body) - set(known)) if known else []
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}; known fields: {', '.join(known)}")
    return body


def _flag(body: dict[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false")
    return value


def _add_knobs(control: Blueprint, state: State) -> None:
    @control.get("/knobs")
    def read_knobs() -> Response:
        return jsonify(state.knobs.as_json())

    @control.put("/knobs")
    def put_knobs() -> Response:
        state.knobs.put(_body())
        return jsonify(state.knobs.as_json())

    @control.delete("/knobs")
    @control.delete("/knobs/<name>")
    def delete_knobs(name: str | None = None) -> Response:
        if name is not None and name not in knobs.TABLE:
            raise ValueError(f"there is no knob {name!r}")
        state.knobs.reset(name)
        return jsonify(state.knobs.as_json())

    @control.get("/knobs/known")
    def known_knobs() -> Response:
        return jsonify({name: f"{knob.kind.words}: {knob.doc}" for name, knob in knobs.TABLE.items()})


def _add_log(control: Blueprint, state: State) -> None:
    @control.get("/requests")
    def read_requests() -> Response:
        """Newest last; ?endpoint=token and ?face=entra narrow it. ?endpoint=graph is all of graph.*"""
        face, endpoint = request.args.get("face"), request.args.get("endpoint")
        return jsonify(
            [
                entry
                for entry in state.log.all()
                if face in (None, entry["face"])
                and (endpoint in (None, entry["endpoint"]) or entry["endpoint"].startswith(f"{endpoint}."))
            ]
        )

    @control.delete("/requests")
    def delete_requests() -> Response:
        state.log.clear()
        return jsonify([])

    @control.post("/reset")
    def reset() -> Response:
        state.reset()
        return jsonify({"reset": True})

    @control.get("/refusals")
    def refusals() -> Response:
        """The words that `outcome` in the log may be, and what each is answered with."""
        return jsonify({name: dataclasses.asdict(reason) for name, reason in REASONS.items()})


def _add_people(control: Blueprint, state: State) -> None:
    @control.get("/people")
    def read_people() -> Response:
        return jsonify({person.name: dataclasses.asdict(person) for person in state.people.all()})

    @control.get("/people/<name>")
    def read_person(name: str) -> Response | tuple[Response, int]:
        person = state.people.get(name)
        if person is None:
            return jsonify({"error": f"there is nobody called {name!r}"}), 404
        return jsonify(dataclasses.asdict(person))

    @control.put("/people/<name>")
    def put_person(name: str) -> Response:
        return jsonify(dataclasses.asdict(state.people.put(name, _body())))


def _rings(state: State, body: dict[str, Any]) -> dict[str, Any]:
    face = body.get("face")
    if face is not None and face not in FACES:
        raise ValueError(f"face must be one of {', '.join(FACES)}")
    return {name: ring for name, ring in state.keyrings.items() if face in (None, name)}


def _add_keys(control: Blueprint, state: State) -> None:
    @control.post("/keys/rotate")
    def rotate_keys() -> Response:
        """publish: false keeps the new key out of the key set until /keys/publish."""
        body = _body("publish", "same_kid", "keep_old", "face")
        choices = {
            name: _flag(body, name, default=name != "same_kid")
            for name in ("publish", "same_kid", "keep_old")
        }
        return jsonify({name: ring.rotate(**choices).kid for name, ring in _rings(state, body).items()})

    @control.post("/keys/publish")
    def publish_keys() -> Response:
        rings = _rings(state, _body("face"))
        for ring in rings.values():
            ring.publish()
        return jsonify({name: ring.current.kid for name, ring in rings.items()})

    @control.post("/sign")
    def sign_token() -> Response:
        body = _body("claims", "header", "alg", "key", "face", "person", "remove", "duplicate_keys")
        return jsonify({"token": sign.by_hand(state, body)})


def _add_client(control: Blueprint, state: State) -> None:
    @control.post("/clients")
    def change_client() -> Response:
        """Adds addresses and certificates (PEM); replaces the secret. The answer shows no secret."""
        body = _body(*_ADDRESSES, "certificates", "client_secret", "scim_token")
        for name in (*_ADDRESSES, "certificates"):
            values = body.get(name, [])
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"{name} must be a list of strings")
        secret = body.get("client_secret", state.client.secret)
        scim_token = body.get("scim_token", state.directory.scim_token)
        for name, value in (("client_secret", secret), ("scim_token", scim_token)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{name} must be a string that is not empty")
        client = state.client
        for name in _ADDRESSES:
            getattr(client, name).update(body.get(name, []))
        client.certificates.extend(body.get("certificates", []))
        client.secret, state.directory.scim_token = secret, scim_token
        return jsonify(
            {
                "client_id": client.client_id,
                **{name: sorted(getattr(client, name)) for name in _ADDRESSES},
                "certificates": len(client.certificates),
            }
        )
