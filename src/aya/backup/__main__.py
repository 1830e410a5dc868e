"""`python -m aya.backup`."""

from aya.backup.main import main

if __name__ == "__main__":
    main()
