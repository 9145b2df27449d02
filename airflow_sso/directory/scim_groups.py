"""Who is in which group by ``/Groups``, where users of a SCIM server do not show theirs.

The ``groups`` of a user are optional for a server (RFC 7643, section 4.1.2), the members of a group are
what it keeps. What must stay true: when neither is shown, nobody is taken for being in no group.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal
from urllib.parse import quote

from airflow_sso.directory.calls import Caller
from airflow_sso.directory.failures import DirectoryUnreadable
from airflow_sso.directory.scim_resources import Attribute, Json, listed, text
from airflow_sso.directory.snapshot import Wanted
from airflow_sso.role_mapping import comparable

_ATTRIBUTES = "attributes=displayName,members"
_PAGE = 200
_USER, _GROUP = "user", "group"


class GroupMembers:
    """The members of each wanted group, those of groups inside it included.

    :param ids: the subject of everybody who counts, by the server's own id.
    :param users_attributes: where users were expected to show their groups, for the message.
    """

    def __init__(
        self,
        caller: Caller,
        wanted: Wanted,
        ids: Mapping[str, str],
        users_attributes: Iterable[Attribute],
    ) -> None:
        self._caller = caller
        self._wanted = wanted
        self._ids = ids
        self._expected = ", ".join(attribute.written for attribute in users_attributes)
        self._members: dict[str, list[tuple[str, str]] | None] = {}

    def members(self) -> dict[str, list[str]]:
        """By what the mapping writes, or as the server writes what a pattern wants."""
        try:
            ids = self._wanted_by_pattern()
            ids |= {value: self._groups(value) for value in self._wanted.groups}
            found = {value: self._subjects(ids[value]) for value in sorted(ids)}
        except DirectoryUnreadable as cause:
            raise self._nothing(cause.detail) from None
        if found and not any(members is not None for members in self._members.values()):
            raise self._nothing("no mapped group shows members")
        return found

    def _nothing(self, why: str) -> DirectoryUnreadable:
        return DirectoryUnreadable(
            f"no user has {self._expected}, and /Groups tells nothing ({why}): name the attribute of users "
            "that holds their groups under directory: groups"
        )

    def is_there(self, value: str) -> Literal["by name", "by id"] | None:
        """Whether there is such a group."""
        found = self._groups(value)
        return None if not found else "by id" if found == [value] else "by name"

    def _wanted_by_pattern(self) -> dict[str, list[str]]:
        """The ids of each group by its name, or its id, whichever a pattern wants."""
        if self._wanted.like is None:
            return {}
        ids: dict[str, list[str]] = {}
        for group in self._all():
            own = text(group, "id", "a group")
            ids.setdefault(text(group, "displayName", "a group"), []).append(own)
            ids.setdefault(own, []).append(own)
        if not ids:
            raise DirectoryUnreadable("there are none")
        return {value: ids[value] for value in self._wanted.like(list(ids))}

    def _all(self) -> Iterator[Json]:
        """Every group there is, page by page.

        :raises DirectoryUnreadable: when the pages do not add up to what the server says there is.
        """
        seen: set[str] = set()
        count: int | None = None
        while True:
            address = f"/Groups?startIndex={len(seen) + 1}&count={_PAGE}&attributes=displayName"
            total, groups = listed(self._caller.get(address).body)
            if count not in (None, total):
                raise DirectoryUnreadable(f"there were {count} groups, and now there are {total}")
            count = total
            own = [text(group, "id", "a group") for group in groups]
            if len(seen.union(own)) != len(seen) + len(own):
                raise DirectoryUnreadable("two pages show the same group")
            seen.update(own)
            yield from groups
            if len(seen) >= total:
                break
            if not groups:
                raise DirectoryUnreadable(f"{len(seen)} of {total} were shown")

    def _groups(self, value: str) -> list[str]:
        """The ids of the groups of this name, else the group of this id."""
        asked = quote(f"displayName eq {json.dumps(value, ensure_ascii=False)}", safe="")
        total, groups = listed(self._caller.get(f"/Groups?filter={asked}&{_ATTRIBUTES}").body)
        if total != len(groups):
            raise DirectoryUnreadable(f"/Groups: {len(groups)} of {total} were shown")
        named = [
            one for one in groups if comparable(text(one, "displayName", "a group")) == comparable(value)
        ]
        for group in named:
            self._note(text(group, "id", "a group"), group)
        if named:
            return [text(group, "id", "a group") for group in named]
        return [value] if self._read(value) else []

    def _read(self, own: str) -> bool:
        """Whether there is a group of this id; its members are noted."""
        address = f"/Groups/{quote(own, safe='')}?{_ATTRIBUTES}"
        reply = self._caller.get(address, known=frozenset({400, 404}))  # 400: it cannot be an id here
        if reply.status != 200:
            if not isinstance(reply.body, dict) or str(reply.body.get("status")) != str(reply.status):
                raise DirectoryUnreadable(f"/Groups: HTTP {reply.status}")
            return False
        if text(reply.body, "id", "a group").lower() != own.lower():
            raise DirectoryUnreadable("/Groups: the answer is about another group")
        self._note(own, reply.body)
        return True

    def _note(self, own: str, group: Json) -> None:
        told = Attribute.at("members").values(group)
        self._members[own] = None if told is None else [_member(one) for one in told]

    def _subjects(self, groups: list[str]) -> list[str]:
        """Of everybody in these groups, and in the groups inside them."""
        subjects: dict[str, None] = {}
        waiting, seen = list(groups), set(groups)
        while waiting:
            own = waiting.pop()
            if self._members.get(own) is None:
                self._read(own)  # a list may leave members out that the group itself has
            for kind, member in self._members.get(own) or ():
                if kind == _GROUP and member not in seen:
                    seen.add(member)
                    waiting.append(member)
                elif kind == _USER and member in self._ids:
                    subjects[self._ids[member]] = None
        return list(subjects)


def _member(entry: object) -> tuple[str, str]:
    """``user`` or ``group``, and the id (RFC 7643, section 4.2)."""
    if not isinstance(entry, dict):
        raise DirectoryUnreadable("a group: a member is not an object")
    kind, reference = entry.get("type"), entry.get("$ref")
    is_group = str(kind).lower() == _GROUP or (kind is None and "/Groups/" in str(reference))
    return (_GROUP if is_group else _USER), text(entry, "value", "a member")
