"""What several tests share: commands, a fork server, tiny trained runs, toys, and stand-ins."""
