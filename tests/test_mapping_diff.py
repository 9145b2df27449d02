"""``airflow-sso diff``: who gains and who loses what, over people with accounts, before a change is merged."""

from __future__ import annotations

import json
import random
import re
from datetime import date
from typing import Any

import pytest
from sqlalchemy import update

from airflow_sso.accounts import fab_users
from airflow_sso.role_mapping import compile_rules, decide_by_facts
from airflow_sso.role_mapping.conditions import All, Not, Test
from airflow_sso.role_mapping.rules import Rule
from airflow_sso.sync import compare
from airflow_sso.sync.compare import Person, Side
from tests.review_world import People, Review, entra, federate

OLD = ("group: admins, roles: [Admin]", "group: ops, roles: [Op]", "group: viewers, roles: [Viewer]")


@pytest.fixture
def company(review: Review, people: People) -> Review:
    """Four people, each of one group or two, who hold what OLD gives."""
    review.map(*OLD)
    people.add("ada", {"group": ["admins"]}, holds=("Admin",))
    people.add("otto", {"group": ["ops", "viewers"]}, holds=("Op", "Viewer"))
    people.add("vera", {"group": ["viewers"]}, holds=("Viewer",))
    people.add("nora", {"group": ["nothing"]})
    return review


def test_the_kinds_of_changes_come_first_then_the_people(company: Review) -> None:
    new = company.map(
        "group: admins, roles: [Admin]",
        "group: ops, name: operators, roles: [Op, User]",
        "group: nothing, roles: [User]",
        name="new.yaml",
    )
    code, out, err = company.run("diff", "current", new)
    assert code == 0, err
    assert out == (
        "1 person loses everything.\n"
        "1 person loses Viewer.\n"
        "2 people gain User.\n"
        "1 person stays as they are.\n"
        "\n"
        "WHO   GAINS  LOSES   WHY\n"
        "vera  none   Viewer  was given by group viewers; refused with SSO-301\n"
        "otto  User   Viewer  given by operators; was given by group viewers\n"
        "nora  User   none    given by group nothing\n"
    )


def test_nothing_to_change_is_said(company: Review) -> None:
    code, out, _ = company.run("diff", "current", str(company.folder / "role_mapping.yaml"))
    assert (code, out) == (0, "Nobody gains or loses anything; 4 people stay as they are.\n")


def test_where_nobody_has_an_account_that_is_said(review: Review, people: People) -> None:
    review.map(*OLD)
    new = review.map(*OLD[:1], name="new.yaml")
    code, out, _ = review.run("diff", "current", new)
    assert (code, out) == (
        0, "Nobody has signed in through a provider yet, so there is nobody to compare for.\n",
    )  # fmt: skip
    people.add("ada", {"group": ["viewers"]}, holds=("Viewer",))
    assert "Nobody stays as they are.\n" in review.run("diff", "current", new)[1]


def test_it_can_be_made_to_fail_only_when_somebody_would_lose_everything(company: Review) -> None:
    less = company.map(*OLD[:2], name="less.yaml")  # vera has nothing then
    other = company.map(*OLD, "group: nothing, roles: [Op]", name="more.yaml")
    assert company.run("diff", "current", less)[0] == 0
    assert company.run("diff", "current", less, "--fail-on", "lost-all")[0] == 1
    assert company.run("diff", "current", other, "--fail-on", "lost-all")[0] == 0
    # Whoever has nothing today loses nothing.
    assert company.run("diff", less, less, "--fail-on", "lost-all")[0] == 0


def test_as_json_everybody_is_there(company: Review) -> None:
    new = company.map(*OLD[:2], name="new.yaml")
    told = company.json("diff", "current", new)
    assert told["summary"] == [
        {"people": 1, "change": "loses everything"},
        {"people": 1, "change": "loses Viewer"},
    ]
    assert (told["lose_everything"], told["unchanged"], told["unknown"]) == (1, 2, [])
    (otto, vera) = told["changed"]
    assert (otto["username"], otto["before"], otto["after"]) == ("otto", ["Op", "Viewer"], ["Op"])
    assert vera["refused"] == "SSO-301"
    assert vera["was_given_by"] == {"Viewer": ["group viewers"]}
    code, out, _ = company.run("diff", "current", new, "--format", "json")
    assert (code, out.startswith("{")) == (0, True)


def test_in_markdown_no_name_means_anything(company: Review, people: People) -> None:
    people.add("@all|`x`<b>", {"group": ["viewers"]}, holds=("Viewer",))
    new = company.map(*OLD[:2], name="new.yaml")
    code, out, _ = company.run("diff", "current", new, "--format", "markdown")
    assert code == 0
    assert out == (
        "### What this role mapping changes\n"
        "\n"
        "- 2 people lose everything.\n"
        "- 1 person loses `Viewer`.\n"
        "- 2 people stay as they are.\n"
        "\n"
        "| who | gains | loses | why |\n"
        "|---|---|---|---|\n"
        "| `vera` |  | `Viewer` | `was given by group viewers; refused with SSO-301` |\n"
        "| `@all\\|'x'<b>` |  | `Viewer` | `was given by group viewers; refused with SSO-301` |\n"
        "| `otto` |  | `Viewer` | `was given by group viewers` |\n"
    )


def test_the_name_of_a_role_calls_nobody_and_links_nowhere(company: Review) -> None:
    """Whoever opens a pull request writes the names under ``roles:``, and the comment is not by them."""
    role = "@ops https://evil.example `x` &#64;all <img>|"
    owned = f"version: 1\nrules:\n- {{group: viewers, roles: [{json.dumps(role)}]}}\nroles: {{{json.dumps(role)}: {{}}}}\n"
    path = company.folder / "new.yaml"
    path.write_text(owned)
    code, out, _ = company.run("diff", "current", str(path), "--format", "markdown")
    assert code == 0
    assert f"- 2 people gain `{role.replace('`', chr(39))}`.\n" in out
    outside = re.sub(r"`[^`\n]*`", "", out)
    assert not re.search(r"[@<&]|https|evil", outside)


def test_a_name_does_nothing_to_a_terminal(company: Review, people: People) -> None:
    people.add("o\x1b[2Jtto\u202e", {"group": ["viewers"]}, holds=("Viewer",))
    new = company.map(*OLD[:2], name="new.yaml")
    code, out, _ = company.run("diff", "current", new)
    assert code == 0
    assert "o\\x1b[2Jtto\\u202e" in out
    code, out, _ = company.run("explain", "--groups", "viewers,\x1b]0;x\x07,two\n::error::lines")
    assert code == 0
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", out)
    assert "two\\n::error::lines" in out


def test_two_hundred_people_are_listed_and_the_rest_counted(company: Review, people: People) -> None:
    for number in range(200):
        people.add(f"p{number:03}", {"group": ["viewers"]}, holds=("Viewer",))
    new = company.map(*OLD[:2], name="new.yaml")
    _, out, _ = company.run("diff", "current", new)
    assert "201 people lose everything." in out
    assert out.endswith("... and 2 more; --format json lists them all.\n")
    assert out.count("was given by") == 200
    assert len(company.json("diff", "current", new)["changed"]) == 202


# --- whom it is about, and what they would hold -----------------------------------------------------------


def test_shut_accounts_local_ones_and_break_glass_are_left_out(company: Review, people: People) -> None:
    from airflow_sso import models

    world = people.world
    world.sign_up("local", linked=False)
    number = people.add("glass", {"group": ["viewers"]}, holds=("Viewer",))
    with world.engine.begin() as connection:
        connection.execute(
            models.break_glass_pins.insert().values(
                name_key="x", user_id=number, user_created_on=None, pinned_at=models.now()
            )
        )
        users = fab_users.table()
        connection.execute(update(users).where(users.c.username == "vera").values(active=False))
    new = company.map(*OLD[:2], name="new.yaml")
    told = company.json("diff", "current", new)
    assert [one["username"] for one in told["changed"]] == ["otto"]
    assert told["unchanged"] == 2


def test_people_of_every_authority_are_looked_at(company: Review, people: People) -> None:
    from airflow_sso import models

    with people.world.engine.begin() as connection:
        table = models.accounts
        connection.execute(
            update(table).where(table.c.username == "vera").values(authority="oidc:ping", provider="ping")
        )
    company.configure(entra(), federate())
    new = company.map(*OLD[:2], name="new.yaml")
    assert {one["username"] for one in company.json("diff", "current", new)["changed"]} == {"otto", "vera"}


def test_roles_given_by_hand_count_as_the_mappings_say(company: Review, people: People) -> None:
    people.add("hanna", {"group": ["viewers"]}, holds=("Viewer", "User"), given=("Viewer",))
    keeps = company.map(*OLD, name="keeps.yaml", more="manual_roles: keep\n")
    removes = company.map(*OLD, name="removes.yaml")
    (hanna,) = company.json("diff", keeps, removes)["changed"]
    assert (hanna["username"], hanna["before"], hanna["loses"]) == ("hanna", ["User", "Viewer"], ["User"])
    # Under a mapping that takes them they are gone already, and the next one brings none back.
    assert company.json("diff", removes, keeps)["changed"] == []
    without = company.map(*OLD[:2], name="without.yaml", more="manual_roles: keep\n")
    changed = company.json("diff", keeps, without)["changed"]
    assert {one["username"]: one["after"] for one in changed} == {
        "otto": ["Op"],
        "vera": [],
        "hanna": ["User"],
    }


def test_protected_roles_stay(company: Review, people: People) -> None:
    people.add("petra", {"group": ["viewers"]}, holds=("Viewer", "Auditor"), given=("Viewer",))
    protects = company.map(*OLD, name="protects.yaml", more="protected_roles: [Auditor]\n")
    plain = company.map(*OLD, name="plain.yaml")
    (petra,) = company.json("diff", protects, plain)["changed"]
    assert (petra["before"], petra["after"]) == (["Auditor", "Viewer"], ["Viewer"])
    less = company.map(*OLD[:2], name="less.yaml", more="protected_roles: [Auditor]\n")
    told = company.json("diff", protects, less)
    assert {one["username"]: one["after"] for one in told["changed"]}["petra"] == ["Auditor"]
    assert told["lose_everything"] == 1  # vera


def test_a_role_that_was_caught_and_does_not_exist_is_not_gained(company: Review, people: People) -> None:
    people.add("theo", {"group": ["team-a", "team-b"]})
    people.make_roles("team-a")
    more = "roles: {'team-*': {}}\n"
    new = company.map(*OLD, "group: 'team-*', roles: ['team-{1}']", name="new.yaml", more=more)
    (theo,) = company.json("diff", "current", new)["changed"]
    assert theo["gains"] == ["team-a"]
    owned = company.map(
        *OLD, "group: team-b, roles: [mine]", name="owned.yaml", more="roles: {mine: {like: Viewer}}\n"
    )
    (theo,) = company.json("diff", "current", owned)["changed"]
    assert theo["gains"] == ["mine"]  # the file makes it


def test_a_refusal_that_keeps_the_roles_is_a_change_too(company: Review, people: People) -> None:
    people.add("uma", {"group": ["viewers"], "claim:site": None}, holds=("Viewer",))
    rule = "claim: site, equals: X, "
    old = company.map(*OLD, rule + "roles: [Op]", name="old.yaml")
    new = company.map(*OLD, rule + "deny: true", name="new.yaml")
    told = company.json("diff", old, new)
    (uma,) = told["changed"]
    assert (uma["username"], uma["before"], uma["after"], uma["refused"]) == (
        "uma", ["Viewer"], ["Viewer"], "SSO-305",
    )  # fmt: skip
    assert {"people": 1, "change": "cannot sign in then (SSO-305), with the same roles"} in told["summary"]
    assert {"people": 1, "change": "can sign in then, with the same roles"} in company.json("diff", new, old)[
        "summary"
    ]


# --- what nobody was asked about --------------------------------------------------------------------------


def test_who_was_not_asked_about_a_claim_is_unknown_and_not_unchanged(
    company: Review, people: People
) -> None:
    people.add("told", {"group": ["viewers"], "claim:department": ["Sales"]}, holds=("Viewer",))
    new = company.map(
        *OLD, "claim: department, name: finance, equals: Finance, roles: [User]", name="new.yaml"
    )
    code, out, _ = company.run("diff", "current", new)
    assert code == 0
    assert out == (
        "Of 4 people it is not known: the new mapping asks for something that nobody has been asked yet. "
        "Their next sign-in tells, and so may a reading of the directory.\n"
        "1 person stays as they are.\n"
        "\n"
        "WHO   NOT KNOWN         ASKED BY  CERTAIN SO FAR\n"
        "ada   claim department  finance   nothing\n"
        "otto  claim department  finance   nothing\n"
        "vera  claim department  finance   nothing\n"
        "nora  claim department  finance   nothing\n"
    )
    told = company.json("diff", "current", new)
    assert told["unknown_facts"] == {"claim:department": 4}
    assert told["changed"] == []


def test_what_could_change_nothing_is_not_unknown(company: Review) -> None:
    new = company.map(
        *OLD,
        "all: [{group: elsewhere}, {claim: department, equals: Finance}], roles: [User]",
        "all: [{group: ops}, {claim: department, equals: Finance}], roles: [Op]",
        "claim: level, equals: 5, until: 2001-01-01, roles: [User]",
        name="new.yaml",
    )
    told = company.json("diff", "current", new)
    assert (told["unknown"], told["changed"], told["unchanged"]) == ([], [], 4)


def test_a_deny_that_rests_on_the_unknown_may_take_everything(company: Review) -> None:
    new = company.map(*OLD, "claim: status, name: out, equals: left, deny: true", name="new.yaml")
    told = company.json("diff", "current", new)
    assert {one["username"]: one["may_lose_everything"] for one in told["unknown"]} == {
        "ada": True, "otto": True, "vera": True, "nora": False,
    }  # fmt: skip
    code, out, _ = company.run("diff", "current", new, "--fail-on", "lost-all")
    assert code == 1
    assert "3 of these may lose everything." in out


def test_somebody_who_has_never_been_asked_anything_is_unknown(company: Review, people: People) -> None:
    people.add("adopted", {}, holds=("Op",), given=())
    told = company.json("diff", "current", str(company.folder / "role_mapping.yaml"))
    assert [one["username"] for one in told["unknown"]] == ["adopted"]
    assert told["unchanged"] == 4


def test_the_way_in_is_known_without_being_asked_for(company: Review) -> None:
    new = company.map(
        *OLD, "provider: entra, roles: [User]", "protocol: saml, roles: [Admin]", name="new.yaml"
    )
    told = company.json("diff", "current", new)
    assert told["unknown"] == []
    assert {one["username"]: one["gains"] for one in told["changed"]} == {
        name: ["User"] for name in ("ada", "otto", "vera", "nora")
    }


GUID = "5c1d7a52-0b7e-4c0f-8a44-6f0a8f5c2b22"


def test_a_group_that_the_directory_was_not_asked_about_is_unknown(company: Review, people: People) -> None:
    people.add("told", {"group": ["viewers", GUID.upper()]}, holds=("Viewer",))
    new = company.map(*OLD, f"group: {GUID}, name: new ones, roles: [User]", name="new.yaml")
    # Without a directory the token told of all groups.
    told = company.json("diff", "current", new)
    assert (len(told["changed"]), told["unknown"]) == (1, [])
    # Graph is asked for what the mapping names, and knows groups by id.
    company.configure(entra(directory="graph"))
    told = company.json("diff", "current", new)
    assert [one["username"] for one in told["changed"]] == ["told"]
    assert {one["username"]: one["not_known"] for one in told["unknown"]} == {
        name: ["group"] for name in ("ada", "otto", "vera", "nora")
    }
    # One that the mapping in force names has been asked about.
    current = company.map(*OLD, f"group: {GUID.upper()}, roles: [Op]")
    told = company.json("diff", current, new)
    assert told["unknown"] == []


def test_where_it_is_unclear_who_told_of_groups_new_ones_are_unknown(company: Review) -> None:
    new = company.map(*OLD, f"group: {GUID}, roles: [User]", name="new.yaml")
    company.configure(entra(client_auth={"secret": {"env": "NOT_SET_HERE"}}), federate())
    code, out, err = company.run("diff", "current", new)
    assert code == 0
    assert "note: entra has faults in sso.yaml" in err
    assert "Of 4 people it is not known" in out
    company.configure(entra(), federate())
    assert company.run("diff", "current", new)[2] == ""
    assert company.json("diff", "current", new)["unknown"] == []


def test_a_tokens_list_tells_of_what_no_directory_knows_by_its_spelling(
    company: Review, people: People
) -> None:
    company.configure(entra(directory="graph"))
    company.map(*OLD, f"group: {GUID}, roles: [Viewer]")
    people.world.forget_everything()
    people.add("listed", {"group": ["viewers"]}, holds=("Viewer",))
    people.add("asked", {"group": [GUID]}, holds=("Viewer",))
    new = company.map(
        *OLD,
        f"group: {GUID}, roles: [Viewer]",
        "group: CONTOSO\\ops, name: by name, roles: [User]",
        "group: 'x-*', name: by pattern, roles: [Public]",
        name="new.yaml",
    )
    told = company.json("diff", "current", new)
    # "viewers" is no id, so a token told it, and tells all or nothing.
    assert {one["username"]: one["asked_by"] for one in told["unknown"]} == {
        "asked": ["by name", "by pattern"]
    }
    assert told["unchanged"] == 1


# --- wrong use --------------------------------------------------------------------------------------------


def test_every_fault_of_both_files_is_told(company: Review) -> None:
    old = company.map("group: a, roles: [Opp]", name="old.yaml")
    new = company.map("group: a", "group: b, rolls: [Op]", name="new.yaml")
    code, out, err = company.run("diff", old, new)
    assert (code, out) == (2, "")
    for part in ("old.yaml:3:", "did you mean 'Op'?", "new.yaml:3:", "new.yaml:4:"):
        assert part in err, err
    code, _, err = company.run("diff", "current", "nowhere.yaml")
    assert (code, "nowhere.yaml: cannot be read" in err) == (2, True)


def test_a_broken_mapping_in_force_is_told(company: Review) -> None:
    new = company.map(*OLD, name="new.yaml")
    company.map("group: a, roles: [Opp]")
    code, _, err = company.run("diff", "current", new)
    assert (code, "role_mapping.yaml:3:" in err) == (2, True)
    assert company.run("diff", new, new)[0] == 0  # which does not need it


# --- the core against deciding person by person -------------------------------------------------------------


def _random_rules(rng: random.Random) -> list[Rule]:
    def test(number: int) -> Test:
        fact = rng.choice(["group", "group", "claim:a", "claim:b"])
        return Test(fact, (rng.choice(["1", "2", "3", 1, True]),), word="" if number else "equals")

    rules = []
    for number in range(1, rng.randint(2, 8)):
        condition: Any = test(number)
        if rng.random() < 0.3:
            condition = All((condition, test(number)))
        if rng.random() < 0.2:
            condition = Not(condition)
        roles = frozenset(rng.sample(["A", "B", "C"], rng.randint(1, 2)))
        deny = rng.random() < 0.1
        rules.append(
            Rule(number=number, condition=condition, roles=frozenset() if deny else roles, deny=deny)
        )
    return rules


def test_whoever_is_called_unchanged_would_be_so_whatever_the_answer_to_what_was_not_asked() -> None:
    """Each fact that is not known is tried with every value: nobody else may change."""
    on, seen = date(2027, 1, 1), {"unknown": 0, "known": 0, "changed": 0}
    for seed in range(1500):
        rng = random.Random(seed)
        keeps = rng.random() < 0.5
        old, new = (
            Side(
                compile_rules(_random_rules(rng), keeps_manual_roles=keeps, no_match=rng.choice([(), ("N",)]))
            )
            for _ in range(2)
        )
        facts = {
            fact: frozenset(rng.sample(["1", "2", "3", 1], rng.randint(0, 2)))
            for fact in ("group", "claim:a", "claim:b")
            if rng.random() < 0.7
        }
        held = frozenset(rng.sample(["A", "B", "N", "H"], rng.randint(0, 3)))
        given = frozenset(role for role in held if rng.random() < 0.7)
        person = Person(
            user_id=1, username="x", provider="p", authority="a", held=held, given=given, facts=facts
        )
        found = compare.compare([person], old, new, on)
        if found.unknown:
            seen["unknown"] += 1
            continue
        seen["known"] += 1
        seen["changed"] += len(found.changed)
        for guess in (frozenset(), frozenset({"1"}), frozenset({"2", 1}), frozenset({"3", True})):
            filled = dict.fromkeys(("group", "claim:a", "claim:b"), guess) | facts
            before = decide_by_facts(filled, old.mapping, on)
            after = decide_by_facts(filled, new.mapping, on)
            first = held if before.keeps_roles else before.to_hold(held, given)
            theirs = given if before.keeps_roles else before.roles
            then = first if after.keeps_roles else after.to_hold(first, theirs)
            if found.changed:
                assert (found.changed[0].before, found.changed[0].after) == (first, then), seed
            else:
                assert first == then, seed
    assert min(seen.values()) > 100, seen
