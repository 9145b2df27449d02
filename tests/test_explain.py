"""``airflow-sso explain``: each rule, whether it matched, and why; for people, made-up facts and tokens.

Captured tokens and responses are the local provider's own, signed with its keys of the run.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from airflow_sso import config, in_force, models
from airflow_sso.accounts import fab_users
from airflow_sso.login import captured
from airflow_sso.login.captured import Unreadable
from airflow_sso.role_mapping import decide_by_facts
from airflow_sso.role_mapping.explain import explain
from airflow_sso.role_mapping.rules import compile_rules
from devidp import saml_response, tokens
from devidp.faces import FACES, SignIn
from devidp.saml_keys import make
from devidp.settings import CLIENT_ID, Settings
from devidp.state import State
from tests import saml
from tests.review_world import People, Review, entra, federate
from tests.stack import GROUPS
from tests.test_assertion import ACS, AUDIENCE, METADATA
from tests.test_mapping_diff import GUID, _random_rules

IDP = "https://idp.example.com"
RULES = (
    "group: admins, name: airflow_admins, roles: [Admin]",
    "claim: department, equals: Finance, roles: [Viewer]",
    "all: [{group: ops}, {not: {group: suspended}}], roles: [Op]",
    "group: 'team-*', roles: ['team-{1}']",
    "group: old, until: 2020-01-01, roles: [User]",
    "group: barred, name: barred, deny: true",
    "client: nightly, for: machines, roles: [Op]",
)
TEAMS = "roles: {'team-*': {}}\n"


def lines(out: str) -> list[str]:
    return [line.strip() for line in out.splitlines() if line.strip()]


def today() -> str:
    return models.now().date().isoformat()


@pytest.fixture
def company(review: Review, people: People) -> Review:
    review.map(*RULES, more=TEAMS)
    people.add("ada", {"group": ["admins", "team-a", "team-b"]}, holds=("Admin", "Viewer"), given=("Admin",))
    people.make_roles("team-a")
    return review


# --- somebody with an account -----------------------------------------------------------------------------


def test_a_person_rule_by_rule(company: Review) -> None:
    code, out, err = company.run("explain", "ada")
    assert (code, err) == (0, "")
    assert out == (
        f"About ada, an account of Contoso, by role_mapping.yaml on {today()}.\n"
        "\n"
        "What is known:\n"
        "  claim department: not known (nobody has been asked about it yet)\n"
        "  group: admins, team-a, team-b (told by a sign-in through entra, 2026-07-01 08:00 UTC)\n"
        "\n"
        "Rules:\n"
        "  Rule 1 (airflow_admins) matches, by group admins; it gives Admin.\n"
        "  Rule 2 (claim department equals Finance) is open: claim department is not known; it would give Viewer.\n"
        "  Rule 4 (group team-*) matches, by group team-a, group team-b; it gives team-a.\n"
        "3 rules do not match; --all lists them.\n"
        "\n"
        "The mapping gives:\n"
        "  Admin, by rule 1 (airflow_admins)\n"
        "  team-a, by rule 4 (group team-*)\n"
        "Not given: team-b, which rule 4 (group team-*) names; there is no such role in Airflow.\n"
        "\n"
        "They hold Admin, Viewer now.\n"
        "At the next sign-in or reading of the directory they gain team-a and lose Viewer.\n"
        "What is not known yet can change that: claim department.\n"
    )


def test_what_is_known_leaves_nothing_to_change(company: Review, people: People) -> None:
    people.add("vera", {"group": ["ops"], "claim:department": ["Sales"]}, holds=("Op",))
    assert lines(company.run("explain", "vera")[1])[-1] == (
        "Nothing changes at the next sign-in or reading of the directory."
    )


def test_a_file_that_does_not_decide_is_not_named_as_what_did(company: Review) -> None:
    settings = config.load(company.config).settings
    assert settings
    in_force.of(settings).activate("an operator")
    assert ", by role_mapping.yaml on " in company.run("explain", "ada")[1]
    company.map("group: admins, roles: [Admni]")
    assert company.run("explain", "ada")[1].startswith(
        "About ada, an account of Contoso, by generation 1, which is in force instead of role_mapping.yaml, on "
    )


def test_everything_can_be_listed(company: Review) -> None:
    _, out, _ = company.run("explain", "ada", "--all")
    for line in (
        "Rule 3 (group ops and not group suspended) does not match.",
        "Rule 5 (group old) does nothing: it counted until 2020-01-01.",
        "Rule 6 (barred) does not match.",
    ):
        assert line in lines(out)
    assert "--all" not in out
    assert "nightly" not in out, "rules for machines are about machines"


def test_as_json(company: Review) -> None:
    told = company.json("explain", "ada")
    assert told["who"]["username"] == "ada"
    assert (told["roles"], told["refused"]) == (["Admin", "team-a"], None)
    assert told["facts"]["group"] == {
        "values": ["admins", "team-a", "team-b"],
        "at": "2026-07-01T08:00:00+00:00",
        "source": "sign_in:entra",
    }
    assert told["facts"]["claim:department"] == {"values": None, "at": None, "source": None}
    assert [rule["matches"] for rule in told["rules"]] == [True, None, False, True, False, False]
    assert told["rules"][3]["by"][0] == {"fact": "group", "value": "team-a", "caught": ["a"]}
    assert told["rules"][1]["not_known"] == ["claim:department"]
    assert told["rules"][0]["line"] == 3
    assert told["not_given"] == [{"role": "team-b", "rule": 4, "why": "there is no such role in Airflow"}]
    account = told["account"]
    assert (account["gains"], account["loses"], account["active"]) == (["team-a"], ["Viewer"], True)


def test_a_refusal_says_what_it_means_and_what_to_do(company: Review, people: People) -> None:
    people.add("nora", {"group": ["x"], "claim:department": ["Sales"]}, holds=("Viewer",))
    people.add("bob", {"group": ["admins", "barred"]}, holds=("Admin",))
    people.add("uma", {"group": None, "claim:department": ["Sales"]}, holds=("Op",))
    _, out, _ = company.run("explain", "nora")
    assert "The mapping refuses with SSO-301: no rule gives a role that exists." in out
    assert "Put the person into a group that a rule names" in out
    assert lines(out)[-2:] == [
        "They cannot sign in now.",
        "At the next sign-in or reading of the directory they lose Viewer.",
    ]
    _, out, _ = company.run("explain", "bob")
    assert "Rule 6 (barred) matches, by group barred; it refuses." in out
    assert "SSO-307: a rule with deny: true matches" in out
    assert "they lose Admin." in out
    _, out, _ = company.run("explain", "uma")
    assert "Rule 6 (barred) is open: group is not known; it would refuse." in out
    assert "SSO-305: something that the decision rests on is not known" in out
    assert lines(out)[-1] == "They cannot sign in now, and keep these roles until more is known."
    assert company.json("explain", "uma")["account"]["to_hold"] == ["Op"]


def test_roles_that_stay_although_no_rule_gives_them(company: Review, people: People) -> None:
    people.add("hanna", {"group": ["ops"]}, holds=("Op", "User", "Auditor"), given=("Op",))
    company.map(*RULES, more=TEAMS + "manual_roles: keep\nprotected_roles: [Auditor]\n")
    _, out, _ = company.run("explain", "hanna")
    assert lines(out)[-4:] == [
        "Nothing changes at the next sign-in or reading of the directory.",
        "What is not known yet can change that: claim department.",
        "Given by hand, and kept by manual_roles: keep: User.",
        "Protected, so that no sign-in takes it: Auditor.",
    ]
    company.map(*RULES, more=TEAMS)
    assert "they lose Auditor, User." in company.run("explain", "hanna")[1]


def test_a_shut_account_is_said(company: Review, people: People) -> None:
    people.world.operator_shuts("ada")
    _, out, _ = company.run("explain", "ada")
    assert "The account is shut (operator: asked), whatever the mapping gives." in out
    assert lines(out)[-1].startswith("Once it is open again they hold Admin")


def test_people_are_found_by_the_name_that_airflow_shows_and_by_their_own(
    company: Review, people: People
) -> None:
    people.add("grace~2", {"group": ["ops"]}, name_there="Grace.Hopper@example.com")
    for name in ("grace~2", "grace.hopper@EXAMPLE.com", "grace~2@example.com"):
        assert company.json("explain", name)["who"]["username"] == "grace~2", name
    people.add("other", {"group": []}, name_there="grace.hopper@example.com")
    code, _, err = company.run("explain", "grace.hopper@example.com")
    assert (code, "Several people go by" in err, "grace~2, other" in err) == (2, True, True)
    # The account's own name wins over what a provider calls somebody else.
    people.add("third", {"group": []}, name_there="ada")
    assert company.json("explain", "ada")["who"]["username"] == "ada"


def test_who_is_not_there_and_who_is_nobodys(company: Review, people: People) -> None:
    code, out, err = company.run("explain", "nobody")
    assert (code, out, "no account 'nobody'" in err) == (3, "", True)
    people.world.sign_up("local", linked=False)
    code, _, err = company.run("explain", "local")
    assert (code, "linked to nobody" in err) == (3, True)


def test_what_the_directory_was_not_asked_about_is_not_known(company: Review) -> None:
    new = company.map(*RULES, f"group: {GUID}, name: new ones, roles: [User]", name="new.yaml", more=TEAMS)
    company.configure(entra(directory="graph"))
    _, out, _ = company.run("explain", "ada", "--mapping", new)
    assert "Rule 8 (new ones) is open: group is not known; it would give User." in out
    assert f"nobody has been asked yet about {GUID}" in out
    assert "by new.yaml on" in out
    company.configure(entra())
    assert "Rule 8" not in company.run("explain", "ada", "--mapping", new)[1]


def test_the_way_in_is_known_of_an_account(company: Review) -> None:
    company.map("provider: entra, roles: [Op]", "protocol: saml, roles: [User]")
    told = company.json("explain", "ada")
    assert told["roles"] == ["Op"]
    assert told["facts"]["protocol"]["values"] == ["oidc"]


# --- made-up people ---------------------------------------------------------------------------------------


def test_a_made_up_person(company: Review) -> None:
    code, out, _ = company.run("explain", "--groups", "ops,x", "--claim", "site=Berlin")
    assert code == 0
    assert out == (
        f"About a made-up person, by role_mapping.yaml on {today()}.\n"
        "\n"
        "What is known:\n"
        "  claim department: not known (not given)\n"
        "  group: ops, x\n"
        "  No rule asks for claim site.\n"
        "\n"
        "Rules:\n"
        "  Rule 2 (claim department equals Finance) is open: claim department is not known; it would give Viewer.\n"
        "  Rule 3 (group ops and not group suspended) matches, by group ops; it gives Op.\n"
        "4 rules do not match; --all lists them.\n"
        "\n"
        "The mapping gives:\n"
        "  Op, by rule 3 (group ops and not group suspended)\n"
    )


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (["--groups", ""], []),
        (["--app-roles", "x"], None),
        (["--groups", "a, b,,c"], ["a", "b", "c"]),
        (["--groups", "CN=a,OU=b,DC=c", "--groups", "d,e"], ["CN=a,OU=b,DC=c", "d", "e"]),
    ],
)
def test_groups_as_they_are_written(company: Review, written: list[str], values: Any) -> None:
    assert company.json("explain", *written)["facts"]["group"]["values"] == values


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (["a=Finance"], ["Finance"]),
        (["a=x=y"], ["x=y"]),
        (["a=5"], [5]),
        (['a="5"'], ["5"]),
        (["a=true"], [True]),
        (["a=1.5"], ["1.5"]),
        (["a=null"], ["null"]),
        (["a=[1, 2]"], [1, 2]),
        (["a=p", "a=q"], ["p", "q"]),
    ],
)
def test_claims_as_they_are_written(company: Review, written: list[str], values: list[Any]) -> None:
    company.map("claim: a, equals: zz, roles: [Op]")
    arguments = [part for one in written for part in ("--claim", one)]
    found = company.json("explain", *arguments)["facts"]["claim:a"]["values"]
    assert [(type(one), one) for one in found] == [(type(one), one) for one in values]


def test_a_made_up_machine(company: Review) -> None:
    _, out, _ = company.run("explain", "--client", "nightly")
    assert "About a made-up machine" in out
    assert "Op, by rule 7 (client nightly)" in out
    assert company.json("explain", "--client", "other")["refused"] == "SSO-301"


def test_what_each_sign_in_has_to_show_is_said(company: Review) -> None:
    company.map(*RULES, more=TEAMS + "require: [{claim: amr, contains: mfa}, {address: 10.0.0.0/8}]\n")
    _, out, _ = company.run("explain", "--groups", "ops")
    assert out.endswith("has to show: claim amr contains mfa; address 10.0.0.0/8 (SSO-308).\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Say who is meant"),
        (["ada", "--groups", "a"], 2, "not both"),
        (["ada", "--provider", "entra"], 2, "leave it out"),
        (["--token-file", "x", "--client", "y"], 2, "not both"),
        (["--groups", "a", "--provider", "pong"], 3, "There is no provider 'pong'"),
        (["--claim", "department"], 2, "write a name and a value"),
        (["--groups", "a", "--mapping", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["--token-file", "nowhere.jwt"], 2, "nowhere.jwt cannot be read"),
    ],
)
def test_wrong_use_is_said(company: Review, arguments: list[str], code: int, words: str) -> None:
    found, out, err = company.run("explain", *arguments)
    assert (found, out) == (code, "")
    assert words in err


def test_a_faulty_mapping_is_told_as_lint_tells_it(company: Review) -> None:
    company.map("group: a, rolls: [Op]", "group: b, roles: [Opp]")
    _, listed, _ = company.run("lint")
    code, _, err = company.run("explain", "--groups", "a")
    assert code == 2
    assert lines(listed)[0] in lines(err)


# --- a captured token -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> State:
    made = State(Settings(base_url=IDP))
    ours = make("service provider").certificate_text
    metadata = METADATA.format(audience=AUDIENCE, acs=ACS, certificate=ours)
    made.saml.service_providers.register(metadata.encode())
    return made


@pytest.fixture
def token(state: State) -> Callable[..., str]:
    """An ID token as the local provider signs it."""

    def signed(face: str, person: str, **claims: Any) -> str:
        found = state.people.get(person)
        assert found is not None
        asked = SignIn(
            client_id=CLIENT_ID,
            scope=frozenset({"openid", "profile", "email"}),
            nonce="n",
            sid="s",
            auth_time=1,
        )
        made = tokens.id_token(
            state, FACES[face], replace(found, claims=claims), asked, access_token="a", code=None
        )
        assert isinstance(made, str)
        return made

    return signed


def provided(review: Review) -> None:
    review.configure(
        entra(insecure_authority_host=IDP), federate(issuer=f"{IDP}/pf", claims={"groups": "memberOf"})
    )
    by_id = f"group: {GROUPS['airflow_prod_admin']}, name: admins, roles: [Admin]"
    by_name = f"group: 'CN=airflow_prod_op,{saml_dn()}', roles: [Op]"
    review.map(by_id, by_name, "claim: department, equals: Finance, roles: [Viewer]")


def saml_dn() -> str:
    from devidp.groups import DN_SUFFIX

    return DN_SUFFIX


def test_a_token_of_entra(company: Review, token: Callable[..., str]) -> None:
    provided(company)
    file = company.write("token.jwt", token("entra", "ada", department="Finance") + "\n")
    code, out, err = company.run("explain", "--token-file", file)
    assert code == 0, err
    said = lines(out)
    assert said[0].startswith("Read without verifying:")
    assert said[1].startswith("About an ID token of Contoso, which says it is about ada@contoso.example, by ")
    assert "claim department: Finance" in said
    assert "Rule 1 (admins) matches, by group 8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c11; it gives Admin." in said
    assert "Viewer, by rule 3 (claim department equals Finance)" in said
    told = company.json("explain", "--token-file", file)
    assert (told["verified"], told["roles"]) == (False, ["Admin", "Viewer"])


def test_a_token_with_too_many_groups(company: Review, token: Callable[..., str]) -> None:
    provided(company)
    company.map("group: g, deny: true", "claim: department, equals: Finance, roles: [Viewer]")
    file = company.write("token.jwt", token("entra", "over", department="Finance"))
    _, out, _ = company.run("explain", "--token-file", file)
    assert "The token holds no list of groups because there are too many (overage)." in out
    assert "group: not known (there are too many to be told)" in lines(out)
    assert "SSO-305" in out
    told = company.json("explain", "--token-file", file)
    assert (told["group_overage"], told["facts"]["group"]["values"]) == (True, None)
    # Some of them beside the marker are not all of them.
    some = company.write("some.jwt", token("entra", "over", groups=["g"]))
    assert company.json("explain", "--token-file", some)["facts"]["group"]["values"] is None
    company.configure(entra(insecure_authority_host=IDP, directory="graph"))
    assert "A sign-in also asks the directory of Contoso" in company.run("explain", "--token-file", file)[1]


def test_a_token_of_pingfederate_with_one_group_as_text(
    company: Review, token: Callable[..., str], state: State
) -> None:
    provided(company)
    group = f"CN=airflow_prod_op,{saml_dn()}"
    file = company.write("token.jwt", token("pingfederate", "otto", memberOf=group))
    told = company.json("explain", "--token-file", file)
    assert told["who"]["provider"] == "ping"
    assert told["facts"]["group"]["values"] == [group]
    assert told["roles"] == ["Op"]
    assert told["notes"] == []


@pytest.mark.parametrize(
    "wrap", [lambda claims: claims, lambda _claims: None], ids=["claims", "token answer"]
)
def test_the_claims_as_json_and_a_token_endpoints_answer(
    company: Review, token: Callable[..., str], wrap: Callable[[Any], Any]
) -> None:
    provided(company)
    signed = token("entra", "ada")
    payload = signed.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    file = company.write("claims.json", json.dumps(wrap(claims) or {"id_token": signed, "expires_in": 5}))
    assert company.json("explain", "--token-file", file)["roles"] == ["Admin"]


def test_a_token_of_somebody_else_is_said(company: Review, token: Callable[..., str]) -> None:
    provided(company)
    file = company.write("token.jwt", token("generic", "ada"))
    code, _, err = company.run("explain", "--token-file", file)
    assert (code, "--provider NAME. There are: entra, ping." in err) == (2, True)
    _, out, _ = company.run("explain", "--token-file", file, "--provider", "entra")
    assert "a sign-in would be refused (SSO-202)" in out
    assert company.run("explain", "--token-file", file, "--provider", "pong")[0] == 3


def test_a_guest_is_said(company: Review, token: Callable[..., str]) -> None:
    provided(company)
    file = company.write("token.jwt", token("entra", "hugo"))
    assert "guests are not let in (SSO-306" in company.run("explain", "--token-file", file)[1]
    company.configure(entra(insecure_authority_host=IDP, guests="map"))
    assert "SSO-306" not in company.run("explain", "--token-file", file)[1]


# --- a SAML response --------------------------------------------------------------------------------------


def response(state: State, face: str, person: str, **changes: Any) -> bytes:
    recipe = replace(saml_response.good(state, face, person, AUDIENCE, "_request"), **changes)
    return saml_response.build(recipe, state.saml.rings[face].signing)


def with_saml(review: Review, face: str = "entra") -> None:
    entry = saml.entry("https://idp.example.com", "https://airflow.example.com", face, "adfs")
    review.configure(entry)
    review.map(
        f"group: {GROUPS['airflow_prod_admin']}, name: admins, roles: [Admin]",
        f"group: 'CN=airflow_prod_op,{saml_dn()}', name: ops, roles: [Op]",
        "protocol: saml, roles: [Viewer]",
    )


@pytest.mark.parametrize("shape", ["xml", "posted", "form", "wrapped"])
def test_a_response_in_every_shape_in_which_people_keep_it(company: Review, state: State, shape: str) -> None:
    with_saml(company)
    xml = response(state, "entra", "ada")
    posted = base64.b64encode(xml).decode()
    kept = {
        "xml": xml.decode(),
        "posted": posted,
        "form": urlencode({"SAMLResponse": posted, "RelayState": "x"}),
        "wrapped": "\n".join(posted[at : at + 76] for at in range(0, len(posted), 76)),
    }
    file = company.write("response.txt", kept[shape])
    told = company.json("explain", "--token-file", file)
    assert told["roles"] == ["Admin", "Viewer"]
    assert told["who"]["provider"] == "adfs"
    assert "About a SAML response of adfs" in company.run("explain", "--token-file", file)[1]


def test_a_response_with_one_distinguished_name(company: Review, state: State) -> None:
    with_saml(company, "pingfederate")
    file = company.write("response.xml", response(state, "pingfederate", "otto").decode())
    told = company.json("explain", "--token-file", file)
    assert told["roles"] == ["Op", "Viewer"]
    assert f"CN=airflow_prod_op,{saml_dn()}" in told["facts"]["group"]["values"]


def test_a_response_with_too_many_groups(company: Review, state: State) -> None:
    with_saml(company)
    file = company.write("response.xml", response(state, "entra", "over").decode())
    assert company.json("explain", "--token-file", file)["group_overage"] is True


def test_an_encrypted_response_cannot_be_read_and_that_is_said(company: Review, state: State) -> None:
    with_saml(company)
    file = company.write("response.xml", response(state, "entra", "ada", encrypt="assertion").decode())
    code, out, err = company.run("explain", "--token-file", file)
    assert (code, out) == (2, "")
    assert "holds an encrypted assertion, which cannot be read here" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is neither a token, JSON, nor a SAML response"),
        ("nonsense", "is neither a token, JSON, nor a SAML response"),
        ("a.b", "an ID token has three parts"),
        ("a.b.c", "not base64url"),
        ("a.eyJ9.c", "is not JSON"),
        ("a.WzFd.c", "not a JSON object"),
        ("a.b.c.d.e", "is an encrypted token (JWE)"),
        ("{", "is not JSON"),
        ("[1]", "is neither"),
        ("<a/>", "holds no SAML assertion"),
        ("<a", "is no SAML response that can be read"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "is not accepted"),
        (base64.b64encode(b"<a/>").decode(), "not a samlp:Response"),
        ("{" * 100_000, "is not JSON"),
        ("x" * 2_000_001, "is too large for a token"),
        ("\udcff", "is not UTF-8 text"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_token_is_refused_with_a_reason(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Unreadable, match=words.replace("(", r"\(").replace(")", r"\)")):
        captured.read(file)


# --- reading changes nothing, and what is said is what is decided -------------------------------------------


def test_nothing_is_written(company: Review, people: People) -> None:
    before = people.world.state()
    company.run("explain", "ada")
    company.run("diff", "current", company.map(*RULES[1:], name="new.yaml", more=TEAMS))
    assert people.world.state() == before
    assert people.world.events("roles_changed") == []


def test_it_works_by_made_up_facts_where_there_is_no_database(
    company: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow import settings
    from sqlalchemy import create_engine

    monkeypatch.setattr(settings, "engine", create_engine("sqlite:////nowhere/airflow.db", future=True))
    code, out, err = company.run("explain", "--groups", "ops,team-z")
    assert code == 0
    assert "note: Airflow's database cannot be read; whether roles exist is not checked" in err
    assert "team-z, by rule 4" in out


def test_what_is_said_of_the_rules_is_what_the_decision_rests_on() -> None:
    on, seen = date(2027, 1, 1), 0
    for seed in range(1000):
        rng = random.Random(seed)
        mapping = compile_rules(_random_rules(rng))
        facts: dict[str, Any] = {
            fact: rng.choice([None, frozenset(rng.sample(["1", "2", 1], rng.randint(0, 2)))])
            for fact in ("group", "claim:a", "claim:b")
        }
        untold = frozenset(rng.sample(["1", "2"], rng.randint(0, 1)))
        decision = decide_by_facts(facts, mapping, on, untold=untold)
        told = explain(facts, mapping, on, untold=untold)
        assert [one.rule.number for one in told if one.holds] == [m.rule.number for m in decision.matched]
        for one, match in zip((one for one in told if one.holds), decision.matched, strict=True):
            assert (one.hits, frozenset(one.roles)) == (match.hits, match.roles)
        denies = [one for one in told if one.rule.deny and one.holds is not False]
        if decision.refused_because == "SSO-307":
            assert any(one.holds for one in denies), seed
        elif denies:
            assert decision.refused_because == "SSO-305", seed
            seen += 1
    assert seen > 20


def test_an_account_whose_row_was_made_anew_is_not_theirs(company: Review, people: People) -> None:
    with people.world.engine.begin() as connection:
        users = fab_users.table()
        connection.execute(update(users).values(created_on=models.now().replace(year=2001, tzinfo=None)))
    code, _, err = company.run("explain", "ada")
    assert (code, "linked to nobody" in err) == (3, True)
