"""`sealwire vault`."""
