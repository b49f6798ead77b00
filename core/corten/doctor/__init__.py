"""`corten doctor`: what a crash has left on this host that belongs to nobody, why that is so, and how it goes away.

    known = await knowledge.ask(client)          # what the daemon has: tasks, containers, digests, snapshots
    host = sight.look(known)                     # what is on the host: processes, folders, mounts, cgroups, blobs
    for finding in examine.findings(known, host):
        print(finding.what, finding.why, finding.remedy)
        repair.apply(finding)

Looking changes nothing. The daemon clears most of this up by itself when it starts; what is found here is what it could
not know of, or what came about since.
"""
