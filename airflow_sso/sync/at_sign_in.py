"""What a sign-in asks the directory: is this person usable, and in which of the mapped groups.

A fact has one authority: where a directory stands behind a provider, it says who is in which group, and
the token's list counts only for what the directory does not know by the rules' spelling. What must stay
true: when the directory cannot tell in time, nobody is let in on a guess and no role changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from airflow_sso.directory.failures import DirectoryError
from airflow_sso.errors import DisabledInDirectory, GroupsUnknown
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import Mapping as RoleMapping
from airflow_sso.role_mapping import joined
from airflow_sso.sync.directories import Directory

log = logging.getLogger(__name__)

#: How long a person waits for the directory, at most.
SECONDS = 8.0


def asker(directories: Mapping[str, Directory]) -> Callable[[Identity, RoleMapping], Identity]:
    """What :attr:`~airflow_sso.login.doors.Doors.ask_directory` is to be.

    :param directories: by authority.
    """

    def ask(identity: Identity, mapping: RoleMapping) -> Identity:
        directory = directories.get(identity.authority)
        if directory is None or "group" not in directory.reader.supplies:
            return identity
        return _asked(directory, identity, mapping)

    return ask


def keeper(directories: Mapping[str, Directory]) -> Callable[[Identity], None]:
    """What :attr:`~airflow_sso.login.doors.Doors.keep_refresh_token` is to be.

    :param directories: by authority.
    """

    def keep(identity: Identity) -> None:
        directory = directories.get(identity.authority)
        if directory is not None and directory.tokens is not None:
            directory.tokens.keep(identity)

    return keep


def _asked(directory: Directory, identity: Identity, mapping: RoleMapping) -> Identity:
    """The identity with the directory's groups.

    :raises GroupsUnknown: when the directory did not tell.
    :raises DisabledInDirectory: when it says that the person is out.
    """
    reader = directory.reader
    wanted = frozenset(value for value in mapping.group_values if reader.names_group(value))
    like = mapping.groups_like if mapping.group_patterns and reader.follows_patterns else None
    if like and identity.groups:
        wanted |= like(identity.groups)  # nobody lists all groups while a person waits
    try:
        answer = reader.read_one(identity.subject, wanted, seconds=SECONDS, like=like)
    except DirectoryError as failure:
        detail = f"{directory.name}: {type(failure).__name__}: {failure.detail}. {failure.remedy}"
        raise GroupsUnknown(detail, identity=identity) from failure
    if answer.observation.state in ("unusable", "gone"):
        raise DisabledInDirectory(f"{directory.name}: {answer.observation.reason}", identity=identity)
    if answer.observation.state == "unknown":
        raise GroupsUnknown(f"{directory.name}: {answer.observation.reason}", identity=identity)
    known = joined(
        {"group": identity.groups},
        {"group": answer.groups},
        mapping,
        reader.names_group,
        follows_patterns=answer.follows_patterns or (like is not None and identity.groups is not None),
    )
    groups = known.facts["group"] or frozenset()
    return replace(
        identity,
        groups=frozenset(one for one in groups if isinstance(one, str)),
        groups_untold=known.untold,
        groups_partial=identity.groups is None,
        group_overage=False,
    )
