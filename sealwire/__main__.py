"""`python -m sealwire` is the `sealwire` command."""

from sealwire.cli import main

if __name__ == "__main__":
    main()
