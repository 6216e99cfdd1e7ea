"""`sealwire tls`."""
