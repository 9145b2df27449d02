"""Every node of a good response, changed in every way, is noticed: generated, not chosen.

First after the provider has signed, as somebody on the way would; then before, as a provider that is
wrong would, so that a true signature covers the fault. What may lawfully be absent is listed, with the
reason; everything else must be refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import xmlsec
from lxml import etree

from devidp import saml_response
from tests.saml import Conversation
from tests.stack import facts

Talk = Callable[..., Conversation]
#: How each face signs: the assertion, or the response around it.
SIGNED = {"lab-saml": "assertion", "federate-saml": "response"}


def names(element: Any) -> str:
    """A readable path of local names; of several alike, their number."""
    steps = []
    while element is not None:
        parent = element.getparent()
        alike = [] if parent is None else [one for one in parent if one.tag == element.tag]
        number = f"[{alike.index(element)}]" if len(alike) > 1 else ""
        steps.append(etree.QName(element).localname + number)
        element = parent
    return "/".join(reversed(steps))


def at(root: Any, path: str) -> Any:
    (found,) = [one for one in root.iter(etree.Element) if names(one) == path]
    return found


def changes_of(root: Any) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """Each change of each element and attribute, by a name that says what it does."""
    for element in root.iter(etree.Element):
        path = names(element)
        if element is not root:
            yield f"{path} removed", lambda tree, p=path: at(tree, p).getparent().remove(at(tree, p))
            yield f"{path} duplicated", lambda tree, p=path: at(tree, p).addnext(copy.deepcopy(at(tree, p)))
            yield f"{path} moved to the end", lambda tree, p=path: tree.append(at(tree, p))
            yield f"{path} moved to the front", lambda tree, p=path: tree.insert(0, at(tree, p))
            yield f"{path} emptied", lambda tree, p=path: emptied(at(tree, p))
        for name in element.attrib:
            where = f"{path}@{etree.QName(name).localname}"
            yield f"{where} removed", lambda tree, p=path, n=name: at(tree, p).attrib.pop(n)
            yield f"{where} emptied", lambda tree, p=path, n=name: at(tree, p).set(n, "")
            yield (
                f"{where} changed",
                lambda tree, p=path, n=name: at(tree, p).set(n, at(tree, p).get(n) + "x"),
            )
            if element is not root:
                yield f"{where} moved up", lambda tree, p=path, n=name: moved_up(at(tree, p), n)


def emptied(element: Any) -> None:
    element.text = None
    del element[:]


def moved_up(element: Any, name: str) -> None:
    element.getparent().set(name, element.attrib.pop(name))


def canonical(tree: Any) -> bytes:
    return etree.tostring(tree, method="c14n", exclusive=True)


#: What may be changed after the signature without anybody being the wiser, and why nobody need be.
HARMLESS = {
    r"/KeyInfo": "it is not looked at: whatever stands in it, the keys of the metadata count",
    r"^Response@ID changed$": "the name of a message that is not signed itself, and that nothing refers to",
}


def is_harmless(change: str) -> bool:
    return any(re.search(pattern, change) for pattern in HARMLESS)


@pytest.mark.parametrize("provider", SIGNED)
def test_whoever_changes_a_signed_response_is_noticed(talk: Talk, provider: str) -> None:
    conversation = talk(provider).ask()
    good = conversation.answer()
    root = etree.fromstring(good)
    accepted, tried = [], 0
    for change, make in changes_of(root):
        tree = etree.fromstring(good)
        try:
            make(tree)
        except ValueError:
            continue
        if canonical(tree) == canonical(root) or is_harmless(change):
            continue
        tried += 1
        page = conversation.post(etree.tostring(tree))
        if page.status_code != 403 or not (facts(page)[0] or "").startswith(("SSO-1", "SSO-2")):
            accepted.append((change, page.status_code, facts(page)[0]))
            conversation.ask()
            good = conversation.answer()
            root = etree.fromstring(good)
    assert accepted == []
    assert tried > 150
    assert conversation.post(good).status_code == 303, "the control: unchanged it is taken"
    assert conversation.visitor.who() is None


#: What a provider may leave out or say otherwise under its own signature, and why that is its right.
LAWFUL = {
    r"AttributeStatement": "a person may have any attributes, or none; which ones count has tests of its own",
    r"AuthnContext": "in which way somebody signed in is not asked for (fact C3)",
    r"Conditions@NotBefore (removed|moved up)": "optional (Core 2.5.1.2); when it ends is not",
    r"AuthnStatement@SessionIndex (removed|changed|moved up)": "optional, and any text (Core 2.7.2)",
    r"NameID@(NameQualifier|SPNameQualifier) removed": "optional (Core 2.2.2)",
    r"(NameID|Subject|SubjectConfirmation)@.* moved up": "qualifies nothing where it then stands",
    r"(Response|Assertion)@ID changed": "a name like any other",
}
#: The same of one provider alone.
LAWFUL_THERE = {"federate-saml": {r"NameID@Format": "its accounts are keyed by an attribute"}}


def is_lawful(provider: str, change: str) -> bool:
    return any(re.search(pattern, change) for pattern in {**LAWFUL, **LAWFUL_THERE.get(provider, {})})


@pytest.mark.parametrize("provider", SIGNED)
def test_a_provider_that_signs_a_faulty_response_is_noticed(talk: Talk, provider: str) -> None:
    """The same changes under a true signature: each check stands on its own."""
    conversation = talk(provider).ask()
    root = saml_response.unsigned(conversation.recipe())
    accepted, tried = [], 0
    for change, make in list(changes_of(root)):
        if is_lawful(provider, change):
            continue
        changed = copy.deepcopy(root)
        make(changed)
        if canonical(changed) == canonical(root):
            continue
        try:
            response = conversation.answer(mutate=make)
        except (ValueError, LookupError, etree.XMLSyntaxError, xmlsec.Error):
            continue  # not even the generator can sign what is left
        tried += 1
        page = conversation.post(response)
        if page.status_code != 403 or not (facts(page)[0] or "").startswith(("SSO-1", "SSO-2")):
            accepted.append((change, page.status_code, facts(page)[0]))
            conversation.ask()
    assert accepted == []
    assert tried > 60
    assert conversation.ask().post(conversation.answer()).status_code == 303
