"""A real Chromium for the journeys, and what one person does with it.

A module of journeys says ``pytestmark = browser.journey`` and takes the fixtures by name:
``chromium, open_window = browser.chromium, browser.open_window``. What must stay true: a window watches
itself all the time, and a journey fails when any request left for a host other than Airflow and the
provider, or when a page of ours complained on the console.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.lines import route
from tests.stack import Stack

REPOSITORY = Path(__file__).resolve().parent.parent
SCREENSHOTS = REPOSITORY / "test-artifacts" / "screenshots"
PEER = REPOSITORY / "tests" / "peers" / "oidc-provider"
AXE = PEER / "node_modules" / "axe-core" / "axe.min.js"

#: What every page of ours, and everything on it, is reached under.
OUR_PAGES = tuple(
    route(f"/auth/{name}")
    for name in ("login", "oauth-authorized", "logout", "saml", "signed-out", "sso-status", "my-access")
)
OUR_ASSETS = (route("/auth/sso/static/"), route("/auth/static/pin_32.png"))

WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 320, "height": 800}

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_EXECUTABLE = next(filter(None, map(shutil.which, _NAMES)), None)
_NO_CHROMIUM = "there is no Chromium here"
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Two cores that also run three Airflows can keep a page waiting.
_PATIENCE = 30_000.0

expect.set_options(timeout=_PATIENCE)

#: For a module of journeys; skips before any server is started.
journey = [
    pytest.mark.journey,
    pytest.mark.skipif(_EXECUTABLE is None and not os.environ.get("CI"), reason=_NO_CHROMIUM),
]


def missing(what: str) -> NoReturn:
    """Skip for want of a tool; in CI, where a skipped test would hide a fault, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI runs every test", pytrace=False)
    pytest.skip(what)


@contextmanager
def running(*arguments: str) -> Iterator[Browser]:
    """A headless browser, with `arguments` of its own beside the usual ones."""
    if _EXECUTABLE is None:
        missing(_NO_CHROMIUM)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=_EXECUTABLE, args=[*_ARGUMENTS, *arguments])
        yield started
        started.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One headless browser a module: while it runs, no other test may start an event loop."""
    with running() as started:
        yield started


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[Callable[..., Window]]:
    """Opens windows of different people; afterwards, none of them may have anything to complain of."""
    opened: list[Window] = []

    def open_one(stack: Stack, **options: Any) -> Window:
        opened.append(Window(chromium, stack, **options))
        return opened[-1]

    yield open_one
    complaints = [complaint for window in opened for complaint in window.close()]
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


class Window:
    """One person's browser: cookies of its own, and a tab, ``page``.

    :param provider_url: where the provider is; default: the local one.
    :param neighbours: hosts, with their ports, of further sites that the test itself serves.
    :param options: of Playwright's ``new_context``.
    """

    def __init__(
        self,
        chromium: Browser,
        stack: Stack,
        *,
        provider_url: str | None = None,
        neighbours: Collection[str] = (),
        **options: Any,
    ) -> None:
        self.stack = stack
        self.provider_url = provider_url or (stack.idp.url if stack.idp else "")
        self._hosts = {urlsplit(self.stack.url).netloc, urlsplit(self.provider_url).netloc, *neighbours}
        self.complaints: list[str] = []
        self._forgiven: list[str] = []
        self.requests: list[Request] = []
        self.context = chromium.new_context(
            **{"locale": "en-US", "timezone_id": "UTC", "viewport": WIDE, **options}
        )
        self.context.set_default_timeout(_PATIENCE)
        self.context.on("request", self._saw_request)
        self.context.on("response", self._saw_response)
        self.context.on("console", self._heard)
        self.page = self.context.new_page()

    # What a person does

    def at(self, path: str, *, page: Page | None = None) -> Response:
        """Type an address of Airflow's; the answer to what it led to."""
        answer = (page or self.page).goto(f"{self.stack.url}{self.stack.route(path)}")
        assert answer is not None
        return answer

    def person(self, name: str, *, page: Page | None = None) -> Locator:
        """The button of a person on the local provider's page; an empty name is *Cancel*."""
        return (page or self.page).locator(f'button[name="person"][value="{name}"]')

    def arrives(self, path: str, *, page: Page | None = None) -> None:
        """Wait until the address is exactly this one of Airflow's."""
        wanted = f"{self.stack.url}{path}"
        (page or self.page).wait_for_url(lambda url: url == wanted)

    def arrives_at_provider(self, *, page: Page | None = None) -> str:
        """Wait for the provider's page; its address."""
        (page or self.page).wait_for_url(lambda url: url.startswith(f"{self.provider_url}/"))
        return (page or self.page).url

    def sign_in(self, person: str, *, provider: str = "entra", path: str = "/") -> None:
        """The whole way, to the page where the person was going."""
        self.at(f"/auth/login/{provider}?next={path}")
        self.person(person).click()
        self.arrives(path)

    def open_user_menu(self) -> Locator:
        """Airflow's own menu of the person."""
        self.page.get_by_role("button", name="User", exact=True).click()
        menu = self.page.get_by_role("menu", name="User")
        expect(menu).to_be_visible()
        return menu

    def sign_out(self) -> None:
        """Through Airflow's own menu, up to the press that does it."""
        self.open_user_menu().get_by_role("menuitem", name="Logout").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()

    # What they see

    def fact(self, name: str, *, page: Page | None = None) -> str:
        """What the page shows under ``Code`` or ``Reference``."""
        return (page or self.page).locator(f'dt:text-is("{name}") + dd').inner_text()

    def told(self, text: str) -> None:
        """Wait for Airflow's own short message, which stands twice in the page while it moves in."""
        expect(self.page.get_by_role("status").filter(has_text=text).first).to_be_visible()

    def shows(self, code: str, headline: str, *, page: Page | None = None) -> None:
        """The page is the one of this refusal, and holds no trace of its making."""
        page = page or self.page
        expect(page.get_by_role("heading", level=1)).to_have_text(headline)
        assert self.fact("Code", page=page) == code
        assert "Traceback" not in page.content()

    def link(self, name: str, *, page: Page | None = None) -> Locator:
        return (page or self.page).get_by_role("link", name=name, exact=True)

    def keep(self, name: str, *, page: Page | None = None) -> None:
        """Keep a picture, for people to look at."""
        path = SCREENSHOTS / f"{name}.png"
        (page or self.page).screenshot(path=path, animations="disabled", full_page=True)

    def is_there_for_everyone(self, name: str) -> None:
        """axe-core finds nothing, and no line is wider than the window, in each scheme and on a phone.

        The window is one with ``bypass_csp=True``; `name` is that of the pictures.
        """
        if not AXE.exists():
            missing("axe-core is not installed (npm ci in tests/peers/oidc-provider)")
        self.page.add_script_tag(path=AXE)
        for scheme in ("light", "dark"):
            for size in (WIDE, NARROW):
                self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                self.page.set_viewport_size(size)
                found = self.page.evaluate("axe.run().then(found => found.violations)")
                assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
                assert self.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
                self.keep(f"{name}_{scheme}_{size['width']}")

    # What the API says to this browser's cookies

    def get(self, path: str) -> int:
        return int(self.context.request.get(f"{self.stack.url}{path}").status)

    def post(self, path: str, body: dict[str, Any]) -> int:
        return int(self.context.request.post(f"{self.stack.url}{path}", data=body).status)

    def who(self) -> str | None:
        """Who Airflow's API thinks this is."""
        answer = self.context.request.get(f"{self.stack.url}/ui/auth/me")
        return str(answer.json()["username"]) if answer.ok else None

    def cookie(self, name: str) -> str | None:
        found = [one.get("value") for one in self.context.cookies() if one.get("name") == name]
        return found[0] if found else None

    # What must not happen

    def close(self) -> list[str]:
        """End it; what went wrong while it was open."""
        self.context.cookies()  # everything that was said before the answer has been heard by then
        complaints = list(self.complaints)
        self.context.close()
        return complaints

    def forgive(self, address: str) -> None:
        """A page that is not ours asks for this, and need not get it."""
        self.context.route(f"{address}**", lambda route: route.abort())
        self._forgiven.append(address)

    def _saw_request(self, request: Request) -> None:
        if request.url.startswith(tuple(self._forgiven)):
            return
        self.requests.append(request)
        url = urlsplit(request.url.removeprefix("blob:"))
        if url.scheme != "data" and url.netloc not in self._hosts:
            self.complaints.append(f"a request left for {request.url}")

    def _saw_response(self, response: Response) -> None:
        if response.status == 500:
            self.complaints.append(f"500 from {response.url}")

    def _heard(self, message: ConsoleMessage) -> None:
        """Our pages say nothing at all; that a page is itself a 403 or a 503 is Chromium's own remark."""
        url = message.location.get("url") or (message.page.url if message.page else "")
        path = url.removeprefix(self.stack.url)
        a_refusal = message.text.startswith("Failed to load resource") and path.startswith(OUR_PAGES)
        if message.text.startswith("An iframe which has both allow-scripts and allow-same-origin"):
            return  # of the frame that Airflow's own interface puts round a page
        ours = url.startswith(self.stack.url) and path.startswith((*OUR_PAGES, *OUR_ASSETS))
        if (ours and not a_refusal) or "Content Security Policy" in message.text:
            self.complaints.append(f"{message.type} on the console of {url}: {message.text}")
