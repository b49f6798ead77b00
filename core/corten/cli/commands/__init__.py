"""One module for each subcommand or group of subcommands."""
