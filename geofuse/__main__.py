"""``python -m geofuse``: the command line, where the console command is not on the path."""

from geofuse.cli import main

if __name__ == "__main__":
    main()
