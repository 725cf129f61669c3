"""Fetching and waiting (fetch.md): a driver fetches what the kit puts into its channel."""
