"""The command `corten`: people's and programs' way to a daemon.

`main` only knows the names of the subcommands; a subcommand's module, and with it the client, gRPC and rich, is
imported when it runs, so that `corten --help` answers at once.
"""
