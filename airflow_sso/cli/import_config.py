"""``import-config``: from a ``webserver_config.py`` with ``AUTH_OAUTH`` to ``sso.yaml`` and the role mapping.

What must stay true: the file is read, never run; no secret in it is printed; what cannot be carried over
is said with its line, and what is printed as complete passes our own ``lint``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_sso import airflow_compat, config, yaml_document
from airflow_sso.cli import old_config
from airflow_sso.cli.carried_over import CarriedOver, carry_over
from airflow_sso.cli.drafts import dumped
from airflow_sso.cli.old_config import NotReadable, OldConfig
from airflow_sso.cli.old_oauth import VARIABLE
from airflow_sso.cli.old_values import Named
from airflow_sso.cli.outcome import FINDINGS, NOT_FOUND, OK, WRONG_USE
from airflow_sso.role_mapping import BUILT_IN_ROLES, understand
from airflow_sso.urls import Urls

_SETTINGS, _MAPPING = "sso.yaml", "role_mapping.yaml"
_EXAMPLE_URL = "https://airflow.example.com"
_HEAD = {
    _SETTINGS: (
        "Who people sign in with, from {old}. A secret is a reference to where it lies: {{env: NAME}},",
        "{{file: /path}} or {{airflow_secret: key}}. Every key: docs/configuration.md",
    ),
    _MAPPING: ("Who may do what, from {old}. Rules add up; whoever matches none is not let in.",),
}
#: Ways to sign in that have no identity provider, by the names and the numbers of Flask-AppBuilder.
_OTHER_WAYS = {
    "AUTH_OID": "OpenID 2.0, which no provider speaks any more",
    "AUTH_DB": "passwords in Airflow's own database",
    "AUTH_LDAP": "passwords that an LDAP server checks",
    "AUTH_REMOTE_USER": "a name that a web server in front of Airflow passes on",
}
_NUMBERS = dict(enumerate((*_OTHER_WAYS, "AUTH_OAUTH", "AUTH_SAML")))


def import_config(options: argparse.Namespace) -> int:
    """Print, or write, our two files of what an old configuration says.

    :returns: 0 when they are complete, 1 when something must be written by hand, 2 when the old file
        cannot be read or a new one is there already, 3 when it says nothing of an identity provider.
    """
    folder = Path(options.to).absolute() if options.to else None
    there = [path for path in (folder / _SETTINGS, folder / _MAPPING) if path.exists()] if folder else []
    if there:
        print(
            *(f"{path} is there already; nothing was written." for path in there), sep="\n", file=sys.stderr
        )
        return WRONG_USE
    try:
        old = old_config.read(Path(options.file))
    except NotReadable as cause:
        print(f"{cause}.", file=sys.stderr)
        return WRONG_USE
    nothing = _nothing_to_import(old)
    if nothing:
        print(nothing, file=sys.stderr)
        return NOT_FOUND
    found = carry_over(old, str((folder or airflow_compat.airflow_home()) / _MAPPING))
    faults = _what_lint_says(found)
    if options.json:
        print(json.dumps(_as_json(found, faults), indent=2))
    else:
        texts = {name: _text(name, found, options.file) for name in (_SETTINGS, _MAPPING)}
        if folder:
            _write(folder, texts)
        else:
            for name, text in texts.items():
                print(f"---------- {name} ----------\n{text}")
        print(*_what_is_left(found, faults), sep="\n")
    return FINDINGS if found.notes.mend or faults else OK


def _nothing_to_import(old: OldConfig) -> str | None:
    """What the file signs people in with, if that is no identity provider."""
    written = old.get("AUTH_TYPE")
    named = (
        written.name if isinstance(written, Named) else _NUMBERS.get(written) if _is_number(written) else None
    )
    if named in _OTHER_WAYS:
        return (
            f"AUTH_TYPE is {named} (line {old.line('AUTH_TYPE')}): {_OTHER_WAYS[named]}. There is nothing to "
            "import: no identity provider is in it. docs/configuration.md says how one is written."
        )
    if old.get("OAUTH_PROVIDERS") is None and old.get("SAML_PROVIDERS") is None:
        return "The file has neither OAUTH_PROVIDERS nor SAML_PROVIDERS: there is nothing to import."
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(name: str, found: CarriedOver, old: str) -> str:
    """One of the two files, whole."""
    block = found.sso if name == _SETTINGS else found.mapping
    shown = ascii(Path(old).name)[1:-1]
    head = [f"# {line.format(old=shown)}" for line in _HEAD[name]]
    return "\n".join([*head, *block.lines()]) + "\n"


def _write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with (folder / name).open("x", encoding="utf-8") as file:  # never over another one
            file.write(text)
        print(f"Written: {folder / name}")


def _as_json(found: CarriedOver, faults: list[str]) -> dict[str, Any]:
    notes = found.notes
    return {
        "sso": _plain(found.sso),
        "role_mapping": _plain(found.mapping),
        "notes": [*notes.mend, *notes.know, *_registered(found)],
        "to_mend": [*notes.mend, *faults],
        "variables": [*notes.variables],
    }


def _plain(value: Any) -> Any:
    """A draft as plain values."""
    data = getattr(value, "data", value)
    if isinstance(data, dict):
        return {key: _plain(one) for key, one in data.items()}
    return [_plain(one) for one in data] if isinstance(data, list) else data


def _what_is_left(found: CarriedOver, faults: list[str]) -> Iterator[str]:
    """What people must do now, and what lint makes of the two files."""
    notes = found.notes
    if notes.mend:
        yield "Write these yourself; nothing was guessed:"
        yield from (f"  {one}" for one in notes.mend)
    if notes.variables:
        yield "Set in the web server's environment (secrets are shown nowhere):"
        yield f"  {', '.join(notes.variables)}"
    if notes.know:
        yield "Good to know:"
        yield from (f"  {one}" for one in notes.know)
    yield "Redirect URIs:"
    yield from (f"  {one}" for one in _registered(found))
    yield "Then webserver_config.py needs two lines only: docs/from-auth-oauth.md"
    if faults:
        yield "airflow-sso lint would say:"
        yield from (f"  {one}" for one in faults)
    else:
        yield "airflow-sso lint finds nothing to mend in them."


def _registered(found: CarriedOver) -> list[str]:
    """What must be registered with each OIDC provider."""
    base = (airflow_compat.base_url() or _EXAMPLE_URL).rstrip("/")
    ours, on_3 = (Urls(base, line.auth_prefix) for line in (airflow_compat.LINE, airflow_compat.AIRFLOW_3))
    entries = [one.data for one in found.sso.data.get("providers", [])]
    oidc = [str(one["name"]) for one in entries if one["protocol"] == "oidc"]
    same, later = "on Airflow 3 it was the same, on 2 without /auth", ""
    if airflow_compat.IS_AIRFLOW_2:
        same, later = "the same as it was", "; with Airflow 3 it will be {}"
    return [
        f"{name}: {ours.callback(name)} "
        f"({'a new one' if name in found.notes.renamed else same}{later.format(on_3.callback(name))})"
        for name in oidc
    ]


# --- our own lint ---


def _what_lint_says(found: CarriedOver) -> list[str]:
    """The faults of both files, with stand-ins for what only the server's environment holds."""
    with tempfile.TemporaryDirectory(prefix="airflow-sso-import-") as name:
        folder = Path(name)
        secret = folder / "secret"
        secret.write_text("x")
        settings = _with_stand_ins(_plain(found.sso), "", secret)
        (folder / _SETTINGS).write_text(dumped(settings), encoding="utf-8")
        (folder / _MAPPING).write_text("\n".join(found.mapping.lines()), encoding="utf-8")
        loaded = config.load(
            folder / _SETTINGS, default_external_url=airflow_compat.base_url() or _EXAMPLE_URL
        )
        mapping = yaml_document.read(folder / _MAPPING)
        named = {role for rule in _plain(found.mapping)["rules"] for role in rule["roles"]}
        understand(mapping, BUILT_IN_ROLES | named)
    return [
        f"{name}: {yaml_document.spell(fault.place)}: {fault.message}"
        for name, faults in ((_SETTINGS, loaded.faults), (_MAPPING, mapping.faults))
        for fault in faults
    ]


def _with_stand_ins(value: Any, key: str, secret: Path) -> Any:
    """Settings as they might be once the environment is there."""
    if key == "secret":
        return {"file": str(secret)}
    if isinstance(value, dict):
        return {name: _with_stand_ins(one, name, secret) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_stand_ins(one, key, secret) for one in value]
    if not isinstance(value, str):
        return value
    whole = {"tenant_id": "00000000-0000-0000-0000-000000000000", "issuer": _EXAMPLE_URL}
    whole["environment_id"] = whole["tenant_id"]
    if VARIABLE.fullmatch(value):
        return whole.get(key, "x")
    if key == "issuer" and VARIABLE.match(value):
        value = VARIABLE.sub(_EXAMPLE_URL, value, count=1)
    return VARIABLE.sub("x", value)
