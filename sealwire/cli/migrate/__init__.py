"""`sealwire migrate`: move stored values between plaintext, older keys and the newest key."""
