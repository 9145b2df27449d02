"""Both sides' metadata: what we publish, what we read of a provider, and a rollover without an outage."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import onelogin.saml2
import pytest
import requests
from lxml import etree
from pydantic import ValidationError

from airflow_sso.certificates import fingerprint
from airflow_sso.errors import ProviderUnreachable, SsoError, WrongIssuer
from airflow_sso.login import idp_metadata
from airflow_sso.login.idp_metadata import IdpDocument
from airflow_sso.saml_settings import EntraSaml, GenericSaml
from devidp import saml_keys
from devidp.server import Handle
from devidp.settings import TENANT_ID
from tests import clock as clocks
from tests import saml
from tests.saml import Conversation
from tests.stack import Stack, driver, facts

clock, Clock = clocks.clock, clocks.Clock
Talk = Callable[..., Conversation]
MD = "{urn:oasis:names:tc:SAML:2.0:metadata}"


@functools.cache
def metadata_schema() -> Any:
    folder = Path(onelogin.saml2.__file__).parent / "schemas"
    return etree.XMLSchema(etree.parse(folder / "saml-schema-metadata-2.0.xsd"))


# --- ours ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["lab-saml", "entra-saml", "lab-keyless", "lab-both", "lab-named"])
def test_our_metadata_is_valid_and_complete(airflow_saml: Stack, provider: str) -> None:
    answer = airflow_saml.visitor().at(f"/auth/saml/metadata/{provider}")
    assert answer.headers["Content-Type"] == "application/samlmetadata+xml"
    root = etree.fromstring(answer.content)
    metadata_schema().assertValid(root)
    (role,) = root.findall(f"{MD}SPSSODescriptor")
    uses = [key.get("use") for key in role.findall(f"{MD}KeyDescriptor")]
    has_keys = provider != "lab-keyless"
    assert uses == (["signing", "encryption"] if has_keys else [])
    assert role.get("AuthnRequestsSigned") == ("true" if has_keys else "false")
    assert role.get("WantAssertionsSigned") == ("true" if provider == "lab-both" else "false")
    addresses = {
        child.tag.rpartition("}")[2]: child.get("Location") for child in role if child.get("Location")
    }
    assert addresses == {
        "AssertionConsumerService": f"{airflow_saml.auth_url}/saml/acs/{provider}",
        "SingleLogoutService": f"{airflow_saml.auth_url}/saml/slo/{provider}",
    }
    own_address = f"{airflow_saml.auth_url}/saml/metadata/{provider}"
    assert root.get("entityID") == ("urn:example:airflow" if provider == "lab-named" else own_address)


def test_the_urls_command_prints_what_the_metadata_says(airflow_saml: Stack) -> None:
    with airflow_saml.command("urls") as process:
        assert process.wait(timeout=60) == 0
    printed = process.log.read_text()
    for address in ("metadata", "acs", "slo"):
        assert f"{airflow_saml.auth_url}/saml/{address}/lab-saml" in printed
    assert "urn:example:airflow" in printed
    assert "/auth/oauth-authorized/lab-saml" not in printed


# --- a provider's -------------------------------------------------------------------------------------


def document(idp: Handle, **changes: Any) -> IdpDocument:
    return IdpDocument(settings(idp, **changes))


def settings(idp: Handle, **changes: Any) -> GenericSaml:
    given = {"name": "lab", "vendor": "generic", "protocol": "saml", "http": {"timeout": "2s"}, **changes}
    if "metadata_file" not in given:
        given.setdefault("metadata_url", f"{idp.url}/generic/saml/metadata")
    return GenericSaml(**given)


def honest_again(idp: Handle) -> None:
    driver(idp).control("DELETE", "knobs/saml.metadata")


def prints(document: IdpDocument) -> list[str]:
    return [fingerprint(one) for one in document.current().signing_certificates]


def ring(idp: Handle) -> Any:
    return idp.state.saml.rings["generic"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("garbage", "not"),
        ("truncated", "not well-formed"),
        ("empty", "not well-formed"),
        ("huge", "larger than"),
        ("doctype", "<!DOCTYPE"),
        ("expired", "valid until"),
        ("no_certificate", "no signing certificate"),
        ("no_idp", "IDPSSODescriptor"),
        ("no_sso", "HTTP-Redirect"),
        ("two_entities", "name one with issuer:"),
    ],
)
def test_metadata_that_cannot_be_used_says_why(idp: Handle, fault: str, said: str) -> None:
    driver(idp).knobs(saml__metadata=fault)
    with pytest.raises(ProviderUnreachable) as refused:
        document(idp).current()
    assert said in refused.value.detail
    assert "metadata of lab" in refused.value.detail
    honest_again(idp)
    assert document(idp).current().entity_id == f"{idp.url}/generic/saml"


@pytest.mark.parametrize(
    "changes",
    [
        {"entityID": None},
        {"entityID": " "},
        {"validUntil": "0001-01-01T00:00:00+14:00"},
        {"validUntil": "soon"},
    ],
    ids=str,
)
def test_metadata_that_is_oddly_wrong_is_a_refusal_too(idp: Handle, changes: dict[str, Any]) -> None:
    root = etree.fromstring(requests.get(f"{idp.url}/generic/saml/metadata", timeout=10).content)
    assert idp_metadata.read(etree.tostring(root), settings(idp)), "the control"
    for name, value in changes.items():
        root.attrib.pop(name, None)
        if value is not None:
            root.set(name, value)
    with pytest.raises(ValueError, match=r"entityID|time|duration"):
        idp_metadata.read(etree.tostring(root), settings(idp))


def test_one_of_several_is_chosen_by_its_entity_id(idp: Handle) -> None:
    driver(idp).knobs(saml__metadata="two_entities")
    chosen = document(idp, issuer=f"{idp.url}/generic/saml").current()
    assert chosen.entity_id == f"{idp.url}/generic/saml"
    with pytest.raises(WrongIssuer) as refused:
        document(idp, issuer="https://nobody.example").current()
    assert "https://nobody.example" in refused.value.detail


@pytest.mark.parametrize("fault", [None, "no_bom", "many_certificates", "foreign_signature"])
def test_lawful_oddities_are_tolerated(idp: Handle, fault: str | None) -> None:
    """Fact C1: a byte order mark, ``fed:`` roles, a signature that says nothing to us."""
    if fault:
        driver(idp).knobs(saml__metadata=fault)
    tenant = EntraSaml(
        name="entra",
        vendor="entra",
        protocol="saml",
        tenant_id=TENANT_ID,
        insecure_authority_host=idp.url,
        metadata_url=f"{idp.url}{saml.METADATA['entra']}",
    )
    read = IdpDocument(tenant).current()
    assert read.entity_id == f"{idp.url}/{TENANT_ID}/"
    assert len(read.signing_certificates) == (3 if fault == "many_certificates" else 1)


def test_entra_must_be_the_configured_tenant(idp: Handle) -> None:
    tenant = EntraSaml(
        name="entra",
        vendor="entra",
        protocol="saml",
        tenant_id="11111111-2222-3333-4444-555555555555",
        insecure_authority_host=idp.url,
        metadata_url=f"{idp.url}{saml.METADATA['entra']}",
    )
    with pytest.raises(WrongIssuer):
        IdpDocument(tenant).current()


def test_a_pinned_certificate_counts_alone(idp: Handle) -> None:
    ours = prints(document(idp))
    driver(idp).knobs(saml__metadata="many_certificates")
    assert len(prints(document(idp))) == 3
    colons = ":".join(ours[0][i : i + 2] for i in range(0, 64, 2)).upper()
    assert prints(document(idp, metadata_fingerprint=colons)) == ours
    with pytest.raises(ProviderUnreachable, match="pinned") as refused:
        document(idp, metadata_fingerprint="0" * 64).current()
    assert "pinned" in refused.value.detail


@pytest.mark.parametrize("written", ["sha1:00", "0" * 40, "0" * 63 + "g", ""])
def test_a_fingerprint_is_a_sha256(idp: Handle, written: str) -> None:
    with pytest.raises(ValidationError):
        settings(idp, metadata_fingerprint=written)


def test_it_is_read_once_an_hour_and_kept_through_an_outage(idp: Handle, clock: Clock) -> None:
    published = document(idp)
    before = prints(published)
    ring(idp).rotate(publish="new", sign_with="new")
    clock.seconds += 3599
    assert prints(published) == before
    driver(idp).knobs(saml__metadata="garbage")
    clock.seconds += 2
    assert prints(published) == before, "the last good one"
    honest_again(idp)
    clock.seconds += 61
    assert prints(published) != before, "what was removed counts no more"


def test_it_is_refreshed_within_its_cache_duration_and_before_it_ends(idp: Handle, clock: Clock) -> None:
    answer = requests.get(f"{idp.url}/generic/saml/metadata", timeout=10).content
    root = etree.fromstring(answer)
    soon = datetime.now(timezone.utc) + timedelta(minutes=30)
    root.set("validUntil", soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    fresh = idp_metadata._fresh_for(idp_metadata.read(etree.tostring(root), settings(idp)))
    assert 850 < fresh <= 900
    root.set("cacheDuration", "PT5M")
    assert idp_metadata._fresh_for(idp_metadata.read(etree.tostring(root), settings(idp))) == 300
    root.set("cacheDuration", "soon")
    with pytest.raises(ValueError, match="duration"):
        idp_metadata.read(etree.tostring(root), settings(idp))


def test_past_its_end_it_counts_no_more_even_when_it_cannot_be_had_anew(idp: Handle, tmp_path: Path) -> None:
    root = etree.fromstring(requests.get(f"{idp.url}/generic/saml/metadata", timeout=10).content)
    root.set("validUntil", (datetime.now(timezone.utc) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    file = tmp_path / "metadata.xml"
    file.write_bytes(etree.tostring(root))
    published = document(idp, metadata_file=str(file))
    assert published.current()
    time.sleep(2.1)
    with pytest.raises(ProviderUnreachable, match="valid until"):
        published.current()


def test_a_file_is_read_again_as_soon_as_it_changes(idp: Handle, tmp_path: Path) -> None:
    file = tmp_path / "metadata.xml"
    file.write_bytes(requests.get(f"{idp.url}/generic/saml/metadata", timeout=10).content)
    published = document(idp, metadata_file=str(file))
    before = prints(published)
    ring(idp).rotate(publish="both")
    file.write_bytes(requests.get(f"{idp.url}/generic/saml/metadata", timeout=10).content)
    assert len(prints(published)) == len(before) + 1
    file.write_text("half a docu")
    assert len(prints(published)) == len(before) + 1, "a broken one changes nothing"


def test_unknown_keys_cost_three_refetches(idp: Handle, clock: Clock) -> None:
    published = document(idp)
    seen = published.current()

    def asked() -> int:
        return len(driver(idp).control("GET", "requests?endpoint=saml.metadata"))

    start = asked()
    for _ in range(3):
        seen = published.fetched_again(seen) or seen
    assert asked() == start + 3
    assert published.fetched_again(seen) is None
    assert asked() == start + 3
    clock.seconds += 301
    assert published.fetched_again(seen)


@pytest.mark.parametrize("fault", ["down", "slow"])
def test_a_provider_that_cannot_be_reached_is_told_apart(talk: Talk, idp: Handle, fault: str) -> None:
    """Through a running Airflow: the door of a provider whose metadata was never read."""
    conversation = talk("lab-late")
    knob = {"saml.metadata.down": True} if fault == "down" else {"saml.metadata.delay": 5}
    driver(idp).control("PUT", "knobs", knob)
    page = conversation.visitor.at("/auth/login/lab-late")
    assert facts(page)[0] == "SSO-103"
    assert page.status_code == 503


# --- rollover -----------------------------------------------------------------------------------------


def test_a_rollover_is_noticed_by_nobody_and_ends_the_old_certificate(talk: Talk, idp: Handle) -> None:
    """Row S30: old; old and new; new signs; new alone. Then the old one is refused."""

    def signs_in(**changes: Any) -> bool:
        conversation = talk("lab-rollover")
        return conversation.ask().post(conversation.answer(**changes)).status_code == 303

    old = ring(idp).signing
    for step in (
        {},
        {"publish": "both"},
        {"publish": "both", "sign_with": "new"},
        {"publish": "new", "sign_with": "new"},
    ):
        ring(idp).rotate(**step)
        assert [signs_in() for _ in range(3)] == [True] * 3, step
    assert ring(idp).signing is not old
    stranger = talk("lab-rollover").ask()
    # Metadata is read again hourly; an unknown key makes it so at once.
    assert facts(stranger.post(stranger.answer(key=saml_keys.stranger("nobody"))))[0] == "SSO-201"
    refused = talk("lab-rollover").ask()
    page = refused.post(refused.answer(key=old))
    assert facts(page)[0] == "SSO-201"
    assert "no signing certificate" in refused.why(page)
    assert signs_in()


@pytest.mark.parametrize(("kind", "said"), [("expired", "expired on"), ("weak", "too weak")])
def test_a_listed_certificate_that_must_not_count_does_not(
    talk: Talk, idp: Handle, tmp_path: Path, kind: str, said: str
) -> None:
    """Row S18: its end counts, and 1024 bits are none."""
    ring(idp).rotate(publish="new", sign_with="new", kind=kind)
    conversation = talk(f"lab-{kind}").ask()
    page = conversation.post(conversation.answer())
    assert facts(page)[0] == "SSO-201"
    assert said in conversation.why(page)


def test_a_certificate_that_was_let_expire_is_replaced_without_waiting(talk: Talk, idp: Handle) -> None:
    """Fact C9: the provider goes over to the next one by itself, and our copy knows only the expired one."""
    good = ring(idp).signing
    ring(idp).rotate(publish="new", sign_with="new", kind="expired")
    conversation = talk("lab-renewed").ask()
    assert facts(conversation.post(conversation.answer()))[0] == "SSO-201"
    ring(idp).rotate(publish="old", sign_with="old")
    assert conversation.post(conversation.answer(key=good)).status_code == 303


def test_errors_of_a_provider_name_no_secret(idp: Handle) -> None:
    with pytest.raises(SsoError) as refused:
        document(idp, metadata_url=f"{idp.url}/nowhere").current()
    assert "HTTP 404" in refused.value.detail
