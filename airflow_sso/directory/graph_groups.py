"""Groups and app roles in Microsoft Graph: the members of each, or each person's own if that is cheaper.

Membership of groups counts through nesting (B11), that of app roles does not (A17). What must stay true:
a group that could not be read fails the reading, and only what is wanted is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote

from airflow_sso.directory.failures import DirectoryUnreadable
from airflow_sso.directory.graph_batch import (
    MOST_MEMBERS,
    READ_APPS,
    READ_MEMBERS,
    Ask,
    GraphApi,
    Part,
    chunks,
    entries,
    missing,
    next_link,
    object_id,
    text,
    walked,
    words,
)
from airflow_sso.directory.graph_people import PAGE, People
from airflow_sso.directory.snapshot import Fact, by_person

log = logging.getLogger(__name__)
MOST_CHECKED = 20  # groups of one checkMemberGroups (fact B10)
_TRANSITIVE, _DIRECT = "transitiveMembers", "members"
_warned: set[str] = set()


def groups_of(
    api: GraphApi, groups: Collection[str], people: People
) -> tuple[dict[str, Fact], dict[str, Mapping[str, Fact | None]]]:
    """By subject, the groups that each is in; and of whom they could not be read."""
    members: dict[str, set[str]] = {group: set() for group in groups}
    facts: dict[str, Mapping[str, Fact | None]] = {}
    if people.named:
        unfinished = _members(api, _TRANSITIVE, members, people, people_cost=len(people.named))
        for subject, inside in _asked_singly(api, unfinished, people):
            if inside is None:
                facts[subject] = {"group": None}
                continue
            for group in inside:
                members[group].add(subject)
    return _by_person(members, people), people.shared(facts)


def names_of(api: GraphApi, groups: Collection[str]) -> dict[str, str | None]:
    """The display name of each group by its id; ``None`` where the tenant has no such group."""
    names: dict[str, str | None] = {}
    for chunk in chunks(sorted(groups)):
        asks = [Ask(f"/groups/{quote(group, safe='')}?$select=id,displayName") for group in chunk]
        for group, part in zip(chunk, api.batch(asks), strict=True):
            if part.status == 403:
                raise missing(READ_MEMBERS, f"group {group}", part.word)
            if _is_no_group(part):
                names[group] = None
            elif part.status == 200:
                names[group] = text(part.body, "displayName")
            else:
                raise DirectoryUnreadable(f"group {group}: HTTP {part.status} {part.word}")
    return names


def app_roles_of(api: GraphApi, client_id: str, people: People) -> dict[str, Fact]:
    """By subject, the values of the app roles that each has, as their tokens say (fact A17)."""
    if not people.named:
        return {}
    principal, values = _roles(api, client_id)
    holders: dict[str, set[str]] = {value: set() for value in values.values()}
    of_groups: dict[str, set[str]] = {}
    address = f"/servicePrincipals/{principal}/appRoleAssignedTo?$top={PAGE}"
    for reply in api.pages(address, grant=_OR_NONE):
        for entry in entries(reply.body):
            role, holder = object_id(entry, "appRoleId"), object_id(entry, "principalId")
            kind = text(entry, "principalType")
            if role not in values:  # default access, whose id is all zeros, is no role (fact B12)
                continue
            if kind == "Group":
                of_groups.setdefault(holder, set()).add(values[role])
            elif kind == "User" and holder in people.named:
                holders[values[role]].add(people.named[holder])
    members: dict[str, set[str]] = {group: set() for group in of_groups}
    _members(api, _DIRECT, members, people)
    for group, inside in members.items():
        for value in of_groups[group]:
            holders[value] |= inside
    return _by_person(holders, people)


#: What a refusal says besides the permission: there is a way to do without.
_OR_NONE = f"{READ_APPS}, or the directory app_roles: false"


def _roles(api: GraphApi, client_id: str) -> tuple[str, dict[str, str]]:
    """The service principal of an application, and the value of each of its roles that has one."""
    key = quote(client_id.replace("'", "''"), safe="")
    address = f"/servicePrincipals(appId='{key}')?$select=id,appRoles"
    reply = api.get(address, grant=_OR_NONE, known=frozenset({404}))
    if reply.status == 404:
        raise DirectoryUnreadable(f"application {client_id} has no service principal in this tenant")
    values = {}
    for role in entries(reply.body, "appRoles"):
        value = role.get("value")
        if isinstance(value, str) and value:
            values[text(role, "id").lower()] = value
    return object_id(reply.body, "id"), values


def check_address(subject: str) -> str:
    """Where one person is asked which of twenty groups they are in."""
    return f"/users/{subject}/checkMemberGroups"


def checks(subject: str, groups: Collection[str]) -> list[Ask]:
    """The questions which of these groups a person is in."""
    return [
        Ask(check_address(subject), {"groupIds": chunk}) for chunk in chunks(sorted(groups), MOST_CHECKED)
    ]


def inside_of(part: Part, groups: Iterable[str]) -> set[str]:
    """Which of these groups an answer to one of :func:`checks` names, as they are written here."""
    said = {word.lower() for word in words(part.body)}
    return {group for group in groups if group.lower() in said}


def _members(
    api: GraphApi, kind: str, members: dict[str, set[str]], people: People, people_cost: int = 0
) -> list[str]:
    """Fill in who is in each group: the first pages of all, then in rounds the following ones.

    :param people_cost: how many people could be asked instead, if that is less; 0 for never.
    :returns: the groups that were given up for that.
    """
    seen: set[int] = set()
    waiting = [(group, _first_page(group, kind)) for group in sorted(members)]
    spent, first = 0, True
    while waiting:
        instead = -(-people_cost * -(-len(waiting) // MOST_CHECKED) // MOST_MEMBERS)
        if not first and people_cost and spent >= instead:
            return [group for group, _ in waiting]
        following: list[tuple[str, str]] = []
        for chunk in chunks(waiting):
            spent += 0 if first else 1
            for (group, _), part in zip(chunk, api.batch([Ask(at) for _, at in chunk]), strict=True):
                link = _page(part, group, members[group], people)
                if link is not None:
                    walked(link, seen)
                    following.append((group, api.below(link)))
        waiting, first = following, False
    return []


def _first_page(group: str, kind: str) -> str:
    return f"/groups/{quote(group, safe='')}/{kind}/microsoft.graph.user?$select=id&$top={PAGE}"


def _page(part: Part, group: str, found: set[str], people: People) -> str | None:
    """Note who is on a page; where it goes on."""
    if part.status == 403:
        raise missing(READ_MEMBERS, f"members of group {group}", part.word)
    if _is_no_group(part):
        _warn_once(group)
        return None
    if part.status != 200:
        raise DirectoryUnreadable(f"members of group {group}: HTTP {part.status} {part.word}")
    for entry in entries(part.body):
        # Nothing but the id is there of somebody whom we may not read (fact B11).
        subject = people.named.get(text(entry, "id").lower())
        if subject is not None:
            found.add(subject)
    return next_link(part.body)


def _is_no_group(part: Part) -> bool:
    return part.status == 404 and "resourcenotfound" in part.word.lower()


def _asked_singly(api: GraphApi, groups: list[str], people: People) -> Iterable[tuple[str, set[str] | None]]:
    """Each person with those of the groups that they are in; ``None`` if that person cannot be read."""
    asks = ((key, ask) for key in people.named for ask in checks(key, groups)) if groups else ()
    for chunk in chunks(asks):
        for (key, _), part in zip(chunk, api.batch([ask for _, ask in chunk]), strict=True):
            if part.status == 404:
                continue  # whoever is not there is in none
            yield people.named[key], inside_of(part, groups) if part.status == 200 else None


def _by_person(members: Mapping[str, set[str]], people: People) -> dict[str, Fact]:
    return people.shared(by_person(members, set(people.named.values())))


def _warn_once(group: str) -> None:
    if group not in _warned:
        _warned.add(group)
        log.warning("The mapping names the group %s, which Microsoft Entra ID does not have.", group)
