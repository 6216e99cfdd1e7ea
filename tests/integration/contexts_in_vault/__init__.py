"""The store of context keys in Vault: as it should be, while Vault is away, and behind running proxies."""
