"""The proxy: `session` is the sans-I/O core (bytes in, effects out), `server` the asyncio shell around it."""
