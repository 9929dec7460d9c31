"""The programs of the command line, one a file: `tokenthrift <name>` runs `<name>.py` here."""
