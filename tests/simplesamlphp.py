"""SimpleSAMLphp from the system's packages, as an identity provider with people of its own.

It shares no code with us, so it catches what our own fake forgives. What must stay true: it knows a
service provider by what its own parser has read in the metadata, and keys and passwords are made by
the run.
"""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import shutil
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urljoin

import requests

from demo.processes import Process
from tests import browser, stack
from tests.certificates import Certificate

_PEER = Path(__file__).resolve().parent / "peers" / "simplesamlphp"
_PACKAGE = _PEER / ".package" / "usr" / "share" / "simplesamlphp"

NAME_ID_FORMAT = "urn:oasis:names:tc:SAML:2.0:nameid-format"
EMAIL_ADDRESS = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"

_SUITABLE = "exit(array_diff(['dom', 'mbstring', 'openssl', 'zlib'], get_loaded_extensions()) ? 1 : 0);"


def php() -> str:
    """A PHP that the package runs on; skips without it, or without the package."""
    executable = shutil.which("php")
    if not executable or subprocess.run([executable, "-r", _SUITABLE], check=False).returncode:
        browser.missing("there is no PHP here with dom, mbstring, openssl and zlib")
    if not _PACKAGE.exists():
        browser.missing("SimpleSAMLphp is not unpacked (scripts/install_test_tools.sh)")
    return executable


@dataclass
class SimpleSamlPhp(AbstractContextManager["SimpleSamlPhp"]):
    """One identity provider; a context manager that runs it.

    :param folder: of the run: its settings, which count from the next request on, sessions and logs.
    """

    folder: Path
    certificate: Certificate
    php: str = field(default_factory=php)
    port: int = field(default_factory=stack.free_port)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("sessions", "tmp"):
            (self.folder / name).mkdir(parents=True)
        self.settings = {
            "base_url": f"{self.url}/",
            "salt": secrets.token_urlsafe(24),
            "admin_password": secrets.token_urlsafe(24),
            "password": self.password,
            "service_providers": {},
        }
        self.sign_with(self.certificate)

    @property
    def url(self) -> str:
        """Another site than ``localhost``, so that a browser keeps Lax cookies back from its posts."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def metadata_url(self) -> str:
        """Where its metadata is; also its entity id."""
        return f"{self.url}/saml2/idp/metadata.php"

    @property
    def log(self) -> str:
        """What it says about the requests that it got."""
        return (self.folder / "simplesamlphp.log").read_text(errors="replace")

    @property
    def metadata_requests(self) -> int:
        """How often its metadata was asked for."""
        return (self.folder / "php.log").read_text(errors="replace").count("]: GET /saml2/idp/metadata.php")

    # What its administrator does

    def sign_with(self, certificate: Certificate, *, publish_too: Certificate | None = None) -> None:
        """Sign with this key from now on, and publish it, and another one if one is given."""
        files = {"certificate": certificate.certificate_file, "privatekey": certificate.key_file}
        if publish_too:
            files |= {"new_certificate": publish_too.certificate_file, "new_privatekey": publish_too.key_file}
        self.settings["keys"] = {name: str(path) for name, path in files.items()}
        self._write()

    def trust(self, metadata: bytes, **options: Any) -> dict[str, Any]:
        """Register a service provider; what its parser read in the metadata, before the options.

        :param options: of SimpleSAMLphp's saml20-sp-remote; ``__`` in a name stands for a dot.
        """
        read = subprocess.run(
            [self.php, "-d", "display_errors=stderr", str(_PEER / "convert.php"), str(_PACKAGE)],
            input=metadata,
            env=self._environment(),
            capture_output=True,
            check=False,
        )
        assert read.returncode == 0, read.stderr.decode()
        ((entity_id, parsed),) = json.loads(read.stdout).items()
        named = {name.replace("__", "."): value for name, value in options.items()}
        self.settings["service_providers"][entity_id] = {**parsed, **named}
        self._write()
        return dict(parsed)

    def _write(self) -> None:
        partial = self.folder / "settings.partial"
        partial.write_text(json.dumps(self.settings))
        partial.rename(self.folder / "settings.json")

    # Running it

    def __enter__(self) -> SimpleSamlPhp:
        self._process = Process(
            "simplesamlphp",
            [
                *(self.php, "-d", "display_errors=stderr", "-d", "error_reporting=E_ALL & ~E_DEPRECATED"),
                *("-S", f"127.0.0.1:{self.port}", "-t", str(_PACKAGE / "www")),
            ],
            log=self.folder / "php.log",
            env=self._environment(),
            cwd=self.folder,
        )
        try:
            self._process.wait_for_url(self.metadata_url, timeout=30)
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def _environment(self) -> dict[str, str]:
        ours = {"SIMPLESAMLPHP_CONFIG_DIR": str(_PEER / "config"), "SIMPLESAMLPHP_RUN": str(self.folder)}
        return {**os.environ, **ours}

    # What people do there

    def unsolicited(self, entity_id: str) -> str:
        """The address that sends a person to a service provider that has not asked."""
        return f"{self.url}/saml2/idp/SSOService.php?spentityid={quote(entity_id, safe='')}"

    @property
    def sign_out_url(self) -> str:
        """Where a person signs out of it and, one by one, of whatever it has signed them in to."""
        return f"{self.url}/saml2/idp/initSLO.php?RelayState={quote(self.metadata_url, safe='')}"

    def sign_in(self, page: requests.Response, person: str, visitor: requests.Session) -> requests.Response:
        """Fill in its sign-in page; the page after it, which posts to the service provider."""
        assert asks_for_password(page), page.text[:2000]
        form = {**hidden_fields(page), "username": person, "password": self.password}
        return visitor.post(page.url.partition("?")[0], data=form, timeout=30)


def asks_for_password(page: requests.Response) -> bool:
    """Whether this is its sign-in page."""
    return page.ok and 'name="password"' in page.text


def hidden_fields(page: requests.Response) -> dict[str, str]:
    """The fields of the page's form that a person does not see."""
    found: dict[str, str] = {}
    for field_tag in re.findall(r'<input[^>]*type="hidden"[^>]*>', page.text):
        named = dict(re.findall(r'(name|value)="([^"]*)"', field_tag))
        if "name" in named:
            found[html.unescape(named["name"])] = html.unescape(named.get("value", ""))
    return found


def post_on(page: requests.Response, visitor: requests.Session, **options: Any) -> requests.Response:
    """Press the button that a browser with scripts presses by itself: post the message."""
    action = re.search(r'<form[^>]*action="([^"]*)"', page.text)
    fields = hidden_fields(page)
    assert action, page.text[:2000]
    assert {"SAMLResponse", "SAMLRequest"} & set(fields), page.text[:2000]
    target = urljoin(page.url, html.unescape(action.group(1)))
    return visitor.post(target, data=fields, timeout=30, **options)
