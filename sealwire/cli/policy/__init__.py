"""`sealwire policy`."""
