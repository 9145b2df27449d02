"""Every code of fact A19's table, and what it means for the person who was refused."""

from __future__ import annotations

import pytest

from airflow_sso.directory.refusals import CODES, Verdict, judge
from airflow_sso.refresh import Refused
from tests.lines import both_lines

pytestmark = both_lines

ROWS = {
    "unusable": [50057, 50034, 50020, 500341],
    "again": [
        50173, 50132, 50133, 700082, 70008, 70000, 700084, 70043, 54005,
        50076, 50079, 50074, 50078, 53000, 53001, 53002, 53003, 530032, 50058, 50105, 65001, 65004, 50055, 50053,
    ],
    "ours": [
        7000215, 7000222, 700027, 7000218, 700025, 700016, 7000112, 700213, 70021, 50011, 90002, 501481, 50194,
    ],
    "transient": [90033, 90055, 50196],
}  # fmt: skip
EVERY_CODE = [(code, kind) for kind, codes in ROWS.items() for code in codes]


def said(word: str, *codes: int) -> Verdict:
    return judge(Refused(word=word, codes=codes))


def test_the_table_has_these_codes_and_no_other() -> None:
    assert {code: kind for code, (kind, _words) in CODES.items()} == dict(EVERY_CODE)


@pytest.mark.parametrize(("code", "kind"), EVERY_CODE)
@pytest.mark.parametrize("word", ["invalid_grant", "interaction_required"])
def test_the_code_refines_a_word_about_the_person(word: str, code: int, kind: str) -> None:
    verdict = said(word, code)
    assert verdict.kind == kind
    assert verdict.reason.endswith(f"(AADSTS{code})")


@pytest.mark.parametrize("code", [code for code, kind in EVERY_CODE if kind != "transient"])
def test_the_word_decides_before_the_code(code: int) -> None:
    assert said("invalid_client", code).kind == "ours"
    assert said("temporarily_unavailable", code).kind == "transient"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("invalid_grant", "again"),
        ("interaction_required", "again"),
        ("invalid_client", "ours"),
        ("unauthorized_client", "ours"),
        ("unsupported_grant_type", "ours"),
        ("invalid_request", "ours"),
        ("invalid_scope", "ours"),
        ("temporarily_unavailable", "transient"),
        ("server_error", "transient"),
        ("access_denied", "transient"),
        ("something_new", "transient"),
    ],
)
def test_a_word_without_a_code(word: str, kind: str) -> None:
    verdict = said(word)
    assert (verdict.kind, verdict.said) == (kind, word)


def test_a_code_that_nobody_knows_disables_nobody() -> None:
    assert said("invalid_grant", 599999).kind == "again"
    assert said("invalid_grant", 599999).said == "AADSTS599999"


@pytest.mark.parametrize(("other", "kind"), [(50173, "again"), (7000215, "ours"), (90033, "transient")])
def test_of_several_codes_the_mildest_counts(other: int, kind: str) -> None:
    assert said("invalid_grant", 50057, other).kind == said("invalid_grant", other, 50057).kind == kind


def test_the_words_for_an_operator() -> None:
    assert said("invalid_grant", 50057).reason == "disabled in the directory (AADSTS50057)"
    assert said("invalid_grant", 50105).reason == "no longer assigned to the application (AADSTS50105)"
