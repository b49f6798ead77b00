"""What containers and pods use: statistics for the kubelet, and metrics in the form of cAdvisor's."""
