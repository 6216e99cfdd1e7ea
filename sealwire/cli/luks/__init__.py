"""`sealwire luks`."""
