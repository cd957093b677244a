"""Where bytes come from and go to: memory, disks, URLs, and files that are whole or not there."""
