"""Any mapping file and any person: what a naive reading of the file says, and what may never happen.

``ROLE_EXAMPLES`` tells how many are tried for each property; with more than the usual number they are other
ones each time.
"""

from __future__ import annotations

import copy
import os
import re
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from airflow_sso.role_mapping import (
    BUILT_IN_ROLES,
    Facts,
    Mapping,
    RoleDecision,
    decide,
    decide_by_facts,
    understand,
)
from airflow_sso.role_mapping.values import claim_values, is_glob
from airflow_sso.yaml_document import Document
from tests.test_role_mapping import TODAY, identity

USUAL = 100
EXAMPLES = int(os.environ.get("ROLE_EXAMPLES", USUAL))
tried = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == USUAL,
    database=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

ROLES = {*BUILT_IN_ROLES, "team-a", "team-b"}
GUID = "8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c11"
#: What groups, app roles and claims are called here; few, so that rules and people meet.
NAMES = [
    "a", "b", "ab", "A", "a-x", "b-x", "g-Admin", "g-admin", "g-team-a", "g-team-b", "a*", "a\\x", "ü-x",
    GUID, GUID.upper(), "CN=a,OU=g", "cn=A, ou = G", "CN=a\\,b,OU=g", "CN=a\\ ,OU=g", "CN=a,OU=h", "x=1", "X=1",
]  # fmt: skip
ODD = ["", " ", "a\nb", "a\ud800", "a\x00", "a" * 1025, "ü" * 513, "{1}", "\\", "\r"]
GLOBS = ["a*", "*x", "*", "*-*", "g-*", "a\\**", "g-*-*", "ü*", "CN=*,OU=g", "cn=a* , OU=*", "*, OU=G", "a**"]
EXPRESSIONS = ["a", "a|b", "(a|b)-x", "g-(.*)", "[^a]+", "(?i)AB?", ".*", "(.)(.)?.*", "a\\\\x", "", "a$|^b"]

a_name = st.sampled_from(NAMES)
a_scalar = st.one_of(a_name, st.sampled_from(ODD), st.sampled_from([0, 1, 2, True, False]))
a_plain = st.one_of(a_name.map(lambda name: name.replace("*", "\\*")), st.sampled_from(GLOBS))
a_text = st.one_of(
    a_plain, a_plain, st.sampled_from(EXPRESSIONS).filter(bool).map(lambda text: {"matches": text})
)
a_written_scalar = st.one_of(a_plain, st.sampled_from([0, 1, True, False]))
exact_scalars = st.one_of(a_name.filter(lambda name: "*" not in name), st.sampled_from([0, 1, True, False]))

a_group_test = st.builds(lambda text: {"group": text}, a_text)
a_test = st.one_of(
    a_group_test,
    a_group_test,
    st.builds(lambda text: {"app_role": text}, a_text),
    st.builds(lambda text: {"provider": text}, st.sampled_from(["entra", "ping", "e*"])),
    st.builds(lambda text: {"protocol": text}, st.sampled_from(["oidc", "saml"])),
    st.builds(
        lambda claim, word, value: {"claim": claim, word: value},
        st.sampled_from(["d", "n.d"]),
        st.sampled_from(["equals", "contains"]),
        a_written_scalar,
    ),
    st.builds(lambda values: {"claim": "d", "in": values}, st.lists(exact_scalars, min_size=1, max_size=3)),
    st.builds(lambda text: {"claim": "d", "matches": text}, st.sampled_from(EXPRESSIONS).filter(bool)),
)
a_condition: Any = st.recursive(
    a_test,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=5,
)
roles_given = st.lists(st.sampled_from(sorted(ROLES)), min_size=1, max_size=2, unique=True)
what_follows = st.one_of(
    roles_given.map(lambda roles: {"roles": roles}),
    roles_given.map(lambda roles: {"roles": roles}),
    st.just({"deny": True}),
    st.sampled_from(["{1}", "team-{1}", "{2}", "team-{1}{1}"]).map(lambda name: {"roles": [name]}),
)
beside = st.sampled_from(
    [{}, {}, {}, {"until": "2026-07-01"}, {"until": "2026-06-30"}, {"for": "machines"}, {"name": "n"}]
)
a_rule = st.builds(
    lambda *parts: {k: v for part in parts for k, v in part.items()}, a_condition, what_follows, beside
)
a_file = st.builds(
    lambda rules, no_match, protected, owned: {
        "version": 1,
        "rules": rules,
        "no_match": no_match,
        "protected_roles": protected,
        "roles": owned,
    },
    st.lists(a_rule, max_size=5),
    st.sampled_from(["deny", "deny", ["Viewer"], ["User", "Op"]]),
    st.sampled_from([[], [], ["team-b"]]),
    st.sampled_from([{}, {"team-*": None}, {"team-a": None}, {"Admin*": {}, "x*": None}]),
)
values_of_groups = st.frozensets(st.one_of(a_name, a_name, st.sampled_from(ODD)), max_size=5)
a_claim = st.one_of(a_scalar, st.lists(a_scalar, max_size=3), st.none(), st.just(1.5), st.just({"d": "a"}))
#: Everything known, and some of it then forgotten.
all_facts = st.fixed_dictionaries(
    {"groups": values_of_groups, "app_roles": values_of_groups, "d": a_claim, "n": a_claim}
)
forgotten = st.frozensets(st.sampled_from(["groups", "app_roles", "d", "n"]))


@dataclass(frozen=True)
class Person:
    facts: dict[str, Any]
    untold: frozenset[str] = frozenset()
    group_overage: bool = False

    def without(self, names: frozenset[str]) -> Person:
        """The same, of whom less is known."""
        kept = {name: None if name in names else value for name, value in self.facts.items()}
        return Person(kept, self.untold, self.group_overage and "groups" in names)

    def decided(self, mapping: Mapping) -> RoleDecision:
        person = identity(
            groups=self.facts["groups"],
            app_roles=self.facts["app_roles"],
            claims={name: self.facts[name] for name in ("d", "n") if self.facts[name] is not None},
            groups_untold=self.untold,
            group_overage=self.group_overage,
        )
        return decide(person, mapping, TODAY)


a_person = st.builds(lambda facts, names: Person(facts).without(names), all_facts, forgotten)


def understood(file: dict[str, Any]) -> Mapping:
    """The mapping that a file says; rules that say the same twice, or ask for what is not there, are left out."""
    while True:
        document = Document("role_mapping.yaml", data=copy.deepcopy(file))
        found = understand(document, ROLES)
        if found is not None:
            return found
        wrong = {fault.place[1] for fault in document.faults if fault.place[:1] == ("rules",)}
        assume(wrong)
        file["rules"] = [rule for position, rule in enumerate(file["rules"]) if position not in wrong]


# --- a naive reading of the file ----------------------------------------------------------------------


def plain_name(text: str) -> list[tuple[str, str]] | None:
    """A distinguished name as (type, value) pairs, letter by letter; ``None``: it is none."""
    parts, current, escaped = [], "", False
    for letter in text:
        if letter == "," and not escaped:
            parts.append(current)
            current = ""
        else:
            current += letter
        escaped = letter == "\\" and not escaped
    found = []
    for part in [*parts, current]:
        kind, sign, value = part.partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z][\w.-]*", kind.strip()):
            return None
        value = value.lstrip()
        while value != value.rstrip() and not value.rstrip().endswith("\\"):
            value = value.rstrip()
        found.append((kind.strip(), value))
    return found if len(found) > 1 else None


def same(one: Any, other: Any) -> bool:
    """Whether two values count as the same."""
    if type(one) is not type(other) or not isinstance(one, str):
        return type(one) is type(other) and bool(one == other)
    names = plain_name(one), plain_name(other)
    if names[0] and names[1]:
        return str(names[0]).casefold() == str(names[1]).casefold()
    return one == other or (
        re.fullmatch("[0-9a-f-]{36}", one.lower()) is not None and one.lower() == other.lower()
    )


def caught(written: Any, value: Any) -> tuple[str, ...] | None:
    """What a pattern catches of a value; ``None``: it does not match."""
    if not isinstance(value, str) or not value or "\n" in value:
        return None
    if len(value.encode(errors="surrogatepass")) > 1024 or any("\ud800" <= c <= "\udfff" for c in value):
        return None
    if isinstance(written, dict):
        found = re.fullmatch(written["matches"], value)
        return found and tuple(one or "" for one in found.groups())
    name = plain_name(f"CN={written}" if written.startswith("*") else written)
    if name:
        text = ",".join(f"{kind}={rest}" for kind, rest in name)
        text = text.removeprefix("CN=") if written.startswith("*") else text
        of_value = plain_name(value)
        value = ",".join(f"{kind}={rest}" for kind, rest in of_value) if of_value else value
    else:
        text = written
    star = r"((?:[^\\]|\\.)*)" if name else "(.*)"
    tokens = re.findall(r"\\\*|\*|[^*\\]+|\\", text)
    expression = "".join(star if one == "*" else re.escape("*" if one == r"\*" else one) for one in tokens)
    found = re.fullmatch(expression, value, re.IGNORECASE if name else 0)
    return found and found.groups()


@dataclass
class Reading:
    """A file read rule by rule, without an index and without RE2."""

    file: dict[str, Any]
    person: Person
    not_given: set[str] = field(default_factory=set)

    def known(self, test: dict[str, Any]) -> frozenset[Any] | None:
        facts = self.person.facts
        if "group" in test:
            return facts["groups"]
        if "app_role" in test:
            return facts["app_roles"]
        if "claim" in test:
            held = {name: facts[name] for name in ("d", "n") if facts[name] is not None}
            return claim_values(held, test["claim"])
        return frozenset({"entra"} if "provider" in test else {"oidc"})

    def matches(self, test: dict[str, Any]) -> list[tuple[str, ...]]:
        """What was caught, by each value that is asked for."""
        known = self.known(test) or frozenset()
        word = next(key for key in test if key != "claim")
        if word == "matches":
            found = [caught({"matches": test["matches"]}, value) for value in known]
        elif word != "in" and (
            isinstance(test[word], dict) or (isinstance(test[word], str) and is_glob(test[word]))
        ):
            found = [caught(test[word], value) for value in known]
        else:
            asked = test[word] if word == "in" else [test[word]]
            plain = [one.replace("\\*", "*") if isinstance(one, str) else one for one in asked]
            found = [() if any(same(one, value) for one in plain) else None for value in known]
        return [one for one in found if one is not None]

    def holds(self, condition: dict[str, Any]) -> bool | None:
        if "all" in condition or "any" in condition:
            parts = [self.holds(part) for part in condition.get("all", condition.get("any"))]
            decisive = "any" in condition
            return decisive if decisive in parts else (None if None in parts else not decisive)
        if "not" in condition:
            inner = self.holds(condition["not"])
            return None if inner is None else not inner
        test = {k: v for k, v in condition.items() if k not in ("roles", "deny", "until", "for", "name")}
        if self.matches(test):
            return True
        if self.known(test) is None:
            return None
        if "group" in test:
            group = test["group"]
            text = f"/{group['matches']}/" if isinstance(group, dict) else group
            if not isinstance(group, dict) and not is_glob(group):
                text = group.replace("\\*", "*")
            return None if text in self.person.untold else False
        return False

    def roles_of(self, rule: dict[str, Any]) -> set[str]:
        given = {role for role in rule["roles"] if "{" not in role}
        for template in set(rule["roles"]) - given:
            for test in (rule, *rule.get("all", ())):
                if "all" in test or "any" in test or "not" in test:
                    continue
                asked = {k: v for k, v in test.items() if k not in ("roles", "deny", "until", "for", "name")}
                for groups in self.matches(asked):
                    if groups:
                        name = re.sub(r"\{(\d)\}", lambda match, g=groups: g[int(match[1]) - 1], template)
                        (given if self.may_be_caught(name) else self.not_given).add(name)
        return given

    def may_be_caught(self, name: str) -> bool:
        if name.casefold() in {"admin", "op", "user", "viewer", "public"}:
            return False
        owned = self.file["roles"]
        begins = any(name.startswith(prefix[:-1]) for prefix in owned if prefix.endswith("*"))
        return name not in self.file["protected_roles"] and (name in owned or begins)

    def decision(self) -> tuple[set[str], str | None]:
        rules = [rule for rule in self.file["rules"] if rule.get("for") != "machines"]
        reads_groups = "'group'" in str(rules)
        rules_now = [rule for rule in rules if date.fromisoformat(rule.get("until", "2099-01-01")) >= TODAY]
        answers = [(rule, self.holds(rule)) for rule in rules_now]
        if any(rule.get("deny") for rule, holds in answers if holds):
            return set(), "SSO-307"
        if self.person.group_overage and reads_groups:
            return set(), "SSO-305"
        if any(rule.get("deny") for rule, holds in answers if holds is None):
            return set(), "SSO-305"
        roles = {role for rule, holds in answers if holds for role in self.roles_of(rule)}
        is_open = any(holds is None for _, holds in answers)
        no_match = self.file["no_match"]
        if roles:
            return roles, None
        if no_match != "deny" and not is_open:
            return set(no_match), None
        groups_open = reads_groups and (self.person.facts["groups"] is None or self.person.untold)
        return set(), "SSO-305" if is_open and (no_match != "deny" or groups_open) else "SSO-301"


@tried
@given(a_file, a_person, st.data())
def test_the_decision_is_what_a_naive_reading_says(file: dict[str, Any], person: Person, data: Any) -> None:
    mapping = understood(file)
    named = sorted(mapping.group_values | mapping.group_patterns)
    untold = data.draw(st.frozensets(st.sampled_from(named))) if named else frozenset()
    overage = data.draw(st.booleans()) and person.facts["groups"] is None
    person = Person(person.facts, untold, overage)
    reading = Reading(file, person)
    decision = person.decided(mapping)
    roles, refused = reading.decision()
    assert (decision.roles, decision.refused_because) == (roles, refused)
    if refused is None:
        assert {one.role for one in decision.not_given} == reading.not_given
    event(str(refused))


# --- what may never happen ----------------------------------------------------------------------------


@tried
@given(a_file, a_person, st.randoms(use_true_random=False))
def test_the_order_of_rules_makes_no_difference(file: dict[str, Any], person: Person, random: Any) -> None:
    before = person.decided(understood(file))
    random.shuffle(file["rules"])
    after = person.decided(understood(file))
    assert (before.roles, before.refused_because) == (after.roles, after.refused_because)
    assert {(one.role, one.why) for one in before.not_given} == {
        (one.role, one.why) for one in after.not_given
    }
    labels = [sorted(match.rule.label for match in one.matched) for one in (before, after)]
    assert labels[0] == labels[1]


@tried
@given(a_file, a_person, a_condition)
def test_a_deny_more_gives_no_role_more(
    file: dict[str, Any], person: Person, condition: dict[str, Any]
) -> None:
    before = person.decided(understood(file)).roles
    file["rules"].append({**condition, "deny": True})
    assert person.decided(understood(file)).roles <= before


@tried
@given(a_file, a_person, forgotten)
def test_knowing_less_gives_no_role_more(file: dict[str, Any], person: Person, names: frozenset[str]) -> None:
    mapping = understood(file)
    assert person.without(names).decided(mapping).roles <= person.decided(mapping).roles


@tried
@given(a_file, a_person, st.data())
def test_groups_that_nobody_told_of_give_no_role(file: dict[str, Any], person: Person, data: Any) -> None:
    """Whatever the person's groups are: those that only the untold rules ask for may be told or not."""
    mapping = understood(file)
    named = sorted(mapping.group_values | mapping.group_patterns)
    assume(named and person.facts["groups"] is not None)
    untold = data.draw(st.frozensets(st.sampled_from(named), min_size=1))
    before = person.decided(mapping).roles
    assert Person(person.facts, untold).decided(mapping).roles <= before
    told = {text: _asks_for(text, person.facts["groups"]) for text in named}
    must_be_told = frozenset(value for text in named if text not in untold for value in told[text])
    may_be_told = (
        data.draw(st.frozensets(st.sampled_from(sorted(person.facts["groups"]))))
        if person.facts["groups"]
        else frozenset()
    )
    fewer = {**person.facts, "groups": must_be_told | may_be_told}
    assert Person(fewer, untold).decided(mapping).roles <= before


def _asks_for(text: str, groups: frozenset[str]) -> set[str]:
    """The groups that a value or a pattern of a rule asks for, however it is meant."""
    spellings: list[Any] = [text]
    if len(text) > 1 and text[0] == text[-1] == "/":
        spellings.append({"matches": text[1:-1]})
    return {
        value for value in groups for one in spellings if caught(one, value) is not None or same(text, value)
    }


@tried
@given(a_file, a_person, st.data())
def test_leaving_a_group_gives_no_role(file: dict[str, Any], person: Person, data: Any) -> None:
    """Unless the file says so: by ``deny``, ``not`` or ``no_match``."""
    file["no_match"] = "deny"
    file["rules"] = [rule for rule in file["rules"] if "deny" not in rule and "'not'" not in str(rule)]
    mapping = understood(file)
    assume(person.facts["groups"])
    left = data.draw(st.sampled_from(sorted(person.facts["groups"])))
    fewer = {**person.facts, "groups": person.facts["groups"] - {left}}
    assert Person(fewer).decided(mapping).roles <= person.decided(mapping).roles


any_scalar = st.one_of(st.text(st.characters(), max_size=5), a_scalar, st.integers(), st.booleans())
any_values = st.one_of(st.none(), st.frozensets(any_scalar, max_size=5))


@tried
@given(
    a_file,
    st.dictionaries(st.sampled_from(["group", "app_role", "claim:d", "claim:n.d", "client"]), any_values),
    st.booleans(),
)
def test_deciding_never_raises(file: dict[str, Any], facts: Facts, machine: bool) -> None:
    decision = decide_by_facts(facts, understood(file), TODAY, machine=machine)
    assert bool(decision.roles) == (decision.refused_because is None)
    assert all(decision.given_by()[role] for role in decision.roles)
    assert str(decision.why)


# --- files as people's hands make them ------------------------------------------------------------------

a_thing: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=5), a_plain),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["group", "claim", "equals", "in", "all", "not", "roles", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@tried
@given(a_file, a_person, st.data())
def test_a_file_is_accepted_and_decides_or_says_what_is_wrong(
    file: dict[str, Any], person: Person, data: Any
) -> None:
    file = copy.deepcopy(file)
    target: Any = file
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        if not keys or not isinstance(target, dict | list):
            break
        key = data.draw(st.sampled_from(keys))
        inner = target[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            target[key] = data.draw(a_thing)
            break
        target = inner
    document = Document("role_mapping.yaml", data=file)
    mapping = understand(document, ROLES)
    assert (mapping is None) == bool(document.faults)
    assert all(str(fault) for fault in document.faults)
    if mapping is not None:
        person.decided(mapping)
