"""What goes wrong around a command, brought about: kills, full disks, hostile files and hubs."""
