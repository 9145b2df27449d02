"""``sso.yaml`` as frozen settings: every fault at once, each with file, line and path.

A fault inside one provider shuts only that provider; a fault anywhere else shuts every door. What
must stay true: unknown keys are refused, no secret is ever a plain value here, and a setting that
weakens a check is spelled ``insecure_*``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator, model_validator

from airflow_sso import certificates, yaml_document
from airflow_sso.airflow_compat import IS_AIRFLOW_2, LINE
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.oidc_settings import EntraOidc, GenericOidc, PingFederateOidc, PingOneOidc
from airflow_sso.provider_settings import HttpSettings, Provider
from airflow_sso.saml_settings import EntraSaml, GenericSaml, PingFederateSaml, PingOneSaml
from airflow_sso.secret import Secret, SecretUnavailable
from airflow_sso.setting_types import ClientAuth, Duration, KeyPair, Strict, check_url
from airflow_sso.yaml_document import Document, Fault, Place

_Model = TypeVar("_Model", bound=BaseModel)

PROVIDER_MODELS: dict[tuple[str, str], type[Provider]] = {
    ("entra", "oidc"): EntraOidc,
    ("pingone", "oidc"): PingOneOidc,
    ("pingfederate", "oidc"): PingFederateOidc,
    ("generic", "oidc"): GenericOidc,
    ("entra", "saml"): EntraSaml,
    ("pingone", "saml"): PingOneSaml,
    ("pingfederate", "saml"): PingFederateSaml,
    ("generic", "saml"): GenericSaml,
}


class SessionLimits(Strict):
    """How long a session may last."""

    absolute: Duration = timedelta(hours=12)
    """After this long people sign in again, whatever they do."""
    idle: Duration = timedelta(hours=1)
    """After this long without activity they do, too; the UI's own polling is none."""

    @model_validator(mode="after")
    def _limits_make_sense(self) -> SessionLimits:
        if not timedelta(minutes=5) <= self.absolute <= timedelta(days=30):
            raise ValueError("absolute may be 5m to 30d")
        if not timedelta(minutes=5) <= self.idle <= self.absolute:
            raise ValueError("idle may be 5m up to absolute")
        return self


class MaxDeactivations(Strict):
    """How many people may lose their access within a window without anybody being asked."""

    count: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """So many people at most,"""
    percent: Annotated[int, Field(ge=0, le=100)] = 10
    """and no larger part of those with an account; it counts the person it begins."""
    window: Duration = timedelta(hours=24)
    """Whoever lost it within this time counts, by whatever way."""

    @field_validator("window")
    @classmethod
    def _window_is_long_enough(cls, window: timedelta) -> timedelta:
        if not timedelta(hours=1) <= window <= timedelta(days=30):
            raise ValueError("window may be 1h to 30d")
        return window


class SyncSettings(Strict):
    """How often the directories are asked, and how much may happen by itself."""

    every: Duration | Literal["never"] = timedelta(minutes=5)
    """How often; ``never``: only when airflow-sso sync is run."""
    max_deactivations: MaxDeactivations = MaxDeactivations()
    """Beyond this a plan waits until somebody approves it."""

    @field_validator("every", mode="before")
    @classmethod
    def _never_is_a_word(cls, every: object) -> object:
        if every is False:  # YAML reads `off` and `no` so
            raise ValueError("write never, or how often: 5m")
        return every

    @field_validator("every")
    @classmethod
    def _every_is_bearable(cls, every: timedelta | str) -> timedelta | str:
        if isinstance(every, timedelta) and not timedelta(seconds=5) <= every <= timedelta(days=1):
            raise ValueError("every may be 5s to 1d, or never")
        return every


_BreakGlassName = Annotated[str, Field(min_length=1, max_length=250)]
_MOST_BREAK_GLASS = 20
_NO_FERNET_KEY = (
    "is no Fernet key: 32 random bytes in URL-safe base64, as "
    'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())" makes one'
)


class _Rest(Strict):
    """Everything but the providers, which are validated one by one."""

    external_url: str | None = None
    role_mapping_file: Path
    session: SessionLimits = SessionLimits()
    sync: SyncSettings = SyncSettings()
    support_contact: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    insecure_http: bool = False
    """Allow an ``external_url`` of plain http for a host that is not this machine."""
    break_glass: Annotated[tuple[_BreakGlassName, ...], Field(max_length=_MOST_BREAK_GLASS)] = ()
    """Local accounts that keep their password, for emergencies."""
    public_role: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """The role of whoever has not signed in."""

    @field_validator("break_glass")
    @classmethod
    def _names_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError("a name stands here twice; upper and lower case make no difference")
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A configuration that is in force."""

    external_url: str
    providers: Mapping[str, Provider]
    role_mapping_file: Path
    session: SessionLimits
    sync: SyncSettings
    support_contact: str | None = None
    public_role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """What came of reading ``sso.yaml``.

    ``settings`` is ``None`` when no door may open. ``shut`` holds the providers that have faults of
    their own, by name, with the label to show. ``faults`` lists every fault, theirs included.
    ``break_glass`` holds the names that are in order whatever else is not: an emergency may be this file.
    """

    settings: Settings | None
    faults: tuple[Fault, ...]
    shut: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    break_glass: tuple[str, ...] = ()


def load(
    path: Path, *, default_external_url: str | None = None, airflows_public_role: str | None = None
) -> LoadedConfig:
    """Read ``sso.yaml``.

    :param default_external_url: Airflow's own ``base_url``, used when ``external_url`` is not written.
    :param airflows_public_role: what Airflow's own settings give to whoever has not signed in.
    """
    document = yaml_document.read(path, variables=yaml_document.environment())
    data = document.data
    if not isinstance(data, dict):
        if not document.faults:
            document.add((), "must be a list of keys and values, such as providers: and role_mapping_file:")
        return LoadedConfig(settings=None, faults=tuple(document.faults))
    rest = yaml_document.validate(document, _Rest, {k: v for k, v in data.items() if k != "providers"})
    external_url = _external_url(document, data, default_external_url)
    _check_public_role(document, data, airflows_public_role)
    break_glass = _break_glass(data)
    top_level_faults = [fault for fault in document.faults if fault.place[:1] != ("providers",)]

    raw = data.get("providers")
    if not isinstance(raw, list) or not raw:
        document.add(("providers",), "must be a list with at least one provider")
        return LoadedConfig(settings=None, faults=tuple(document.faults), break_glass=break_glass)
    providers, shut = _providers(document, raw)
    settings = None
    if rest and external_url and not top_level_faults:
        settings = Settings(
            external_url=external_url,
            providers=providers,
            role_mapping_file=path.parent / rest.role_mapping_file,
            session=rest.session,
            sync=rest.sync,
            support_contact=rest.support_contact,
            public_role=rest.public_role,
        )
    return LoadedConfig(
        settings=settings,
        faults=tuple(document.faults),
        shut=shut,
        warnings=tuple(_insecure_keys(data, ())),
        break_glass=break_glass,
    )


def _break_glass(data: dict[str, Any]) -> tuple[str, ...]:
    """The names under ``break_glass`` that can be used; what is wrong with the others is told elsewhere."""
    raw = data.get("break_glass")
    names: dict[str, str] = {}
    for one in raw if isinstance(raw, list) else ():
        try:
            name = _A_NAME.validate_python(one)
        except ValidationError:
            continue
        names.setdefault(name.casefold(), name)
    return tuple(names.values())[:_MOST_BREAK_GLASS]


_A_NAME: TypeAdapter[str] = TypeAdapter(_BreakGlassName)


_SAY_PUBLIC_ROLE = "AUTH_ROLE_PUBLIC in webserver_config.py"
if not IS_AIRFLOW_2:
    _SAY_PUBLIC_ROLE = f"[fab] auth_role_public, or {_SAY_PUBLIC_ROLE}"


def _check_public_role(document: Document, data: dict[str, Any], airflows: str | None) -> None:
    """Beside single sign-on nobody gets in unnoticed: Airflow's own setting must be repeated here."""
    if airflows and data.get("public_role") != airflows:
        document.add(
            ("public_role",),
            f"Airflow's own settings ({_SAY_PUBLIC_ROLE}) "
            f"make everybody {airflows} without signing in: if that is meant, write public_role: {airflows} "
            "here as well; if not, take that setting away",
        )


def _external_url(document: Document, data: dict[str, Any], default: str | None) -> str | None:
    """Checked apart from the rest, so that a fault beside it hides none in it."""
    written = data.get("external_url")
    url = written or default
    if not url:
        document.add(
            ("external_url",),
            f"is required, because Airflow's [{LINE.web_section}] base_url is not set: write where people "
            "reach Airflow",
        )
        return None
    if not isinstance(url, str):
        return None  # the type was told already
    try:
        airflows = f"Airflow's [{LINE.web_section}] base_url ({url}), which is used here,"
        what = "it" if written else airflows
        check_url(url, what=what, insecure_http=data.get("insecure_http") is True)
    except ValueError as cause:
        document.add(("external_url",), str(cause))
        return None
    parts = urlsplit(url)
    # As browsers write it: what they send back is compared with it.
    default_port = {"https": 443, "http": 80}[parts.scheme]
    host = parts.netloc.lower().removesuffix(f":{default_port}")
    stripped = f"{parts.scheme}://{host}{parts.path}".rstrip("/")
    if stripped.endswith("/auth"):
        document.add(("external_url",), "must not end with /auth, which Airflow 3 adds by itself")
        return None
    return stripped


def _providers(document: Document, raw: list[Any]) -> tuple[dict[str, Provider], dict[str, str]]:
    """The providers that are in order, and the shut ones by name with what to call them."""
    good: dict[str, Provider] = {}
    shut: dict[str, str] = {}
    names: set[str] = set()
    for number, entry in enumerate(raw):
        place: Place = ("providers", number)
        provider = _provider(document, entry, place)
        name = str(entry.get("name") or "") if isinstance(entry, dict) else ""
        if name and name in names:
            document.add(
                (*place, "name"), f"the name {document.as_written((*place, 'name'), name)!r} is used twice"
            )
        names.add(name)
        if provider and not any(fault.place[:2] == place for fault in document.faults) and name not in shut:
            good[name] = provider
        elif name:
            good.pop(name, None)
            shut[name] = str(entry.get("label") or name)[:100]
    return good, shut


def _provider(document: Document, entry: Any, place: Place) -> Provider | None:
    if not isinstance(entry, dict):
        document.add(place, "must be keys and values: name, vendor, protocol, ...")
        return None
    kind = (str(entry.get("vendor")), str(entry.get("protocol")))
    model = PROVIDER_MODELS.get(kind)
    if model is None:
        known = ", ".join(f"vendor: {v} with protocol: {p}" for v, p in PROVIDER_MODELS)
        key = "vendor" if kind[0] not in {v for v, _ in PROVIDER_MODELS} else "protocol"
        document.add((*place, key), f"is not one that this version speaks; it speaks {known}")
        return None
    _note_what_is_not_there(document, entry, place)
    provider: Provider | None = yaml_document.validate(document, model, entry, place)
    return provider


def _note_what_is_not_there(document: Document, entry: dict[str, Any], place: Place) -> None:
    """Secrets and files that are named and cannot be used now: where they are named, and why.

    Looked at apart from the rest, so that a fault beside them hides none in them.
    """
    auth, http = _alone(ClientAuth, entry, "client_auth"), _alone(HttpSettings, entry, "http")
    directory = _alone(DirectorySettings, entry, "directory")
    if auth:
        _revealed(document, auth.references, (*place, "client_auth"))
    if directory:
        values = _revealed(document, directory.references, (*place, "directory"))
        _note_keys_that_are_none(document, values, (*place, "directory"))
    keys = _alone(KeyPair, entry, "keys")
    if keys:
        _note_unusable_keys(document, keys, (*place, "keys"))
    metadata_file = entry.get("metadata_file")
    files: dict[tuple[str, ...], Path | None] = {
        ("client_auth", "federated_token_file"): auth.federated_token_file if auth else None,
        ("http", "ca_bundle"): http.ca_bundle if http else None,
        ("metadata_file",): Path(metadata_file) if isinstance(metadata_file, str) else None,
    }
    for step, path in files.items():
        if path and not _is_file(path):
            document.add((*place, *step), f"there is no file {document.as_written((*place, *step), path)}")


def _revealed(
    document: Document, references: Mapping[tuple[str, ...], Secret], place: Place
) -> dict[tuple[str, ...], str]:
    """The secrets that can be read now, by their place; the others are noted."""
    values = {}
    for step, reference in references.items():
        at = (*place, *step)
        try:
            values[step] = reference.reveal()
        except SecretUnavailable as cause:
            document.add(at, cause.naming(document.as_written((*at, reference.kind), reference.name)))
    return values


def _note_keys_that_are_none(document: Document, values: Mapping[tuple[str, ...], str], place: Place) -> None:
    for step, value in values.items():
        if step[0] == "keys":
            try:
                Fernet(value)
            except ValueError:
                document.add((*place, "keys", int(step[1])), _NO_FERNET_KEY)


def _note_unusable_keys(document: Document, keys: KeyPair, place: Place) -> None:
    values = _revealed(document, keys.references, place)
    if len(values) == len(keys.references):
        try:
            certificates.our_keys(values["certificate",], values["private_key",])
        except ValueError as cause:
            document.add(place, str(cause))


def _alone(model: type[_Model], entry: dict[str, Any], key: str) -> _Model | None:
    """One part of an entry, if it is as it must be; what is wrong with it is told elsewhere."""
    try:
        return model.model_validate(entry[key]) if key in entry else None
    except ValidationError:
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def _insecure_keys(value: Any, place: Place) -> list[str]:
    """Every ``insecure_*`` key that is set, and every value of that spelling, to be said at start."""
    if isinstance(value, list):
        return [found for i, child in enumerate(value) for found in _insecure_keys(child, (*place, i))]
    if not isinstance(value, dict):
        return []
    found = [
        f"{yaml_document.spell((*place, key))} weakens a check"
        for key, child in value.items()
        if (key.startswith("insecure_") and child) or str(child).startswith("insecure_")
    ]
    return found + [f for key, child in value.items() for f in _insecure_keys(child, (*place, key))]
