"""The citizens' pages: find a service, apply once, follow the case."""
