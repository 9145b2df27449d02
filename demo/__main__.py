"""`python -m demo`, which is what `make demo` runs."""

import sys

from demo.run import main

raise SystemExit(main(sys.argv[1:]))
