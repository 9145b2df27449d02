"""The control API's part for signing out at the provider: /_control/logout and /_control/sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from devidp import backchannel
from devidp.faces import FACES
from devidp.state import State


def add(control: Blueprint, state: State, body_of: Callable[..., dict[str, Any]]) -> None:
    @control.get("/sessions")
    def read_sids() -> Response:
        """The sids of everybody's sessions, oldest first, by face and person."""
        return jsonify(
            {
                name: {one.name: sids for one in state.people.all() if (sids := state.sids_of(face, one))}
                for name, face in FACES.items()
            }
        )

    @control.get("/logout/recipes")
    def logout_recipes() -> Response:
        return jsonify(sorted(backchannel.RECIPES))

    @control.post("/logout")
    def sign_out_here() -> Response:
        """Sign a person out here, and tell the relying party by back-channel.

        {face, person} and, if wished, names (both, sid, sub), sid, recipe, claims, keep (the session stays
        here), uri (which of the registered ones), send: false, or token: one that was sent before.
        """
        known = ("face", "person", "names", "sid", "recipe", "claims", "keep", "uri", "send", "token")
        body = body_of(*known)
        token = body.get("token")
        if token is None:
            notice = backchannel.notice(state, body)
            token = notice.token
            if not body.get("keep"):
                state.end_sessions(notice.face, notice.person, notice.sid)
        if body.get("send") is False:
            return jsonify({"token": token})
        uri = body.get("uri") or next(iter(sorted(state.client.backchannel_logout_uris)), "")
        return jsonify({"token": token, **backchannel.send(state, uri, token)})
