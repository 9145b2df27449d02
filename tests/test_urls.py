"""Every address is made from ``external_url``, and after a sign-in nobody is sent anywhere else (O13, O15)."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from airflow_sso.urls import Urls
from tests.lines import both_lines

pytestmark = both_lines

ROOT = Urls("http://localhost:8080", "/auth")
HTTPS = Urls("https://airflow.example.com", "/auth")
UNDER_A_PATH = Urls("https://example.com/airflow", "/auth")
OLD_LINE = Urls("https://airflow.example.com", "")
EVERY_BASE = pytest.mark.parametrize("urls", [ROOT, HTTPS, UNDER_A_PATH], ids=lambda urls: urls.home)

#: Each of them leads a browser away, or would after a repair that some browser makes.
TRICKS = [
    None,
    "",
    # another site, plainly
    "https://evil.example",
    "http://evil.example/dags",
    "HTTPS://EVIL.EXAMPLE",
    "ftp://localhost:8080/",
    "ws://localhost:8080/",
    # no scheme, no host, or half of one
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "//evil.example/%2f..",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "http:evil.example",
    "http:///evil.example",
    "http:////evil.example",
    "//",
    "///",
    # backslashes, which browsers read as slashes
    "\\\\evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/\\/evil.example",
    "https:\\\\evil.example",
    "http://localhost:8080\\@evil.example",
    "/dags\\..\\..\\evil",
    # white space and control characters, which browsers drop
    " //evil.example",
    "\t//evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "ht\ntps://evil.example",
    "\x00//evil.example",
    "\x1f//evil.example",
    "/\x7f/evil.example",
    "/dags\r\nLocation: https://evil.example",
    "/dags\r\nSet-Cookie: session=x",
    "/dags evil",
    # somebody before the @
    "http://localhost:8080@evil.example",
    "https://airflow.example.com@evil.example/",
    "http://user:pass@localhost:8080/",
    "https://user@airflow.example.com/",
    "https://@airflow.example.com/",
    "//airflow.example.com@evil.example",
    # nearly our host
    "http://localhost:8080.evil.example/",
    "http://localhost.evil.example:8080/",
    "https://airflow.example.com.evil.example/",
    "https://evil-airflow.example.com/",
    "https://sub.airflow.example.com/",
    "https://airflow.example.com./",
    "https://example.com:444/airflow/",
    "http://localhost:80800/",
    "http://localhost:8081/",
    "http://localhost/",
    "http://127.0.0.1:8080/",
    "http://[::1]:8080/",
    "http://[localhost:8080/",
    "http://localhost:eight/",
    # unicode that turns into dots, slashes or our letters
    "//evil\u3002example",
    "//evil\uff0eexample",
    "http://localhost:8080\u3002evil.example/",
    "http://\u24dbocalhost:8080/",
    "http://localhost:8080\uff0f@evil.example",
    "https://airflow\u2024example\u2024com/",
    # not a page at all
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    "javascript://localhost:8080/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:http://localhost:8080/x",
    "mailto:ada@contoso.example",
    # parameters and endless ones
    "/dags;//evil.example",
    "/;@evil.example",
    "/dags;jsessionid=1",
    "/" + "a" * 2000,
    "http://localhost:8080/" + "a/" * 2000,
]

#: Each of them leaves Airflow's own path for a neighbour on the same host.
ESCAPES = [
    "/",
    "/other",
    "/airflowevil",
    "/airflow.evil",
    "/airflow@evil",
    "/AIRFLOW/",
    "..",
    "../",
    "../other",
    "../../other",
    "./../other",
    "/airflow/..",
    "/airflow/../",
    "/airflow/../other",
    "/airflow/./../other",
    "/airflow/dags/../../other",
    "https://example.com/airflow/../other",
    "https://example.com/other",
    "https://example.com",
    "https://example.com/airflow/%2e%2e/other",
    "/airflow/%2e%2e/other",
    "/airflow/%2E%2E/other",
    "/airflow/.%2e/other",
    "/airflow/%2e./other",
    "/airflow/%2e%2e",
    "%2e%2e/other",
    "/airflow/.",
]

#: On our own host whatever a browser makes of them; each must stay there.
HARMLESS = [
    "/%2f%2fevil.example",
    "%2f%2fevil.example",
    "/%5c%5cevil.example",
    "/%09/evil.example",
    "/%0d%0aLocation:%20https://evil.example",
    "/https://evil.example",
    "/dags?next=//evil.example",
    "?next=https://evil.example",
    "#//evil.example",
    "@evil.example",
    "evil.example",
    "://evil.example",
    "\u00a0//evil.example",
    "\u2028//evil.example",
    "\uff0f\uff0fevil.example",
    "/\u200b/evil.example",
]


@EVERY_BASE
@pytest.mark.parametrize("wanted", TRICKS, ids=lambda wanted: ascii(wanted)[:50])
def test_a_trick_leads_home(urls: Urls, wanted: str | None) -> None:
    assert urls.own_page("dags") == f"{urls.home}dags"
    assert urls.own_page(wanted) == urls.home


@pytest.mark.parametrize("wanted", ESCAPES)
def test_a_page_beside_our_path_leads_home(wanted: str) -> None:
    assert UNDER_A_PATH.own_page("/airflow/other") == "https://example.com/airflow/other"
    assert UNDER_A_PATH.own_page(wanted) == UNDER_A_PATH.home


@EVERY_BASE
@pytest.mark.parametrize("wanted", HARMLESS, ids=ascii)
def test_what_only_looks_like_a_trick_stays_with_us(urls: Urls, wanted: str) -> None:
    page = urls.own_page(wanted)
    assert page.startswith(urls.home)
    path = page.removeprefix(urls.home).partition("?")[0].partition("#")[0]
    assert not path.startswith(("/", "\\"))
    assert not {".", ".."} & {unquote(step) for step in path.split("/")}


PAGES = [
    "dags",
    "dags/",
    "dags/etl_1/runs/manual__2026-01-09T07:38:15.144000+00:00",
    "dags/etl_1/runs/scheduled__2026-01-09T00%3A00%3A00%2B00%3A00/tasks/load?map_index=-1",
    "dags/team.a~x-y_z/grid?root=a.b&num_runs=25#details",
    "dags?search=a%20b&tags=x&tags=y",
    "dags?search=a+b",
    "dags?next=http://a//b/../c",
    "dags?filter=a|b",
    "dags#//x",
    "variables/Größe",
    "connections/a%2Fb",
    "assets/s3%3A%2F%2Fbucket%2Fkey",
    "?x=1",
    "#top",
]


@EVERY_BASE
@pytest.mark.parametrize("page", PAGES)
def test_an_honest_page_survives_unchanged(urls: Urls, page: str) -> None:
    whole = f"{urls.home}{page}"
    from_the_host = urlsplit(urls.home).path + page
    assert urls.own_page(page) == whole
    assert urls.own_page(whole) == whole
    assert urls.own_page(from_the_host) == whole


@EVERY_BASE
def test_the_first_page_is_ours_with_and_without_its_slash(urls: Urls) -> None:
    assert urls.own_page(urls.home) == urls.home
    assert urls.own_page(urls.external_url) in (urls.home, urls.external_url)


@EVERY_BASE
def test_a_page_of_just_two_thousand_characters_survives(urls: Urls) -> None:
    page = "dags?search=" + "a" * 1988
    assert urls.own_page(page) == f"{urls.home}{page}"
    assert urls.own_page(page + "a") == urls.home


@pytest.mark.parametrize(
    ("urls", "root"),
    [
        (ROOT, "http://localhost:8080/auth"),
        (HTTPS, "https://airflow.example.com/auth"),
        (UNDER_A_PATH, "https://example.com/airflow/auth"),
        (OLD_LINE, "https://airflow.example.com"),
    ],
    ids=str,
)
def test_every_address_of_ours_is_whole_and_has_its_prefix(urls: Urls, root: str) -> None:
    assert urls.login() == f"{root}/login/"
    assert urls.start("entra") == f"{root}/login/entra"
    assert urls.callback("entra") == f"{root}/oauth-authorized/entra"
    assert urls.logout == f"{root}/logout/"
    assert urls.signed_out == f"{root}/signed-out/"
    assert urls.backchannel_logout("entra") == f"{root}/logout/backchannel/entra"
    assert urls.frontchannel_logout("entra") == f"{root}/logout/frontchannel/entra"
    assert urls.home == root.removesuffix("/auth") + "/"
    assert urls.is_https == root.startswith("https:")


def test_where_somebody_was_going_travels_as_one_parameter() -> None:
    page = "http://localhost:8080/dags/a/runs/manual__2026-01-09T07:38:15+00:00?tab=a&b=c#d"
    for url in (ROOT.login(page), ROOT.start("entra", page), ROOT.start("entra", page, switch=True)):
        assert parse_qs(urlsplit(url).query)["next"] == [page]
        assert not urlsplit(url).fragment
    assert parse_qs(urlsplit(ROOT.start("entra", switch=True)).query) == {"switch": ["1"]}


@EVERY_BASE
def test_a_provider_s_name_never_leaves_its_place_in_an_address(urls: Urls) -> None:
    assert urls.callback("lab-2") == f"{urls.external_url}/auth/oauth-authorized/lab-2"
    for name in ("?a=b", "#a", "@evil.example", "a b"):
        assert urlsplit(urls.callback(name)).netloc == urlsplit(urls.home).netloc
        assert not urlsplit(urls.callback(name)).query
        assert not urlsplit(urls.callback(name)).fragment
