"""What the tests of `sealwire luks` share."""

from tests.sidecars.luks import story

DEVICE = str(story.SETTINGS.device)

OPTIONS = ["--key-file", str(story.KEY_FILE), "--file-system", "ext4"]
