"""olympus_dgs: the inventory of terminals, from PARM's canonical device states to documents in the gateway."""
