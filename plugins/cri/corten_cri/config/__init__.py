"""The settings of the three CRI plugins, under containerd's names and with its defaults unless a key says otherwise."""
