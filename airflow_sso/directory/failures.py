"""Why a directory could not be read. None of these says anything about a person.

What must stay true: whatever goes wrong while reading ends as one of these, and nobody's access changes.
"""

from __future__ import annotations

from typing import ClassVar


class DirectoryError(Exception):
    """The directory gave no whole answer.

    :param detail: what was asked for and what came, for the log and the operator; no secret.
    """

    remedy: ClassVar[str] = "Try again later; nothing was changed."

    def __init__(self, detail: str) -> None:
        super().__init__(detail[:2000])
        self.detail = detail[:2000]


class DirectoryUnreachable(DirectoryError):
    """Network, overload, throttling beyond patience, time up."""

    remedy = "The directory does not answer; the next run tries again, and nothing was changed."


class DirectoryUnreadable(DirectoryError):
    """An answer that is not what was asked for: not JSON, half of it, a property missing, a foreign link."""

    remedy = "The directory's answer is not what its documentation says; nothing was changed."


class ConfigurationAlarm(DirectoryUnreadable):
    """So many people were refused alike that it can only be a change of the configuration there."""

    remedy = (
        "Look at the application's consent, assignment and policies at the provider; nothing was changed. "
        "If it is meant, end these people's access there, or with airflow-sso."
    )


class PermissionMissing(DirectoryError):
    """Our application may not read this (403); users are fine."""

    remedy = "Grant the permission in the directory; nothing was changed."


class CredentialsRefused(DirectoryError):
    """Our own credentials are wrong or expired; users are fine (fact A19, fourth row)."""

    remedy = "Renew the credentials under directory: in sso.yaml; nothing was changed."


class CursorExpired(DirectoryError):
    """The place where reading changes was to go on is forgotten (fact B8): read everything."""


def remedy_of(name: str) -> str:
    """What helps against a failure of this class's name, as a bookmark keeps it."""
    found = {one.__name__: one.remedy for one in DirectoryError.__subclasses__()}
    return found.get(name, DirectoryError.remedy)
