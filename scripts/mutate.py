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
MAPPING = "tests/test_role_mapping.py"
SIGN_IN = "tests/test_sign_in.py"
HOSTILE = "tests/test_hostile_provider.py"
ASSERTION = "tests/test_assertion.py"
SAML_METADATA = "tests/test_saml_metadata.py"
SAML_SIGN_IN = "tests/test_saml_sign_in.py"


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

MUTATIONS = (
    *_SAML,
    *map(_without, ("_issuer", "_audience", "_vendor_claims", "_times", "_nonce", "_access_token_hash")),
    Mutation(
        "id token: algorithm list",
        "login/id_token.py",
        'if header.get("alg") not in algorithms:',
        'if header.get("alg") == "none":',
        TOKEN,
    ),
    Mutation(
        "id token: headers that bring a key",
        "login/id_token.py",
        '("jwk", "jku", "x5u", "crit", "b64", "zip")',
        "()",
        TOKEN,
    ),
    Mutation("id token: typ", "login/id_token.py", '.upper() != "JWT"', '.upper() == "NEVER"', TOKEN),
    Mutation(
        "id token: duplicate names",
        "login/id_token.py",
        "if len(result) != len(pairs):",
        "if len(result) > len(pairs):",
        TOKEN,
    ),
    Mutation("id token: kid", "login/id_token.py", 'if key.kid == header["kid"]', "if True", TOKEN),
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
    Mutation("http: size", "login/http.py", "if len(body) > MAX_BYTES:", "if False:", DISCOVERY),
    Mutation("http: deadline", "login/http.py", "self._timer.start()", "pass", DISCOVERY),
    Mutation("http: redirects", "login/http.py", "allow_redirects=False", "allow_redirects=True", DISCOVERY),
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
        "if mapping.denying_facts & unknown or",
        "if",
        MAPPING,
    ),
    Mutation(
        "mapping: overage",
        "role_mapping/decide.py",
        '(identity.group_overage and "group" in unknown)',
        "False",
        MAPPING,
    ),
    Mutation(
        "mapping: unknown gives no no_match",
        "role_mapping/decide.py",
        "if mapping.no_match and not unknown:",
        "if mapping.no_match:",
        MAPPING,
    ),
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
    Mutation("session: fixation", "accounts/sessions.py", "    _leave_old_session()\n", "", SIGN_IN),
    Mutation(
        "next: own pages",
        "urls.py",
        "        return target.geturl()\n",
        "        return wanted\n",
        "tests/test_urls.py",
    ),
)


def main(words: list[str]) -> int:
    chosen = [mutation for mutation in MUTATIONS if all(word in mutation.name for word in words)]
    survived = [mutation.name for mutation in chosen if not _is_noticed(mutation)]
    for name in survived:
        print(f"NOT NOTICED: {name}")
    print(f"{len(chosen) - len(survived)} of {len(chosen)} checks are missed by a test when switched off.")
    return 1 if survived else 0


def _is_noticed(mutation: Mutation) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        tracked = subprocess.run(
            ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for name in tracked:
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
