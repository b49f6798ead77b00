"""Every subcommand with the module that has it and the sentence that `corten --help` shows for it."""

from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """`target` is `module:attribute` below `corten.cli.commands`."""

    target: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "run": Entry("run:run", "Make a container of an image and run it."),
    "exec": Entry("exec:exec_", "Run a further process in a running container."),
    "attach": Entry("attach:attach", "Connect the terminal to a running container."),
    "ps": Entry("ps:ps", "List containers."),
    "logs": Entry("logs:logs", "Print what a container has written, and what it writes."),
    "top": Entry("top:top", "List the processes of a container."),
    "stats": Entry("stats:stats", "Show what containers use, live."),
    "inspect": Entry("inspect:inspect", "Show all that is known of containers, as JSON."),
    "cp": Entry("cp:cp", "Copy files into a container or out of it."),
    "start": Entry("start:start", "Start a container that does not run."),
    "stop": Entry("stop:stop", "Ask containers to end, and kill those that do not."),
    "kill": Entry("kill:kill", "Send a signal to containers."),
    "pause": Entry("pause:pause", "Freeze containers."),
    "resume": Entry("pause:resume", "Let paused containers run on."),
    "wait": Entry("wait:wait", "Wait until containers end, and print their exit codes."),
    "rm": Entry("rm:rm", "Remove containers."),
    "pull": Entry("pull:pull", "Fetch an image from a registry and unpack it."),
    "push": Entry("pushing:push", "Push an image to a registry."),
    "import": Entry("importing:import_", "Take in the images of an archive (OCI layout or docker save)."),
    "export": Entry("pushing:export", "Write images to an archive (OCI layout and docker load)."),
    "images": Entry("images:ls", "List images."),
    "image": Entry("images:image", "Everything about images: inspect, check, convert, mount, prune and more."),
    "pulls": Entry("pulls:pulls", "Show the transfers under way, whoever began them."),
    "content": Entry("content:content", "Look at and remove blobs."),
    "snapshots": Entry("snapshots:snapshots", "Look at and remove snapshots."),
    "leases": Entry("leases:leases", "Make, list and remove leases."),
    "namespaces": Entry("namespaces:namespaces", "Make, list, label and remove namespaces."),
    "events": Entry("events:events", "Print what happens in the daemon, as it happens."),
    "plugins": Entry("plugins:plugins", "Show the daemon's plugins: their state, order and reasons."),
    "doctor": Entry("doctor:doctor", "Find what a crash has left on this host, and clear it up."),
    "version": Entry("version:version", "Show the versions of this command and of the daemon."),
    "info": Entry("info:info", "Show what the daemon is and has."),
}
