"""Hostile LogoutRequests by name: LOGOUT_ATTACKS. Each has one fault, and would end the victim's session.

In a test: `context = LogoutContext.of(state, "generic", victim, own, slo)`, then
`LOGOUT_ATTACKS[name].make(context)`, which gives {"binding", "url", "fields"} as
`saml_logout.logout_request` does, but the fields are pairs, since one may stand twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lxml import etree

from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.saml_attacks_parser import deflate_bomb
from devidp.saml_keys import SamlKey, stranger
from devidp.saml_logout import deflated
from devidp.saml_logout_recipe import LogoutContext, Pairs, Sent, escaped
from devidp.saml_xml import SAMLP, Element

Make = Callable[[LogoutContext], Sent]


@dataclass(frozen=True)
class LogoutAttack:
    """`case` is the row of the security cases."""

    name: str
    case: str
    about: str
    make: Make


LOGOUT_ATTACKS: dict[str, LogoutAttack] = {}


def attack(case: str) -> Callable[[Make], Make]:
    def join(make: Make) -> Make:
        about = " ".join((make.__doc__ or "").split())
        LOGOUT_ATTACKS[make.__name__] = LogoutAttack(make.__name__, case, about, make)
        return make

    return join


def _both(name: str, case: str, about: str, **changes: Any) -> None:
    """A well signed request that says something wrong, by redirect and by post."""
    ways: dict[str, Callable[[LogoutContext, Element], Sent]] = {
        "redirect": lambda context, tree: context.redirect(tree),
        "post": lambda context, tree: context.post(tree),
    }
    for way, send in ways.items():
        whole = f"{name}_by_{way}"

        def make(context: LogoutContext, send: Callable[[LogoutContext, Element], Sent] = send) -> Sent:
            said = {field: value(context) if callable(value) else value for field, value in changes.items()}
            return send(context, context.changed(**said))

        LOGOUT_ATTACKS[whole] = LogoutAttack(whole, case, about, make)


_both("other_issuer", "S29", "Another provider's name.", issuer="https://idp.evil.example/")
_both("no_issuer", "S29", "Nobody's name.", issuer=None)
_both("other_destination", "S29", "Meant for another party.", destination="https://other.example/slo")
_both("longer_destination", "S29", "Our address with more behind it.", destination=lambda c: f"{c.slo}/more")
_both("no_destination", "S29", "Meant for nobody.", destination=None)
_both("past_its_end", "S29", "Its own end has passed.", not_on_or_after=-120)
_both("kept", "S29", "Issued long ago, without an end of its own.", issue_instant=-900, not_on_or_after=None)
_both("early", "S29", "Issued in the future.", issue_instant=600, not_on_or_after=900)
_both("old_version", "S29", "SAML 1.1.", version="1.1")
_both("no_version", "S29", "No version.", version=None)
_both("id_with_a_digit", "S29", "An ID that is no name.", id="7-begins-so")
_both("no_name_id", "S29", "Nobody is named.", name_ids=())
_both("empty_name_id", "S29", "An empty NameID.", name_ids=("",))
_both("two_name_ids", "S29", "Two people.", name_ids=lambda c: (*c.own.name_ids, *c.honest.name_ids))
_both(
    "blank_before_the_name",
    "S29",
    "A blank that some would trim.",
    name_ids=lambda c: (f" {c.honest.name_ids[0]}",),
)
_both("name_for_another", "S29", "Named for another party.", sp_name_qualifier="https://other.example/sp")
_both(
    "empty_session_index",
    "S29",
    "An empty index beside the true one.",
    session_indexes=lambda c: ("", *c.honest.session_indexes),
)


@attack("S29")
def no_id(context: LogoutContext) -> Sent:
    """No ID, so that nobody could tell that it comes again."""
    return context.redirect(context.changed(id=None))


# -- signatures ----------------------------------------------------------------------------------------


@attack("S29")
def unsigned_by_redirect(context: LogoutContext) -> Sent:
    """No signature."""
    return context.redirect(context.changed(), key=None)


@attack("S29")
def unsigned_by_post(context: LogoutContext) -> Sent:
    """No signature."""
    return context.post(context.changed(), key=None)


@attack("S18")
def foreign_key_by_redirect(context: LogoutContext) -> Sent:
    """Signed by somebody else."""
    return context.redirect(context.changed(), key=stranger("devidp foreign"))


@attack("S18")
def foreign_key_by_post(context: LogoutContext) -> Sent:
    """Signed by somebody else, whose certificate comes along."""
    return context.post(context.changed(), key=stranger("devidp foreign"))


@attack("S18")
def foreign_key_with_the_true_certificate(context: LogoutContext) -> Sent:
    """Signed by somebody else under the provider's certificate."""
    shown = context.key.certificate_text
    return context.post(context.changed(), key=stranger("devidp foreign"), certificate=shown)


@attack("S17")
def sha1_by_redirect(context: LogoutContext) -> Sent:
    """RSA-SHA1."""
    return context.redirect(context.changed(), signature="rsa-sha1", digest="sha1")


@attack("S17")
def sha1_by_post(context: LogoutContext) -> Sent:
    """RSA-SHA1."""
    return context.post(context.changed(), signature="rsa-sha1")


@attack("S17")
def sha1_digest(context: LogoutContext) -> Sent:
    """A digest by SHA-1 in a good signature."""
    return context.post(context.changed(), digest="sha1")


@attack("S29")
def other_order(context: LogoutContext) -> Sent:
    """A signature over the parameters in another order than the binding's."""
    algorithm = ("SigAlg", saml_sign.SIGNATURES["rsa-sha256"])
    pairs = [algorithm, ("SAMLRequest", deflated(sx.text_of(context.changed())))]
    return context.query(_signed(pairs, context.key))


@attack("S29")
def relay_state_not_signed(context: LogoutContext) -> Sent:
    """A RelayState that was added after signing."""
    sent = context.redirect(context.changed())
    return {**sent, "url": f"{sent['url']}&RelayState=added"}


@attack("S29")
def algorithm_not_signed(context: LogoutContext) -> Sent:
    """A signature over the message alone."""
    pairs = [("SAMLRequest", deflated(sx.text_of(context.changed())))]
    algorithm = escaped(saml_sign.SIGNATURES["rsa-sha256"])
    return context.query(f"{_signed(pairs, context.key)}&SigAlg={algorithm}")


@attack("S29")
def no_algorithm(context: LogoutContext) -> Sent:
    """A signature without SigAlg."""
    pairs = [("SAMLRequest", deflated(sx.text_of(context.changed())))]
    return context.query(_signed(pairs, context.key))


@attack("S29")
def signature_of_another(context: LogoutContext) -> Sent:
    """The signature of the attacker's own request."""
    own = str(context.redirect(context.own.tree())["url"]).partition("&SigAlg=")[2]
    evil = str(context.redirect(context.changed(), key=None)["url"]).partition("?")[2]
    return context.query(f"{evil}&SigAlg={own}")


@attack("S29")
def empty_signature(context: LogoutContext) -> Sent:
    """A signature of no bytes."""
    whole = str(context.redirect(context.changed())["url"]).partition("?")[2]
    return context.query(f"{whole.partition('&Signature=')[0]}&Signature=")


@attack("S29")
def enveloped_by_redirect(context: LogoutContext) -> Sent:
    """A signature within the message, where the query has one by somebody else."""
    tree = context.changed()
    saml_sign.sign(tree, context.key)
    return context.redirect(tree, key=None)


@attack("S29")
def changed_after_signing(context: LogoutContext) -> Sent:
    """The attacker's own request, with the victim's name put in."""
    tree = context.own.tree()
    saml_sign.sign(tree, context.key)
    changed = sx.own(sx.text_of(tree))
    sx.need(changed, "NameID").text = context.honest.name_ids[0]
    sx.need(changed, "SessionIndex").text = context.honest.session_indexes[0]
    return context.post(changed, key=None)


def _signed(pairs: Pairs, key: SamlKey) -> str:
    """A query as it is told, whatever its order, with a true signature behind it."""
    text = "&".join(f"{name}={escaped(value)}" for name, value in pairs)
    return f"{text}&Signature={escaped(sx.b64(saml_sign.rsa_signer(key)(text.encode())))}"


# -- two messages in one -------------------------------------------------------------------------------


def _wrapped(context: LogoutContext, *, move_signature: bool) -> Sent:
    inner = context.own.tree()
    saml_sign.sign(inner, context.key)
    signed = sx.own(sx.text_of(inner))
    outer = context.changed()
    extensions = sx.root(SAMLP, "Extensions", {"samlp": SAMLP})
    sx.need(outer, "Issuer").addnext(extensions)
    extensions.append(sx.hole("own"))
    parts = {}
    if move_signature:
        signature = sx.need(signed, "Signature")
        parts["signature"] = sx.canonical(signature)
        sx.remove(signature)
        sx.need(outer, "Issuer").addnext(sx.hole("signature"))
    parts = {"own": sx.canonical(signed), **parts}
    return context.form([("SAMLRequest", sx.b64(sx.spliced(outer, parts)))])


@attack("S1")
def wrapped(context: LogoutContext) -> Sent:
    """The attacker's own signed request within one about the victim."""
    return _wrapped(context, move_signature=False)


@attack("S2")
def wrapped_with_its_signature_outside(context: LogoutContext) -> Sent:
    """The same, with the signature where that of the outer one would be."""
    return _wrapped(context, move_signature=True)


@attack("S29")
def request_twice_by_redirect(context: LogoutContext) -> Sent:
    """The attacker's own signed request, and one about the victim in the same query."""
    own = str(context.redirect(context.own.tree())["url"]).partition("?")[2]
    evil = escaped(deflated(sx.text_of(context.changed())))
    return context.query(f"{own}&SAMLRequest={evil}")


@attack("S29")
def evil_request_first(context: LogoutContext) -> Sent:
    """The same the other way round."""
    own = str(context.redirect(context.own.tree())["url"]).partition("?")[2]
    evil = escaped(deflated(sx.text_of(context.changed())))
    return context.query(f"SAMLRequest={evil}&{own}")


@attack("S29")
def request_twice_by_another_spelling(context: LogoutContext) -> Sent:
    """The second one's name is escaped."""
    own = str(context.redirect(context.own.tree())["url"]).partition("?")[2]
    evil = escaped(deflated(sx.text_of(context.changed())))
    return context.query(f"{own}&SAML%52equest={evil}")


@attack("S29")
def request_twice_by_post(context: LogoutContext) -> Sent:
    """The attacker's own signed request, and one about the victim in the same form."""
    own = context.post(context.own.tree())["fields"]
    return context.form([*own, ("SAMLRequest", sx.b64(sx.document(context.changed())))])


@attack("S29")
def request_and_response(context: LogoutContext) -> Sent:
    """A signed request and a response in one query."""
    whole = str(context.redirect(context.changed())["url"]).partition("?")[2]
    return context.query(f"SAMLResponse={escaped(deflated(b'<x/>'))}&{whole}")


@attack("S29")
def another_kind_of_message(context: LogoutContext) -> Sent:
    """A signed AuthnRequest with a logout's content."""
    return context.redirect(context.honest.tree("AuthnRequest"))


# -- parsing -------------------------------------------------------------------------------------------


@attack("S15")
def bomb(context: LogoutContext) -> Sent:
    """A few bytes that become forty million; an address with more of them is refused before it is ours."""
    return context.query(_signed_message(deflate_bomb(40_000_000), context.key))


@attack("S15")
def something_behind_it(context: LogoutContext) -> Sent:
    """A message with bytes behind its end."""
    message = sx.b64(sx.unb64(deflated(sx.text_of(context.changed()))) + b"behind")
    return context.query(_signed_message(message, context.key))


@attack("S15")
def other_encoding(context: LogoutContext) -> Sent:
    """SAMLEncoding that is not DEFLATE."""
    sent = context.redirect(context.changed())
    encoding = escaped(f"{sx.BINDING}URL-Encoding:PLAIN")
    return {**sent, "url": f"{sent['url']}&SAMLEncoding={encoding}"}


@attack("S14")
def doctype(context: LogoutContext) -> Sent:
    """A DTD before a request that is well signed."""
    tree = context.changed()
    saml_sign.sign(tree, context.key)
    text = b"<!DOCTYPE x [<!ENTITY e 'e'>]>" + sx.text_of(tree)
    return context.form([("SAMLRequest", sx.b64(text))])


@attack("S14")
def not_xml(context: LogoutContext) -> Sent:
    """Words, well signed."""
    return context.query(_signed_message(deflated(b"sign them out, please"), context.key))


@attack("S14")
def nothing(context: LogoutContext) -> Sent:
    """An empty query."""
    return context.query("")


def _signed_message(message: str, key: SamlKey) -> str:
    return saml_sign.signed_query([("SAMLRequest", message)], key)


# -- what is true and ends nothing of the victim's -----------------------------------------------------


def other_name(context: LogoutContext) -> Sent:
    """Not an attack of the table: the victim's session under the attacker's name."""
    return context.redirect(context.changed(name_ids=context.own.name_ids))


def comment_in_name(context: LogoutContext) -> Sent:
    """Not an attack of the table: somebody whose name begins like the victim's (row S13)."""
    tree = context.changed(session_indexes=())
    name_id = sx.need(tree, "NameID")
    comment = etree.Comment(" ")
    comment.tail = ".evil.example"
    name_id.append(comment)
    return context.post(tree)
