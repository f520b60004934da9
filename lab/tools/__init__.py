"""Programs that the lab runs: found on PATH, installed by apt-get, or built from pinned Go modules."""
