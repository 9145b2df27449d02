"""The knobs: every way in which this provider can be told to misbehave, with what each one does.

A knob that does not exist, or has the wrong type, is refused with a sentence, because a test whose
knob is misspelt would otherwise pass for the wrong reason. Nothing misbehaves while no knob is set.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from devidp import directory_knobs
from devidp.keys import ALGORITHMS
from devidp.knob_kinds import (
    ANY,
    ATTACK,
    BOOL,
    COUNT,
    NAMES,
    NUMBER,
    OBJECT,
    RETRY_AFTER,
    SHIFTS,
    STATUS,
    TEXT,
    TEXT_OR_OBJECT,
    Knob,
    choice,
    is_int,
)

UNSET: Any = object()


AUDS = (
    "other",
    "list",
    "two_without_azp",
    "two_with_azp",
    "two_wrong_azp",
    "other_with_azp",
    "empty_list",
    "missing",
)
ISSUERS = (
    "other_tenant",
    "common",
    "template",
    "v1",
    "trailing_slash",
    "other_host",
    "other_face",
    "missing",
)
SHAPES = (
    "string", "json_string", "comma_string", "number", "numbers", "nested", "mixed", "object", "null", "true",
    "empty", "absent", "ten_thousand", "lookalike", "duplicates",
)  # fmt: skip
OVERAGES = (
    "claim_sources",
    "names_only",
    "sources_only",
    "hasgroups",
    "hasgroups_string",
    "partial",
    "inline",
    "evil_url",
)
FORMATS = ("ids", "names", "dn", "netbios", "dns", "emit_as_roles")
GUESTS = ("idp", "acct", "both", "ext_upn", "live", "none")

_ID_TOKEN = (
    Knob("id_token.set", OBJECT, "Claims laid over everything else; a value may be of any type."),
    Knob("id_token.remove", NAMES, "Claims taken out, after id_token.set."),
    Knob("id_token.header_set", OBJECT, "Header members to set: kid, typ, crit, jwk, jku, x5u, x5c, ..."),
    Knob("id_token.header_remove", NAMES, "Header members to take out, e.g. kid."),
    Knob(
        "id_token.alg",
        choice(*ALGORITHMS),
        "Sign with it. HS256 uses the RSA public key (PEM) as its secret.",
    ),
    Knob(
        "id_token.key",
        choice("foreign", "unknown_kid", "foreign_tenant"),
        "foreign: another key under the current kid; unknown_kid: another key under its own kid, in no key "
        "set; foreign_tenant: the key that Entra's key set shows with the `issuer` of another tenant.",
    ),
    Knob(
        "id_token.duplicate_keys", OBJECT, "Claims written a second time, behind the first, in the JSON text."
    ),
    Knob("id_token.duplicate_header_keys", OBJECT, "The same for the header."),
    Knob("id_token.omit", BOOL, "The token answer has no id_token."),
    Knob(
        "id_token.raw",
        ANY,
        "The id_token member of the token answer is this value: a number, null, 'a.b.c', ...",
    ),
    Knob(
        "id_token.type",
        choice("access_token", "logout_token"),
        "A well-signed token of another type in its place.",
    ),
    Knob(
        "id_token.nonce",
        choice("wrong", "missing", "unsupported", "unsupported_with_nonce"),
        "unsupported: nonce left out and nonce_supported:false put in (the claim Authlib obeys).",
    ),
    Knob("id_token.aud", choice(*AUDS), "Audience variants; `list` is lawful, and so is two_with_azp."),
    Knob("id_token.iss", choice(*ISSUERS), "Issuer variants, well signed."),
    Knob("id_token.shift", SHIFTS, "Seconds added to iat, nbf, exp, auth_time; negative means earlier."),
    Knob(
        "id_token.at_hash", choice("wrong", "missing", "right"), "`right` adds it on faces that leave it out."
    ),
    Knob("id_token.c_hash", choice("wrong", "right"), "c_hash in the code flow, as some providers send it."),
    Knob("id_token.sub_length", COUNT, "A sub of exactly so many characters, e.g. 700."),
    Knob("id_token.min_bytes", COUNT, "Padded with a claim until the token is at least so long, e.g. 6144."),
    Knob("id_token.x5c_header", BOOL, "The signing certificate in the header: lawful, and over 512 bytes."),
)

_PEOPLE = (
    Knob(
        "guest",
        choice(*GUESTS),
        "Marks whoever signs in as a guest, in one of the forms in use; none: unmarks.",
    ),
    Knob("groups.shape", choice(*SHAPES), "The type or content of the groups claim."),
    Knob(
        "groups.overage", choice(*OVERAGES), "Overage markers of facts A15 and A16, whole, half or hostile."
    ),
    Knob("groups.place", choice("id_token", "userinfo", "both", "none"), "Where the groups claim is sent."),
    Knob("groups.format", choice(*FORMATS), "What a group is called; emit_as_roles puts names into roles."),
)

_AUTHORIZE = (
    Knob(
        "authorize.iss",
        choice("right", "wrong", "other_face", "missing", "twice"),
        "RFC 9207 iss on the answer.",
    ),
    Knob("authorize.state", choice("wrong", "missing", "twice"), "state on the answer."),
    Knob(
        "authorize.code",
        choice("missing", "unknown", "twice", "long"),
        "code on the answer; long: 700 characters.",
    ),
    Knob("authorize.extra", OBJECT, 'More parameters for the answer, e.g. {"next": "https://evil.example"}.'),
    Knob(
        "authorize.error",
        TEXT,
        "Answer with this error at once, e.g. temporarily_unavailable or login_required.",
    ),
    Knob("authorize.person", TEXT, "Sign this person in without showing the page."),
    Knob("authorize.prompt_none_page", BOOL, "prompt=none is answered with the sign-in page, as some do."),
    Knob(
        "ignore_pkce", BOOL, "Neither asks for a challenge nor checks the verifier (a provider without PKCE)."
    ),
)

_TOKEN = (
    Knob(
        "token.error",
        TEXT_OR_OBJECT,
        "An OAuth error in the face's own shape: a word (invalid_grant), or "
        "{error, code, description, status}.",
    ),
    Knob("token.keep_codes", BOOL, "Codes may be used again (a provider that forgot the rule)."),
    Knob("token.rotate", BOOL, "A refresh gives a new refresh token and ends the old one (default true)."),
)

_EVERYWHERE = (
    Knob("down", BOOL, "Every endpoint closes the connection without an answer; not the control API."),
)

# What each endpoint can do wrong, whatever it answers. {ep} is the endpoint.
_FAULTS = (
    ("down", BOOL, "closes the connection without an answer"),
    ("delay", NUMBER, "waits so many seconds first"),
    (
        "retry_after",
        RETRY_AFTER,
        'answers 429 with this Retry-After (whole, fractional, a date, or "absent")',
    ),
    ("status", STATUS, "answers with this status; with `body` or `html` beside it if they are set"),
    ("body", TEXT_OR_OBJECT, "answers with this body (status 200 unless `status` is set too)"),
    ("html", BOOL, "answers with an HTML page and status 200 (or `status`), as a proxy in the way does"),
    ("redirect", TEXT, "answers 302 to this URL"),
    ("content_type", TEXT, "the Content-Type of the answer"),
    ("set", OBJECT, 'members of the JSON answer, laid over it; jwks.set {"keys": []} is an empty key set'),
    ("remove", NAMES, "members of the JSON answer taken out"),
    ("truncate", BOOL, "the JSON answer stops half-way"),
    ("oversize", COUNT, "a member is added so that the JSON answer has at least so many bytes"),
)
ENDPOINTS = ("discovery", "jwks", "authorize", "token", "userinfo", "logout", "older_logout")
SAML_ENDPOINTS = ("saml.metadata", "saml.sso", "saml.slo", "saml.start")
_PAGES = frozenset({"authorize", "logout", "older_logout", *SAML_ENDPOINTS})
_JSON_ONLY = frozenset({"set", "remove", "truncate", "oversize"})

_ENDPOINTS = tuple(
    Knob(f"{ep}.{fault}", kind, f"The {ep} endpoint: {doc}.")
    for ep in (*ENDPOINTS, *SAML_ENDPOINTS)
    for fault, kind, doc in _FAULTS
    if not (ep in _PAGES and fault in _JSON_ONLY)
)

_SAML = (
    Knob("saml.attack", ATTACK, "The next Response is this attack (saml_attacks.ATTACKS) on the honest one."),
    Knob("saml.signed", choice("assertion", "response", "both", "none"), "Which of the two is signed."),
    Knob("saml.signature", choice("rsa-sha256", "rsa-sha384", "rsa-sha512", "rsa-sha1"), "Signs with it."),
    Knob("saml.encrypt", choice("none", "assertion", "name_id", "both"), "For the service provider's key."),
    Knob(
        "saml.block_cipher",
        choice("aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm", "3des"),
        "How saml.encrypt hides the content.",
    ),
    Knob("saml.key_transport", choice("rsa-oaep", "rsa-1_5"), "How saml.encrypt carries the content's key."),
    Knob("saml.prefixes", BOOL, "The Response and its assertion use different prefixes for one namespace."),
    Knob(
        "saml.name_id_format",
        choice("emailAddress", "persistent", "unspecified", "transient", "windows"),
        "The NameID's format, and a value that goes with it.",
    ),
    Knob("saml.name_id", TEXT, "The NameID's text; its format stays."),
    Knob("saml.attributes", OBJECT, "Laid over: a string, a list of strings, or null to leave one out."),
    Knob(
        "saml.status",
        choice(
            "AuthnFailed", "InvalidNameIDPolicy", "NoAuthnContext", "NoPassive", "RequestDenied",
            "RequestUnsupported", "UnknownPrincipal", "PartialLogout",
        ),
        "Answer every request with this error status; no assertion.",
    ),
    Knob("saml.silent", BOOL, "Whoever is signed in here already is not asked again, but for ForceAuthn."),
    Knob("saml.relay_state", choice("missing", "wrong", "evil_url"), "RelayState on the answer."),
    Knob(
        "saml.logout",
        choice("unsigned", "foreign_key", "other_issuer", "wrong_in_response_to", "partial", "refused"),
        "What is wrong with the logout messages that this provider sends.",
    ),
    Knob(
        "saml.metadata",
        choice(
            "garbage", "truncated", "empty", "huge", "doctype", "no_bom", "expired", "no_certificate",
            "many_certificates", "other_entity_id", "no_idp", "no_sso", "two_entities", "foreign_signature",
        ),
        "What is wrong, or unusual, with the metadata; down and slow are saml.metadata.down and .delay.",
    ),
)  # fmt: skip

_ROWS = (*_ID_TOKEN, *_PEOPLE, *_AUTHORIZE, *_TOKEN, *_SAML, *_EVERYWHERE, *_ENDPOINTS)
TABLE = {knob.name: knob for knob in (*_ROWS, *directory_knobs.KNOBS)}


_WRAPPER = frozenset({"value", "times", "face", "skip"})


@dataclass
class _Setting:
    value: Any
    times: int | None = None
    face: str | None = None
    skip: int = 0

    def as_json(self) -> Any:
        if self.times is None and self.face is None and not self.skip:
            return self.value
        extra = {"times": self.times, "face": self.face, "skip": self.skip or None}
        return {"value": self.value} | {key: value for key, value in extra.items() if value is not None}


class Knobs:
    """The knobs that are set now.

    A value may be wrapped: {"value": ..., "times": 2, "face": "entra"} applies twice, to one face;
    "skip": 3 lets the first three calls pass before that.
    """

    def __init__(self, face_names: tuple[str, ...]) -> None:
        self._faces = face_names
        self._lock = threading.Lock()
        self._set: dict[str, _Setting] = {}

    def reset(self, name: str | None = None) -> None:
        with self._lock:
            if name is None:
                self._set.clear()
            else:
                self._set.pop(name, None)

    def put(self, wanted: dict[str, Any]) -> None:
        """All or nothing: one bad knob, and none of them is set."""
        checked = {name: self._checked(name, value) for name, value in wanted.items()}
        with self._lock:
            self._set.update(checked)

    def any_set(self) -> bool:
        return bool(self._set)

    def take(self, name: str, face: str | None = None, default: Any = None) -> Any:
        """The value, if the knob is set for this face; one of its `times` is used up."""
        if name not in TABLE:
            raise KeyError(name)
        with self._lock:
            setting = self._set.get(name)
            if setting is None or setting.face not in (None, face):
                return default
            if setting.skip:
                setting.skip -= 1
                return default
            if setting.times is not None:
                setting.times -= 1
                if setting.times <= 0:
                    del self._set[name]
            return setting.value

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {name: setting.as_json() for name, setting in sorted(self._set.items())}

    def _checked(self, name: str, given: Any) -> _Setting:
        knob = TABLE.get(name)
        if knob is None:
            raise ValueError(f"there is no knob {name!r}; GET /_control/knobs/known lists them")
        setting = _Setting(given)
        if isinstance(given, dict) and "value" in given and set(given) <= _WRAPPER:
            setting = _Setting(given["value"], given.get("times"), given.get("face"), given.get("skip", 0))
        if setting.times is not None and not (is_int(setting.times) and setting.times >= 1):
            raise ValueError(f"{name}: times must be a whole number of 1 or more")
        if not (is_int(setting.skip) and setting.skip >= 0):
            raise ValueError(f"{name}: skip must be a whole number of 0 or more")
        if setting.face is not None and setting.face not in self._faces:
            raise ValueError(f"{name}: face must be one of {', '.join(self._faces)}")
        if not knob.kind.accepts(setting.value):
            raise ValueError(f"{name} must be {knob.kind.words}, not {setting.value!r}")
        return setting
