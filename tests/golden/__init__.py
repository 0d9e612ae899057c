"""The API calls that common messages become, for each provider: see README.rst."""
