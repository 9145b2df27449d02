"""Every hostile SAML response that we know of, posted to a running Airflow (rows S1 to S27).

Each is one wrong thing about an otherwise good answer to a pending request of this very browser. What
must hold for each: nobody is signed in, one record with a code of the right kind, nothing of the
assertion on the page; and the same request's honest answer is taken afterwards.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from devidp.saml_attacks import ATTACKS, context_for, posted
from devidp.server import Handle
from tests.saml import Conversation
from tests.stack import Stack, facts

Talk = Callable[..., Conversation]

#: Refusals that are about the response, not about trouble of ours or the provider's.
REFUSED = re.compile(r"SSO-(10[124]|20[1-5])")
#: Whom each response is truly about, beside what it pretends; its victim is ada, who may do everything.
SENDER = "vera"
#: Seconds that the answer to any of them may take, on two busy cores.
LONGEST = 10.0
#: One that signs the assertion, one that signs the response, one that keys on attributes.
PROVIDERS = ("lab-saml", "federate-saml", "entra-saml")
#: What is an attack only where the configuration asks for the other signature, takes nothing that nobody
#: asked for, or keys accounts on the NameID.
ONLY_WHERE = {
    "only_response_signed": "lab-assertion",
    "only_assertion_signed": "lab-response",
    "in_response_to_missing": "lab-refuse",
    "transient_name_id": "lab-saml",
}


def secrets_of(conversation: Conversation) -> set[str]:
    """What the honest answer says, which no page of a refusal may show."""
    recipe = conversation.recipe(SENDER)
    said = {value for attribute in recipe.attributes or () for value in attribute.values}
    return {one for one in {*said, recipe.name_id or ""} if len(one) > 5}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused(talk: Talk, airflow_saml: Stack, idp: Handle, provider: str, name: str) -> None:
    attack = ATTACKS[name]
    conversation = talk(ONLY_WHERE.get(name, provider)).ask()
    sp = idp.state.saml.service_providers.get(conversation.entity_id)
    context = context_for(
        idp.state,
        conversation.face,
        conversation.recipe(SENDER),
        sp,
        other_face="pingone",
    )
    try:
        form_value = posted(name, context)
    except ValueError as cause:
        pytest.skip(f"not with this face: {cause}")
    started = time.monotonic()
    page = conversation.post(form_value)
    assert time.monotonic() - started < LONGEST
    if page.status_code == 303 and attack.own_name:
        # It may be taken as what it truly says, read whole; as nothing else.
        conversation.follow(page)
        username = conversation.visitor.who()
        assert username != "ada"
        assert not username or airflow_saml.roles_of(username) == {"Viewer"}
        return
    code, _ = facts(page)
    assert page.status_code == 403, (attack.about, page.status_code, page.headers.get("Location"))
    assert REFUSED.fullmatch(code or ""), code
    assert '"event": "sign_in_refused"' in conversation.why(page)
    assert conversation.visitor.who() is None
    shown = {one for one in secrets_of(conversation) if one in page.text}
    assert not shown
    honest = conversation.answer(SENDER, **({"signed": "both"} if "signed" in name else {}))
    assert conversation.post(honest).status_code == 303, "the control"


def test_there_is_an_attack_for_every_row() -> None:
    rows = {attack.case for attack in ATTACKS.values()}
    # S24, S26, S28 and S30 are about more than one response: they are in the other modules.
    expected = {f"S{n}" for n in range(1, 28)} - {"S24", "S26"}
    assert expected <= rows, expected - rows
