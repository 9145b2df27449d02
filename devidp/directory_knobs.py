"""The knobs of the directory side: what Graph, the PingOne API and the SCIM server can do wrong.

Every endpoint has the same faults, and so has each side as a whole (`graph.status` strikes all of
Graph, `graph.users.status` one list). What is said here is only what exists; directory_http and the
three sides do it. Failures are those of fact J13.
"""

from __future__ import annotations

from typing import Any

from devidp.knob_kinds import (
    BOOL,
    COUNT,
    NAMES,
    NUMBER,
    RETRY_AFTER,
    STATUS,
    TEXT,
    TEXT_OR_OBJECT,
    Kind,
    Knob,
    choice,
    is_int,
)

ENDPOINTS = {
    "graph": (
        "users", "users_count", "users_delta", "user", "check_member_groups", "get_member_groups", "group",
        "group_members", "transitive_members", "service_principals", "app_role_assignments", "batch",
    ),
    "pingone": ("users", "user", "user_groups", "groups", "group", "group_members"),
    "scim": ("users", "user", "groups", "group", "token", "config"),
}  # fmt: skip
FACE_OF = {"graph": "graph", "pingone": "pingone_api", "scim": "scim"}
FACES = tuple(FACE_OF.values())

_FAULTS = (
    ("down", BOOL, "closes the connection without an answer"),
    ("delay", NUMBER, "waits so many seconds first"),
    (
        "retry_after",
        RETRY_AFTER,
        'answers 429 in the vendor\'s shape with this Retry-After (whole, fractional, a date, or "absent"); '
        "`status` beside it may say 503",
    ),
    ("status", STATUS, "answers with this status; with `body` or `html` beside it if they are set"),
    ("body", TEXT_OR_OBJECT, "answers with this body (status 200 unless `status` is set too)"),
    ("html", BOOL, "answers with an HTML page and status 200 (or `status`), as a proxy in the way does"),
    ("redirect", TEXT, "answers 302 to this URL"),
    ("content_type", TEXT, "the Content-Type of the answer"),
    ("truncate", BOOL, "the answer stops half-way"),
)


def _is_kept(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_loss(value: Any) -> bool:
    if isinstance(value, dict):
        return (
            set(value) <= {"keep", "reads"}
            and _is_kept(value.get("keep"))
            and isinstance(value.get("reads", False), bool)
        )
    return _is_kept(value)


def _is_member_status(value: Any) -> bool:
    return isinstance(value, dict) and all(is_int(one) and 400 <= one <= 599 for one in value.values())


_LOSS = Kind('a number from 0 to 1, or {"keep": 0.5, "reads": true}', _is_loss)
_MEMBER_STATUS = Kind('an object of "<user id or *>": an HTTP status from 400 to 599', _is_member_status)
_LINK = Kind('true, or where to, e.g. "http://127.0.0.2"', lambda v: isinstance(v, bool | str))
_APP_ERROR = Kind(
    "one of 7000215, 7000222, 7000112, 90033, or an OAuth error word",
    lambda v: isinstance(v, str) or v in (7000215, 7000222, 7000112, 90033),
)


def _of_side(side: str) -> tuple[Knob, ...]:
    return (
        Knob(f"{side}.page_size", COUNT, "No page has more entries than this, whatever is asked for."),
        Knob(f"{side}.loses_people", _LOSS, "Lists and counts hold only this part; reads: 404 for the rest."),
        Knob(f"{side}.omit", NAMES, "Properties of people left out of every answer (absent, not null)."),
    )


_OWN = (
    Knob("directory.latency", NUMBER, "Milliseconds added to each directory request (not app tokens)."),
    Knob("app_token.error", _APP_ERROR, "Refuses app-only tokens (A19 codes); sign-in is left alone."),
    Knob("app_token.lifetime", COUNT, "Seconds that app-only tokens live, said and kept."),
    Knob("graph.foreign_next_link", _LINK, "@odata.nextLink and deltaLink name a foreign host."),
    Knob("graph.batch_member_status", _MEMBER_STATUS, "Members of $batch fail so while the batch is 200."),
    Knob(
        "graph.delta_expired",
        choice("410", "syncStateNotFound"),
        "A $deltatoken is refused: 410 with a Location for a fresh start, or 400 syncStateNotFound (B8).",
    ),
    Knob("graph.null_members", BOOL, "Members of groups come with null properties (B11)."),
    Knob("pingone.foreign_next_link", _LINK, "_links.next names a foreign host."),
    Knob("pingone.member_status", _MEMBER_STATUS, "Single reads of these people fail so."),
    Knob("graph.member_status", _MEMBER_STATUS, "Single reads of these people fail so, alone or batched."),
    Knob("scim.member_status", _MEMBER_STATUS, "Single reads of these people fail so."),
)

KNOBS = (
    *(
        Knob(f"{name}.{fault}", kind, f"{name}: {doc}.")
        for side, endpoints in ENDPOINTS.items()
        for name in (side, *(f"{side}.{endpoint}" for endpoint in endpoints))
        for fault, kind, doc in _FAULTS
    ),
    *(knob for side in ENDPOINTS for knob in _of_side(side)),
    *_OWN,
)
