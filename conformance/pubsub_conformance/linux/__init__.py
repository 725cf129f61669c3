"""What only Linux offers: strace, mount namespaces, a file system of the kit's own."""


class Unavailable(Exception):
    """This machine lacks what the kit needs here; says what."""
