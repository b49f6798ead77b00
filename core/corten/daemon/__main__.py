"""`python -m corten.daemon` is `cortend`."""

from .main import main

main()
