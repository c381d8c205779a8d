"""What operators see of a node: metrics, health and log lines."""
