"""Switches off one check at a time in a scratch copy, and sees a test fail for each.

A check that no test misses is a check that the next change may lose. Run by ``make mutate``; slow
(a minute or two a check that only a running server shows), so it is not part of ``make test``.
``python scripts/mutate.py nonce`` runs those whose name contains the word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TOKEN = "tests/test_id_token.py"
CLAIMS = "tests/test_claims.py"
DISCOVERY = "tests/test_discovery.py"
MAPPING = "tests/test_role_mapping_table.py"
SIGN_IN = "tests/test_sign_in.py"
HOSTILE = "tests/test_hostile_provider.py"
ASSERTION = "tests/test_assertion.py"
SAML_METADATA = "tests/test_saml_metadata.py"
SAML_SIGN_IN = "tests/test_saml_sign_in.py"
BREAK_GLASS = "tests/test_break_glass.py"
DOORS = "tests/test_doors.py"
SAML_LOGOUT = "tests/test_saml_logout_request.py"
LOGOUT_TOKEN = "tests/test_logout_token.py"
OIDC_LOGOUT = "tests/test_oidc_logout.py"
REVOCATION = "tests/test_revocation.py"
RACES = "tests/test_races.py"
SYNC = "tests/test_sync.py"
PATTERNS = "tests/test_patterns_between_sign_ins.py"
GUARD = "tests/test_guard.py"
FENCE = "tests/test_sync_lease.py"
LINKED = "tests/test_linked_accounts.py"
DIFF = "tests/test_mapping_diff.py"
EXPECTATIONS = "tests/test_expectations.py"
REQUIRE = "tests/test_require.py"
TEAMS = "tests/test_team_roles.py"
IN_FORCE = "tests/test_in_force.py"
EXPLAIN = "tests/test_explain.py"


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    was: str
    becomes: str
    tests: str


def _without(name: str) -> Mutation:
    """One row taken out of the table of checks."""
    return Mutation(f"id token: {name}", "login/id_token.py", f"    {name},\n", "", TOKEN)


def _off(name: str, file: str, condition: str, tests: str = ASSERTION) -> Mutation:
    """A condition that never holds."""
    indent = condition[: len(condition) - len(condition.lstrip())]
    return Mutation(name, file, condition, f"{indent}if False:", tests)


_SIGNATURE, _ASSERTION, _RESPONSE = "login/xml_signature.py", "login/assertion.py", "login/saml_response.py"
_ENCRYPTION = "login/xml_encryption.py"
_SAML_CHECKS = (
    "_versions", "_destination", "_issuers", "_issue_instants", "_subject", "_confirmation",
    "_in_response_to", "_conditions", "_audience", "_authentication", "_attributes",
)  # fmt: skip
_SAML = (
    *(Mutation(f"assertion: {name}", _ASSERTION, f"    {name},\n", "", ASSERTION) for name in _SAML_CHECKS),
    _off("assertion: status", _RESPONSE, '        if codes != [f"{_STATUS}Success"]:'),
    _off(
        "assertion: one only",
        _ASSERTION,
        "    if len(everywhere) != 1 or everywhere[0].getparent() is not root:",
    ),
    Mutation(
        "assertion: signatures only where they belong",
        _ASSERTION,
        "    require_signatures_only_on(clear, [clear, assertion])\n",
        "",
        ASSERTION,
    ),
    _off("assertion: something signed", _ASSERTION, "    if not (response_signed or assertion_signed):"),
    Mutation(
        "assertion: read what is signed",
        _ASSERTION,
        "        read = verified(assertion, certificates)\n",
        "        read = assertion\n",
        ASSERTION,
    ),
    _off(
        "signature: algorithm",
        _SIGNATURE,
        '    if method.get("Algorithm") not in _SIGNATURES or len(method):',
    ),
    _off("signature: digest", _SIGNATURE, '    if digest.get("Algorithm") not in _DIGESTS or len(digest):'),
    _off("signature: own parent", _SIGNATURE, """    if reference.get("URI") != f"#{element.get('ID')}":"""),
    _off("encryption: cipher", _ENCRYPTION, "    if len(used) != 1 or used[0] not in _BLOCK:"),
    _off(
        "encryption: transport",
        _ENCRYPTION,
        "        if len(transport) != 1 or transport[0] not in _TRANSPORT:",
    ),
    _off("encryption: tries", _ENCRYPTION, "            if self._used[name] > _MOST_TRIES:"),
    Mutation(
        "encryption: just the element",
        _ENCRYPTION,
        "    _require_just(name, clear, namespaces)\n",
        "",
        ASSERTION,
    ),
    Mutation(
        "xml: cost",
        "login/saml_xml.py",
        "    _measure(encoded)\n",
        "",
        ASSERTION,
    ),
    _off("xml: no DTD", "login/saml_xml.py", "    if found:"),
    _off("metadata: pin", "login/idp_metadata.py", "    if not kept:", SAML_METADATA),
    _off(
        "metadata: validUntil",
        "login/idp_metadata.py",
        "        if metadata.valid_until and metadata.valid_until <= datetime.now(timezone.utc):",
        SAML_METADATA,
    ),
    _off(
        "certificate: end",
        "certificates.py",
        "    if now >= certificate.not_valid_after_utc + skew:",
        SAML_METADATA,
    ),
    _off(
        "name id: lasting",
        "login/claims.py",
        "    if reason and not (name_id.may_be_reused and settings.may_reuse_subjects):",
        SAML_SIGN_IN,
    ),
    Mutation(
        "restart: loop guard",
        "login/browser.py",
        "    if _RESTARTED in request.cookies:\n        raise",
        "    if False:\n        raise",
        SAML_SIGN_IN,
    ),
    Mutation(
        "replay: assertion",
        "login/attempt.py",
        "        except IntegrityError:\n            raise",
        "        except IntegrityError:\n            pass\n        if False:\n            raise",
        SAML_SIGN_IN,
    ),
)

_BINDINGS = "login/saml_bindings.py"
_REQUEST_CHECKS = (
    "_version", "_destination", "_issuer", "_issue_instant", "_not_on_or_after", "_subject", "_session_indexes",
)  # fmt: skip
_SINGLE_LOGOUT = (
    *(
        Mutation(f"saml logout: {name}", "login/saml_logout.py", f"    {name},\n", "", SAML_LOGOUT)
        for name in _REQUEST_CHECKS
    ),
    _off(
        "saml logout: signed",
        "login/saml_logout.py",
        "    if not message.is_signed and not expected.takes_unsigned:",
        SAML_LOGOUT,
    ),
    Mutation(
        "saml logout: a request",
        "login/saml_logout.py",
        '    if message.is_response or message.root.tag != tag("samlp", "LogoutRequest"):',
        '    if message.root.tag != tag("samlp", "LogoutRequest"):',
        SAML_LOGOUT,
    ),
    Mutation(
        "saml logout: whom the index belongs to",
        "login/saml_logout.py",
        "Target(session_ref=index, subject=self.name_id)",
        "Target(session_ref=index)",
        SAML_LOGOUT,
    ),
    _off(
        "saml redirect: key",
        _BINDINGS,
        "        if not any(_made_by(self.query, certificate) for certificate in certificates):",
        SAML_LOGOUT,
    ),
    _off(
        "saml redirect: algorithm",
        _BINDINGS,
        "        if self.query.algorithm not in _SIGNATURES:",
        SAML_LOGOUT,
    ),
    Mutation(
        "saml redirect: order",
        _BINDINGS,
        "for part in (name, *_SIGNED) if part in raw",
        "for part in raw if part in (name, *_SIGNED)",
        SAML_LOGOUT,
    ),
    _off("saml redirect: once", _BINDINGS, "    if len(raw) != len(pairs):", SAML_LOGOUT),
    _off(
        "saml redirect: bounded",
        _BINDINGS,
        "    if inflater.unconsumed_tail or inflater.unused_data or not inflater.eof:",
        SAML_LOGOUT,
    ),
    Mutation(
        "saml post: signature in its place",
        _BINDINGS,
        "            require_signatures_only_on(self.root, [self.root])\n            return verified(self.root, certificates)\n",
        "            return self.root\n",
        SAML_LOGOUT,
    ),
)

_NOTICE_CHECKS = (
    "_issuer", "_audience", "_issued", "_expires", "_identifier", "_subject", "_event", "_no_nonce",
)  # fmt: skip
_LOGOUT = (
    *(
        Mutation(f"logout token: {name}", "login/logout_token.py", f"    {name},\n", "", LOGOUT_TOKEN)
        for name in _NOTICE_CHECKS
    ),
    Mutation(
        "logout token: typ",
        "login/logout_token.py",
        'frozenset({"JWT", "LOGOUT+JWT"})',
        'frozenset({"JWT"})',
        LOGOUT_TOKEN,
    ),
    _off(
        "logout token: age",
        "login/logout_token.py",
        "    if age > _OLDEST.total_seconds() + skew:",
        LOGOUT_TOKEN,
    ),
    Mutation(
        "notice: replay",
        "accounts/notices.py",
        "is not None:\n                raise",
        "is ...:\n                raise",
        OIDC_LOGOUT,
    ),
    Mutation(
        "notice: overtaken",
        "accounts/sessions.py",
        "    if notices.overtook(credential, opened, reference):",
        "    if False:",
        OIDC_LOGOUT,
    ),
    Mutation(
        "notice: both names",
        "login/logout_views.py",
        "Target(session_ref=notice.sid, subject=notice.sub)",
        "Target(session_ref=notice.sid)",
        OIDC_LOGOUT,
    ),
    Mutation(
        "notice: comes again",
        "login/logout_views.py",
        "_MAY_PASS = (NotReady, ProviderUnreachable)",
        "_MAY_PASS = ()",
        OIDC_LOGOUT,
    ),
    Mutation(
        "front-channel: issuer",
        "login/logout_views.py",
        'if asked.get("iss", door.issuer) != door.issuer:',
        "if False:",
        OIDC_LOGOUT,
    ),
    Mutation(
        "strangers: own bucket",
        "login/cached.py",
        "(self._strangers if for_stranger else self._bucket)",
        "self._bucket",
        OIDC_LOGOUT,
    ),
    _off("sign-out: length", "login/oidc.py", "        if len(url) > _LONGEST_SIGN_OUT:", OIDC_LOGOUT),
    _off(
        "sign-out: wished for",
        "login/oidc.py",
        "        if not self.settings.provider_sign_out:",
        OIDC_LOGOUT,
    ),
)

_LOCAL, _THROTTLE = "accounts/break_glass.py", "accounts/throttle.py"
_BREAK_GLASS = (
    _off("break-glass: named", _LOCAL, "    if name not in names:", BREAK_GLASS),
    _off("break-glass: of nobody", _LOCAL, "    if links.is_linked(connection, user):", BREAK_GLASS),
    _off("break-glass: active", _LOCAL, "    if not user.active:", BREAK_GLASS),
    _off(
        "break-glass: pinned",
        _LOCAL,
        "    if pinned != (user.user_id, user.created_on):",
        BREAK_GLASS,
    ),
    Mutation(
        "break-glass: the empty password",
        _LOCAL,
        "check_password_hash(stored, password) and bool(password)",
        "check_password_hash(stored, password)",
        BREAK_GLASS,
    ),
    Mutation(
        "break-glass: a link once",
        _LOCAL,
        "delete(break_glass_links).where(mine)).rowcount == 1",
        "delete(break_glass_links).where(mine)).rowcount >= 0",
        BREAK_GLASS,
    ),
    Mutation(
        "break-glass: a link expires",
        _LOCAL,
        ", break_glass_links.c.expires_at >= models.now()\n",
        "\n",
        BREAK_GLASS,
    ),
    Mutation(
        "break-glass: throttle waits",
        _THROTTLE,
        ".where(throttles.c.address_hash == key, or_(*may_try))",
        ".where(throttles.c.address_hash == key)",
        BREAK_GLASS,
    ),
    Mutation(
        "break-glass: throttle counts before it looks",
        "login/local_views.py",
        "        throttle.count_try(address)\n",
        "",
        BREAK_GLASS,
    ),
    _off(
        "break-glass: names are reserved",
        "accounts/names.py",
        "    if key in {models.name_key(name) for name in reserved}:",
        BREAK_GLASS,
    ),
    Mutation(
        "break-glass: pinned names are reserved",
        "accounts/names.py",
        "        select(literal(_BREAK_GLASS)).where(break_glass_pins.c.name_key == key),\n",
        "",
        BREAK_GLASS,
    ),
    _off(
        "break-glass: no token for the API",
        "accounts/minting.py",
        "        if for_api and standing.is_break_glass:",
        DOORS,
    ),
    _off(
        "public role: spelled out",
        "config.py",
        '    if airflows and data.get("public_role") != airflows:',
        "tests/test_config.py",
    ),
    Mutation(
        "public role: only ours counts",
        "token_auth_manager.py",
        "        return doors.public_role if doors else None\n",
        "        return super()._get_auth_role_public()\n",
        DOORS,
    ),
)

_REGISTER_FILE = "accounts/register.py"
_REFUSALS = {
    "somebody else's": "if row.user_id != credential.user_id:",
    "ended": "if row.ended_at is not None:",
    "epoch": "if not credential.epoch == row.epoch == row.account_epoch:",
    "deactivated": "if not row.active:",
    "number given again": "if row.user_created_on != row.created_on:",
    "its end": "if now >= row.ends_at:",
    "idle": "if now > row.last_seen_at + timedelta(seconds=row.idle_seconds) + SEEN_EVERY:",
}
_ACCESS = (
    *(
        Mutation(f"register: {name}", _REGISTER_FILE, was, "if False:", REVOCATION)
        for name, was in _REFUSALS.items()
    ),
    Mutation(
        "register: begun before",
        _REGISTER_FILE,
        "if epoch.revoked_at is not None and opening.began_at <= epoch.revoked_at:",
        "if False:",
        RACES,
    ),
    Mutation(
        "notice: overtakes",
        "accounts/notices.py",
        "found = connection.execute(query.limit(1)).first() is not None",
        "found = False",
        RACES,
    ),
    Mutation("mint: session's end", "accounts/minting.py", "min(seconds, left)", "seconds", REVOCATION),
    Mutation(
        "activity: polling",
        "accounts/activity.py",
        "return not is_known and not heard_by_others",
        "return True",
        REVOCATION,
    ),
    Mutation(
        "sign-out: everywhere",
        "accounts/sessions.py",
        "for session_id in sorted(presented):",
        "for session_id in ():",
        REVOCATION,
    ),
    Mutation(
        "auth manager: roles",
        "token_auth_manager.py",
        "if {role.id for role in user.roles} != standing.role_ids:",
        "if False:",
        REVOCATION,
    ),
    Mutation(
        "session cookie: register",
        "security_manager.py",
        "return super().load_user(pk) if sessions.is_recognised(int(pk)) else None",
        "return super().load_user(pk)",
        REVOCATION,
    ),
)
_BY_HAND_FILE = "accounts/by_hand.py"
_BY_HAND = (
    *(
        Mutation(f"by hand: {name}", _BY_HAND_FILE, f'    "{name}",\n', "", LINKED)
        for name in ("roles", "groups", "active", "password")
    ),
    Mutation(
        "by hand: deletion",
        _BY_HAND_FILE,
        "user in session.deleted or _is_changed(user)",
        "_is_changed(user)",
        LINKED,
    ),
    Mutation(
        "by hand: linked ones only",
        _BY_HAND_FILE,
        "return row if row and links.is_linked(connection, row) else None",
        "return row",
        LINKED,
    ),
    Mutation(
        "by hand: nothing stays in the session",
        _BY_HAND_FILE,
        "    _forget_everything(session)\n",
        "",
        LINKED,
    ),
    Mutation(
        "by hand: commands pass",
        _BY_HAND_FILE,
        "    if not _is_refusing():\n        return\n",
        "",
        LINKED,
    ),
    Mutation(
        "by hand: every flush",
        "security_manager.py",
        "            by_hand.refuse_from_now_on()\n",
        "",
        LINKED,
    ),
    Mutation(
        "by hand: the page says why",
        "security_manager.py",
        "        by_hand.refuse_changes(self.datamodel.session)\n",
        "",
        LINKED,
    ),
    Mutation(
        "by hand: the API says why",
        "security_manager.py",
        "        by_hand.refuse_changes(airflow_compat.scoped_session(self))\n",
        "",
        LINKED,
    ),
)
_PLAN, _GUARD_FILE, _APPLY, _RUN = "sync/plan.py", "sync/guard.py", "sync/apply.py", "sync/run.py"
_SYNC = (
    Mutation(
        "sync: gone once counts",
        _PLAN,
        "twice = account.gone_since is not None and account.gone_since < self._reading.began_at",
        "twice = True",
        SYNC,
    ),
    Mutation(
        "sync: nothing stale is believed",
        _PLAN,
        "elif account.observed_at is not None and account.observed_at > reading.began_at:",
        "elif False:",
        SYNC,
    ),
    _off("sync: the mapping must still give a role", _PLAN, "        if lifts and not decision.roles:", SYNC),
    Mutation("sync: others' words", _PLAN, "if source != DIRECTORY}", "if False}", SYNC),
    Mutation("sync: hand-made accounts", _PLAN, "        if account.is_protected:", "        if False:", SYNC),
    Mutation("guard: the limit", _GUARD_FILE, "    if len(together) <= allowed:", "    if True:", GUARD),
    Mutation(
        "guard: the window", _GUARD_FILE, "together = around.removed_lately | set(going)", "together = going", GUARD
    ),
    Mutation("guard: the last Admin", _GUARD_FILE, "        **_no_admin(plan, around),\n", "", GUARD),
    _off("guard: the canary", _GUARD_FILE, "    if around.canary:", GUARD),
    _off("guard: an empty directory", _GUARD_FILE, "    if around.empty:", GUARD),
    Mutation(
        "guard: an approval is of people",
        _GUARD_FILE,
        "if alarm == \"limit\" or alarm not in approved.alarms",
        "if alarm not in approved.alarms",
        GUARD,
    ),
    Mutation(
        "apply: everything as the plan saw it",
        _APPLY,
        "        if now is None or _seen(now) != _seen(change.account):",
        "        if now is None:",
        SYNC,
    ),
    Mutation("apply: the lease", _APPLY, "        work.lease.require(connection)\n        part =", "        part =", SYNC),
    _off("apply: an Admin stays", _APPLY, "    if change.takes_admin and not part.leaves_an_admin(change.account):", SYNC),
    Mutation("run: an unsafe plan waits", _RUN, "    if found.unsafe:\n        ended", "    if False:\n        ended", SYNC),
    Mutation(
        "lease: the fence",
        "sync/lease.py",
        "        if held.rowcount != 1:",
        "        if False:",
        FENCE,
    ),
)  # fmt: skip
_MAPPING = (
    Mutation(
        "patterns: what the directory tells replaces the token's word",
        "role_mapping/decide.py",
        "like = mapping.groups_like(names) if follows_patterns else _NOTHING",
        "like = _NOTHING",
        PATTERNS,
    ),
    Mutation(
        "patterns: untold where nobody lists",
        "sync/at_sign_in.py",
        "follows_patterns=answer.follows_patterns or (like is not None and identity.groups is not None),",
        "follows_patterns=True,",
        PATTERNS,
    ),
    Mutation(
        "patterns: read by a run",
        "sync/run.py",
        "        follows_patterns=reader.follows_patterns,\n",
        "",
        SYNC,
    ),
    Mutation(
        "mapping: deny",
        "role_mapping/decide.py",
        "if any(match.rule.deny for match in matched):",
        "if False:",
        MAPPING,
    ),
    Mutation(
        "mapping: unknown under deny",
        "role_mapping/decide.py",
        "if group_overage or any(rule.deny for rule in open_rules):",
        "if group_overage:",
        MAPPING,
    ),
    Mutation(
        "mapping: overage",
        "role_mapping/decide.py",
        "if group_overage or any(rule.deny for rule in open_rules):",
        "if any(rule.deny for rule in open_rules):",
        MAPPING,
    ),
    Mutation(
        "mapping: unknown gives no no_match",
        "role_mapping/decide.py",
        "if no_match and not open_rules:",
        "if no_match:",
        MAPPING,
    ),
    Mutation(
        "mapping: no_match is for people",
        "role_mapping/decide.py",
        "no_match = _NOTHING if machine else mapping.no_match",
        "no_match = mapping.no_match",
        MAPPING,
    ),
    Mutation(
        "mapping: rules for machines",
        "role_mapping/decide.py",
        "rules = mapping.machines if machine else mapping.people",
        "rules = mapping.people",
        MAPPING,
    ),
    Mutation(
        "mapping: a role of Airflow's own is not caught",
        "role_mapping/rules.py",
        "        if is_airflows_own(name):",
        "        if False:",
        MAPPING,
    ),
    Mutation(
        "mapping: in no spelling",
        "role_mapping/rules.py",
        ".strip().casefold() in _BUILT_IN",
        ".strip() in BUILT_IN_ROLES",
        MAPPING,
    ),
    Mutation(
        "mapping: a protected role is not caught",
        "role_mapping/rules.py",
        "        if name in self.protected_roles:\n            return",
        "        if False:\n            return",
        MAPPING,
    ),
    Mutation(
        "mapping: only listed roles are caught",
        "role_mapping/rules.py",
        'return "it is not under roles:, and begins with no prefix that is"',
        "return None",
        MAPPING,
    ),
    Mutation(
        "mapping: until",
        "role_mapping/rules.py",
        "return self.until is None or day <= self.until",
        "return True",
        MAPPING,
    ),
    Mutation(
        "mapping: found by what is compared",
        "role_mapping/rules.py",
        "keys = ((anchor.fact, key_of(value))",
        "keys = ((anchor.fact, (type(value), value))",
        MAPPING,
    ),
    Mutation(
        "mapping: not unknown is unknown",
        "role_mapping/conditions.py",
        "holds=None if inner.holds is None else not inner.holds",
        "holds=not inner.holds",
        MAPPING,
    ),
    Mutation(
        "mapping: untold groups",
        "role_mapping/conditions.py",
        "return not self.untold.isdisjoint(asked)",
        "return False",
        MAPPING,
    ),
    Mutation(
        "mapping: one and true",
        "role_mapping/values.py",
        "return type(value), comparable(value)",
        "return str, comparable(value)",
        MAPPING,
    ),
    Mutation(
        "mapping: the whole value",
        "role_mapping/values.py",
        'f"(?m)^(?:{expression})$"',
        'f"(?m)(?:{expression})"',
        MAPPING,
    ),
    Mutation(
        "mapping: brackets of its own",
        "role_mapping/values.py",
        "        re2.compile(expression.encode(), options)  # by itself",
        "        # by itself",
        MAPPING,
    ),
    Mutation(
        "mapping: lines stay apart", "role_mapping/values.py", "    options.never_nl = True\n", "", MAPPING
    ),
    Mutation(
        "mapping: values of one line",
        "role_mapping/values.py",
        'if "\\n" in value or len(value) > LONGEST_VALUE:',
        "if len(value) > LONGEST_VALUE:",
        MAPPING,
    ),
    Mutation(
        "mapping: long values",
        "role_mapping/values.py",
        'if "\\n" in value or len(value) > LONGEST_VALUE:',
        'if "\\n" in value:',
        MAPPING,
    ),
    Mutation(
        "mapping: big expressions",
        "role_mapping/values.py",
        "if in_lines.programsize > _MOST_INSTRUCTIONS:",
        "if False:",
        MAPPING,
    ),
    Mutation(
        "mapping: many patterns",
        "role_mapping/understanding.py",
        "if len(self._patterns) > MOST_PATTERNS:",
        "if False:",
        MAPPING,
    ),
    Mutation(
        "mapping: escaped signs of a name",
        "role_mapping/values.py",
        'star = r"((?:[^\\\\]|\\\\.)*)" if is_name else "(.*)"',
        'star = "(.*)"',
        MAPPING,
    ),
    Mutation(
        "mapping: what is about one sign-in",
        "role_mapping/understanding.py",
        "if is_condition and written.claim in SESSION_CLAIMS:",
        "if False:",
        MAPPING,
    ),
    Mutation(
        "mapping: caught for certain",
        "role_mapping/understanding.py",
        "if len(catching) != 1 or _is_under_not_or_any(rule.condition):",
        "if len(catching) != 1:",
        MAPPING,
    ),
)
_MIGRATING = "tests/test_migrating.py"
_TROUBLE = "tests/test_database_in_trouble.py"
_REPLICAS = (
    Mutation(
        "replicas: whoever falls silent lets go",
        "database.py",
        "            connection.execute(_LET_GO_OF_WHOEVER_IS_SILENT)\n",
        "            pass\n",
        "tests/test_replicas_in_trouble.py::test_whoever_is_frozen_while_writing_lets_go",
    ),
    Mutation(
        "replicas: at READ COMMITTED, whatever the default",
        "airflow_compat.py",
        "    return metadata_engine.read_committed(settings.engine)\n",
        "    return settings.engine\n",
        _TROUBLE,
    ),
    Mutation(
        "replicas: nobody keeps a connection and waits for another",
        "airflow_compat.py",
        "    metadata_engine.give_back_shared_connection(settings.Session)\n",
        "",
        _TROUBLE,
    ),
    Mutation(
        "replicas: an operator decides under the lock",
        "cli/access.py",
        "            register.lock(connection, named.user_id)\n",
        "            pass\n",
        _TROUBLE,
    ),
    Mutation(
        "migrations: one at a time",
        "migrating.py",
        '                connection.exec_driver_sql("BEGIN IMMEDIATE")\n',
        "",
        _MIGRATING,
    ),
    _off(
        "migrations: older tables are not taken for new ones", "migrating.py", "    if missing:", _MIGRATING
    ),
    Mutation(
        "migrations: a newer revision is left alone",
        "migrating.py",
        '"migrate" if revision in known else "newer"',
        '"migrate"',
        _MIGRATING,
    ),
    Mutation(
        "migrations: unreadable sessions of 2.11 go, and no others",
        "airflow_compat.py",
        "delete(rows).where(is_json)",
        "delete(rows)",
        _MIGRATING,
    ),
)
MUTATIONS = (
    *_ACCESS,
    *_REPLICAS,
    *_SYNC,
    *_BY_HAND,
    *_SAML,
    *_BREAK_GLASS,
    *_SINGLE_LOGOUT,
    *_LOGOUT,
    *map(_without, ("_issuer", "_audience", "_vendor_claims", "_times", "_nonce", "_access_token_hash")),
    Mutation(
        "id token: algorithm list",
        "login/signed_jwt.py",
        'if header.get("alg") not in algorithms:',
        'if header.get("alg") == "none":',
        TOKEN,
    ),
    Mutation(
        "id token: headers that bring a key",
        "login/signed_jwt.py",
        '("jwk", "jku", "x5u", "crit", "b64", "zip")',
        "()",
        TOKEN,
    ),
    Mutation(
        "id token: typ", "login/signed_jwt.py", ".upper() not in kind.types", '.upper() == "NEVER"', TOKEN
    ),
    Mutation(
        "id token: duplicate names",
        "login/signed_jwt.py",
        "if len(result) != len(pairs):",
        "if len(result) > len(pairs):",
        TOKEN,
    ),
    Mutation("id token: kid", "login/signed_jwt.py", 'if key.kid == header["kid"]', "if True", TOKEN),
    Mutation(
        "userinfo: the same sub",
        "login/id_token.py",
        'if userinfo.get("sub") != claims["sub"]:',
        "if False:",
        "tests/test_vendors.py",
    ),
    Mutation("claims: overage", "login/claims.py", "groups=None if overage else", "groups=", CLAIMS),
    Mutation(
        "claims: guests", "login/claims.py", 'settings.guests == "deny"', 'settings.guests == "never"', CLAIMS
    ),
    Mutation(
        "claims: subject is a string",
        "login/claims.py",
        "if not isinstance(value, str) or not value.strip()",
        "if not str(value).strip()",
        CLAIMS,
    ),
    Mutation(
        "discovery: issuer",
        "login/discovery.py",
        'if document.get("issuer") != expected:',
        "if False:",
        DISCOVERY,
    ),
    Mutation("discovery: bucket", "login/cached.py", "if self._refetches < 1:", "if False:", DISCOVERY),
    Mutation("discovery: use", "login/discovery.py", 'entry.get("use", "sig") != "sig"', "False", DISCOVERY),
    Mutation("http: size", "http_calls.py", "if len(body) > self._max_bytes:", "if False:", DISCOVERY),
    Mutation("http: deadline", "http_calls.py", "self._timer.start()", "pass", DISCOVERY),
    Mutation("http: redirects", "http_calls.py", "allow_redirects=False", "allow_redirects=True", DISCOVERY),
    *_MAPPING,
    Mutation(
        "attempt: browser",
        "login/attempt.py",
        'if not secrets.compare_digest(row.browser_hash, _hash(browser_id or "")):',
        "if False:",
        SIGN_IN,
    ),
    Mutation("attempt: provider", "login/attempt.py", "if row.provider != provider:", "if False:", SIGN_IN),
    Mutation("attempt: age", "login/attempt.py", "if row.expires_at < models.now():", "if False:", SIGN_IN),
    Mutation(
        "attempt: used once",
        "login/attempt.py",
        "if connection.execute(delete(login_attempts).where(login_attempts.c.id == row.id)).rowcount != 1:",
        "if False:",
        SIGN_IN,
    ),
    Mutation(
        "response: iss", "login/oidc.py", "        _check_response_issuer(metadata, response)\n", "", HOSTILE
    ),
    Mutation(
        "session: fixation",
        "accounts/sessions.py",
        "    _leave_old_session(opened.airflow_session_id)\n",
        "",
        SIGN_IN,
    ),
    Mutation(
        "next: own pages",
        "urls.py",
        "        return target.geturl()\n",
        "        return wanted\n",
        "tests/test_urls.py",
    ),
    _off(
        "review: not asked about",
        "sync/compare.py",
        "        if before == after and lets_in[0] == lets_in[1] and not verdict.is_open:",
        DIFF,
    ),
    Mutation(
        "review: unknown facts",
        "sync/compare.py",
        "unasked = rules.facts - facts.keys()",
        "unasked = set()",
        DIFF,
    ),
    Mutation(
        "review: groups not asked for",
        "sync/compare.py",
        'groups = untold.of(facts.get("group")) if untold else _NOTHING',
        "groups = _NOTHING",
        DIFF,
    ),
    Mutation(
        "review: may lose everything",
        "sync/compare.py",
        "(not self.after or self.why.may_deny)",
        "not self.after",
        DIFF,
    ),
    Mutation(
        "review: a rule that refuses", "sync/compare.py", "return rule.deny or bool(", "return bool(", DIFF
    ),
    Mutation(
        "review: break-glass", "sync/population.py", "if row.user_id not in protected:", "if True:", DIFF
    ),
    Mutation("review: names in Markdown", "cli/diff.py", '.replace("|", "\\\\|")', "", DIFF),
    Mutation(
        "review: exactly these roles",
        "role_mapping/expectations.py",
        "self.decision.roles == frozenset(",
        "self.decision.roles >= frozenset(",
        EXPECTATIONS,
    ),
    Mutation(
        "review: overage of a captured token",
        "login/captured.py",
        "None if self.has_overage() else claim_fields.groups(",
        "claim_fields.groups(",
        EXPLAIN,
    ),
    _off("review: too large a file", "login/captured.py", "    if len(raw) > _LARGEST:", EXPLAIN),
    Mutation(
        "require: what is not met refuses", "login/journey.py", "    if unmet:\n", "    if False:\n", REQUIRE
    ),
    Mutation(
        "require: what is not said is not met",
        "role_mapping/require.py",
        "Evidence(known)).holds is True",
        "Evidence(known)).holds is not False",
        REQUIRE,
    ),
    Mutation(
        "require: no proof from the future",
        "role_mapping/require.py",
        "-_SKEW <= sign_in.now",
        "sign_in.now",
        REQUIRE,
    ),
    Mutation(
        "require: no role from a session",
        "role_mapping/understanding.py",
        "if is_condition and written.claim in SESSION_CLAIMS:",
        "if False:",
        REQUIRE,
    ),
    Mutation(
        "require: a proof is asked for",
        "login/oidc.py",
        "        extra = _asking(asked)\n",
        "        extra = {}\n",
        REQUIRE,
    ),
    Mutation(
        "roles: one that is not there gives nothing",
        "accounts/provisioning.py",
        "self._decision.without_roles_but(fab_users.role_names(connection))",
        "self._decision",
        TEAMS,
    ),
    Mutation(
        "roles: made with the mapping",
        "in_force/__init__.py",
        "    owned_roles.keep(connection, journal, mapping.owned_roles, mapping.names)\n",
        "    _ = connection, journal, mapping\n",
        TEAMS,
    ),
    Mutation(
        "in force: superseded stays so",
        "in_force/mapping.py",
        "        if superseded or (generation and",
        "        if (generation and",
        IN_FORCE,
    ),
)


def main(words: list[str]) -> int:
    chosen = [mutation for mutation in MUTATIONS if all(word in mutation.name for word in words)]
    survived = [mutation.name for mutation in chosen if not _is_noticed(mutation)]
    for name in survived:
        print(f"NOT NOTICED: {name}")
    print(f"{len(chosen) - len(survived)} of {len(chosen)} checks, switched off, are noticed by a test.")
    return 1 if survived else 0


def _is_noticed(mutation: Mutation) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        tracked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for name in filter(lambda name: (REPOSITORY / name).exists(), tracked):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
        target = copy / "airflow_sso" / mutation.file
        source = target.read_text()
        if source.count(mutation.was) != 1:
            raise SystemExit(f"{mutation.name}: {mutation.file} does not have the check exactly once")
        target.write_text(source.replace(mutation.was, mutation.becomes))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.tests]
        # First on the import path of the servers that the tests start, too.
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        result = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        noticed = result.returncode == 1
        last = (result.stdout.strip().splitlines() or ["no output"])[-1]
        print(f"{'noticed' if noticed else 'SURVIVED'}  {mutation.name}: {last}", flush=True)
        return noticed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
