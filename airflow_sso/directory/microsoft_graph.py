"""Microsoft Graph as a directory: everybody, what changed since, or one person for a sign-in.

How it is asked is in the modules ``graph_*``. What must stay true: a reading holds what Graph said of
each person and group within this reading, and everything else ends as a
:class:`~airflow_sso.directory.failures.DirectoryError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone

from airflow_sso.directory.calls import Caller
from airflow_sso.directory.failures import DirectoryUnreadable
from airflow_sso.directory.graph_batch import (
    MOST_MEMBERS,
    READ_MEMBERS,
    READ_USERS,
    Ask,
    GraphApi,
    Part,
    chunks,
    is_guid,
    missing,
)
from airflow_sso.directory.graph_groups import app_roles_of, checks, groups_of, inside_of, names_of
from airflow_sso.directory.graph_people import People, changes, everybody, single, user_address
from airflow_sso.directory.graph_token import AppToken, graph_base
from airflow_sso.directory.snapshot import GONE, Answer, Like, Observation, Reading, Wanted
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings


class GraphReader:
    """A tenant of Microsoft Entra ID.

    :param settings: of ``directory:``, completed from the sign-in's.
    :param wait: what waits; for tests.
    :param roles_of: the client id of the application whose app roles count, the one people sign in to;
        without it app roles are not read.
    """

    follows_patterns = False  # groups are known by their ids alone

    def __init__(
        self,
        settings: DirectorySettings,
        http: HttpSettings,
        wait: Callable[[float], None] = time.sleep,
        roles_of: str | None = None,
    ) -> None:
        self._settings, self._http, self._wait = settings, http, wait
        self._token = AppToken(settings, http)
        self._roles_of = roles_of if settings.app_roles else None
        self.supplies = frozenset({"group", "app_role"} if self._roles_of else {"group"})

    def names_group(self, value: str) -> bool:
        """Whether this is the id of a group; names are not unique in a tenant."""
        return is_guid(value)

    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:
        """Everybody who is wanted; with a cursor only what changed since, and ``read_singly``."""
        began_at = datetime.now(timezone.utc)
        caller = self._caller("low")
        caller.progress = progress
        api, people = GraphApi(caller), People(wanted.subjects)
        population = None
        if cursor is None:
            observed, population, following = everybody(api, wanted, people)
        else:
            observed, following = changes(api, wanted, people, cursor)
        groups, facts = groups_of(api, wanted.groups, people)
        roles = None
        if wanted.app_roles and self._roles_of:
            roles = app_roles_of(api, self._roles_of, people)
        return Reading(
            began_at=began_at,
            everyone=cursor is None,
            people=observed,
            groups=groups,
            app_roles=roles,
            facts=facts,
            population=population,
            cursor=following,
        )

    def read_one(
        self,
        subject: str,
        groups: frozenset[str],
        *,
        seconds: float,
        like: Like | None = None,  # noqa: ARG002 (it follows none)
    ) -> Answer:
        """One person and their wanted groups: one request where twenty members are enough."""
        if not is_guid(subject):
            raise DirectoryUnreadable("the subject is not an object id of Microsoft Entra ID")
        caller = self._caller("normal")
        caller.deadline = time.monotonic() + seconds
        api = GraphApi(caller)
        asks = [Ask(user_address(subject)), *checks(subject, groups)]
        parts: list[Part] = []
        for chunk in chunks(asks, MOST_MEMBERS):
            parts.extend(api.batch(chunk))
            observation = _observation(subject, parts[0])
            if observation is GONE:
                return Answer(GONE)
        inside: set[str] = set()
        for part in parts[1:]:
            if part.status == 403:
                raise missing(READ_MEMBERS, "checkMemberGroups", part.word)
            if part.status != 200:
                raise DirectoryUnreadable(f"checkMemberGroups: HTTP {part.status} {part.word}")
            inside |= inside_of(part, groups)
        return Answer(observation, frozenset(inside))

    def names_of(self, groups: Collection[str]) -> Mapping[str, str | None]:
        """By their ids."""
        return names_of(GraphApi(self._caller("low")), groups)

    def _caller(self, priority: str) -> Caller:
        """A caller of its own for each reading: two may be under way at once (fact B16 for the header)."""
        caller: Caller

        def token(renew: bool) -> str:
            return self._token.current(caller, renew=renew)

        headers = {"x-ms-throttle-priority": priority}
        caller = Caller(
            base=graph_base(self._settings), http=self._http, token=token, headers=headers, wait=self._wait
        )
        return caller


def _observation(subject: str, part: Part) -> Observation:
    """A person's state, for certain."""
    if part.status == 403:
        raise missing(READ_USERS, "GET /users/{id}", part.word)
    observation = single(subject, part)
    if observation.state == "unknown":
        raise DirectoryUnreadable(f"GET /users/{{id}}: {observation.reason}")
    return observation
