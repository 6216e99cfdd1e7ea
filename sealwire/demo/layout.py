"""Where the demo finds the worked example: the same files in a checkout and in an installed wheel."""

from pathlib import Path

import sealwire.examples

EXAMPLES = Path(sealwire.examples.__file__).parent
CLINIC_APP = EXAMPLES / "clinic_app.py"
DESK_APP = EXAMPLES / "clinic_desk.py"
POLICY_FILE = EXAMPLES / "policy.yaml"
