"""Where MVC is published: nowhere. No weights of it were found; imports no torch."""

from mamtra_cli.hub import Repository

REPOSITORIES: tuple[Repository, ...] = ()
