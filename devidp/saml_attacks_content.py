"""Well signed, and wrong in what is said: for whom, to whom, when, in answer to what (rows S19-S27).

One row each. A row's changes are fields of the recipe; what no field can say is done to the tree before
it is signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devidp import saml_xml as sx
from devidp.saml_attack import Attack, Context, Table
from devidp.saml_response import Attribute, assertion, build
from devidp.saml_xml import SAML, STATUS, XSI, Element

CONTENT = Table()
Changes = Callable[[Context], dict[str, Any]]


def _row(name: str, case: str, about: str, changes: Changes) -> None:
    # Bindings 3.5.5.2 asks for a Destination only where the Response itself is signed.
    own_name = name == "destination_missing"
    CONTENT.row(Attack(name, case, about, lambda c: c.honest(**changes(c)), own_name))


def _mutated(name: str, case: str, about: str, change: Callable[[Element, Context], Any]) -> None:
    def changes(context: Context) -> dict[str, Any]:
        return {"mutate": lambda tree: change(tree, context)}

    _row(name, case, about, changes)


def _to(context: Context, tail: str) -> str:
    return f"{context.recipe.recipient}{tail}"


_OTHER_SP = "https://another.example/sp"
_ROWS: tuple[tuple[str, str, str, Changes], ...] = (
    ("audience_missing", "S19", "No AudienceRestriction.", lambda _: {"audiences": None}),
    ("audience_none", "S19", "An AudienceRestriction without Audience.", lambda _: {"audiences": ()}),
    ("audience_empty", "S19", "An empty Audience.", lambda _: {"audiences": ("",)}),
    ("audience_other", "S19", "For another service provider.", lambda _: {"audiences": (_OTHER_SP,)}),
    (
        "audience_prefix",
        "S19",
        "An Audience that begins with ours.",
        lambda c: {"audiences": (f"{(c.recipe.audiences or ('',))[0]}.evil.example",)},
    ),
    ("no_conditions", "S19", "No Conditions at all.", lambda _: {"leave_out": ("Assertion/Conditions",)}),
    ("recipient_missing", "S20", "No Recipient.", lambda _: {"recipient": None}),
    ("recipient_empty", "S20", "An empty Recipient.", lambda _: {"recipient": ""}),
    ("recipient_other", "S20", "Another's Recipient.", lambda _: {"recipient": f"{_OTHER_SP}/acs"}),
    (
        "recipient_longer",
        "S20",
        "A Recipient that begins with our address.",
        lambda c: {"recipient": _to(c, ".evil.example")},
    ),
    ("recipient_query", "S20", "Our address with a query.", lambda c: {"recipient": _to(c, "?x=1")}),
    (
        "recipient_inside",
        "S20",
        "A Recipient that has our address inside.",
        lambda c: {"recipient": f"https://evil.example/?{_to(c, '')}"},
    ),
    ("destination_empty", "S20", "An empty Destination.", lambda _: {"destination": ""}),
    ("destination_missing", "S20", "No Destination.", lambda _: {"destination": None}),
    ("destination_other", "S20", "Another's Destination.", lambda _: {"destination": f"{_OTHER_SP}/acs"}),
    (
        "destination_longer",
        "S20",
        "A Destination that begins with our address.",
        lambda c: {"destination": _to(c, ".evil.example")},
    ),
    ("destination_query", "S20", "Our address with a query.", lambda c: {"destination": _to(c, "?x=1")}),
    ("expired", "S21", "Over for ten minutes.", lambda _: {"not_before": -900, "not_on_or_after": -600}),
    ("not_yet", "S21", "Begins in ten minutes.", lambda _: {"not_before": 600, "not_on_or_after": 900}),
    (
        "confirmation_expired",
        "S21",
        "The confirmation ended ten minutes ago.",
        lambda _: {"confirmation_not_on_or_after": -600},
    ),
    (
        "confirmation_without_end",
        "S21",
        "The confirmation has no NotOnOrAfter.",
        lambda _: {"confirmation_not_on_or_after": None},
    ),
    (
        "confirmation_not_before",
        "S21",
        "The confirmation has a NotBefore, which Profiles 4.1.4.2 forbids, in the future.",
        lambda _: {"confirmation_not_before": 600},
    ),
    ("session_over", "S21", "SessionNotOnOrAfter is past.", lambda _: {"session_not_on_or_after": -600}),
    (
        "in_response_to_missing",
        "S22",
        "No InResponseTo anywhere: as if nobody had asked.",
        lambda _: {"in_response_to": None, "confirmation_in_response_to": None},
    ),
    ("in_response_to_missing_response", "S22", "None in the Response.", lambda _: {"in_response_to": None}),
    (
        "in_response_to_missing_confirmation",
        "S22",
        "None in the confirmation.",
        lambda _: {"confirmation_in_response_to": None},
    ),
    (
        "in_response_to_unknown",
        "S22",
        "In answer to another request.",
        lambda _: {"in_response_to": "_unknown", "confirmation_in_response_to": "_unknown"},
    ),
    ("in_response_to_unknown_response", "S22", "Only in the Response.", lambda _: {"in_response_to": "_x"}),
    (
        "in_response_to_unknown_confirmation",
        "S22",
        "Another in the confirmation.",
        lambda _: {"confirmation_in_response_to": "_unknown"},
    ),
    (
        "in_response_to_empty",
        "S22",
        "An empty InResponseTo in both places.",
        lambda _: {"in_response_to": "", "confirmation_in_response_to": ""},
    ),
    ("in_response_to_empty_response", "S22", "Empty in the Response.", lambda _: {"in_response_to": ""}),
    (
        "in_response_to_empty_confirmation",
        "S22",
        "Empty in the confirmation.",
        lambda _: {"confirmation_in_response_to": ""},
    ),
    (
        "issuer_other",
        "S25",
        "The Issuer is another provider's, the key is this one's.",
        lambda c: {"issuer": c.other_issuer, "response_issuer": c.other_issuer},
    ),
    ("issuer_other_response", "S25", "Only the Response's.", lambda c: {"response_issuer": c.other_issuer}),
    ("issuer_other_assertion", "S25", "Only the Assertion's.", lambda c: {"issuer": c.other_issuer}),
    (
        "other_provider",
        "S25",
        "Another provider's own, honest but for the request, which was made to this one.",
        lambda c: {"issuer": c.other_issuer, "response_issuer": c.other_issuer, "key": c.other_key},
    ),
    ("issuer_missing", "S25", "No Issuer in the Assertion.", lambda _: {"leave_out": ("Assertion/Issuer",)}),
    ("issuer_empty", "S25", "An empty Issuer in the Assertion.", lambda _: {"issuer": ""}),
    ("no_name_id", "S27", "A Subject without NameID.", lambda _: {"name_id": None}),
    ("empty_name_id", "S27", "An empty NameID.", lambda _: {"name_id": ""}),
    ("blank_name_id", "S27", "A NameID of blanks.", lambda _: {"name_id": " \n "}),
    ("long_name_id", "S27", "A NameID of 100000 characters.", lambda _: {"name_id": "a" * 100_000}),
    ("two_name_ids", "S27", "The NameID twice.", lambda _: {"repeat": ("Assertion/Subject/NameID",)}),
    (
        "wrong_sp_name_qualifier",
        "S27",
        "A NameID that is qualified for another service provider.",
        lambda _: {"sp_name_qualifier": _OTHER_SP},
    ),
    (
        "transient_name_id",
        "S27",
        "A NameID that will be another tomorrow: no key for an account.",
        lambda _: {"name_id": sx.new_id(), "name_id_format": sx.FORMATS["transient"]},
    ),
    (
        "no_authn_statement",
        "S27",
        "Nobody says that the person signed in.",
        lambda _: {"leave_out": ("Assertion/AuthnStatement",)},
    ),
    ("no_subject", "S27", "No Subject.", lambda _: {"leave_out": ("Assertion/Subject",)}),
    (
        "no_confirmation",
        "S27",
        "A Subject that nothing confirms.",
        lambda _: {"leave_out": ("Assertion/Subject/SubjectConfirmation",)},
    ),
    (
        "no_confirmation_data",
        "S27",
        "A bearer confirmation without data.",
        lambda _: {"leave_out": ("Assertion/Subject/SubjectConfirmation/SubjectConfirmationData",)},
    ),
    (
        "holder_of_key",
        "S27",
        "Confirmed by a key only, which nobody showed.",
        lambda _: {"confirmation_method": sx.HOLDER_OF_KEY},
    ),
    ("no_status", "S27", "No Status.", lambda _: {"leave_out": ("Status",)}),
    (
        "failed_with_assertion",
        "S27",
        "The Status says that it failed; a signed Assertion is there all the same.",
        lambda _: {"status": (f"{STATUS}Responder", f"{STATUS}AuthnFailed")},
    ),
    (
        "failed_within_success",
        "S27",
        "Success outside, AuthnFailed inside.",
        lambda _: {"status": (f"{STATUS}Success", f"{STATUS}AuthnFailed")},
    ),
    ("no_assertion", "S27", "No Assertion.", lambda _: {"with_assertion": False, "signed": "response"}),
    ("version_1_1", "S27", "An Assertion of version 1.1.", lambda _: {"assertion_version": "1.1"}),
    ("response_version", "S27", "A Response of version 1.1.", lambda _: {"version": "1.1"}),
    ("no_assertion_id", "S23", "An Assertion whose ID is empty: it cannot be remembered.", lambda _: {
        "assertion_id": "", "signed": "response"}),
)  # fmt: skip
for _one in _ROWS:
    _row(*_one)


# -- changes to the tree -------------------------------------------------------------------------------


def _twice_by_name(tree: Element, context: Context) -> None:
    """The victim's value behind the honest one, under the same name."""
    mine = {one.name: one for one in context.victim.attributes or ()}
    for attribute in list(sx.need(tree, "Assertion/AttributeStatement")):
        again = sx.twice(attribute)
        for value, other in zip(
            again, mine.get(attribute.get("Name"), Attribute(name="", values=())).values, strict=False
        ):
            value.text = other


def _hide_attribute(tree: Element, _: Context) -> None:
    """Whoever has to refuse it need not decrypt it, so nothing true is inside."""
    attribute = sx.need(tree, "Assertion/AttributeStatement/Attribute")
    made = tree.makeelement(sx.q(SAML, "EncryptedAttribute"))
    attribute.addprevious(made)
    data = sx.add(made, sx.XENC, "EncryptedData", None, {"Type": f"{sx.XENC}Element"}, {"xenc": sx.XENC})
    sx.add(sx.add(data, sx.XENC, "CipherData"), sx.XENC, "CipherValue", sx.b64(b"devidp" * 10))


def _unknown_condition(tree: Element, _: Context) -> None:
    made = sx.add(
        sx.need(tree, "Assertion/Conditions"), SAML, "Condition", None, None, {"xsi": XSI, "x": "urn:devidp"}
    )
    made.set(sx.q(XSI, "type"), "x:OnlyOnFullMoon")


def _advice(tree: Element, context: Context) -> None:
    advice = tree.makeelement(sx.q(SAML, "Advice"))
    advice.append(assertion(context.evil()))
    sx.need(tree, "Assertion/Conditions").addnext(advice)


def _second_audience(tree: Element, _: Context) -> None:
    """Core 2.5.1.4: restrictions are joined by `and`."""
    restriction = sx.add(sx.need(tree, "Assertion/Conditions"), SAML, "AudienceRestriction")
    sx.add(restriction, SAML, "Audience", _OTHER_SP)


def _second_confirmation(tree: Element, _: Context) -> None:
    """One holds the right request, the other the right time: neither holds both."""
    first = sx.need(tree, "Assertion/Subject/SubjectConfirmation")
    again = sx.twice(first)
    sx.need(first, "SubjectConfirmationData").set("NotOnOrAfter", sx.instant(0))
    sx.need(again, "SubjectConfirmationData").set("InResponseTo", "_unknown")


_TREES: tuple[tuple[str, str, str, Callable[[Element, Context], Any]], ...] = (
    ("duplicate_attributes", "S27", "Every attribute twice, the second time the victim's.", _twice_by_name),
    ("encrypted_attribute", "S27", "An EncryptedAttribute among the attributes.", _hide_attribute),
    ("unknown_condition", "S27", "A Condition of an unknown type (Core 2.5.1: refuse).", _unknown_condition),
    ("advice", "S9", "A signed Assertion with an evil one in its Advice.", _advice),
    ("two_audiences", "S19", "Two AudienceRestrictions, of which one is for another.", _second_audience),
    ("two_confirmations", "S22", "Two confirmations, each half right.", _second_confirmation),
    ("bad_time", "S21", "A time that is none.", lambda tree, _: sx.need(tree, "Assertion/Conditions").set(
        "NotOnOrAfter", "tomorrow")),
    ("local_time", "S21", "A time without a zone.", lambda tree, _: sx.need(tree, "Assertion/Conditions").set(
        "NotOnOrAfter", "2099-01-01T00:00:00")),
)  # fmt: skip
for _tree in _TREES:
    _mutated(*_tree)


def of_victim(context: Context) -> bytes:
    """No attack: the honest message about the victim, as a control for tests."""
    return build(replace(context.evil(), signed=context.recipe.signed), context.key)
