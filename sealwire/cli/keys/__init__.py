"""`sealwire keys`."""
