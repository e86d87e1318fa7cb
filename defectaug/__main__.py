"""``python -m defectaug`` is the command ``defectaug``."""

from defectaug.cli.main import main

if __name__ == "__main__":
    main()
