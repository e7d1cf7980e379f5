"""`python -m cxrcad`."""

from cxrcad.cli.main import main

if __name__ == "__main__":
    main()
