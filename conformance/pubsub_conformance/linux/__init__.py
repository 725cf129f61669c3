"""Tools that only Linux has: strace, mount namespaces, a file system of the kit."""


class Unavailable(Exception):
    """This machine lacks something that the kit needs. The text names it."""
