"""The parts of a bench run: each measures its routes in turns and adds samples to `figures.Results`."""
