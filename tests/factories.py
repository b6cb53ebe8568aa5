"""What many tests need: small videos, records, networks and runs. Each is made in one line; a test says what differs.

A section a subject. Everything here is deterministic and takes milliseconds.
"""

import os
from pathlib import Path

# A folder with `data` (real clips with manifests) and `lists` (official lists), or none: see tests/README.md.
REAL = Path(os.environ.get("VIDFUSION_REAL", "nowhere"))

# -- videos ------------------------------------------------------------------------------------------------------------


# -- networks ----------------------------------------------------------------------------------------------------------


# -- records and scores ------------------------------------------------------------------------------------------------


# -- runs --------------------------------------------------------------------------------------------------------------
