"""The refresh probe: what is kept of a sign-in, what asking with it does, and what a refusal never does.

The database is a real one; the provider is a function here, and the local one over HTTP further down.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete, select, update

from airflow_sso import config, models
from airflow_sso.accounts import housekeeping
from airflow_sso.accounts.refresh_tokens import RefreshTokens
from airflow_sso.config import LoadedConfig
from airflow_sso.directory.failures import (
    ConfigurationAlarm,
    CredentialsRefused,
    DirectoryUnreachable,
    DirectoryUnreadable,
)
from airflow_sso.directory.probe import MOST, ProbeReader
from airflow_sso.errors import (
    ConfigurationFaulty,
    GuestRefused,
    NotOurAttempt,
    ProviderUnreachable,
    SignatureInvalid,
)
from airflow_sso.identity import Identity
from airflow_sso.login import attempt, refresh
from airflow_sso.login.client_auth import Credentials
from airflow_sso.login.oidc import OidcDoor
from airflow_sso.login.refresh import Refresher
from airflow_sso.oidc_settings import EntraOidc, GenericOidc, OidcProvider
from airflow_sso.refresh import Granted, Kept, Refused
from airflow_sso.secret import Secret
from airflow_sso.sync import at_sign_in, directories, quarantine, run
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.guard import Limits
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET, TENANT_ID
from tests import stack as stacks
from tests import sync_world
from tests.databases import Database
from tests.sync_world import ADMINS, AUTHORITY, OPS, VIEWERS, World
from tests.test_role_mapping import mapping

pytestmark = pytest.mark.database

EVERY = timedelta(minutes=15)
DISABLED = Refused(word="invalid_grant", codes=(50057,))
DEAD = Refused(word="invalid_grant", codes=(700082,))
NO_CONSENT = Refused(word="invalid_grant", codes=(65001,))
KEY = Secret("env", "TEST_PROBE_KEY")
OLD_KEY = Secret("env", "TEST_PROBE_OLD_KEY")


@dataclass
class Provider:
    """A token endpoint: gives a new token for each, unless it is told to say something else."""

    says: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, frozenset[str] | None] = field(default_factory=dict)
    rotates: bool = True
    asked: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    before_the_answer: Callable[[], None] = lambda: None

    def __call__(self, token: str, subject: str, keep: Callable[[str], object]) -> Granted | Refused:
        self.asked.append(subject)
        self.shown.append(token)
        self.before_the_answer()
        answer = self.says.get(subject, self.says.get("*"))
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            assert isinstance(answer, Refused)
            return answer
        if self.rotates:
            keep(f"{subject}-{len(self.shown)}")
        return Granted(facts={"group": self.groups[subject]} if subject in self.groups else {})


class Probed:
    """A world whose only directory is the probe."""

    def __init__(self, world: World, ask: Any = None) -> None:
        self.world = world
        self.provider = Provider()
        self.ask = ask or self.provider
        self.tokens = RefreshTokens(provider="entra", authority=AUTHORITY, keys=(KEY,))
        self.use(self.tokens)

    def use(self, tokens: RefreshTokens, every: timedelta = EVERY) -> None:
        self.tokens = tokens
        reader = ProbeReader(self.ask, tokens, every, spread=lambda: 1.0)
        self.world.directory = Directory(name="entra", authority=AUTHORITY, reader=reader, tokens=tokens)

    def sign_up(self, name: str, *groups: str, session: bool = True, token: str | None = None) -> str:
        self.world.sign_up(name, *groups)
        self.tokens.keep(identity(name, refresh_token=token or f"{name}-0"))
        return self.world.open_session(name) if session else ""

    def due(self, *names: str, ago: timedelta = timedelta(hours=25)) -> None:
        table = models.refresh_tokens
        change = update(table).values(asked_at=models.now() - ago)
        if names:
            keys = [models.identity_key(AUTHORITY, name) for name in names]
            change = change.where(table.c.identity_key.in_(keys))
        self.world.write(change)

    def run(self) -> Any:
        """A run in which it is everybody's turn."""
        self.due()
        return self.world.try_sync()

    def kept(self, name: str) -> Kept | None:
        return next((one for one in self.tokens.all() if one.subject == name), None)

    def token_of(self, name: str) -> str | None:
        found = self.kept(name)
        return found.token if found else None


def identity(name: str, **changes: Any) -> Identity:
    values: dict[str, Any] = {
        "authority": AUTHORITY, "subject": name, "username": name, "email": None, "email_verified": False,
        "first_name": None, "last_name": None, "groups": frozenset(), "app_roles": None,
        "provider": "entra", "protocol": "oidc",
    }  # fmt: skip
    return Identity(**{**values, **changes})


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PROBE_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("TEST_PROBE_OLD_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("TEST_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)


@pytest.fixture(scope="module")
def shared(migrated_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("probe") / "airflow.db"
    with sync_world.world(migrated_database, path) as made:
        yield made


@pytest.fixture
def empty(shared: World) -> Probed:
    shared.forget_everything()
    return Probed(World(shared.engine))


@pytest.fixture
def probed(empty: Probed) -> Probed:
    """Ada runs it, Otto operates, Vera looks; each has a session."""
    for name, group in (("ada", ADMINS), ("otto", OPS), ("vera", VIEWERS)):
        empty.sign_up(name, group)
    return empty


# --- keeping ---------------------------------------------------------------------------------------------


def rows(world: World) -> list[Any]:
    with world.engine.connect() as connection:
        return list(connection.execute(select(models.refresh_tokens)))


def test_a_token_is_kept_encrypted_and_replaced_at_the_next_sign_in(probed: Probed) -> None:
    assert probed.token_of("otto") == "otto-0"
    assert all(row.token.startswith("gAAAA") and "otto-0" not in row.token for row in rows(probed.world))
    probed.tokens.keep(identity("otto", refresh_token="another"))
    assert probed.token_of("otto") == "another"
    assert len(rows(probed.world)) == 3


def test_nothing_is_kept_of_strangers_of_others_or_of_nothing(probed: Probed) -> None:
    before = rows(probed.world)
    probed.tokens.keep(identity("nobody", refresh_token="x"))
    probed.tokens.keep(identity("otto", refresh_token=None))
    probed.tokens.keep(identity("otto", refresh_token="x", provider="another"))
    assert rows(probed.world) == before


def test_the_keeper_is_only_where_a_probe_is(probed: Probed) -> None:
    with_probe = at_sign_in.keeper({AUTHORITY: probed.world.directory})
    without = at_sign_in.keeper({AUTHORITY: replace(probed.world.directory, tokens=None)})
    without(identity("otto", refresh_token="unwanted"))
    at_sign_in.keeper({})(identity("otto", refresh_token="unwanted"))
    assert probed.token_of("otto") == "otto-0"
    with_probe(identity("otto", refresh_token="wanted"))
    assert probed.token_of("otto") == "wanted"


def test_nothing_shows_a_token(
    probed: Probed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    kept = probed.kept("otto")
    shown = [repr(kept), str(kept), repr(identity("otto", refresh_token="otto-0"))]
    probed.provider.says = {"otto": DISABLED, "vera": NotOurAttempt("somebody else")}
    probed.run()
    monkeypatch.setenv("TEST_PROBE_KEY", "no key")
    probed.tokens.keep(identity("otto", refresh_token="otto-0"))
    with probed.world.engine.connect() as connection:
        shown += [str(row) for row in connection.execute(select(models.decisions))]
    assert not [text for text in (*shown, caplog.text) if "otto-0" in text or "ada-" in text]
    assert "no refresh token is kept" in caplog.text


def test_a_sign_in_goes_on_when_nothing_can_be_kept(
    probed: Probed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TEST_PROBE_KEY")
    probed.tokens.keep(identity("otto", refresh_token="new"))
    assert "TEST_PROBE_KEY is not set" in caplog.text
    assert isinstance(probed.world.try_sync(), CredentialsRefused)


def test_keys_are_rotated_by_putting_the_new_one_first(
    probed: Probed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_PROBE_OLD_KEY", os.environ["TEST_PROBE_KEY"])
    monkeypatch.setenv("TEST_PROBE_KEY", Fernet.generate_key().decode())
    probed.use(RefreshTokens(provider="entra", authority=AUTHORITY, keys=(KEY, OLD_KEY)))
    probed.provider.says = {"vera": ProviderUnreachable("down")}
    probed.run()
    assert sorted(probed.provider.shown) == ["ada-0", "otto-0", "vera-0"]
    probed.use(RefreshTokens(provider="entra", authority=AUTHORITY, keys=(KEY,)))
    assert probed.token_of("otto") is not None, "asking has encrypted it under the first key"
    assert probed.token_of("vera") is None
    assert probed.run().result == "nothing"
    probed.run()
    assert caplog.text.count("1 refresh tokens of entra open with none") == 1
    assert probed.world.active() == {"ada", "otto", "vera"}


def test_what_nobody_asks_about_any_more_is_swept_out(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed.due("otto", ago=timedelta(days=91))
    monkeypatch.setattr(housekeeping._sweeper, "_next", 0.0)
    housekeeping.sweep()
    assert probed.token_of("otto") is None
    assert probed.token_of("vera") == "vera-0"


# --- asking ----------------------------------------------------------------------------------------------


def test_whose_turn_it_is_is_asked_the_longest_waiting_first(probed: Probed) -> None:
    assert probed.world.sync().result == "nothing"
    assert probed.provider.asked == []
    probed.due("otto", ago=timedelta(minutes=16))
    probed.due("vera", ago=timedelta(minutes=17))
    probed.world.sync()
    assert probed.provider.asked == ["vera", "otto"]
    probed.world.sync()
    assert probed.provider.asked == ["vera", "otto"]


def test_whoever_has_no_session_is_asked_once_a_day(empty: Probed) -> None:
    empty.sign_up("otto", OPS, session=False)
    empty.due(ago=timedelta(hours=23))
    empty.world.sync()
    assert empty.provider.asked == []
    empty.run()
    assert empty.provider.asked == ["otto"]


def test_a_run_asks_about_no_more_than_it_may(empty: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST == 200
    monkeypatch.setattr("airflow_sso.directory.probe.MOST", 2)
    for name in ("a", "b", "c"):
        empty.sign_up(name, OPS)
    empty.run()
    assert len(empty.provider.asked) == 2
    empty.due()
    empty.due("c", ago=timedelta(hours=26))
    empty.world.sync()
    assert empty.provider.asked[2] == "c"


def test_whose_account_was_deleted_is_not_asked_about(probed: Probed) -> None:
    users = sync_world.fab_users.table()
    probed.world.write(delete(users).where(users.c.username == "vera"))
    probed.run()
    assert sorted(probed.provider.asked) == ["ada", "otto"]


def test_the_turn_varies_by_a_tenth(probed: Probed) -> None:
    spread = ProbeReader(probed.ask, probed.tokens, EVERY)._spread
    drawn = [spread() for _ in range(300)]
    assert 0.9 <= min(drawn) < 0.95
    assert 1.05 < max(drawn) <= 1.1


def test_no_token_is_shown_twice(probed: Probed) -> None:
    for _ in range(3):
        probed.run()
    shown = probed.provider.shown
    assert len(shown) == len(set(shown)) == 9


def test_two_who_ask_at_once_show_a_token_once(probed: Probed) -> None:
    """As a dry run beside the watch would, which has no lease."""
    seen = probed.tokens.all()
    assert all(probed.tokens.claim(one) for one in seen)
    assert not any(probed.tokens.claim(one) for one in seen)
    probed.due()

    def another_asks() -> None:
        probed.provider.before_the_answer = lambda: None
        run.look(probed.world.directory, probed.world.mapping, probed.world.limits)

    probed.provider.before_the_answer = another_asks
    probed.world.sync()
    assert sorted(probed.provider.shown) == ["ada-0", "otto-0", "vera-0"]


def test_a_rotated_token_is_kept_before_anything_else_is_done(probed: Probed) -> None:
    class Killed(BaseException):
        """The process ends here."""

    def killed_after(token: str, subject: str, keep: Callable[[str], object]) -> Granted:
        keep("rotated")
        raise Killed

    def killed_before(token: str, subject: str, keep: Callable[[str], object]) -> Granted:
        raise Killed

    for ask, then in ((killed_after, "rotated"), (killed_before, "vera-0")):
        name = "otto" if then == "rotated" else "vera"
        probed.due(name)
        probed.ask = ask
        probed.use(probed.tokens)
        with pytest.raises(Killed):
            probed.world.sync()
        assert probed.token_of(name) == then
    # Vera's was used up there; that she has to sign in anew is all that may come of it.
    probed.ask = probed.provider
    probed.use(probed.tokens)
    probed.provider.says = {"vera": DEAD}
    probed.run()
    assert sorted(probed.provider.shown) == ["ada-0", "rotated", "vera-0"]
    assert probed.world.active() == {"ada", "otto", "vera"}


@pytest.mark.parametrize("answer", [None, DISABLED, DEAD])
def test_a_sign_in_meanwhile_wins(probed: Probed, answer: Refused | None) -> None:
    probed.due("otto")
    if answer:
        probed.provider.says = {"otto": answer}
    probed.provider.before_the_answer = lambda: probed.tokens.keep(identity("otto", refresh_token="newer"))
    before = probed.world.state()
    assert probed.world.sync().result == "nothing"
    assert probed.token_of("otto") == "newer"
    assert probed.world.state() == before


def test_groups_of_the_new_token_make_the_roles(probed: Probed) -> None:
    probed.provider.groups = {"vera": frozenset({OPS}), "otto": frozenset()}
    probed.run()
    assert probed.world.roles_of("vera") == {"Op"}
    assert probed.world.roles_of("otto") == set()
    assert probed.world.roles_of("ada") == {"Admin"}, "her answer had none, so the last sign-in's stand"


@pytest.mark.parametrize("app_roles", [None, frozenset({"nothing"}), frozenset({"viewer"})])
def test_too_many_groups_change_nothing(probed: Probed, app_roles: Any) -> None:
    def ask(token: str, subject: str, keep: Callable[[str], object]) -> Granted:
        return Granted(facts={"group": None, "app_role": app_roles})

    rule = sync_world.rule(9, "app_role", "viewer", "Viewer")
    probed.world.mapping = sync_world.compile_rules([*probed.world.mapping.rules, rule])
    probed.ask = ask
    probed.use(probed.tokens)
    before = probed.world.state()
    outcome = probed.run()
    assert (outcome.result, outcome.plan.changes) == ("nothing", [])
    assert probed.world.state() == before


# --- refusals --------------------------------------------------------------------------------------------


def test_whoever_is_disabled_is_out_and_the_token_goes(probed: Probed) -> None:
    probed.provider.says = {"otto": DISABLED}
    assert probed.run().result == "applied"
    assert probed.world.active() == {"ada", "vera"}
    assert probed.world.roles_of("otto") == set()
    assert len(probed.world.open_sessions()) == 2
    assert probed.token_of("otto") is None
    assert probed.run().result == "nothing"
    assert probed.provider.asked.count("otto") == 1


def test_enabled_again_the_next_sign_in_is_heard(probed: Probed) -> None:
    probed.provider.says = {"otto": DISABLED}
    probed.run()
    probed.provider.says = {}
    probed.tokens.keep(identity("otto", refresh_token="of-the-refused-sign-in"))
    assert probed.world.sync().result == "applied"
    assert probed.provider.shown[-1] == "of-the-refused-sign-in"
    assert "otto" in probed.world.active()
    assert probed.world.roles_of("otto") == {"Op"}


@pytest.mark.parametrize(
    "answer",
    [
        DEAD,
        Refused(word="invalid_grant"),
        Refused(word="interaction_required", codes=(50076,)),
        Refused(word="invalid_grant", codes=(50105,)),
        GuestRefused("a guest", identity=identity("otto")),
    ],
)
def test_a_dead_grant_ends_the_sessions_and_shuts_nothing(probed: Probed, answer: Any) -> None:
    probed.provider.says = {"otto": answer}
    probed.run()
    assert probed.world.active() == {"ada", "otto", "vera"}
    assert probed.world.roles_of("otto") == {"Op"}
    assert len(probed.world.open_sessions()) == 2
    assert probed.token_of("otto") is None
    assert probed.world.events("access_ended") == ["otto"]
    again = probed.world.open_session("otto")
    outcome = probed.run()
    assert (outcome.result, outcome.plan.unknown) == ("nothing", [])
    assert again in probed.world.open_sessions()


def test_the_reason_is_on_record(probed: Probed) -> None:
    probed.provider.says = {"otto": Refused(word="invalid_grant", codes=(50105,))}
    probed.run()
    with probed.world.engine.connect() as connection:
        query = select(models.decisions.c.reason).where(models.decisions.c.event == "access_ended")
        assert connection.scalars(query).all() == ["no longer assigned to the application (AADSTS50105)"]


@pytest.mark.parametrize(
    "answer",
    [
        Refused(word="invalid_client"),
        Refused(word="unauthorized_client"),
        Refused(word="invalid_grant", codes=(7000215,)),
        ConfigurationFaulty("client_auth of entra: not set"),
    ],
)
def test_our_own_fault_is_nobodys(probed: Probed, answer: Any) -> None:
    before = probed.world.state()
    probed.provider.says = {"*": answer}
    assert isinstance(probed.run(), CredentialsRefused)
    assert len(probed.provider.asked) == 1, "the others would hear the same"
    assert probed.world.state() == before
    assert probed.token_of("otto") == "otto-0"


def test_what_others_said_before_our_fault_is_not_forgotten(probed: Probed) -> None:
    probed.due("otto", ago=timedelta(hours=30))
    probed.due("vera", ago=timedelta(hours=29))
    probed.provider.says = {"otto": DISABLED, "vera": Refused(word="invalid_request")}
    assert isinstance(probed.world.try_sync(), CredentialsRefused)
    assert "otto" in probed.world.active()
    assert probed.world.sync().result == "applied"
    assert "otto" not in probed.world.active()


@pytest.mark.parametrize(
    "answer",
    [
        ProviderUnreachable("token endpoint of entra: HTTP 429"),
        Refused(word="temporarily_unavailable"),
        Refused(word="invalid_grant", codes=(50196,)),
        SignatureInvalid("no key fits"),
        NotOurAttempt("somebody else"),
    ],
)
def test_who_could_not_be_asked_is_left_alone(probed: Probed, answer: Any) -> None:
    before = probed.world.state()
    probed.provider.says = {"otto": answer}
    outcome = probed.run()
    assert outcome.result == "nothing"
    assert [line for line in outcome.plan.unknown if line.startswith("otto")]
    assert probed.world.state() == before
    assert probed.token_of("otto") == "otto-0"
    assert probed.token_of("vera") != "vera-0", "the others were asked"


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (ProviderUnreachable("down"), DirectoryUnreachable),
        (Refused(word="temporarily_unavailable"), DirectoryUnreachable),
        (SignatureInvalid("no key fits"), DirectoryUnreadable),
    ],
)
def test_when_nobody_can_be_asked_the_reading_failed(
    probed: Probed, answer: Any, failure: type[Exception]
) -> None:
    before = probed.world.state()
    probed.provider.says = {"*": answer}
    assert type(probed.run()) is failure
    assert probed.world.state() == before


def test_a_silent_provider_is_not_asked_on_and_on(empty: Probed) -> None:
    for number in range(8):
        empty.sign_up(f"p{number}", OPS)
    empty.provider.says = {"*": ProviderUnreachable("down")}
    empty.run()
    assert len(empty.provider.asked) == 5


def test_another_persons_token_is_said_loudly(probed: Probed, caplog: pytest.LogCaptureFixture) -> None:
    probed.provider.says = {"otto": NotOurAttempt("about somebody else")}
    probed.run()
    assert [
        record
        for record in caplog.records
        if record.levelname == "ERROR" and "somebody else" in record.message
    ]


# --- many at once ----------------------------------------------------------------------------------------


def crowd(probed: Probed, refused: int, well: int, answer: Refused, **options: Any) -> None:
    probed.sign_up("admin", ADMINS)
    for number in range(refused + well - 1):
        probed.sign_up(f"p{number:02}", VIEWERS, **options)
        if number < refused:
            probed.provider.says[f"p{number:02}"] = answer


@pytest.mark.parametrize("answer", [NO_CONSENT, DISABLED, Refused(word="invalid_grant")])
def test_many_refused_alike_are_an_alarm_and_nobody_is_touched(empty: Probed, answer: Refused) -> None:
    crowd(empty, refused=5, well=5, answer=answer)
    before = empty.world.state()
    failure = empty.run()
    assert isinstance(failure, ConfigurationAlarm)
    assert "5 of 10 people were refused with the same answer" in failure.detail
    assert empty.world.state() == before
    assert empty.token_of("p00") == "p00-0", "no token is lost by it"
    assert empty.world.events("directory_failed") == [None]
    empty.provider.says = {}
    empty.run()
    assert empty.token_of("p00") != "p00-0"
    assert empty.world.state() == before


@pytest.mark.parametrize(("refused", "well"), [(4, 1), (5, 6)])
def test_fewer_are_what_they_are(empty: Probed, refused: int, well: int) -> None:
    crowd(empty, refused=refused, well=well, answer=NO_CONSENT)
    before = len(empty.world.open_sessions())
    assert empty.run().changed == refused
    assert len(empty.world.open_sessions()) == before - refused


def test_many_refused_differently_are_no_alarm(empty: Probed) -> None:
    crowd(empty, refused=8, well=1, answer=NO_CONSENT)
    for number in range(4):
        empty.provider.says[f"p{number:02}"] = DEAD
    assert empty.run().changed == 8


def test_grants_that_nobody_uses_are_no_alarm(empty: Probed) -> None:
    crowd(empty, refused=9, well=1, answer=DEAD, session=False)
    before = empty.world.state()
    assert empty.run().result == "nothing"
    assert empty.token_of("p00") is None
    assert empty.world.state() == before


def test_disabled_people_without_a_session_do_count(empty: Probed) -> None:
    crowd(empty, refused=9, well=1, answer=DISABLED, session=False)
    assert isinstance(empty.run(), ConfigurationAlarm)


# --- what was told stays told ----------------------------------------------------------------------------


def test_a_plan_that_waits_is_found_again_until_it_is_approved(probed: Probed) -> None:
    probed.world.limits = Limits(count=0)
    probed.provider.says = {"otto": DISABLED}
    probed.provider.groups = {"vera": frozenset()}
    first = probed.run()
    assert first.result == "quarantined"
    assert probed.world.active() == {"ada", "otto", "vera"}
    second = probed.world.sync()
    assert second.quarantined.plan_id == first.quarantined.plan_id
    quarantine.approve(first.quarantined.plan_id, "ada")
    assert probed.world.sync().result == "applied"
    assert probed.world.active() == {"ada", "vera"}
    assert probed.world.roles_of("vera") == set()
    assert len(probed.provider.asked) == 3


def test_a_run_that_dies_after_reading_is_made_up_for(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed.due()
    probed.provider.says = {"otto": DISABLED}
    with monkeypatch.context() as patched:
        patched.setattr("airflow_sso.sync.apply.remember", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            probed.world.sync()
    assert "otto" in probed.world.active()
    probed.world.sync()
    assert "otto" not in probed.world.active()
    assert probed.provider.asked.count("otto") == 1


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_who_moves_within_what_patterns_want_has_the_other_role(probed: Probed) -> None:
    """The new token's list is whole: what it does not tell, the person is not in."""
    probed.world.mapping = mapping(
        "rules: [{group: 'op-*', roles: [Op]}, {group: 'view-*', roles: [Viewer]}, {group: admins, roles: [Admin]}]"
    )
    probed.sign_up("paul", "view-berlin")
    probed.provider.groups = {"paul": frozenset({"view-berlin"})}
    probed.run()
    assert probed.world.roles_of("paul") == {"Viewer"}
    probed.provider.groups = {"paul": frozenset({"op-berlin"})}
    probed.run()
    assert probed.world.roles_of("paul") == {"Op"}


def test_what_was_told_before_a_sign_in_is_not_believed_after_it(probed: Probed) -> None:
    probed.provider.groups = {"vera": frozenset({OPS})}
    probed.run()
    assert probed.world.roles_of("vera") == {"Op"}
    table = models.accounts
    facts = sync_world.links.written({"group": frozenset({VIEWERS})}, "sign_in:entra")
    probed.world.write(
        update(table).where(table.c.subject == "vera").values(facts=facts, observed_at=models.now())
    )
    probed.world.sync()
    assert probed.world.roles_of("vera") == {"Viewer"}


# --- over HTTP -------------------------------------------------------------------------------------------

_COMMON = {
    "protocol": "oidc",
    "client_id": stacks.CLIENT_ID,
    "client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}},
    "directory": {"type": "probe", "keys": [{"env": "TEST_PROBE_KEY"}]},
    "scopes": ["openid", "profile", "email", "offline_access"],
    "http": {"timeout": "3s"},
}
REDIRECT = "http://localhost:9999/auth/oauth-authorized/"


def entra(idp: Handle, **changes: Any) -> EntraOidc:
    entry = {"name": "entra", "vendor": "entra", "tenant_id": TENANT_ID, "insecure_authority_host": idp.url}
    return EntraOidc.model_validate({**_COMMON, **entry, **changes})


def generic(idp: Handle, **changes: Any) -> GenericOidc:
    entry = {"name": "lab", "vendor": "generic", "issuer": f"{idp.url}/generic"}
    return GenericOidc.model_validate({**_COMMON, **entry, **changes})


def signed_in(idp: Handle, settings: OidcProvider, person: str) -> Identity:
    """Through the provider's own page."""
    redirect = REDIRECT + settings.name
    drive = stacks.driver(idp)
    drive.control("POST", "clients", {"redirect_uris": [redirect]})
    door = OidcDoor(settings, redirect, "http://localhost:9999/auth/signed-out")
    begun = attempt.new(settings.name, "/")
    location = drive.choose(door.start(begun), person)
    query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    return door.finish(begun, query)


EITHER = pytest.mark.parametrize("make", [entra, generic], ids=["entra", "generic"])


@EITHER
def test_a_sign_in_brings_a_token_only_where_it_is_wanted(idp: Handle, make: Any) -> None:
    brought = signed_in(idp, make(idp), "otto")
    assert brought.refresh_token
    assert brought.refresh_token not in repr(brought) + str(brought)
    assert signed_in(idp, make(idp, directory=None), "otto").refresh_token is None
    stacks.driver(idp).knobs(token__remove=["refresh_token"])
    assert signed_in(idp, make(idp), "otto").refresh_token is None


@EITHER
@pytest.mark.parametrize("auth", [{"method": "basic"}, {"method": "post"}], ids=["basic", "post"])
def test_a_refresh_over_http(idp: Handle, make: Any, auth: dict[str, str]) -> None:
    settings = make(idp, client_auth={"secret": {"env": "TEST_CLIENT_SECRET"}, **auth})
    first = signed_in(idp, settings, "otto")
    kept = [str(first.refresh_token)]
    for _ in range(3):
        answer = Refresher(settings).ask(kept[-1], first.subject, kept.append)
        assert isinstance(answer, Granted)
        assert answer.facts["group"] == first.groups
    assert len(set(kept)) == 4
    assert set(stacks.driver(idp).outcomes()) == {"tokens"}


@pytest.mark.parametrize(("make", "codes"), [(entra, (50057,)), (generic, ())], ids=["entra", "generic"])
def test_a_disabled_person_over_http(idp: Handle, make: Any, codes: tuple[int, ...]) -> None:
    settings = make(idp)
    first = signed_in(idp, settings, "otto")
    stacks.driver(idp).disable("otto")
    kept: list[str] = []
    answer = Refresher(settings).ask(str(first.refresh_token), first.subject, kept.append)
    assert answer == Refused(word="invalid_grant", codes=codes)
    assert kept == []


def test_codes_are_entras_alone_and_may_stand_in_the_text(idp: Handle) -> None:
    body = {"error": "invalid_grant", "error_description": "AADSTS50057: The user account is disabled."}
    for settings, codes in ((entra(idp), (50057,)), (generic(idp), ())):
        first = signed_in(idp, settings, "otto")
        stacks.driver(idp).knobs(
            token__status={"value": 400, "times": 1}, token__body={"value": body, "times": 1}
        )
        answer = Refresher(settings).ask(str(first.refresh_token), first.subject, list[str]().append)
        assert answer == Refused(word="invalid_grant", codes=codes)


@pytest.mark.parametrize(
    "knobs",
    [
        {"token__retry_after": 7},
        {"token__status": 503},
        {"token__down": True},
        {"token__html": True},
        {"token__body": "{"},
        {"token__body": "[]"},
        {"token__status": 401, "token__body": "{}"},
        {"token__status": 400, "token__body": '{"error": ["a", "list"]}'},
        {"token__redirect": "https://evil.example/"},
        {"token__remove": ["id_token", "access_token"]},
    ],
    ids=str,
)
def test_whatever_is_no_answer_says_nothing(idp: Handle, knobs: dict[str, Any]) -> None:
    settings = entra(idp)
    first = signed_in(idp, settings, "otto")
    stacks.driver(idp).knobs(**knobs)
    with pytest.raises(ProviderUnreachable):
        Refresher(settings).ask(str(first.refresh_token), first.subject, list[str]().append)


@EITHER
def test_the_new_id_token_is_about_the_same_person_or_refused(idp: Handle, make: Any) -> None:
    settings = make(idp)
    first = signed_in(idp, settings, "otto")
    kept: list[str] = []
    with pytest.raises(NotOurAttempt, match="somebody else"):
        Refresher(settings).ask(str(first.refresh_token), "another", kept.append)
    assert len(kept) == 1, "the token is kept whatever is wrong with the rest"
    stacks.driver(idp).knobs(id_token__key="foreign")
    with pytest.raises(SignatureInvalid):
        Refresher(settings).ask(kept[-1], first.subject, kept.append)
    assert len(kept) == 2


def test_without_an_id_token_what_was_found_stands(idp: Handle) -> None:
    settings = generic(idp)
    first = signed_in(idp, settings, "otto")
    stacks.driver(idp).knobs(id_token__omit=True)
    assert Refresher(settings).ask(str(first.refresh_token), first.subject, list[str]().append) == Granted()


@pytest.mark.parametrize(
    ("knobs", "facts"),
    [({"groups__overage": "claim_sources"}, {"group": None}), ({"groups__shape": "absent"}, {})],
)
def test_groups_that_are_not_told(idp: Handle, knobs: dict[str, str], facts: dict[str, None]) -> None:
    settings = generic(idp)
    first = signed_in(idp, settings, "otto")
    stacks.driver(idp).knobs(**knobs)
    answer = Refresher(settings).ask(str(first.refresh_token), first.subject, list[str]().append)
    assert isinstance(answer, Granted)
    assert answer.facts == facts


def test_from_the_provider_to_the_database(empty: Probed, idp: Handle) -> None:
    settings = entra(idp)
    subjects = {}
    for person, group in (("ada", ADMINS), ("otto", OPS), ("vera", VIEWERS)):
        brought = signed_in(idp, settings, person)
        subjects[person] = brought.subject
        empty.sign_up(brought.subject, group, token=brought.refresh_token)
    rules = [
        sync_world.rule(number, "group", stacks.GROUPS[f"airflow_prod_{name}"], role)
        for number, (name, role) in enumerate((("admin", "Admin"), ("op", "Op"), ("viewer", "Viewer")), 1)
    ]
    empty.world.mapping = sync_world.compile_rules(rules)
    empty.ask = Refresher(settings).ask
    empty.use(empty.tokens)
    stacks.driver(idp).disable("otto")
    stacks.driver(idp).put_person("vera", groups=["airflow_prod_op"])
    assert empty.run().result == "applied"
    assert empty.world.active() == {subjects["ada"], subjects["vera"]}
    assert empty.world.roles_of(subjects["vera"]) == {"Op"}
    empty.run()
    empty.run()
    assert "dead_grant" not in stacks.driver(idp).outcomes(), "no token is shown twice"


def test_an_assertion_stands_for_the_secret() -> None:
    ours = Credentials("none", "airflow", form={"client_assertion": "x"})
    assert refresh._shown(ours)[1] == {"client_id": "airflow", "client_assertion": "x"}


# --- configuration ---------------------------------------------------------------------------------------

YAML = """\
external_url: https://airflow.example.com
role_mapping_file: /opt/airflow/role_mapping.yaml
providers:
  - name: entra
    vendor: {vendor}
    protocol: {protocol}
    {more}
    directory:
      type: probe
      every: {every}
      keys: [{{env: TEST_PROBE_KEY}}, {{env: TEST_PROBE_OLD_KEY}}]
"""
OIDC = "client_id: airflow\n    client_auth: {secret: {env: TEST_CLIENT_SECRET}}"
ENTRA = f"tenant_id: {TENANT_ID}\n    {OIDC}"


def load(path: Path, **values: str) -> LoadedConfig:
    file = path / "sso.yaml"
    scopes = "scopes: [openid, profile, offline_access]"
    default = {"vendor": "entra", "protocol": "oidc", "more": f"{ENTRA}\n    {scopes}", "every": "15m"}
    file.write_text(YAML.format(**{**default, **values}))
    return config.load(file)


def test_a_probe_that_is_in_order(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.faults == ()
    assert loaded.settings is not None
    (found,) = directories.of(loaded.settings)
    assert isinstance(found.reader, ProbeReader)
    assert found.reader.supplies == frozenset()
    assert found.tokens is not None


def test_pingone_and_the_like_need_no_such_scope(tmp_path: Path) -> None:
    more = f"issuer: https://id.lab.example.com\n    {OIDC}"
    assert load(tmp_path, vendor="generic", more=more).faults == ()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"more": ENTRA}, "write scopes: [openid, profile, email, offline_access]"),
        ({"every": "4m"}, "every may be 5m to 1d"),
        ({"every": "2d"}, "every may be 5m to 1d"),
        (
            {
                "vendor": "generic",
                "protocol": "saml",
                "more": "metadata_url: https://id.example.com/metadata",
            },
            "type: probe needs protocol: oidc",
        ),
    ],
)
def test_a_probe_that_cannot_be(tmp_path: Path, values: dict[str, str], says: str) -> None:
    loaded = load(tmp_path, **values)
    assert says in "\n".join(map(str, loaded.faults))
    assert list(loaded.shut) == ["entra"]


def test_a_key_that_is_none_is_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PROBE_OLD_KEY", "bm90IGEga2V5")
    (fault,) = map(str, load(tmp_path).faults)
    assert "keys[1]" in fault
    assert "is no Fernet key" in fault
    assert "bm90" not in fault
