"""`sealwire backup`."""
