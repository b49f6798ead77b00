"""What CRI knows: records of pods and containers in memory, and how they are kept so that a restart finds them."""
