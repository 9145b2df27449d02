"""What a face says about a person: the NameID and the attributes, with the knobs for people and groups.

The group knobs are those of the OIDC side as far as SAML can say the same: an attribute has text
values only, so wrong types are not among them.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devidp.groups import spelled
from devidp.people import GUEST_IDP, Person, derived_id
from devidp.saml_faces import GROUPS_LINK, HOME_IDP, MICROSOFT, ROLE_CLAIMS, Claims, SamlFace
from devidp.settings import OTHER_TENANT_ID, TENANT_ID

if TYPE_CHECKING:
    from devidp.state import State

_GUESTS = {"idp": GUEST_IDP, "acct": GUEST_IDP, "both": GUEST_IDP, "ext_upn": GUEST_IDP, "live": "live.com"}


def name_id(face: SamlFace, person: Person, format_name: str, sp: str) -> str:
    """Fact C6 for Entra: persistent is pairwise. PingFederate's unspecified is the login name (E7)."""
    if format_name == "transient":
        return "_" + secrets.token_hex(16)
    if format_name == "emailAddress":
        return person.email
    if format_name == "windows":
        return f"CONTOSO\\{person.name}"
    if format_name == "persistent" or face.aadsts:
        # Without limit to one party, the same id as the OIDC side's `sub`.
        return derived_id(person, f"{face.name} for {sp}" if face.aadsts else face.name)
    return person.name


def guest_marked(state: State, face: SamlFace, person: Person) -> tuple[Person, dict[str, Any]]:
    """The knob `guest`: the person as they are to be shown, and attributes to lay over."""
    variant = state.knobs.take("guest", face.name)
    if variant is None or not face.aadsts:
        return person, {}
    if variant == "none":
        return replace(person, guest=False), {f"{MICROSOFT}/identityprovider": HOME_IDP}
    if variant == "ext_upn":
        home = f"{person.name}_{person.mail_domain}#EXT#"
        person = replace(person, name=home, mail_domain="contoso.onmicrosoft.example")
    return person, {f"{MICROSOFT}/identityprovider": _GUESTS[variant]}


def claims_of(state: State, face: SamlFace, person: Person) -> Claims:
    """Everything that is said, in order: the face's own, groups, the person's overlay, the knob's."""
    person = state.population.as_told_by(face.name, person)
    shown, marks = guest_marked(state, face, person)
    claims = face.claims(shown)
    claims |= group_claims(state, face, person)
    for overlay in (marks, person.claims, state.knobs.take("saml.attributes", face.name, {})):
        laid_over(claims, overlay)
    return claims


def laid_over(claims: Claims, overlay: dict[str, Any]) -> None:
    """A string, a list of strings, or None, which takes the attribute out."""
    for name, value in overlay.items():
        if value is None:
            claims.pop(name, None)
        else:
            values = value if isinstance(value, list | tuple) else [value]
            claims[name] = tuple(one if isinstance(one, str) else json.dumps(one) for one in values)


def group_claims(state: State, face: SamlFace, person: Person) -> Claims:
    take = state.knobs.take
    shape, overage = take("groups.shape", face.name), take("groups.overage", face.name)
    style = take("groups.format", face.name)
    if style == "emit_as_roles":
        return {f"{ROLE_CLAIMS}/role": person.groups} if person.groups else {}
    values = tuple(spelled(name, style or face.group_style) for name in person.groups)
    if overage is not None or (face.group_limit is not None and len(values) > face.group_limit):
        return _overage(overage, face, person, values)
    if shape is not None:
        values = _shaped(shape, values)
    return {face.group_attribute: values} if values else {}


def _overage(kind: str | None, face: SamlFace, person: Person, values: tuple[str, ...]) -> Claims:
    """Facts A15 and C5: over 150 groups there is a link to a service long shut, which nobody should call."""
    link = f"https://graph.windows.net/{TENANT_ID}/users/{person.oid}/getMemberObjects"
    if kind == "evil_url":
        link = f"http://169.254.169.254/{OTHER_TENANT_ID}/getMemberObjects"
    some: Claims = {face.group_attribute: values[:5]} if kind == "partial" else {}
    return {GROUPS_LINK: (link,), **some}


def _shaped(shape: str, values: tuple[str, ...]) -> tuple[str, ...]:
    if shape == "ten_thousand":
        return tuple(f"{n:08x}-0000-4000-8000-000000000000" for n in range(10_000))
    shapes: dict[str, tuple[str, ...]] = {
        "absent": (),
        "empty": (),
        "null": ("",),
        "string": values[:1],
        "comma_string": (",".join(values),),
        "json_string": (json.dumps(list(values)),),
        "duplicates": (*values, *values),
        # Cyrillic a, zero-width space, full-width letters: none of them is the group they look like.
        "lookalike": ("\u0430irflow_prod_admin", "airflow_prod_admin\u200b", "\uff41irflow_prod_admin"),
    }
    return shapes.get(shape, values)
