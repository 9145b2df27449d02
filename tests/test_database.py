"""Our tables in Airflow's database, and the accounts in them: made by Airflow's own commands, one for
each person whatever happens at the same moment, never somebody else's, and never forgotten.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy.engine import make_url
from werkzeug.security import check_password_hash, generate_password_hash

from airflow_sso import models
from demo.airflow_home import AirflowHome
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database, engine_of
from tests.lines import only_on_3
from tests.local_door import add_account
from tests.stack import Stack, Visitor, facts
from tests.test_doors import TAKES_PASSWORDS, opens

pytestmark = [pytest.mark.server, pytest.mark.database]

PACKAGE = Path(__file__).resolve().parent.parent / "airflow_sso"
OURS = {*models.metadata.tables, "alembic_version_sso"}
#: The last step of our migrations, by the number that its file begins with.
HEAD = max(step.name[:4] for step in (PACKAGE / "migrations" / "versions").glob("[0-9]*.py"))


# Airflow's commands


def airflow_says(home: AirflowHome, *arguments: str) -> tuple[int, str]:
    """Run ``airflow ...``: its exit code and what it printed."""
    with home.start("-".join(arguments), *arguments) as process:
        return process.wait(timeout=180), process.log.read_text()


def run(home: AirflowHome, *arguments: str) -> None:
    code, text = airflow_says(home, *arguments)
    assert code == 0, text


#: Table, name and definition of everything that belongs to a table.
_DEFINITIONS = {
    "sqlite": "select tbl_name, name, sql from sqlite_master where sql is not null",
    "postgresql": """
        select table_name, table_name || '.' || column_name, concat_ws(' ', data_type,
          character_maximum_length, is_nullable, column_default) from information_schema.columns
        union all select tablename, indexname, indexdef from pg_indexes
        union all select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
        where conrelid <> 0""",
}


def definitions(database: str) -> dict[str, str]:
    """Tables, columns and indexes of ours, as the database keeps them."""
    everything = ask(database, _DEFINITIONS[make_url(database).get_backend_name()])
    return {name: " ".join(sql.split()) for table, name, sql in everything if table in OURS}


def change(database: str, *statements: str) -> None:
    with engine_of(database).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def ask(database: str, query: str) -> list[tuple[Any, ...]]:
    with engine_of(database).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def revision(database: str) -> str:
    ((found,),) = ask(database, "select version_num from alembic_version_sso")
    return str(found)


def drop_ours(database: str) -> None:
    """As it was before the plugin came."""
    change(database, *(f"drop table {name}" for name in sorted(OURS)))
    assert definitions(database) == {}


@pytest.fixture
def home(migrated_database: Database, tmp_path: Path) -> Iterator[AirflowHome]:
    """A migrated home of the test's own."""
    with stacks.migrated_home(migrated_database, tmp_path / "home") as home:
        yield home


A_DECISION = (
    "insert into sso_decision (at, event, reference, detail)"
    " values ('2026-01-01 00:00:00', 'sign_in', 'AAAA-AAAA', '{}')"
)


def test_migrating_a_fresh_home_makes_our_tables(migrated_database: Database) -> None:
    found = set(ask(migrated_database.url, _DEFINITIONS[make_url(migrated_database.url).get_backend_name()]))
    assert {table for table, _name, _definition in found} >= OURS
    assert revision(migrated_database.url) == HEAD


_AIRFLOW_MIGRATES = only_on_3("airflow db knows its own tables only; test_migrating.py has our command")


@_AIRFLOW_MIGRATES
def test_a_home_from_before_the_plugin_is_told_to_migrate_and_gets_the_tables(home: AirflowHome) -> None:
    whole = definitions(home.sql_alchemy_conn)
    drop_ours(home.sql_alchemy_conn)
    code, text = airflow_says(home, "db", "check-migrations", "-t", "1")
    assert code != 0
    assert "still unapplied migrations" in text
    run(home, "db", "migrate")
    assert definitions(home.sql_alchemy_conn) == whole
    assert revision(home.sql_alchemy_conn) == HEAD
    run(home, "db", "check-migrations", "-t", "1")


def test_migrating_again_changes_nothing(home: AirflowHome) -> None:
    change(home.sql_alchemy_conn, A_DECISION)
    before = definitions(home.sql_alchemy_conn)
    run(home, "db", "migrate")
    assert definitions(home.sql_alchemy_conn) == before
    assert ask(home.sql_alchemy_conn, "select reference from sso_decision") == [("AAAA-AAAA",)]
    assert revision(home.sql_alchemy_conn) == HEAD


@_AIRFLOW_MIGRATES
def test_a_reset_drops_our_tables_and_makes_them_anew(home: AirflowHome) -> None:
    change(home.sql_alchemy_conn, A_DECISION)
    before = definitions(home.sql_alchemy_conn)
    run(home, "db", "reset", "-y")
    assert definitions(home.sql_alchemy_conn) == before
    assert ask(home.sql_alchemy_conn, "select count(*) from sso_decision") == [(0,)]
    assert revision(home.sql_alchemy_conn) == HEAD


# People


@pytest.fixture(scope="module")
def served_by_two(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow of two processes with both providers: what happens at once, happens at once."""
    path = tmp_path_factory.mktemp("two-workers") / "home"
    with stacks.migrated_home(migrated_database, path, extra=TAKES_PASSWORDS) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure([stacks.entra(identity_provider.url), stacks.generic(identity_provider.url)])
        run(home, "sync-perm")  # two processes that make the same roles at once could disturb each other
        try:
            yield stack.start(workers=2)
        finally:
            stack.stop()


@pytest.fixture
def airflow(served_by_two: Stack, idp: Handle) -> Stack:
    uris = [f"{served_by_two.auth_url}/oauth-authorized/{name}" for name in ("entra", "generic")]
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": uris})
    return served_by_two


def hire(airflow: Stack, name: str, **changes: Any) -> str:
    """Put somebody into the directory who may look; returns what they are called there."""
    assert airflow.idp
    person = {"groups": ["airflow_prod_viewer"], **changes}
    stacks.driver(airflow.idp).control("PUT", f"people/{name}", person)
    return name


def known_as(username: str, email: str | None = None) -> dict[str, Any]:
    """What the directory says somebody is called, whatever their account key is."""
    return {"claims": {"preferred_username": username, "email": email or f"{username}@contoso.example"}}


def get_in(airflow: Stack, person: str) -> dict[str, Any]:
    """Sign in; the user that Airflow then sees, as it stands in the database."""
    visitor = airflow.visitor()
    page = visitor.sign_in(person, "generic")
    username = visitor.who()
    assert username, (page.status_code, facts(page))
    return user(airflow, username=username)


def user(airflow: Stack, **where: Any) -> dict[str, Any]:
    """The one row of ``ab_user``, whole."""
    ((column, value),) = where.items()
    (row,) = airflow.rows(f"select * from ab_user where {column} = ?", value)
    return row


def decisions(airflow: Stack, user_id: int) -> list[str]:
    query = "select event from sso_decision where user_id = ? order by id"
    return [row["event"] for row in airflow.rows(query, user_id)]


def local_user(airflow: Stack, username: str, email: str, user_id: int | None = None) -> dict[str, Any]:
    """Somebody whom an administrator made, with a password."""
    known = {} if user_id is None else {"id": user_id}
    password = generate_password_hash("local-password")
    add_account(airflow, username, email=email, password=password, **known)
    return user(airflow, username=username)


class Racer(Visitor):
    """A visitor who waits, right before coming back from the provider, for the others to be there."""

    def __init__(self, stack: Stack, start: threading.Barrier) -> None:
        super().__init__(stack)
        self._start = start

    def get(self, url: Any, **options: Any) -> requests.Response:
        if "/auth/oauth-authorized/" in str(url):
            self._start.wait(30)
        return super().get(url, **options)


def race(airflow: Stack, *people: str) -> list[str | None]:
    """Everybody's sign-in ends at the same moment; who each of them is then."""
    start = threading.Barrier(len(people))
    racers = [Racer(airflow, start) for _ in people]
    pages = [racer.go_to_provider("generic") for racer in racers]
    with ThreadPoolExecutor(len(people)) as threads:
        ends = list(threads.map(Racer.press, racers, pages, people))
    assert [end.status_code for end in ends] == [200] * len(people)
    return [racer.who() for racer in racers]


ROUNDS = range(8)


@pytest.mark.parametrize("number", ROUNDS)
def test_two_first_sign_ins_of_one_person_at_once_make_one_account(airflow: Stack, number: int) -> None:
    twin = hire(airflow, f"twin{number}")
    assert race(airflow, twin, twin) == [twin, twin]
    one = user(airflow, username=twin)
    assert len(airflow.rows("select * from ab_user where username like ?", f"{twin}%")) == 1
    assert [row["user_id"] for row in airflow.rows("select * from sso_account where username = ?", twin)] == [
        one["id"]
    ]
    assert sorted(decisions(airflow, one["id"])) == ["account_created", "roles_changed", "sign_in", "sign_in"]
    assert airflow.roles_of(twin) == {"Viewer"}


@pytest.mark.parametrize("number", ROUNDS)
def test_two_people_of_one_name_at_once_get_an_account_each(airflow: Stack, number: int) -> None:
    name = f"namesake{number}"
    first = hire(airflow, f"{name}.first", **known_as(name))
    second = hire(airflow, f"{name}.second", **known_as(name))
    assert {*race(airflow, first, second)} == {name, f"{name}~2"}
    assert user(airflow, username=name)["id"] != user(airflow, username=f"{name}~2")["id"]
    emails = {user(airflow, username=one)["email"] for one in (name, f"{name}~2")}
    assert f"{name}@contoso.example" in emails
    assert len([one for one in emails if one.endswith("@sso.invalid")]) == 1


def test_nobody_in_the_way_means_the_plain_name_and_address(airflow: Stack) -> None:
    made = get_in(airflow, hire(airflow, "plain"))
    assert (made["username"], made["email"]) == ("plain", "plain@contoso.example")
    assert (made["first_name"], made["last_name"]) == ("Plain", "Newcomer")
    assert made["active"]


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("clara", "clara"),
        ("clemens", "CLEMENS"),
        ("Özil", "Özil"),
        ("ÉLODIE", "ÉLODIE"),
        ("zoë", "zoë"),
    ],
)
def test_a_username_that_a_local_user_holds_gets_a_number(airflow: Stack, name: str, held: str) -> None:
    key = f"wants-{sum(map(ord, name))}"
    before = local_user(airflow, held, f"{key}@elsewhere.example")
    email = f"{key}@contoso.example"
    made = get_in(airflow, hire(airflow, key, **known_as(name, email)))
    assert (made["username"], made["email"]) == (f"{name}~2", email)
    assert made["id"] != before["id"]
    assert user(airflow, id=before["id"]) == before
    assert airflow.roles_of(held) == set()


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("dora", "dora@contoso.example"),
        ("dieter", "Dieter@Contoso.Example"),
        ("Ödön", "Ödön@contoso.example"),
    ],
)
def test_an_address_that_a_local_user_holds_is_stood_in_for(airflow: Stack, name: str, held: str) -> None:
    key = f"mails-{sum(map(ord, name))}"
    before = local_user(airflow, f"{key}.local", held)
    made = get_in(airflow, hire(airflow, key, **known_as(name)))
    assert made["username"] == name
    assert made["email"].endswith("@sso.invalid")
    assert made["id"] != before["id"]
    assert user(airflow, id=before["id"]) == before
    (link,) = airflow.rows("select * from sso_account where user_id = ?", made["id"])
    assert link["email"] == f"{name}@contoso.example"


def test_the_next_free_number_is_taken_and_the_real_name_once_it_is_free(airflow: Stack) -> None:
    first = local_user(airflow, "emil", "emil@elsewhere.example")
    local_user(airflow, "EMIL~2", "emil2@elsewhere.example")
    person = hire(airflow, "emil")
    made = get_in(airflow, person)
    assert made["username"] == "emil~3"
    assert get_in(airflow, person) == {
        **made,
        "login_count": made["login_count"] + 1,
        "last_login": user(airflow, id=made["id"])["last_login"],
    }
    airflow.write("update ab_user set username = 'emil.old' where id = ?", first["id"])
    assert get_in(airflow, person)["id"] == made["id"]
    assert user(airflow, id=made["id"])["username"] == "emil"


def test_a_renamed_person_keeps_the_account_and_the_old_name_leads_nobody_to_it(airflow: Stack) -> None:
    person = hire(airflow, "frieda")
    before = get_in(airflow, person)
    hire(airflow, person, given_name="Frida", family_name="Kahlo", **known_as("f.kahlo"))
    after = get_in(airflow, person)
    assert after["id"] == before["id"]
    shown = ("username", "email", "first_name", "last_name")
    assert [after[name] for name in shown] == ["f.kahlo", "f.kahlo@contoso.example", "Frida", "Kahlo"]
    assert decisions(airflow, before["id"]).count("account_changed") == 1
    # Old records name frieda, so nobody else may ever be called that; nor does the name lead anywhere.
    newcomer = get_in(airflow, hire(airflow, "frieda.the.second", **known_as("frieda")))
    assert newcomer["id"] != before["id"]
    assert newcomer["username"] == "frieda~2"
    hire(airflow, person, **known_as("frieda"))
    back = get_in(airflow, person)
    assert (back["id"], back["username"]) == (before["id"], "frieda")


def test_the_same_name_at_another_provider_is_another_account(airflow: Stack) -> None:
    person = hire(airflow, "gustav", claims={"preferred_username": "gustav@contoso.example"})
    at_generic = get_in(airflow, person)
    visitor = airflow.visitor()
    visitor.sign_in(person, "entra")
    assert visitor.who() == "gustav@contoso.example~2"
    assert user(airflow, username="gustav@contoso.example~2")["id"] != at_generic["id"]


def test_a_deactivated_account_stays_deactivated(airflow: Stack) -> None:
    person = hire(airflow, "hanna")
    before = get_in(airflow, person)
    airflow.write("update ab_user set active = false where id = ?", before["id"])
    visitor = airflow.visitor()
    page = visitor.sign_in(person, "generic")
    assert (page.status_code, facts(page)[0]) == (403, "SSO-302")
    assert visitor.who() is None
    now = user(airflow, id=before["id"])
    assert now == {**before, "active": False}
    assert airflow.roles_of("hanna") == {"Viewer"}
    assert len(airflow.rows("select * from ab_user where username like 'hanna%'")) == 1
    airflow.write("update ab_user set active = true where id = ?", before["id"])
    assert get_in(airflow, person)["id"] == before["id"]


def delete(airflow: Stack, user_id: int) -> None:
    """Delete a user, as an administrator with a SQL prompt would."""
    airflow.write("delete from ab_user_role where user_id = ?", user_id)
    airflow.write("delete from ab_user where id = ?", user_id)


def test_whose_account_was_deleted_gets_a_new_one(airflow: Stack) -> None:
    person = hire(airflow, "ida")
    before = get_in(airflow, person)
    local_user(airflow, "ida.local", "ida.local@elsewhere.example")  # so that the number is not free again
    delete(airflow, before["id"])
    after = get_in(airflow, person)
    assert after["id"] != before["id"]
    assert after["username"] == "ida"
    assert airflow.roles_of("ida") == {"Viewer"}
    (link,) = airflow.rows("select * from sso_account where username = 'ida'")
    assert link["user_id"] == after["id"]
    query = "select reason from sso_decision where event = 'account_created' and user_id = ?"
    assert airflow.rows(query, after["id"]) == [{"reason": "the linked account was deleted"}]
    assert get_in(airflow, person)["id"] == after["id"]


def test_a_number_that_was_used_again_is_never_followed(airflow: Stack) -> None:
    person = hire(airflow, "jakob")
    before = get_in(airflow, person)
    delete(airflow, before["id"])
    other = local_user(airflow, "jakob.local", "jakob.local@elsewhere.example", before["id"])
    after = get_in(airflow, person)
    assert after["id"] != before["id"]
    assert user(airflow, id=before["id"]) == other
    assert airflow.roles_of("jakob.local") == set()
    query = "select reason from sso_decision where event = 'account_created' and user_id = ?"
    (made,) = airflow.rows(query, after["id"])
    assert made["reason"] == "the linked account was deleted and its number used again"


def test_an_account_of_ours_has_no_password_that_opens_anything(airflow: Stack) -> None:
    made = get_in(airflow, hire(airflow, "karl"))
    guesses = ["", " ", "karl", "password", made["password"], made["password"].lstrip("!"), "!", "None", "*"]
    for guess in guesses:
        assert not check_password_hash(made["password"], guess)
        assert not opens(airflow, "karl", guess)
    # The control: the check says yes where there is a password.
    local = local_user(airflow, "karl.local", "karl.local@elsewhere.example")
    assert check_password_hash(local["password"], "local-password")


# The record


def test_what_was_decided_stays_written_as_it_was(airflow: Stack) -> None:
    everything = "select * from sso_decision order by id"
    person = hire(airflow, "lena")
    made = get_in(airflow, person)
    before = airflow.rows(everything)
    hire(airflow, person, groups=["airflow_prod_op"], **known_as("lena.new"))
    get_in(airflow, person)
    hire(airflow, person, groups=[])
    assert facts(airflow.visitor().sign_in(person, "generic"))[0] == "SSO-301"
    visitor = airflow.visitor()
    visitor.sign_in("ada", "generic")
    visitor.sign_out()
    delete(airflow, made["id"])
    after = airflow.rows(everything)
    assert after[: len(before)] == before
    events = {row["event"] for row in after[len(before) :]}
    assert events >= {"account_changed", "roles_changed", "sign_in", "sign_in_refused", "sign_out"}


def changes_of_decisions(source: str) -> list[int]:
    """Lines that update, delete or drop rows of the decisions table, or name it in SQL of their own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called in {"update", "delete", "drop", "truncate", "merge"} and _names_decisions(node):
                found.append(node.lineno)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.lower().split()
            if {"update", "delete", "drop", "truncate"} & set(words) and "sso_decision" in words:
                found.append(node.lineno)
    return found


def _names_decisions(node: ast.AST) -> bool:
    names = [getattr(one, "id", None) or getattr(one, "attr", None) for one in ast.walk(node)]
    texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    return "decisions" in names or "sso_decision" in texts


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_line_of_the_package_changes_a_decision(path: Path) -> None:
    if "migrations" not in path.parts:
        assert changes_of_decisions(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "connection.execute(update(decisions).values(code=None))",
        "connection.execute(models.decisions.delete())",
        "connection.execute(text('delete from sso_decision'))",
        "Table('sso_decision', metadata).drop(engine)",
    ],
)
def test_such_a_line_would_be_found(line: str) -> None:
    assert changes_of_decisions(line)
    assert not changes_of_decisions("connection.execute(insert(decisions).values(code=None))")
