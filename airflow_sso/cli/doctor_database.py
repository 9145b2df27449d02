"""``doctor`` on what Airflow's database holds: our tables, the mapping in force, who gets in in an emergency.

What must stay true: looking changes nothing, not even a pin of a break-glass name.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, database, in_force, migrating, models, yaml_document
from airflow_sso.accounts import break_glass, fab_users
from airflow_sso.accounts.break_glass import NotAllowed
from airflow_sso.cli.doctor_case import Case, Finding, advice, fault, ok, wrong
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.login.vendors import vendor_of
from airflow_sso.role_mapping import BUILT_IN_ROLES, understand

#: On 3 it makes ours as well.
_AND_OURS = ", and then airflow-sso db upgrade" if airflow_compat.IS_AIRFLOW_2 else ""


def tables(_case: Case) -> Iterator[Finding]:
    """Whether they are there, and of this version."""
    try:
        if not inspect(airflow_compat.engine()).has_table("ab_user"):
            yield fault("Airflow's own tables are not there", f"airflow db migrate{_AND_OURS}")
            return
        state = migrating.state()
        missing = database.missing_parts(airflow_compat.engine()) if state.is_done else []
    except SQLAlchemyError as cause:
        yield fault(
            f"Airflow's database cannot be read: {database.told_by(cause)}",
            "airflow db check; [database] sql_alchemy_conn",
        )
        return
    run = f"run {database.MIGRATE_COMMAND}"
    if state.kind == "migrate":
        yield fault(f"the tables are at revision {state.revision}, and {state.newest} is needed", run)
    elif not state.is_done:
        yield fault("the tables are not there", run)
    elif missing:
        yield fault(f"missing in the database: {', '.join(missing)}", "put them back from a backup")
    elif state.kind == "newer":
        yield advice(
            f"the tables are at revision {state.revision}, which a newer version of airflow-sso made",
            "bring this one to that version, too",
        )
    else:
        yield ok(f"the tables are at revision {state.revision}, the newest")


def mapping(case: Case) -> Iterator[Finding]:
    """Whether the file is in order, every role of it exists, and it is what is in force."""
    settings = case.settings
    assert settings is not None  # noqa: S101 (the table asks for them)
    path = settings.role_mapping_file
    with database.transaction() as connection:
        roles = fab_users.role_names(connection) | BUILT_IN_ROLES
    document = yaml_document.read(path)
    is_understood = understand(document, roles) is not None
    decides = in_force.of(settings)
    try:
        decides.look()
    except ConfigurationFaulty as cause:
        if is_understood:
            yield wrong(cause.detail, "airflow-sso mapping show says which version is in force")
    in_its_place = decides.generation is not None and decides.mapping is not None
    for one in document.faults:
        # What is in force decides on, so people sign in all the same.
        yield (fault if in_its_place else wrong)(str(one), "airflow-sso lint checks again")
    if decides.why_not_taken and is_understood:
        yield fault(
            f"{path} is not in force: {decides.why_not_taken}",
            "airflow-sso mapping activate puts it there, if it is meant",
        )
    elif is_understood and decides.waits:
        yield ok(f"{path} is in order; the first sign-in puts it in force")
    elif is_understood and decides.generation:
        yield ok(f"{path} is in force, as generation {decides.generation.number}")


def emergency(case: Case) -> Iterator[Finding]:
    """Whether somebody gets in while no provider can be asked."""
    names = case.loaded.break_glass
    if not names:
        yield advice(
            "no account gets in while the provider cannot be asked",
            "name one under break_glass: in sso.yaml (docs/break-glass.md)",
        )
    for name in names:
        with airflow_compat.engine().connect() as connection:
            try:
                user, password_counts = break_glass.as_it_stands(connection, names, name)
                roles = fab_users.roles_of(connection, user.user_id)
            except NotAllowed as cause:
                yield fault(f"{name} of break_glass does not get in: {cause}", "docs/break-glass.md")
                continue
        if not password_counts:
            yield advice(
                f"the password of {name} was changed and opens nothing; a link still does",
                f"airflow-sso break-glass --pin {name} accepts it, if it was you",
            )
        if "Admin" in roles:
            yield ok(f"{name} gets in without a provider, as {', '.join(sorted(roles))}")
        else:
            held = ", ".join(sorted(roles)) or "no role"
            yield advice(f"{name} gets in without a provider with {held}, not as Admin", "give it the role")


def strangers(case: Case) -> Iterator[Finding]:
    """Accounts of a provider that is not configured any more, or whose account key changed."""
    settings = case.settings
    assert settings is not None  # noqa: S101 (the table asks for them)
    if case.loaded.shut:  # whose are theirs is not known
        yield Finding("skipped", "not looked at: an entry of sso.yaml has faults")
        return
    known = {vendor_of(one).authority(one) for one in settings.providers.values()}
    columns = models.accounts.c
    query = select(columns.authority, func.count()).group_by(columns.authority)
    with database.transaction() as connection:
        counted = connection.execute(query).all()
    for authority, number in counted:
        if authority not in known:
            people = "1 account is" if number == 1 else f"{number:,} accounts are"
            yield advice(
                f"{people} of {authority}, which no provider in sso.yaml stands for: they get in no more",
                _as_it_was(authority),
            )


def _as_it_was(authority: str) -> str:
    """What an entry must say so that the accounts of `authority` are its own."""
    vendor, _, rest = authority.partition(":")
    if vendor == "entra":
        cloud, _, tenant = rest.partition(":")
        return f"if they are to get in, an entry needs tenant_id: {tenant} and cloud: {cloud}"
    if vendor == "pingone":
        return f"if they are to get in, an entry needs environment_id: {rest}"
    return "if its entry was renamed, write authority: with this value into it"
