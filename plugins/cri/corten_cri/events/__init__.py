"""What happens to pods and containers, told to whoever asks."""
