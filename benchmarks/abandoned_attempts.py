"""Does a sign-in take longer after 100,000 others were abandoned? Measured side by side in one run.

Starts one Airflow and the local provider, signs in with an empty table of attempts and with one that
100,000 abandoned attempts went through, in turns, and prints the ratio of the medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from demo.airflow_home import AirflowHome
from devidp import server
from tests import stack as stacks
from tests.databases import Database
from tests.stack import Stack

ROUNDS = 10
ABANDONED = 100_000


def sign_in(stack: Stack) -> float:
    """Seconds from the start of a sign-in to the end of its callback, the provider's part included."""
    visitor = stack.visitor()
    began = time.perf_counter()
    page = visitor.go_to_provider()
    visitor.press(page, "ada", follow=False)
    return time.perf_counter() - began


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    template = AirflowHome(path=folder / "template", port=stacks.free_port())
    template.path.mkdir()
    template.migrate()
    with (
        server.start() as idp,
        stacks.migrated_home(Database.file(template.database), folder / "home") as home,
    ):
        stack = Stack(home, idp=idp)
        stack.configure([stacks.entra(idp.url)])
        uri = f"{home.url}/auth/oauth-authorized/entra"
        stacks.driver(idp).control("POST", "clients", {"redirect_uris": [uri]})
        try:
            stack.start()
            sign_in(stack)
            empty: list[float] = []
            full: list[float] = []
            for _ in range(3):
                stack.write("delete from sso_login_attempt")
                empty += [sign_in(stack) for _ in range(ROUNDS)]
                stack.abandon_attempts(ABANDONED)
                stack.visitor().go_to_provider()  # the next start brings the table back to its bound
                full += [sign_in(stack) for _ in range(ROUNDS)]
            (left,) = stack.rows("select count(*) as n from sso_login_attempt")
        finally:
            stack.stop()
    before, after = statistics.median(empty), statistics.median(full)
    print(f"empty table: {before * 1000:.1f} ms; after {ABANDONED:,} abandoned: {after * 1000:.1f} ms")
    print(f"ratio {after / before:.2f}; rows left: {left['n']:,}")


if __name__ == "__main__":
    main()
