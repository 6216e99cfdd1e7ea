"""`sealwire keys`: make keys, prove that they work, renew and end them, and put them in the safe."""
