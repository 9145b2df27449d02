"""What an entry of ``OAUTH_PROVIDERS`` is in ``sso.yaml``.

Flask-AppBuilder knows a provider by the addresses of its endpoints, we by its issuer; this is where the
one is read out of the other. What must stay true: an issuer is only written where a vendor's own rules
or a discovery address give it; elsewhere its line stays open and says so; and secrets become references.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from airflow_sso.cli.drafts import Reading, why
from airflow_sso.cli.old_values import FromFile, Text, Unknown

GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: A variable as sso.yaml spells it.
VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_DISCOVERY = "/.well-known/openid-configuration"
#: Where Flask-AppBuilder's entries name addresses.
_ADDRESSES = (
    "server_metadata_url",
    "issuer",
    "api_base_url",
    "base_url",
    "access_token_url",
    "authorize_url",
    "jwks_uri",
)
CLOUDS = {
    "login.microsoftonline.com": "public",
    "login.windows.net": "public",
    "sts.windows.net": "public",
    "login.microsoftonline.us": "usgov",
    "login.partner.microsoftonline.cn": "china",
    "login.chinacloudapi.cn": "china",
}
_ANY_TENANT = ("common", "organizations", "consumers")
_REGIONS = ("com", "eu", "ca", "asia", "com.au", "sg")
#: They speak OAuth without OpenID Connect: nobody signs for who somebody is.
_NO_OPENID = ("github", "githublocal", "twitter", "linkedin", "openshift")
_PINGFEDERATE = re.compile(
    r"/as/(token|authorization|introspect)\.oauth2|/idp/userinfo\.openid|\.ping\b|/pf/JWKS"
)
_OURS = ("openid", "profile", "email", "offline_access")
_USUAL = ["openid", "profile", "email"]
_OKTA = re.compile(
    r"(https://[^/]+\.okta(?:preview|-emea)?\.com(?:/oauth2/(?!v1\b)[^/]+)?)(?:/oauth2)?/v1\b.*"
)
_KEYCLOAK = re.compile(r"((?:https?://|\$\{).+?/realms/[^/]+)(?:/.*)?")


def carry_over(at: Reading) -> bool:
    """Fill in the new entry; ``False`` when nothing of the old one can be carried over."""
    if at.name in _NO_OPENID:
        at.mend("speaks OAuth without OpenID Connect, and cannot be used for signing in here")
        return False
    remote = at.old.get("remote_app")
    if not isinstance(remote, dict):
        at.mend(f"remote_app cannot be read here: {why(remote)}", getattr(remote, "line", None))
        remote = {}
    for key in _ADDRESSES:
        if isinstance(remote.get(key), str | Text):
            at.urls[key] = str(at.text(remote[key]) or "")
        elif isinstance(remote.get(key), Unknown):
            at.know(f"{key} cannot be read here (line {remote[key].line})")
    at.block.put("name", at.name)
    for recognise in (_entra, _pingone, _pingfederate, _discovered, _by_vendors_rule, _unrecognised):
        if recognise(at):
            break
    _client(at, remote)
    _scopes(at, remote)
    if at.block.data["vendor"] == "entra":
        _entra_people(at)
    return True


def begin(at: Reading, vendor: str, protocol: str = "oidc") -> None:
    """The kind of an entry."""
    at.block.put("vendor", vendor)
    at.block.put("protocol", protocol)


def host_and_path(url: str) -> tuple[str, list[str]]:
    """Host and path of an address; empty when it is none."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), [step for step in parts.path.split("/") if step]
    except ValueError:
        return "", []


def _entra(at: Reading) -> bool:
    known = [(host, path) for host, path in map(host_and_path, at.urls.values()) if host in CLOUDS and path]
    if not known and at.name != "azure":
        return False
    begin(at, "entra")
    tenants = list(dict.fromkeys(path[0] for _, path in known))
    tenant = next((one for one in tenants if GUID.fullmatch(one) or VARIABLE.fullmatch(one)), None)
    if tenant:
        at.block.put("tenant_id", tenant)
    elif tenants and tenants[0] in _ANY_TENANT:
        at.block.say(f"{tenants[0]!r} let in people of every tenant; here an entry is one tenant.")
        at.open_line("tenant_id", "the tenant id (Entra: Overview, Directory ID)")
    else:
        was = f" of {tenants[0]!r}" if tenants else ""
        at.open_line("tenant_id", f"the tenant id{was} (Entra: Overview, Directory ID)")
    cloud = CLOUDS[known[0][0]] if known else "public"
    if cloud != "public":
        at.block.put("cloud", cloud)
    return True


def _entra_people(at: Reading) -> None:
    """Whom Flask-AppBuilder let in, and what it called them."""
    at.block.say("guests: map would let in guests of other tenants, as the old sign-in did; default: deny")
    if at.name == "azure" and not at.own_code:
        at.block.say("Accounts of the old sign-in have the object id as their name; this hands them on.")
        at.block.put("adopt_stock_azure", value=True)


def _pingone(at: Reading) -> bool:
    for url in at.urls.values():
        host, path = host_and_path(url)
        if not host.startswith("auth.pingone.") or not path:
            continue
        begin(at, "pingone")
        region = host.removeprefix("auth.pingone.")
        if GUID.fullmatch(path[0]) or VARIABLE.fullmatch(path[0]):
            at.block.put("environment_id", path[0])
        else:
            at.open_line("environment_id", "the environment id (PingOne: Environment, Properties)")
        if region in _REGIONS:
            at.block.put("region", region)
        else:
            at.open_line("region", f"one of {', '.join(_REGIONS)}")
        return True
    return False


def _pingfederate(at: Reading) -> bool:
    address = next((url for url in at.urls.values() if _PINGFEDERATE.search(url)), None)
    if address is None:
        return False
    begin(at, "pingfederate")
    match = _PINGFEDERATE.search(address)
    at.block.put("issuer", address[: match.start()] if match else address)
    at.block.say("PingFederate's sub is a login name, which can be given to another person one day.")
    at.open_line("claims", "the claim that never is, such as {subject: entryUUID}")
    return True


def _discovered(at: Reading) -> bool:
    url = at.urls.get("server_metadata_url", "")
    if not url.endswith(_DISCOVERY):
        return False
    begin(at, "generic")
    at.block.put("issuer", url.removesuffix(_DISCOVERY))
    return True


def _by_vendors_rule(at: Reading) -> bool:
    """Okta and Keycloak make their issuers by a rule of their own."""
    for url in at.urls.values():
        for pattern in (_OKTA, _KEYCLOAK):
            match = pattern.fullmatch(url)
            if match:
                begin(at, "generic")
                at.block.say(f"Made from the addresses; it must equal the issuer in {match[1]}{_DISCOVERY}")
                at.block.put("issuer", match[1])
                return True
    return False


def _unrecognised(at: Reading) -> bool:
    begin(at, "generic")
    at.open_line("issuer", f"the issuer, exactly as ISSUER{_DISCOVERY} has it")
    return True


def _client(at: Reading, remote: dict[str, Any]) -> None:
    written = remote.get("client_id", remote.get("consumer_key"))
    client_id = at.text(written)
    if client_id:
        at.block.put("client_id", client_id)
    else:
        line = f" (line {written.line})" if isinstance(written, Unknown) else ""
        at.open_line("client_id", f"the client id{line}")
    secret = remote.get("client_secret", remote.get("consumer_secret"))
    name = f"AIRFLOW_SSO_{re.sub(r'[^A-Z0-9]', '_', at.name.upper())}_SECRET"
    if isinstance(secret, Text) and secret.only_variable:
        at.block.put("client_auth", {"secret": {"env": secret.only_variable}})
        at.notes.variables[secret.only_variable] = None
        return
    if isinstance(secret, FromFile):
        at.block.put("client_auth", {"secret": {"file": secret.path.replace("$", "$$")}})
        return
    at.block.put("client_auth", {"secret": {"env": name}})
    at.notes.variables[name] = None
    if isinstance(secret, str) and secret:
        at.know(f"the client secret stands in the clear: put it into {name}, and have it renewed")
        return
    at_line = secret.line if isinstance(secret, Unknown) else at.line
    at.mend(f"where the client secret comes from cannot be read here: put it into {name}", at_line)


def _scopes(at: Reading, remote: dict[str, Any]) -> None:
    kwargs = remote.get("client_kwargs", remote.get("request_token_params"))
    written = kwargs.get("scope") if isinstance(kwargs, dict) else None
    if isinstance(written, Unknown | Text):
        at.mend("scope cannot be read here: write scopes: [...] if more than openid profile email is needed")
        return
    several = written if isinstance(written, list) else str(written or "").split()
    scopes = [one for one in several if isinstance(one, str) and one]
    if at.block.data["vendor"] == "entra":
        dropped = [one for one in scopes if one not in _OURS]
        if dropped:
            words = ", ".join(map(repr, dropped))
            at.know(f"these scopes are left out, because signing in needs none of them: {words}")
        scopes = list(dict.fromkeys([*_USUAL, *(one for one in scopes if one in _OURS)]))
    elif scopes and "openid" not in scopes:
        at.know("the scope openid is added: without it nobody signs for who somebody is")
        scopes = ["openid", *scopes]
    scopes = list(dict.fromkeys(scopes))
    if scopes and sorted(scopes) != sorted(_USUAL):
        at.block.put("scopes", [one.replace("$", "$$") for one in scopes])
