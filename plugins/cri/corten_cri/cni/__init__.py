"""The networks of pods by CNI (https://www.cni.dev/docs/spec/, version 1.1): what plugins gave is given back."""
