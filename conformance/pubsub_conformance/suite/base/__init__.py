"""The base directory (base.md): where it is, whom it trusts, and which entries it has."""
