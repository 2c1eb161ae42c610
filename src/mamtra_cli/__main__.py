"""`python -m mamtra_cli`."""

from mamtra_cli.cli.app import main

main()
