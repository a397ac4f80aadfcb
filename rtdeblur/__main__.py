"""`python -m rtdeblur`: the same as the command `rtdeblur`."""

import sys

from rtdeblur.cli import main

sys.exit(main())
