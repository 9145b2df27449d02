"""``doctor`` on what is written: the files, what each says of the other, and Airflow's own settings beside.

What must stay true: nothing here asks a database or the network, so it can be said wherever the files are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from airflow_sso.cli.doctor_case import Case, Finding, advice, fault, ok, wrong
from airflow_sso.config import Settings
from airflow_sso.saml_settings import SamlProvider

_OURS = "airflow_sso.auth_manager.SsoFabAuthManager"
_DISTRIBUTION = "airflow-sso"
#: Of ``webserver_config.py``: what set up the sign-in that ours takes the place of.
_LEFT_OVER = (
    "OAUTH_PROVIDERS",
    "SAML_PROVIDERS",
    "AUTH_ROLES_MAPPING",
    "AUTH_ROLES_SYNC_AT_LOGIN",
    "AUTH_USER_REGISTRATION",
    "AUTH_USER_REGISTRATION_ROLE",
    "AUTH_USER_REGISTRATION_ROLE_JMESPATH",
    "AUTH_OAUTH_ROLE_KEYS",
)
_AUTH_OAUTH = 4
#: Of Airflow 2.11; Airflow 3 has none.
_DEFAULT_BASE_URL = "http://localhost:8080"


def configuration(case: Case) -> Iterator[Finding]:
    """Where ``sso.yaml`` is, and whether a web server finds the same."""
    is_there = case.path is None or case.path.is_file()
    mend = "airflow-sso lint checks again"
    if not is_there:
        mend = "write it, or say where it is: [sso] config_file (AIRFLOW__SSO__CONFIG_FILE)"
    for one in case.loaded.faults:
        yield wrong(str(one), mend)
    if case.path is None or not case.path.is_file():
        return  # the faults have said so
    yield ok(f"{case.path} is read")
    if case.path_of_airflow != case.path:
        yield fault(
            f"a web server reads {case.path_of_airflow or 'none, because two places disagree'} instead",
            "leave out --config, or set [sso] config_file (AIRFLOW__SSO__CONFIG_FILE) to this file",
        )


def security_manager(case: Case) -> Iterator[Finding]:
    """Whether ``webserver_config.py`` names ours; Airflow says nothing of a file that is not there."""
    file, section = case.webserver_config, case.airflow.fab_section
    where = f"[{section}] config_file (AIRFLOW__{section.upper()}__CONFIG_FILE)"
    if not file.is_file():
        yield wrong(
            f"there is no {file}, so Airflow shows its own password form",
            f"copy webserver_config.example.py there, or let {where} name the file that you have",
        )
    elif case.trouble_there:
        yield wrong(
            f"{file} cannot be run: {case.trouble_there}", "mend that line; no web server starts with it"
        )
    elif not case.is_security_manager_ours:
        # Of our auth manager on 3 nobody has a token without a session of ours.
        is_open = case.airflow.is_line_2 or case.airflow.auth_manager_kind != "ours"
        yield wrong(
            f"{file} does not set SECURITY_MANAGER_CLASS to ours, so Airflow shows its own sign-in, "
            + ("which is open" if is_open else "by which nobody gets in"),
            "write in it: from airflow_sso import SsoSecurityManager; "
            "SECURITY_MANAGER_CLASS = SsoSecurityManager",
        )
    else:
        yield ok(f"{file} names ours")


def leftovers(case: Case) -> Iterator[Finding]:
    """What an earlier sign-in left in ``webserver_config.py``."""
    found = [name for name in _LEFT_OVER if case.set_there.get(name)]
    if case.set_there.get("AUTH_TYPE", _AUTH_OAUTH) != _AUTH_OAUTH:
        found.insert(0, "AUTH_TYPE")
    if found:
        from_when = "" if case.is_security_manager_ours else " once ours is named"
        yield advice(
            f"{', '.join(found)} in {case.webserver_config} count for nothing{from_when}",
            "take them out; airflow-sso import-config turns them into sso.yaml and a role mapping",
        )
    elif case.webserver_config.is_file() and not case.trouble_there:
        yield ok("webserver_config.py holds no other sign-in")


def auth_manager(case: Case) -> Iterator[Finding]:
    """Which promises hold: they depend on who sees each request."""
    airflow = case.airflow
    mend = f"[core] auth_manager = {_OURS}"
    kind = airflow.auth_manager_kind
    if kind == "ours" or (kind == "fab" and airflow.is_line_2):
        yield ok("access that is ended counts at the next request, on pages and on the API")
    elif kind == "fab":
        yield advice(
            "with Airflow's own FabAuthManager ended access counts on the API only after [fab] cache_ttl, a "
            "renewed token lives until it expires, and session.idle is not applied (docs/ending-access.md)",
            mend,
        )
    elif kind == "broken":
        yield wrong(f"[core] auth_manager = {airflow.auth_manager or '(empty)'} cannot be imported", mend)
    else:
        yield wrong(f"[core] auth_manager = {airflow.auth_manager} does not use our sign-in", mend)
    if airflow.session_backend != "database":
        yield advice(
            f"[{airflow.fab_section}] session_backend = {airflow.session_backend}: Airflow keeps sessions in "
            "the cookie, so none can be deleted; those that ended are refused all the same",
            f"[{airflow.fab_section}] session_backend = database",
        )


def other_line(case: Case) -> Iterator[Finding]:
    """What is set by the name that the other line of Airflow has for it, and by no name that counts."""
    for written, here in case.airflow.names_of_the_other_line:
        yield advice(
            f"{written} counts for nothing on Airflow {'2.11' if case.airflow.is_line_2 else '3'}",
            f"here its name is {here}",
        )


def addresses(case: Case) -> Iterator[Finding]:
    """``external_url`` beside Airflow's ``base_url``: providers go by the one, cookies by the other."""
    settings, section, given = case.settings, case.airflow.web_section, case.airflow.base_url
    assert settings is not None  # noqa: S101 (the table asks for them)
    ours = settings.external_url
    option = f"[{section}] base_url (AIRFLOW__{section.upper()}__BASE_URL)"
    if case.airflow.is_line_2 and ours == _DEFAULT_BASE_URL == (given or ours).rstrip("/"):
        yield (advice if given else fault)(
            f"{ours} is what {option} says when nobody sets it: from other machines nobody signs in",
            "write there where people reach Airflow",
        )
        return
    if not given:
        yield fault(f"{option} is not set", f"set it to {ours}: links and cookies of Airflow go by it")
        return
    theirs = given.rstrip("/")
    if theirs.endswith("/auth"):
        yield wrong(f"{option} ends with /auth, which Airflow 3 adds by itself", f"set it to {ours}")
    elif urlsplit(theirs).scheme != urlsplit(ours).scheme:
        yield fault(
            f"external_url is {ours} and {option} is {given}: one says http and the other https",
            "write what people's browsers show in both",
        )
    elif urlsplit(theirs).path != urlsplit(ours).path:
        yield fault(
            f"external_url is {ours} and {option} is {given}: their paths differ, and cookies go by the path",
            "write the same path in both",
        )
    elif theirs.lower() != ours.lower():
        yield fault(
            f"external_url is {ours} and {option} is {given}: signing in leads from one host to the other",
            "write the same in both",
        )
    else:
        yield ok(f"{ours} is the address in sso.yaml and in {option}")


def proxy(case: Case) -> Iterator[Finding]:
    """Whether Airflow knows that somebody else ends TLS, and marks its cookies as that asks."""
    settings, airflow = case.settings, case.airflow
    assert settings is not None  # noqa: S101 (the table asks for them)
    section = airflow.fab_section
    is_https = settings.external_url.startswith("https://")
    if not is_https and airflow.has_secure_cookie:
        yield fault(
            f"[{section}] cookie_secure is on and external_url is http: browsers send no such cookie back, "
            "and signing in leads round in circles",
            f"use https, or set [{section}] cookie_secure = False",
        )
    if is_https and not airflow.has_secure_cookie:
        yield advice(
            f"Airflow's own session cookie is not marked Secure ([{section}] cookie_secure)",
            f"[{section}] cookie_secure = True",
        )
    if is_https and not airflow.ends_tls and not airflow.is_behind_proxy:
        yield advice(
            "Airflow has no certificate of its own, so a proxy ends TLS, and Airflow was not told: everybody "
            "has the proxy's address, for the throttle of the local door and for rules about address:",
            f"[{section}] enable_proxy_fix = True"
            + ("" if airflow.is_line_2 else ", and start the api-server with --proxy-headers"),
        )
    if is_https and (airflow.ends_tls or airflow.is_behind_proxy) and airflow.has_secure_cookie:
        yield ok("https, and Airflow knows it")
    elif not is_https and not airflow.has_secure_cookie:
        yield ok("plain http throughout")


_ALIKE = "every replica has to show the same mark:"


def airflows_secrets(case: Case) -> Iterator[Finding]:
    """Airflow's own keys: a made-up one differs in every replica, and a well-known one lets strangers in."""
    for key in case.airflow.secret_keys:
        if key.is_weak:
            yield fault(
                f"{key.name} is short or well known: whoever guesses it signs in as anybody",
                "make a new one: openssl rand -hex 32",
            )
        elif not key.is_given:
            yield advice(
                f"{key.name} is not set, so Airflow makes one up: people are signed out at each restart, and "
                "with more than one replica signing in fails now and then",
                "set the same one in every replica: openssl rand -hex 32",
            )
        else:
            yield ok(f"{key.name} is set; {_ALIKE} {key.mark}")


def fernet_key(case: Case) -> Iterator[Finding]:
    """What we encrypt in the database is encrypted with it."""
    make = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
    if case.airflow.fernet == "faulty":
        yield fault("[core] fernet_key is no Fernet key", f"{make} makes one")
    elif case.airflow.fernet == "none":
        what = (
            "[core] fernet_key is empty: Airflow's connections lie in the database in the clear, and people "
        )
        what += "cannot be signed out at the provider as well"
        settings = case.settings
        asked = settings is not None and any(one.provider_sign_out for one in settings.providers.values())
        yield (fault if asked else advice)(what, f"{make} makes one")
    else:
        yield ok(f"[core] fernet_key is set; {_ALIKE} {case.airflow.fernet_mark}")


def public_role(case: Case) -> Iterator[Finding]:
    """What whoever has not signed in may do."""
    role = case.settings.public_role if case.settings else None
    if role:
        yield advice(f"whoever reaches Airflow is {role} without signing in (public_role)", "leave it out")
    elif case.airflow.public_role and case.airflow.auth_manager_kind != "ours":
        yield fault(
            f"Airflow's own auth manager makes everybody {case.airflow.public_role} ([fab] auth_role_public)",
            "take that setting away",
        )
    else:
        yield ok("whoever has not signed in is nobody")


def weakened(case: Case) -> Iterator[Finding]:
    """Every ``insecure_*`` that is in use."""
    for one in case.loaded.warnings:
        yield advice(one, "take it out where the provider can do without")
    if not case.loaded.warnings:
        yield ok("no check is weakened")


def mounts(case: Case) -> Iterator[Finding]:
    """A file that is mounted by itself stays what it was when the pod started."""
    settings = case.settings
    assert settings is not None  # noqa: S101 (the table asks for them)
    file = settings.role_mapping_file
    if os.path.ismount(file):
        yield advice(
            f"{file} is mounted by itself (subPath): Kubernetes never updates such a file in a running pod",
            "mount its folder; docs/install.md shows how",
        )


def libraries(case: Case) -> Iterator[Finding]:
    """Versions below which we do not vouch, and the pair that must fit together for SAML."""
    try:
        needed = [Requirement(line) for line in requires(_DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield fault("airflow-sso is on the import path and not installed", "pip install airflow-sso")
        return
    too_old = [_too_old(one) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for name, found, wanted in filter(None, too_old):
        yield fault(f"{name} is {found}, and {wanted} is needed", f'pip install "{name}{wanted}"')
    if not any(too_old):
        yield ok(f"airflow-sso {version(_DISTRIBUTION)}, with every library as new as it must be")
    if case.settings and any(isinstance(one, SamlProvider) for one in case.settings.providers.values()):
        yield from _saml_libraries()


def _too_old(needed: Requirement) -> tuple[str, str, str] | None:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return needed.name, "not installed", str(needed.specifier)
    if needed.specifier.contains(found, prereleases=True):
        return None
    return needed.name, found, str(needed.specifier)


def _saml_libraries() -> Iterator[Finding]:
    try:
        import airflow_sso.login.saml
    except Exception as cause:  # xmlsec raises errors of its own beside an lxml of another libxml2
        yield fault(
            f"SAML cannot be spoken: {type(cause).__name__}: {cause}",
            "lxml and xmlsec must be built on the same libxml2: pip install --force-reinstall "
            "--only-binary=lxml,xmlsec lxml xmlsec",
        )
    else:
        yield ok(f"xmlsec {version('xmlsec')} and lxml {version('lxml')} agree")
        del airflow_sso


def moving(case: Case) -> Iterator[Finding]:
    """On Airflow 2.11: what changes its address with Airflow 3, while there is time to register both."""
    if not case.airflow.is_line_2 or case.settings is None:
        return
    for name, entity_id in _unpinned(case, case.settings):
        yield advice(
            f"{name}: entity_id is not written, and Airflow 3 puts /auth into its default",
            f"write entity_id: {entity_id} (what it is now), and register what airflow-sso urls --line 3 "
            "prints beside what there is (docs/upgrading.md)",
        )


def _unpinned(case: Case, settings: Settings) -> Iterator[tuple[str, str]]:
    for name, provider in settings.providers.items():
        if isinstance(provider, SamlProvider) and provider.entity_id is None:
            yield name, case.urls(settings).saml_metadata(name)
