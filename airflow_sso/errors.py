"""Everything that can go wrong for a person, as one tree; each leaf is one code of the catalogue.

A leaf carries what may be shown to anyone (headline, message, remedy) as class attributes, and what
only the log may hold (``detail``) on the instance. What must stay true: no public sentence contains
anything taken from a token, a claim or the configuration, except the counts named in ``message``.

::

    SsoError
    ├── NotReady                    doors are shut; nothing the person did
    │   ├── ConfigurationFaulty     501
    │   └── TablesMissing           502
    ├── SignInFailed                nobody has been identified
    │   ├── AttemptLost             101
    │   ├── CodeExchangeRefused     102
    │   ├── ProviderUnreachable     103
    │   ├── ConsentDenied           104
    │   └── TokenRefused
    │       ├── SignatureInvalid    201
    │       ├── WrongIssuer         202
    │       ├── WrongTime           203
    │       ├── NotOurAttempt       204
    │       └── ClaimMissing        205
    ├── AccessDenied                identified, and not let in
    │   ├── NoMappedRole            301
    │   ├── DeactivatedHere         302
    │   ├── DisabledInDirectory     303
    │   ├── AccountInTheWay         304
    │   ├── GroupsUnknown           305
    │   ├── GuestRefused            306
    │   ├── DeniedByRule            307
    │   └── RequirementNotMet       308
    └── LocalDoorShut               401; with LocalSignInRefused, TooManyTries, LinkRefused
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_sso.identity import Identity

_LONGEST_DETAIL = 4000  # characters


class SsoError(Exception):
    """A refusal or a fault that a person is told about.

    :param detail: the cause, for the log only; may name claims, never their secrets.
    :param counts: numbers for the public sentence (``{groups}`` in ``message``).
    """

    code: ClassVar[str] = ""
    status: ClassVar[int] = 403
    headline: ClassVar[str] = ""
    message: ClassVar[str] = ""
    remedy: ClassVar[str] = ""

    def __init__(self, detail: str = "", **counts: int) -> None:
        detail = detail[:_LONGEST_DETAIL]  # strangers choose parts of it, and the log is not theirs to fill
        super().__init__(detail or self.headline)
        self.detail = detail
        self.counts = counts

    @property
    def public_message(self) -> str:
        """What happened, in one sentence that anyone may read."""
        return self.message.format(**self.counts) if self.counts else self.message


class NotReady(SsoError):
    """No door is open, through no fault of the person at it."""

    status = 503
    headline = "Sign-in is not ready"


class ConfigurationFaulty(NotReady):
    """The configuration, a secret or a library is not as it must be; ``detail`` lists every fault."""

    code = "SSO-501"
    message = "Airflow's single sign-on is not set up correctly, so nobody can sign in at the moment."
    remedy = (
        "Please tell the people who run Airflow. They find every fault in the web server's log under "
        "the reference below, and with the command airflow-sso lint."
    )


class ProviderShut(ConfigurationFaulty):
    """One provider's configuration is not as it must be; the others' doors are open."""

    headline = "This way of signing in is not ready"
    message = "This identity provider is not set up correctly in Airflow, so nobody can sign in through it."


class TablesMissing(NotReady):
    """The tables of :mod:`airflow_sso.models` are not there, or are of another version."""

    code = "SSO-502"
    message = "The database does not have the tables that sign-in needs yet."
    remedy = "Please ask the people who run Airflow to run this command once; no restart is needed."


class DatabaseUnusable(TablesMissing):
    """The database does not answer, broke off, or refuses; ``detail`` is what its driver said."""

    code = "SSO-503"
    message = "Airflow's database could not be used just now, so this was not done."
    remedy = (
        "Wait a minute and try again. If it goes on, give the reference below to the people who run "
        "Airflow: their api-server's log says under it what the database said."
    )


class SignInFailed(SsoError):
    """Nobody has been identified, so nothing about a person may be shown."""


class AttemptLost(SignInFailed):
    """The callback belongs to no pending attempt of this browser (RFC 9700, section 4.7)."""

    def __init__(self, detail: str = "", *, next_url: str | None = None) -> None:
        """:param next_url: where the person was going, if this browser's own attempt has just expired."""
        super().__init__(detail)
        self.next_url = next_url

    code = "SSO-101"
    headline = "This sign-in has expired"
    message = "The sign-in took too long, was already used, or was started in another browser."
    remedy = "Start again from here. If it keeps happening, allow cookies for this site."


class AccessEnded(AttemptLost):
    """While this sign-in was under way, somebody ended the person's access: an operator, or the provider."""

    headline = "Your sessions were ended meanwhile"
    message = "While you were signing in, all your sessions of Airflow were ended."
    remedy = "Start again from here. If it happens again, ask the people who run Airflow."


class CodeExchangeRefused(SignInFailed):
    """The token endpoint refused our code or our credentials (RFC 6749, section 5.2)."""

    code = "SSO-102"
    headline = "Your identity provider refused the sign-in"
    message = "Your identity provider did not accept Airflow's request to complete the sign-in."
    remedy = "Try once more. If it happens again, give the reference below to the people who run Airflow."


class ProviderUnreachable(SignInFailed):
    """No usable answer came from the identity provider: network, overload, or not the protocol."""

    code = "SSO-103"
    status = 503
    headline = "Your identity provider cannot be reached"
    message = "Airflow got no usable answer from your identity provider."
    remedy = "Wait a minute and try again. Work that is already running in Airflow goes on."


class ConsentDenied(SignInFailed):
    """The provider came back with ``access_denied`` or another error (RFC 6749, section 4.1.2.1)."""

    code = "SSO-104"
    headline = "The sign-in was not completed"
    message = "The sign-in was cancelled, or your identity provider did not allow it."
    remedy = "Try again, or ask your identity team whether you may use Airflow."


class TokenRefused(SignInFailed):
    """The provider's answer did not pass verification; which check failed is for the log."""

    headline = "The answer of your identity provider was not accepted"
    message = "Airflow could not verify the answer that came back from your identity provider."
    remedy = "Try again. If it happens again, give the reference below to the people who run Airflow."


class SignatureInvalid(TokenRefused):
    """Signature, algorithm or key."""

    code = "SSO-201"


class WrongIssuer(TokenRefused):
    """Issuer, audience or tenant."""

    code = "SSO-202"


class WrongTime(TokenRefused):
    """Expired, not yet valid, or issued in the future."""

    code = "SSO-203"
    remedy = (
        "Try again. If it happens again, the clocks of Airflow and the identity provider may differ: "
        "give the reference below to the people who run Airflow."
    )


class NotOurAttempt(TokenRefused):
    """Nonce, state or replay: the answer was made for another attempt."""

    code = "SSO-204"


class ClaimMissing(TokenRefused):
    """A claim that must be there is absent, or is not of its type."""

    code = "SSO-205"


class AccessDenied(SsoError):
    """The person is identified and not let in: username and counts may be shown.

    :param identity: who; ``username`` and ``user_id`` are those of their Airflow account, if they have one.
    """

    headline = "You cannot use this Airflow"

    def __init__(
        self,
        detail: str = "",
        *,
        identity: Identity,
        user_id: int | None = None,
        username: str | None = None,
        **counts: int,
    ) -> None:
        super().__init__(detail, **counts)
        self.identity = identity
        self.user_id = user_id
        self.username = username or identity.username


class NoMappedRole(AccessDenied):
    """No rule of the mapping gives this person a role."""

    code = "SSO-301"
    message = "You are signed in at your identity provider, but nothing there opens this Airflow for you."
    remedy = "Ask for access and give the code and the reference below."


class NoGroupMapped(NoMappedRole):
    """The same refusal, said with the number of groups that were looked at."""

    message = "You are signed in at your identity provider, but none of your {groups} groups opens Airflow."


class OnlyGroupNotMapped(NoMappedRole):
    """The same of somebody who is in one group."""

    message = "You are signed in at your identity provider, but your one group there does not open Airflow."


class DeactivatedHere(AccessDenied):
    """The Airflow account is deactivated; a sign-in alone never wakes it."""

    code = "SSO-302"
    message = "Your Airflow account is deactivated."
    remedy = "Ask the people who run Airflow to reactivate it."


class DisabledInDirectory(AccessDenied):
    """The directory says that the person is disabled."""

    code = "SSO-303"
    message = "Your account is disabled in the company directory."
    remedy = "Ask your identity team."


class AccountInTheWay(AccessDenied):
    """An Airflow account that is not this person's holds what this person would need."""

    code = "SSO-304"
    message = "Another Airflow account stands in the way of yours."
    remedy = "Ask the people who run Airflow to sort it out; give the reference below."


class GroupsUnknown(AccessDenied):
    """Which groups the person is in could not be found out; that is never the same as 'in none'."""

    code = "SSO-305"
    message = "Airflow could not find out which groups you are in, so it cannot decide what you may do."
    remedy = (
        "This is not about you: give the reference below to the people who run Airflow. "
        "What you were allowed to do before has not been changed."
    )


class GuestRefused(AccessDenied):
    """A guest of another tenant, where guests are not let in."""

    code = "SSO-306"
    message = "You are a guest in this directory, and guests are not let into this Airflow."
    remedy = "Sign in with an account of this organisation, or ask for access."


class DeniedByRule(AccessDenied):
    """A ``deny`` rule of the mapping matched."""

    code = "SSO-307"
    message = "A rule of this Airflow refuses your account."
    remedy = "Ask the people who run Airflow; give the reference below."


class RequirementNotMet(AccessDenied):
    """A ``require`` entry about this sign-in is not met."""

    code = "SSO-308"
    message = "This sign-in does not meet what this Airflow asks for, such as a second factor."
    remedy = "Sign in again and complete every step that your identity provider asks for."


class LocalDoorShut(SsoError):
    """A local password was offered; passwords open nothing here."""

    code = "SSO-401"
    headline = "Local passwords are switched off"
    message = "This Airflow does not accept local passwords."
    remedy = "Sign in through your identity provider."


class LocalSignInRefused(LocalDoorShut):
    """A name and a password that open nothing; which of them was wrong is for the log."""

    headline = "That did not work"
    message = "That name and password do not open this Airflow."
    remedy = "Try again, or sign in through your identity provider."


class TooManyTries(LocalDoorShut):
    """Wrong passwords came from this address a moment ago; the next one is not looked at yet."""

    status = 429
    headline = "Too many wrong tries"
    message = "Wait {seconds} seconds, then try once more."
    remedy = (
        "The count is forgotten after fifteen minutes. Whoever has Airflow's command line does not have "
        "to wait: airflow-sso break-glass prints a link that needs no password."
    )


class LinkRefused(LocalDoorShut):
    """A one-use link that was used, is too old, or whose account may not be used."""

    headline = "This link does not work"
    message = "The link was used before, is older than ten minutes, or its account may not be used."
    remedy = "Ask whoever gave it to you for a new one."


def first_line(text: object, *, most: int) -> str:
    """The first line of a provider's words, short: enough for support, too little to carry data along."""
    lines = str(text or "").splitlines() or [""]
    return "".join(char for char in lines[0] if char.isprintable())[:most]


def _leaves(cls: type[SsoError]) -> Iterator[type[SsoError]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _leaves(sub)


#: The first class of each code: ``BY_CODE["SSO-301"] is NoMappedRole``.
BY_CODE: dict[str, type[SsoError]] = {}
for _leaf in _leaves(SsoError):
    if _leaf.code:
        BY_CODE.setdefault(_leaf.code, _leaf)
