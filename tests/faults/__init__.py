"""What becomes of a proxy, its clients and what they wrote when lines, peers, disks and clocks fail."""
