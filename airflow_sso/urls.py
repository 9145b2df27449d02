"""Every address of ours, whole, made from ``external_url`` and nothing else.

Redirect URIs, entity ids and links are built here, never from the request: its Host and
X-Forwarded-* headers are whatever the sender wrote (CVE-2026-25604).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit


@dataclass(frozen=True, slots=True)
class Urls:
    """:param external_url: where people reach Airflow, with its sub-path if it has one.
    :param prefix: what the Airflow line puts before sign-in routes: ``/auth`` on 3.x, nothing on 2.11.
    """

    external_url: str
    prefix: str

    def _at(self, path: str, **query: str | None) -> str:
        given = {key: value for key, value in query.items() if value}
        return f"{self.external_url}{self.prefix}{path}" + (f"?{urlencode(given)}" if given else "")

    @property
    def home(self) -> str:
        """Airflow's own first page."""
        return f"{self.external_url}/"

    @property
    def is_https(self) -> bool:
        return self.external_url.startswith("https://")

    @property
    def cookie_path(self) -> str:
        """The path of our own cookies: this Airflow's and no more (CVE-2026-28779)."""
        return urlsplit(self.home).path

    def is_of_sign_in(self, url: str) -> bool:
        """Whether a page is served by the auth manager, as Flask-AppBuilder's own pages are."""
        return bool(self.prefix) and url.startswith(self._at("/"))

    def login(self, next_url: str | None = None) -> str:
        return self._at("/login/", next=next_url)

    def local_login(self, next_url: str | None = None, *, ticket: str | None = None) -> str:
        """Where break-glass accounts sign in; with a ticket, the link that does it once.

        The parameter's name is one of those whose values Airflow keeps out of its access log.
        """
        return self._at("/login/local", next=next_url, secret=ticket)

    def start(
        self,
        provider: str,
        next_url: str | None = None,
        *,
        switch: bool = False,
        moved: bool = False,
        again: bool = False,
        anew: bool = False,
    ) -> str:
        """Where a sign-in through ``provider`` starts.

        :param switch: ask the provider for another account.
        :param moved: the browser was sent here from another host name, and is not sent again.
        :param again: an unsolicited response was discarded, and may be once.
        :param anew: ask the provider for a fresh proof of who the person is.
        """
        wanted = {"switch": switch, "moved": moved, "again": again, "anew": anew}
        flags = {name: "1" for name, is_wanted in wanted.items() if is_wanted}
        return self._at(f"/login/{quote(provider)}", next=next_url, **flags)

    def is_here(self, host: str) -> bool:
        """Whether a request's Host is that of ``external_url``."""
        return host.lower() == urlsplit(self.external_url).netloc.lower()

    def callback(self, provider: str) -> str:
        """The redirect URI that is registered with an OIDC provider."""
        return self._at(f"/oauth-authorized/{quote(provider)}")

    def saml_metadata(self, provider: str) -> str:
        """Where our metadata for a SAML provider is; also our entity id there, by default."""
        return self._at(f"/saml/metadata/{quote(provider)}")

    def acs(self, provider: str) -> str:
        """The assertion consumer service that is registered with a SAML provider."""
        return self._at(f"/saml/acs/{quote(provider)}")

    def slo(self, provider: str) -> str:
        """The single logout service that is registered with a SAML provider."""
        return self._at(f"/saml/slo/{quote(provider)}")

    def saml_finish(self, provider: str, handle: str) -> str:
        """Where a sign-in goes on after its response was parked at the ACS."""
        return self._at(f"/saml/finish/{quote(provider)}", handle=handle)

    def backchannel_logout(self, provider: str) -> str:
        """Where an OIDC provider says, from server to server, that a session has ended there."""
        return self._at(f"/logout/backchannel/{quote(provider)}")

    def frontchannel_logout(self, provider: str) -> str:
        """Where an OIDC provider says the same through the person's browser."""
        return self._at(f"/logout/frontchannel/{quote(provider)}")

    @property
    def logout(self) -> str:
        return self._at("/logout/")

    @property
    def signed_out(self) -> str:
        """The calm page after a sign-out; also the one post-logout redirect URI."""
        return self._at("/signed-out/")

    @property
    def sso_status(self) -> str:
        """What administrators look at: providers, directories, plans that wait."""
        return self._at("/sso-status/")

    @property
    def my_access(self) -> str:
        """What everybody sees of themselves: who they are here, and which rules gave them their roles."""
        return self._at("/my-access/")

    def own_page(self, wanted: str | None) -> str:
        """``wanted`` if it is a page of ours, else Airflow's first page.

        Browsers repair an address before they follow it: they drop tabs and newlines, read a
        backslash as a slash, and take ``//host`` as another site. So everything a browser would
        repair is refused rather than interpreted (RFC 9700, section 4.11).
        """
        if not wanted or len(wanted) > 2000 or wanted.startswith("//"):
            return self.home
        if any(ord(char) <= 0x20 or ord(char) == 0x7F or char in "\\;" for char in wanted):
            return self.home
        own = urlsplit(self.home)
        whole = wanted.startswith(f"{own.scheme}://{own.netloc}/") or wanted == self.external_url
        if not whole and ":" in wanted.partition("/")[0].partition("?")[0]:
            return self.home  # "https:evil.example" is relative to us and absolute to a browser
        try:
            target = urlsplit(urljoin(self.home, wanted))
        except ValueError:
            return self.home
        if (target.scheme, target.netloc) != (own.scheme, own.netloc):
            return self.home
        steps = unquote(target.path).split("/")
        if not f"{target.path}/".startswith(own.path) or "//" in target.path or {".", ".."} & set(steps):
            return self.home
        return target.geturl()
