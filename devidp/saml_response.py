"""A SAML Response from a recipe, in which everything can be changed; `good` is the honest recipe.

The endpoint that signs people in uses the same two functions as the tests that lie. What must stay
true: `build(good(...), key)` is what the vendor sends, and one changed field changes one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.people import Person
from devidp.saml_faces import SAML_FACES, SamlFace
from devidp.saml_keys import SamlKey
from devidp.saml_people import claims_of, guest_marked, name_id
from devidp.saml_sps import ServiceProvider
from devidp.saml_xml import SAML, SAMLP, STATUS, XS, XSI, Element

if TYPE_CHECKING:
    from devidp.state import State

SIGNED = ("assertion", "response", "both", "none")
ENCRYPT = ("none", "assertion", "name_id", "both")


@dataclass(frozen=True, kw_only=True)
class Attribute:
    name: str
    values: tuple[str, ...]
    name_format: str | None = None
    friendly_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Times are seconds from `now`; None leaves the attribute or element out; "" writes it empty."""

    now: float
    issuer: str | None
    response_issuer: str | None
    destination: str | None
    recipient: str | None
    in_response_to: str | None
    confirmation_in_response_to: str | None
    audiences: tuple[str, ...] | None
    name_id: str | None
    name_id_format: str | None
    attributes: tuple[Attribute, ...] | None
    response_id: str = field(default_factory=sx.new_id)
    assertion_id: str = field(default_factory=sx.new_id)
    version: str | None = "2.0"
    assertion_version: str | None = "2.0"
    name_qualifier: str | None = None
    sp_name_qualifier: str | None = None
    confirmation_method: str = sx.BEARER
    session_index: str | None = None
    authn_context: str = sx.PASSWORD
    status: tuple[str, ...] = (f"{STATUS}Success",)
    status_message: str | None = None
    with_assertion: bool = True
    issue_instant: float = 0
    assertion_issue_instant: float = 0
    authn_instant: float = 0
    not_before: float | None = 0
    not_on_or_after: float | None = 300
    confirmation_not_before: float | None = None
    confirmation_not_on_or_after: float | None = 300
    session_not_on_or_after: float | None = None
    # Paths by local name from the Response: "Status", "Assertion/Subject/NameID", ...
    leave_out: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()
    # Sees the whole unsigned Response (an lxml element) and may change anything in it.
    mutate: Callable[[Element], None] | None = None
    signed: str = "assertion"
    signature: str = "rsa-sha256"
    digest: str = "sha256"
    c14n: str = "exc-c14n"
    key: SamlKey | None = None
    key_info: bool = True
    key_info_certificate: str | None = None
    encrypt: str = "none"
    block_cipher: str = "aes256-cbc"
    key_transport: str = "rsa-oaep"
    # PEM; the honest path puts the service provider's here.
    encryption_certificate: bytes | None = None
    protocol_prefix: str = "samlp"
    # Two prefixes for one namespace: signed and then encrypted, this is the known trap.
    response_prefix: str = "saml"
    assertion_prefix: str = "saml"
    typed: bool = True


def attributes(claims: dict[str, tuple[str, ...]], name_format: str | None) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(name=name, values=values, name_format=name_format) for name, values in claims.items()
    )


def good(
    state: State,
    face: SamlFace | str,
    person: Person | str,
    sp: ServiceProvider | str,
    in_response_to: str | None,
    *,
    acs: str | None = None,
    name_id_format: str | None = None,
) -> Recipe:
    """What this face says about this person to this service provider. Names may stand for all three."""
    face = SAML_FACES[face] if isinstance(face, str) else face
    found_person = state.people.get(person) if isinstance(person, str) else person
    found_sp = state.saml.service_providers.get(sp) if isinstance(sp, str) else sp
    if found_person is None or found_sp is None:
        raise ValueError(f"{person!r} or {sp!r} is not known")
    where = acs or found_sp.acs
    issuer = face.issuer_blank + face.issuer(state.base)
    used = name_id_format or face.name_id_format
    qualified = face.qualified and used in ("persistent", "transient")
    shown, _ = guest_marked(state, face, found_person)
    assertion_id = sx.new_id()
    return Recipe(
        now=state.now(),
        issuer=face.issuer(state.base),
        response_issuer=issuer,
        destination=where,
        recipient=where,
        in_response_to=in_response_to,
        confirmation_in_response_to=in_response_to,
        audiences=(found_sp.entity_id,),
        name_id=name_id(face, shown, used, found_sp.entity_id),
        name_id_format=sx.FORMATS[used],
        name_qualifier=face.issuer(state.base) if qualified else None,
        sp_name_qualifier=found_sp.entity_id if qualified else None,
        attributes=attributes(claims_of(state, face, found_person), face.name_format),
        assertion_id=assertion_id,
        session_index=assertion_id if face.session_index_is_id else sx.new_id(),
        authn_context=face.issuer_blank + sx.PASSWORD,
        not_before=face.conditions[0],
        not_on_or_after=face.conditions[1],
        confirmation_not_on_or_after=face.confirmation,
        signed=face.signed,
        encryption_certificate=found_sp.encryption[0] if found_sp.encryption else None,
        response_prefix=face.prefixes[0],
        assertion_prefix=face.prefixes[1],
        typed=face.typed,
    )


def refused(
    state: State, face: SamlFace, acs: str, in_response_to: str | None, status: tuple[str, ...], message: str
) -> Recipe:
    """A Response that says no. Entra does not sign it (fact J5)."""
    issuer = face.issuer(state.base)
    return Recipe(
        now=state.now(),
        issuer=issuer,
        response_issuer=issuer,
        destination=acs,
        recipient=acs,
        in_response_to=in_response_to,
        confirmation_in_response_to=None,
        audiences=None,
        name_id=None,
        name_id_format=None,
        attributes=None,
        status=tuple(f"{STATUS}{name}" for name in status),
        status_message=message,
        with_assertion=False,
        signed="response" if face.signs_errors else "none",
        response_prefix=face.prefixes[0],
    )


# -- building ----------------------------------------------------------------------------------------


def build(recipe: Recipe, key: SamlKey | None = None) -> bytes:
    """The Response as XML. `recipe.key` signs if it is set, else `key`."""
    tree = unsigned(recipe)
    if recipe.mutate is not None:
        recipe.mutate(tree)
        tree = sx.own(sx.text_of(tree))
    if recipe.encrypt in ("name_id", "both"):
        tree = _hidden(recipe, tree, "Assertion/Subject/NameID", "EncryptedID")
    if recipe.signed in ("assertion", "both") and sx.find(tree, "Assertion") is not None:
        tree = _signed(recipe, key, tree, "Assertion")
    if recipe.encrypt in ("assertion", "both"):
        tree = _hidden(recipe, tree, "Assertion", "EncryptedAssertion")
    if recipe.signed in ("response", "both"):
        tree = _signed(recipe, key, tree, None)
    return sx.document(tree)


def unsigned(recipe: Recipe) -> Element:
    """The tree before any signature, with what is to be left out or repeated done."""
    response = _response(recipe)
    parts = {}
    if recipe.with_assertion:
        response.append(sx.hole("assertion"))
        parts["assertion"] = sx.text_of(assertion(recipe))
    tree = sx.own(sx.spliced(response, parts))
    for path in recipe.repeat:
        sx.twice(sx.need(tree, path))
    for path in recipe.leave_out:
        sx.remove(sx.need(tree, path))
    return tree


def _signed(recipe: Recipe, key: SamlKey | None, tree: Element, path: str | None) -> Element:
    used = recipe.key or key
    if used is None:
        raise ValueError("a signed response needs a key")
    saml_sign.sign(
        tree if path is None else sx.need(tree, path),
        used,
        signature=recipe.signature,
        digest=recipe.digest,
        c14n=recipe.c14n,
        key_info=recipe.key_info,
        certificate=recipe.key_info_certificate,
    )
    return sx.own(sx.text_of(tree))


def _hidden(recipe: Recipe, tree: Element, path: str, name: str) -> Element:
    """Replace an element by its encryption; as text, so that no prefix changes."""
    if recipe.encryption_certificate is None:
        raise ValueError("the service provider has no encryption certificate")
    element = sx.need(tree, path)
    data = saml_sign.encrypted(
        sx.text_of(_without_tail(element)),
        recipe.encryption_certificate,
        block_cipher=recipe.block_cipher,
        key_transport=recipe.key_transport,
    )
    prefix = element.getparent().prefix if name == "EncryptedID" else recipe.response_prefix
    wrapper = sx.root(SAML, name, {prefix or None: SAML})
    wrapper.append(sx.hole("data"))
    element.addprevious(sx.hole("hidden"))
    sx.remove(element)
    return sx.own(sx.spliced(tree, {"hidden": sx.text_of(wrapper), "data": data}))


def _without_tail(element: Element) -> Element:
    element.tail = None
    return element


def _at(recipe: Recipe, offset: float | None) -> str | None:
    return None if offset is None else sx.instant(recipe.now + offset)


def _response(recipe: Recipe) -> Element:
    nsmap: dict[str | None, str] = {recipe.protocol_prefix or None: SAMLP}
    if recipe.response_prefix:
        nsmap[recipe.response_prefix] = SAML
    response = sx.root(
        SAMLP,
        "Response",
        nsmap,
        {
            "ID": recipe.response_id,
            "Version": recipe.version,
            "IssueInstant": _at(recipe, recipe.issue_instant),
            "Destination": recipe.destination,
            "InResponseTo": recipe.in_response_to,
        },
    )
    if recipe.response_issuer is not None:
        own: dict[str | None, str] | None = None if recipe.response_prefix else {None: SAML}
        sx.add(response, SAML, "Issuer", recipe.response_issuer, nsmap=own)
    status = sx.add(response, SAMLP, "Status")
    inside = status
    for code in recipe.status:
        inside = sx.add(inside, SAMLP, "StatusCode", None, {"Value": code})
    if recipe.status_message is not None:
        sx.add(status, SAMLP, "StatusMessage", recipe.status_message)
    return response


def assertion(recipe: Recipe) -> Element:
    """A document of its own, which declares every prefix it uses."""
    made = sx.root(
        SAML,
        "Assertion",
        {recipe.assertion_prefix or None: SAML},
        {
            "ID": recipe.assertion_id,
            "Version": recipe.assertion_version,
            "IssueInstant": _at(recipe, recipe.assertion_issue_instant),
        },
    )
    if recipe.issuer is not None:
        sx.add(made, SAML, "Issuer", recipe.issuer)
    _subject(recipe, made)
    limits = {
        "NotBefore": _at(recipe, recipe.not_before),
        "NotOnOrAfter": _at(recipe, recipe.not_on_or_after),
    }
    conditions = sx.add(made, SAML, "Conditions", None, limits)
    if recipe.audiences is not None:
        restriction = sx.add(conditions, SAML, "AudienceRestriction")
        for audience in recipe.audiences:
            sx.add(restriction, SAML, "Audience", audience)
    _authn_statement(recipe, made)
    if recipe.attributes:
        _attribute_statement(recipe, made)
    return made


def _subject(recipe: Recipe, parent: Element) -> None:
    subject = sx.add(parent, SAML, "Subject")
    if recipe.name_id is not None:
        names = {
            "Format": recipe.name_id_format,
            "NameQualifier": recipe.name_qualifier,
            "SPNameQualifier": recipe.sp_name_qualifier,
        }
        sx.add(subject, SAML, "NameID", recipe.name_id, names)
    confirmation = sx.add(subject, SAML, "SubjectConfirmation", None, {"Method": recipe.confirmation_method})
    data = {
        "InResponseTo": recipe.confirmation_in_response_to,
        "NotBefore": _at(recipe, recipe.confirmation_not_before),
        "NotOnOrAfter": _at(recipe, recipe.confirmation_not_on_or_after),
        "Recipient": recipe.recipient,
    }
    sx.add(confirmation, SAML, "SubjectConfirmationData", None, data)


def _authn_statement(recipe: Recipe, parent: Element) -> None:
    said = {
        "AuthnInstant": _at(recipe, recipe.authn_instant),
        "SessionIndex": recipe.session_index,
        "SessionNotOnOrAfter": _at(recipe, recipe.session_not_on_or_after),
    }
    statement = sx.add(parent, SAML, "AuthnStatement", None, said)
    context = sx.add(statement, SAML, "AuthnContext")
    sx.add(context, SAML, "AuthnContextClassRef", recipe.authn_context)


def _attribute_statement(recipe: Recipe, parent: Element) -> None:
    statement = sx.add(parent, SAML, "AttributeStatement")
    for one in recipe.attributes or ():
        names = {"Name": one.name, "NameFormat": one.name_format, "FriendlyName": one.friendly_name}
        attribute = sx.add(statement, SAML, "Attribute", None, names)
        for value in one.values:
            nsmap: dict[str | None, str] | None = {"xsi": XSI, "xs": XS} if recipe.typed else None
            made = sx.add(attribute, SAML, "AttributeValue", value, nsmap=nsmap)
            if recipe.typed:
                made.set(sx.q(XSI, "type"), "xs:string")


def changed(recipe: Recipe, person: Recipe) -> Recipe:
    """The same message about the person of another recipe."""
    return replace(
        recipe, name_id=person.name_id, name_id_format=person.name_id_format, attributes=person.attributes
    )
