"""One host per market: keys, certificates, compose files, consent, and what runs on the hosts."""
