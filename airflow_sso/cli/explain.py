"""``explain``: each rule, whether it matched, and why; for a person, for made-up facts, for a captured token.

What must stay true: it only reads, asks no network, and says of everything that it did not know that it was
not known.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from airflow_sso import airflow_compat, database, models
from airflow_sso.accounts import fab_users, links
from airflow_sso.cli import explained, mappings
from airflow_sso.cli.explained import Known
from airflow_sso.cli.mappings import InForce, MappingFaulty
from airflow_sso.cli.outcome import NOT_FOUND, OK, WRONG_USE
from airflow_sso.config import LoadedConfig, Settings
from airflow_sso.directory.snapshot import Reader
from airflow_sso.login import captured
from airflow_sso.login.captured import Captured, Unreadable
from airflow_sso.plain_text import plain
from airflow_sso.provider_settings import Provider
from airflow_sso.role_mapping import Mapping, joined
from airflow_sso.role_mapping.values import Value
from airflow_sso.sync import directories, population
from airflow_sso.sync.plan import Account
from airflow_sso.sync.untold import Untold, completed, names_all

_UNVERIFIED = (
    "Read without verifying: anybody may have written this file, and nothing is decided by this command."
)


@dataclass(frozen=True, slots=True)
class _Stop(Exception):
    """Nothing can be explained, for this reason."""

    code: int
    lines: tuple[str, ...] = field(default=())


def options(command: argparse.ArgumentParser) -> None:
    """What can be written behind ``airflow-sso explain``."""
    command.add_argument(
        "username", metavar="USERNAME", nargs="?", help="somebody with an account: its name, or their address"
    )
    command.add_argument(
        "--groups",
        metavar="A,B",
        action="append",
        help="of a made-up person; a distinguished name stands alone, and the option may be repeated; "
        "'' is none, and without the option they are not known",
    )
    command.add_argument("--app-roles", metavar="X,Y", action="append", help="the same")
    command.add_argument(
        "--claim", metavar="NAME=VALUE", action="append", help="a claim of theirs; may be repeated"
    )
    command.add_argument("--client", metavar="ID", help="a made-up machine: the application that calls")
    command.add_argument("--provider", metavar="NAME", help="the way in, as sso.yaml names it")
    command.add_argument(
        "--token-file", metavar="FILE", help="a captured ID token, its claims as JSON, or a SAML response"
    )
    command.add_argument("--mapping", metavar="FILE", help="by this mapping instead of the one in force")
    command.add_argument("--all", action="store_true", help="list the rules that do not match as well")


def explain(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print what the mapping says about somebody, rule by rule."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    try:
        _require_one_subject(options)
        there = mappings.roles_there(otherwise="whether roles exist is not checked")
        mapping, where = _mapping(options, loaded.settings, there)
        known = _known(options, loaded.settings, mapping)
    except MappingFaulty as faulty:
        mappings.say(faulty)
        return WRONG_USE
    except _Stop as stop:
        print(*stop.lines, sep="\n", file=sys.stderr)
        return stop.code
    told = explained.told(known, mapping, where, models.now().date(), there)
    if options.json:
        print(json.dumps(explained.as_json(told), indent=2))
    else:
        print(*map(plain, explained.as_text(told, everything=options.all)), sep="\n")
    return OK


def _mapping(options: argparse.Namespace, settings: Settings, there: frozenset[str] | None) -> InForce:
    """The one to explain by, in force or as if it were."""
    if options.mapping:
        return InForce(mappings.of_file(Path(options.mapping), there), options.mapping)
    return mappings.in_force_now(settings)


def _require_one_subject(options: argparse.Namespace) -> None:
    """One of the three ways to say who is meant, and nothing that belongs to another."""
    given = {
        "USERNAME": bool(options.username),
        "--token-file": bool(options.token_file),
        "--groups, --app-roles, --claim or --client": _is_made_up(options),
    }
    chosen = [name for name, there in given.items() if there]
    if len(chosen) > 1:
        raise _Stop(WRONG_USE, (f"Write either {' or '.join(chosen)}, not both.",))
    if not chosen and not options.provider:
        raise _Stop(WRONG_USE, (f"Say who is meant: {', or '.join(given)}.",))
    if options.username and options.provider:
        raise _Stop(WRONG_USE, ("--provider is about made-up people and token files; leave it out.",))


def _is_made_up(options: argparse.Namespace) -> bool:
    return any(one is not None for one in (options.groups, options.app_roles, options.claim, options.client))


def _known(options: argparse.Namespace, settings: Settings, mapping: Mapping) -> Known:
    if options.username:
        old = mappings.in_force_now(settings).mapping if options.mapping else mapping
        return _person(options.username, settings, old, mapping)
    if options.token_file:
        return _captured(options, settings, mapping)
    return _made_up(options, settings, mapping)


# --- somebody with an account -----------------------------------------------------------------------------


def _person(name: str, settings: Settings, old: Mapping, mapping: Mapping) -> Known:
    """:param old: the mapping by which the directory was asked so far."""
    database.require_tables()
    with airflow_compat.engine().connect() as connection:
        found = links.named(connection, name)
        local = None if found else fab_users.by_username(connection, name)
        if len(found) == 1:
            (account,) = population.some(connection, [found[0].key]).values()
    if local is not None:
        raise _Stop(
            NOT_FOUND,
            (f"{name} is an account of Airflow's own, linked to nobody: the mapping is not about it.",),
        )
    if not found:
        raise _Stop(NOT_FOUND, (f"Airflow has no account {name!r}, and nobody of a provider goes by it.",))
    if len(found) > 1:
        with airflow_compat.engine().connect() as connection:
            users = fab_users.by_ids(connection, [one.user_id for one in found])
        names = ", ".join(sorted(user.username for user in users.values()))
        raise _Stop(WRONG_USE, (f"Several people go by {name!r}; say which account: {names}.",))
    (kept,) = found
    protocols = {one.name: one.protocol for one in settings.providers.values()}
    facts = completed(account.facts, kept.provider, protocols)
    asked = [one for one in directories.of(settings) if one.authority == kept.authority]
    untold = frozenset[str]()
    for directory in asked:
        if "group" in directory.reader.supplies:
            untold = Untold(old, mapping, directory.reader.names_group).of(facts.get("group"))
            untold |= _never_told(account, mapping, directory.reader)
    provider = settings.providers.get(kept.provider)
    if provider is None and not asked:
        untold = Untold(old, mapping, names_all).of(facts.get("group"))
    return Known(
        who=f"{account.username}, an account of {provider.shown_as if provider else kept.provider}",
        facts=facts,
        untold=untold,
        sources=kept.sources,
        account=account,
        why_unknown="nobody has been asked about it yet",
        identified={
            "username": account.username,
            "user_id": account.user_id,
            "provider": kept.provider,
            "authority": kept.authority,
            "name_there": kept.username,
            "email": kept.email,
            "last_sign_in_at": kept.last_sign_in_at.isoformat() if kept.last_sign_in_at else None,
        },
    )


def _never_told(account: Account, mapping: Mapping, reader: Reader) -> frozenset[str]:
    """Groups that only a token could tell of, where none ever did."""
    if not account.is_partial:
        return frozenset()
    told = {"group": account.facts.get("group")}
    follows = reader.follows_patterns
    known = joined(told, told, mapping, reader.names_group, follows_patterns=follows, is_partial=True)
    return known.untold


# --- made-up people ---------------------------------------------------------------------------------------


def _made_up(options: argparse.Namespace, settings: Settings, mapping: Mapping) -> Known:
    facts: dict[str, frozenset[Value] | None] = {
        "group": _listed(options.groups),
        "app_role": _listed(options.app_roles),
    }
    facts |= _claims(options.claim or ())
    if options.provider:
        provider = _provider(options.provider, settings)
        facts["provider"] = frozenset({provider.name})
        facts["protocol"] = frozenset({provider.protocol})
    if options.client is not None:
        facts["client"] = frozenset({options.client})
    machine = options.client is not None
    asked = (mapping.machines if machine else mapping.people).facts
    unread = [fact for fact, values in facts.items() if values and fact not in asked]
    return Known(
        who="a made-up machine" if machine else "a made-up person",
        facts=facts,
        machine=machine,
        unread=tuple(fact for fact in unread if fact not in ("provider", "protocol")),
        why_unknown="not given",
    )


def _listed(written: list[str] | None) -> frozenset[Value] | None:
    """Names between commas; one with an equals sign is a distinguished name, whose commas are its own."""
    if written is None:
        return None
    names = [one for part in written for one in ([part] if "=" in part else part.split(","))]
    return frozenset(name.strip() for name in names if name.strip())


def _claims(written: Iterable[str]) -> dict[str, frozenset[Value] | None]:
    found: dict[str, frozenset[Value]] = {}
    for one in written:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise _Stop(WRONG_USE, (f"--claim {one}: write a name and a value: --claim department=Finance",))
        found[f"claim:{name}"] = found.get(f"claim:{name}", frozenset()) | _claim_values(value)
    return dict(found)


def _claim_values(text: str) -> frozenset[Value]:
    """Text, unless it is JSON: ``5`` is a number, ``"5"`` is text, ``["a", "b"]`` are two values."""
    try:
        read = json.loads(text)
    except ValueError:
        return frozenset({text})
    several = read if isinstance(read, list) else [read]
    if not all(isinstance(one, str | int | bool) for one in several):
        return frozenset({text})
    return frozenset(several)


def _provider(name: str, settings: Settings) -> Provider:
    provider = settings.providers.get(name)
    if provider is None:
        raise _Stop(NOT_FOUND, (f"There is no provider {name!r} in order in sso.yaml.",))
    return provider


# --- a captured token -------------------------------------------------------------------------------------


def _captured(options: argparse.Namespace, settings: Settings, mapping: Mapping) -> Known:
    path = Path(options.token_file)
    try:
        token = captured.read(path)
    except Unreadable as cause:
        raise _Stop(WRONG_USE, (f"{path} {cause}.",)) from None
    if options.provider:
        provider = _provider(options.provider, settings)
    else:
        only = captured.chosen(token, settings.providers)
        if only is None:
            names = ", ".join(settings.providers) or "none in order"
            raise _Stop(WRONG_USE, (f"Say which provider it is of: --provider NAME. There are: {names}.",))
        provider = only
    name = token.username(provider)
    return Known(
        who=f"{token.kind} of {provider.shown_as}" + (f", which says it is about {name}" if name else ""),
        facts=token.facts(provider, mapping.facts),
        group_overage=token.has_overage(),
        why_unknown="it does not say",
        warning=_UNVERIFIED,
        notes=tuple(_notes(token, provider)),
        identified={"provider": provider.name, "name_there": name, "verified": False},
    )


def _notes(token: Captured, provider: Provider) -> Iterable[str]:
    """What a sign-in would do that this command does not."""
    if token.has_overage():
        yield "The token holds no list of groups because there are too many (overage)."
    if provider.directory is not None and not provider.is_probed:
        yield (
            f"A sign-in also asks the directory of {provider.shown_as} for groups; it was not asked here: "
            "only what the file tells counts."
        )
    if token.protocol != provider.protocol:
        yield f"{provider.shown_as} speaks {provider.protocol}, and this is {token.kind}."
    elif token.unverified_issuer and not token.is_of(provider) and provider.protocol == "oidc":
        yield (
            f"Its issuer is {token.unverified_issuer}, which is not that of {provider.shown_as}: "
            "a sign-in would be refused (SSO-202)."
        )
    if provider.guests == "deny" and token.is_guest(provider):
        yield "It is of a guest, and guests are not let in (SSO-306; guests: map lets them)."
