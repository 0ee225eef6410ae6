"""The command `python -m utils.launch`."""

from utils.launch.torchrun import main

if __name__ == "__main__":
    main()
