"""What is written down, and said: text that others chose cannot forge a line or hide in one."""

from __future__ import annotations

import json
import logging

import pytest

from airflow_sso.audit import Journal, Subject
from airflow_sso.errors import NotOurAttempt
from tests.lines import both_lines

pytestmark = both_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("an ordinary name, Łukasz 李", "an ordinary name, Łukasz 李"),
        ("two\r\nlines", "two\\r\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\x00", "nul\\x00"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("isolate\u2066\u2069", "isolate\\u2066\\u2069"),
        ("paragraph\u2029separator", "paragraph\\u2029separator"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
)
def test_hidden_characters_are_shown(text: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal("TEST-0001")
    with caplog.at_level(logging.INFO):
        journal.refused(NotOurAttempt(text), Subject(username=text))
        journal.say()
    (record,) = [one for one in caplog.records if one.name == "airflow_sso.audit"]
    said = json.loads(record.getMessage().removeprefix("airflow_sso "))
    assert (said["username"], said["reason"]) == (shown, shown)
    assert "\n" not in record.getMessage()


def test_long_text_is_cut_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal("TEST-0002")
    with caplog.at_level(logging.INFO):
        journal.refused(NotOurAttempt("r" * 10_000), Subject(username="u" * 10_000))
        journal.say()
    said = json.loads(caplog.records[0].getMessage().removeprefix("airflow_sso "))
    assert len(said["username"]) == 500
    assert said["username"].endswith("u…")
    assert len(said["reason"]) <= 4000
