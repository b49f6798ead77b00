"""A program that stands in for runc, and stops before or after a verb until a test lets it go on."""

from pathlib import Path

_SCRIPT = """#!/bin/sh
verb=none
for word in "$@"; do case $word in create|start|exec|delete|kill) verb=$word; break;; esac; done
hold() {
    [ -e FOLDER/$1-$verb ] || return 0
    echo $$ > FOLDER/held.new; mv FOLDER/held.new FOLDER/held
    while [ -e FOLDER/$1-$verb ]; do sleep 0.01; done
}
[ "$1" = --version ] && { echo runc version 0.0.0; exit; }  # nothing is done without it
hold before
runc "$@"
status=$?
hold after
exit $status
"""


class Gate:
    """`program` is to be called in place of runc."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.program = folder, folder / "runc"
        folder.mkdir()
        self.program.write_text(_SCRIPT.replace("FOLDER", str(folder)))
        self.program.chmod(0o755)

    def stop_at(self, when: str, verb: str) -> None:
        """Have the next such command stop, before it does its work or after."""
        (self.folder / f"{when}-{verb}").touch()

    @property
    def held(self) -> int:
        """The pid of the command that has stopped; 0 as long as there is none."""
        path = self.folder / "held"
        return int(path.read_text()) if path.exists() else 0

    def open(self) -> None:
        """Let all go on."""
        for path in self.folder.iterdir():
            if path != self.program:
                path.unlink()
